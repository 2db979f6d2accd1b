"""Equations at collocation points: what is left of them for given values, for losses that need no solutions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..backends import Axis, Grid
from ..backends.transforms import ChebyshevBasis, FourierBasis, Transform
from ..data import Dataset
from ..errors import NWidthError
from .box import BoxProblem
from .evolution import EvolutionProblem
from .problem import Problem

DERIVATIVES = ("spectral", "difference")


class Form(ABC):
    """A problem on one grid: its inputs as channels there, functions that satisfy its conditions, its residual.

    ``raw`` tensors (N, C_in, *grid.shape) hold the problem's inputs in the order a, u0, mu: fields at the points,
    parameters as constant channels. Evolution problems have time as their first axis, from 0 to ``final_time``.

    ``derivative="spectral"``: periodic and Chebyshev axes, derivatives of the interpolant. ``"difference"``: the
    uniform points of the problem's own grid, second order.
    """

    def __init__(self, problem: Problem, points: int | Sequence[int], derivative: str):
        if derivative not in DERIVATIVES:
            raise NWidthError("Form", got=f"derivative={derivative!r}", expected="one of " + ", ".join(DERIVATIVES))
        self.derivative = derivative
        self.grid = self._grid(problem, points)
        kinds = {"periodic": FourierBasis(), "chebyshev": ChebyshevBasis()}
        self.transform: Transform | None = None
        if derivative == "spectral":
            lengths = [a.length for a in self.grid.axes]
            self.transform = Transform([kinds[a.kind] for a in self.grid.axes], lengths=lengths)
        some = problem.sample([0], 0, self.space)
        self.channels = {k: getattr(some, k).shape[1] for k in problem.reads}
        self.template = some

    @property
    @abstractmethod
    def problem(self) -> Problem: ...

    @abstractmethod
    def _grid(self, problem: Problem, points: int | Sequence[int]) -> Grid: ...

    @property
    @abstractmethod
    def space(self) -> Grid:
        """The axes of the inputs."""

    @property
    def in_channels(self) -> int:
        return sum(self.channels.values())

    @property
    @abstractmethod
    def out_channels(self) -> int: ...

    def sample(self, indices: Sequence[int], seed: int) -> Tensor:
        """Random inputs as channels, float64."""
        return self.raw(self.problem.sample(indices, seed, self.space))

    def raw(self, inputs: Dataset) -> Tensor:
        """Inputs on ``space`` as channels."""
        parts = []
        for k in self.problem.reads:
            v: Tensor = getattr(inputs, k)
            parts.append(
                v if k != "mu" else v.view(*v.shape, *(1,) * self.space.ndim).expand(*v.shape, *self.space.shape)
            )
        return torch.cat([p.double() for p in parts], 1)

    def inputs(self, raw: Tensor) -> Dataset:
        """The data set that ``raw`` on ``space`` was made from."""
        parts, at = {}, 0
        for k, n in self.channels.items():
            v = raw[:, at : at + n]
            parts[k] = v if k != "mu" else v.flatten(2)[..., 0]
            at += n
        return replace(self.template, **parts)  # type: ignore[arg-type]

    @abstractmethod
    def constrain(self, v: Tensor, raw: Tensor, scale: float) -> Tensor:
        """``scale`` v (N, C, *grid.shape), changed to satisfy the boundary and initial conditions."""

    @abstractmethod
    def residual(self, u: Tensor, raw: Tensor) -> Tensor:
        """The equation's left side minus its right side at the points, shaped like u (N, C, *grid.shape)."""

    def coefficients(self, r: Tensor) -> Tensor:
        """Spectral coefficients of values at the points."""
        if self.transform is None:
            raise NWidthError("Form", got="derivative='difference'", expected="spectral")
        return self.transform.forward(r)

    def square(self, c: Tensor) -> Tensor:
        """The mean of |r|^2 over the domain from coefficients (N, C, ...), summed over channels: (N,)."""
        assert self.transform is not None
        return self.transform.norm2(c, self.grid.shape).sum(1)


