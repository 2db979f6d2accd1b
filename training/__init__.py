"""Fitting networks, measuring surrogates, comparing them."""

from .conformal import Conformal
from .ensemble import Ensemble
from .losses import BoundaryTraces, Mixture, RelativeH1, RelativeL2, RelativeLp
from .neural import NeuralSurrogate
from .optimizers import Muon
from .physics import PhysicsResidual
from .schedules import Constant, Cosine, OneCycle, Plateau, Schedule, Step
from .settings import TrainingSettings
from .spectral_losses import RelativeBands, RelativeSobolev

__all__ = [
    "BoundaryTraces",
    "Conformal",
    "Constant",
    "Cosine",
    "Ensemble",
    "Mixture",
    "Muon",
    "NeuralSurrogate",
    "OneCycle",
    "PhysicsResidual",
    "Plateau",
    "RelativeBands",
    "RelativeH1",
    "RelativeL2",
    "RelativeLp",
    "RelativeSobolev",
    "Schedule",
    "Step",
    "TrainingSettings",
]
