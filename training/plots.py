"""Pictures of a report, as PNG files; they read the report and the runs' pictures only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation

from ..backends import Grid, Mesh, grid_from_dict
from ..data.files import load_state, whole_file
from .painter import color_bar, draw_mesh
from .runs import PICTURES

COLORS = plt.get_cmap("tab10").colors  # type: ignore[attr-defined]


def draw_all(report: Mapping[str, Any], folder: Path) -> list[tuple[str, Path]]:
    """Every picture that the report allows, as (caption, file)."""
    made = []
    test = [e for e in report["summary"] if e["split"] == "test"]
    color = {e["surrogate"]: COLORS[i % 10] for i, e in enumerate(test)}
    if test:
        made.append(
            (
                "Test error against the processor time of the fit; whiskers: median to worst sample; line: Pareto "
                "front.",
                save(error_against_cost(test, color), folder / "error_cost.png"),
            )
        )
    if report["n_width"] is not None:
        made.append(
            (
                "The n-width curve of the data, and each surrogate's test error at its rank (rows without a rank "
                "at the right edge): a row below the curve does what no linear reduction of its size can.",
                save(error_against_width(test, report["n_width"], color), folder / "n_width.png"),
            )
        )
    if test:
        made.append(
            (
                "Share of test samples with an error below the value on the axis.",
                save(error_distribution(report["rows"], color), folder / "errors.png"),
            )
        )
    if any("val_rel_l2" in h and "epoch" in h for r in report["rows"] for h in r.get("history") or []):
        made.append(
            (
                "Validation error during training, one line a seed.",
                save(learning_curves(report["rows"], color), folder / "learning.png"),
            )
        )
    if any("rel_l2_over_time" in r for r in report["rows"]):
        made.append(
            (
                "Test error as the prediction goes on in time.",
                save(error_over_time(report["rows"], color), folder / "over_time.png"),
            )
        )
    seen = set()
    best_first = {e["surrogate"]: i for i, e in enumerate(test)}
    rows = [r for r in report["rows"] if r["split"] == "test" and r["surrogate"] in best_first]
    for row in sorted(rows, key=lambda r: (best_first[r["surrogate"]], r["seed"])):
        path = Path(row.get("folder") or "") / PICTURES
        if row["surrogate"] not in seen and path.is_file():
            seen.add(row["surrogate"])
            figure = samples(load_state(path), row["surrogate"])
            made.append(
                (
                    f"{row['surrogate']}: the test samples with the median and with the worst error.",
                    save(figure, folder / f"samples_{row['surrogate']}.png"),
                )
            )
    return made


class Short(LogFormatterSciNotation):
    """Numbers of logarithmic axes: 0.2 for 2 x 10^-1, which needs more room than there is."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        text = super().__call__(x, pos)
        return f"{x:g}" if text and 1e-3 <= x < 1e4 else text


def save(figure: Figure, path: Path) -> Path:
    """Write a picture, drawn once: the layout is found before, and no box is fitted to what was drawn."""
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        if axis.get_scale() == "log":
            axis.set_major_formatter(Short())
            axis.set_minor_formatter(Short(labelOnlyBase=False))
    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
        figure.set_layout_engine(None)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)
    return path


def _legend_beside(figure: Figure, ax: Axes) -> None:
    """A legend to the right of the axes, which leave room for its longest line."""
    longest = max((len(text) for text in ax.get_legend_handles_labels()[1]), default=0)
    inches = 0.5 + 0.075 * longest
    figure.set_size_inches(6.6 + inches, 4.6)
    figure.subplots_adjust(left=0.8 / (6.6 + inches), right=6.5 / (6.6 + inches), bottom=0.13, top=0.97)
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def error_against_cost(test: Sequence[Mapping[str, Any]], color: Mapping[str, Any]) -> Figure:
    figure, ax = plt.subplots()
    for e in test:
        x, y = max(e["fit_cpu_seconds"] or 0.0, 1e-3), e["rel_l2"]
        ax.plot([x, x], [y["median"], y["max"]], color=color[e["surrogate"]], lw=1, alpha=0.6)
        ax.plot(x, y["mean"], "o", ms=8, color=color[e["surrogate"]], label=e["surrogate"])
    front = sorted((max(e["fit_cpu_seconds"] or 0.0, 1e-3), e["rel_l2"]["mean"]) for e in test if e["pareto"])
    if len(front) > 1:
        ax.step(*zip(*front), where="post", color="0.5", lw=1, ls="--", zorder=0, label="Pareto front")
    ax.set(xscale="log", yscale="log", xlabel="fit, CPU-seconds", ylabel="relative L2 error (test)")
    _legend_beside(figure, ax)
    ax.grid(True, which="both", alpha=0.2)
    return figure


