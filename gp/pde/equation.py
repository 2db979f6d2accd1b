"""One equation with its domain and conditions: what every solver of this package reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...errors import NWidthError

Order = tuple[int, ...]  # derivatives an axis: (2, 0) is u_xx in two dimensions
Coefficient = float | Tensor | Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Condition:
    """sum_o c_o d^o u = value on one side of the box: ``axis`` and ``end`` (0 lower, 1 upper).

    ``terms`` None means u itself (Dirichlet); {(1, 0): 1.0} is u_x.
    """

    axis: int
    end: int
    value: Callable[[Tensor], Tensor]
    terms: Mapping[Order, Coefficient] | None = None


@dataclass(frozen=True, kw_only=True)
class Equation:
    """sum_o c_o(x; p) d^o u + N(u, derivatives; x, p) = f(x) on the box [lower, upper], conditions on its sides.

    A user's own equation is a frozen dataclass like this one with ``terms``, ``source`` and ``conditions``; where it
    has them, ``nonlinear`` (with ``nonlinear_in`` naming the derivatives that it reads), ``exact``, and ``unknown``:
    the parameters p to be inferred, with first guesses.

    ``points``: collocation points a side. ``jitter``: moves inner points by up to this share of half a spacing (drawn
    with ``seed``); points are then scattered. Points are (n, d) in double precision throughout.
    """

    lower: Sequence[float] = (0.0,)
    upper: Sequence[float] = (1.0,)
    points: int | Sequence[int] = 100
    jitter: float = 0.0
    seed: int = 0

    nonlinear_in: ClassVar[Sequence[Order]] = ()  # the derivatives, as orders, that ``nonlinear`` reads
    has_exact: ClassVar[bool] = False
    unknown: ClassVar[Mapping[str, float]] = {}  # name: first guess of each parameter to be inferred

    def __post_init__(self):
        name = type(self).__name__
        box = [[number(v, f"{name}.{k}") for v in getattr(self, k)] for k in ("lower", "upper")]
        if len(box[0]) != len(box[1]) or not 1 <= len(box[0]) <= 3 or any(b <= a for a, b in zip(*box)):
            raise NWidthError(
                name, got=f"lower={box[0]}, upper={box[1]}", expected="1 to 3 numbers each, lower < upper"
            )
        counts = self.shape
        if len(counts) != len(box[0]) or any(not isinstance(n, int) or n < 4 for n in counts):
            raise NWidthError(name, got=f"points={self.points}", expected="4 or more points a side")
        if not 0 <= self.jitter <= 1:
            raise NWidthError(name, got=f"jitter={self.jitter}", expected="a number from 0 to 1")

    # what an equation defines

    def terms(self, x: Tensor, p: Mapping[str, Tensor]) -> Mapping[Order, Coefficient]:
        """The linear part: coefficients, numbers or values at the points x, by order of derivative."""
        raise NotImplementedError

    def source(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def conditions(self) -> Sequence[Condition]:
        raise NotImplementedError

    def nonlinear(self, u: Mapping[Order, Tensor], x: Tensor, p: Mapping[str, Tensor]) -> Tensor:
        """N at the points, from the derivatives in ``nonlinear_in``; differentiated automatically."""
        raise NotImplementedError

    def exact(self, x: Tensor) -> Tensor:
        raise NWidthError(type(self).__name__, got="no exact solution", expected="an equation with exact(x)")

    # what follows from it

    @property
    def ndim(self) -> int:
        return len(self.lower)

    @property
    def shape(self) -> tuple[int, ...]:
        counts = (self.points,) * len(self.lower) if isinstance(self.points, int) else tuple(self.points)
        return counts

    @property
    def box(self) -> tuple[tuple[float, float], ...]:
        name = type(self).__name__
        return tuple((number(a, name), number(b, name)) for a, b in zip(self.lower, self.upper))

    def axes(self) -> list[Tensor]:
        """Equally spaced points of each axis, both ends included, moved where there is jitter."""
        found = []
        for i, (n, (a, b)) in enumerate(zip(self.shape, self.box)):
            x = torch.linspace(a, b, n, dtype=torch.float64)
            if self.jitter:
                generator = torch.Generator().manual_seed(self.seed * 3 + i)
                move = (torch.rand(n - 2, generator=generator, dtype=torch.float64) - 0.5) * (b - a) / (n - 1)
                x[1:-1] += self.jitter * move
            found.append(x)
        return found

    def grid(self) -> Tensor:
        """All points of the tensor grid, (n, d), the last axis fastest."""
        return product(self.axes())

    def side(self, condition: Condition, axes: Sequence[Tensor] | None = None) -> Tensor:
        """The points of a condition: the grid's points on that side."""
        chosen = list(self.axes() if axes is None else axes)
        a, b = self.box[condition.axis]
        chosen[condition.axis] = torch.tensor([b if condition.end else a], dtype=torch.float64)
        return product(chosen)

    @property
    def is_linear(self) -> bool:
        return not self.nonlinear_in and not self.unknown


@dataclass(frozen=True)
class Observations:
    """Measured values of the solution: y = u(points) + N(0, std^2); std None leaves the noise to be learned."""

    points: Tensor
    values: Tensor
    std: float | None = None


@dataclass(frozen=True)
class Cloud:
    """An irregular domain as points: where the equation holds, where u is given, and its values there.

    ``corners`` (two dimensions): re-entrant corners as (x, y, angle of one edge, interior angle anticlockwise from it);
    None looks for them among the boundary points, () has none.
    """

    interior: Tensor
    boundary: Tensor
    values: Tensor
    corners: Sequence[tuple[float, float, float, float]] | None = None


def product(axes: Sequence[Tensor]) -> Tensor:
    """The points of a tensor grid, (n, d), the last axis fastest."""
    return torch.stack([g.reshape(-1) for g in torch.meshgrid(*axes, indexing="ij")], -1)


def evenly(box: Sequence[tuple[float, float]], count: int) -> list[Tensor]:
    """``count`` coordinates an axis that are evenly spread but in step with no wave: multiples of the golden ratio."""
    t = torch.arange(count, dtype=torch.float64) * ((5**0.5 - 1) / 2)
    return [a + (b - a) * ((t + share) % 1).sort().values for (a, b), share in zip(box, (0.382, 0.441, 0.327))]


def coefficient(value: Coefficient, x: Tensor) -> Tensor | float:
    """A coefficient's values at points: a number stays one."""
    return value(x) if callable(value) else value


def number(value: Any, call: str) -> float:
    """A finite number from a config, where ``2*pi`` is one as well."""
    if isinstance(value, str):
        from .expressions import expression

        value = float(expression(value, call)(torch.zeros(1, 1, dtype=torch.float64))[0])
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise NWidthError(call, got=repr(value), expected="a finite number")
    return float(value)
