"""Neural processes for parametric equations: samples at any points in, a Gaussian process of the solution out."""

from .elliptic import Collocation, Observations, evidence_bound, residual_scale
from .gaussian import GaussianCoefficients, log_density
from .gicnet import GridInvariantNet
from .inverse import FieldInference
from .waves import Waves

__all__ = [
    "Collocation",
    "FieldInference",
    "GaussianCoefficients",
    "GridInvariantNet",
    "Observations",
    "Waves",
    "evidence_bound",
    "log_density",
    "residual_scale",
]
