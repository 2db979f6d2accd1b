"""Exact Gaussian processes on tensor grids."""

from .axes import axis_covariance, cross_covariance
from .model import GridGP
from .posterior import GridPosterior

__all__ = ["GridGP", "GridPosterior", "axis_covariance", "cross_covariance"]
