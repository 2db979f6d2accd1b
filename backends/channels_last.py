"""Truncated transforms of fields (B, *space, C): every axis is one real matrix product without a copy.

With the channels behind the space axes, contracting any axis is a batch of products (modes x points) with
(points x everything behind), contiguous as it lies in memory. Complex coefficients travel as pairs of real numbers.
Analysis and synthesis are constant linear maps, so each one's backward is the other kernel with adjoint matrices;
nothing but the shapes is kept for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import NWidthError
from .bases import is_half
from .modes import ModeLayout
from .tables import table

REAL, HALF, FULL = 0, 1, 2  # an axis of real functions; of k >= 0 for real values; of all k


# Without copies a product with the matrix of K coefficients beats the FFT of n points for longer than in the other
# layout (GEMM_WINS): measured by benchmarks/calibrate_transforms.py on one core.
GEMM_WINS_LAST = 11.0


def matrices_pay(layout: ModeLayout, shape: Sequence[int], modes: Sequence[int], method: str = "auto") -> bool:
    """Whether matrix products with the channels last are the way to compute: for axes of ``shape`` and ``modes``."""
    if not layout.real or method not in ("auto", "matmul"):
        return False
    d = layout.ndim
    return method == "matmul" or all(
        not b.fast or b.count(min(m, b.limit(n))) <= GEMM_WINS_LAST * math.log2(max(n, 2))
        for b, n, m in zip(layout.bases * (len(shape) // d), shape, modes)
    )


def analyse_last(layout: ModeLayout, x: Tensor, modes: Sequence[int]) -> Tensor:
    """Coefficients (K, B, C), modes flattened in C order, of real point values x (B, *space, C).

    The same numbers as ``Transform.forward``; complex where the layout is.

    >>> from nwidth.backends.transforms import Fourier
    >>> x = torch.randn(2, 8, 6, 3)
    >>> c = analyse_last(Fourier(2), x, (4, 4))
    >>> bool(torch.allclose(c.view(4, 3, 2, 3).permute(2, 3, 0, 1), Fourier(2).forward(x.movedim(-1, 1), (4, 4))))
    True
    """
    shape = _check(layout, x.ndim - 2, x)
    kinds = _kinds(layout)
    tables = [_matrix(layout, i, "analysis", shape[i], modes[i], x) for i in range(layout.ndim)]
    counts = layout.counts(modes)
    compiling = torch.compiler.is_compiling()  # which derives the backward by itself
    c = to_modes(x, kinds, counts, tables) if compiling else _Analysis.apply(x.contiguous(), kinds, counts, *tables)
    c = c.reshape(math.prod(counts), x.shape[0], x.shape[-1], *c.shape[len(counts) + 2 :])
    return torch.view_as_complex(c) if layout.complex else c


def synthesise_last(layout: ModeLayout, c: Tensor, modes: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Point values (B, *shape, C) of coefficients c (K, B, C): the inverse of ``analyse_last``.

    ``modes`` must be held by the grid of this shape.
    """
    kinds = _kinds(layout)
    counts = layout.counts(modes)
    pairs = torch.view_as_real(c) if layout.complex else c
    tables = [_matrix(layout, i, "synthesis", shape[i], modes[i], pairs) for i in range(layout.ndim)]
    pairs = pairs.reshape(*counts, *pairs.shape[1:])
    if torch.compiler.is_compiling():
        return to_points(pairs, kinds, counts, tables)
    return _Synthesis.apply(pairs, kinds, counts, *tables)


class _Analysis(torch.autograd.Function):
    """Points to modes, last axis first; the adjoint is ``_Synthesis`` with the transposed tables."""

    @staticmethod
    def forward(ctx, x: Tensor, kinds: tuple[int, ...], counts: tuple[int, ...], *tables: Tensor) -> Tensor:
        ctx.kinds, ctx.counts = kinds, counts
        ctx.save_for_backward(*tables)
        return to_modes(x, kinds, counts, tables)

    @staticmethod
    def backward(ctx, g: Tensor):
        adjoint = [_adjoint(t, k, 1) for t, k in zip(ctx.saved_tensors, ctx.kinds)]
        return _Synthesis.apply(g, ctx.kinds, ctx.counts, *adjoint), None, None, *([None] * len(adjoint))


class _Synthesis(torch.autograd.Function):
    """Modes to points, first axis first; the adjoint is ``_Analysis`` with the transposed tables."""

    @staticmethod
    def forward(ctx, c: Tensor, kinds: tuple[int, ...], counts: tuple[int, ...], *tables: Tensor) -> Tensor:
        ctx.kinds, ctx.counts = kinds, counts
        ctx.save_for_backward(*tables)
        return to_points(c, kinds, counts, tables)

    @staticmethod
    def backward(ctx, g: Tensor):
        adjoint = [_adjoint(t, k, 0) for t, k in zip(ctx.saved_tensors, ctx.kinds)]
        return _Analysis.apply(g.contiguous(), ctx.kinds, ctx.counts, *adjoint), None, None, *([None] * len(adjoint))


