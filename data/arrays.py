"""Arrays that stay on disk: random access to samples and times of an HDF5 file without reading it whole."""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from ..errors import NWidthError

_OPEN_FILES = 8
_CHUNK_CACHE = 8 * 2**20  # bytes a dataset: a batch may meet a chunk several times, seldom the next batch
_GAP = 2**14  # bytes between samples that are sooner read than skipped
# (pid, path, inode, mtime) -> file and the datasets read from it, least recently used first
_handles: OrderedDict[tuple, tuple[h5py.File, dict[str, h5py.Dataset]]] = OrderedDict()


def open_h5(path: str | Path) -> h5py.File:
    """A read-only handle, kept open for this process only; at most eight stay open.

    The process id and the file's identity are part of the key: a forked or spawned data-loading worker opens its
    own handle, and a file that was replaced is opened afresh.
    """
    return _open(path)[0]


def open_dataset_h5(path: str | Path, key: str) -> h5py.Dataset:
    """One dataset of a file, kept open with it: to open it anew for each read costs more than the read."""
    handle, datasets = _open(path)
    if key not in datasets:
        found = handle.get(key)
        if not isinstance(found, h5py.Dataset):
            raise NWidthError(
                f"{path}",
                got=f"no dataset {key!r}",
                expected="one of " + ", ".join(dataset_keys(handle)[:20]),
                fix="name it in data.fields",
            )
        datasets[key] = found
    return datasets[key]


def _open(path: str | Path) -> tuple[h5py.File, dict[str, h5py.Dataset]]:
    path = os.path.abspath(path)
    try:
        stat = os.stat(path)
    except OSError as e:
        raise NWidthError(f"open {path}", got=(e.strerror or "no access").lower(), fix="check data.path") from None
    key = (os.getpid(), path, stat.st_ino, stat.st_mtime_ns)
    if key in _handles:
        _handles.move_to_end(key)
        return _handles[key]
    try:
        handle = h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE, rdcc_nslots=10_007)
    except OSError as e:
        raise NWidthError(
            f"open {path}",
            got=f"a file that HDF5 cannot read ({first_line(e)})",
            expected="a whole HDF5 file",
            fix="it may be truncated or of another format: copy or download it again",
        ) from None
    _handles[key] = handle, {}
    while len(_handles) > _OPEN_FILES:
        old, (stale, _) = _handles.popitem(last=False)
        if old[0] == os.getpid():
            stale.close()
    return _handles[key]


def close_h5() -> None:
    """Close every handle of this process (before a file is replaced or deleted)."""
    for key in [k for k in _handles if k[0] == os.getpid()]:
        _handles.pop(key)[0].close()


def read_h5(d: h5py.Dataset, where: tuple = ()) -> np.ndarray:
    """Some values of a dataset; a chunk whose checksum fails, or anything else that HDF5 cannot read, is an error."""
    try:
        values = np.asarray(d[where])
    except (OSError, RuntimeError) as e:
        raise NWidthError(
            f"{d.file.filename}: {d.name!r}",
            got=f"a chunk that cannot be read ({first_line(e)})",
            expected="data that match their checksums",
            fix="the file is damaged: copy or generate it again",
        ) from None
    if values.dtype.names == _MATLAB_COMPLEX:
        return np.ascontiguousarray(values).view(_working_dtype(d))
    return values


_MATLAB_COMPLEX = ("real", "imag")


def _working_dtype(d: h5py.Dataset) -> np.dtype:
    """What a file's numbers become: single or double precision, real or complex."""
    kind, size = d.dtype.kind, d.dtype.itemsize
    if kind == "c" or d.dtype.names == _MATLAB_COMPLEX:
        return np.dtype(np.complex128 if size > 8 else np.complex64)
    if kind not in "biuf":
        raise NWidthError(
            f"{d.file.filename}: {d.name!r}",
            got=f"values of type {d.dtype}",
            expected="numbers",
            fix="name another key in data.fields",
        )
    return np.dtype(np.float64 if kind == "f" and size >= 8 else np.float32)


