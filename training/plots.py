"""Pictures of a report, as PNG files; they read the report and the runs' pictures only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..data import Dataset
from ..data.files import load_state, whole_file
from ..data.nwidth import NWidth
from .runs import PICTURES

COLORS = plt.get_cmap("tab10").colors  # type: ignore[attr-defined]


def draw_all(report: Mapping[str, Any], folder: Path) -> list[tuple[str, Path]]:
    """Every picture that the report allows, as (caption, file)."""
    made = []
    test = [e for e in report["summary"] if e["split"] == "test"]
    color = {e["surrogate"]: COLORS[i % 10] for i, e in enumerate(test)}
    if test:
        made.append(("Test error against the processor time of the fit; whiskers: median to worst sample; line: Pareto "
                     "front.", _save(error_against_cost(test, color), folder / "error_cost.png")))
    if report["n_width"] is not None:
        made.append(("The n-width curve of the data, and each surrogate's test error at its rank (rows without a rank "
                     "at the right edge): a row below the curve does what no linear reduction of its size can.",
                     _save(error_against_width(test, report["n_width"], color), folder / "n_width.png")))
    if test:
        made.append(("Share of test samples with an error below the value on the axis.",
                     _save(error_distribution(report["rows"], color), folder / "errors.png")))
    if any("val_rel_l2" in h and "epoch" in h for r in report["rows"] for h in r.get("history") or []):
        made.append(("Validation error during training, one line a seed.",
                     _save(learning_curves(report["rows"], color), folder / "learning.png")))
    if any("rel_l2_over_time" in r for r in report["rows"]):
        made.append(("Test error as the prediction goes on in time.",
                     _save(error_over_time(report["rows"], color), folder / "over_time.png")))
    seen = set()
    best_first = {e["surrogate"]: i for i, e in enumerate(test)}
    rows = [r for r in report["rows"] if r["split"] == "test" and r["surrogate"] in best_first]
    for row in sorted(rows, key=lambda r: (best_first[r["surrogate"]], r["seed"])):
        path = Path(row.get("folder") or "") / PICTURES
        if row["surrogate"] not in seen and path.is_file():
            seen.add(row["surrogate"])
            figure = samples(load_state(path), row["surrogate"])
            made.append((f"{row['surrogate']}: the test samples with the median and with the worst error.",
                         _save(figure, folder / f"samples_{row['surrogate']}.png")))
    return made


def _save(figure: Figure, path: Path) -> Path:
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return path


def error_against_cost(test: Sequence[Mapping[str, Any]], color: Mapping[str, Any]) -> Figure:
    figure, ax = plt.subplots(figsize=(8.6, 4.6))
    for e in test:
        x, y = max(e["fit_cpu_seconds"] or 0.0, 1e-3), e["rel_l2"]
        ax.plot([x, x], [y["median"], y["max"]], color=color[e["surrogate"]], lw=1, alpha=0.6)
        ax.plot(x, y["mean"], "o", ms=8, color=color[e["surrogate"]], label=e["surrogate"])
    front = sorted((max(e["fit_cpu_seconds"] or 0.0, 1e-3), e["rel_l2"]["mean"]) for e in test if e["pareto"])
    if len(front) > 1:
        ax.step(*zip(*front), where="post", color="0.5", lw=1, ls="--", zorder=0, label="Pareto front")
    ax.set(xscale="log", yscale="log", xlabel="fit, CPU-seconds", ylabel="relative L2 error (test)")
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    ax.grid(True, which="both", alpha=0.2)
    return figure


def error_against_width(test: Sequence[Mapping[str, Any]], width: Mapping[str, Any], color: Mapping[str, Any]) -> Figure:
    figure, ax = plt.subplots(figsize=(8.6, 4.6))
    floor = 1e-8
    for key, style, label in (("error", "-", "best linear space, these samples"), ("worst", ":", "its worst sample"),
                              ("unseen", "--", "unseen (test) samples on it")):
        values = [max(v, floor) for v in width[key] if v is not None]
        if values:
            ax.plot(range(len(values)), values, style, color="k", lw=1.4, label=label)
    edge = max(len(width["error"]) - 1, 1)
    if width["states"] is not None:
        for key, style, label in (("error", "-", "the same for single states"), ("unseen", "--", "unseen states on it")):
            values = [max(v, floor) for v in width["states"][key] if v is not None]
            if values:
                ax.plot(range(len(values)), values, style, color="0.6", lw=1.4, label=label)
        edge = max(edge, len(width["states"]["error"]) - 1)
    for e in test:
        ranked = e["rank"] is not None
        x = min(e["rank"], edge) if ranked else 1.25 * edge
        ax.plot(x, e["rel_l2"]["mean"], "o" if ranked else ">", ms=8, color=color[e["surrogate"]], clip_on=False,
                ls="none", label=e["surrogate"] + (" (of states)" if e["rank_of"] == "states" else "" if ranked else " (no rank)"))
    ax.set(yscale="log", xlabel="dimension n of the linear space", ylabel="relative error")
    ax.set_xscale("symlog", linthresh=10)
    ax.set_xlim(-0.5, 1.4 * edge)
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    ax.grid(True, which="both", alpha=0.2)
    return figure


def error_distribution(rows: Sequence[Mapping[str, Any]], color: Mapping[str, Any]) -> Figure:
    figure, ax = plt.subplots(figsize=(7, 4.2))
    labelled = set()
    for row in rows:
        if row["split"] != "test" or not row.get("errors"):
            continue
        values = np.sort([v for v in row["errors"] if v is not None])
        name = row["surrogate"]
        ax.plot(np.maximum(values, 1e-16), np.arange(1, len(values) + 1) / len(values), color=color.get(name),
                label=None if name in labelled else name, lw=1.3)
        labelled.add(name)
    ax.set(xscale="log", xlabel="relative L2 error of a test sample", ylabel="share of samples")
    ax.legend(fontsize=8)
    ax.grid(True, which="both", alpha=0.2)
    return figure


def learning_curves(rows: Sequence[Mapping[str, Any]], color: Mapping[str, Any]) -> Figure:
    figure, ax = plt.subplots(figsize=(7, 4.2))
    labelled = set()
    for row in rows:
        points = [(h["epoch"], h["val_rel_l2"]) for h in row.get("history") or [] if "epoch" in h and "val_rel_l2" in h]
        if not points:
            continue
        name = row["surrogate"]
        ax.plot(*zip(*points), color=color.get(name), lw=1.2, label=None if name in labelled else name)
        labelled.add(name)
    ax.set(yscale="log", xlabel="epoch", ylabel="relative L2 error (validation)")
    ax.legend(fontsize=8)
    ax.grid(True, which="both", alpha=0.2)
    return figure


def error_over_time(rows: Sequence[Mapping[str, Any]], color: Mapping[str, Any]) -> Figure:
    figure, ax = plt.subplots(figsize=(7, 4.2))
    labelled = set()
    for row in rows:
        curve = row.get("rel_l2_over_time")
        if row["split"] != "test" or not curve:
            continue
        name = row["surrogate"]
        values = [np.nan if v is None else v for v in curve["mean"]]
        ax.plot(curve["t"], values, ".-", color=color.get(name), lw=1.1, label=None if name in labelled else name)
        labelled.add(name)
    ax.set(yscale="log", xlabel="time", ylabel="relative L2 error (test)")
    ax.legend(fontsize=8)
    ax.grid(True, which="both", alpha=0.2)
    return figure


def samples(state: Mapping[str, Any], title: str) -> Figure:
    """Rows: median and worst sample. Columns: input, truth, prediction, error; curves in 1D, images in 2D."""
    entries = [(k, state[k]) for k in ("median", "worst") if k in state]
    truth = entries[0][1]["truth"]
    timed_1d = truth.ndim == 3 and entries[0][1]["u0"] is not None and entries[0][1]["u0"].ndim == 2
    flat = truth.ndim == 2  # (C, x): a steady curve
    figure, axes = plt.subplots(len(entries), 3 if flat else 4, figsize=(11 if flat else 13, 2.9 * len(entries)),
                                squeeze=False, constrained_layout=True)
    for row, (label, entry) in zip(axes, entries):
        u, p = np.asarray(entry["truth"]), np.asarray(entry["mean"])
        given = entry["a"] if entry["a"] is not None else entry["u0"]
        name = f"{label} (sample {entry['sample']}, error {entry['error']:.3g})"
        if flat:
            _input(row[0], given)
            row[1].plot(u[0], "k", lw=1.2, label="truth")
            row[1].plot(p[0], "--", lw=1.2, label=title)
            if entry["std"] is not None:
                s = 1.96 * np.asarray(entry["std"])[0]
                row[1].fill_between(range(len(s)), p[0] - s, p[0] + s, alpha=0.2)
            row[1].legend(fontsize=7)
            row[2].plot((p - u)[0], "r", lw=1)
            row[2].set_title("prediction - truth", fontsize=9)
            row[1].set_title(name, fontsize=9)
            continue
        u2, p2 = _image(u, timed_1d), _image(p, timed_1d)
        _input(row[0], given)
        lo, hi = float(u2.min()), float(u2.max())
        for ax, values, text in ((row[1], u2, "truth"), (row[2], p2, name)):
            shown = ax.imshow(values, origin="lower", aspect="auto", vmin=lo, vmax=hi, cmap="viridis")
            ax.set_title(text, fontsize=9)
            figure.colorbar(shown, ax=ax, shrink=0.85)
        e = p2 - u2
        top = float(np.abs(e).max()) or 1.0
        shown = row[3].imshow(e, origin="lower", aspect="auto", vmin=-top, vmax=top, cmap="RdBu_r")
        row[3].set_title("prediction - truth", fontsize=9)
        figure.colorbar(shown, ax=row[3], shrink=0.85)
    figure.suptitle(title, fontsize=11)
    return figure


def draw_data(data: Dataset, width: NWidth, folder: Path) -> list[Path]:
    """The n-width curve and the first three samples of a data set."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [_save(error_against_width([], width.to_dict(), {}), folder / "n_width.png")]
    count = min(3, len(data))
    some = data[range(count)].load()
    timed_1d = data.time_dependent and len(data.grid.shape) == 1
    figure, axes = plt.subplots(count, 2, figsize=(8, 2.8 * count), squeeze=False, constrained_layout=True)
    for i, row in enumerate(axes):
        _input(row[0], some.a[i] if some.a is not None else None if some.u0 is None else some.u0[i])
        u = np.asarray(some.solution[i])
        row[1].set_title(f"solution of sample {i}", fontsize=9)
        if u.ndim == 2:
            row[1].plot(u[0], "k", lw=1.2)
        else:
            figure.colorbar(row[1].imshow(_image(u, timed_1d), origin="lower", aspect="auto"), ax=row[1])
    return [*made, _save(figure, folder / "samples.png")]


def _image(u: np.ndarray, timed_1d: bool) -> np.ndarray:
    """A picture of the first channel: time against x in 1D, the last time in 2D, the middle plane in 3D."""
    if timed_1d:
        return u[:, 0]
    while u.ndim > 3:
        u = u[-1] if u.ndim > 4 or u.shape[0] > 3 else u[..., u.shape[-1] // 2]
    return u[0] if u.ndim == 3 else u


def _input(ax: Axes, given: Any) -> None:
    ax.set_title("input", fontsize=9)
    if given is None:
        ax.axis("off")
        ax.text(0.5, 0.5, "parameters", ha="center", va="center", transform=ax.transAxes)
        return
    a = np.asarray(given)[0]
    if a.ndim == 1:
        ax.plot(a, "k", lw=1.2)
    else:
        ax.imshow(a if a.ndim == 2 else a[..., a.shape[-1] // 2], origin="lower", aspect="auto", cmap="cividis")
