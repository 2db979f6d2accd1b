"""Losses that need no solutions: the residual of the equation for the network's answer to a random input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from ..solvers import Problem
from ..solvers.forms import Form, form_of


class ResidualLoss(ABC):
    """The mean over samples of |r|^2, r the residual of the network's answer.

    ``points``: of the grid on which the network works, one number for all axes or one each, time first.
    """

    derivative: ClassVar[str]

    def __init__(self, points: int | Sequence[int] = 31):
        self.points = points

    def form(self, problem: Problem) -> Form:
        return form_of(problem, self.points, self.derivative)

    @abstractmethod
    def __call__(self, form: Form, u: Tensor, raw: Tensor) -> Tensor:
        """From answers u (N, C, *points) to inputs ``raw``."""


class SpectralLoss(ResidualLoss):
    """|r|^2 from the spectral coefficients of r by Parseval: Du et al., arXiv:2312.05225, section 3.2.

    Derivatives are exact for functions of as many modes as points. So is |r|^2 where the points hold the modes of r
    too: give p (m - 1) + 1 points for m modes where the equation has products of p factors.
    """

    derivative = "spectral"

    def __call__(self, form: Form, u: Tensor, raw: Tensor) -> Tensor:
        return form.square(form.coefficients(form.residual(u, raw))).mean()


class PointwiseLoss(ResidualLoss):
    """The mean of r^2 over uniform points, derivatives by second-order differences: a physics-informed loss on a grid
    (Li et al., Physics-informed neural operator, arXiv:2111.03794, section 3.2)."""

    derivative = "difference"

    def __call__(self, form: Form, u: Tensor, raw: Tensor) -> Tensor:
        return form.residual(u, raw).square().flatten(2).mean(2).sum(1).mean()
