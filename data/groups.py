"""Samples that lie in one HDF5 group each, such as 0000/data, 0001/data, ..."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import NWidthError
from .arrays import LazyArray, runs
from .disk import TORCH, check_axes
from .handles import open_dataset_h5, read_h5, working_dtype


class GroupArray(LazyArray):
    """``key`` of each of ``groups`` as one sample; ``axes`` names the axes of one, without ``n``.

    The shapes of all are compared when the array is made. Datasets are kept open without a chunk cache, since a
    thousand of them would hold a thousand caches; a read meets each chunk once.
    """

    def __init__(self, path: str | Path, groups: Sequence[str], key: str, axes: str):
        self.path, self.groups, self.key, self.axes = os.path.abspath(path), tuple(groups), key, axes
        first = self._open(0)
        self._file_shape, stored = tuple(first.shape), first.dtype
        check_axes(f"{path}: {self.groups[0]}/{key}", axes, self._file_shape)
        for i, group in enumerate(self.groups):
            d = self._open(i)
            if tuple(d.shape) != self._file_shape or d.dtype != stored:
                raise NWidthError(
                    f"{path}: {group}/{key}",
                    got=f"a sample of shape {tuple(d.shape)} and type {d.dtype}",
                    expected=f"shape {self._file_shape} and type {stored}, as {self.groups[0]}/{key} has",
                    fix="samples of one data set have one shape: move those of another resolution to a file of theirs",
                )
        self._dtype = working_dtype(stored, f"{path}: {self.groups[0]}/{key}")
        self._order = [a for a in "tcxyzw" if a in axes]
        size = dict(zip(axes, self._file_shape))
        time = (size["t"],) if "t" in axes else ()
        shape = (len(self.groups), *time, size.get("c", 1), *(size[a] for a in "xyzw" if a in axes))
        super().__init__(self.path, shape, TORCH[self._dtype.name], bool(time))

    def _open(self, i: int):
        return open_dataset_h5(self.path, f"{self.groups[i]}/{self.key}", chunk_cache=0)

    def read_many(self, requests: Sequence[tuple[int, slice]]) -> list[Tensor]:
        if self._times is None:
            return super().read_many(requests)
        where = self._where(self._strides)
        turn, rest, time = [self.axes.index(a) for a in self._order], self.shape[2:], self.axes.index("t")
        rows = self._rows(np.array([i for i, _ in requests], dtype=np.int64)).tolist()
        found: list[Tensor] = []
        for row, steps, counts in runs(rows, [self._times[wanted] for _, wanted in requests]):
            if not len(steps):
                found.append(torch.empty((0, *rest), dtype=self.dtype))
                continue
            where[time] = slice(steps[0], steps[-1] + 1, steps.step)
            values = read_h5(self._open(row), tuple(where)).transpose(turn)
            values = np.ascontiguousarray(values, dtype=self._dtype)
            found.extend(torch.from_numpy(values.reshape(len(steps), *rest)).split(counts))
        return found

    def _where(self, strides: tuple[int, ...]) -> list:
        where: list = [slice(None)] * len(self.axes)
        for letter, stride in zip([a for a in "xyzw" if a in self.axes], strides):
            where[self.axes.index(letter)] = slice(None, None, stride if stride > 1 else None)
        return where

    def _fetch(self, rows: np.ndarray, times: range | None, strides: tuple[int, ...]) -> Tensor:
        where = self._where(strides)
        if times is not None:
            where[self.axes.index("t")] = slice(times[0], times[-1] + 1, times.step)
        space = [-(-n // s) for n, s in zip(self._whole[2 + self.has_time :], strides)]
        lead = () if times is None else (len(times),)
        out = np.empty((len(rows), *lead, self._whole[1 + self.has_time], *space), dtype=self._dtype)
        part = out if "c" in self.axes else out[:, 0] if times is None else out[:, :, 0]
        turn = [self.axes.index(a) for a in self._order]
        numbers, first, again = np.unique(rows, return_index=True, return_inverse=True)
        for i, place in zip(numbers.tolist(), first.tolist()):
            part[place] = read_h5(self._open(i), tuple(where)).transpose(turn)
        if len(numbers) < len(rows):
            out[:] = out[first[again]]
        return torch.from_numpy(out)