class BoxForm(Form):
    """-div(a grad u) - f on a box, u = 0 on Dirichlet sides: u is ``scale`` v times a sine that vanishes there; of mean
    zero where the sides leave the constant open."""

    def __init__(self, problem: BoxProblem, points: int | Sequence[int], derivative: str = "spectral"):
        flat = problem.boundary if isinstance(problem.boundary, tuple) else (problem.boundary,)
        sides = [s for pair in problem.side_pairs for s in pair]
        if "neumann" in sides or ("dirichlet" in sides and any(v != 0.0 for v in flat)):
            raise NWidthError(
                type(problem).__name__,
                got=f"sides={problem.sides}, boundary={problem.boundary}",
                expected="periodic sides, or u = 0 on them",
                fix="fit a surrogate on solutions instead",
            )
        self.box = problem
        super().__init__(problem, points, derivative)

    @property
    def problem(self) -> BoxProblem:
        return self.box

    @property
    def space(self) -> Grid:
        return self.grid

    @property
    def out_channels(self) -> int:
        return 1

    def _grid(self, problem: Problem, points: int | Sequence[int]) -> Grid:
        grid = self.box.grid(points)
        if self.derivative == "difference":
            return grid
        return Grid(tuple(a if a.kind == "periodic" else replace(a, kind="chebyshev") for a in grid.axes))

    def constrain(self, v: Tensor, raw: Tensor, scale: float) -> Tensor:
        u = scale * v
        for i, (axis, (lower, upper)) in enumerate(zip(self.grid.axes, self.box.side_pairs)):
            ends = (lower == "dirichlet", upper == "dirichlet")
            if any(ends):
                s = (axis.coordinates() - axis.lo) / axis.length
                wave = {(True, True): torch.sin(torch.pi * s), (True, False): torch.sin(torch.pi / 2 * s)}
                factor = wave.get(ends, torch.cos(torch.pi / 2 * s))
                u = u * factor.to(u).view(-1, *(1,) * (self.grid.ndim - 1 - i))
        if self.box.singular:
            weights = self.grid.weights()
            u = u - (u * (weights / weights.sum()).to(u)).flatten(2).sum(2).view(*u.shape[:2], *(1,) * self.grid.ndim)
        return u

    def residual(self, u: Tensor, raw: Tensor) -> Tensor:
        inputs = self.inputs(raw)
        if self.transform is None:
            return self.box.residual(u, inputs)
        a, divergence = self.box.coefficient(inputs), torch.zeros_like(u)
        for i, axis in enumerate(self.grid.axes):
            order = [int(j == i) for j in range(self.grid.ndim)]
            divergence = divergence + self.transform.derivative(a * self.transform.derivative(u, order), order)
            if axis.kind == "periodic" and axis.n % 2 == 0:  # the highest wave has no slope at the points
                twice = self.transform.derivative(self.transform.derivative(u, order), order)
                mean = a.flatten(2).mean(2).view(-1, 1, *(1,) * self.grid.ndim)
                divergence = divergence + mean * (self.transform.derivative(u, [2 * j for j in order]) - twice)
        return -divergence - self.box.forces(inputs)


class EvolutionForm(Form):
    """u_t - L u - N(u) on a periodic box: u = u0 + ``scale`` t/T v. The right side is the problem's ``tendency``, at
    the points of a Chebyshev axis of time (or of a uniform one, with differences of second order)."""

    def __init__(self, problem: EvolutionProblem, points: int | Sequence[int], derivative: str = "spectral"):
        self.evolution = problem
        super().__init__(problem, points, derivative)

    @property
    def problem(self) -> EvolutionProblem:
        return self.evolution

    @property
    def space(self) -> Grid:
        return Grid(self.grid.axes[1:])

    @property
    def out_channels(self) -> int:
        return self.channels["u0"]

    def _grid(self, problem: Problem, points: int | Sequence[int]) -> Grid:
        d = self.evolution.ndim
        shape = [points] * (d + 1) if isinstance(points, int) else list(points)
        if len(shape) != d + 1:
            raise NWidthError("Form", got=f"points={points}", expected=f"a number, or {d + 1} of them, time first")
        space = self.evolution.grid(shape[1:])
        if not all(space.periodic):
            raise NWidthError(type(self.evolution).__name__, got=space.describe(), expected="periodic axes")
        kind = "chebyshev" if self.derivative == "spectral" else "nodal"
        return Grid((Axis(kind, shape[0], 0.0, self.evolution.final_time, "t"), *space.axes))

    def raw(self, inputs: Dataset) -> Tensor:
        raw = super().raw(inputs)
        return raw[:, :, None].expand(*raw.shape[:2], self.grid.shape[0], *raw.shape[2:])

    def constrain(self, v: Tensor, raw: Tensor, scale: float) -> Tensor:
        at = sum(n for k, n in self.channels.items() if k == "a")
        axis = self.grid.axes[0]
        s = (axis.coordinates() / axis.hi).to(v).view(-1, *(1,) * self.space.ndim)
        return raw[:, at : at + self.out_channels].to(v) + scale * s * v

    def residual(self, u: Tensor, raw: Tensor) -> Tensor:
        n, t = u.shape[0], u.shape[2]
        if self.transform is None:
            u_t = torch.gradient(u, spacing=self.grid.axes[0].spacing, dim=2, edge_order=2)[0]
        else:
            u_t = self.transform.derivative(u, [1, *[0] * self.space.ndim])
        states = u.transpose(1, 2).flatten(0, 1)  # a state for each sample and time
        rate = self.evolution.tendency(states, self.inputs(raw.transpose(1, 2).flatten(0, 1)))
        return u_t - rate.view(n, t, *rate.shape[1:]).transpose(1, 2)


def form_of(problem: Problem, points: int | Sequence[int], derivative: str = "spectral") -> Form:
    """The form of a problem at so many collocation points an axis (evolution problems: time first).

    >>> from nwidth.solvers import Poisson
    >>> form = form_of(Poisson(), 16)
    >>> form.grid.shape, tuple(form.sample([0, 1], 0).shape)
    ((16, 16), (2, 1, 16, 16))
    """
    if isinstance(problem, BoxProblem):
        return BoxForm(problem, points, derivative)
    if isinstance(problem, EvolutionProblem):
        return EvolutionForm(problem, points, derivative)
    raise NWidthError(
        "form_of",
        got=f"a {type(problem).__name__}",
        expected="a problem on a box, or an evolution on a periodic one",
        fix="fit a surrogate on solutions instead",
    )
