"""What every solver of an equation answers: values and derivatives anywhere, with their standard deviation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...errors import NWidthError
from .equation import Equation, Order
from .system import checked

Predictor = Callable[[Tensor, Order], tuple[Tensor, Tensor | None]]


@dataclass
class Solution:
    """u and its derivatives from ``predict``; ``parameters`` are (value, std) by name.

    ``history`` holds one record a step (band tried, residual, held-out error), ``spectrum`` (frequency, density)
    pairs of
    each axis, ``selected`` what was chosen without the truth, ``notes`` warnings for the reader.
    """

    equation: Equation
    solver: str
    predictor: Predictor
    residual: float
    parameters: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    selected: dict[str, Any] = field(default_factory=dict)
    spectrum: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def predict(self, points: Tensor, order: Order | None = None) -> tuple[Tensor, Tensor | None]:
        """Mean and standard deviation (n,) of d^order u at points (n, d); std None where the solver has none."""
        x = points[:, None] if points.ndim == 1 and self.equation.ndim == 1 else points
        if x.dtype != torch.float64:
            raise NWidthError("Solution.predict", got=str(x.dtype), expected="float64", fix="points.double()")
        if x.ndim != 2 or x.shape[1] != self.equation.ndim:
            raise NWidthError("Solution.predict", got=f"{tuple(x.shape)}", expected=f"(n, {self.equation.ndim})")
        chosen = (0,) * self.equation.ndim if order is None else tuple(order)
        if len(chosen) != self.equation.ndim or any(not isinstance(o, int) or o < 0 for o in chosen):
            raise NWidthError("Solution.predict", got=f"order={order}", expected=f"{self.equation.ndim} whole numbers")
        return self.predictor(x, chosen)

    def error(self, points: Tensor) -> float:
        """Relative L2 error at points, where the exact solution is known."""
        exact = self.equation.exact(points)
        return float((self.predict(points)[0] - exact).norm() / exact.norm().clamp_min(1e-300))

    def coverage(self, points: Tensor, z: float = 1.96) -> float:
        """Share of points where the exact solution lies within mean +- z std."""
        mean, std = self.predict(checked(points, self.equation.ndim, "points"))
        if std is None:
            raise NWidthError("Solution.coverage", got=f"solver {self.solver}", expected="one with standard deviations")
        return float(((mean - self.equation.exact(points)).abs() <= z * std).double().mean())
