"""Arrays that stay on disk: random access to samples and times of an HDF5 file without reading it whole."""

from __future__ import annotations

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
_CHUNK_CACHE = 64 * 2**20
_handles: OrderedDict[tuple, h5py.File] = OrderedDict()  # (pid, path, inode, mtime) -> handle, least recent first


def open_h5(path: str | Path) -> h5py.File:
    """A read-only handle, kept open for this process only; at most eight stay open.

    The process id and the file's identity are part of the key: a forked or spawned data-loading worker opens its
    own handle, and a file that was replaced is opened afresh.
    """
    path = os.path.abspath(path)
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        raise NWidthError(f"open {path}", got="no such file", fix="check data.path") from None
    key = (os.getpid(), path, stat.st_ino, stat.st_mtime_ns)
    if key in _handles:
        _handles.move_to_end(key)
        return _handles[key]
    try:
        handle = h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE, rdcc_nslots=100_003)
    except OSError as e:
        raise NWidthError(
            f"open {path}", got=f"a file that HDF5 cannot read ({str(e).splitlines()[0][:120]})",
            expected="a whole HDF5 file", fix="it may be truncated or of another format: copy or download it again",
        ) from None
    _handles[key] = handle
    while len(_handles) > _OPEN_FILES:
        old, stale = _handles.popitem(last=False)
        if old[0] == os.getpid():
            stale.close()
    return handle


def close_h5() -> None:
    """Close every handle of this process (before a file is replaced or deleted)."""
    for key in [k for k in _handles if k[0] == os.getpid()]:
        _handles.pop(key).close()


