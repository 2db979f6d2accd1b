"""Model order reduction: POD, non-intrusive regression, Galerkin reduced bases, empirical interpolation."""

from .affine import CertifiedReducedBasis
from .deim_galerkin import DEIMGalerkin
from .encoding import InputEncoder
from .galerkin import ReducedBasis
from .interpolation import EmpiricalInterpolation
from .matrix_interpolation import MatrixInterpolation
from .matrix_powers import PowerInterpolation
from .nonintrusive import NonintrusiveModel, SeparatedOperator
from .nonintrusive_rb import NonintrusiveRB
from .pod import POD
from .regression import Mean, PODRegression
from .regressors import RBF, Ridge

__all__ = [
    "POD",
    "RBF",
    "CertifiedReducedBasis",
    "DEIMGalerkin",
    "EmpiricalInterpolation",
    "InputEncoder",
    "MatrixInterpolation",
    "Mean",
    "NonintrusiveModel",
    "NonintrusiveRB",
    "PODRegression",
    "PowerInterpolation",
    "ReducedBasis",
    "Ridge",
    "SeparatedOperator",
]
