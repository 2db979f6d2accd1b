"""Gaussian processes and kernels."""

from .kernel_ridge import KernelRidge

__all__ = ["KernelRidge"]
