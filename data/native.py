"""nwidth's own HDF5 layout: chunks of whole samples with checksums, readable with h5py alone.

::

    /            attributes format="nwidth-dataset", version=1, source, t0, and as JSON: grid, names, units,
                 problem (the config of the equation), attributes
    /u           (N, [T,] C, *space)      /a  (N, C, *space)      /u0  (N, C, *space)
    /mu          (N, P)                   /t  (T,)
    /grid/x ...  coordinates of each axis; for a mesh: /grid/points (M, d), /grid/cells, /grid/weights
    /splits/...  sample indices, one dataset a split

Each dataset has the attribute ``dims``. Fields are chunked by whole samples (several where they are smaller than
16 KiB, windows of times of one sample where it is larger than 256 KiB) with HDF5's Fletcher-32 checksum, so that a
damaged chunk is an error when it is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from ..backends import Grid, Mesh, grid_from_dict
from ..errors import NWidthError
from .dataset import INPUTS, Dataset
from .disk import H5Array
from .files import _plain, whole_file
from .handles import close_h5, open_dataset_h5, open_h5, read_h5

FORMAT, VERSION = "nwidth-dataset", 1
_FIELDS = ("u", *INPUTS)


def blocks_of(data: Dataset, size: int | None = None) -> Iterator[Dataset]:
    """The data set in loaded pieces of about 64 MiB, so that a large one never enters memory whole."""
    size = size or max(1, 64 * 2**20 // max(data.nbytes // max(len(data), 1), 1))
    for start in range(0, len(data), size):
        yield data[start : start + size].load()


def save_dataset(
    path: str | Path,
    data: Dataset,
    blocks: Iterable[Dataset] | None = None,
    *,
    total: int | None = None,
    compression: str | None = None,
    on_block: Callable[[int], None] | None = None,
) -> None:
    """Write a data set in nwidth's layout, atomically and in bounded memory.

    ``data`` gives grid, names, times and splits; ``blocks`` its samples in order where they are not ``data``'s own
    (``total`` samples then). ``on_block(done)`` is called after each block.
    """
    total = len(data) if total is None else total
    per_sample = data.nbytes // max(len(data), 1)
    with whole_file(path, needs_bytes=int(1.02 * per_sample * total)) as temporary:
        with h5py.File(temporary, "w") as f:
            write_header(f, data)
            done = 0
            for block in blocks_of(data) if blocks is None else blocks:
                if done == 0:
                    create_fields(f, block, total, compression)
                for name in _FIELDS:
                    value = getattr(block, name)
                    if value is not None:
                        f[name][done : done + len(block)] = value.numpy()
                done += len(block)
                if on_block:
                    on_block(done)
            if done != total:
                raise NWidthError(f"save_dataset {path}", got=f"{done} samples", expected=f"{total}")
        close_h5()


def write_header(f: h5py.File, data: Dataset) -> None:
    f.attrs.update(format=FORMAT, version=VERSION, source=data.source, t0=data.t0)
    for name in ("names", "units", "problem", "attributes"):
        f.attrs[name] = json.dumps(_plain(getattr(data, name)))
    group = f.create_group("grid")
    if isinstance(data.grid, Grid):
        f.attrs["grid"] = json.dumps(data.grid.to_dict())
        for axis in data.grid.axes:
            group[axis.name] = axis.coordinates().numpy()
    else:
        f.attrs["grid"] = json.dumps({"type": "mesh"})
        group["points"] = data.grid.points.numpy()
        if data.grid.cells is not None:
            group["cells"] = data.grid.cells.numpy()
        if data.grid.point_weights is not None:
            group["weights"] = data.grid.point_weights.numpy()
    if data.t is not None:
        f["t"] = data.t.double().numpy()
    for name, indices in data.splits.items():
        f[f"splits/{name}"] = np.asarray(indices, dtype=np.int64)


def create_fields(f: h5py.File, block: Dataset, total: int, compression: str | None) -> None:
    letters = "".join("xyzw"[: len(block.grid.shape)])
    for name in _FIELDS:
        value = getattr(block, name)
        if value is None:
            continue
        shape = (total, *value.shape[1:])
        dims = "np" if name == "mu" else ("ntc" if name == "u" and block.t is not None else "nc") + letters
        d = f.create_dataset(
            name,
            shape,
            value.numpy().dtype,
            chunks=_chunks(shape, value.element_size(), dims),
            fletcher32=True,
            compression=compression,
            shuffle=compression is not None,
        )
        d.attrs["dims"] = dims


def _chunks(shape: tuple[int, ...], itemsize: int, dims: str) -> tuple[int, ...]:
    """Whole samples, several where small (16 KiB), or a window of times of one sample where large (256 KiB).

    Shuffled reading fetches a chunk for each sample, so that larger ones would be read for nothing.
    """
    sample = max(1, int(np.prod(shape[1:])) * itemsize)
    if sample > 2**18 and "t" in dims:
        state = max(1, sample // shape[1])
        return (1, min(shape[1], max(1, 2**18 // state)), *shape[2:])
    return (min(max(shape[0], 1), max(1, 2**14 // sample)), *(max(s, 1) for s in shape[1:]))


def is_native(f: h5py.File) -> bool:
    return _text(f.attrs.get("format")) == FORMAT


def load_native(path: str | Path) -> Dataset:
    """Open a file in nwidth's layout; fields stay on disk until they are read."""
    f = open_h5(path)
    where = f"open {path}"
    version = int(f.attrs.get("version", 0))
    if version != VERSION:
        raise NWidthError(
            where,
            got=f"layout version {version}",
            expected=f"version {VERSION}",
            fix="read it with the nwidth that wrote it",
        )
    try:
        header: dict[str, Any] = {
            k: json.loads(_text(f.attrs[k])) for k in ("names", "units", "problem", "attributes", "grid")
        }
    except (KeyError, ValueError) as e:
        raise NWidthError(where, got=f"a damaged header ({e})", expected="a file that nwidth wrote") from None

    def values(name: str) -> torch.Tensor | None:
        return torch.from_numpy(read_h5(open_dataset_h5(path, name))) if name in f else None

    if header["grid"].get("type") == "mesh":
        points = values("grid/points")
        if points is None:
            raise NWidthError(where, got="a mesh without points", expected="a file that nwidth wrote")
        grid: Grid | Mesh = Mesh(points, values("grid/cells"), values("grid/weights"))
    else:
        grid = grid_from_dict(header["grid"])
    arrays: dict[str, Any] = {}
    for name in ("u", "a", "u0"):
        if name in f:
            arrays[name] = H5Array(path, name, _text(f[name].attrs["dims"]))
    splits = {k: torch.from_numpy(v[()]) for k, v in f["splits"].items()} if "splits" in f else {}
    return Dataset(
        grid,
        mu=values("mu"),
        t=values("t"),
        t0=float(f.attrs["t0"]),
        names={k: tuple(v) for k, v in header["names"].items()},
        units=header["units"],
        problem=header["problem"],
        attributes=header["attributes"],
        splits=splits,
        source=str(path),
        format="nwidth HDF5",
        **arrays,
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
