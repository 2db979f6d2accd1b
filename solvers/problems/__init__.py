"""The equations: one module each."""

from .burgers import Burgers
from .darcy import Darcy

__all__ = ["Burgers", "Darcy"]
