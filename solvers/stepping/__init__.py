"""Time stepping for u' = L u + N(u), batched: exponential, explicit, implicit-explicit and adaptive schemes."""

from .adaptive import integrate_adaptive
from .exponential import ETDRK2, ETDRK4
from .integrate import SCHEMES, advance, integrate, stepper_of
from .phi import phi_dense, phi_diagonal
from .runge_kutta import IMEX, RK4
from .stepper import Stepper

__all__ = [
    "ETDRK2",
    "ETDRK4",
    "IMEX",
    "RK4",
    "SCHEMES",
    "Stepper",
    "advance",
    "integrate",
    "integrate_adaptive",
    "phi_dense",
    "phi_diagonal",
    "stepper_of",
]
