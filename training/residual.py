"""Losses that need no solutions: the residual of the equation for the network's answer to a random input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import NWidthError
from ..solvers import Problem
from ..solvers.forms import Form, form_of

NORMS = ("l2", "h-1")


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

    ``norm``: l2, or h-1, in which the coefficient of a wave with k periods in the domain counts (1 + |k|^2)^(-1/2)
    times, k over the axes of space (degree k/2 of polynomials): for an equation of second order the loss then measures
    first derivatives of the error, where l2 measures second ones.
    """

    derivative = "spectral"

    def __init__(self, points: int | Sequence[int] = 31, norm: str = "l2"):
        super().__init__(points)
        if norm not in NORMS:
            raise NWidthError("SpectralLoss", got=f"norm={norm!r}", expected="one of " + ", ".join(NORMS))
        self.norm = norm

    def __call__(self, form: Form, u: Tensor, raw: Tensor) -> Tensor:
        c = form.coefficients(form.residual(u, raw))
        return form.square(c if self.norm == "l2" else c * _inverse_root(form, c)).mean()


def _inverse_root(form: Form, c: Tensor) -> Tensor:
    """(1 + |k|^2)^(-1/2) for each coefficient, shaped to multiply c (N, C, ...)."""
    t = form.transform
    assert t is not None
    total = torch.ones((), dtype=torch.float64)
    pairs = list(zip(t.bases, t.modes_of(c), form.grid.axes))[-form.space.ndim :]
    for basis, m, axis in pairs:
        k = basis.frequencies(m).double() / (1 if axis.kind == "periodic" else 2)
        total = total[..., None] + k.square()
    return total.rsqrt().to(c.device, c.real.dtype)


class PointwiseLoss(ResidualLoss):
    """The mean of r^2 over uniform points, derivatives by second-order differences: a physics-informed loss on a grid
    (Li et al., Physics-informed neural operator, arXiv:2111.03794, section 3.2)."""

    derivative = "difference"

    def __call__(self, form: Form, u: Tensor, raw: Tensor) -> Tensor:
        return form.residual(u, raw).square().flatten(2).mean(2).sum(1).mean()
