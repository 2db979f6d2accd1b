"""Any data set, or several that form one, written in nwidth's own layout in pieces of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import torch
from torch import Tensor

from ..backends import same_grid
from ..errors import NWidthError
from .arrays import Array, blocks
from .dataset import INPUTS, Dataset, same_times
from .files import whole_file
from .handles import close_h5
from .native import create_fields, write_header

FIELDS = ("u", *INPUTS)
COMPRESSIONS = (None, "lzf", "gzip")


def convert(
    parts: Dataset | Mapping[str, Dataset],
    path: str | Path,
    *,
    dtype: torch.dtype | None = None,
    compression: str | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> None:
    """Write ``path`` (see ``nwidth.data.native``), whole or not at all, reading about 64 MiB at a time.

    Several ``parts`` by split name (train, val, test) lie one after the other in the file, which stores that split.
    Grid, times, names, units, attributes, problem and the splits of a single data set are kept. ``dtype`` (float32 or
    float64) changes the precision of fields, complex ones to the complex type of that precision; parameters and times
    keep theirs. ``compression`` is lzf or gzip, with the bytes shuffled. ``on_bytes(n)`` is called with the size of
    each piece once it is written.

    Raises ``NWidthError`` for parts that differ in more than their samples, values too large for ``dtype``, a disk
    that is too small, and whatever reading finds wrong.

    >>> import tempfile
    >>> from nwidth.backends import Grid
    >>> from nwidth.data import open_dataset
    >>> data = Dataset(Grid.make((8,)), u=torch.rand(5, 1, 8, dtype=torch.float64), mu=torch.rand(5, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     convert(data, f"{folder}/d.h5", dtype=torch.float32, compression="lzf")
    ...     open_dataset(f"{folder}/d.h5").u.dtype
    torch.float32
    """
    if compression not in COMPRESSIONS:
        raise NWidthError("convert", got=f"compression={compression!r}", expected="null, lzf or gzip")
    if dtype not in (None, torch.float32, torch.float64):
        raise NWidthError("convert", got=f"dtype={dtype}", expected="null, float32 or float64")
    whole = {"": parts} if isinstance(parts, Dataset) else dict(parts)
    header = _joined(whole, dtype)
    with whole_file(path, needs_bytes=int(1.02 * header.nbytes) if compression is None else 0) as temporary:
        with h5py.File(temporary, "w") as f:
            write_header(f, header)
            create_fields(f, header, len(header), compression)
            start = 0
            for part in whole.values():
                for name in FIELDS:
                    value: Array | None = getattr(part, name)
                    if value is None:
                        continue
                    target = _wanted(name, value.dtype, dtype)
                    timed = name == "u" and part.time_dependent
                    for samples, times, x in blocks(value, timed=timed):
                        rows = slice(start + samples.start, start + samples.stop)
                        f[name][(rows, times) if timed else rows] = _cast(
                            x, target, f"convert {name} to {target}"
                        ).numpy()
                        if on_bytes:
                            on_bytes(x.nbytes)
                start += len(part)
        close_h5()


def _wanted(name: str, own: torch.dtype, dtype: torch.dtype | None) -> torch.dtype:
    if dtype is None or name == "mu":
        return own
    return dtype.to_complex() if own.is_complex else dtype


def _cast(x: Tensor, dtype: torch.dtype, where: str) -> Tensor:
    out = x.to(dtype)
    if out.dtype != x.dtype and bool((torch.isfinite(x) & ~torch.isfinite(out)).any()):
        raise NWidthError(
            where,
            got=f"values up to {float(x.abs().max()):.3g}",
            expected=f"at most {torch.finfo(dtype).max:.3g}",
            fix="use dtype=float64",
        )
    return out


def _joined(parts: Mapping[str, Dataset], dtype: torch.dtype | None) -> Dataset:
    """A data set of the size and kind of all parts together, whose fields take no memory."""
    first = next(iter(parts.values()))
    splits, count = dict(first.splits), 0
    for name, part in parts.items():
        here = f"convert {part.source}"
        if len(parts) > 1:
            if part.splits:
                raise NWidthError(
                    here, got=f"a file that stores splits ({', '.join(part.splits)})", expected="one split in all"
                )
            splits[name] = torch.arange(count, count + len(part))
        count += len(part)
        if not same_grid(part.grid, first.grid):
            raise NWidthError(here, got=part.grid.describe(), expected=first.grid.describe() + ", as in the first file")
        if not same_times(part.t, first.t) or part.t0 != first.t0:
            raise NWidthError(here, got="other times than the first file", expected="the same")
        for field in FIELDS:
            a, b = (getattr(p, field) for p in (part, first))
            if (a is None) != (b is None) or (a is not None and (a.shape[1:], a.dtype) != (b.shape[1:], b.dtype)):
                described = ["none" if v is None else f"{tuple(v.shape[1:])} {v.dtype}" for v in (a, b)]
                raise NWidthError(
                    here, got=f"{field}: {described[0]}", expected=f"{described[1]}, as in the first file"
                )
    given = {k: v for k in FIELDS if (v := getattr(first, k)) is not None}
    empty: dict[str, Any] = {
        k: torch.empty((), dtype=_wanted(k, v.dtype, dtype)).expand(count, *v.shape[1:]) for k, v in given.items()
    }
    source = ", ".join(dict.fromkeys(p.source for p in parts.values()))
    return replace(first, splits=splits, source=source, **empty)
