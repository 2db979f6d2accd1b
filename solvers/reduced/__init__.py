"""Model order reduction: POD, non-intrusive regression, Galerkin reduced bases."""

from .affine import CertifiedReducedBasis
from .encoding import InputEncoder
from .galerkin import ReducedBasis
from .pod import POD
from .regression import Mean, PODRegression
from .regressors import RBF, Ridge

__all__ = ["POD", "RBF", "CertifiedReducedBasis", "InputEncoder", "Mean", "PODRegression", "ReducedBasis", "Ridge"]
