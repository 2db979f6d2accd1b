"""Arrays that stay where they are until samples of them are read, and the few functions that treat them as tensors."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..errors import NWidthError

_Self = TypeVar("_Self", bound="LazyArray")


class LazyArray(ABC):
    """A field (sample, [time,] channel, *space) of which only the samples and times asked for are read.

    ``array[indices]`` reads samples in the order asked; ``array.read`` also takes a range of times. Views made by
    ``take`` (samples), ``thin`` (times and points) and ``at`` (one time) read nothing, and compose. There is no open
    handle in the state, so that an array travels to data-loading workers.

    A subclass passes its whole shape to ``__init__`` and gives ``_fetch``, which reads rows and times of the whole.
    """

    dtype: torch.dtype
    where: str  # the place to name in errors

    def __init__(self, where: str, whole: Sequence[int], dtype: torch.dtype, has_time: bool):
        self.where, self.dtype, self.has_time = where, dtype, has_time
        self._whole = tuple(int(n) for n in whole)
        self._samples: np.ndarray | None = None
        self._times: range | None = range(self._whole[1]) if has_time else None
        self._strides = (1,) * (len(self._whole) - 2 - has_time)

    @abstractmethod
    def _fetch(self, rows: np.ndarray, times: range | None, strides: tuple[int, ...]) -> Tensor:
        """Rows (in any order, perhaps repeated) of the whole at some times, every so many points; none is empty."""

    @property
    def shape(self) -> tuple[int, ...]:
        n = self._whole[0] if self._samples is None else len(self._samples)
        time = () if self._times is None else (len(self._times),)
        channels, *space = self._whole[1 + self.has_time :]
        return (n, *time, channels, *(-(-size // s) for size, s in zip(space, self._strides)))

    @property
    def ndim(self) -> int:
        return len(self._whole)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self._whole[0] if self._samples is None else len(self._samples)

    def __getitem__(self, samples) -> Tensor:
        return self.read(samples)

    def read(self, samples=slice(None), times: slice = slice(None)) -> Tensor:
        """Samples (an int, a slice, a mask, or indices in any order) at a range of times, as one tensor."""
        if isinstance(samples, int | np.integer):
            return self.read([int(samples)], times)[0]
        rows = self._rows(samples)
        steps = self._steps(times)
        if not len(rows) or (steps is not None and not steps) or 0 in self._whole:
            lead = (len(rows),) if steps is None else (len(rows), len(steps))
            return torch.empty((*lead, *self.shape[1 + self.has_time :]), dtype=self.dtype)
        return self._fetch(rows, steps, self._strides)

    def read_many(self, requests: Sequence[tuple[int, slice]]) -> list[Tensor]:
        """For each request one sample at a range of times, (T, C, *space): cheaper than as many calls of ``read``."""
        return [self.read([sample], times)[0] for sample, times in requests]

    def take(self: _Self, samples) -> _Self:
        """The view on some of the samples."""
        view = copy.copy(self)
        view._samples = self._rows(samples)
        return view

    def thin(self: _Self, times: slice = slice(None), strides: Sequence[int] | None = None) -> _Self:
        """The view on a range of times and on every ``strides``-th point."""
        view = copy.copy(self)
        view._times = self._steps(times)
        if strides is not None:
            view._strides = tuple(a * b for a, b in zip(self._strides, strides, strict=True))
        return view

    def at(self, time: int) -> LazyArray:
        """The view on one time, whose axis is dropped."""
        return _OneTime(self, time)

    def _steps(self, times: slice) -> range | None:
        if self._times is None:
            return None
        found = self._times[times]
        if found.step < 0:
            raise NWidthError(self.where, got=f"times {times} with a negative step", expected="times that increase")
        return found

    def _rows(self, samples) -> np.ndarray:
        """Rows of the whole for a slice, indices or a mask of this view's samples."""
        n = len(self)
        if isinstance(samples, slice):
            wanted = np.arange(*samples.indices(n))
        else:
            wanted = np.asarray(samples)
            if wanted.dtype == bool and wanted.shape == (n,):
                wanted = np.flatnonzero(wanted)
            low, high = (wanted.min(), wanted.max()) if wanted.size and wanted.dtype.kind in "iu" else (0, -1)
            if wanted.ndim != 1 or (wanted.size and (wanted.dtype.kind not in "iu" or low < -n or high >= n)):
                raise NWidthError(self.where, got=f"samples {wanted.tolist()!s:.60}", expected=f"indices below {n}")
            wanted = (np.where(wanted < 0, wanted + n, wanted) if low < 0 else wanted).astype(np.int64, copy=False)
        return wanted if self._samples is None else self._samples[wanted]


