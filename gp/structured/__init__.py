"""Structured covariance matrices: Kronecker products over the axes of a grid, Toeplitz matrices, missing points."""

from .kronecker import KroneckerEigen, apply_factors, outer, quad_logdet
from .operator import GridCovariance
from .toeplitz import Toeplitz

__all__ = ["GridCovariance", "KroneckerEigen", "Toeplitz", "apply_factors", "outer", "quad_logdet"]
