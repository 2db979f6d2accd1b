"""PDE problems: what they are, random inputs, full-order solvers, and files of their solutions."""

from .affine import AffineProblem, Parameter
from .affine_system import AffineSystem, AffineTerms
from .box import BoxProblem
from .cosine import CosineSpace
from .elliptic import EllipticProblem, conjugate_gradients
from .evolution import EvolutionProblem
from .finite_volume import FiniteVolumeProblem
from .fluid import FluidProblem
from .generate import generate
from .linear_evolution import LinearEvolution
from .media import BoundedField, LogNormal, Medium, TrigonometricProduct, TrigonometricQuotients, TwoPhase
from .multigrid import Multigrid
from .parabolic import Parabolic
from .problem import Problem, config_of
from .problems import (
    Advection,
    AllenCahn,
    Burgers,
    Darcy,
    DiffusionReaction,
    ElasticityBlock,
    Euler,
    FisherKPP,
    FitzHughNagumo,
    FractionalDiffusion,
    Graetz,
    GrayScott,
    Heat,
    Helmholtz,
    KdV,
    KuramotoSivashinsky,
    Lorenz96,
    Lorenz96TwoScale,
    NavierStokes,
    NonlinearPoisson,
    Patches,
    Poisson,
    Schroedinger,
    ShallowWater,
    ThermalBlock,
    ThermalInclusion,
    Wave,
    Window,
    dam_break,
    euler_riemann,
    streamfunction,
    velocity,
    vorticity,
)
from .random_fields import GaussianField, MaternField, PowerLawField, RandomField, stream
from .random_states import PiecewiseConstant, RadialDamBreak, SmoothStates
from .reference import ReferenceSolver
from .riesz import RieszCollocation
from .semilinear import SemilinearProblem
from .spectral import SpectralSpace
from .stepping import ETDRK2, ETDRK4, IMEX, RK4, integrate, integrate_adaptive, phi_dense, phi_diagonal

__all__ = [
    "ETDRK2",
    "ETDRK4",
    "IMEX",
    "RK4",
    "Advection",
    "AffineProblem",
    "AffineSystem",
    "AffineTerms",
    "AllenCahn",
    "BoundedField",
    "BoxProblem",
    "Burgers",
    "CosineSpace",
    "Darcy",
    "DiffusionReaction",
    "ElasticityBlock",
    "EllipticProblem",
    "Euler",
    "EvolutionProblem",
    "FiniteVolumeProblem",
    "FisherKPP",
    "FitzHughNagumo",
    "FluidProblem",
    "FractionalDiffusion",
    "GaussianField",
    "Graetz",
    "GrayScott",
    "Heat",
    "Helmholtz",
    "KdV",
    "KuramotoSivashinsky",
    "LinearEvolution",
    "LogNormal",
    "Lorenz96",
    "Lorenz96TwoScale",
    "MaternField",
    "Medium",
    "Multigrid",
    "NavierStokes",
    "NonlinearPoisson",
    "Parabolic",
    "Parameter",
    "Patches",
    "PiecewiseConstant",
    "Poisson",
    "PowerLawField",
    "Problem",
    "RadialDamBreak",
    "RandomField",
    "ReferenceSolver",
    "RieszCollocation",
    "Schroedinger",
    "SemilinearProblem",
    "ShallowWater",
    "SmoothStates",
    "SpectralSpace",
    "ThermalBlock",
    "ThermalInclusion",
    "TrigonometricProduct",
    "TrigonometricQuotients",
    "TwoPhase",
    "Wave",
    "Window",
    "config_of",
    "conjugate_gradients",
    "dam_break",
    "euler_riemann",
    "generate",
    "integrate",
    "integrate_adaptive",
    "phi_dense",
    "phi_diagonal",
    "stream",
    "streamfunction",
    "velocity",
    "vorticity",
]
