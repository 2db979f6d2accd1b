"""Gaussian processes and kernels."""

from .kernel_ridge import KernelRidge
from .regression import GPRegressor

__all__ = ["GPRegressor", "KernelRidge"]
