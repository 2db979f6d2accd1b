"""Gaussian processes and kernels."""

from .functional_tensor import FunctionalTensor
from .grids import GridGP
from .kernel_ridge import KernelRidge
from .regression import GPRegressor
from .slim import SparseSpectralGP

__all__ = ["FunctionalTensor", "GPRegressor", "GridGP", "KernelRidge", "SparseSpectralGP"]
