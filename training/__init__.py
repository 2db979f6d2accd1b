"""Fitting networks, measuring surrogates, comparing them."""

from .conformal import Conformal
from .ensemble import Ensemble
from .losses import BoundaryTraces, Mixture, RelativeH1, RelativeL2, RelativeLp
from .muon import Muon
from .neural import NeuralSurrogate
from .physics import PhysicsResidual
from .random_grid import RandomGridProcess
from .residual import PointwiseLoss, ResidualLoss, SpectralLoss
from .schedules import Constant, Cosine, OneCycle, Plateau, Schedule, Step
from .self_supervised import SelfSupervised
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
    "PointwiseLoss",
    "RandomGridProcess",
    "RelativeBands",
    "RelativeH1",
    "RelativeL2",
    "RelativeLp",
    "RelativeSobolev",
    "ResidualLoss",
    "Schedule",
    "SelfSupervised",
    "SpectralLoss",
    "Step",
    "TrainingSettings",
]
