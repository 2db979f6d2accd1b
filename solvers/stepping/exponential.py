"""Exponential time differencing: exact for N = 0, so that stiffness in L does not limit the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from .phi import phi_dense, phi_diagonal
from .stepper import Stepper

__all__ = ["ETDRK2", "ETDRK4"]


class ETDRK4(Stepper):
    """The fourth-order exponential Runge-Kutta scheme of Cox and Matthews (2002, J. Comput. Phys. 176,
    equations 26 to 29), with the coefficients of ``phi_diagonal`` or ``phi_dense``.

    >>> import math, torch
    >>> stepper = ETDRK4(torch.tensor([-1000.0], dtype=torch.float64), 0.1, lambda u: torch.zeros_like(u))
    >>> float(stepper.step(torch.ones(1, 1, dtype=torch.float64))) == math.exp(-100.0)
    True
    """

    order: ClassVar[int] = 4

    def __init__(
        self, linear: Tensor, h: float | Tensor, nonlinear: Callable[[Tensor], Tensor], *, dense: bool = False
    ):
        super().__init__(linear, h, nonlinear, dense=dense)
        phi = phi_dense if dense else phi_diagonal
        p0, p1, p2, p3 = phi(linear * h)
        half = phi(linear * (h / 2))
        self.whole, self.half = p0, half[0]
        self.q, self.twice = (h / 2) * half[1], h * half[1]
        self.first, self.last = h * (p1 - 3 * p2 + 4 * p3), h * (4 * p3 - p2)
        self.middle = 2 * h * (p2 - 2 * p3)

    def _advance(self, u: Tensor) -> Tensor:
        N = self.nonlinear
        n0, start = N(u), self.apply(self.half, u)
        a = self.plus(start, self.q, n0)
        na = N(a)
        nb = N(self.plus(start, self.q, na))
        nc = N(self.add(self.apply(self.half, a), self.twice, torch.sub(nb, n0, alpha=0.5)))
        u = self.add(self.apply(self.whole, u), self.first, n0)
        u = self.add(u, self.middle, na + nb)
        return self.add(u, self.last, nc)


class ETDRK2(Stepper):
    """The second-order scheme of Cox and Matthews (2002, equations 22 and 23)

    a = exp(hL) u + h phi_1(hL) N(u),    u+ = a + h phi_2(hL) (N(a) - N(u)).
    """

    order: ClassVar[int] = 2

    def __init__(
        self, linear: Tensor, h: float | Tensor, nonlinear: Callable[[Tensor], Tensor], *, dense: bool = False
    ):
        super().__init__(linear, h, nonlinear, dense=dense)
        p0, p1, p2, _ = (phi_dense if dense else phi_diagonal)(linear * h)
        self.whole, self.first, self.second = p0, h * p1, h * p2

    def _advance(self, u: Tensor) -> Tensor:
        n0 = self.nonlinear(u)
        a = self.add(self.apply(self.whole, u), self.first, n0)
        return self.plus(a, self.second, self.nonlinear(a) - n0)
