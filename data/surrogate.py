"""What every surrogate is: fit on some samples, predict the others, save as tensors and plain numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ..errors import NWidthError
from .dataset import INPUTS, Dataset


@dataclass(frozen=True)
class Prediction:
    """Mean and, where the surrogate gives one, standard deviation; both shaped like the solution u.

    ``bound`` (N,): a guaranteed upper bound of the relative L2 error of each sample against the full-order solution,
    infinite where nothing is known. ``notes``: what the reader should know about this prediction.
    """

    mean: Tensor
    std: Tensor | None = None
    bound: Tensor | None = None
    notes: tuple[str, ...] = ()


@dataclass
class FitLog:
    """What a fit leaves for the report.

    ``history`` has one entry per epoch or per hyper-parameter tried; ``parameters`` counts trained numbers, ``rank``
    is the dimension of the reduced space or None; ``notes`` are sentences for the reader.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    parameters: int = 0
    rank: int | None = None
    notes: list[str] = field(default_factory=list)
    selected: dict[str, Any] = field(default_factory=dict)


class Surrogate(ABC):
    """A map from inputs to solutions, learned from a data set.

    A subclass names in ``needs`` the inputs that it cannot do without, and takes whichever of a, u0, mu are there.
    Its constructor's arguments are its configuration, and ``state_dict`` holds tensors, plain numbers, strings, and
    lists or dicts of them: together they are all that is saved.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    least_samples: ClassVar[int] = 2
    uses_seed: bool = True  # whether another seed gives another fit

    def warm_up(self) -> None:  # noqa: B027  most need nothing
        """Import what a fit needs and nothing else has loaded yet, so that the first fit does not pay for it."""

    @abstractmethod
    def fit(self, train: Dataset, val: Dataset | None, *, seed: int = 0, folder: Path | None = None) -> FitLog:
        """Learn from ``train``; choose hyper-parameters on ``val`` alone; keep files for resuming in ``folder``."""

    @abstractmethod
    def predict(self, inputs: Dataset) -> Prediction:
        """Solutions for ``inputs`` on ``inputs.grid`` (and at ``inputs.t``), which may differ from the training's."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]: ...

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

    def check(self, train: Dataset) -> tuple[str, ...]:
        """The inputs that this fit reads; an error where a needed one is missing or nothing is there."""
        missing = [k for k in self.needs if getattr(train, k) is None]
        if missing or not train.reads:
            raise NWidthError(
                f"{type(self).__name__}.fit",
                got=f"data with inputs {list(train.reads) or 'none'}",
                expected="inputs " + ", ".join(missing or INPUTS),
                fix="name their keys in data.fields",
            )
        if len(train) < self.least_samples:
            raise NWidthError(
                f"{type(self).__name__}.fit",
                got=f"{len(train)} training samples",
                expected=f"{self.least_samples} or more",
                fix="change the split",
            )
        train.solution  # noqa: B018  raises where there is none
        return train.reads

    def fitted(self, value: Any) -> Any:
        """``value``, or an error when it is None because nothing was fitted or loaded."""
        if value is None:
            raise NWidthError(
                f"{type(self).__name__}.predict",
                got="a surrogate that was not fitted",
                fix="call fit or load_state_dict first",
            )
        return value