def error_against_width(
    test: Sequence[Mapping[str, Any]], width: Mapping[str, Any], color: Mapping[str, Any]
) -> Figure:
    figure, ax = plt.subplots()
    floor = 1e-8
    for key, style, label in (
        ("error", "-", "best linear space, these samples"),
        ("worst", ":", "its worst sample"),
        ("unseen", "--", "unseen (test) samples on it"),
    ):
        values = [max(v, floor) for v in width[key] if v is not None]
        if values:
            ax.plot(range(len(values)), values, style, color="k", lw=1.4, label=label)
    edge = max(len(width["error"]) - 1, 1)
    if width["states"] is not None:
        for key, style, label in (
            ("error", "-", "the same for single states"),
            ("unseen", "--", "unseen states on it"),
        ):
            values = [max(v, floor) for v in width["states"][key] if v is not None]
            if values:
                ax.plot(range(len(values)), values, style, color="0.6", lw=1.4, label=label)
        edge = max(edge, len(width["states"]["error"]) - 1)
    for e in test:
        ranked = e["rank"] is not None
        x = min(e["rank"], edge) if ranked else 1.25 * edge
        ax.plot(
            x,
            e["rel_l2"]["mean"],
            "o" if ranked else ">",
            ms=8,
            color=color[e["surrogate"]],
            clip_on=False,
            ls="none",
            label=e["surrogate"] + (" (of states)" if e["rank_of"] == "states" else "" if ranked else " (no rank)"),
        )
    ax.set(yscale="log", xlabel="dimension n of the linear space", ylabel="relative error")
    ax.set_xscale("symlog", linthresh=10)
    ax.set_xlim(-0.5, 1.4 * edge)
    _legend_beside(figure, ax)
    ax.grid(True, which="both", alpha=0.2)
    return figure


def error_distribution(rows: Sequence[Mapping[str, Any]], color: Mapping[str, Any]) -> Figure:
    def curve(row: Mapping[str, Any]) -> tuple[Any, Any] | None:
        if row["split"] != "test" or not row.get("errors"):
            return None
        values = np.sort([v for v in row["errors"] if v is not None])
        return np.maximum(values, 1e-16), np.arange(1, len(values) + 1) / len(values)

    return _curves(
        rows, color, curve, xscale="log", xlabel="relative L2 error of a test sample", ylabel="share of samples"
    )


def learning_curves(rows: Sequence[Mapping[str, Any]], color: Mapping[str, Any]) -> Figure:
    def curve(row: Mapping[str, Any]) -> tuple[Any, Any] | None:
        shown = [h for h in row.get("history") or [] if "epoch" in h and "val_rel_l2" in h]
        return ([h["epoch"] for h in shown], [h["val_rel_l2"] for h in shown]) if shown else None

    return _curves(rows, color, curve, yscale="log", xlabel="epoch", ylabel="relative L2 error (validation)")


def error_over_time(rows: Sequence[Mapping[str, Any]], color: Mapping[str, Any]) -> Figure:
    def curve(row: Mapping[str, Any]) -> tuple[Any, Any] | None:
        found = row.get("rel_l2_over_time")
        if row["split"] != "test" or not found:
            return None
        return found["t"], [np.nan if v is None else v for v in found["mean"]]

    return _curves(rows, color, curve, yscale="log", xlabel="time", ylabel="relative L2 error (test)")


def _curves(
    rows: Sequence[Mapping[str, Any]],
    color: Mapping[str, Any],
    curve: Callable[[Mapping[str, Any]], tuple[Any, Any] | None],
    **axes: str,
) -> Figure:
    """One line for each row that ``curve`` has points for, in its surrogate's color."""
    figure, ax = plt.subplots(figsize=(7, 4.2), gridspec_kw={"left": 0.11, "right": 0.98, "bottom": 0.12, "top": 0.97})
    labelled = set()
    for row in rows:
        points, name = curve(row), row["surrogate"]
        if points is not None:
            ax.plot(*points, color=color.get(name), lw=1.2, label=None if name in labelled else name)
            labelled.add(name)
    ax.set(**axes)
    ax.legend(fontsize=8)
    ax.grid(True, which="both", alpha=0.2)
    return figure