def runs(rows: Sequence[int], steps: Sequence[range]) -> Iterator[tuple[int, range, list[int]]]:
    """Requests (row, times) with those joined that go on where the one before ended: one read instead of several.

    Yields the row, all its times, and how many of them belong to each request.

    >>> list(runs([5, 5, 7], [range(0, 4), range(4, 8), range(8, 9)]))
    [(5, range(0, 8), [4, 4]), (7, range(8, 9), [1])]
    """
    row, whole = -1, range(0)
    counts: list[int] = []
    for r, s in zip(rows, steps):
        if counts and len(s) and r == row and s.step == whole.step and s.start == whole[-1] + whole.step:
            whole = range(whole.start, s.stop, s.step)
            counts.append(len(s))
            continue
        if counts:
            yield row, whole, counts
        if len(s):
            row, whole, counts = r, s, [len(s)]
        else:
            counts = []
            yield r, s, [0]
    if counts:
        yield row, whole, counts


class _OneTime(LazyArray):
    """One time of another array, without its axis."""

    def __init__(self, base: LazyArray, time: int):
        self.base, self.time = base, range(base.shape[1])[time]
        super().__init__(base.where, (base.shape[0], *base.shape[2:]), base.dtype, False)

    def _fetch(self, rows: np.ndarray, times: range | None, strides: tuple[int, ...]) -> Tensor:
        return self.base.thin(strides=strides).read(rows, slice(self.time, self.time + 1))[:, 0]


Array = Tensor | LazyArray


def loaded(value: Array) -> Tensor:
    """The whole of an array, in memory."""
    return value.read() if isinstance(value, LazyArray) else value


def block(value: Array, samples, times: slice = slice(None)) -> Tensor:
    """Some samples (a slice or indices), and of a field with times some of these, in memory."""
    if isinstance(value, LazyArray):
        return value.read(samples, times)
    if not isinstance(samples, slice):
        samples = torch.as_tensor(samples, dtype=torch.long)
    return value[samples] if times == slice(None) else value[samples, times]


def blocks(value: Array, timed: bool = False, size: int = 2**26) -> Iterator[tuple[slice, slice, Tensor]]:
    """(samples, times, values) one after the other, each of about ``size`` bytes.

    Where one sample with times (``timed``) is larger than that, a block holds some of its times.
    """
    n = len(value)
    sample = max(value.nbytes // max(n, 1), 1)
    if timed and sample > size:
        steps = value.shape[1]
        window = max(1, size * steps // sample)
        for i in range(n):
            for start in range(0, steps, window):
                times = slice(start, min(start + window, steps))
                yield slice(i, i + 1), times, block(value, slice(i, i + 1), times)
        return
    count = max(1, size // sample)
    for i in range(0, n, count):
        samples = slice(i, min(i + count, n))
        yield samples, slice(None), block(value, samples)


def rows(array: Array | None, samples) -> Array | None:
    """Some samples of a tensor (indexed) or of an array on disk (a view)."""
    if array is None:
        return None
    if isinstance(array, LazyArray):
        return array.take(samples)
    return array[torch.as_tensor(samples, dtype=torch.long)]


def thinned(array: Array, times: slice | None = None, strides: Sequence[int] | None = None) -> Array:
    """Some times (None: a field without times) and every so many points: a view, also of a tensor."""
    if isinstance(array, LazyArray):
        return array.thin(slice(None) if times is None else times, strides)
    if times is not None:
        array = array[:, times]
    return array if strides is None else array[every(strides)]


def every(strides: Sequence[int]) -> tuple[Any, ...]:
    """The index of every so many points of a tensor's last axes."""
    return (..., *(slice(None, None, s) for s in strides))


def at_index(array: Array, time: int) -> Array:
    """One time of (N, T, C, *space), without its axis."""
    return array.at(time) if isinstance(array, LazyArray) else array[:, time]
