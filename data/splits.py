"""Reproducible splits into train, validation and test: by sample, by parameter region, or by time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import NWidthError
from .arrays import thinned
from .dataset import Dataset

Indices = dict[str, Tensor]


@dataclass(frozen=True)
class Split(ABC):
    """How much of the data goes where. ``test`` and ``val`` are counts, or fractions below 1; ``train`` limits what
    remains (None keeps all). With ``stored`` the split that came with the file, if any, is used instead."""

    test: float = 0.1
    val: float = 0.1
    train: float | None = None
    seed: int = 0
    stored: bool = True

    @abstractmethod
    def order(self, data: Dataset) -> Tensor:
        """The samples in the order in which test, then validation, then training ones are taken."""

    def indices(self, data: Dataset) -> Indices:
        """Disjoint sample indices; an empty part or one that does not fit is an error.

        >>> from nwidth.backends import Grid
        >>> d = Dataset(Grid.make((4,)), u=torch.rand(20, 1, 4), mu=torch.rand(20, 1))
        >>> {k: len(v) for k, v in RandomSplit(test=5, val=0.2).indices(d).items()}
        {'train': 11, 'val': 4, 'test': 5}
        """
        n = len(data)
        test, val = _count("split.test", self.test, n), _count("split.val", self.val, n)
        rest = n - test - val
        train = rest if self.train is None else _count("split.train", self.train, n)
        least = 2 if self.test > 0 else 1  # with a test set of its own, one will do: to solve a single trajectory again
        if train < least or train > rest or (test < 1 and self.test > 0):
            raise NWidthError(
                "split",
                got=f"train={train}, val={val}, test={test} of {n} samples",
                fix="lower split.test, split.val"
                if n > 2
                else "to solve the data again: data.test_path=FILE 'surrogates=[reference]'",
                expected="at least 1 test and 2 training samples that do not overlap",
            )
        order = self.order(data)
        parts = {"train": order[test + val : test + val + train], "val": order[test : test + val], "test": order[:test]}
        return {k: v.sort().values for k, v in parts.items() if len(v)}


def _count(name: str, size: float, n: int) -> int:
    if size < 0:
        raise NWidthError(name, got=f"{size}", expected="a count, or a fraction below 1")
    return round(size * n) if size < 1 else int(size)


@dataclass(frozen=True)
class RandomSplit(Split):
    """Samples at random, the same ones for the same seed and count."""

    def order(self, data: Dataset) -> Tensor:
        return torch.randperm(len(data), generator=torch.Generator().manual_seed(self.seed))


@dataclass(frozen=True)
class OrderedSplit(Split):
    """As the file lies: the last samples test, those before them validate."""

    def order(self, data: Dataset) -> Tensor:
        return torch.arange(len(data) - 1, -1, -1)


@dataclass(frozen=True)
class ParameterSplit(Split):
    """Extrapolation: the samples with the largest values of one parameter test, the next largest validate."""

    parameter: int = 0

    def order(self, data: Dataset) -> Tensor:
        if data.mu is None or not 0 <= self.parameter < data.mu.shape[1]:
            p = 0 if data.mu is None else data.mu.shape[1]
            raise NWidthError(
                "split.parameter",
                got=f"parameter {self.parameter} of data with {p}",
                expected="a parameter that the data have",
                fix="use split=random",
            )
        return data.mu[:, self.parameter].argsort(descending=True, stable=True)


@dataclass(frozen=True)
class TimeSplit(Split):
    """Samples at random, and beyond them the future: training and validation see the times up to ``until`` only.

    The test split keeps all times, so that its error after ``until`` is an extrapolation.
    """

    until: float = 0.0

    def order(self, data: Dataset) -> Tensor:
        return torch.randperm(len(data), generator=torch.Generator().manual_seed(self.seed))

    def cut(self, part: Dataset) -> Dataset:
        if part.t is None:
            raise NWidthError("split.until", got="data without times", expected="a time-dependent problem")
        # times of single-precision files are seldom the decimal that was meant
        count = int((part.t <= self.until + 1e-6 * abs(self.until)).sum())
        if count < 1:
            raise NWidthError(
                "split.until",
                got=f"{self.until:g}, before the first time {float(part.t[0]):g}",
                expected=f"a time up to {float(part.t[-1]):g}",
            )
        u = part.solution
        return replace(part, t=part.t[:count], u=thinned(u, slice(0, count)))


def apply_split(
    data: Dataset, split: Split, stored: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Dataset], Indices]:
    """The parts by name and the indices that made them: ``stored`` ones, or the split's own."""
    indices = dict(stored) if stored else split.indices(data)
    parts = {k: data[v] for k, v in indices.items()}
    if isinstance(split, TimeSplit):
        parts = {k: v if k == "test" else split.cut(v) for k, v in parts.items()}
    return parts, indices
