"""Kernels for spectra, derivatives and near-periodic signals, as gpytorch kernels."""

from .functionals import Functional, FunctionalKernel, functional_covariance, kernel_derivative, laplacian, value
from .grid_mixture import GridSpectralMixtureProduct
from .mixture import SpectralMixture
from .quasi_periodic import PeriodStatistics, QuasiPeriodicKernel
from .spectra import Peaks, initialize_from_data, initialize_on_grid, lomb_scargle, periodogram, spectral_peaks
from .stationary import DimensionProduct, SmoothStationaryKernel

__all__ = [
    "DimensionProduct",
    "Functional",
    "FunctionalKernel",
    "GridSpectralMixtureProduct",
    "Peaks",
    "PeriodStatistics",
    "QuasiPeriodicKernel",
    "SmoothStationaryKernel",
    "SpectralMixture",
    "functional_covariance",
    "initialize_from_data",
    "initialize_on_grid",
    "kernel_derivative",
    "laplacian",
    "lomb_scargle",
    "periodogram",
    "spectral_peaks",
    "value",
]
