"""Losses that need no solutions: the residual of the equation for the network's answer to a random input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from ..backends.bases import ChebyshevBasis, SineBasis
from ..backends.spectral_paths import apply_matrix
from ..backends.transforms import Transform
from ..errors import NWidthError
from ..solvers import Problem
from ..solvers.forms import Form, form_of

NORMS = ("l2", "h-1")
SINES = 2  # times the points of an axis


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
    times, k over the axes of space: for an equation of second order the loss then measures first derivatives of the
    error, where l2 measures second ones. Where u = 0 at both ends of an axis, the waves are sines of 2 k half waves,
    up to ``SINES`` times as many as points, whatever the values of r at the ends.
    """

    derivative = "spectral"

    def __init__(self, points: int | Sequence[int] = 31, norm: str = "l2"):
        super().__init__(points)
        if norm not in NORMS:
            raise NWidthError("SpectralLoss", got=f"norm={norm!r}", expected="one of " + ", ".join(NORMS))
        self.norm = norm

    def __call__(self, form: Form, u: Tensor, raw: Tensor) -> Tensor:
        c = form.coefficients(form.residual(u, raw))
        return (form.square(c) if self.norm == "l2" else _dual_square(form, c)).mean()


def _dual_square(form: Form, c: Tensor) -> Tensor:
    """The mean of r (1 - D)^-1 r from coefficients c (N, C, ...) of r, D the sum of second derivatives in periods."""
    t = form.transform
    assert t is not None
    bases, modes, total = list(t.bases), list(t.modes_of(c)), torch.ones((), dtype=torch.float64)
    for i in range(t.ndim - form.space.ndim, t.ndim):
        half_waves = bases[i] == ChebyshevBasis()  # an axis of a box with u = 0 at both ends
        if half_waves:
            c = apply_matrix(_sines(modes[i]).to(c), c, c.ndim - t.ndim + i)
            bases[i], modes[i] = SineBasis(), SINES * modes[i]
        k = bases[i].frequencies(modes[i]).double() / (2 if half_waves else 1)
        total = total[..., None] + k.square()
    return Transform(bases).norm2(c * total.rsqrt().to(c.device, c.real.dtype), form.grid.shape).sum(1)


@cache
def _sines(m: int) -> Tensor:
    """(SINES m, m): the sine coefficients of the m Chebyshev polynomials, by the midpoint rule."""
    basis, n = SineBasis(), 16 * SINES * m
    polynomials = torch.cos(torch.arange(m) * torch.arccos(2 * basis.points(n) - 1)[:, None])
    return basis.analysis(n, SINES * m) @ polynomials


class PointwiseLoss(ResidualLoss):
    """The mean of r^2 over uniform points, derivatives by second-order differences: a physics-informed loss on a grid
    (Li et al., Physics-informed neural operator, arXiv:2111.03794, section 3.2)."""

    derivative = "difference"

    def __call__(self, form: Form, u: Tensor, raw: Tensor) -> Tensor:
        return form.residual(u, raw).square().flatten(2).mean(2).sum(1).mean()
