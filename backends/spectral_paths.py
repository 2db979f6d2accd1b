"""One axis at a time, from point values to coefficients and back: by a small matrix product or by an FFT.

These and ``pruned_ffts`` are the only calls of torch.fft in the package. All are compositions of linear operations with
constant factors, so the backward of autograd is the adjoint.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import NWidthError
from .bases import Basis, ChebyshevBasis, CosineBasis, ExtendedFourierBasis, FourierBasis, SineBasis, is_half
from .tables import table

# Measured by benchmarks/calibrate_transforms.py on one core: a product with the matrix of K kept
# coefficients beats the FFT of n points while K <= GEMM_WINS * log2(n).
GEMM_WINS = 4.0
LONGEST_OPERATOR = 128  # resize and derivative are one matrix product on axes up to this many points


def prefer_matmul(basis: Basis, n: int, m: int) -> bool:
    return not basis.fast or basis.count(m) <= GEMM_WINS * math.log2(max(n, 2))


def real_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype in (torch.float64, torch.complex128) else torch.float32


def to_complex(x: Tensor) -> Tensor:
    return x.to(torch.complex128 if real_dtype(x) == torch.float64 else torch.complex64)


def apply_matrix(matrix: Tensor, x: Tensor, axis: int) -> Tensor:
    """Contract ``x`` along ``axis`` (counted from the front) with the columns of ``matrix`` (p, n)."""
    if x.is_complex() and not matrix.is_complex():
        return torch.view_as_complex(apply_matrix(matrix, torch.view_as_real(x), axis).contiguous())
    if axis == x.ndim - 1:
        return (x.reshape(-1, x.shape[-1]) @ matrix.T).view(*x.shape[:-1], -1)
    front = x.movedim(axis, 0)
    return (matrix @ front.reshape(front.shape[0], -1)).view(-1, *front.shape[1:]).movedim(0, axis)


def analyse(basis: Basis, x: Tensor, axis: int, m: int, matmul: bool) -> Tensor:
    """Point values along ``axis`` to the coefficients of m modes."""
    n = operator.index(x.shape[axis])
    if not matmul:
        return _fft_analysis(basis, x, axis, m)
    matrix = table(basis, "analysis", n, m, 0, real_dtype(x), x.device)
    if not is_half(basis):
        return apply_matrix(matrix, x, axis)
    last = x.movedim(axis, -1)
    pairs = last.reshape(-1, n) @ matrix
    return torch.view_as_complex(pairs.view(*last.shape[:-1], -1, 2)).movedim(-1, axis)


def synthesise(basis: Basis, c: Tensor, axis: int, m: int, n: int, matmul: bool) -> Tensor:
    """Coefficients of m modes along ``axis`` to values at n points."""
    if not matmul:
        return _fft_synthesis(basis, c, axis, m, n)
    matrix = table(basis, "synthesis", n, m, 0, real_dtype(c), c.device)
    if not is_half(basis):
        return apply_matrix(matrix, c, axis)
    last = torch.view_as_real(c.movedim(axis, -1).contiguous())
    return (last.reshape(-1, 2 * last.shape[-2]) @ matrix).view(*last.shape[:-2], n).movedim(-1, axis)


def planned(
    basis: Basis, axis: int, m: int, n: int, matmul: bool
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """``analyse`` and ``synthesise`` for m modes and n points along ``axis``, counted from the back (negative): what
    there is to decide is decided once, for a loop of many small calls.
    """
    if matmul or not (isinstance(basis, FourierBasis) and basis.half) or 2 * (m // 2) == n:
        return (
            lambda x: analyse(basis, x, x.ndim + axis, m, matmul),
            lambda c: synthesise(basis, c, c.ndim + axis, m, n, matmul),
        )
    count = m // 2 + 1
    return (
        lambda x: torch.fft.rfft(x, dim=axis, norm="forward").narrow(axis, 0, count),
        lambda c: torch.fft.irfft(c, n=n, dim=axis, norm="forward"),
    )


def axis_operator(basis: Basis, u: Tensor, axis: int, n: int, order: int) -> Tensor:
    """Real values along ``axis`` to the order-th derivative of their interpolant at n points.

    A matrix for short axes and for derivatives of cosine, sine and Chebyshev series, an FFT for long ones.
    """
    if isinstance(basis, ExtendedFourierBasis):
        raise NWidthError(basis.name, got="resize or derivative", expected="a basis that interpolates its points")
    if isinstance(basis, FourierBasis):
        basis = replace(basis, half=True)
    old = operator.index(u.shape[axis])
    if not basis.fast or max(old, n) <= LONGEST_OPERATOR or (order > 0 and not isinstance(basis, FourierBasis)):
        return apply_matrix(table(basis, "operator", old, n, order, u.dtype, u.device), u, axis)
    m = min(basis.limit(old), basis.limit(n))
    c = _fft_analysis(basis, u, axis, m)
    if order > 0:
        k = torch.arange(c.shape[axis], dtype=u.dtype, device=u.device)
        symbol = (2j * math.pi * k) ** order
        c = c * symbol.view(-1, *(1,) * (c.ndim - 1 - axis))
    return _fft_synthesis(basis, c, axis, m, n)


def convolve(kernel: Tensor, u: Tensor, ndim: int) -> Tensor:
    """Circular convolution sum_j kernel_{i-j} u_j of real data over the last ndim axes: a circulant product.

    >>> convolve(torch.tensor([0.0, 1.0, 0.0]), torch.tensor([1.0, 2.0, 3.0]), 1).round().tolist()
    [3.0, 1.0, 2.0]
    """
    dims = tuple(range(-ndim, 0))
    spectrum = torch.fft.rfftn(kernel, dim=dims) * torch.fft.rfftn(u, dim=dims)
    return torch.fft.irfftn(spectrum, s=u.shape[-ndim:], dim=dims)


def _fft_analysis(basis: Basis, x: Tensor, axis: int, m: int) -> Tensor:
    n = x.shape[axis]
    if isinstance(basis, FourierBasis):
        if basis.half:
            c = torch.fft.rfft(x, dim=axis, norm="forward").narrow(axis, 0, m // 2 + 1)
            return _scale_nyquist(c, axis, n, 0.5)
        c = torch.fft.fft(x, dim=axis, norm="forward")
        return torch.cat([c.narrow(axis, n - m // 2, m // 2), c.narrow(axis, 0, m - m // 2)], axis)
    return _realwise(lambda v: _real_analysis(basis, v, m), x, axis)


def _fft_synthesis(basis: Basis, c: Tensor, axis: int, m: int, n: int) -> Tensor:
    if isinstance(basis, FourierBasis):
        if basis.half:
            return torch.fft.irfft(_scale_nyquist(c, axis, n, 2.0), n=n, dim=axis, norm="forward")
        low, high = c.narrow(axis, 0, m // 2), c.narrow(axis, m // 2, m - m // 2)
        gap = c.new_zeros(*c.shape[:axis], n - m, *c.shape[axis + 1 :])
        return torch.fft.ifft(torch.cat([high, gap, low], axis), dim=axis, norm="forward")
    return _realwise(lambda v: _real_synthesis(basis, v, n), c, axis)


def _scale_nyquist(c: Tensor, axis: int, n: int, factor: float) -> Tensor:
    """Scale the coefficient k = n/2 of a half axis, where it is among those kept."""
    k = c.shape[axis] - 1
    if 2 * k != n:
        return c
    return torch.cat([c.narrow(axis, 0, k), factor * c.narrow(axis, k, 1)], axis)


def _realwise(f, x: Tensor, axis: int) -> Tensor:
    """Apply a real linear map of the last axis to ``axis`` of real or complex data."""
    if x.is_complex():
        pairs = torch.view_as_real(x).movedim(axis, -1)
        return torch.view_as_complex(f(pairs).movedim(-1, axis).contiguous())
    return f(x.movedim(axis, -1)).movedim(-1, axis)


def _real_analysis(basis: Basis, u: Tensor, m: int) -> Tensor:
    """DCT and DST of the last axis by an FFT of the even or odd continuation."""
    n = u.shape[-1]
    if isinstance(basis, SineBasis):
        if basis.at == "cell":
            c = torch.fft.rfft(torch.cat([u, -u.flip(-1)], -1), norm="forward")[..., 1 : m + 1]
            c = -2 * (c * _phase(m, n, -1, u, first=1)).imag
            return torch.cat([c[..., :-1], c[..., -1:] / 2], -1) if m == n else c
        inner = u[..., 1:-1] if basis.at == "nodal" else u
        zero = torch.zeros_like(u[..., :1])
        odd = torch.cat([zero, inner, zero, -inner.flip(-1)], -1)
        return -2 * torch.fft.rfft(odd, norm="forward")[..., 1 : m + 1].imag
    if isinstance(basis, CosineBasis) and basis.at == "cell":
        return _cell_cosines(u, m)
    if isinstance(basis, ChebyshevBasis):
        u = u.flip(-1)  # increasing points run against the angle
    c = 2 * torch.fft.rfft(torch.cat([u, u[..., 1:-1].flip(-1)], -1), norm="forward")[..., :m].real
    ends = [c[..., :1] / 2, c[..., 1 : n - 1], c[..., n - 1 :] / 2]
    return torch.cat(ends, -1)


def _real_synthesis(basis: Basis, c: Tensor, n: int) -> Tensor:
    m = c.shape[-1]
    if isinstance(basis, SineBasis):
        zero = torch.zeros_like(c[..., :1])
        if basis.at == "cell":
            half = torch.cat([zero, c / 2], -1) * _phase(m + 1, n, 1, c)
            if m == n:
                half = torch.cat([half[..., :-1], half[..., -1:] * 2], -1)
            return torch.fft.irfft(-1j * half, n=2 * n, norm="forward")[..., :n]
        inner = n - 2 if basis.at == "nodal" else n
        odd = -0.5j * torch.cat([zero, c], -1)
        u = torch.fft.irfft(odd, n=2 * (inner + 1), norm="forward")[..., 1 : inner + 1]
        zero = torch.zeros_like(u[..., :1])
        return torch.cat([zero, u, zero], -1) if basis.at == "nodal" else u
    if isinstance(basis, CosineBasis) and basis.at == "cell":
        return _cell_values(c, n)
    half = torch.cat([c[..., :1], c[..., 1:] / 2], -1)
    if m == n:
        half = torch.cat([half[..., :-1], half[..., -1:] * 2], -1)
    u = torch.fft.irfft(to_complex(half), n=2 * (n - 1), norm="forward")[..., :n]
    return u.flip(-1) if isinstance(basis, ChebyshevBasis) else u


def _cell_cosines(u: Tensor, m: int) -> Tensor:
    """DCT-II by one FFT of the n values in the order 0, 2, 4, ..., 5, 3, 1 (Makhoul 1980, IEEE Trans. ASSP 28): with
    z_k = exp(-i pi k/(2n)) FFT_k the coefficients are c_k = 2 Re z_k and c_{n-k} = -2 Im z_k.
    """
    n = u.shape[-1]
    ordered = torch.cat([u[..., ::2], u[..., 1::2].flip(-1)], -1)
    z = torch.fft.rfft(ordered, norm="forward")
    low = min(m, n // 2 + 1)
    z = z[..., : max(low, n - n // 2)] * (2 * _phase(max(low, n - n // 2), n, -1, u))
    parts = [z.real[..., :1] / 2, z.real[..., 1:low]]
    if m > low:
        parts.append(-z.imag[..., n - m + 1 : n - n // 2].flip(-1))
    return torch.cat(parts, -1)


def _cell_values(c: Tensor, n: int) -> Tensor:
    """The inverse of ``_cell_cosines``, of m <= n coefficients."""
    m = c.shape[-1]
    low = min(m, n // 2 + 1)
    real = torch.cat([c[..., :1], c[..., 1:low] / 2], -1)
    if m > n - n // 2:
        real = torch.nn.functional.pad(real, (0, n // 2 + 1 - low))
        high = c[..., n - n // 2 :].flip(-1) / 2  # c_{n-k} for k = n-m+1 .. n//2
        z = torch.complex(real, -torch.nn.functional.pad(high, (n - m + 1, 0)))
    else:
        z = real
    ordered = torch.fft.irfft(z * _phase(z.shape[-1], n, 1, c), n=n, norm="forward")
    even, odd = ordered[..., : n - n // 2], ordered[..., n - n // 2 :].flip(-1)
    pairs = torch.stack([even[..., : n // 2], odd], -1).flatten(-2)
    return pairs if n % 2 == 0 else torch.cat([pairs, even[..., -1:]], -1)


def _phase(m: int, n: int, sign: int, like: Tensor, first: int = 0) -> Tensor:
    """exp(sign i pi k / (2n)): half a cell."""
    angle = torch.arange(first, first + m, dtype=like.dtype, device=like.device) * (sign * math.pi / (2 * n))
    return torch.polar(torch.ones_like(angle), angle)
