"""HDF5 files kept open: one handle a process, a few at a time, and reads whose failures say what is damaged."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

import h5py
import numpy as np

from ..errors import NWidthError

_OPEN_FILES = 8
_OPEN_DATASETS = 4096  # of a file
_CHUNK_CACHE = 8 * 2**20  # bytes a dataset: a batch may meet a chunk several times, seldom the next batch
# (pid, path, inode, mtime) -> file and the datasets read from it, least recently used first
_handles: OrderedDict[tuple, tuple[h5py.File, dict[str, h5py.Dataset]]] = OrderedDict()


def open_h5(path: str | Path) -> h5py.File:
    """A read-only handle, kept open for this process only; at most eight stay open.

    The process id and the file's identity are part of the key: a forked or spawned data-loading worker opens its
    own handle, and a file that was replaced is opened afresh.
    """
    return _open(path)[0]


def open_dataset_h5(path: str | Path, key: str, *, chunk_cache: int = _CHUNK_CACHE) -> h5py.Dataset:
    """One dataset of a file, kept open with it: to open it anew for each read costs more than the read.

    ``chunk_cache`` is its cache in bytes; the first opening decides.
    """
    handle, datasets = _open(path)
    if key in datasets:
        return datasets[key]
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_chunk_cache(10_007 if chunk_cache else 1, chunk_cache, 0.75)
    try:
        found = h5py.Dataset(h5py.h5d.open(handle.id, key.encode(), access), readonly=True)
    except (KeyError, TypeError):  # not there, or a group
        raise NWidthError(
            f"{path}",
            got=f"no dataset {key!r}",
            expected="one of " + ", ".join(dataset_keys(handle)[:20]),
            fix="name it in data.fields",
        ) from None
    if len(datasets) < _OPEN_DATASETS:
        datasets[key] = found
    return found


def _open(path: str | Path) -> tuple[h5py.File, dict[str, h5py.Dataset]]:
    path = path if isinstance(path, str) and path.startswith("/") else os.path.abspath(path)
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
    """Some values of a dataset; a chunk whose checksum fails, or anything else that HDF5 cannot read, is an error.

    Pairs of real and imaginary parts, as MATLAB stores complex numbers, become complex.
    """
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
        return np.ascontiguousarray(values).view(working_dtype(d.dtype, f"{d.file.filename}: {d.name!r}"))
    return values


_MATLAB_COMPLEX = ("real", "imag")


def working_dtype(stored: np.dtype, where: str) -> np.dtype:
    """What a file's numbers become: single or double precision, real or complex; ``where`` is for the error."""
    if stored.kind == "c" or stored.names == _MATLAB_COMPLEX:
        return np.dtype(np.complex128 if stored.itemsize > 8 else np.complex64)
    if stored.kind not in "biuf":
        raise NWidthError(
            where,
            got=f"values of type {stored}",
            expected="numbers",
            fix="name another key in data.fields",
        )
    return np.dtype(np.float64 if stored.kind == "f" and stored.itemsize >= 8 else np.float32)


def first_line(error: BaseException) -> str:
    """What a library said, short enough for one line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


def dataset_keys(handle: h5py.File | h5py.Group) -> list[str]:
    """Full names of every dataset of a file."""
    keys: list[str] = []
    handle.visititems(lambda name, item: keys.append(name) if isinstance(item, h5py.Dataset) else None)
    return keys
