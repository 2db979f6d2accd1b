"""Truncated transforms of real periodic fields by FFTs of one axis after the other, each on the modes kept so far.

The backward is the adjoint at the cost of the forward, and keeps nothing: torch's own derivative of an FFT of real data
is an FFT of complex data, and keeps its input. The adjoint of an analysis is a synthesis up to the factors of the half
axis, where a coefficient 0 < k < n/2 stands for itself and its conjugate.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .bases import FourierBasis
from .modes import ModeLayout


def fourier_only(layout: ModeLayout) -> bool:
    """Whether values are real and every axis is a Fourier one: the layouts that these transforms serve."""
    return layout.real and all(isinstance(b, FourierBasis) for b in layout.bases)


def to_modes(layout: ModeLayout, x: Tensor, modes: Sequence[int]) -> Tensor:
    """Coefficients (N, *counts(modes)) of real point values x (N, *space): those of ``Transform.forward``.

    >>> from nwidth.backends.transforms import Fourier
    >>> x = torch.randn(5, 8, 6)
    >>> bool(torch.allclose(to_modes(Fourier(2), x, (4, 4)), Fourier(2).forward(x, (4, 4), "full"), atol=1e-6))
    True
    """
    return _ffts(x, True, tuple(x.shape[1:]), tuple(modes), True, 1.0, 0.5)


def to_points(layout: ModeLayout, c: Tensor, modes: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Real point values (N, *shape) of coefficients c (N, *counts(modes)): the inverse of ``to_modes``.

    ``modes`` must be held by the grid of this shape.
    """
    return _ffts(c, False, tuple(shape), tuple(modes), False, 1.0, 2.0)


def _ffts(
    x: Tensor, analysis: bool, shape: tuple[int, ...], modes: tuple[int, ...], mean: bool, inner: float, edge: float
) -> Tensor:
    apply = _FFTs.forward if torch.compiler.is_compiling() else _FFTs.apply  # a compiler derives by itself
    return apply(x, analysis, shape, modes, mean, inner, edge)


class _FFTs(torch.autograd.Function):
    """``_analyse`` or ``_synthesise``: the backward of each is the other with other factors of the half axis.

    An analysis sums over points w_k x exp(-i k s), or takes the mean; a synthesis adds Re(w_0 c_0) and, for
    0 < k < n/2, 2 Re(w_k c_k exp(i k s)). w is ``inner`` for 0 < k < n/2 and ``edge`` for k = n/2.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x, analysis, shape, modes, mean, inner, edge):
        return (_analyse if analysis else _synthesise)(x, shape, modes, "forward" if mean else "backward", inner, edge)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, ctx.analysis, *ctx.rest = inputs

    @staticmethod
    def backward(ctx, g: Tensor):
        shape, modes, mean, inner, edge = ctx.rest
        inner = inner / 2 if ctx.analysis else 2 * inner
        return _FFTs.apply(g, not ctx.analysis, shape, modes, mean, inner, edge), *([None] * 6)

    @staticmethod
    def jvp(ctx, x: Tensor, *rest):
        return _FFTs.forward(x, ctx.analysis, *ctx.rest)


def _analyse(x: Tensor, shape: Sequence[int], modes: Sequence[int], norm: str, inner: float, edge: float) -> Tensor:
    """The coefficients lie in memory with the modes first, as layers that multiply them want it."""
    d, half = len(shape), modes[-1] // 2 + 1
    c = torch.fft.rfft(x, dim=d, norm=norm).narrow(d, 0, half)
    for i in reversed(range(1, d)):
        c = torch.fft.fft(c, dim=i, norm=norm)
        if i > 1:
            c = torch.cat([c.narrow(i, *part) for _, part in _parts(shape[i - 1], modes[i - 1])], i)
    y = c.new_empty(*modes[:-1], half, len(c)).movedim(-1, 0)
    if d == 1:
        y.copy_(c)
    else:
        for kept, part in _parts(shape[0], modes[0]):
            y.narrow(1, *kept).copy_(c.narrow(1, *part))
    return _weigh(y, shape[-1], inner, edge)


def _synthesise(c: Tensor, shape: Sequence[int], modes: Sequence[int], norm: str, inner: float, edge: float) -> Tensor:
    """``norm`` is the one of the analysis whose adjoint this is."""
    norm = "backward" if norm == "forward" else "forward"
    for i, (n, m) in enumerate(zip(shape[:-1], modes), 1):
        wide = c.new_empty(*c.shape[:i], n, *c.shape[i + 1 :])
        for kept, part in _parts(n, m):
            wide.narrow(i, *part).copy_(c.narrow(i, *kept))
        wide.narrow(i, m - m // 2, n - m).zero_()
        c = torch.fft.ifft(wide, dim=i, norm=norm)
    own = c if len(shape) > 1 else c.clone()  # not the input
    return torch.fft.irfft(_weigh(own, shape[-1], inner, edge), n=shape[-1], dim=len(shape), norm=norm)


def _parts(n: int, m: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """(start, length) of k < 0 and of k >= 0 among m modes, and where they lie in an FFT of n points."""
    p = m // 2
    return [((0, p), (n - p, p)), ((p, m - p), (0, m - p))]


def _weigh(c: Tensor, n: int, inner: float, edge: float) -> Tensor:
    """c, its last axis multiplied in place by the factors of the half axis of n points."""
    nyquist = int(2 * (c.shape[-1] - 1) == n)
    if inner != 1:
        c.narrow(-1, 1, c.shape[-1] - 1 - nyquist).mul_(inner)
    if nyquist:
        c.narrow(-1, c.shape[-1] - 1, 1).mul_(edge)
    return c
