"""Gaussian processes and kernels."""

from .grids import GridGP
from .kernel_ridge import KernelRidge
from .regression import GPRegressor

__all__ = ["GPRegressor", "GridGP", "KernelRidge"]
