"""Chebyshev collocation, the classical method that every table compares with, and the reference made from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...backends import Axis
from ...errors import NWidthError
from .basis import evaluate
from .equation import Equation, Order
from .factors import Space
from .solution import Solution
from .task import Answer, Task


@dataclass(frozen=True)
class ChebyshevCardinals:
    """phi_j(x_i) = delta_ij at the Gauss-Lobatto points of each axis: values by the barycentric formula, derivatives by
    the differentiation matrix with negative sums (Berrut and Trefethen 2004, SIAM Review 46).

    >>> basis = ChebyshevCardinals(((0.0, 2.0),), (6,))
    >>> x = basis.nodes(0)
    >>> slope = basis.line(0, torch.tensor([0.3], dtype=torch.float64), 1) @ x**3
    >>> bool(abs(slope - 0.27) < 1e-10)
    True
    """

    box: tuple[tuple[float, float], ...]
    sizes: tuple[int, ...]
    cardinal = True

    def nodes(self, axis: int) -> Tensor:
        return Axis("chebyshev", self.sizes[axis], *self.box[axis]).coordinates().double()

    def line(self, axis: int, x: Tensor, order: int = 0) -> Tensor:
        nodes = self.nodes(axis)
        signs = (-1.0) ** torch.arange(len(nodes), dtype=torch.float64)
        signs[[0, -1]] /= 2
        gap = x[:, None] - nodes
        hit = gap == 0
        quotient = signs / torch.where(hit, 1.0, gap)
        values = torch.where(hit.any(1, keepdim=True), hit.double(), quotient / quotient.sum(1, keepdim=True))
        if not order:
            return values
        # differences of the points through sines, which keep the digits that subtraction loses near the ends
        angle = math.pi * torch.arange(len(nodes), dtype=torch.float64) / (len(nodes) - 1)
        half = (self.box[axis][1] - self.box[axis][0]) / 2
        gaps = 2 * half * torch.sin((angle[:, None] + angle) / 2) * torch.sin((angle[:, None] - angle) / 2)
        D = (signs / signs[:, None]) / gaps.fill_diagonal_(1.0)
        D.fill_diagonal_(0.0).diagonal().sub_(D.sum(1))
        for _ in range(order):
            values = values @ D
        return values


class Chebyshev:
    """The equation at the inner Chebyshev points, conditions at the ends; ``points`` a side, the equation's own
    otherwise.

    Linear sums over axes by LU or Sylvester equations, all else by Newton-GMRES. No standard deviations.
    """

    def __init__(self, points: int | Sequence[int] | None = None, iterations: int = 30):
        self.points, self.iterations = points, iterations

    def solve(self, equation: Equation) -> Solution:
        if equation.unknown:
            raise NWidthError(
                "Chebyshev.solve", got=f"unknown {list(equation.unknown)}", expected="none", fix="solver=gp"
            )
        answer = self._answer(equation, self._counts(equation))
        return _solution(equation, "chebyshev", answer, [answer.record()], answer.notes())

    def _counts(self, equation: Equation) -> tuple[int, ...]:
        return equation.shape if self.points is None else replace(equation, points=self.points).shape

    def _answer(self, equation: Equation, counts: tuple[int, ...]) -> Answer:
        basis = ChebyshevCardinals(equation.box, counts)
        axes = [basis.nodes(i) for i in range(equation.ndim)]
        task = Task(equation, self.iterations, axes)
        ones = [torch.ones(n, dtype=torch.float64) for n in counts]
        return task.answer(Space(equation, basis, ones, 0.0, task.conditions, axes))


class Reference(Chebyshev):
    """Chebyshev collocation, refined until the solution changes by less than ``accuracy``: an answer to trust.

    Points grow by half at each step, from the equation's own up to ``most`` a side (1D, 2D, 3D).
    """

    def __init__(self, accuracy: float = 1e-9, most: Sequence[int] = (2400, 500, 60), iterations: int = 30):
        super().__init__(None, iterations)
        self.accuracy, self.most = accuracy, tuple(most)

    def solve(self, equation: Equation) -> Solution:
        if equation.unknown:
            raise NWidthError("Reference.solve", got=f"unknown {list(equation.unknown)}", expected="none")
        limit = self.most[equation.ndim - 1]
        axes = [torch.linspace(a, b, 400 if equation.ndim == 1 else 60, dtype=torch.float64) for a, b in equation.box]
        points = torch.stack([g.reshape(-1) for g in torch.meshgrid(*axes, indexing="ij")], -1)
        counts = tuple(min(n, limit) for n in equation.shape)
        answer, history, notes, before = self._answer(equation, counts), [], [], None
        while True:
            values = evaluate(answer.space.features, answer.weights, points, (0,) * equation.ndim)
            change = math.inf if before is None else float((values - before).norm() / values.norm().clamp_min(1e-300))
            history.append({**answer.record(), "change": change})
            if change < self.accuracy:
                break
            if counts == (larger := tuple(min(limit, n + n // 2) for n in counts)):
                notes.append(
                    f"the last refinement changed the solution by {change:.1g}, not {self.accuracy:.1g}: raise most"
                )
                break
            before, counts = values, larger
            answer = self._answer(equation, counts)
        return _solution(equation, "reference", answer, history, notes)


def _solution(equation: Equation, name: str, answer: Answer, history: list, notes: Sequence[str] = ()) -> Solution:
    def predictor(x: Tensor, order: Order) -> tuple[Tensor, None]:
        return evaluate(answer.space.features, answer.weights, x, order), None

    return Solution(equation, name, predictor, answer.residual, {}, history, answer.record(), [], list(notes))