class H5Array:
    """Datasets of one HDF5 file seen as a field (sample, [time,] channel, *space).

    ``axes`` names the axes as they lie in the file, one letter each: ``n`` sample, ``t`` time, ``c`` channel, and
    x, y, z, w for space; a missing ``c`` makes one channel, a missing ``n`` makes one sample. Several ``keys`` are
    joined along the channels. Integers and booleans become float32.

    ``array[indices]`` reads samples in the order asked, each once, sorted on the way for speed; ``array.read`` also
    takes a range of times. Views made by ``take`` and ``thin`` read nothing. An integer for ``times`` picks that
    time and drops the axis.
    """

    def __init__(self, path: str | Path, keys: str | Sequence[str], axes: str, *, samples: np.ndarray | None = None,
                 times: slice | int = slice(None), strides: Sequence[int] | None = None):
        self.path = os.path.abspath(path)
        self.keys = (keys,) if isinstance(keys, str) else tuple(keys)
        self.axes = axes
        self._file_shape: tuple[int, ...] = ()
        first = None
        for key in self.keys:
            d = self._dataset(key)
            if first is None:
                first = d
            elif d.shape != first.shape:
                raise NWidthError(f"{self.path}: {key!r}", got=f"shape {d.shape}",
                                  expected=f"{first.shape}, as {self.keys[0]!r} has", fix="name fields of one shape")
        assert first is not None
        if len(axes) != first.ndim or len(set(axes)) != len(axes) or set(axes) - set("ntcxyzw"):
            raise NWidthError(
                f"{self.path}: {self.keys[0]!r}", got=f"axes={axes!r} for an array of shape {first.shape}",
                expected=f"{first.ndim} different letters of n, t, c, x, y, z, w", fix="set data.axes",
            )
        self._file_shape = first.shape
        self._file_dtype = first.dtype
        self.space = "".join(a for a in "xyzw" if a in axes)
        self.samples = None if samples is None else np.asarray(samples, dtype=np.int64)
        self.times = times
        self.strides = tuple(strides) if strides else (1,) * len(self.space)
        self._order = [axes.index(a) for a in "nt" if a in axes] + (
            [axes.index("c")] if "c" in axes else []) + [axes.index(a) for a in self.space]

    def _dataset(self, key: str) -> h5py.Dataset:
        handle = open_h5(self.path)
        found = handle.get(key)
        if not isinstance(found, h5py.Dataset):
            raise NWidthError(f"{self.path}", got=f"no dataset {key!r}",
                              expected="one of " + ", ".join(dataset_keys(handle)[:20]), fix="name it in data.fields")
        return found

    def _size(self, letter: str) -> int:
        return self._file_shape[self.axes.index(letter)] if letter in self.axes else 1

    def _time_range(self) -> range:
        assert isinstance(self.times, slice)
        return range(self._size("t"))[self.times]

    def _view(self, **changed) -> H5Array:
        kept = {"samples": self.samples, "times": self.times, "strides": self.strides, **changed}
        return H5Array(self.path, self.keys, self.axes, **kept)

    @property
    def has_time(self) -> bool:
        return "t" in self.axes and not isinstance(self.times, int)

    @property
    def shape(self) -> tuple[int, ...]:
        n = self._size("n") if self.samples is None else len(self.samples)
        time = (len(self._time_range()),) if self.has_time else ()
        space = tuple(-(-self._size(a) // s) for a, s in zip(self.space, self.strides))
        return (n, *time, self._size("c") * len(self.keys), *space)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        if self._file_dtype.kind == "c":
            return torch.complex128 if self._file_dtype.itemsize > 8 else torch.complex64
        return torch.float64 if self._file_dtype == np.float64 else torch.float32

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * torch.empty((), dtype=self.dtype).element_size()

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, samples) -> H5Array:
        """The view on some of the samples."""
        picked = np.asarray(samples, dtype=np.int64)
        base = np.arange(self._size("n")) if self.samples is None else self.samples
        return self._view(samples=base[picked])

    def thin(self, times: slice = slice(None), strides: Sequence[int] | None = None) -> H5Array:
        """The view on a range of times and on every ``strides``-th point."""
        combined = tuple(a * b for a, b in zip(self.strides, strides)) if strides else self.strides
        if not self.has_time:
            return self._view(strides=combined)
        r = self._time_range()[times]
        return self._view(times=slice(r.start, r.stop, r.step), strides=combined)

    def __getitem__(self, samples) -> Tensor:
        return self.read(samples)

    def read(self, samples=slice(None), times: slice = slice(None)) -> Tensor:
        """Samples (an int, a slice, or indices in any order) at a range of times, as one tensor."""
        n = len(self)
        if isinstance(samples, int | np.integer):
            return self.read([int(samples)], times)[0]
        if isinstance(samples, slice):
            wanted = np.arange(n)[samples]
        else:
            wanted = np.asarray(samples, dtype=np.int64)
            if wanted.size and (wanted.min() < -n or wanted.max() >= n):
                raise NWidthError(f"{self.path}", got=f"sample {wanted.max()}", expected=f"indices below {n}")
            wanted = np.where(wanted < 0, wanted + n, wanted)
        rows = wanted if self.samples is None else self.samples[wanted]
        if self.has_time:
            r = self._time_range()[times]
            time: slice | int = slice(r.start, r.stop, r.step) if len(r) else slice(0, 0)
        else:
            time = self.times
        unique, back = np.unique(rows, return_inverse=True)
        parts = [self._read_rows(self._dataset(key), unique, time) for key in self.keys]
        out = np.concatenate(parts, axis=2 if self.has_time else 1) if len(parts) > 1 else parts[0]
        if len(unique) != len(rows) or not np.array_equal(back, np.arange(len(rows))):
            out = out[back]
        tensor = torch.from_numpy(np.ascontiguousarray(out))
        return tensor if tensor.dtype == self.dtype else tensor.to(self.dtype)

    def _read_rows(self, d: h5py.Dataset, rows: np.ndarray, time: slice | int) -> np.ndarray:
        """Sorted distinct rows of one dataset, as (sample, [time,] channel, *space)."""
        where: list = [slice(None)] * len(self.axes)
        if "t" in self.axes:
            # an integer time is read as a range of one, and its axis dropped at the end
            where[self.axes.index("t")] = slice(time, time + 1) if isinstance(time, int) else time
        for letter, stride in zip(self.space, self.strides):
            where[self.axes.index(letter)] = slice(None, None, stride)
        if "n" not in self.axes:
            block = self._read(d, tuple(where))[None]
            order = [0] + [i + 1 for i in self._order]
            block = np.repeat(block, len(rows), axis=0)
        else:
            along = self.axes.index("n")
            runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if len(rows) else []
            blocks = []
            for run in runs:
                where[along] = slice(int(run[0]), int(run[-1]) + 1)
                blocks.append(self._read(d, tuple(where)))
            if not blocks:
                where[along] = slice(0, 0)
                blocks = [self._read(d, tuple(where))]
            block = np.concatenate(blocks, axis=along) if len(blocks) > 1 else blocks[0]
            order = self._order
        block = block.transpose(order)
        if isinstance(time, int) and "t" in self.axes:
            block = block[:, 0]
        if "c" not in self.axes:
            block = np.expand_dims(block, 2 if self.has_time else 1)
        return block

    def _read(self, d: h5py.Dataset, where: tuple) -> np.ndarray:
        try:
            return d[where]
        except OSError as e:
            raise NWidthError(
                f"{self.path}: {d.name!r}", got=f"a chunk that cannot be read ({str(e).splitlines()[0][:100]})",
                expected="data that match their checksums", fix="the file is damaged: copy or generate it again",
            ) from None


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
