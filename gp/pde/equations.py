"""Equations made from a solution or from formulas: Poisson, Allen-Cahn, advection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import NWidthError
from .equation import Condition, Equation, Order, coefficient
from .expressions import Function, derivative, expression


def unit(d: int, axis: int, times: int) -> Order:
    return tuple(times if i == axis else 0 for i in range(d))


@dataclass(frozen=True, kw_only=True)
class Manufactured(Equation):
    """An equation with formulas: either ``solution``, from which source and boundary values follow by automatic
    differentiation, or ``force`` and ``boundary``.

    The solution serves these right-hand sides and the error that is printed; no solver reads it.
    """

    solution: str | None = None
    force: str | float | None = None
    boundary: str | float = 0.0

    def __post_init__(self):
        super().__post_init__()
        name = type(self).__name__
        if (self.solution is None) == (self.force is None):
            raise NWidthError(name, got=f"solution={self.solution!r}, force={self.force!r}", expected="one of the two")
        self._function(), expression(self.boundary, f"{name}.boundary")

    @property
    def has_exact(self) -> bool:  # type: ignore[override]
        return self.solution is not None

    def _function(self) -> Function:
        given = self.solution if self.solution is not None else self.force
        assert given is not None
        return expression(given, f"{type(self).__name__}.{'solution' if self.solution is not None else 'force'}")

    def exact(self, x: Tensor) -> Tensor:
        return self._function()(x) if self.has_exact else super().exact(x)

    def wall(self, x: Tensor) -> Tensor:
        return self.exact(x) if self.has_exact else expression(self.boundary)(x)

    def source(self, x: Tensor) -> Tensor:
        if not self.has_exact:
            return self._function()(x)
        exact = self._function()
        total = torch.zeros(len(x), dtype=x.dtype)
        for order, c in self.terms(x, {}).items():
            total = total + coefficient(c, x) * derivative(exact, x, order)
        if self.nonlinear_in:
            total = total + self.nonlinear({o: derivative(exact, x, o) for o in self.nonlinear_in}, x, {})
        return total

    def conditions(self) -> Sequence[Condition]:
        return [Condition(axis, end, self.wall) for axis in range(self.ndim) for end in (0, 1)]


@dataclass(frozen=True, kw_only=True)
class PoissonEquation(Manufactured):
    """Lap u = f, u given on the boundary.

    >>> equation = PoissonEquation(solution="x**3", points=5)
    >>> equation.source(equation.grid()).tolist()
    [0.0, 1.5, 3.0, 4.5, 6.0]
    """

    def terms(self, x: Tensor, p: Mapping[str, Tensor]) -> Mapping[Order, float]:
        return {unit(self.ndim, i, 2): 1.0 for i in range(self.ndim)}


@dataclass(frozen=True, kw_only=True)
class AllenCahnEquation(Manufactured):
    """Lap u + u (u^2 - 1) = f, u given on the boundary (an example of Fang et al. 2024, arXiv 2311.04465)."""

    def terms(self, x: Tensor, p: Mapping[str, Tensor]) -> Mapping[Order, float]:
        return {**{unit(self.ndim, i, 2): 1.0 for i in range(self.ndim)}, unit(self.ndim, 0, 0): -1.0}

    @property
    def nonlinear_in(self) -> tuple[Order, ...]:  # type: ignore[override]
        return (unit(self.ndim, 0, 0),)

    def nonlinear(self, u: Mapping[Order, Tensor], x: Tensor, p: Mapping[str, Tensor]) -> Tensor:
        return u[unit(self.ndim, 0, 0)] ** 3


@dataclass(frozen=True, kw_only=True)
class AdvectionEquation(Manufactured):
    """u_t + speed u_x = f on (x, t), from the initial values and those at the inflow alone; ``t`` is the last axis."""

    speed: float = 200.0

    def __post_init__(self):
        super().__post_init__()
        if self.ndim != 2 or self.speed == 0:
            raise NWidthError(
                "AdvectionEquation", got=f"{self.ndim} axes, speed {self.speed}", expected="x and t, a speed"
            )

    def terms(self, x: Tensor, p: Mapping[str, Tensor]) -> Mapping[Order, float]:
        return {(0, 1): 1.0, (1, 0): self.speed}

    def conditions(self) -> Sequence[Condition]:
        return [Condition(1, 0, self.wall), Condition(0, 0 if self.speed > 0 else 1, self.wall)]
