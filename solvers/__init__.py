"""PDE problems: what they are, random inputs, full-order solvers, and files of their solutions."""

from .elliptic import EllipticProblem, conjugate_gradients
from .evolution import EvolutionProblem
from .generate import generate
from .problem import Problem, config_of
from .problems import Burgers, Darcy
from .random_fields import GaussianField, stream
from .spectral import SpectralSpace
from .stepping import ETDRK4, integrate, phi_dense, phi_diagonal

__all__ = [
    "ETDRK4",
    "Burgers",
    "Darcy",
    "EllipticProblem",
    "EvolutionProblem",
    "GaussianField",
    "Problem",
    "SpectralSpace",
    "config_of",
    "conjugate_gradients",
    "generate",
    "integrate",
    "phi_dense",
    "phi_diagonal",
    "stream",
]