class H5Array:
    """Datasets of one HDF5 file seen as a field (sample, [time,] channel, *space).

    ``axes`` names the axes as they lie in the file, one letter each: ``n`` sample, ``t`` time, ``c`` channel, and
    x, y, z, w for space; a missing ``c`` makes one channel, a missing ``n`` makes one sample. Several ``keys`` are
    joined along the channels. Integers and booleans become float32.

    ``array[indices]`` reads samples in the order asked, each once, sorted on the way for speed; ``array.read`` also
    takes a range of times. Views made by ``take`` and ``thin`` read nothing. An integer for ``times`` picks that
    time and drops the axis.
    """

    def __init__(
        self,
        path: str | Path,
        keys: str | Sequence[str],
        axes: str,
        *,
        samples: np.ndarray | None = None,
        times: slice | int = slice(None),
        strides: Sequence[int] | None = None,
    ):
        self.path = os.path.abspath(path)
        self.keys = (keys,) if isinstance(keys, str) else tuple(keys)
        self.axes = axes
        first = open_dataset_h5(self.path, self.keys[0])
        for key in self.keys[1:]:
            d = open_dataset_h5(self.path, key)
            if d.shape != first.shape:
                raise NWidthError(
                    f"{self.path}: {key!r}",
                    got=f"shape {d.shape}",
                    expected=f"{first.shape}, as {self.keys[0]!r} has",
                    fix="name fields of one shape",
                )
        if len(axes) != first.ndim or len(set(axes)) != len(axes) or set(axes) - set("ntcxyzw"):
            raise NWidthError(
                f"{self.path}: {self.keys[0]!r}",
                got=f"axes={axes!r} for an array of shape {first.shape}",
                expected=f"{first.ndim} different letters of n, t, c, x, y, z, w",
                fix="set data.axes",
            )
        self._file_shape = first.shape
        self._dtype = np.result_type(*(_working_dtype(open_dataset_h5(self.path, key)) for key in self.keys))
        self.space = "".join(a for a in "xyzw" if a in axes)
        self.samples = None if samples is None else np.asarray(samples, dtype=np.int64)
        self.times = times
        self.strides = tuple(strides) if strides else (1,) * len(self.space)
        n = self._size("n") if self.samples is None else len(self.samples)
        time = (len(self._time_range()),) if self.has_time else ()
        space = tuple(-(-self._size(a) // s) for a, s in zip(self.space, self.strides))
        self.shape: tuple[int, ...] = (n, *time, self._size("c") * len(self.keys), *space)

    def _size(self, letter: str) -> int:
        return self._file_shape[self.axes.index(letter)] if letter in self.axes else 1

    def _time_range(self, times: slice = slice(None)) -> range:
        assert isinstance(self.times, slice)
        r = range(self._size("t"))[self.times][times]
        if r.step < 0:
            raise NWidthError(self.path, got=f"times {times} with a negative step", expected="times that increase")
        return r

    def _view(self, **changed) -> H5Array:
        kept = {"samples": self.samples, "times": self.times, "strides": self.strides, **changed}
        return H5Array(self.path, self.keys, self.axes, **kept)

    @property
    def has_time(self) -> bool:
        return "t" in self.axes and not isinstance(self.times, int)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        return _TORCH[self._dtype.name]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self._dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, samples) -> H5Array:
        """The view on some of the samples."""
        return self._view(samples=self._rows(samples))

    def thin(self, times: slice = slice(None), strides: Sequence[int] | None = None) -> H5Array:
        """The view on a range of times and on every ``strides``-th point."""
        combined = tuple(a * b for a, b in zip(self.strides, strides)) if strides else self.strides
        if not self.has_time:
            return self._view(strides=combined)
        r = self._time_range(times)
        return self._view(times=slice(r.start, r.stop, r.step), strides=combined)

    def __getitem__(self, samples) -> Tensor:
        return self.read(samples)

    def read(self, samples=slice(None), times: slice = slice(None)) -> Tensor:
        """Samples (an int, a slice, or indices in any order) at a range of times, as one tensor."""
        if isinstance(samples, int | np.integer):
            return self.read([int(samples)], times)[0]
        rows = self._rows(samples)
        r = self._time_range(times) if self.has_time else None
        shape = (len(rows), *(() if r is None else (len(r),)), *self.shape[1 + self.has_time :])
        if 0 in shape:
            return torch.empty(shape, dtype=self.dtype)
        where: list = [slice(None)] * len(self.axes)
        if "t" in self.axes:
            where[self.axes.index("t")] = self.times if r is None else slice(r[0], r[-1] + 1, r.step)
        for letter, stride in zip(self.space, self.strides):
            where[self.axes.index(letter)] = slice(None, None, stride if stride > 1 else None)
        while len(where) > 1 + self.axes.find("n") and where[-1] == slice(None):
            where.pop()  # whole trailing axes go without saying, and cost time when said
        datasets = [open_dataset_h5(self.path, key) for key in self.keys]
        # axes of one sample as the file has them, and as they are wanted
        stored = [a for a in self.axes if a != "n" and (a != "t" or self.has_time)]
        wanted = [a for a in "tcxyzw" if a in stored]
        if len(datasets) == 1 and "n" in self.axes and bool((np.diff(rows) == 1).all()):
            block = self._block(datasets[0], where, int(rows[0]), int(rows[-1]) + 1)
            block = block.transpose(0, *(1 + stored.index(a) for a in wanted))
            return torch.from_numpy(np.ascontiguousarray(block, dtype=self._dtype).reshape(shape))
        out = np.empty(shape, dtype=self._dtype)
        for i, d in enumerate(datasets):
            c = slice(i * self._size("c"), (i + 1) * self._size("c")) if "c" in self.axes else i
            part = out[:, :, c] if self.has_time else out[:, c]
            self._fill(part.transpose(0, *(1 + wanted.index(a) for a in stored)), d, where, rows)
        return torch.from_numpy(out)

    def _fill(self, out: np.ndarray, d: h5py.Dataset, where: list, rows: np.ndarray) -> None:
        """Rows in any order into (sample, *axes as stored); those near to each other are read as one block."""
        if "n" not in self.axes:
            out[:] = read_h5(d, tuple(where))
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
                out[places[start]] = read_h5(d, tuple(where))
            else:
                block = self._block(d, where, numbers[start], numbers[end - 1] + 1)
                out[order[start:end]] = block[rows[start:end] - rows[start]]
            start = end

    def _rows(self, samples) -> np.ndarray:
        """Rows of the file for a slice, indices or a mask of this view's samples."""
        n = len(self)
        if isinstance(samples, slice):
            wanted = np.arange(n)[samples]
        else:
            wanted = np.asarray(samples)
            if wanted.dtype == bool and wanted.shape == (n,):
                wanted = np.flatnonzero(wanted)
            if wanted.ndim != 1 or (
                wanted.size and (wanted.dtype.kind not in "iu" or wanted.min() < -n or wanted.max() >= n)
            ):
                raise NWidthError(self.path, got=f"samples {wanted.tolist()!s:.60}", expected=f"indices below {n}")
            wanted = np.where(wanted < 0, wanted + n, wanted).astype(np.int64)
        return wanted if self.samples is None else self.samples[wanted]

    def _block(self, d: h5py.Dataset, where: list, start: int, stop: int) -> np.ndarray:
        """Consecutive rows of one dataset, as (sample, *axes as stored)."""
        along = self.axes.index("n")
        where[along] = slice(start, stop)
        dropped = not self.has_time and "t" in self.axes[:along]
        return np.moveaxis(read_h5(d, tuple(where)), along - dropped, 0)


_TORCH = {
    "float32": torch.float32,
    "float64": torch.float64,
    "complex64": torch.complex64,
    "complex128": torch.complex128,
}


def first_line(error: BaseException) -> str:
    """What a library said, short enough for one line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


def dataset_keys(handle: h5py.File) -> list[str]:
    """Full names of every dataset of a file."""
    keys: list[str] = []
    handle.visititems(lambda name, item: keys.append(name) if isinstance(item, h5py.Dataset) else None)
    return keys


Array = Tensor | H5Array


def rows(array: Array | None, samples) -> Array | None:
    """Some samples of a tensor (indexed) or of an array on disk (a view)."""
    if array is None:
        return None
    if isinstance(array, H5Array):
        return array.take(samples)
    return array[torch.as_tensor(samples, dtype=torch.long)]
