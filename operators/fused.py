"""The pointwise part of a block in one pass over the points, a slice of them at a time, with its own backward.

The plain compositions (``plain_mlp``, ``plain_tail``) say what is computed. The fused ones give the same numbers with
intermediate values that stay in the cache and are computed again in the backward instead of being kept. They serve
eager float32 and float64 on the CPU; compiled graphs and GPUs run the plain ones, where fusion is the compiler's work.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import NWidthError
from .activations import ACTIVATIONS

SLICE = 2**18  # numbers of one intermediate field that are computed together: they stay in a core's cache


def plain_mlp(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, act: str) -> Tensor:
    """y = W2 s(W1 x + b1) + b2 at every point, x (..., C)."""
    return F.linear(ACTIVATIONS[act](F.linear(x, w1, b1)), w2, b2)


def plain_tail(
    k: Tensor,
    v: Tensor,
    skip: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    gate: Tensor,
    inner: str,
    outer: str,
) -> Tensor:
    """y = s(W2 t(W1 s(k + W v) + b1) + b2 + g v) at every point: all of an FNO block but the spectral part k.

    ``outer`` names s, ``inner`` t.
    """
    z = plain_mlp(ACTIVATIONS[outer](k + F.linear(v, skip)), w1, b1, w2, b2, inner)
    return ACTIVATIONS[outer](z + gate * v)


def fusible(x: Tensor, *acts: str) -> bool:
    """Whether the fused forms serve this input."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and all(a in VALUE for a in acts)
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
    )


def mlp(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, act: str) -> Tensor:
    """``plain_mlp``, fused where that serves.

    >>> x, w1, b1, w2, b2 = torch.randn(2, 9, 3), torch.randn(4, 3), torch.randn(4), torch.randn(2, 4), torch.randn(2)
    >>> bool(torch.allclose(mlp(x, w1, b1, w2, b2, "gelu"), plain_mlp(x, w1, b1, w2, b2, "gelu"), atol=1e-5))
    True
    """
    return (_MLP.apply if fusible(x, act) else plain_mlp)(x, w1, b1, w2, b2, act)


def tail(
    k: Tensor,
    v: Tensor,
    skip: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    gate: Tensor,
    inner: str,
    outer: str,
) -> Tensor:
    """``plain_tail``, fused where that serves. The fused form may write over ``k``: nothing else may use it."""
    chosen = _Tail.apply if fusible(v, inner, outer) else plain_tail
    return chosen(k, v, skip, w1, b1, w2, b2, gate, inner, outer)


class _MLP(torch.autograd.Function):
    """Keeps x and the hidden layer before its activation."""

    @staticmethod
    def forward(ctx, x, w1, b1, w2, b2, act):
        ctx.act = act
        rows = x.reshape(-1, x.shape[-1])
        y, hidden = x.new_empty(len(rows), len(w2)), x.new_empty(len(rows), len(w1))
        value = _buffer(rows, len(w1))
        for s in _slices(rows, len(w1)):
            h = torch.addmm(b1, rows[s], w1.mT, out=hidden[s])
            torch.addmm(b2, VALUE[act](h, value[: len(h)]), w2.mT, out=y[s])
        ctx.save_for_backward(x, w1, b1, w2, b2, hidden)
        return y.view(*x.shape[:-1], len(w2))

    @staticmethod
    def backward(ctx, g):
        x, w1, b1, w2, b2, hidden = ctx.saved_tensors
        _once()
        rows, g = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
        dx = torch.empty_like(rows) if ctx.needs_input_grad[0] else None
        db1, dw2, db2 = (torch.zeros_like(p) for p in (b1, w2, b2))
        few = rows.shape[1] < len(w1)  # a product is several times faster with its short side first
        dw1 = torch.zeros_like(w1.mT if few else w1, memory_format=torch.contiguous_format)
        work, one = _buffer(rows, len(w1)), x.new_ones(_step(rows, len(w1)))
        for s in _slices(rows, len(w1)):
            h, ones = hidden[s], one[: s.stop - s.start]
            dw2.addmm_(g[s].mT, VALUE[ctx.act](h, work[: len(h)]))
            db2.addmv_(g[s].mT, ones)
            d = torch.mm(g[s], w2, out=work[: len(h)])
            d = PULL[ctx.act](d, h, d)
            dw1.addmm_(*((rows[s].mT, d) if few else (d.mT, rows[s])))
            db1.addmv_(d.mT, ones)
            if dx is not None:
                torch.mm(d, w1, out=dx[s])
        dw1 = dw1.mT if few else dw1
        return None if dx is None else dx.view(x.shape), dw1, db1, dw2, db2, None


