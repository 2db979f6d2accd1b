"""Model order reduction: POD, non-intrusive regression, Galerkin reduced bases."""

from .encoding import InputEncoder
from .pod import POD
from .regression import Mean, PODRegression
from .regressors import RBF, Ridge

__all__ = ["POD", "RBF", "InputEncoder", "Mean", "PODRegression", "Ridge"]
