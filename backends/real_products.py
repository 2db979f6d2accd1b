"""Truncated transforms of real fields by matrices: every axis is one real product, of half the size of a complex one.

The rows k and -k of a Fourier axis are conjugate. So the field meets Re T_k and Im T_k, k >= 0, and stays real; only
when all axes are down to their modes are c_k = A_k + i B_k and c_-k = A_k - i B_k formed, with the modes first in
memory, as layers that multiply them want it. Synthesis takes the same steps back: c_k + c_-k meets Re S_k, and
i (c_k - c_-k) Im S_k. Both are linear with constant tables, so each one's backward is the other with adjoint tables.

Space axes are 1 .. d of a tensor: (batch, *space), or with anything behind them, (batch, *space, channels). An axis
that has others behind it is a batch of products with contiguous memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .bases import Basis, is_half
from .modes import ModeLayout
from .pruned_ffts import fourier_only
from .tables import table

REAL, HALF, FULL = 0, 1, 2  # an axis of real functions; of k >= 0 for real values; of all k


# Products with at most this many times log2(n) real functions an axis beat FFTs of its n points: measured by
# benchmarks/calibrate_transforms.py on one core. Real Fourier data have FFTs with a backward of their own
# (``pruned_ffts``), which want the channels first. Other bases and compiled graphs have the FFTs that torch derives.
PRODUCTS_WIN = 11.0
PRODUCTS_WIN_FOURIER = 2.5  # and 1 for each axis
PRODUCTS_WIN_FOURIER_LAST = 4.5  # and 1 for each axis


def matrices_pay(
    layout: ModeLayout, shape: Sequence[int], modes: Sequence[int], method: str = "auto", last: bool = False
) -> bool:
    """Whether real products on all axes are the way to compute: for axes of ``shape`` and ``modes``, perhaps of several
    transforms. ``last``: whether channels lie behind the axes.
    """
    if not layout.real or method not in ("auto", "matmul"):
        return False
    if method == "matmul":
        return True
    d, win = layout.ndim, PRODUCTS_WIN
    if fourier_only(layout) and not torch.compiler.is_compiling():
        win = d + (PRODUCTS_WIN_FOURIER_LAST if last else PRODUCTS_WIN_FOURIER)
    return all(
        not b.fast or _rows(b, min(m, b.limit(n))) <= win * math.log2(max(n, 2))
        for b, n, m in zip(layout.bases * (len(shape) // d), shape, modes)
    )


def _rows(basis: Basis, m: int) -> int:
    """How many real functions m modes of an axis are."""
    return 2 * basis.count(m) if is_half(basis) else basis.count(m)


def to_modes(layout: ModeLayout, x: Tensor, modes: Sequence[int]) -> Tensor:
    """Coefficients (N, *counts(modes), ...) of real point values x (N, *space, ...): those of ``Transform.forward``.

    >>> from nwidth.backends.transforms import Fourier
    >>> x = torch.randn(5, 8, 6)
    >>> bool(torch.allclose(to_modes(Fourier(2), x, (4, 4)), Fourier(2).forward(x, (4, 4), "full"), atol=1e-6))
    True
    """
    kinds, counts = _kinds(layout), layout.counts(modes)
    tables = [_matrix(layout, i, "analysis", x.shape[i + 1], m, x) for i, m in enumerate(modes)]
    return _products(x, True, kinds, counts, *tables)


def to_points(layout: ModeLayout, c: Tensor, modes: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Real point values (N, *shape, ...) of coefficients c (N, *counts(modes), ...): the inverse of ``to_modes``.

    ``modes`` must be held by the grid of this shape.
    """
    kinds, counts = _kinds(layout), layout.counts(modes)
    like = c.real if c.is_complex() else c
    tables = [_matrix(layout, i, "synthesis", n, m, like) for i, (n, m) in enumerate(zip(shape, modes))]
    return _products(c, False, kinds, counts, *tables)


def _products(x: Tensor, analysis: bool, kinds: tuple[int, ...], counts: tuple[int, ...], *tables: Tensor) -> Tensor:
    apply = _Products.forward if torch.compiler.is_compiling() else _Products.apply  # a compiler derives by itself
    return apply(x, analysis, kinds, counts, *tables)


