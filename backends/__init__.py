"""Numerical ground that the three families share: grids, spectral transforms, singular values."""

from .grid import Axis, Grid, Mesh, grid_from_dict, same_grid

__all__ = ["Axis", "Grid", "Mesh", "grid_from_dict", "same_grid"]
