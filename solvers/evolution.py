"""Time-dependent problems on periodic boxes: spectral in space, exponential Runge-Kutta in time."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..backends import Grid, Mesh
from ..data import Dataset
from ..errors import NWidthError
from .problem import Problem, sizes
from .spectral import SpectralSpace, good_size
from .stepping import integrate

MOST_POINTS = 2**16


@dataclass(frozen=True, kw_only=True)
class EvolutionProblem(Problem):
    """u_t = sum_q theta_q(mu) A_q u + N(u; mu) on a periodic box [lo, hi)^d, from u(t0) = u0.

    A subclass gives ``theta`` (coefficients of the linear part, from the parameters), ``operators`` (the
    Fourier symbols of the A_q), ``nonlinear`` (N and any source, on coefficients) and ``resolve`` (the degree
    and the time step that an accurate solution takes). From these come the full-order solution, its
    right-hand side as a function of point values, and the operators of reduced models.

    The solver is a Fourier-Galerkin method: trigonometric polynomials of a degree that ``resolve`` chooses
    from the data, whatever the resolution of the grid on which the answer is wanted; products formed without
    aliasing (``SpectralSpace``); ETDRK4 in time (``stepping``). Samples are grouped by degree and time step.

    ``final_time`` and ``times``: the solution is stored at the ``times`` instants final_time j/times, j =
    1..times, unless the inputs carry their own times t. """

    ndim: ClassVar[int] = 1
    factors: ClassVar[int] = 2  # N is a polynomial of this degree in u and its derivatives
    quadratic: ClassVar[bool] = False  # N is a polynomial of degree two that mu does not change

    lo: float = 0.0
    hi: float = 1.0
    final_time: float = 1.0
    times: int = 10

    def __post_init__(self):
        if not (self.hi > self.lo and self.final_time > 0 and self.times >= 1):
            raise NWidthError(
                type(self).__name__, got=f"lo={self.lo}, hi={self.hi}, final_time={self.final_time}, "
                f"times={self.times}", expected="lo < hi, final_time > 0, times >= 1")

    @property
    @abstractmethod
    def bandlimit(self) -> int:
        """Highest frequency of the random initial states."""

    @abstractmethod
    def theta(self, mu: Tensor | None, like: Tensor) -> Tensor:
        """Coefficients theta_q, shape (N, Q), or (1, Q) where they are the same for all samples."""

    @abstractmethod
    def operators(self, space: SpectralSpace) -> Tensor:
        """Symbols of the A_q, shape (Q, C or 1, *space.counts)."""

    @abstractmethod
    def nonlinear(self, c: Tensor, space: SpectralSpace, mu: Tensor | None) -> Tensor:
        """Coefficients of N(u) and of the source from those of u, both (N, C, *space.counts)."""

    @abstractmethod
    def resolve(self, u0: Tensor, mu: Tensor | None, grid: Grid) -> tuple[Tensor, Tensor]:
        """For each sample, from it alone, the degree that its solution needs and the largest time step at
        that degree: float64 (N,) both, on the CPU. ``u0`` has the dtype in which it is stored."""

    def grid(self, resolution: int | Sequence[int]) -> Grid:
        return Grid.make(sizes(resolution, self.ndim, 4, type(self).__name__), "periodic", self.lo, self.hi)

    def stored_times(self) -> Tensor:
        """The instants at which the solution is stored, float64 (times,)."""
        return self.final_time * torch.arange(1, self.times + 1, dtype=torch.float64) / self.times

    def linear(self, space: SpectralSpace, mu: Tensor | None, like: Tensor) -> Tensor:
        """Symbol of L(mu) = sum_q theta_q A_q, (N or 1, C or 1, *counts)."""
        return torch.tensordot(self.theta(mu, like), self.operators(space), dims=1)

    def tendency(self, u: Tensor, mu: Tensor | None, grid: Grid) -> Tensor:
        """L u + N(u) at the points of ``grid`` for point values u (N, C, *space): what u_t must equal.

        Differentiable; u is taken as its trigonometric interpolant, of degree n/2 on n points.
        """
        shape = [(self.factors + 1) * (n // 2) + 1 for n in grid.shape]
        space = SpectralSpace(grid, shape, factors=self.factors, dtype=u.dtype, device=u.device)
        c = space.coefficients(u)
        return space.at(self.linear(space, mu, u) * c + self.nonlinear(c, space, mu), grid.shape)

    def simulate(self, indices: Sequence[int], seed: int, grid: Grid, *, device: str = "cpu") -> Dataset:
        """As ``Problem.simulate``; a grid too coarse for the initial state gets the solution's values, not a
        solution of the coarse values: the state is sampled on a finer grid, solved there, and thinned."""
        stride = max(-(-(2 * self.bandlimit + 1) // n) for n in grid.shape)
        fine = grid.with_shape([stride * n for n in grid.shape])
        return self.solve(self.sample(indices, seed, fine).to(device)).thin(space=stride)

    def solve(self, inputs: Dataset, *, dtype: torch.dtype = torch.float64) -> Dataset:
        """``inputs`` with u (N, T, C, *space) at ``inputs.t``, or at ``stored_times()`` where there are none.

        u0 is read as its trigonometric interpolant. A nodal grid that holds both ends of the period is taken
        as the periodic grid without the last point.

        Raises NWidthError where u0 is missing or not finite, the grid is not on [lo, hi), or a solution would
        need more than 2^16 points on an axis or ceases to be finite. """
        self.need(inputs)
        inputs = inputs.load()
        grid, u0 = self.on_period(inputs.grid, inputs.u0)  # type: ignore[arg-type]
        given: Tensor = inputs.u0  # type: ignore[assignment]
        if not bool(torch.isfinite(given).all()):
            raise NWidthError(f"{type(self).__name__}.solve", got="NaN or infinite values in u0",
                              expected="finite u0")
        mu = None if inputs.mu is None else inputs.mu.to(device=u0.device, dtype=dtype)
        t = self.stored_times() + inputs.t0 if inputs.t is None else inputs.t
        u = torch.empty(len(u0), len(t), *u0.shape[1:], dtype=dtype, device=u0.device)
        groups = self.groups(u0, mu, grid, float(t[0]) - inputs.t0)
        u0 = u0.to(dtype)
        for rows, points, step in groups:
            space = SpectralSpace(grid, (points,) * grid.ndim, factors=self.factors, dtype=dtype,
                                  device=u0.device)
            part = None if mu is None else mu[rows]
            states = integrate(
                self.linear(space, part, u0), lambda c, s=space, m=part: self.nonlinear(c, s, m),
                space.coefficients(u0[rows]), inputs.t0, t.tolist(), step,
            )
            for j, c in enumerate(states):
                u[rows, j] = space.at(c, grid.shape)
        if not bool(torch.isfinite(u).all()):
            raise NWidthError(f"{type(self).__name__}.solve", got="a solution that ceased to be finite",
                              expected="a stable time step", fix="lower cfl")
        if grid.shape != inputs.grid.shape:
            u = torch.cat([u, u[..., :1]], -1)
        return replace(inputs, u=u.to(given.dtype), t=t, problem=self.config())

    def groups(self, u0: Tensor, mu: Tensor | None, grid: Grid,
               longest: float) -> list[tuple[Tensor, int, float]]:
        """Samples (indices, points on each axis, time step) that are solved together.

        Points are rounded up to 2^p or 3 * 2^p and steps down to ``longest`` * 2^(-j), sample by sample, so
        that a sample's discretisation does not depend on the batch that it is in. """
        degree, step = self.resolve(u0, mu, grid)
        worst = float(degree.max())
        if not worst * (self.factors + 1) < MOST_POINTS:
            raise NWidthError(
                f"{type(self).__name__}.solve", got=f"a solution that needs {worst:.3g} modes to be resolved",
                expected=f"fewer than {MOST_POINTS // (self.factors + 1)}",
                fix="raise the viscosity, lower the initial state, or loosen tolerance")
        points = [good_size((self.factors + 1) * math.ceil(k) + 1) for k in degree.tolist()]
        halvings = [max(0, math.ceil(math.log2(longest / h) - 1e-9)) for h in step.tolist()]
        members: dict[tuple[int, int], list[int]] = {}
        for i, key in enumerate(zip(points, halvings)):
            members.setdefault(key, []).append(i)
        return [(torch.tensor(v, device=u0.device), n, longest * 2.0**-j)
                for (n, j), v in sorted(members.items())]

    def on_period(self, grid: Grid | Mesh, u: Tensor) -> tuple[Grid, Tensor]:
        """The periodic grid of [lo, hi)^d that these points are, and u on it.

        A nodal grid that holds both ends of the period loses its last point; any other grid is an error.
        """
        axes = grid.axes if isinstance(grid, Grid) and grid.ndim == self.ndim else ()
        close = 1e-6 * (self.hi - self.lo)
        if axes and all(abs(a.lo - self.lo) < close and abs(a.hi - self.hi) < close for a in axes):
            if all(a.kind == "periodic" for a in axes):
                return self.grid([a.n for a in axes]), u
            if self.ndim == 1 and axes[0].kind == "nodal":
                return self.grid(axes[0].n - 1), u[..., :-1]
        raise NWidthError(type(self).__name__, got=grid.describe(), fix="set lo and hi to the data's",
                          expected=f"{self.ndim} periodic axes on [{self.lo:g}, {self.hi:g})")
