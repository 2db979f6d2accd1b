"""Snapshots on disk or in pieces, decomposed in one pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...errors import NWidthError
from .partial import PartialSVD
from .streaming import StreamingSVD
from .weights import InnerProduct, Weight, inner_product

_BYTES = 2**26  # of a block read at a time


def streaming_svd(
    source: Any,
    *,
    snapshots: str = "rows",
    rank: int | None = None,
    rtol: float | None = None,
    energy: float | None = None,
    weight: Weight = None,
    center: bool = False,
    block: int | None = None,
    spare: int | None = None,
    right: bool = True,
) -> PartialSVD:
    """a = U diag(s) Vh + L of the snapshots in ``source``, read once, block by block: U over space, Vh over snapshots.

    ``source`` is an array with ``shape`` that is read by slices along its first axis, through ``read(slice)`` where it
    has that and indexing otherwise (tensor, numpy memory map, h5py or zarr dataset), or an iterable of such blocks.

    ===========  ====================================================================================
    snapshots    what the first axis counts
    ===========  ====================================================================================
    rows         snapshots (N, *shape), which are flattened. Memory: k + block snapshots
    columns      points (m, N). Memory: k + block points of all snapshots, and U. ``weight`` None or (m,)
    ===========  ====================================================================================

    ``rank``, ``rtol``, ``energy`` follow ``truncation_rank``; at least one is needed. With a rank, k is rank +
    ``spare`` on the way and ``missed`` says how good that was; with a tolerance alone it is met, |L|_F <= rtol |a|_F,
    and k is what it takes. ``weight`` is an inner product over points (``inner_product``). ``center`` subtracts the
    mean over snapshots, (m,) in the result. ``block`` is the number of slices read at a time (default: 64 MiB; of
    points no more than N / 4; no fewer than k). Arithmetic is in the source's dtype: single precision gives about
    1e-6 |a|_F.

    Raises NWidthError for an empty source, non-finite or integer entries, blocks that differ in shape, a rank above the
    data's.

    >>> x = torch.linspace(1, 2, 30, dtype=torch.float64)[:, None] ** torch.arange(20)
    >>> found = streaming_svd(x, rtol=1e-6, block=7)
    >>> found.U.shape, found.error <= 1e-6
    (torch.Size([20, 6]), True)
    """
    if snapshots not in ("rows", "columns"):
        raise NWidthError("streaming_svd", got=f"snapshots={snapshots!r}", expected="'rows' or 'columns'")
    tails = [t for t in (rtol, None if energy is None else math.sqrt(max(1 - energy, 0.0))) if t is not None]
    if rank is None and not tails:
        raise NWidthError("streaming_svd", got="no rank and no tolerance", expected="rank=, rtol= or energy=")
    by_snapshot = snapshots == "rows"
    stream = StreamingSVD(
        rank=rank,
        tail=max(tails, default=None),
        spare=spare,
        center=center and by_snapshot,
        right=right or not by_snapshot,
    )
    blocks = _blocks(source, block, stream.most or 32, not by_snapshot)
    if by_snapshot:
        return _by_snapshots(stream, blocks, weight)
    return _by_points(stream, blocks, weight, center, right)


def _by_snapshots(stream: StreamingSVD, blocks: Iterable[Tensor], weight: Weight) -> PartialSVD:
    product: InnerProduct | None = None
    for values in blocks:
        columns = values.reshape(len(values), -1).mT
        if product is None:
            product = inner_product(weight, columns.shape, columns, "streaming_svd")
        stream.append(product.root(columns))
    found = stream.result()
    assert product is not None
    mean = None if found.mean is None else product.unroot(found.mean[:, None])[:, 0]
    return replace(found, U=product.unroot(found.U), mean=mean).signed()


def _by_points(stream: StreamingSVD, blocks: Iterable[Tensor], weight: Weight, center: bool, right: bool) -> PartialSVD:
    """The adjoint's columns are points."""
    root: Tensor | None = None
    if weight is not None:
        if not isinstance(weight, Tensor) or weight.layout != torch.strided or weight.ndim != 1:
            raise NWidthError(
                "streaming_svd",
                got="a weight that joins points, for blocks of points",
                expected="quadrature weights (m,)",
                fix="stream by snapshots (snapshots='rows')",
            )
        inner_product(weight, (len(weight), 1), weight, "streaming_svd")
        root = weight.double().sqrt()
    start, means = 0, []
    for values in blocks:
        if values.ndim != 2:
            raise NWidthError("streaming_svd", got=f"a block {tuple(values.shape)}", expected="(points, snapshots)")
        stop = start + len(values)
        if center:
            means.append(values.mean(1))
            values = values - means[-1][:, None]
        if root is not None:
            if stop > len(root):
                raise NWidthError("streaming_svd", got=f"{stop} points or more", expected=f"{len(root)}, the weights")
            values = values * root[start:stop, None].to(values)
        stream.append(values.mH)
        start = stop
    if root is not None and start < len(root):
        raise NWidthError("streaming_svd", got=f"{start} points", expected=f"{len(root)}, the weights")
    found = stream.result()
    assert found.Vh is not None
    U = found.Vh.mH if root is None else found.Vh.mH / root[:, None].to(found.Vh)
    mean = torch.cat(means) if center else None
    swapped = replace(found, U=U, Vh=found.U.mH, count=len(found.U), mean=mean).signed()
    return swapped if right else replace(swapped, Vh=None)


def _blocks(source: Any, block: int | None, least: int, by_points: bool) -> Iterator[Tensor]:
    """The blocks along the first axis, as tensors."""
    if block is not None and block < 1:
        raise NWidthError("streaming_svd", got=f"block={block}", expected="1 or more")
    if not hasattr(source, "shape"):
        yield from (torch.as_tensor(b) for b in source)
        return
    length = source.shape[0]
    if block is None:
        slice_bytes = math.prod(source.shape[1:]) * source.dtype.itemsize
        block = _BYTES // max(slice_bytes, 1)
        if by_points:  # columns of the adjoint: fewer than rows
            block = min(block, source.shape[1] // 4)
        block = max(block, least)
    for start in range(0, length, block):
        yield torch.as_tensor(_read(source, slice(start, min(start + block, length))))


def _read(source: Any, part: slice) -> Any:
    return source.read(part) if hasattr(source, "read") else source[part]