class _Products(torch.autograd.Function):
    """``_analyse`` or ``_synthesise``: the backward of each is the other with adjoint tables."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, analysis: bool, kinds: tuple[int, ...], counts: tuple[int, ...], *tables: Tensor) -> Tensor:
        return (_analyse if analysis else _synthesise)(x, kinds, counts, tables)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, ctx.analysis, ctx.kinds, ctx.counts, *tables = inputs
        ctx.save_for_backward(*tables)
        ctx.save_for_forward(*tables)

    @staticmethod
    def backward(ctx, g: Tensor):
        adjoint = [_adjoint(t, k, int(ctx.analysis)) for t, k in zip(ctx.saved_tensors, ctx.kinds)]
        g = _Products.apply(g, not ctx.analysis, ctx.kinds, ctx.counts, *adjoint)
        return g, None, None, None, *([None] * len(adjoint))

    @staticmethod
    def jvp(ctx, x: Tensor, *rest):
        return _Products.forward(x, ctx.analysis, ctx.kinds, ctx.counts, *ctx.saved_tensors)


def _order(kinds: Sequence[int], x: Tensor) -> Sequence[int]:
    """Axes in the order of analysis: from the batch inwards, or from the channels outwards where there are some.

    Either way the products on the large array are batches of small ones that stay in a core's cache.
    """
    axes = range(len(kinds))
    return axes if x.ndim == len(kinds) + 1 else axes[::-1]


def _analyse(x: Tensor, kinds: Sequence[int], counts: Sequence[int], tables: Sequence[Tensor]) -> Tensor:
    """All products, then the pairs (re, im), then the pairs k and -k."""
    for i in _order(kinds, x):
        x = _product(tables[i], x, i + 1)
    if HALF not in kinds:
        return x
    half = kinds.index(HALF) + 1
    z = torch.view_as_complex(x.unflatten(half, (counts[half - 1], 2)).movedim(half + 1, -1).contiguous())
    for i, kind in enumerate(kinds):
        z = _joined(z, i + 1, counts[i], len(kinds)) if kind == FULL else z
    return z


def _synthesise(c: Tensor, kinds: Sequence[int], counts: Sequence[int], tables: Sequence[Tensor]) -> Tensor:
    """The steps of ``_analyse`` in reverse."""
    x, order = c, _order(kinds, c)
    if HALF in kinds:
        half = kinds.index(HALF) + 1
        for i, kind in enumerate(kinds):
            x = _parted(x, i + 1, counts[i]) if kind == FULL else x
        x = torch.view_as_real(x.resolve_conj()).movedim(-1, half + 1).flatten(half, half + 1)
    for i in reversed(order):
        x = _product(tables[i], x, i + 1)
    return x


def _joined(z: Tensor, axis: int, m: int, d: int) -> Tensor:
    """c_k = A_k + i B_k and c_-k = A_k - i B_k of the m modes from A_0 .. A_p, B_1 .. B_p, p = m // 2."""
    p, q = m // 2, m - m // 2 - 1
    shape = [*z.shape[:axis], m, *z.shape[axis + 1 :]]
    c = z.new_empty([*shape[1 : d + 1], shape[0], *shape[d + 1 :]]).movedim(d, 0)
    a, b = z.narrow(axis, 1, p), z.narrow(axis, p + 1, p)
    c.narrow(axis, 0, p).copy_(torch.add(a, b, alpha=-1j).flip(axis))
    c.narrow(axis, p, 1).copy_(z.narrow(axis, 0, 1))
    c.narrow(axis, p + 1, q).copy_(torch.add(a.narrow(axis, 0, q), b.narrow(axis, 0, q), alpha=1j))
    return c


def _parted(c: Tensor, axis: int, m: int) -> Tensor:
    """c_k + c_-k for k = 0 .. p and i (c_k - c_-k) for k = 1 .. p; a mode p that is not there is zero."""
    p, q = m // 2, m - m // 2 - 1
    z = c.new_empty([*c.shape[:axis], 2 * p + 1, *c.shape[axis + 1 :]])
    low, high = c.narrow(axis, 0, p).flip(axis), c.narrow(axis, p + 1, q)
    z.narrow(axis, 0, 1).copy_(c.narrow(axis, p, 1))
    z.narrow(axis, 1, q).copy_(high + low.narrow(axis, 0, q))
    z.narrow(axis, p + 1, q).copy_(1j * (high - low.narrow(axis, 0, q)))
    if q < p:
        last = low.narrow(axis, q, 1)
        z.narrow(axis, p, 1).copy_(last)
        z.narrow(axis, 2 * p, 1).copy_(-1j * last)
    return z


def _product(matrix: Tensor, x: Tensor, axis: int) -> Tensor:
    """Contract ``axis`` of x with the columns of matrix (p, n)."""
    before, behind = x.shape[:axis], x.shape[axis + 1 :]
    if not behind:
        return (x.reshape(-1, x.shape[-1]) @ matrix.mT).view(*before, -1)
    x = x.reshape(math.prod(before), x.shape[axis], math.prod(behind))
    y = torch.bmm(matrix.expand(len(x), -1, -1), x) if len(x) > 1 else matrix @ x[0]
    return y.view(*before, -1, *behind)


def _kinds(layout: ModeLayout) -> tuple[int, ...]:
    return tuple(HALF if is_half(b) else FULL if b.complex else REAL for b in layout.bases)


def _matrix(layout: ModeLayout, axis: int, what: str, n: int, m: int, like: Tensor) -> Tensor:
    """The real matrix of an axis, (rows, n) for analysis and (n, rows) for synthesis.

    Rows are the functions of a real basis, pairs (re, im) of a half Fourier axis, and on a full one Re T_k for
    k = 0 .. p before Im T_k for k = 1 .. p, read from the rows -k.
    """
    basis, kind = layout.bases[axis], _kinds(layout)[axis]
    matrix = table(basis, what, n, m, 0, like.dtype, like.device)
    if kind == HALF:
        return matrix.mT
    if kind == FULL:
        dim, p = (0 if what == "analysis" else 1), m // 2
        low = matrix.narrow(dim, 0, p + 1).flip(dim)
        return torch.cat([low.real, -low.imag.narrow(dim, 1, p)], dim)
    return matrix


def _adjoint(matrix: Tensor, kind: int, dim: int) -> Tensor:
    """The table of the adjoint map; on a full axis the rows of B, along ``dim`` of the result, change sign."""
    if kind != FULL:
        return matrix.mT
    p = matrix.shape[1 - dim] // 2
    a, b = matrix.mT.split([p + 1, p], dim)
    return torch.cat([a, -b], dim)
