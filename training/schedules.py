"""Learning rates over the course of a training, as factors of the progress from 0 to 1."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import NWidthError


class Schedule(ABC):
    """A factor for the optimiser's learning rate; progress is the share of the steps (or of the time budget) done."""

    needs_validation: ClassVar[bool] = False

    @abstractmethod
    def factor(self, progress: float) -> float: ...

    def after(self, progress: float, errors: Sequence[float]) -> float:
        """The factor where the validation errors so far count as well."""
        return self.factor(progress)


@dataclass(frozen=True)
class Constant(Schedule):
    """1 throughout."""

    def factor(self, progress: float) -> float:
        return 1.0


@dataclass(frozen=True)
class Cosine(Schedule):
    """Linear rise over ``warmup``, then half a cosine down to ``final``."""

    warmup: float = 0.0
    final: float = 0.0

    def factor(self, progress: float) -> float:
        if progress < self.warmup:
            return max(progress / self.warmup, 1e-3)
        p = (min(progress, 1.0) - self.warmup) / max(1 - self.warmup, 1e-12)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * p))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Cosine rise from 1/``start`` over ``rise``, cosine fall to 1/(``start`` ``final``) (Smith and Topin 2018)."""

    rise: float = 0.2
    start: float = 10.0
    final: float = 1e3

    def factor(self, progress: float) -> float:
        low, end = 1 / self.start, 1 / (self.start * self.final)
        if progress < self.rise:
            return low + (1 - low) * 0.5 * (1 - math.cos(math.pi * progress / self.rise))
        p = (min(progress, 1.0) - self.rise) / max(1 - self.rise, 1e-12)
        return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * p))


@dataclass(frozen=True)
class Step(Schedule):
    """Times ``gamma`` at each of the ``milestones`` (shares of the training)."""

    milestones: Sequence[float] = (0.2, 0.4, 0.6, 0.8)
    gamma: float = 0.5

    def factor(self, progress: float) -> float:
        return self.gamma ** sum(progress >= m for m in self.milestones)


@dataclass(frozen=True)
class Plateau(Schedule):
    """Times ``gamma`` whenever ``patience`` validations in a row are not below (1 - ``threshold``) times the best.

    The factor never falls below ``least``. It is a function of the validation errors alone, so that a run which goes
    on from a checkpoint needs nothing more.

    >>> Plateau(gamma=0.1, patience=2).after(0.5, [1.0, 0.5, 0.5, 0.5, 0.4])
    0.1
    """

    needs_validation: ClassVar[bool] = True

    gamma: float = 0.5
    patience: int = 5
    threshold: float = 0.01
    least: float = 1e-3

    def __post_init__(self):
        good = 0 < self.gamma < 1 and self.patience >= 1 and 0 <= self.threshold < 1 and 0 <= self.least <= 1
        if not good:
            raise NWidthError(
                "Plateau",
                got=f"gamma={self.gamma}, patience={self.patience}, threshold={self.threshold}, least={self.least}",
                expected="0 < gamma < 1, patience >= 1, 0 <= threshold < 1, 0 <= least <= 1",
            )

    def factor(self, progress: float) -> float:
        return 1.0

    def after(self, progress: float, errors: Sequence[float]) -> float:
        best, waited, drops = math.inf, 0, 0
        for error in errors:
            if error < (1 - self.threshold) * best:
                best, waited = error, 0
            else:
                waited += 1
            if waited == self.patience:
                drops, waited = drops + 1, 0
        return max(self.gamma**drops, self.least)
