"""Model order reduction: POD, local and morphed bases, regression of coefficients, empirical interpolation, learned
dynamics, Galerkin and certified reduced bases."""

from .active_subspace import ActiveSubspace, GaussianRBFNetwork
from .affine import CertifiedReducedBasis
from .autoregressive import Autoregressive
from .clustering import Partition, cell_widths, k_medoids, sine_dissimilarity
from .deim_galerkin import DEIMGalerkin
from .dmd import DMD
from .dynamics import Persistence, StateSurrogate
from .encoding import InputEncoder
from .galerkin import ReducedBasis
from .interpolation import EmpiricalInterpolation
from .local_pod import LocalPOD
from .matrix_interpolation import MatrixInterpolation
from .matrix_powers import PowerInterpolation
from .mlp import MLP
from .morphing import Displacements, Morphing, optimal_morphing
from .morphing_pod import MorphingPOD
from .neighbors import KNN
from .nonintrusive import NonintrusiveModel, SeparatedOperator
from .nonintrusive_rb import NonintrusiveRB
from .operator_inference import OperatorInference
from .parameter_interpolation import Interpolation
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
    "CertifiedReducedBasis",
    "DEIMGalerkin",
    "Displacements",
    "EmpiricalInterpolation",
    "GaussianRBFNetwork",
    "InputEncoder",
    "Interpolation",
    "LocalPOD",
    "MatrixInterpolation",
    "Mean",
    "Morphing",
    "MorphingPOD",
    "NonintrusiveModel",
    "NonintrusiveRB",
    "OperatorInference",
    "PODRegression",
    "Partition",
    "Persistence",
    "PowerInterpolation",
    "ReducedBasis",
    "Regressor",
    "Ridge",
    "SeparatedOperator",
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