def to_modes(x: Tensor, kinds: Sequence[int], counts: Sequence[int], tables: Sequence[Tensor]) -> Tensor:
    """(*counts, B, C[, 2]) from (B, *space, C): contract one axis after the other, last first.

    The pair of real and imaginary parts lies behind the axis that made it (``pair`` counts the axes behind it) until
    the end, where one copy brings the modes to the front.
    """
    batch, channels, d = x.shape[0], x.shape[-1], len(kinds)
    lead = list(x.shape[:-1])  # sizes before the channels; space sizes turn into counts from the right
    behind = 0  # entries behind the pair, 0 while there is none
    for i in reversed(range(d)):
        m, n = counts[i], lead[i + 1]
        tail = math.prod([*lead[i + 2 :], channels]) * (2 if behind else 1)
        flat = x.reshape(-1, n, tail)
        if kinds[i] == FULL:
            y = _product(tables[i], flat).view(-1, 2, m, tail // (2 * behind), 2, behind)
            x = torch.stack([y[:, 0, :, :, 0] - y[:, 1, :, :, 1], y[:, 0, :, :, 1] + y[:, 1, :, :, 0]], 3)
        else:
            x = _product(tables[i], flat)
            if kinds[i] == HALF:
                behind = tail
        lead[i + 1] = m
    if not behind:
        return x.view(batch, *counts, channels).movedim(0, -2).contiguous()
    inside = behind // channels  # modes of the axes behind the pair
    x = x.view(batch, math.prod(counts) // inside, 2, inside, channels)
    return x.permute(1, 3, 0, 4, 2).contiguous().view(*counts, batch, channels, 2)


def to_points(c: Tensor, kinds: Sequence[int], counts: Sequence[int], tables: Sequence[Tensor]) -> Tensor:
    """(B, *space, C) from (*counts, B, C[, 2]): the steps of ``to_modes`` in reverse."""
    d = len(kinds)
    batch, channels = c.shape[d], c.shape[d + 1]
    lead = [batch, *counts]
    inside = 0
    if HALF in kinds:
        half = kinds.index(HALF)
        inside = math.prod(counts[half + 1 :])
        x = c.reshape(math.prod(counts) // inside, inside, batch, channels, 2).permute(2, 0, 4, 1, 3)
    else:
        x = c.movedim(-2, 0)
    behind = inside * channels
    for i in range(d):
        m = counts[i]
        if kinds[i] == FULL:
            rows = math.prod(lead[: i + 1])
            x = x.reshape(rows, m, -1, 2, behind)
            both = x.new_empty(rows, 2, *x.shape[1:])  # the coefficients, and i times them
            both[:, 0] = x
            both[:, 1, :, :, 0] = -x[:, :, :, 1]
            both[:, 1, :, :, 1] = x[:, :, :, 0]
            x = both.view(rows, 2 * m, -1)
        elif kinds[i] == HALF:
            x = x.reshape(math.prod(lead[: i + 1]), 2 * m, -1)
        else:
            x = x.reshape(math.prod(lead[: i + 1]), m, -1)
        x = _product(tables[i], x)
        lead[i + 1] = tables[i].shape[0]
    return x.view(*lead, channels)


def _product(matrix: Tensor, x: Tensor) -> Tensor:
    """matrix (p, n) times each of x (rows, n, tail)."""
    return torch.bmm(matrix.expand(len(x), -1, -1), x) if len(x) > 1 else (matrix @ x[0])[None]


def _kinds(layout: ModeLayout) -> tuple[int, ...]:
    return tuple(HALF if is_half(b) else FULL if b.complex else REAL for b in layout.bases)


def _matrix(layout: ModeLayout, axis: int, what: str, n: int, m: int, like: Tensor) -> Tensor:
    """The real matrix of an axis: (rows, n) for analysis, (n, rows) for synthesis.

    Rows are the functions of a real basis, pairs (re, im) of a half Fourier axis, all real parts before all imaginary
    parts of a full one.
    """
    basis = layout.bases[axis]
    matrix = table(basis, what, n, m, 0, like.dtype, like.device)
    if is_half(basis):
        return matrix.mT
    if basis.complex:
        return torch.cat([matrix.real, matrix.imag], 0 if what == "analysis" else 1)
    return matrix


def _adjoint(matrix: Tensor, kind: int, dim: int) -> Tensor:
    """The table of the adjoint map; on a full axis the imaginary half, along ``dim`` of the result, changes sign."""
    if kind != FULL:
        return matrix.mT
    real, imaginary = matrix.mT.chunk(2, dim)
    return torch.cat([real, -imaginary], dim)


def _check(layout: ModeLayout, d: int, x: Tensor) -> tuple[int, ...]:
    if d != layout.ndim or x.is_complex() or not layout.real:
        raise NWidthError(
            "analyse_last",
            got=f"{x.dtype} values of shape {tuple(x.shape)}",
            expected=f"real values (batch, {layout.ndim} space axes, channels)",
        )
    return tuple(x.shape[1:-1])
