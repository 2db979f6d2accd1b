"""Runge-Kutta schemes of order four: explicit, and implicit in L with N explicit."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from .stepper import Stepper


class RK4(Stepper):
    """The classical scheme for u' = L u + N(u), all of it explicit: stable for h |L| up to about 2.8.

    >>> f = RK4(torch.zeros(1, dtype=torch.float64), 0.1, lambda u: -u)
    >>> abs(float(f.step(torch.ones(1, 1, dtype=torch.float64))) - 2.718281828459045**-0.1) < 1e-7
    True
    """

    order: ClassVar[int] = 4

    def _slope(self, u: Tensor) -> Tensor:
        return self.apply(self.linear, u) + self.nonlinear(u)

    def _advance(self, u: Tensor) -> Tensor:
        h = self.h
        k1 = self._slope(u)
        k2 = self._slope(u + (h / 2) * k1)
        k3 = self._slope(u + (h / 2) * k2)
        k4 = self._slope(u + h * k3)
        return u + (h / 6) * (k1 + 2 * (k2 + k3) + k4)


# Kennedy and Carpenter (2003), Additive Runge-Kutta schemes for convection-diffusion-reaction equations, Applied
# Numerical Mathematics 44, appendix: ARK4(3)6L[2]SA. Both parts share the weights, which are also the last row of
# the implicit part.
_GAMMA = 1 / 4
_IMPLICIT = (
    (),
    (1 / 4,),
    (8611 / 62500, -1743 / 31250),
    (5012029 / 34652500, -654441 / 2922500, 174375 / 388108),
    (15267082809 / 155376265600, -71443401 / 120774400, 730878875 / 902184768, 2285395 / 8070912),
    (82889 / 524892, 0.0, 15625 / 83664, 69875 / 102672, -2260 / 8211),
)
_EXPLICIT = (
    (),
    (1 / 2,),
    (13861 / 62500, 6889 / 62500),
    (
        -116923316275 / 2393684061468,
        -2731218467317 / 15368042101831,
        9408046702089 / 11113171139209,
    ),
    (
        -451086348788 / 2902428689909,
        -2682348792572 / 7519795681897,
        12662868775082 / 11960479115383,
        3355817975965 / 11060851509271,
    ),
    (
        647845179188 / 3216320057751,
        73281519250 / 8382639484533,
        552539513391 / 3454668386233,
        3354512671639 / 8306763924573,
        4040 / 17871,
    ),
)
_WEIGHTS = (*_IMPLICIT[-1], _GAMMA)


class IMEX(Stepper):
    """The additive Runge-Kutta scheme ARK4(3)6L[2]SA of Kennedy and Carpenter (2003): order four, six stages, L
    by an L-stable diagonally implicit method, N by an explicit one.

    Each stage divides by 1 - h L/4, or multiplies by the inverse of that matrix.
    """

    order: ClassVar[int] = 4

    def __init__(
        self, linear: Tensor, h: float | Tensor, nonlinear: Callable[[Tensor], Tensor], *, dense: bool = False
    ):
        super().__init__(linear, h, nonlinear, dense=dense)
        if dense:
            eye = torch.eye(linear.shape[-1], dtype=linear.dtype, device=linear.device)
            self.inverse = torch.linalg.inv(eye - (h * _GAMMA) * linear)
        else:
            self.inverse = 1 / (1 - (h * _GAMMA) * linear)

    def _advance(self, u: Tensor) -> Tensor:
        h = self.h
        slopes: list[Tensor] = []
        forces: list[Tensor] = []
        stage = u
        for implicit, explicit in zip(_IMPLICIT, _EXPLICIT):
            if implicit:
                total = u.clone()
                for a, b, slope, force in zip(implicit, explicit, slopes, forces):
                    total.add_((h * a) * slope).add_((h * b) * force)
                stage = self.apply(self.inverse, total)
            slopes.append(self.apply(self.linear, stage))
            forces.append(self.nonlinear(stage))
        u = stage.clone()
        for w, a, force in zip(_WEIGHTS, (*_EXPLICIT[-1], 0.0), forces):
            u.add_((h * (w - a)) * force)
        return u
