"""Boxes with a condition on each side: their grids, the cells around the points, differences across faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..backends import Axis, Grid
from ..errors import NWidthError
from .elliptic import EllipticProblem
from .problem import sizes
from .separable import Line

SIDES = ("dirichlet", "neumann", "periodic")
POINTS = ("cell", "nodal")


@dataclass(frozen=True, kw_only=True)
class SidedBox(EllipticProblem):
    """[lo, hi]^d with values at cell centres or nodes, and the kind of condition on each side.

    A cell is around each point, of half the width at the ends of nodal axes with a flux. Nodes on Dirichlet sides are
    no unknowns.

    Parameters
    ----------
    ndim : the dimension d.
    lo, hi : the box.
    points : where the values are, ``cell`` centres or ``nodal`` points that include the ends. Periodic axes have
        periodic points with either.
    sides : ``dirichlet``, ``neumann`` or ``periodic``, one for all sides or a list: x lower, x upper, y lower, ..
    """

    lo: float = 0.0
    hi: float = 1.0
    points: str = "cell"
    sides: str | Sequence[str] = "dirichlet"

    def __post_init__(self):
        super().__post_init__()
        name = type(self).__name__
        if not isinstance(self.sides, str):
            object.__setattr__(self, "sides", tuple(self.sides))
        if self.points not in self.point_kinds:
            got = f"points={self.points!r}"
            raise NWidthError(name, got=got, expected="one of " + ", ".join(self.point_kinds))
        every = (self.sides,) if isinstance(self.sides, str) else self.sides
        pairs = self.side_pairs if len(every) in (1, 2 * self.ndim) else ()
        unpaired = any("periodic" in pair and pair != ("periodic",) * 2 for pair in pairs)
        if not pairs or unpaired or any(s not in SIDES for s in every):
            raise NWidthError(
                name,
                got=f"sides={self.sides}",
                expected=f"{', '.join(SIDES)}, one or {2 * self.ndim} of them, periodic in pairs",
            )
        if not self.hi > self.lo:
            raise NWidthError(name, got=f"lo={self.lo}, hi={self.hi}", expected="lo < hi")

    @property
    def point_kinds(self) -> tuple[str, ...]:
        """Kinds of points that the problem can be solved on."""
        return POINTS

    @property
    def side_pairs(self) -> tuple[tuple[str, str], ...]:
        """(lower, upper) for each axis."""
        every = (self.sides,) if isinstance(self.sides, str) else tuple(self.sides)
        every = every * (2 * self.ndim) if len(every) == 1 else every
        return tuple(zip(every[::2], every[1::2]))

    @property
    def singular(self) -> bool:
        """Whether constants solve the homogeneous problem."""
        return all("dirichlet" not in pair for pair in self.side_pairs)

    def grid(self, resolution: int | Sequence[int]) -> Grid:
        shape = sizes(resolution, self.ndim, 3 if self.points != "cell" else 2, type(self).__name__)
        kinds = ["periodic" if "periodic" in pair else self.points for pair in self.side_pairs]
        return Grid(tuple(Axis(k, n, self.lo, self.hi, x) for k, n, x in zip(kinds, shape, "xyzw")))

    def lines(self, grid: Grid) -> list[Line]:
        """Each axis with its conditions: what separates the Laplacian."""
        return [Line(axis, *pair) for axis, pair in zip(grid.axes, self.side_pairs)]

    def differences(self, u: Tensor, grid: Grid) -> list[Tensor]:
        """Difference quotients across faces; u = 0 on all Dirichlet sides."""
        free = self._free(grid, u)
        return self._quotients(u if free is None else u * free, grid)

    def adjoint(self, faces: Sequence[Tensor], grid: Grid) -> Tensor:
        """Minus the divergence of face values, 0 at the nodes of Dirichlet sides."""
        out = torch.zeros((), dtype=faces[0].dtype, device=faces[0].device)
        for i, (q, axis) in enumerate(zip(faces, grid.axes)):
            dim = i - grid.ndim
            if axis.kind == "periodic":
                change = q - q.roll(1, dim)
            else:
                wall = None if axis.kind == "cell" else torch.zeros_like(q.narrow(dim, 0, 1))
                change = torch.diff(q, dim=dim, prepend=wall, append=wall)
            out = out - change / axis.spacing
        free = self._free(grid, out)
        return out if free is None else out * free

    def _widths(self, grid: Grid, i: int, like: Tensor) -> Tensor | None:
        """Widths of the cells along axis i relative to the spacing; None where all are 1."""
        axis, pair = grid.axes[i], self.side_pairs[i]
        if axis.kind != "nodal" or "neumann" not in pair:
            return None
        w = torch.ones(axis.n, dtype=like.dtype, device=like.device)
        for end, side in zip((0, -1), pair):
            w[end] = 0.5 if side == "neumann" else 1.0
        return w.view(-1, *(1,) * (grid.ndim - 1 - i))

    def _volume(self, grid: Grid, like: Tensor, without: int | None = None) -> Tensor:
        """Volumes of the cells relative to a whole one; of their faces across the axis ``without``."""
        shape = [1 if i == without else n for i, n in enumerate(grid.shape)]
        out = torch.ones(shape, dtype=like.dtype, device=like.device)
        for i in range(grid.ndim):
            if i != without and (w := self._widths(grid, i, like)) is not None:
                out = out * w
        return out

    def _unknowns(self, grid: Grid) -> tuple[slice, ...]:
        """The part of (N, 1, *space) that is solved for."""
        parts = [slice(None), slice(None)]
        for axis, (lower, upper) in zip(grid.axes, self.side_pairs):
            nodal = axis.kind == "nodal"
            last = axis.n - 1 if nodal and upper == "dirichlet" else axis.n
            parts.append(slice(1 if nodal and lower == "dirichlet" else 0, last))
        return tuple(parts)

    def _free(self, grid: Grid, like: Tensor) -> Tensor | None:
        """1 where u is solved for, 0 where it is given; None where it is given nowhere."""
        inner = self._unknowns(grid)
        if all(s.stop == n and not s.start for s, n in zip(inner[2:], grid.shape)):
            return None
        out = torch.zeros(grid.shape, dtype=like.dtype, device=like.device)
        out[inner[2:]] = 1
        return out

    def _at_end(self, slab: Tensor, i: int, end: int, grid: Grid) -> Tensor:
        """A field that is ``slab`` at one end of axis i and zero elsewhere."""
        n, dim = grid.shape[i], i - grid.ndim
        rest = slab.new_zeros(*slab.shape[:dim], n - 1, *slab.shape[dim:][1:])
        return torch.cat([slab, rest] if end == 0 else [rest, slab], dim)

    def _centred(self, u: Tensor, volume: Tensor) -> Tensor:
        """u without its mean where the problem does not determine it."""
        if not self.singular:
            return u
        return u - (u * volume).sum(tuple(range(1, u.ndim)), keepdim=True) / volume.sum()

    def _quotients(self, u: Tensor, grid: Grid, walls: Sequence[Sequence[Tensor | None]] | None = None) -> list[Tensor]:
        """Difference quotients across faces, with these values at the walls of cells (zero without)."""
        out = []
        for i, axis in enumerate(grid.axes):
            dim = i - grid.ndim
            if axis.kind == "periodic":
                change = u.roll(-1, dim) - u
            elif axis.kind == "cell":
                zero = torch.zeros_like(u.narrow(dim, 0, 1))
                first, last = (zero if w is None else w.expand_as(zero) for w in (walls[i] if walls else (None, None)))
                change = torch.diff(u, dim=dim, prepend=first, append=last)
            else:
                change = torch.diff(u, dim=dim)
            out.append(change / axis.spacing)
        return out
