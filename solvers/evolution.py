"""Time-dependent problems on periodic boxes: spectral in space, exponential Runge-Kutta in time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..backends import Axis, Grid
from ..data import Dataset
from ..errors import NWidthError
from .levels import groups_of
from .marching import march
from .parameters import check_parameters, draw_parameters, parameter, varying
from .problem import Problem, lead, sizes
from .random_fields import RandomField, stream
from .refinement import solve_to_accuracy
from .spectral import SpectralSpace
from .stepping import stepper_of


@dataclass(frozen=True, kw_only=True)
class EvolutionProblem(Problem):
    """u_t = sum_q theta_q(mu) A_q u + N(u; mu, a) on a periodic box [lo, hi)^ndim, from u(t0) = u0.

    A subclass gives ``theta`` (coefficients of the linear part, from the parameters), ``operators`` (the
    Fourier symbols of the A_q), ``nonlinear`` (N and any source, on coefficients) and ``resolve`` (the degree
    and the time step that an accurate solution takes). From these come the full-order solution, its
    right-hand side as a function of point values, and the operators of reduced models.

    The solver is a Fourier-Galerkin method: trigonometric polynomials of a degree that ``resolve`` chooses
    from the data, whatever the resolution of the grid on which the answer is wanted; products formed without
    aliasing (``SpectralSpace``); ETDRK4 in time (``stepping``). Samples of one degree step together (``marching``).

    Parameters
    ----------
    lo, hi, ndim : the box; the class says in ``dimensions`` how many axes its equation has.
    final_time, times : the solution is stored at the ``times`` instants j final_time/times, j = 1..times,
        unless the inputs carry their own times t.
    scheme : time stepping, etdrk4, etdrk2, rk4 or imex (``stepping``). The steps of ``resolve`` are meant for
        etdrk4; those of rk4 are also kept within its stability. With etdrk2, of lower order, set ``accuracy``.
    points : so many collocation points an axis, in place of the degree of ``resolve``. All their modes are kept
        and products alias, as in most published scripts: this reproduces data made in that way.
    accuracy : where given, degree and step are doubled and halved, for each sample alone, until the solution
        at the stored times changes by less than this in relative L2; the finest is returned. NWidthError where
        that is not reached.

    Class attributes of an equation: ``factors``, the degree of N as a polynomial in u and its derivatives;
    ``quadratic``, whether it is of degree two whatever the inputs; ``parameters``, the names of the fields that
    are a number or a range [least, most] (see ``parameters.py``), each with its sign, positive or real;
    ``calms``, whether what ``resolve`` says of a state holds for all that follows, so that a run may go on with fewer
    modes and longer steps where it says so of a later one; ``complex_state`` for complex u, which fields store as such
    or as two real channels each, real and imaginary parts.
    """

    dimensions: ClassVar[tuple[int, ...]] = (1,)
    factors: ClassVar[int] = 2
    quadratic: ClassVar[bool] = False
    complex_state: ClassVar[bool] = False
    calms: ClassVar[bool] = False
    parameters: ClassVar[Mapping[str, str]] = {}

    ndim: int = 1
    lo: float = 0.0
    hi: float = 1.0
    final_time: float = 1.0
    times: int = 10
    scheme: str = "etdrk4"
    points: int | None = None
    accuracy: float | None = None

    def __post_init__(self):
        if not (self.hi > self.lo and self.final_time > 0 and self.times >= 1):
            raise NWidthError(
                type(self).__name__,
                got=f"lo={self.lo}, hi={self.hi}, final_time={self.final_time}, times={self.times}",
                expected="lo < hi, final_time > 0, times >= 1",
            )
        if self.ndim not in self.dimensions:
            raise NWidthError(
                type(self).__name__, got=f"ndim={self.ndim}", expected=" or ".join(map(str, self.dimensions))
            )
        stepper_of(self.scheme)
        if (self.points is not None and self.points < 4) or (self.accuracy is not None and not 0 < self.accuracy < 1):
            raise NWidthError(
                type(self).__name__,
                got=f"points={self.points}, accuracy={self.accuracy}",
                expected="points >= 4, 0 < accuracy < 1",
            )
        check_parameters(self, self.parameters)

    @property
    def reads(self) -> tuple[str, ...]:
        return ("u0", "mu") if varying(self, tuple(self.parameters)) else ("u0",)

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

    def jet(self, c: Tensor, space: SpectralSpace) -> Tensor:
        """Coefficients (N, J, *counts), linear in c, of the functions that N is a function of at each point: u and
        derivatives of it. Where an equation gives ``jet`` and ``at_points``, reduced models can evaluate N at a few
        points; by default that is an NWidthError.
        """
        raise NWidthError(
            f"{type(self).__name__}.jet",
            got="a nonlinearity that is not given at single points",
            expected="an equation with jet and at_points",
            fix="use surrogate=reduced_basis",
        )

    def at_points(self, jet: Tensor, inputs: Dataset) -> Tensor:
        """N(u) - N(0), real (N, C, P), at any P points from the values (N, J, P) of ``jet`` there."""
        raise NotImplementedError

    @abstractmethod
    def resolve(self, inputs: Dataset) -> tuple[Tensor, Tensor]:
        """For each sample, from it alone, the degree that its solution needs and the largest time step at
        that degree: float64 (N,) both, on the CPU. The inputs lie on a periodic grid, in the dtype in which
        they are stored.
        """

    @property
    def target(self) -> float | None:
        """Where ``resolve`` can only guess: what the modes at the edge of the spectrum may hold, relative in L2,
        before the degree is doubled; thirty times as much is allowed to the local errors of the time steps,
        summed up, before these are shortened. None: what ``resolve`` says is taken.
        """
        return None

    def coefficient(self, name: str, inputs: Dataset | None) -> float | Tensor:
        """A parameter as a factor of coefficients c: a number, or (N, 1, ..., 1) where samples differ."""
        value = parameter(self, self.parameters, name, inputs)
        return value if isinstance(value, float) else value.view(-1, *(1,) * (self.ndim + 1))

    def column(self, name: str, inputs: Dataset) -> Tensor:
        """A parameter as a vector: (N,) where samples differ, otherwise (1,); real, in the inputs' precision."""
        value = parameter(self, self.parameters, name, inputs)
        like = lead(inputs)
        real = like.real.dtype if like.is_complex() else like.dtype
        return value.to(real) if isinstance(value, Tensor) else torch.full((1,), value, dtype=real, device=like.device)

    def stack(self, *columns: Tensor) -> Tensor:
        """Columns (N,) or (1,) as theta, (N or 1, Q)."""
        return torch.stack(torch.broadcast_tensors(*columns), 1)

    def draw(self, indices: Sequence[int], seed: int, grid: Grid, fields: Mapping[str, RandomField]) -> Dataset:
        """Random inputs: mu from the ranges among the parameters, u0 with one random field a channel."""
        streams: list[np.random.Generator] = [stream(seed, i) for i in indices]
        mu = draw_parameters(self, tuple(self.parameters), streams)
        u0 = torch.cat([f.sample(streams, grid) for f in fields.values()], 1)
        names = {"u0": tuple(fields), "u": tuple(fields)}
        if mu is not None:
            names["mu"] = varying(self, tuple(self.parameters))
        return Dataset(grid, u0=u0, mu=mu, names=names, problem=self.config())

    def grid(self, resolution: int | Sequence[int]) -> Grid:
        return Grid.make(sizes(resolution, self.ndim, 4, type(self).__name__), "periodic", self.lo, self.hi)

    def stored_times(self) -> Tensor:
        """The instants at which the solution is stored, float64 (times,)."""
        return self.final_time * torch.arange(1, self.times + 1, dtype=torch.float64) / self.times

    def linear(self, space: SpectralSpace, inputs: Dataset) -> Tensor:
        """Symbol of L(mu) = sum_q theta_q A_q, (N or 1, C or 1, *counts)."""
        terms = self.operators(space)
        return torch.tensordot(self.theta(inputs).to(terms.dtype), terms, dims=1)

    def space(self, grid: Grid, points: Sequence[int], like: Tensor, dealias: bool = True) -> SpectralSpace:
        """Polynomials whose products are formed on so many points, without aliasing unless told otherwise."""
        real = like.real.dtype if like.is_complex() else like.dtype
        return SpectralSpace(
            grid,
            points,
            factors=self.factors,
            dealias=dealias,
            real=not self.complex_state,
            dtype=real,
            device=like.device,
        )

    def state(self, u: Tensor) -> Tensor:
        """Point values (..., C, *space) as the solver has them: complex from two real channels each, where the
        equation is complex and u is not.
        """
        axis = u.ndim - 1 - self.ndim
        if self.complex_state == u.is_complex():
            return u
        if u.is_complex() or u.shape[axis] % 2:
            raise NWidthError(
                type(self).__name__,
                got=f"u of {u.dtype} and shape {tuple(u.shape)}",
                expected="complex values, or channels real, imaginary" if self.complex_state else "real values",
            )
        pairs = u.unflatten(axis, (-1, 2))
        return torch.complex(pairs.select(axis + 1, 0), pairs.select(axis + 1, 1))

    def channels(self, state: Tensor, like: Tensor) -> Tensor:
        """Inverse of ``state``: complex values where ``like`` is complex, otherwise two real channels each."""
        if like.is_complex() or not self.complex_state:
            return state
        axis = state.ndim - 1 - self.ndim
        return torch.stack([state.real, state.imag], axis + 1).flatten(axis, axis + 1)

    def tendency(self, u: Tensor, inputs: Dataset) -> Tensor:
        """L u + N(u) at the points of ``inputs.grid`` for point values u (N, C, *space): what u_t must equal.

        Differentiable; u is taken as its trigonometric interpolant, of degree n/2 on n points.
        """
        grid: Grid = inputs.grid  # type: ignore[assignment]
        space = self.space(grid, [(self.factors + 1) * (n // 2) + 1 for n in grid.shape], u)
        c = space.coefficients(self.state(u))
        rate = space.at(self.linear(space, inputs) * c + self.nonlinear(c, space, inputs), grid.shape)
        return self.channels(rate, u)

    def exact_states(
        self, c: Tensor, space: SpectralSpace, inputs: Dataset, times: Sequence[float]
    ) -> Iterator[Tensor] | None:
        """Coefficients at increasing times from those at ``inputs.t0``, of an equation with a closed form."""
        return None

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
        as the periodic grid without the last point. With ``accuracy``, ``attributes["accuracy"]`` is the largest
        change of a sample in the last refinement.

        Raises NWidthError where u0 is missing or not finite, the grid is not on [lo, hi), or a solution would
        need more than 2^16 points on an axis (2^24 in all) or ceases to be finite.
        """
        self.need(inputs)
        inputs = inputs.load()
        stored = self.on_period(inputs.inputs())
        given = lead(stored)
        if not all(bool(torch.isfinite(getattr(stored, k)).all()) for k in stored.reads):
            raise NWidthError(
                f"{type(self).__name__}.solve", got="NaN or infinite values in the inputs", expected="finite inputs"
            )
        self.state(stored.u0)  # type: ignore[arg-type]  # an error where it has too few channels
        t = self.stored_times() + inputs.t0 if inputs.t is None else inputs.t
        attributes = inputs.attributes
        if self.accuracy is None:
            u = march(self, stored, t, dtype)
        else:
            u, change = solve_to_accuracy(self, stored, t, dtype, self.accuracy)
            attributes = {**attributes, "accuracy": change}
        u = self.channels(u, given)
        for i, axis in enumerate(inputs.grid.axes):  # type: ignore[union-attr]
            if axis.n != stored.grid.shape[i]:  # the end of the period again
                u = torch.cat([u, u.narrow(i - self.ndim, 0, 1)], i - self.ndim)
        return replace(inputs, u=u.to(given.dtype), t=t, problem=self.config(), attributes=attributes)

    def groups(self, inputs: Dataset, longest: float) -> list[tuple[list[int], int, float]]:
        """Samples (indices, points on each axis, time step) that are solved together.

        Points are rounded up to 2^p or 3 * 2^p and steps down to ``longest`` * 2^(-j), sample by sample, so
        that a sample's discretisation does not depend on the batch that it is in.
        """
        return groups_of(self, inputs, longest)

    def on_period(self, data: Dataset) -> Dataset:
        """The data on the periodic grid of [lo, hi)^d that its points are.

        A nodal axis that holds both ends of the period loses its last point; one that ends a spacing before hi
        is periodic already; any other grid is an error.
        """
        grid = data.grid
        axes = grid.axes if isinstance(grid, Grid) and grid.ndim == self.ndim else ()
        cuts = [self._closed(a) for a in axes]
        if not cuts or None in cuts:
            raise NWidthError(
                type(self).__name__,
                got=grid.describe(),
                fix="set lo and hi to the data's",
                expected=f"{self.ndim} periodic axes on [{self.lo:g}, {self.hi:g})",
            )
        fields: dict[str, Any] = {}
        for k in ("u", "a", "u0"):
            v = getattr(data, k)
            if v is not None and any(cuts):
                fields[k] = v[(..., *(slice(None, -1) if cut else slice(None) for cut in cuts))]
        return replace(data, grid=self.grid([a.n - bool(cut) for a, cut in zip(axes, cuts)]), **fields)

    def _closed(self, axis: Axis) -> bool | None:
        """Whether the axis holds the end of the period; None where it is no axis of the box."""
        close = 1e-6 * (self.hi - self.lo)
        if abs(axis.lo - self.lo) > close or axis.kind not in ("periodic", "nodal"):
            return None
        if abs(axis.hi - self.hi) < close:
            return axis.kind == "nodal"
        return False if axis.kind == "nodal" and abs(axis.hi + axis.spacing - self.hi) < close else None
