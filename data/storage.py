"""How the fields of a data set lie on disk: files, chunks, compression, checksums."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from .arrays import LazyArray
from .dataset import INPUTS, Dataset
from .handles import open_h5


def storage(data: Dataset) -> dict[str, Any]:
    """``bytes`` on disk of all files, and by field ``layout`` in words, for fields that are read from disk.

    >>> import torch
    >>> from nwidth.backends import Grid
    >>> storage(Dataset(Grid.make((8,)), u=torch.rand(5, 1, 8)))
    {'files': 0, 'bytes': 0, 'layout': {}}
    """
    layout, files = {}, {p for p in map(Path, data.source.split(", ")) if p.is_file()}
    for name in ("u", *INPUTS):
        value = getattr(data, name)
        if isinstance(value, LazyArray):
            places = list(_places(value))
            files |= {Path(path) for path, _ in places if Path(path).is_file()}
            words = next((w for path, key in places if (w := _words(path, key))), "read from disk")
            more = len(places) - 1
            layout[name] = words + (f" (the first of {more + 1} arrays)" if more > 0 else "")
    unique = {p.resolve() for p in files}
    return {"files": len(unique), "bytes": sum(p.stat().st_size for p in unique), "layout": layout}


def _places(value: Any) -> Iterator[tuple[str, str]]:
    """File and key of every array that a view is made of."""
    if hasattr(value, "path") and hasattr(value, "keys"):
        yield from ((key, key) if key.endswith(".npy") else (value.path, key) for key in value.keys)
    elif hasattr(value, "path") and hasattr(value, "groups"):
        yield from ((value.path, f"{group}/{value.key}") for group in value.groups)
    for part in (*getattr(value, "parts", ()), *((value.base,) if hasattr(value, "base") else ())):
        yield from _places(part)


def _words(path: str, key: str) -> str:
    if not Path(path).is_file() or not h5py.is_hdf5(path):
        return "memory-mapped" if path.endswith(".npy") else ""
    d = open_h5(path).get(key)
    if not isinstance(d, h5py.Dataset):
        return ""
    if d.chunks is None:
        return f"contiguous, {d.dtype}"
    size = d.dtype.itemsize
    for n in d.chunks:
        size *= n
    kept = [d.compression or "not compressed", "with checksums" if d.fletcher32 else "no checksums"]
    return f"chunks {d.chunks} of {size / 1024:.0f} KiB, {d.dtype}, {', '.join(kept)}"
