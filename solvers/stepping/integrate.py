"""States at given times by equal steps of one scheme."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from ...errors import NWidthError
from .exponential import ETDRK2, ETDRK4
from .runge_kutta import IMEX, RK4
from .stepper import Stepper

SCHEMES: dict[str, type[Stepper]] = {"etdrk4": ETDRK4, "etdrk2": ETDRK2, "rk4": RK4, "imex": IMEX}


def stepper_of(scheme: str) -> type[Stepper]:
    """The class of a scheme by its name; NWidthError for an unknown one."""
    if scheme not in SCHEMES:
        raise NWidthError("integrate", got=f"scheme={scheme!r}", expected="one of " + ", ".join(SCHEMES))
    return SCHEMES[scheme]


def integrate(
    linear: Tensor,
    nonlinear: Callable[[Tensor], Tensor],
    u: Tensor,
    t0: float,
    times: Sequence[float],
    max_step: float,
    *,
    dense: bool = False,
    scheme: str = "etdrk4",
) -> Iterator[Tensor]:
    """The states of u' = L u + N(u) at increasing ``times`` after ``t0``.

    Steps between two times are equal and at most ``max_step``. ``scheme``: etdrk4, etdrk2, rk4 or imex;
    ``linear`` and ``dense`` as in ``Stepper``.
    """
    kind = stepper_of(scheme)
    return advance(lambda h: kind(linear, h, nonlinear, dense=dense), u, t0, times, max_step)


def advance(
    stepper: Callable[[float], Stepper], u: Tensor, t0: float, times: Sequence[float], max_step: float
) -> Iterator[Tensor]:
    """The states at increasing ``times`` after ``t0``, by the steppers that ``stepper`` makes for steps of size h."""
    made: dict[tuple[int, float], Stepper] = {}
    before = t0
    for t in times:
        count = max(1, math.ceil((t - before) / max_step * (1 - 1e-9)))
        key = (count, round((t - before) / max_step, 9))
        if key not in made:
            made[key] = stepper((t - before) / count)
        for _ in range(count):
            u = made[key].step(u)
        before = t
        yield u
