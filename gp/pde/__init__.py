"""Differential equations solved by Gaussian processes, with error bars, and the solvers to compare them with."""

from .chebyshev import Chebyshev, Reference
from .equation import Cloud, Condition, Equation, Observations
from .equations import AdvectionEquation, AllenCahnEquation, PoissonEquation
from .process import GP
from .published import GPKronecker
from .solution import Solution
from .tensor import TensorSpace
from .weight_space import WeightSpace

__all__ = [
    "GP",
    "AdvectionEquation",
    "AllenCahnEquation",
    "Chebyshev",
    "Cloud",
    "Condition",
    "Equation",
    "GPKronecker",
    "Observations",
    "PoissonEquation",
    "Reference",
    "Solution",
    "TensorSpace",
    "WeightSpace",
]
