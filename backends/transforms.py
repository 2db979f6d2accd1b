"""Truncated spectral transforms on tensor-product grids: one basis per axis, only the kept modes are computed."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import NWidthError
from .bases import Basis, ChebyshevBasis, CosineBasis, ExtendedFourierBasis, FourierBasis, SineBasis, table
from .grid import Axis, Grid
from .spectral_paths import analyse, apply_matrix, axis_operator, convolve, prefer_matmul, real_dtype, synthesise, to_complex

__all__ = [
    "Basis", "ChebyshevBasis", "CosineBasis", "ExtendedFourierBasis", "Fourier", "FourierBasis", "SineBasis",
    "Transform", "convolve",
]

METHODS = ("auto", "matmul", "pruned", "full")
Modes = int | Sequence[int] | None


class Transform:
    """u(x) = sum_k c_k phi_k1(x_1) ... phi_kd(x_d), and the coefficients c of point values u.

    ``forward`` and ``inverse`` are a pair: coefficients are those of the function, not of the array (for Fourier and
    cosine bases c_0 is the mean), so they do not depend on the resolution, and ``inverse`` onto another shape is a
    change of resolution. Truncation keeps the low modes. With ``modes`` m a Fourier axis keeps the integer frequencies
    -(m//2) .. (m-1)//2 in ascending order, except the last Fourier axis of real data, which keeps 0 .. m//2; a
    cosine, sine or Chebyshev axis keeps its first m functions.

    Parameters
    ----------
    bases : one basis per space axis (the last axes of the tensors).
    real : whether point values are real. Then the last Fourier axis stores half of its frequencies.
    lengths : physical length of each axis, used by ``derivative`` (default 1).

    Methods of computing, all equal to round-off: ``matmul`` (products with small matrices that hold the kept modes),
    ``pruned`` (FFT of one axis after the other, each on the modes kept so far), ``full`` (FFT of everything, then
    truncation: the reference). ``auto`` takes, for each axis, matmul while few modes are kept and the FFT otherwise.
    Half precision is computed in float32 with autocast off. Under torch.set_float32_matmul_precision("high") or
    "medium" the products of float32 data have fewer digits on hardware that supports it; ``pruned`` does not.

    >>> grid = Grid.make((8, 6))
    >>> t = Transform.for_grid(grid)
    >>> x, y = grid.coordinates()
    >>> u = 1 + torch.cos(2 * torch.pi * (x + y))
    >>> c = t.forward(u, modes=(4, 4))
    >>> tuple(c.shape), round(float(c[2, 0].real), 6), round(float(c[3, 1].real), 6)
    ((4, 3), 1.0, 0.5)
    >>> tuple(t.inverse(c, (16, 12)).shape)
    (16, 12)
    """

    def __init__(self, bases: Sequence[Basis], *, real: bool = True, lengths: Sequence[float] | None = None):
        bases = tuple(bases)
        if not bases or not all(isinstance(b, Basis) for b in bases):
            raise NWidthError("Transform", got=f"bases={bases!r}", expected="one basis or more, such as FourierBasis()")
        fourier = [i for i, b in enumerate(bases) if isinstance(b, FourierBasis)]
        half = fourier[-1] if real and fourier else None
        self.bases = tuple(
            replace(b, half=i == half) if isinstance(b, FourierBasis) else b for i, b in enumerate(bases)
        )
        self.real = real
        self.lengths = tuple(lengths) if lengths is not None else (1.0,) * len(bases)
        if len(self.lengths) != len(bases):
            raise NWidthError("Transform", got=f"{len(self.lengths)} lengths", expected=f"{len(bases)}, one per axis")

    @classmethod
    def for_grid(cls, grid: Grid, *, extension: float | None = None, real: bool = True) -> Transform:
        """The bases that suit a grid: Fourier on periodic axes, cosine on nodal and cell axes, Chebyshev on its points.

        With ``extension`` given, every axis that is not periodic gets a Fourier basis of period
        (1 + extension) x its length at the physical points instead (see ``ExtendedFourierBasis``).
        """
        if not isinstance(grid, Grid):
            raise NWidthError("Transform.for_grid", got=type(grid).__name__, expected="a Grid of tensor-product axes")
        bases = [_basis_for(axis, extension) for axis in grid.axes]
        return cls(bases, real=real, lengths=[axis.length for axis in grid.axes])

    def __repr__(self) -> str:
        return f"Transform({', '.join(b.name for b in self.bases)}, real={self.real})"

    @property
    def ndim(self) -> int:
        return len(self.bases)

    @property
    def complex(self) -> bool:
        """Whether coefficients are complex."""
        return any(b.complex for b in self.bases) or not self.real

    def modes_for(self, shape: Sequence[int], modes: Modes = None) -> tuple[int, ...]:
        """Modes per axis, checked against the grid; None is all that the points determine."""
        shape = self._shape("Transform", shape)
        limits = [b.limit(n) for b, n in zip(self.bases, shape)]
        if modes is None:
            return tuple(limits)
        per_axis = (modes,) * self.ndim if isinstance(modes, int) else tuple(operator.index(m) for m in modes)
        if len(per_axis) != self.ndim:
            raise NWidthError("modes", got=f"{len(per_axis)} numbers {per_axis}", expected=f"{self.ndim}, one per axis")
        for i, (m, limit, n) in enumerate(zip(per_axis, limits, shape)):
            if not 1 <= m <= limit:
                raise NWidthError(
                    f"modes of axis {i} ({self.bases[i].name})", got=str(m), expected=f"1 to {limit} on {n} points",
                    fix="lower modes",
                )
        return per_axis

    def counts(self, modes: Sequence[int]) -> tuple[int, ...]:
        """Shape of the coefficients of these modes."""
        return tuple(b.count(m) for b, m in zip(self.bases, modes))

    def zero_mode(self, modes: Sequence[int]) -> int:
        """Place of the constant among the flattened coefficients of these modes."""
        place = 0
        for b, m in zip(self.bases, modes):
            place = place * b.count(m) + b.offset(m, 1)
        return place

    def frequencies(self, modes: int | Sequence[int]) -> list[Tensor]:
        """Integer frequency (cosine, sine: half waves; Chebyshev: degree) of the coefficients along each axis."""
        per_axis = (modes,) * self.ndim if isinstance(modes, int) else tuple(modes)
        return [b.frequencies(m) for b, m in zip(self.bases, per_axis)]

    def forward(self, u: Tensor, modes: Modes = None, method: str = "auto") -> Tensor:
        """Coefficients (..., *counts(modes)) of point values u (..., *space)."""
        u = self._checked_values("Transform.forward", u)
        shape = self._shape("Transform.forward", u.shape[-self.ndim :])
        modes = self.modes_for(shape, modes)
        self._check_method(method)
        computed = self.modes_for(shape) if method == "full" else modes
        with torch.autocast(u.device.type, enabled=False):
            c = u
            for i in reversed(range(self.ndim)):
                matmul = self._by_matmul(i, shape[i], modes[i], method)
                c = analyse(self.bases[i], c, u.ndim - self.ndim + i, computed[i], matmul)
            return self.crop(c, computed, modes) if method == "full" else c

    def inverse(self, c: Tensor, shape: Sequence[int], modes: Modes = None, method: str = "auto") -> Tensor:
        """Point values (..., *shape) of coefficients c (..., *counts(modes)).

        Modes that the grid of this shape cannot hold are dropped. ``modes`` is read from c; if given, c must fit it.
        """
        shape = self._shape("Transform.inverse", shape)
        self._check_method(method)
        held = self._modes_of(c, modes)
        modes = tuple(min(m, b.limit(n)) for m, b, n in zip(held, self.bases, shape))
        c = c.to(torch.float32) if c.dtype in (torch.float16, torch.bfloat16) else c
        c = to_complex(c) if self.complex else c
        with torch.autocast(c.device.type, enabled=False):
            u = self.crop(c, held, modes)
            for i in range(self.ndim):
                matmul = self._by_matmul(i, shape[i], modes[i], method)
                u = synthesise(self.bases[i], u, c.ndim - self.ndim + i, modes[i], shape[i], matmul)
            return u

    def crop(self, c: Tensor, modes: Sequence[int], kept: Sequence[int]) -> Tensor:
        """The coefficients of the lower modes ``kept`` among those of ``modes``."""
        for i, (b, m, k) in enumerate(zip(self.bases, modes, kept)):
            if b.count(k) < b.count(m):
                c = c.narrow(c.ndim - self.ndim + i, b.offset(m, k), b.count(k))
        return c

    def resize(self, u: Tensor, shape: Sequence[int]) -> Tensor:
        """The interpolant of u on the grid of another shape; fewer points keep the modes that these can hold.

        An axis of even size splits its Nyquist mode evenly between +n/2 and -n/2, so real data stay real.
        """
        u = self._checked_values("Transform.resize", u)
        shape = self._shape("Transform.resize", shape)
        return self._axis_operators(u, shape, (0,) * self.ndim)

    def derivative(
        self, u: Tensor, order: int | Sequence[int], lengths: float | Sequence[float] | None = None
    ) -> Tensor:
        """d^|order| u / dx_1^order_1 ... dx_d^order_d of the interpolant, at the same points.

        ``lengths``: physical length of each axis (a Fourier axis: its period; default: those of the grid given to
        ``for_grid``, else 1). The odd derivative of a Nyquist mode is zero.

        >>> x = torch.arange(16) / 16 * 3.0
        >>> du = Fourier(1).derivative(torch.sin(2 * torch.pi * x / 3), 1, lengths=3.0)
        >>> bool(torch.allclose(du, 2 * torch.pi / 3 * torch.cos(2 * torch.pi * x / 3), atol=1e-5))
        True
        """
        u = self._checked_values("Transform.derivative", u)
        orders = (order,) * self.ndim if isinstance(order, int) else tuple(order)
        if lengths is None:
            lengths = self.lengths
        sizes = (lengths,) * self.ndim if isinstance(lengths, int | float) else tuple(lengths)
        if len(orders) != self.ndim or min(orders) < 0 or len(sizes) != self.ndim:
            raise NWidthError(
                "Transform.derivative", got=f"order={order}, lengths={lengths}",
                expected=f"{self.ndim} orders >= 0 and {self.ndim} lengths",
            )
        scale = 1.0
        for p, size in zip(orders, sizes):
            scale /= size**p
        return self._axis_operators(u, self._shape("", u.shape[-self.ndim :]), orders) * scale

    def product(self, u: Tensor, v: Tensor) -> Tensor:
        """u v without aliasing: both on 3/2 of the points, multiplied, truncated (Orszag's rule)."""
        if any(isinstance(b, SineBasis) for b in self.bases):
            raise NWidthError("Transform.product", got="a sine axis", expected="bases that contain their products")
        shape = u.shape[-self.ndim :]
        fine = tuple((3 * n + 1) // 2 for n in shape)
        return self.resize(self.resize(u, fine) * self.resize(v, fine), shape)

    def norm2(self, c: Tensor, shape: Sequence[int] | None = None) -> Tensor:
        """Mean of |u|^2 over the domain from its coefficients (Parseval), shape (...).

        ``shape``: the grid that c came from. Then a Nyquist mode of real data counts with its mean over the points,
        which is twice that over the domain, and the sum equals the mean of u^2 over a uniform grid.
        """
        held = self._modes_of(c, None)
        power = c
        for i, (b, m) in enumerate(zip(self.bases, held)):
            axis = c.ndim - self.ndim + i
            gram = table(b, "gram", 0, m, 0, real_dtype(c), c.device)
            if gram.ndim == 1 and shape is not None and b.complex and 2 * (b.count(m) - 1) == shape[i] and b.half:
                gram = torch.cat([gram[:-1], 2 * gram[-1:]])
            power = apply_matrix(torch.diag(gram) if gram.ndim == 1 else gram, power, axis)
        dims = tuple(range(-self.ndim, 0))
        return (c.conj() * power).real.sum(dims) if c.is_complex() else (c * power).sum(dims)

    def _axis_operators(self, u: Tensor, shape: Sequence[int], orders: Sequence[int]) -> Tensor:
        """Interpolate and differentiate one axis after the other, as real operators on point values."""
        if u.is_complex():
            parts = [self._axis_operators(part, shape, orders) for part in (u.real, u.imag)]
            return torch.complex(*parts)
        with torch.autocast(u.device.type, enabled=False):
            for i, (n, p) in enumerate(zip(shape, orders)):
                axis = u.ndim - self.ndim + i
                if n != u.shape[axis] or p > 0:
                    u = axis_operator(self.bases[i], u, axis, n, p)
        return u

    def _by_matmul(self, i: int, n: int, m: int, method: str) -> bool:
        basis = self.bases[i]
        if method == "auto":
            return prefer_matmul(basis, n, m)
        if method != "matmul" and not basis.fast:
            raise NWidthError(f"Transform on {basis.name}", got=f"method={method!r}", expected="'matmul' or 'auto'")
        return method == "matmul"

    def _check_method(self, method: str) -> None:
        if method not in METHODS:
            raise NWidthError("Transform", got=f"method={method!r}", expected="one of " + ", ".join(METHODS))

    def _checked_values(self, call: str, u: Tensor) -> Tensor:
        if u.ndim < self.ndim:
            raise NWidthError(call, got=f"a tensor of shape {tuple(u.shape)}", expected=f"{self.ndim} space axes")
        if u.is_complex() and self.real:
            raise NWidthError(call, got=f"{u.dtype} values", expected="real values", fix="use real=False")
        if not u.is_floating_point() and not u.is_complex() or u.dtype in (torch.float16, torch.bfloat16):
            u = u.to(torch.float32)
        return u if self.real else to_complex(u)

    def _shape(self, call: str, shape: Sequence[int]) -> tuple[int, ...]:
        if len(shape) != self.ndim:
            raise NWidthError(call, got=f"shape {tuple(shape)}", expected=f"{self.ndim} sizes, one per axis")
        return tuple(operator.index(n) for n in shape)  # plain integers also under torch.compile

    def _modes_of(self, c: Tensor, modes: Modes) -> tuple[int, ...]:
        """Modes whose coefficients have the shape of c; a half axis of K coefficients has 2 (K - 1)."""
        counts = self._shape("Transform.inverse", c.shape[-self.ndim :])
        held = tuple(2 * (k - 1) if b.count(k) != k else k for b, k in zip(self.bases, counts))
        if modes is None:
            return held
        given = (modes,) * self.ndim if isinstance(modes, int) else tuple(modes)
        if len(given) != self.ndim or self.counts(given) != counts:
            raise NWidthError("Transform.inverse", got=f"coefficients of shape {counts}", expected=f"modes {given}")
        return given


def Fourier(ndim: int, *, real: bool = True, lengths: Sequence[float] | None = None) -> Transform:
    """Fourier on every axis."""
    return Transform([FourierBasis()] * ndim, real=real, lengths=lengths)


def _basis_for(axis: Axis, extension: float | None) -> Basis:
    if axis.kind == "periodic":
        return FourierBasis()
    if extension is not None:
        return ExtendedFourierBasis(axis=axis, extension=extension)
    if axis.kind == "listed":
        raise NWidthError(
            f"Transform on axis {axis.name!r}", got="listed points", expected="a periodic, nodal, cell or chebyshev axis",
            fix="interpolate the data, or give an extension",
        )
    return ChebyshevBasis() if axis.kind == "chebyshev" else CosineBasis(axis.kind)
