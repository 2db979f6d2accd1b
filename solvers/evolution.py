"""Time-dependent problems on periodic boxes: spectral in space, exponential Runge-Kutta in time."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..backends import Grid
from ..data import Dataset
from ..errors import NWidthError
from .problem import Problem, lead, sizes
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

    ``final_time`` and ``times``: the solution is stored at the ``times`` instants j final_time/times,
    j = 1..times, unless the inputs carry their own times t.
    """

    ndim: ClassVar[int] = 1
    factors: ClassVar[int] = 2  # N is a polynomial of this degree in u and its derivatives
    quadratic: ClassVar[bool] = False  # N is a polynomial of degree two, whatever the inputs

    lo: float = 0.0
    hi: float = 1.0
    final_time: float = 1.0
    times: int = 10

    def __post_init__(self):
        if not (self.hi > self.lo and self.final_time > 0 and self.times >= 1):
            raise NWidthError(
                type(self).__name__,
                got=f"lo={self.lo}, hi={self.hi}, final_time={self.final_time}, times={self.times}",
                expected="lo < hi, final_time > 0, times >= 1",
            )

    @property
    @abstractmethod
    def bandlimit(self) -> int:
        """Highest frequency of the random initial states."""

    @abstractmethod
    def theta(self, inputs: Dataset) -> Tensor:
        """Coefficients theta_q, shape (N, Q), or (1, Q) where they are the same for all samples."""

    @abstractmethod
    def operators(self, space: SpectralSpace) -> Tensor:
        """Symbols of the A_q, real or complex, shape (Q, C or 1, *space.counts)."""

    @abstractmethod
    def nonlinear(self, c: Tensor, space: SpectralSpace, inputs: Dataset | None) -> Tensor:
        """Coefficients of N(u) and of the source from those of u, both (N, C, *space.counts).

        ``inputs`` are those of the N samples; None only where ``quadratic`` says that N ignores them.
        """

    @abstractmethod
    def resolve(self, inputs: Dataset) -> tuple[Tensor, Tensor]:
        """For each sample, from it alone, the degree that its solution needs and the largest time step at
        that degree: float64 (N,) both, on the CPU. The inputs lie on a periodic grid, in the dtype in which
        they are stored.
        """

    def grid(self, resolution: int | Sequence[int]) -> Grid:
        return Grid.make(sizes(resolution, self.ndim, 4, type(self).__name__), "periodic", self.lo, self.hi)

    def stored_times(self) -> Tensor:
        """The instants at which the solution is stored, float64 (times,)."""
        return self.final_time * torch.arange(1, self.times + 1, dtype=torch.float64) / self.times

    def linear(self, space: SpectralSpace, inputs: Dataset) -> Tensor:
        """Symbol of L(mu) = sum_q theta_q A_q, (N or 1, C or 1, *counts)."""
        terms = self.operators(space)
        return torch.tensordot(self.theta(inputs).to(terms.dtype), terms, dims=1)

    def space(self, grid: Grid, points: Sequence[int], like: Tensor) -> SpectralSpace:
        """Polynomials whose products are formed without aliasing on so many points."""
        return SpectralSpace(grid, points, factors=self.factors, dtype=like.dtype, device=like.device)

    def tendency(self, u: Tensor, inputs: Dataset) -> Tensor:
        """L u + N(u) at the points of ``inputs.grid`` for point values u (N, C, *space): what u_t must equal.

        Differentiable; u is taken as its trigonometric interpolant, of degree n/2 on n points.
        """
        grid: Grid = inputs.grid  # type: ignore[assignment]
        space = self.space(grid, [(self.factors + 1) * (n // 2) + 1 for n in grid.shape], u)
        c = space.coefficients(u)
        return space.at(self.linear(space, inputs) * c + self.nonlinear(c, space, inputs), grid.shape)

    def simulate(self, indices: Sequence[int], seed: int, grid: Grid, *, device: str = "cpu") -> Dataset:
        """As ``Problem.simulate``, with the solution's values on a grid too coarse for the initial state, not a
        solution of the coarse values: the state is sampled on a finer grid, solved there, and thinned.
        """
        stride = max(-(-(2 * self.bandlimit + 1) // n) for n in grid.shape)
        fine = grid.with_shape([stride * n for n in grid.shape])
        return self.solve(self.sample(indices, seed, fine).to(device)).thin(space=stride)

    def solve(self, inputs: Dataset, *, dtype: torch.dtype = torch.float64) -> Dataset:
        """``inputs`` with u (N, T, C, *space) at ``inputs.t``, or at ``stored_times()`` where there are none.

        u0 is read as its trigonometric interpolant. A nodal grid that holds both ends of the period is taken
        as the periodic grid without the last point.

        Raises NWidthError where u0 is missing or not finite, the grid is not on [lo, hi), or a solution would
        need more than 2^16 points on an axis or ceases to be finite.
        """
        self.need(inputs)
        inputs = inputs.load()
        stored = self.on_period(inputs.inputs())
        given, shape = lead(stored), stored.grid.shape
        if not all(bool(torch.isfinite(getattr(stored, k)).all()) for k in stored.reads):
            raise NWidthError(
                f"{type(self).__name__}.solve", got="NaN or infinite values in the inputs", expected="finite inputs"
            )
        t = self.stored_times() + inputs.t0 if inputs.t is None else inputs.t
        groups = self.groups(stored, float(t[0]) - inputs.t0)
        working = stored.to(dtype=dtype)
        u0: Tensor = working.u0  # type: ignore[assignment]
        u = u0.new_empty(len(u0), len(t), *u0.shape[1:])
        for rows, points, step in groups:
            batch = working[rows]
            space = self.space(stored.grid, [points] * self.ndim, u0)  # type: ignore[arg-type]

            def nonlinear(c: Tensor, space: SpectralSpace = space, batch: Dataset = batch) -> Tensor:
                return self.nonlinear(c, space, batch)

            states = integrate(
                self.linear(space, batch), nonlinear, space.coefficients(u0[rows]), inputs.t0, t.tolist(), step
            )
            for j, c in enumerate(states):
                u[rows, j] = space.at(c, shape)
        if not bool(torch.isfinite(u).all()):
            raise NWidthError(
                f"{type(self).__name__}.solve",
                got="a solution that ceased to be finite",
                expected="a stable time step",
                fix="lower cfl",
            )
        if shape != inputs.grid.shape:
            u = torch.cat([u, u[..., :1]], -1)
        return replace(inputs, u=u.to(given.dtype), t=t, problem=self.config())

    def groups(self, inputs: Dataset, longest: float) -> list[tuple[list[int], int, float]]:
        """Samples (indices, points on each axis, time step) that are solved together.

        Points are rounded up to 2^p or 3 * 2^p and steps down to ``longest`` * 2^(-j), sample by sample, so
        that a sample's discretisation does not depend on the batch that it is in.
        """
        degree, step = self.resolve(inputs)
        worst = float(degree.max())
        if not worst * (self.factors + 1) < MOST_POINTS:
            raise NWidthError(
                f"{type(self).__name__}.solve",
                got=f"a solution that needs {worst:.3g} modes to be resolved",
                expected=f"fewer than {MOST_POINTS // (self.factors + 1)}",
                fix="raise the viscosity, smooth the initial state, or loosen tolerance",
            )
        points = [good_size((self.factors + 1) * math.ceil(k) + 1) for k in degree.tolist()]
        halvings = [max(0, math.ceil(math.log2(longest / h) - 1e-9)) for h in step.tolist()]
        if max(halvings) > 20:
            raise NWidthError(
                f"{type(self).__name__}.solve",
                got=f"time steps of {float(step.min()):.1e}",
                expected=f"fewer than a million of them in {longest:.3g}",
                fix="scale the initial state down or store more times",
            )
        members: dict[tuple[int, int], list[int]] = {}
        for i, key in enumerate(zip(points, halvings)):
            members.setdefault(key, []).append(i)
        return [(v, n, longest * 2.0**-j) for (n, j), v in sorted(members.items())]

    def on_period(self, data: Dataset) -> Dataset:
        """The data on the periodic grid of [lo, hi)^d that its points are.

        A nodal grid that holds both ends of the period loses its last point; any other grid is an error.
        """
        grid = data.grid
        axes = grid.axes if isinstance(grid, Grid) and grid.ndim == self.ndim else ()
        close = 1e-6 * (self.hi - self.lo)
        if axes and all(abs(a.lo - self.lo) < close and abs(a.hi - self.hi) < close for a in axes):
            if all(a.kind == "periodic" for a in axes):
                return replace(data, grid=self.grid([a.n for a in axes]))
            if self.ndim == 1 and axes[0].kind == "nodal":
                fields: dict[str, Any] = {
                    k: v[..., :-1] for k in ("u", "a", "u0") if (v := getattr(data, k)) is not None
                }
                return replace(data, grid=self.grid(axes[0].n - 1), **fields)
        raise NWidthError(
            type(self).__name__,
            got=grid.describe(),
            fix="set lo and hi to the data's",
            expected=f"{self.ndim} periodic axes on [{self.lo:g}, {self.hi:g})",
        )
