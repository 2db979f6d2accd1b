"""Structured covariance matrices: Kronecker products over the axes of a grid, Toeplitz matrices, missing points."""

from .conjugate_gradients import conjugate_gradients
from .kronecker import KroneckerEigen, apply_factors, outer, quad_logdet
from .observed import ObservedCovariance
from .operator import GridCovariance
from .toeplitz import Toeplitz

__all__ = [
    "GridCovariance",
    "KroneckerEigen",
    "ObservedCovariance",
    "Toeplitz",
    "apply_factors",
    "conjugate_gradients",
    "outer",
    "quad_logdet",
]
