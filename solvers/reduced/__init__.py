"""Model order reduction: POD, local bases, morphing, regression of coefficients, learned dynamics, Galerkin bases."""

from .active_subspace import ActiveSubspace, GaussianRBFNetwork
from .autoregressive import Autoregressive
from .clustering import Partition, cell_widths, k_medoids, sine_dissimilarity
from .dmd import DMD
from .dynamics import Persistence, StateSurrogate
from .encoding import InputEncoder
from .galerkin import ReducedBasis
from .interpolation import Interpolation
from .local_pod import LocalPOD
from .mlp import MLP
from .morphing import Displacements, Morphing, optimal_morphing
from .morphing_pod import MorphingPOD
from .neighbors import KNN
from .operator_inference import OperatorInference
from .pod import POD
from .regression import Mean, PODRegression, Regressor
from .regressors import RBF, Ridge
from .sampling import (
    leverage_sampling,
    orthonormal_functions,
    projection_dpp,
    repeated_dpp,
    volume_sampling,
    weighted_least_squares,
)

__all__ = [
    "DMD",
    "KNN",
    "MLP",
    "POD",
    "RBF",
    "ActiveSubspace",
    "Autoregressive",
    "Displacements",
    "GaussianRBFNetwork",
    "InputEncoder",
    "Interpolation",
    "LocalPOD",
    "Mean",
    "Morphing",
    "MorphingPOD",
    "OperatorInference",
    "PODRegression",
    "Partition",
    "Persistence",
    "ReducedBasis",
    "Regressor",
    "Ridge",
    "StateSurrogate",
    "cell_widths",
    "k_medoids",
    "leverage_sampling",
    "optimal_morphing",
    "orthonormal_functions",
    "projection_dpp",
    "repeated_dpp",
    "sine_dissimilarity",
    "volume_sampling",
    "weighted_least_squares",
]
