"""Hyperbolic systems on tensor grids of any dimension: finite volumes, second order in space, third in time."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..backends import Axis, Grid
from ..data import Dataset
from ..errors import NWidthError
from .cells import broadcast, coarsen, refined
from .problem import Problem, lead, sizes
from .random_fields import stream
from .riemann import LIMITERS, hll, part, rusanov, with_ghosts

BOUNDARIES = ("periodic", "outflow", "reflecting")
CELLS = {"cpu": 2**15, "cuda": 2**24}  # cells that are advanced together
MOST_STEPS = 10**6


@dataclass(frozen=True, kw_only=True)
class FiniteVolumeProblem(Problem):
    """q_t + sum_i F_i(q)_{x_i} = S(q) on the box [lo, hi]^d, for the cell averages of q.

    A subclass gives ``fields`` (names of the primitive quantities w that the data hold), the maps ``conserved``
    and ``primitive``, ``flux``, ``speeds``, ``draw`` (random inputs) and, where there are any, ``source``,
    ``admissible`` and ``parameters``.

    Scheme: slopes of the primitive variables in each cell, limited (MUSCL; van Leer 1979, J. Comput. Phys. 32); a
    numerical flux from the states on both sides of each face; all axes at once; the third-order strong stability
    preserving Runge-Kutta method (Shu and Osher 1988, J. Comput. Phys. 77). Second order where the solution is
    smooth but for its extrema, first order in L1 with shocks. Each sample has its own time steps and does not
    depend on its batch. In a cell whose update would not be ``admissible`` (a negative density, say), and in its
    neighbours, the slopes are set to zero for that stage; a state that is still not admissible is an error.

    Parameters
    ----------
    boundary : ``periodic``, ``outflow`` (zero gradient) or ``reflecting`` (a solid wall), for all axes or one each.
        Periodic axes of ``grid`` are ``periodic``, with x_j in the middle of its cell; the others are ``cell`` axes.
    limiter : ``minmod``, ``van_leer`` or ``mc`` (monotonized central).
    riemann : the numerical flux, among those in ``numerical_fluxes``.
    cfl : a time step is cfl / max over cells of (sum over axes of the fastest speed / spacing), but shortened to
        reach the next stored time. Up to 0.5.
    refine : the equations are solved on a grid that is this many times finer along each axis, and averaged over
        the stored cells, so that the accuracy of the data does not hang on their resolution. ``simulate`` evaluates
        the initial state on the fine grid; ``solve`` knows its cell averages only, and continues them linearly.
    """

    numerical_fluxes: ClassVar[Mapping[str, Callable[..., Tensor]]] = {"rusanov": rusanov, "hll": hll}

    ndim: int = 1
    lo: float = 0.0
    hi: float = 1.0
    final_time: float = 1.0
    times: int = 10
    boundary: str | Sequence[str] = "outflow"
    limiter: str = "mc"
    riemann: str = "hll"
    cfl: float = 0.45
    refine: int = 1

    def __post_init__(self):
        where = type(self).__name__
        if not (self.hi > self.lo and self.final_time > 0 and self.times >= 1 and 1 <= self.ndim <= 3):
            raise NWidthError(
                where,
                got=f"ndim={self.ndim}, lo={self.lo}, hi={self.hi}, final_time={self.final_time}, times={self.times}",
                expected="ndim from 1 to 3, lo < hi, final_time > 0, times >= 1",
            )
        if not (0 < self.cfl <= 0.5 and self.refine >= 1 and self.refine == int(self.refine)):
            raise NWidthError(
                where,
                got=f"cfl={self.cfl}, refine={self.refine}",
                expected="0 < cfl <= 0.5 and refine, an integer from 1 up",
            )
        if not isinstance(self.boundary, str):
            object.__setattr__(self, "boundary", tuple(self.boundary))
        if len(self.boundaries) != self.ndim or any(b not in BOUNDARIES for b in self.boundaries):
            raise NWidthError(
                where,
                got=f"boundary={self.boundary!r} for {self.ndim} axes",
                expected="one of " + ", ".join(BOUNDARIES) + ", or one of them an axis",
            )
        for name, known in (("limiter", LIMITERS), ("riemann", self.numerical_fluxes)):
            if getattr(self, name) not in known:
                raise NWidthError(where, got=f"{name}={getattr(self, name)!r}", expected="one of " + ", ".join(known))

    # what a subclass gives

    @property
    @abstractmethod
    def fields(self) -> tuple[str, ...]:
        """Names of the primitive quantities, the channels of u0 and u."""

    @abstractmethod
    def conserved(self, w: Tensor, mu: Tensor) -> Tensor:
        """q from w, both (N, fields, *space); ``mu`` is what ``parameters`` gave."""

    @abstractmethod
    def primitive(self, q: Tensor, mu: Tensor) -> Tensor:
        """w from q."""

    @abstractmethod
    def flux(self, w: Tensor, axis: int, mu: Tensor) -> Tensor:
        """F_axis of the conserved quantities, from the primitive ones."""

    @abstractmethod
    def speeds(self, w: Tensor, axis: int, mu: Tensor) -> tuple[Tensor, Tensor]:
        """The slowest and the fastest wave along an axis, (N, 1, *space) each."""

    @abstractmethod
    def draw(self, streams: Sequence[np.random.Generator], grid: Grid) -> Dataset:
        """Random inputs, one a stream, at the points of a grid; float64."""

    def bounds(self, left: Tensor, right: Tensor, axis: int, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Speeds between which all waves of the Riemann problem with these states lie."""
        a, b = self.speeds(left, axis, mu), self.speeds(right, axis, mu)
        return torch.minimum(a[0], b[0]), torch.maximum(a[1], b[1])

    def admissible(self, w: Tensor, mu: Tensor) -> Tensor:
        """Where a primitive state may occur, (N, 1, *space); by default where it is finite."""
        return torch.isfinite(w).all(1, keepdim=True)

    def source(self, low: Tensor, high: Tensor, axis: int, mu: Tensor) -> Tensor | None:
        """The integral of the source over a cell along an axis, from the states w at its two faces."""
        return None

    def face_fluxes(self, left: Tensor, right: Tensor, axis: int, mu: Tensor) -> tuple[Tensor, Tensor]:
        """The flux through each face as the cell on its left and as the one on its right count it."""
        f = self.numerical_fluxes[self.riemann](self, left, right, axis, mu)
        return f, f

    def parameters(self, inputs: Dataset) -> Tensor:
        """Scalars of the samples, (N, P), given to the functions above as (N, P, *1)."""
        u0: Tensor = inputs.u0  # type: ignore[assignment]
        return u0.new_zeros(len(u0), 0)

    def states(self, inputs: Dataset) -> Tensor:
        """The solver's initial w, from the inputs; its first channels are the fields."""
        return inputs.u0  # type: ignore[return-value]

    def inputs_of(self, w: Tensor) -> dict[str, Any]:
        """The input fields that ``states`` turns into w."""
        return {"u0": w}

    # what it gets

    @property
    def reads(self) -> tuple[str, ...]:
        return ("u0",)

    @property
    def boundaries(self) -> tuple[str, ...]:
        """The boundary condition of each axis."""
        return (self.boundary,) * self.ndim if isinstance(self.boundary, str) else tuple(self.boundary)

    def grid(self, resolution: int | Sequence[int]) -> Grid:
        shape = sizes(resolution, self.ndim, 4, type(self).__name__)
        kinds = ["periodic" if b == "periodic" else "cell" for b in self.boundaries]
        return Grid(tuple(Axis(k, n, self.lo, self.hi, name) for k, n, name in zip(kinds, shape, "xyz")))

    def stored_times(self) -> Tensor:
        """The instants at which the solution is stored, float64 (times,)."""
        return self.final_time * torch.arange(1, self.times + 1, dtype=torch.float64) / self.times

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        return self._stored(self._drawn(indices, seed, grid), grid)

    def simulate(self, indices: Sequence[int], seed: int, grid: Grid, *, device: str = "cpu") -> Dataset:
        drawn = self._drawn(indices, seed, grid).to(device)
        return self._solve(self._stored(drawn, grid), drawn, torch.float64)

    def solve(self, inputs: Dataset, *, dtype: torch.dtype = torch.float64) -> Dataset:
        """``inputs`` with the primitive fields u (N, T, fields, *space) at ``inputs.t``, or at ``stored_times()``.

        u0 is read as values of the cell averages. Raises NWidthError where inputs are missing or not admissible, the
        grid is not the problem's, or a solution ceases to be admissible.
        """
        self.need(inputs)
        inputs = inputs.load()
        self._check(inputs)
        return self._solve(inputs, inputs, dtype)

    def tendency(self, q: Tensor, mu: Tensor, grid: Grid, flat: Tensor | None = None) -> Tensor:
        """q_t of cell averages (N, fields, *space); differentiable but for the limiter's kinks.

        ``flat`` (N, 1, *space) marks the cells without slopes.
        """
        w = self.primitive(q, mu)
        rate = torch.zeros_like(q)
        for axis, boundary in enumerate(self.boundaries):
            dim = axis - self.ndim
            ghosts = with_ghosts(w, axis, self.ndim, boundary)
            difference = torch.diff(ghosts, dim=dim)
            slope = LIMITERS[self.limiter](part(difference, dim, 0, -1), part(difference, dim, 1, 0))
            if flat is not None:
                edge = boundary if boundary == "periodic" else "outflow"
                slope = torch.where(with_ghosts(flat, axis, self.ndim, edge, 1), 0.0, slope)
            middle = part(ghosts, dim, 1, -1)
            low, high = middle - slope / 2, middle + slope / 2
            left, right = self.face_fluxes(part(high, dim, 0, -1), part(low, dim, 1, 0), axis, mu)
            change = part(right, dim, 0, -1) - part(left, dim, 1, 0)
            source = self.source(part(low, dim, 1, -1), part(high, dim, 1, -1), axis, mu)
            rate = rate + (change if source is None else change + source) / grid.axes[axis].spacing
        return rate

    # how

    def _drawn(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        """Random inputs at the points of the fine grid."""
        return self.draw([stream(seed, i) for i in indices], self._fine(grid))

    def _fine(self, grid: Grid) -> Grid:
        return grid.with_shape([self.refine * n for n in grid.shape])

    def _stored(self, drawn: Dataset, grid: Grid) -> Dataset:
        """Inputs on the fine grid as they are stored."""
        mu = broadcast(self.parameters(drawn), self.ndim)
        w = self._averages(self.conserved(self.states(drawn), mu), grid, mu)
        return replace(drawn, grid=grid, **self.inputs_of(w))

    def _averages(self, q: Tensor, grid: Grid, mu: Tensor) -> Tensor:
        """w on the stored grid, from q on the fine one."""
        if self.refine == 1:
            return self.primitive(q, mu)
        for i, axis in enumerate(grid.axes):
            q = coarsen(q, i - grid.ndim, self.refine, axis.kind == "periodic")
        return self.primitive(q, mu)

    def _continued(self, q: Tensor, grid: Grid, mu: Tensor) -> Tensor:
        """q on the fine grid, from that on the stored one, with the same averages."""
        for i, axis in enumerate(grid.axes):
            dim, boundary = i - grid.ndim, self.boundaries[i]
            difference = torch.diff(
                with_ghosts(q, i, self.ndim, boundary if boundary == "periodic" else "outflow", 1), dim=dim
            )
            slope = LIMITERS["minmod"](part(difference, dim, 0, -1), part(difference, dim, 1, 0))
            finer = refined(q, slope, dim, self.refine, axis.kind == "periodic")
            usable = self.admissible(self.primitive(finer, mu), mu).flatten(1).all(1)
            flat = refined(q, torch.zeros_like(q), dim, self.refine, axis.kind == "periodic")
            q = torch.where(broadcast(usable[:, None], self.ndim), finer, flat)
        return q

    def _solve(self, inputs: Dataset, start: Dataset, dtype: torch.dtype) -> Dataset:
        """The solution from ``start``, which lies on the grid of ``inputs`` or on the fine one."""
        t = self.stored_times() + inputs.t0 if inputs.t is None else inputs.t
        grid: Grid = inputs.grid  # type: ignore[assignment]
        fine = self._fine(grid)
        cells = CELLS.get(lead(inputs).device.type, CELLS["cpu"])
        size = max(1, cells // math.prod(fine.shape))
        parts = []
        for first in range(0, len(inputs), size):
            batch = start[first : first + size].to(dtype=dtype)
            mu = broadcast(self.parameters(batch).to(dtype), self.ndim)
            w = self.states(batch)
            if not bool(self.admissible(w, mu).all()):
                raise NWidthError(
                    f"{type(self).__name__}.solve",
                    got="an initial state that is not finite and admissible",
                    expected=f"fields {', '.join(self.fields)} that can occur",
                    fix="check the order of the channels, and the ranges of the initial state",
                )
            q = self.conserved(w, mu)
            if w.shape[2:] != fine.shape:
                q = self._continued(q, grid, mu)
            states = [self._averages(v, grid, mu) for v in self._advance(q, mu, fine, inputs.t0, t.tolist())]
            parts.append(torch.stack(states, 1)[:, :, : len(self.fields)])
        u = torch.cat(parts).to(lead(inputs).dtype)
        names = {**inputs.names, "u": self.fields}
        return replace(inputs, u=u, t=t, names=names, problem=self.config())

    def _advance(self, q: Tensor, mu: Tensor, grid: Grid, start: float, times: Sequence[float]) -> Iterator[Tensor]:
        """q at each of the times."""
        now = torch.full((len(q),), start, dtype=torch.float64, device=q.device)
        steps = 0
        for end in times:
            while True:
                rows = (now < end).nonzero()[:, 0]
                if not len(rows):
                    break
                whole = len(rows) == len(q)
                batch, own = (q, mu) if whole else (q[rows], mu[rows])
                left = end - now[rows]
                count = (left * self._frequency(batch, own, grid) / self.cfl).ceil().clamp_min(1.0)
                steps += 1
                if not bool((count < MOST_STEPS).all()) or steps > MOST_STEPS:
                    raise NWidthError(
                        f"{type(self).__name__}.solve",
                        got=f"time steps as small as {float((left / count).min()):.1e}",
                        expected=f"fewer than {MOST_STEPS} of them",
                        fix="lower the resolution or the speeds, or shorten final_time",
                    )
                batch = self._step(batch, broadcast((left / count).to(q.dtype)[:, None], self.ndim), own, grid)
                q = batch if whole else q.index_copy(0, rows, batch)
                now[rows] = torch.where(count > 1, now[rows] + left / count, end)
            yield q

    def _frequency(self, q: Tensor, mu: Tensor, grid: Grid) -> Tensor:
        """The largest sum over the axes of speed / spacing of each sample, float64 (N,)."""
        w = self.primitive(q, mu)
        total = torch.zeros((), dtype=q.dtype, device=q.device)
        for i, axis in enumerate(grid.axes):
            low, high = self.speeds(w, i, mu)
            total = total + torch.maximum(low.abs(), high.abs()) / axis.spacing
        return total.flatten(1).amax(1).double()

    def _step(self, q: Tensor, dt: Tensor, mu: Tensor, grid: Grid) -> Tensor:
        """SSPRK(3, 3): convex combinations of three Euler steps."""
        first = self._euler(q, dt, mu, grid)
        second = 0.75 * q + 0.25 * self._euler(first, dt, mu, grid)
        return (q + 2 * self._euler(second, dt, mu, grid)) / 3

    def _euler(self, q: Tensor, dt: Tensor, mu: Tensor, grid: Grid) -> Tensor:
        new = q + dt * self.tendency(q, mu, grid)
        good = self.admissible(self.primitive(new, mu), mu)
        if bool(good.all()):
            return new
        troubled = ~good
        near = troubled
        for axis, boundary in enumerate(self.boundaries):
            dim = axis - self.ndim
            edge = boundary if boundary == "periodic" else "outflow"
            wide = with_ghosts(near, axis, self.ndim, edge, 1)
            near = part(wide, dim, 0, -2) | part(wide, dim, 1, -1) | part(wide, dim, 2, 0)
        for flat in (near, torch.ones_like(near)):
            rows = broadcast(troubled.flatten(1).any(1)[:, None], self.ndim)
            new = torch.where(rows, q + dt * self.tendency(q, mu, grid, flat & rows), new)
            troubled = ~self.admissible(self.primitive(new, mu), mu)
            if not bool(troubled.any()):
                return new
        where = troubled.flatten(1).any(1).nonzero()[:, 0].tolist()
        raise NWidthError(
            f"{type(self).__name__}.solve",
            got=f"a state that is not admissible in {len(where)} samples of a batch, the first number {where[0]} of it",
            expected=f"fields {', '.join(self.fields)} that stay finite and admissible",
            fix="lower cfl, take riemann=hll or limiter=minmod, or avoid initial states that open a vacuum",
        )

    def _check(self, inputs: Dataset) -> None:
        """NWidthError where the fields or the grid are not this problem's."""
        grid, u0 = inputs.grid, inputs.u0
        fits = isinstance(grid, Grid) and grid.ndim == self.ndim
        for axis, boundary in zip(grid.axes if isinstance(grid, Grid) else (), self.boundaries):
            kinds = ("periodic", "cell") if boundary == "periodic" else ("cell",)
            fits = fits and axis.kind in kinds and abs(axis.length - (self.hi - self.lo)) < 1e-5 * (self.hi - self.lo)
        if not fits:
            raise NWidthError(
                type(self).__name__,
                got=grid.describe(),
                expected=f"{self.ndim} axes of length {self.hi - self.lo:g}, cells or, where {self.boundary}, periodic",
                fix="set data.kind, and lo, hi and boundary to the data's",
            )
        if u0 is not None and u0.shape[1] != len(self.fields):
            raise NWidthError(
                type(self).__name__,
                got=f"u0 with {u0.shape[1]} channels",
                expected=f"{len(self.fields)} channels: {', '.join(self.fields)}",
            )
