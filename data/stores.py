"""Named arrays of a file, in memory or on disk, behind one small interface for the readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import torch
from torch import Tensor

from ..errors import NWidthError
from .arrays import Array
from .disk import LETTERS, H5Array, NpyArray, check_axes, map_npy
from .handles import dataset_keys, open_dataset_h5, open_h5, read_h5


class Store(Protocol):
    """Arrays by name."""

    path: str

    def keys(self) -> list[str]: ...
    def shape(self, key: str) -> tuple[int, ...]: ...
    def values(self, key: str) -> Tensor: ...
    def field(self, keys: Sequence[str], axes: str) -> Array: ...


class H5Store:
    """The datasets of an HDF5 file; fields stay on disk. ``reverse`` reads axes backwards, as MATLAB 7.3 stores."""

    def __init__(self, path: str | Path, reverse: bool = False):
        self.path, self.reverse = str(path), reverse

    def keys(self) -> list[str]:
        return [k for k in dataset_keys(open_h5(self.path)) if not k.startswith("#")]

    def _get(self, key: str) -> h5py.Dataset:
        if not isinstance(open_h5(self.path).get(key), h5py.Dataset):
            _known(self, key)  # lists the keys, which takes long in a file of many groups
        return open_dataset_h5(self.path, key)

    def shape(self, key: str) -> tuple[int, ...]:
        shape = self._get(key).shape
        return shape[::-1] if self.reverse else shape

    def values(self, key: str) -> Tensor:
        v = read_h5(self._get(key))
        return plain_tensor(self.path, key, v.T if self.reverse else v)

    def field(self, keys: Sequence[str], axes: str) -> Array:
        for key in keys:
            self._get(key)
        return H5Array(self.path, keys, axes[::-1] if self.reverse else axes)


class NpyStore:
    """One ``.npy`` file a key; fields stay on disk, mapped into memory."""

    def __init__(self, path: str | Path, files: Mapping[str, Path]):
        self.path, self.files = str(path), {k: str(p) for k, p in files.items()}

    def keys(self) -> list[str]:
        return list(self.files)

    def shape(self, key: str) -> tuple[int, ...]:
        _known(self, key)
        return tuple(map_npy(self.files[key]).shape)

    def values(self, key: str) -> Tensor:
        _known(self, key)
        return plain_tensor(self.path, key, np.array(map_npy(self.files[key])))

    def field(self, keys: Sequence[str], axes: str) -> Array:
        for key in keys:
            _known(self, key)
        return NpyArray([self.files[k] for k in keys], axes)


class MemoryStore:
    """Arrays that were read whole."""

    def __init__(self, path: str | Path, arrays: Mapping[str, Any]):
        self.path = str(path)
        self.arrays = {
            k: _working(v.detach() if isinstance(v, Tensor) else plain_tensor(self.path, k, np.asarray(v)))
            for k, v in arrays.items()
        }

    def keys(self) -> list[str]:
        return list(self.arrays)

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self.values(key).shape)

    def values(self, key: str) -> Tensor:
        _known(self, key)
        return self.arrays[key]

    def field(self, keys: Sequence[str], axes: str) -> Array:
        parts = [self._one(key, axes) for key in keys]
        dim = 2 if "t" in axes else 1
        if len(parts) > 1 and any(p.shape != parts[0].shape for p in parts):
            raise NWidthError(
                f"{self.path}: {', '.join(keys)}",
                got=f"shapes {[self.shape(k) for k in keys]}",
                expected="one shape",
                fix="name fields of one shape",
            )
        return torch.cat(parts, dim) if len(parts) > 1 else parts[0]

    def _one(self, key: str, axes: str) -> Tensor:
        v = self.values(key)
        check_axes(f"{self.path}: {key!r}", axes, v.shape)
        if not (v.is_floating_point() or v.is_complex()):
            v = v.float()
        for letter in "nc":
            if letter not in axes:
                v, axes = v.unsqueeze(-1), axes + letter
        order = [a for a in LETTERS if a in axes]
        v = v.permute([axes.index(a) for a in order])
        if "d" in axes:
            v = v.flatten(order.index("c"), order.index("d"))
        return v.contiguous().clone()  # a view would carry its whole storage


def plain_tensor(path: str, key: str, values: np.ndarray) -> Tensor:
    """Numbers of any kind and byte order as a tensor."""
    if values.dtype.kind not in "biufc":
        raise NWidthError(
            f"{path}: {key!r}",
            got=f"values of type {values.dtype}",
            expected="numbers",
            fix="name another key in data.fields",
        )
    native = values.dtype.newbyteorder("=")
    if native.itemsize > (16 if native.kind == "c" else 8):
        native = np.dtype(np.complex128 if native.kind == "c" else np.float64)  # torch has no longer ones
    return torch.from_numpy(np.ascontiguousarray(values, dtype=native).reshape(values.shape))


def _working(v: Tensor) -> Tensor:
    """Half precision becomes single: it stores values, nothing computes in it."""
    if v.dtype in (torch.float16, torch.bfloat16):
        return v.float()
    return v.to(torch.complex64) if v.dtype == torch.complex32 else v


def _known(store: Store, key: str) -> None:
    if key not in store.keys():
        raise NWidthError(
            str(store.path),
            got=f"no key {key!r}",
            expected="one of " + ", ".join(store.keys()[:20]),
            fix="name it in data.fields",
        )
