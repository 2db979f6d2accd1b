"""Fitting networks, measuring surrogates, comparing them."""

from .losses import RelativeH1, RelativeL2
from .neural import NeuralSurrogate
from .schedules import Constant, Cosine, OneCycle, Schedule, Step
from .settings import TrainingSettings

__all__ = [
    "Constant",
    "Cosine",
    "NeuralSurrogate",
    "OneCycle",
    "RelativeH1",
    "RelativeL2",
    "Schedule",
    "Step",
    "TrainingSettings",
]
