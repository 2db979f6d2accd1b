"""Where the values of a field live: tensor-product grids and unstructured meshes, with quadrature weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from ..errors import NWidthError

KINDS = ("periodic", "nodal", "cell", "chebyshev", "listed")


@dataclass(frozen=True)
class Axis:
    """One direction of a grid: ``n`` points on [lo, hi].

    ==========  =========================================================  ===========================
    kind        points x_j, j = 0 .. n-1                                   quadrature
    ==========  =========================================================  ===========================
    periodic    lo + (hi-lo) j/n (hi is lo again)                          equal weights
    nodal       lo + (hi-lo) j/(n-1), both ends included                   trapezoid
    cell        lo + (hi-lo) (j+1/2)/n                                     equal weights (midpoint)
    chebyshev   mid - half cos(pi j/(n-1)) (Gauss-Lobatto, increasing)     Clenshaw-Curtis
    listed      ``points``, any increasing sequence                        trapezoid
    ==========  =========================================================  ===========================

    >>> Axis("cell", 4).coordinates().tolist()
    [0.125, 0.375, 0.625, 0.875]
    """

    kind: str
    n: int
    lo: float = 0.0
    hi: float = 1.0
    name: str = "x"
    points: tuple[float, ...] | None = None

    def __post_init__(self):
        if self.kind not in KINDS:
            raise NWidthError("Axis", got=f"kind={self.kind!r}", expected="one of " + ", ".join(KINDS))
        if self.kind == "listed":
            points = tuple(float(p) for p in self.points or ())
            if len(points) != self.n or any(b <= a for a, b in zip(points, points[1:])):
                raise NWidthError(
                    f"Axis {self.name!r}",
                    got=f"{len(points)} listed points for n={self.n}, or points that do not increase",
                    expected="n strictly increasing points",
                )
            object.__setattr__(self, "points", points)
            object.__setattr__(self, "lo", points[0])
            object.__setattr__(self, "hi", points[-1])
        if self.n < 1 or (self.n < 2 and self.kind in ("nodal", "chebyshev")):
            raise NWidthError(f"Axis {self.name!r}", got=f"n={self.n} for kind {self.kind!r}", expected="more points")
        if not (math.isfinite(self.lo) and math.isfinite(self.hi)) or (self.hi <= self.lo and self.n > 1):
            raise NWidthError(f"Axis {self.name!r}", got=f"lo={self.lo}, hi={self.hi}", expected="finite lo < hi")

    @property
    def length(self) -> float:
        """hi - lo; for a periodic axis, the period."""
        return self.hi - self.lo

    @property
    def uniform(self) -> bool:
        return self.kind in ("periodic", "nodal", "cell")

    @property
    def spacing(self) -> float:
        """Distance between neighbours of a uniform axis; the mean distance otherwise."""
        return self.length / (self.n if self.kind in ("periodic", "cell") else max(self.n - 1, 1))

    def coordinates(self) -> Tensor:
        """The points, increasing, float64, shape (n,)."""
        j = torch.arange(self.n, dtype=torch.float64)
        if self.kind == "listed":
            return torch.tensor(self.points, dtype=torch.float64)
        if self.kind == "chebyshev":
            mid, half = (self.lo + self.hi) / 2, self.length / 2
            return mid - half * torch.cos(math.pi * j / (self.n - 1))
        shift = 0.5 if self.kind == "cell" else 0.0
        return self.lo + self.spacing * (j + shift)

    def weights(self) -> Tensor:
        """Quadrature weights, float64, shape (n,); they sum to the length of the axis."""
        if self.kind in ("periodic", "cell"):
            return torch.full((self.n,), self.length / self.n, dtype=torch.float64)
        if self.kind == "chebyshev":
            return _clenshaw_curtis(self.n) * (self.length / 2)
        if self.n == 1:
            return torch.ones(1, dtype=torch.float64)
        gaps = self.coordinates().diff()
        w = torch.zeros(self.n, dtype=torch.float64)
        w[:-1] += gaps / 2
        w[1:] += gaps / 2
        return w

    def norm_weights(self) -> Tensor:
        """Weights of norms: equal on a uniform axis, as published errors are computed, quadrature on others."""
        return torch.full((self.n,), self.length / self.n, dtype=torch.float64) if self.uniform else self.weights()

    def with_n(self, n: int) -> Axis:
        """The same interval with another number of points."""
        if n == self.n:
            return self
        if self.kind == "listed":
            raise NWidthError(
                f"Axis {self.name!r}",
                got=f"n={n} for an axis of {self.n} listed points",
                expected="a uniform axis",
                fix="give the new points instead",
            )
        return replace(self, n=n)

    def every(self, stride: int) -> Axis:
        """Every ``stride``-th point, starting with the first."""
        if stride == 1:
            return self
        kept = self.coordinates()[::stride]
        n = len(kept)
        if self.kind == "periodic" and self.n % stride == 0:
            return replace(self, n=n)
        if self.kind in ("periodic", "nodal") and n > 1:
            return Axis("nodal", n, float(kept[0]), float(kept[-1]), self.name)
        return Axis("listed", n, name=self.name, points=tuple(kept.tolist()))

    @classmethod
    def from_coordinates(
        cls, points: Sequence[float] | Tensor, name: str = "x", periodic: bool = False, kind: str | None = None
    ) -> Axis:
        """The axis that has these points: uniform ones become ``kind`` (default nodal, or periodic when told so), those
        of a Chebyshev axis ``chebyshev`` where that is the kind, and any others listed.

        A periodic axis must not repeat its first point at the end.
        """
        x = torch.as_tensor(points, dtype=torch.float64).flatten()
        n = len(x)
        if kind is not None and kind not in KINDS:
            raise NWidthError(f"Axis {name!r}", got=f"kind={kind!r}", expected="one of " + ", ".join(KINDS))
        if n == 0 or not bool(torch.isfinite(x).all()) or (n > 1 and not bool((x.diff() > 0).all())):
            raise NWidthError(
                f"Axis {name!r}",
                got=f"{n} coordinates that are not finite and strictly increasing",
                expected="increasing coordinates",
                fix="sort the file along this axis, or name other coordinates",
            )
        if n == 1:
            return cls("listed", 1, name=name, points=(float(x[0]),))
        gap = float((x[-1] - x[0]) / (n - 1))
        tolerance = 1e-3 * gap + 4e-7 * float(x.abs().max())
        if kind == "chebyshev":
            lobatto = cls(kind, n, float(x[0]), float(x[-1]), name)
            if float((x - lobatto.coordinates()).abs().max()) <= tolerance:
                return lobatto
        if kind == "listed" or float((x - (x[0] + gap * torch.arange(n, dtype=torch.float64))).abs().max()) > tolerance:
            return cls("listed", n, name=name, points=tuple(x.tolist()))
        kind = kind or ("periodic" if periodic else "nodal")
        if kind == "periodic":
            return cls(kind, n, float(x[0]), float(x[0]) + gap * n, name)
        if kind == "cell":
            return cls(kind, n, float(x[0]) - gap / 2, float(x[-1]) + gap / 2, name)
        return cls("nodal", n, float(x[0]), float(x[-1]), name)


def _clenshaw_curtis(n: int) -> Tensor:
    """Weights of the interpolatory quadrature at the n Chebyshev-Gauss-Lobatto points of [-1, 1]."""
    m = n - 1
    theta = math.pi * torch.arange(n, dtype=torch.float64) / m
    w = torch.ones(n, dtype=torch.float64)
    for k in range(1, m // 2 + 1):
        b = 1.0 if 2 * k == m else 2.0
        w -= b * torch.cos(2 * k * theta) / (4 * k * k - 1)
    w *= 2.0 / m
    w[0] /= 2
    w[-1] /= 2
    return w


@dataclass(frozen=True)
class Grid:
    """The tensor product of axes. Fields on it have the trailing shape ``shape``.

    >>> g = Grid.make((4, 3), kind="periodic")
    >>> g.shape, tuple(g.coordinates().shape), round(float(g.weights().sum()), 12)
    ((4, 3), (2, 4, 3), 1.0)
    """

    axes: tuple[Axis, ...]

    def __post_init__(self):
        object.__setattr__(self, "axes", tuple(self.axes))
        if not self.axes:
            raise NWidthError("Grid", got="no axes", expected="one axis or more")

    @classmethod
    def make(cls, shape: Sequence[int], kind: str = "periodic", lo: float = 0.0, hi: float = 1.0) -> Grid:
        """Axes of one kind on [lo, hi] in every direction, named x, y, z, ..."""
        return cls(tuple(Axis(kind, n, lo, hi, name) for n, name in zip(shape, "xyzw")))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(a.n for a in self.axes)

    @property
    def ndim(self) -> int:
        return len(self.axes)

    @property
    def periodic(self) -> tuple[bool, ...]:
        return tuple(a.kind == "periodic" for a in self.axes)

    def coordinates(self) -> Tensor:
        """Coordinates of every point, float64, shape (ndim, *shape)."""
        return torch.stack(torch.meshgrid(*(a.coordinates() for a in self.axes), indexing="ij"))

    def weights(self) -> Tensor:
        """Quadrature weights of every point, float64, shape (*shape)."""
        return reduce(lambda w, a: w[..., None] * a.weights(), self.axes, torch.ones((), dtype=torch.float64))

    def norm_weights(self) -> Tensor:
        """Weights of norms and of reduced bases (see ``Axis.norm_weights``), float64, shape (*shape)."""
        return reduce(lambda w, a: w[..., None] * a.norm_weights(), self.axes, torch.ones((), dtype=torch.float64))

    def with_shape(self, shape: Sequence[int]) -> Grid:
        """The same domain at another resolution."""
        if len(shape) != self.ndim:
            raise NWidthError("Grid.with_shape", got=f"{len(shape)} sizes", expected=f"{self.ndim}")
        return Grid(tuple(a.with_n(n) for a, n in zip(self.axes, shape)))

    def every(self, stride: int | Sequence[int]) -> Grid:
        """Every ``stride``-th point of each axis."""
        strides = (stride,) * self.ndim if isinstance(stride, int) else tuple(stride)
        return Grid(tuple(a.every(s) for a, s in zip(self.axes, strides)))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for JSON."""
        axes = []
        for a in self.axes:
            d: dict[str, Any] = {"kind": a.kind, "n": a.n, "lo": a.lo, "hi": a.hi, "name": a.name}
            if a.points is not None:
                d["points"] = list(a.points)
            axes.append(d)
        return {"type": "grid", "axes": axes}

    def describe(self) -> str:
        return " x ".join(f"{a.name}: {a.n} {a.kind} on [{a.lo:g}, {a.hi:g}]" for a in self.axes)