def samples(state: Mapping[str, Any], title: str) -> Figure:
    """Rows: median and worst sample. Columns: input, truth, prediction, error; curves in 1D, images in 2D."""
    where = Where(grid_from_dict(state["grid"]), state["t"])
    labels = [k for k in ("median", "worst") if k in state]
    height = 2.9 * len(labels)
    room = {"left": 0.045, "right": 0.985, "bottom": 0.5 / height, "top": 1 - 0.35 / height, "wspace": 0.22}
    figure, axes = plt.subplots(
        len(labels), 4, figsize=(13.5, height), squeeze=False, gridspec_kw={**room, "hspace": 0.35}
    )
    for row, label in zip(axes, labels):
        entry = state[label]
        u, p = np.asarray(entry["truth"]), np.asarray(entry["mean"])
        where.input(row[0], entry["a"] if entry["a"] is not None else entry["u0"])
        e = p - u
        top = float(np.abs(e).max()) or 1.0
        limits = (float(u.min()), float(u.max()))
        where.draw(row[1], u, limits=limits)
        where.draw(row[2], p, limits=limits, std=entry["std"])
        where.draw(row[3], e, limits=(-top, top), cmap="RdBu_r")
        row[1].set_title(f"truth: {label}, sample {entry['sample']}", fontsize=9)
        row[2].set_title(f"{title}: error {entry['error']:.3g}", fontsize=9)
        row[3].set_title("prediction - truth", fontsize=9)
    return figure


class Where:
    """Draws fields of one grid: curves, images, or the points of a mesh; of several channels the first, of several
    times the last (1D: all of them, time upwards), of three axes the middle plane."""

    def __init__(self, grid: Grid | Mesh, t: Any):
        self.grid, self.t = grid, None if t is None else np.asarray(t, dtype=float)

    def draw(
        self,
        ax: Axes,
        u: np.ndarray,
        *,
        limits: tuple[float, float] | None = None,
        std: Any = None,
        cmap: str = "viridis",
    ) -> None:
        u = np.abs(u) if np.iscomplexobj(u) else u
        lo, hi = limits if limits is not None else (float(u.min()), float(u.max()))
        timed = self.t is not None and u.ndim == len(self.grid.shape) + 2
        if timed and len(self.grid.shape) == 1 and isinstance(self.grid, Grid):
            assert self.t is not None
            step = float(self.t[-1] - self.t[0]) / max(len(self.t) - 1, 1) or 1.0
            x = self.grid.axes[0]
            shown = ax.imshow(
                u[:, 0],
                origin="lower",
                aspect="auto",
                vmin=lo,
                vmax=hi,
                cmap=cmap,
                extent=(x.lo, x.hi, self.t[0] - step / 2, self.t[-1] + step / 2),
            )
            ax.set(xlabel=x.name, ylabel="t")
            color_bar(ax, shown, shrink=0.85)
            return
        field = (u[-1] if timed else u)[0]
        if isinstance(self.grid, Mesh) and self.grid.ndim > 1:
            color_bar(ax, draw_mesh(ax, self.grid, field, lo, hi, cmap), shrink=0.85)
        elif field.ndim == 1:
            at = self.grid.coordinates()[0].numpy()
            order = np.argsort(at)
            ax.plot(at[order], field[order], "k", lw=1.2)
            if std is not None:
                s = 1.96 * np.asarray(std[-1] if timed else std)[0]
                ax.fill_between(at[order], (field - s)[order], (field + s)[order], alpha=0.3)
            if limits is not None:
                pad = 0.08 * (hi - lo or 1.0)
                ax.set_ylim(lo - pad, hi + pad)
        else:
            assert isinstance(self.grid, Grid)
            axes = self.grid.axes
            field = field if field.ndim == 2 else field[..., field.shape[-1] // 2]
            shown = ax.imshow(
                field.T,
                origin="lower",
                aspect="auto",
                vmin=lo,
                vmax=hi,
                cmap=cmap,
                extent=(axes[0].lo, axes[0].hi, axes[1].lo, axes[1].hi),
            )
            ax.set(xlabel=axes[0].name, ylabel=axes[1].name)
            color_bar(ax, shown, shrink=0.85)

    def input(self, ax: Axes, given: Any) -> None:
        if given is None:
            ax.axis("off")
            ax.text(0.5, 0.5, "parameters", ha="center", va="center", transform=ax.transAxes)
        else:
            Where(self.grid, None).draw(ax, np.asarray(given), cmap="cividis")
        ax.set_title("input", fontsize=9)
