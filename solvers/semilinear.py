"""Steady semilinear problems on boxes: Newton's method with conjugate gradients, many samples at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from ..backends import Grid
from ..data import Dataset
from ..errors import NWidthError
from .elliptic import BATCH, conjugate_gradients
from .problem import Problem, lead, sizes
from .separable import Line, Separable

INNER = 1e-4  # relative residual of the linear systems: each Newton step gains at least three digits at the end
HALVINGS = 40


@dataclass(frozen=True, kw_only=True)
class SemilinearProblem(Problem):
    """-Lap u + g(u; mu) = f on [lo, hi]^d, u = 0 on the boundary, with g non-decreasing in u at every point.

    A subclass gives ``reaction`` (g), ``slope`` (dg/du >= 0) and ``potential`` (G with dG/du = g) as functions of
    values at points, and ``forces`` (f, of the field a alone). From these come the full-order solution and reduced
    models, which evaluate g at a few points.

    Second differences on nodal points that include the boundary: second order. The solution is the one minimum of the
    convex energy 1/2 <u, -Lap u> + sum G(u) - <f, u>: Newton steps from u = 0, shortened until it falls (Armijo), with
    the linear systems by conjugate gradients, preconditioned by the Laplacian's inverse (fast sine transforms).

    rtol : the residual relative to f at which iterations stop, or round-off of the differences where that is more.
    iterations : the most Newton steps.
    """

    ndim: int = 2
    lo: float = 0.0
    hi: float = 1.0
    rtol: float = 1e-10
    iterations: int = 50

    def __post_init__(self):
        if not (1 <= self.ndim <= 3 and self.hi > self.lo and 0 < self.rtol < 1 and self.iterations >= 1):
            raise NWidthError(
                type(self).__name__,
                got=f"ndim={self.ndim}, lo={self.lo}, hi={self.hi}, rtol={self.rtol}, iterations={self.iterations}",
                expected="ndim from 1 to 3, lo < hi, 0 < rtol < 1, iterations >= 1",
            )

    @abstractmethod
    def reaction(self, u: Tensor, inputs: Dataset) -> Tensor:
        """g(u) at points, u (N, ...)."""

    @abstractmethod
    def slope(self, u: Tensor, inputs: Dataset) -> Tensor:
        """dg/du."""

    @abstractmethod
    def potential(self, u: Tensor, inputs: Dataset) -> Tensor:
        """The integral of g from 0 to u."""

    @abstractmethod
    def forces(self, inputs: Dataset) -> Tensor:
        """f at the points, (N or 1, 1, *space)."""

    def grid(self, resolution: int | Sequence[int]) -> Grid:
        return Grid.make(sizes(resolution, self.ndim, 4, type(self).__name__), "nodal", self.lo, self.hi)

    def laplacian(self, u: Tensor, grid: Grid) -> Tensor:
        """-Lap_h u at the inner points for u (..., *inner) that vanishes on the boundary."""
        out = torch.zeros_like(u)
        for i, axis in enumerate(grid.axes):
            dim = i - grid.ndim
            wall = torch.zeros_like(u.narrow(dim, 0, 1))
            out -= torch.diff(torch.diff(u, dim=dim, prepend=wall, append=wall), dim=dim) / axis.spacing**2
        return out

    def inner(self, u: Tensor) -> Tensor:
        """The part (..., *inner) of values at all points that is solved for."""
        for i in range(self.ndim):
            u = u.narrow(i - self.ndim, 1, u.shape[i - self.ndim] - 2)
        return u

    def residual(self, u: Tensor, inputs: Dataset) -> Tensor:
        """-Lap u + g(u) - f at inner points, u on the boundary; shaped like u, differentiable in u."""
        grid = self._grid(inputs)
        change = torch.zeros((), dtype=u.dtype, device=u.device)
        for i, axis in enumerate(grid.axes):
            second = torch.diff(u, n=2, dim=i - grid.ndim) / axis.spacing**2
            for j in range(grid.ndim):
                if j != i:
                    second = second.narrow(j - grid.ndim, 1, grid.shape[j] - 2)
            change = change - second
        inside = change + self.reaction(self.inner(u), inputs) - self.inner(self.forces(inputs))
        out = u.clone()
        self.inner(out).copy_(inside)
        return out

    def solve(self, inputs: Dataset, *, dtype: torch.dtype = torch.float64) -> Dataset:
        """``inputs`` with the solution u (N, 1, *space).

        Raises NWidthError for missing or unusable inputs, and where the iterations do not converge.
        """
        self.need(inputs)
        inputs = inputs.load()
        size = max(1, BATCH // prod(inputs.grid.shape))
        parts = [self._solve(inputs[i : i + size].to(dtype=dtype)) for i in range(0, len(inputs), size)]
        return replace(inputs, u=torch.cat(parts).to(lead(inputs).dtype), problem=self.config())

    def _grid(self, inputs: Dataset) -> Grid:
        grid = inputs.grid
        close = 1e-6 * (self.hi - self.lo)
        if not (
            isinstance(grid, Grid)
            and grid.ndim == self.ndim
            and all(a.kind == "nodal" and abs(a.lo - self.lo) + abs(a.hi - self.hi) < close for a in grid.axes)
        ):
            raise NWidthError(
                type(self).__name__,
                got=grid.describe(),
                expected=f"nodal points of [{self.lo:g}, {self.hi:g}]^{self.ndim}, ends included",
                fix="set data.kind to the kind of the points, and the problem's lo, hi to the domain",
            )
        return grid

    def _solve(self, inputs: Dataset) -> Tensor:
        grid = self._grid(inputs)
        f = self.inner(self.forces(inputs))
        f = f.expand(len(inputs), *f.shape[1:])
        if not bool(torch.isfinite(f).all()):
            raise NWidthError(f"{type(self).__name__}.solve", got="NaN or infinite forces", expected="finite inputs")
        poisson = Separable([Line(a, "dirichlet", "dirichlet") for a in grid.axes], f)
        stiffness = sum(4 / a.spacing**2 for a in grid.axes)
        eps = torch.finfo(f.dtype).eps
        u = torch.zeros_like(f)
        size = _norm(f)
        done = torch.zeros(len(f), dtype=torch.bool, device=f.device)
        for _ in range(self.iterations + 1):
            r = self.laplacian(u, grid) + self.reaction(u, inputs) - f
            limit = torch.maximum(self.rtol * size, eps * stiffness * _norm(u))
            done = _norm(r) <= limit
            if bool(done.all()):
                out = u.new_zeros(len(inputs), 1, *grid.shape)
                self.inner(out).copy_(u)
                return out
            slope = self.slope(u, inputs)
            step, _, _ = conjugate_gradients(
                lambda v, slope=slope: self.laplacian(v, grid) + slope * v,  # type: ignore[misc]
                torch.where(_spread(done, r), torch.zeros_like(r), -r),
                poisson.solve,
                max(INNER, 10 * eps),
                500,
            )
            u = self._shorten(u, step, r, f, inputs, grid)
        raise NWidthError(
            f"{type(self).__name__}.solve",
            got=f"a relative residual of {float((_norm(r) / size.clamp_min(1e-300)).max()):.1e} after "
            f"{self.iterations} Newton steps",
            expected=f"rtol={self.rtol:.1e}",
            fix="raise iterations or rtol, or check the parameters",
        )

    def _shorten(self, u: Tensor, step: Tensor, r: Tensor, f: Tensor, inputs: Dataset, grid: Grid) -> Tensor:
        """u + t step, t halved for each sample until the energy falls."""
        energy = self._energy(u, f, inputs, grid)
        fall = 1e-4 * _dot(r, step)
        slack = 10 * torch.finfo(u.dtype).eps * (energy.abs() + _dot(f.abs(), u.abs()))
        t = torch.ones(len(u), dtype=u.dtype, device=u.device)
        for _ in range(HALVINGS):
            bad = ~(self._energy(u + _spread(t, u) * step, f, inputs, grid) <= energy + t * fall + slack)
            if not bool(bad.any()):
                break
            t = torch.where(bad, t / 2, t)
        return u + _spread(t, u) * step

    def _energy(self, u: Tensor, f: Tensor, inputs: Dataset, grid: Grid) -> Tensor:
        return _dot(u, self.laplacian(u, grid)) / 2 + _dot(torch.ones_like(u), self.potential(u, inputs)) - _dot(f, u)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).flatten(1).sum(1)


def _norm(x: Tensor) -> Tensor:
    return _dot(x, x).sqrt()


def _spread(s: Tensor, like: Tensor) -> Tensor:
    return s.view(-1, *(1,) * (like.ndim - 1))