@dataclass(frozen=True, eq=False)
class Mesh:
    """Scattered points (M, d) with quadrature weights (M,) and, where known, cells (K, vertices).

    Without weights every point counts the same: the metrics become root mean squares over points.

    >>> m = Mesh(torch.rand(5, 2))
    >>> m.shape, m.ndim
    ((5,), 2)
    """

    points: Tensor
    cells: Tensor | None = None
    point_weights: Tensor | None = None

    def __post_init__(self):
        p = self.points
        if p.ndim != 2 or not bool(torch.isfinite(p).all()):
            own = p.ndim == 3
            raise NWidthError(
                "Mesh",
                got=f"points of shape {tuple(p.shape)}" + (": a mesh for each sample?" if own else ""),
                expected="finite points (M, dimension)" + (", one mesh for all samples" if own else ""),
                fix="map the samples to one reference mesh, and store the displacement of its points as an input a"
                if own
                else "",
            )
        if self.point_weights is not None and self.point_weights.shape != p.shape[:1]:
            raise NWidthError("Mesh", got=f"weights {tuple(self.point_weights.shape)}", expected=f"({len(p)},)")
        if self.cells is not None and (
            self.cells.ndim != 2 or int(self.cells.min()) < 0 or int(self.cells.max()) >= len(p)
        ):
            raise NWidthError("Mesh", got="cells that name points which do not exist", expected="indices below M")

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.points),)

    @property
    def ndim(self) -> int:
        return self.points.shape[1]

    @property
    def periodic(self) -> tuple[bool, ...]:
        return (False,) * self.ndim

    def coordinates(self) -> Tensor:
        """Shape (d, M), float64."""
        return self.points.T.double()

    def weights(self) -> Tensor:
        """Given weights; else lumped P1 weights of segments, triangles or tetrahedra; else equal weights of sum 1."""
        if self.point_weights is not None:
            return self.point_weights.double()
        if self.cells is not None and self.cells.shape[1] <= self.ndim + 1:
            return _lumped_simplex_weights(self.points.double(), self.cells.long())
        return torch.full((len(self.points),), 1.0 / len(self.points), dtype=torch.float64)

    def norm_weights(self) -> Tensor:
        """The same as ``weights``."""
        return self.weights()

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for JSON; files keep the arrays beside it instead."""
        d: dict[str, Any] = {"type": "mesh", "points": self.points.tolist()}
        if self.cells is not None:
            d["cells"] = self.cells.tolist()
        if self.point_weights is not None:
            d["weights"] = self.point_weights.tolist()
        return d

    def describe(self) -> str:
        cells = "no cells" if self.cells is None else f"{len(self.cells)} cells"
        return f"mesh of {len(self.points)} points in {self.ndim}D, {cells}"


def _lumped_simplex_weights(points: Tensor, cells: Tensor) -> Tensor:
    corners = points[cells]
    edges = corners[:, 1:] - corners[:, :1]
    volume = torch.linalg.det(edges @ edges.mT).clamp_min(0).sqrt() / math.factorial(edges.shape[1])  # also of surfaces
    w = torch.zeros(len(points), dtype=torch.float64)
    return w.index_add(0, cells.flatten(), (volume / cells.shape[1]).repeat_interleave(cells.shape[1]))


def grid_from_dict(d: Mapping[str, Any]) -> Grid | Mesh:
    """Inverse of ``to_dict``."""
    if d.get("type") == "mesh":
        cells, weights = d.get("cells"), d.get("weights")
        return Mesh(
            torch.tensor(d["points"], dtype=torch.float64),
            None if cells is None else torch.tensor(cells, dtype=torch.long),
            None if weights is None else torch.tensor(weights, dtype=torch.float64),
        )
    if d.get("type") != "grid":
        raise NWidthError("grid_from_dict", got=f"type={d.get('type')!r}", expected="'grid' or 'mesh'")
    axes = []
    for a in d["axes"]:
        points = a.get("points")
        axes.append(
            Axis(
                str(a["kind"]),
                int(a["n"]),
                float(a["lo"]),
                float(a["hi"]),
                str(a["name"]),
                None if points is None else tuple(points),
            )
        )
    return Grid(tuple(axes))


def same_grid(a: Grid | Mesh, b: Grid | Mesh) -> bool:
    """Whether two grids have the same points, to single precision."""
    if a.shape != b.shape or a.ndim != b.ndim:
        return False
    x, y = a.coordinates(), b.coordinates()
    scale = float(x.amax() - x.amin()) or 1.0
    return float((x - y).abs().max()) <= 1e-5 * scale
