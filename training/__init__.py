"""Fitting networks, measuring surrogates, comparing them."""

from .losses import RelativeH1, RelativeL2
from .neural import NeuralSurrogate
from .residual import PointwiseLoss, ResidualLoss, SpectralLoss
from .schedules import Constant, Cosine, OneCycle, Schedule, Step
from .self_supervised import SelfSupervised
from .settings import TrainingSettings

__all__ = [
    "Constant",
    "Cosine",
    "NeuralSurrogate",
    "OneCycle",
    "PointwiseLoss",
    "RelativeH1",
    "RelativeL2",
    "ResidualLoss",
    "Schedule",
    "SelfSupervised",
    "SpectralLoss",
    "Step",
    "TrainingSettings",
]
