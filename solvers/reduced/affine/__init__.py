"""Certified reduced bases of affine problems: projection, error bounds, greedy algorithms."""

from .coercivity import ExactCoercivity, SuccessiveConstraints
from .greedy import GreedyLog, adaptive_greedy, greedy
from .model import AffineModel
from .parabolic import ParabolicModel, ParabolicReductor, pod_greedy
from .reductor import AffineReductor
from .residual import ResidualRange
from .surrogate import CertifiedReducedBasis

__all__ = [
    "AffineModel",
    "AffineReductor",
    "CertifiedReducedBasis",
    "ExactCoercivity",
    "GreedyLog",
    "ParabolicModel",
    "ParabolicReductor",
    "ResidualRange",
    "SuccessiveConstraints",
    "adaptive_greedy",
    "greedy",
    "pod_greedy",
]
