"""Convolution by learned multipliers of the low modes: the linear layer of the Fourier neural operator."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..backends.channels_last import analyse_last, synthesise_last
from ..backends.real_products import matrices_pay
from ..backends.spectral_paths import real_dtype
from ..backends.transforms import Fourier, SineBasis, Transform
from ..errors import NWidthError
from .low_rank import LowRankWeight, Rank, low_rank

Change = tuple[Tensor, Tensor]


class SpectralConv(nn.Module):
    """y = b + sum_k (W_k x_k) phi_k over the kept modes: x_k coefficients of x, W_k matrices over channels.

    Li et al., Fourier neural operator for parametric PDEs, ICLR 2021, arXiv:2010.08895, eq. 4-5. The layer is a
    function of functions: at another resolution the same weights act on the same modes, and a coarser grid
    uses those that it can hold. With Fourier bases it equals neuraloperator's SpectralConv of equal ``modes``.

    Parameters
    ----------
    in_channels, out_channels : channels of x (B, C_in, *space) and y (B, C_out, *space).
    modes : one number per axis, see ``Transform`` (an int is one axis).
    bias : add a constant per output channel (in the zero mode, which costs nothing).
    transform : the bases; default Fourier on every axis. Cosine, sine and Chebyshev alone have real weights.
    init_std : standard deviation of |W|; the default keeps the variance: sqrt(2 / (C_in + C_out)), separable 1.
    method : how the transform is computed, see ``Transform``.
    generator : of the initial weights.
    factorization : none, tucker, cp or tt: W, as a tensor (C_in, C_out, *modes), is stored and applied as such a
        decomposition (``operators.low_rank``).
    rank : of the decomposition: a float is the share of the dense parameters that it has, an int one rank for all
        directions, a list one for each (tt: with a 1 at both ends).
    separable : one multiplier for each channel and mode, y_k = w_k x_k, in place of matrices; C_in = C_out.

    The dense weight is real, (modes, C_in, C_out, 2) for complex multipliers with the modes flattened in C order, so
    that .to(float64), sharding and optimisers see a plain tensor. Computed in float32 at least, autocast off;
    y has the dtype of x.

    >>> conv = SpectralConv(3, 5, (8, 8))
    >>> conv(torch.randn(2, 3, 16, 20)).shape, conv(torch.randn(2, 3, 16, 20), (32, 32)).shape
    (torch.Size([2, 5, 16, 20]), torch.Size([2, 5, 32, 32]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        modes: int | Sequence[int],
        *,
        bias: bool = True,
        transform: Transform | None = None,
        init_std: float | None = None,
        method: str = "auto",
        generator: torch.Generator | None = None,
        factorization: str = "none",
        rank: Rank = 0.5,
        separable: bool = False,
    ):
        super().__init__()
        self.modes = (modes,) if isinstance(modes, int) else tuple(int(m) for m in modes)
        self.active: tuple[int, ...] | None = None  # the modes that are computed, where not all are
        self.transform = transform or Fourier(len(self.modes))
        self.in_channels, self.out_channels, self.method = in_channels, out_channels, method
        if len(self.modes) != self.transform.ndim or min(self.modes) < 1:
            raise NWidthError(
                "SpectralConv",
                got=f"modes={modes}",
                expected=f"{self.transform.ndim} numbers >= 1, one per axis",
            )
        if bias and any(isinstance(b, SineBasis) for b in self.transform.bases):
            raise NWidthError("SpectralConv", got="bias on a sine axis", expected="bias=False: u = 0 at the ends")
        if separable and in_channels != out_channels:
            raise NWidthError(
                "SpectralConv", got=f"separable, {in_channels} to {out_channels} channels", expected="equal"
            )
        self.separable, channels = separable, (in_channels,) if separable else (in_channels, out_channels)
        std = math.sqrt(2 / (in_channels + out_channels)) if init_std is None else init_std
        if separable and init_std is None:
            std = 1.0
        complex, counts = self.transform.complex, self.transform.counts(self.modes)
        self.weight: nn.Parameter | LowRankWeight
        if factorization == "none":
            each = std / math.sqrt(2) if complex else std  # real and imaginary parts share the variance
            shape = (math.prod(counts), *channels, *((2,) if complex else ()))
            self.weight = nn.Parameter(each * torch.randn(shape, generator=generator))
        else:
            sizes = (*channels, *counts)
            self.weight = low_rank(factorization, sizes, rank, complex=complex, std=std, generator=generator)
        self.bias = nn.Parameter(std * torch.randn(out_channels, generator=generator)) if bias else None

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, modes={self.modes}, {self.transform!r}"

    def forward(self, x: Tensor, shape: Sequence[int] | None = None, change: Change | None = None) -> Tensor:
        """y (B, C_out, *shape) of x (B, C_in, *space); ``shape`` defaults to that of x.

        ``change`` = (g, h), each (B, C_out), gives (1 + g) y + h, at the cost of the coefficients only.
        """
        t, d = self.transform, self.transform.ndim
        kept = self._kept(x.shape[2:], x.shape[1], x)
        with torch.autocast(x.device.type, enabled=False):
            c = t.forward(x, kept, self.method).permute(*range(2, d + 2), 0, 1)  # space, batch, channel
            y = self._multiply(c.reshape(-1, *c.shape[-2:]), kept, change)
            y = y.view(*c.shape[:-1], self.out_channels).permute(d, d + 1, *range(d))
            y = t.inverse(y, x.shape[2:] if shape is None else shape, kept, self.method)
        return y.to(x.dtype)

    def last(self, x: Tensor, shape: Sequence[int] | None = None, change: Change | None = None) -> Tensor:
        """The same with the channels last: y (B, *shape, C_out) of x (B, *space, C_in)."""
        t, space = self.transform, x.shape[1:-1]
        shape = space if shape is None else shape
        kept = self._kept(space, x.shape[-1], x)
        if not matrices_pay(t, [*space, *shape], [*kept, *kept], self.method, last=True):
            return self(x.movedim(-1, 1), shape, change).movedim(1, -1)
        with torch.autocast(x.device.type, enabled=False):
            wide = x if x.dtype == torch.float64 else x.float()
            y = self._multiply(analyse_last(t, wide, kept), kept, change)
            held = tuple(min(m, b.limit(n)) for m, b, n in zip(kept, t.bases, shape))
            if held != kept:  # the grid of the answer is coarser than these modes
                y = t.crop(y.view(*t.counts(kept), -1).movedim(-1, 0), kept, held).movedim(0, -1)
                y = y.reshape(-1, len(x), self.out_channels)
            return synthesise_last(t, y, held, shape).to(x.dtype)

    def along(self, x: Tensor, axis: int) -> Tensor:
        """A layer of one axis applied along ``axis`` of x (B, *space, C_in), all others as they are; the channels last.

        >>> conv, x = SpectralConv(3, 5, 8), torch.randn(2, 6, 16, 3)
        >>> y = conv.along(x, 2)
        >>> bool(torch.allclose(y[:, 4], conv.last(x[:, 4]), atol=1e-6)), y.shape
        (True, torch.Size([2, 6, 16, 5]))
        """
        t, n = self.transform, x.shape[axis]
        (kept,) = self._kept([n], x.shape[-1], x)
        before, behind = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 : -1])
        with torch.autocast(x.device.type, enabled=False):
            wide = x if x.dtype == torch.float64 else x.float()
            lines = wide.reshape(before, n, behind * self.in_channels)
            products = matrices_pay(t, [n, n], [kept, kept], self.method, last=True)
            if products:
                c = analyse_last(t, lines, [kept])
            else:
                c = t.forward(lines.mT, [kept], self.method).movedim(-1, 0)
            y = self._multiply(c.reshape(len(c), before * behind, self.in_channels), (kept,))
            y = y.reshape(len(c), before, behind * self.out_channels)
            if products:
                y = synthesise_last(t, y, [kept], [n])
            else:
                y = t.inverse(y.movedim(0, -1), [n], [kept], self.method).mT
        return y.reshape(*x.shape[:-1], self.out_channels).to(x.dtype)

    def _kept(self, space: Sequence[int], channels: int, x: Tensor) -> tuple[int, ...]:
        """The modes that both the weights and these points have."""
        if len(space) != self.transform.ndim or channels != self.in_channels:
            raise NWidthError(
                "SpectralConv",
                got=f"x of shape {tuple(x.shape)}",
                expected=f"(batch, {self.in_channels} channels, {self.transform.ndim} space axes)",
            )
        modes = self.modes if self.active is None else self.active
        return tuple(min(m, limit) for m, limit in zip(modes, self.transform.modes_for(space)))

    def _multiply(self, x: Tensor, kept: tuple[int, ...], change: Change | None = None) -> Tensor:
        """W_k x_k for each mode: (K, B, C_out) from (K, B, C_in)."""
        t = self.transform
        if isinstance(self.weight, LowRankWeight):
            starts = [b.offset(m, k) for b, m, k in zip(t.bases, self.modes, kept)]
            y = self.weight(x.view(*t.counts(kept), *x.shape[1:]), starts, self.separable)
            y = y.reshape(-1, len(x[0]), self.out_channels)
        else:
            w = self._dense(self.weight.to(real_dtype(x)), kept)
            if self.separable:
                y = x * w[:, None]
            else:
                y = _ComplexProduct.apply(x, w) if t.complex else torch.bmm(x, w)
        if self.bias is not None:
            y[t.zero_mode(kept)] += self.bias.to(real_dtype(x))
        if change is not None:
            g, h = (p.to(real_dtype(x)) for p in change)
            y = y * (1 + g)
            y[t.zero_mode(kept)] += h
        return y

    def _dense(self, w: Tensor, kept: tuple[int, ...]) -> Tensor:
        """The weights of the kept modes, modes first."""
        t = self.transform
        w = torch.view_as_complex(w) if t.complex else w
        if kept == self.modes:
            return w
        channels = w.shape[1:]
        w = w.reshape(*t.counts(self.modes), -1).movedim(-1, 0)
        return t.crop(w, self.modes, kept).movedim(0, -1).reshape(-1, *channels)


class _ComplexProduct(torch.autograd.Function):
    """Batched x w whose backward conjugates the two small factors, where torch's own would copy conj(w)."""

    @staticmethod
    def forward(ctx, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return torch.bmm(x, w)

    @staticmethod
    def backward(ctx, g: Tensor):
        x, w = ctx.saved_tensors
        return torch.bmm(g.conj().resolve_conj(), w.mT).conj(), torch.bmm(x.mH.resolve_conj(), g)
