"""Fields that lie in a file with their axes in any order: datasets of HDF5 and memory-mapped NumPy arrays."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import NWidthError
from .arrays import LazyArray, runs
from .handles import first_line, open_dataset_h5, read_h5, working_dtype

_GAP = 2**14  # bytes between samples that are sooner read than skipped
LETTERS = "ntcdxyzw"


class DiskArray(LazyArray):
    """Arrays of one file seen as a field (sample, [time,] channel, *space).

    ``axes`` names the axes as they lie in the file, one letter each: ``n`` sample, ``t`` time, ``c`` channel (and
    ``d``, the second index of a tensor's components, which are flattened to channels), and x, y, z, w for space; a
    missing ``c`` makes one channel, a missing ``n`` makes one sample. Several ``keys`` are joined along the channels.
    Integers and booleans become float32. Rows are read each once, sorted on the way for speed.
    """

    def __init__(self, path: str | Path, keys: str | Sequence[str], axes: str):
        self.path = os.path.abspath(path)
        self.keys = (keys,) if isinstance(keys, str) else tuple(keys)
        self.axes = axes
        sources = [self._open(key) for key in self.keys]
        first = sources[0]
        for key, d in zip(self.keys, sources):
            if d.shape != first.shape:
                raise NWidthError(
                    f"{self.path}: {key!r}",
                    got=f"shape {d.shape}",
                    expected=f"{first.shape}, as {self.keys[0]!r} has",
                    fix="name fields of one shape",
                )
        check_axes(f"{self.path}: {self.keys[0]!r}", axes, first.shape)
        self._file_shape: tuple[int, ...] = first.shape
        self._dtype = np.result_type(*(working_dtype(d.dtype, f"{path}: {k!r}") for k, d in zip(self.keys, sources)))
        self._space = "".join(a for a in "xyzw" if a in axes)
        self._channels = self._size("c") * self._size("d")
        stored = [a for a in axes if a != "n"]  # axes of one sample as the file has them, and as they are wanted
        turn = [stored.index(a) for a in "tcdxyzw" if a in stored]
        self._turn = None if turn == sorted(turn) else turn
        time = (self._size("t"),) if "t" in axes else ()
        shape = (self._size("n"), *time, self._channels * len(self.keys), *(self._size(a) for a in self._space))
        super().__init__(self.path, shape, TORCH[self._dtype.name], bool(time))

    @abstractmethod
    def _open(self, key: str) -> Any:
        """Something with ``shape`` and ``dtype`` for a key, opened in this process."""

    @abstractmethod
    def _values(self, source: Any, where: tuple) -> np.ndarray:
        """``source[where]``, where ``where`` holds slices and at most one integer."""

    def _size(self, letter: str) -> int:
        return self._file_shape[self.axes.index(letter)] if letter in self.axes else 1

    def _where(self, strides: tuple[int, ...]) -> list:
        """Slices of whole axes, every so many points; trailing ones go without saying, and cost time when said."""
        where: list = [slice(None)] * len(self.axes)
        for letter, stride in zip(self._space, strides):
            if stride > 1:
                where[self.axes.index(letter)] = slice(None, None, stride)
        while len(where) > 1 + max(self.axes.find("n"), self.axes.find("t")) and where[-1] == slice(None):
            where.pop()
        return where

    def _turned(self, found: np.ndarray) -> np.ndarray:
        """(..., *axes as stored but for n) as (..., [time,] channel indices, *space), of the wanted type."""
        if self._turn is not None:
            lead = found.ndim - len(self._turn)
            found = found.transpose(*range(lead), *(lead + i for i in self._turn))
        found = np.ascontiguousarray(found, dtype=self._dtype)
        return found if found.flags.writeable else found.copy()  # read-only: of a memory map

    def _fetch(self, rows: np.ndarray, times: range | None, strides: tuple[int, ...]) -> Tensor:
        where = self._where(strides)
        if times is not None:
            where[self.axes.index("t")] = slice(times[0], times[-1] + 1, times.step)
        space = [-(-self._size(a) // s) for a, s in zip(self._space, strides)]
        lead = [len(rows)] if times is None else [len(rows), len(times)]
        sources = [self._open(key) for key in self.keys]
        ordered = "n" in self.axes and (len(rows) == 1 or bool((np.diff(rows) == 1).all()))
        if len(sources) == 1 and ordered:
            found = self._block(sources[0], where, int(rows[0]), int(rows[-1]) + 1)
            return torch.from_numpy(self._turned(found).reshape(*lead, self._channels, *space))
        components = [self._size(a) for a in "cd" if a in self.axes]
        out = np.empty((*lead, len(sources), *components, *space), dtype=self._dtype)
        # axes of one sample as the file has them, and as they are wanted
        stored = [a for a in self.axes if a != "n"]
        wanted = [a for a in "tcdxyzw" if a in stored]
        for i, source in enumerate(sources):
            part = out[:, i] if times is None else out[:, :, i]
            part = part.transpose(0, *(1 + wanted.index(a) for a in stored))
            if ordered:
                part[:] = self._block(source, where, int(rows[0]), int(rows[-1]) + 1)
            else:
                self._fill(part, source, where, rows)
        return torch.from_numpy(out.reshape(*lead, len(sources) * self._channels, *space))

    def read_many(self, requests: Sequence[tuple[int, slice]]) -> list[Tensor]:
        if "n" not in self.axes or self._times is None:
            return super().read_many(requests)
        sources, where = [self._open(key) for key in self.keys], self._where(self._strides)
        sample, time = self.axes.index("n"), self.axes.index("t")
        rest, each = self.shape[2:], self._channels
        rows = self._rows(np.array([i for i, _ in requests], dtype=np.int64)).tolist()
        found: list[Tensor] = []
        for row, steps, counts in runs(rows, [self._times[wanted] for _, wanted in requests]):
            if len(steps):
                where[sample], where[time] = row, slice(steps[0], steps[-1] + 1, steps.step)
            if len(sources) == 1 and len(steps):
                values = self._turned(self._values(sources[0], tuple(where))).reshape(len(steps), *rest)
            else:
                values = np.empty((len(steps), *rest), dtype=self._dtype)
                for i, source in enumerate(sources if len(steps) else ()):
                    part = values[:, i * each : (i + 1) * each]
                    part[:] = self._turned(self._values(source, tuple(where))).reshape(part.shape)
            found.extend(torch.from_numpy(values).split(counts))
        return found

    def _fill(self, out: np.ndarray, source: Any, where: list, rows: np.ndarray) -> None:
        """Rows in any order into (sample, *axes as stored); those near to each other are read as one block."""
        if "n" not in self.axes:
            out[:] = self._values(source, tuple(where))
            return
        along = self.axes.index("n")
        order = np.argsort(rows, kind="stable")
        rows = rows[order]
        places, numbers = order.tolist(), rows.tolist()
        near = max(1, _GAP // max(out[0].nbytes, 1))
        start = 0
        for end in [*(np.flatnonzero(np.diff(rows) > near) + 1).tolist(), len(rows)]:
            if end - start == 1:
                where[along] = numbers[start]
                out[places[start]] = self._values(source, tuple(where))
            else:
                found = self._block(source, where, numbers[start], numbers[end - 1] + 1)
                out[order[start:end]] = found[rows[start:end] - rows[start]]
            start = end

    def _block(self, source: Any, where: list, start: int, stop: int) -> np.ndarray:
        """Consecutive rows of one array, as (sample, *axes as stored)."""
        along = self.axes.index("n")
        where[along] = slice(start, stop)
        found = self._values(source, tuple(where))
        return np.moveaxis(found, along, 0) if along else found


class H5Array(DiskArray):
    """Datasets of one HDF5 file (see ``DiskArray``); MATLAB's pairs of real and imaginary parts become complex."""

    def _open(self, key: str) -> Any:
        return open_dataset_h5(self.path, key)

    def _values(self, source: Any, where: tuple) -> np.ndarray:
        return read_h5(source, where)


class NpyArray(DiskArray):
    """One or several ``.npy`` files (see ``DiskArray``), mapped into memory and read in part."""

    def __init__(self, paths: str | Path | Sequence[str | Path], axes: str):
        files = [paths] if isinstance(paths, str | Path) else list(paths)
        super().__init__(files[0], [os.path.abspath(p) for p in files], axes)

    def _open(self, key: str) -> Any:
        return map_npy(key)

    def _values(self, source: Any, where: tuple) -> np.ndarray:
        return np.asarray(source[where])


def map_npy(path: str | Path) -> np.ndarray:
    """A ``.npy`` file mapped into memory; object arrays, which would need pickle, are refused."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as e:  # NumPy raises many kinds for a damaged file
        raise NWidthError(
            f"open {path}",
            got=f"a file that NumPy cannot read without pickle ({first_line(e)})",
            expected="a plain array",
            fix="save arrays of numbers only, or copy the file again",
        ) from None


def check_axes(where: str, axes: str, shape: Sequence[int]) -> None:
    """One letter an axis, each once."""
    if (
        len(axes) != len(shape)
        or len(set(axes)) != len(axes)
        or set(axes) - set(LETTERS)
        or ("d" in axes) > ("c" in axes)
    ):
        raise NWidthError(
            where,
            got=f"axes={axes!r} for an array of shape {tuple(shape)}",
            expected=f"{len(shape)} different letters of n, t, c, d, x, y, z, w",
            fix="set data.axes",
        )


TORCH = {
    "float32": torch.float32,
    "float64": torch.float64,
    "complex64": torch.complex64,
    "complex128": torch.complex128,
}