class _Tail(torch.autograd.Function):
    """Keeps v and the three fields before their activations; the first takes the place of k."""

    @staticmethod
    def forward(ctx, k, v, skip, w1, b1, w2, b2, gate, inner, outer):
        ctx.inner, ctx.outer = inner, outer
        width = v.shape[-1]
        rows, first = v.reshape(-1, width), k.detach().reshape(-1, width)
        y, hidden = torch.empty_like(rows), rows.new_empty(len(rows), len(w1))
        last = y if outer == "identity" else torch.empty_like(rows)
        a, b = _buffer(rows, width), _buffer(rows, len(w1), width)
        for s in _slices(rows, width):
            n = s.stop - s.start
            p = first[s].addmm_(rows[s], skip.mT)
            h = torch.addmm(b1, VALUE[outer](p, a[:n]), w1.mT, out=hidden[s])
            z = torch.addmm(b2, VALUE[inner](h, b[:n]), w2.mT, out=last[s])
            VALUE[outer](z.addcmul_(rows[s], gate), y[s])
        kept = None if last is y else last
        ctx.save_for_backward(first, v, skip, w1, b1, w2, b2, gate, hidden, kept)
        return y.view(v.shape)

    @staticmethod
    def backward(ctx, g):
        first, v, skip, w1, b1, w2, b2, gate, hidden, last = ctx.saved_tensors
        inner, outer = ctx.inner, ctx.outer
        _once()
        width = v.shape[-1]
        rows, g = v.reshape(-1, width), g.reshape(-1, width)
        dk, dv = v.new_empty(v.shape), v.new_empty(v.shape)  # returned whole: autograd adds in place where no view is
        k_rows, v_rows = dk.view(rows.shape), dv.view(rows.shape)
        grads = [torch.zeros_like(p) for p in (skip, w1, b1, w2, b2, gate)]
        dskip, dw1, db1, dw2, db2, dgate = grads
        wide, spare, narrow = _buffer(rows, width), _buffer(rows, width), _buffer(rows, len(w1), width)
        one = v.new_ones(_step(rows, width))
        for s in _slices(rows, width):
            n = s.stop - s.start
            p, x, h, ones = first[s], rows[s], hidden[s], one[:n]
            d = g[s] if last is None else PULL[outer](g[s], last[s], wide[:n])
            dgate.addmv_(torch.mul(d, x, out=spare[:n]).mT, ones)
            torch.mul(d, gate, out=v_rows[s])
            dw2.addmm_(d.mT, VALUE[inner](h, narrow[:n]))
            db2.addmv_(d.mT, ones)
            dh = torch.mm(d, w2, out=narrow[:n])
            dh = PULL[inner](dh, h, dh)
            dw1.addmm_(dh.mT, VALUE[outer](p, wide[:n]))
            db1.addmv_(dh.mT, ones)
            da = torch.mm(dh, w1, out=k_rows[s])
            da = PULL[outer](da, p, da)
            dskip.addmm_(da.mT, x)
            v_rows[s].addmm_(da, skip)
        return dk, dv, *grads, None, None


def _step(rows: Tensor, width: int) -> int:
    return min(len(rows), max(256, SLICE // width))


def _slices(rows: Tensor, width: int) -> Iterator[slice]:
    step = _step(rows, width)
    return (slice(i, min(i + step, len(rows))) for i in range(0, len(rows), step))


def _buffer(rows: Tensor, channels: int, width: int | None = None) -> Tensor:
    return rows.new_empty(_step(rows, channels if width is None else width), channels)


def _once() -> None:
    if torch.is_grad_enabled():
        raise NWidthError(
            "backward of a fused block",
            got="create_graph=True",
            expected="one derivative",
            fix="build the network with fused=False to differentiate it twice",
        )


_aten = torch.ops.aten
VALUE = {
    "gelu": lambda p, out: _aten.gelu.out(p, out=out),
    "relu": lambda p, out: torch.clamp_min(p, 0, out=out),
    "silu": lambda p, out: _aten.silu.out(p, out=out),
    "identity": lambda p, out: p,
}
PULL = {
    "gelu": lambda g, p, out: _aten.gelu_backward.grad_input(g, p, grad_input=out),
    "relu": lambda g, p, out: _aten.threshold_backward.grad_input(g, p, 0, grad_input=out),
    "silu": lambda g, p, out: _aten.silu_backward.grad_input(g, p, grad_input=out),
    "identity": lambda g, p, out: g,
}
