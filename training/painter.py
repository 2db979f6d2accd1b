"""Fields of a data set as curves, images, triangulations or points, labelled with names and units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from ..backends import Axis, Grid, Mesh
from ..data import Dataset
from ..data.arrays import block

_POINTS = 512  # along one axis of a picture
_TIMES = 512


class Painter:
    """Draws fields of one data set on thinned grids; of three axes the middle plane, of complex fields the modulus."""

    def __init__(self, data: Dataset):
        self.data, self.grid = data, data.grid
        self.strides: tuple[int, ...] = (1,)
        if isinstance(self.grid, Grid):
            self.strides = tuple(-(-n // _POINTS) for n in self.grid.shape)
            self.axes = [a.every(s) for a, s in zip(self.grid.axes, self.strides)]
        self.dims = self.grid.ndim
        self.image_in_time = data.time_dependent and self.dims == 1
        u, u0 = data.u, data.u0
        states = data.time_dependent and u is not None and u0 is not None and tuple(u0.shape[1:]) == tuple(u.shape[2:])
        self.starts_with_u0 = states  # then it is drawn with the solution

    @property
    def columns(self) -> int:
        """Panels that one solution needs."""
        return 2 if self.image_in_time else len(self.times())

    def times(self) -> list[int]:
        """Numbers of the states that are drawn (0 is u0, where it is a state), up to four; [0] for steady data."""
        if not self.data.time_dependent or self.data.u is None:
            return [0]
        first, last = 0 if self.starts_with_u0 else 1, self.data.u.shape[1]
        return np.unique(np.linspace(first, last, min(4, last - first + 1)).round().astype(int)).tolist()

    def figure(self, rows: int, columns: int) -> tuple[Figure, Any]:
        """Axes in the proportions of the domain."""
        ratio = 0.8
        if self.dims > 1:
            x, y = self._spans()
            ratio = y / x if 0.25 <= y / max(x, 1e-300) <= 4 else 1.0
        width = 3.6 if ratio <= 1.2 else 3.6 / ratio**0.5
        size = (width * columns + 0.5, (width - 1.0) * ratio * rows + 0.9 * rows + 0.2)
        return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")

    def _spans(self) -> tuple[float, float]:
        if isinstance(self.grid, Grid):
            return self.axes[0].length, self.axes[1].length
        x, y = np.ptp(self.grid.points[:, :2].numpy(), axis=0)
        return float(x), float(y)

    def read(self, name: str, sample: int, times: slice = slice(None), channel: int = 0) -> np.ndarray:
        """Times (for u) and points of one channel, thinned; the modulus of complex values."""
        value = getattr(self.data, name)
        assert value is not None
        timed = name == "u" and self.data.time_dependent
        found = (block(value, [sample], times) if timed else block(value, [sample]))[0]
        picked = found[:, channel] if timed else found[channel]
        if isinstance(self.grid, Grid):
            cut: tuple[Any, ...] = (..., *(slice(None, None, s) for s in self.strides))
            picked = picked[cut]
        values = picked.numpy()
        return np.abs(values) if np.iscomplexobj(values) else values

    def solution(self, row: Sequence[Axes], sample: int, channel: int) -> None:
        """One sample's solution in the axes of a row, with one colour scale."""
        data, label = self.data, label_of(self.data, "u", channel)
        if not data.time_dependent:
            self.draw(row[0], self.read("u", sample, channel=channel), label=label)
            row[0].set_title(role_name("u"), fontsize=9)
            return
        assert data.t is not None and data.u is not None
        fields, at = [], []
        for k in self.times():
            fields.append(
                self.read("u", sample, slice(k - 1, k), channel)[0] if k else self.read("u0", sample, channel=channel)
            )
            at.append(float(data.t[k - 1]) if k else data.t0)
        unit = f" {data.units['t']}" if data.units.get("t") else ""
        if self.image_in_time:
            step = -(-data.u.shape[1] // _TIMES)
            u = self.read("u", sample, slice(step - 1, None, step), channel)
            t = data.t[step - 1 :: step].numpy()
            if self.starts_with_u0:
                u = np.concatenate([self.read("u0", sample, channel=channel)[None], u])
                t = np.concatenate([[data.t0], t])
            self._space_time(row[0], u, t, label)
            x, order, name = self._line()
            for i, (field, when) in enumerate(zip(fields, at)):
                color = plt.get_cmap("plasma")(0.85 * i / max(len(at) - 1, 1))
                row[1].plot(x[order], field[order], color=color, lw=1.2, label=f"t = {when:.4g}{unit}")
            row[1].set(xlabel=_with_unit(name, data), ylabel=label)
            row[1].legend(fontsize=7)
            row[1].grid(True, alpha=0.2)
            return
        limits = _limits(np.stack(fields))
        for i, (ax, field, when) in enumerate(zip(row, fields, at)):
            self.draw(ax, field, limits=limits, label=label, bar=i == len(fields) - 1)
            ax.set_title(f"t = {when:.4g}{unit}", fontsize=9)

    def _line(self) -> tuple[np.ndarray, np.ndarray, str]:
        """Coordinates of the one axis, the order that makes them increase, and its name."""
        x = self.axes[0].coordinates().numpy() if isinstance(self.grid, Grid) else self.grid.points[:, 0].numpy()
        return x, np.argsort(x), self.axes[0].name if isinstance(self.grid, Grid) else "x"

    def _space_time(self, ax: Axes, u: np.ndarray, t: np.ndarray, label: str) -> None:
        x, order, name = self._line()
        if len(t) == 1:
            ax.plot(x[order], u[0, order], "k", lw=1.2)
            ax.set(xlabel=_with_unit(name, self.data), ylabel=label)
            return
        lo, hi = _limits(u)
        shown = ax.pcolormesh(x[order], t, u[:, order], shading="nearest", vmin=lo, vmax=hi, rasterized=True)
        ax.set(xlabel=_with_unit(name, self.data), ylabel=_with_unit("t", self.data))
        color_bar(ax, shown, label)

    def draw(
        self,
        ax: Axes,
        field: np.ndarray,
        *,
        limits: tuple[float, float] | None = None,
        cmap: str = "viridis",
        label: str | None = None,
        bar: bool = True,
    ) -> None:
        """One field: a curve, an image, a triangulation, or points."""
        lo, hi = limits if limits is not None else _limits(field)
        if isinstance(self.grid, Mesh) and self.dims > 1:
            self._mesh(ax, field, lo, hi, cmap, label, bar)
            return
        if self.dims == 1:
            x, order, name = self._line()
            ax.plot(x[order], field[order], "k", lw=1.2)
            ax.set(xlabel=_with_unit(name, self.data), ylabel=label or "")
            ax.grid(True, alpha=0.2)
            return
        first, second = self.axes[:2]
        for axis in reversed(self.axes[2:]):  # the middle plane of what is left
            field = field[..., axis.n // 2]
        x, y = (a.coordinates().numpy() for a in (first, second))
        shown = ax.pcolormesh(x, y, field.T, shading="nearest", vmin=lo, vmax=hi, cmap=cmap, rasterized=True)
        _frame(ax, first, second)
        cut = ", ".join(f"{a.name} = {float(a.coordinates()[a.n // 2]):.3g}" for a in self.axes[2:])
        ax.set(xlabel=_with_unit(first.name, self.data), ylabel=_with_unit(second.name, self.data))
        if cut:
            ax.text(0.02, 0.97, cut, transform=ax.transAxes, fontsize=7, va="top", color="w", bbox=_BOX)
        if bar:
            color_bar(ax, shown, label)

    def _mesh(self, ax: Axes, field: np.ndarray, lo: float, hi: float, cmap: str, label: str | None, bar: bool) -> None:
        assert isinstance(self.grid, Mesh)
        shown = draw_mesh(ax, self.grid, field, lo, hi, cmap)
        spans = np.ptp(self.grid.points[:, :2].numpy(), axis=0)
        ax.set_aspect("equal" if 0.25 <= spans[1] / max(spans[0], 1e-300) <= 4 else "auto")
        ax.set(xlabel=_with_unit("x", self.data), ylabel=_with_unit("y", self.data))
        if bar:
            color_bar(ax, shown, label)


def draw_mesh(ax: Axes, mesh: Mesh, field: np.ndarray, lo: float, hi: float, cmap: str) -> Any:
    """Values at the points of a mesh: its triangles where it has them, else dots (in 3D those near the middle)."""
    points = mesh.points.numpy()
    triangles = None if mesh.cells is None or mesh.ndim != 2 else _triangles(mesh.cells.numpy())
    if triangles is not None:
        x, y = points.T
        return ax.tripcolor(
            x, y, field, triangles=triangles, shading="gouraud", vmin=lo, vmax=hi, cmap=cmap, rasterized=True
        )
    keep = np.ones(len(points), dtype=bool)
    if mesh.ndim > 2:
        z = points[:, 2]
        middle, thick = (z.min() + z.max()) / 2, max(float(np.ptp(z)), 1e-300)
        keep = np.abs(z - middle) <= max(0.05 * thick, float(np.abs(z - middle).min()) * 1.001)
        ax.text(
            0.02,
            0.97,
            f"z near {middle:.3g}",
            transform=ax.transAxes,
            fontsize=7,
            va="top",
            color="w",
            bbox=_BOX,
        )
    size = float(np.clip(4e3 / max(keep.sum(), 1), 1, 30))
    x, y = points[keep, :2].T
    return ax.scatter(x, y, c=field[keep], s=size, vmin=lo, vmax=hi, cmap=cmap, rasterized=True)


def color_bar(ax: Axes, shown: Any, label: str | None = None, shrink: float = 1.0) -> None:
    """A color bar beside ``ax``, its numbers short enough to fit there."""
    one_power = ScalarFormatter()
    one_power.set_powerlimits((-2, 4))  # of ten, for all numbers
    bar = ax.figure.colorbar(shown, ax=ax, shrink=shrink, format=one_power)
    bar.ax.yaxis.get_offset_text().set(size=8, ha="left")
    bar.set_label(label or "", fontsize=8)
    bar.ax.tick_params(labelsize=8)


_BOX = {"facecolor": "0.2", "alpha": 0.6, "lw": 0, "pad": 1.5}


def _triangles(cells: np.ndarray) -> np.ndarray | None:
    """Triangles as they are, quadrilaterals cut in two."""
    if cells.shape[1] == 3:
        return cells
    return np.concatenate([cells[:, [0, 1, 2]], cells[:, [0, 2, 3]]]) if cells.shape[1] == 4 else None


def _frame(ax: Axes, first: Axis, second: Axis) -> None:
    ratio = second.length / first.length if first.length > 0 else 1.0
    ax.set_aspect("equal" if 0.25 <= ratio <= 4 else "auto")


def _limits(values: np.ndarray) -> tuple[float, float]:
    good = values[np.isfinite(values)]
    return (float(good.min()), float(good.max())) if good.size else (0.0, 1.0)


def _is_complex(data: Dataset, name: str) -> bool:
    return bool(getattr(data, name).dtype.is_complex)


def shown_name(channel: str, data: Dataset, name: str) -> str:
    return f"|{channel}|" if _is_complex(data, name) else channel


def label_of(data: Dataset, name: str, channel: int) -> str:
    unit = data.units.get(name)
    names = data.channels(name)
    if name == "u0" and not data.names.get("u0") and len(data.channels("u")) == len(names):
        names, unit = data.channels("u"), unit or data.units.get("u")
    return shown_name(names[channel], data, name) + (f" [{unit}]" if unit else "")


def role_name(name: str) -> str:
    return {"a": "input a", "u0": "initial state", "mu": "parameters", "u": "solution"}[name]


def _with_unit(axis: str, data: Dataset) -> str:
    return f"{axis} [{data.units[axis]}]" if data.units.get(axis) else axis


def parameters_text(data: Dataset, sample: int) -> str:
    if data.mu is None:
        return ""
    pairs = [f"{n} = {float(v):.3g}" for n, v in zip(data.channels("mu"), data.mu[sample])]
    return ": " + ", ".join(pairs[:3]) + (", ..." if len(pairs) > 3 else "")
