"""The truncated singular value decomposition, by the method that the accuracy asked for allows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...errors import NWidthError
from .dense import SVD, exact_svd, exact_values, fix_signs, require_finite, squared_norms
from .gram import gram_svd
from .randomized import adaptive_svd, randomized_svd
from .ranks import truncation_rank
from .weights import Weight, inner_product

METHODS = ("auto", "exact", "gram", "randomized")
_GRAM_TAIL = 1e-6  # the smallest relative tail that auto leaves to methods that square the data


def svd(
    a: Tensor,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    energy: float | None = None,
    weight: Weight = None,
    method: str = "auto",
    power: int | None = None,
    oversample: int | None = None,
    generator: torch.Generator | None = None,
) -> SVD:
    """Truncated singular value decomposition of one matrix or a batch (..., m, n), real or complex.

    With ``weight`` W, an inner product on the m rows (``inner_product`` lists the forms), U is W-orthonormal,
    U* W U = I, and the truncation is the best in the norm of W (Eckart-Young in the weighted norm).

    ==========  ==========================================================================================
    method      what is computed
    ==========  ==========================================================================================
    exact       QR (or LQ) first where the matrix is not square, then the SVD of the small factor; falls back
                to QR-iteration LAPACK where divide and conquer fails to converge
    gram        eigenvectors of the smaller of a*a, aa* (only the leading ones where a small ``rank`` is given),
                then one Rayleigh-Ritz step. U and V are orthonormal to eps; in double precision what lies below
                sqrt(eps) max(s) is lost, and a rank or tolerance that needs it is an error
    randomized  range finder with power iterations, ``power`` of them or as many as the spectrum needs (1 to 4),
                and ``oversample`` extra columns, 10 + rank / 10 unless given (Halko, Martinsson and Tropp 2011); by
                ``rank``, or by ``rtol`` or ``energy`` alone down to a tail of 1e-6
    auto        randomized where the rank asked for is below a fifth of the smaller side of a large matrix. Without
                a rank, for tails of at least 1e-6 (1e-2 in single precision): gram on large matrices with one side
                4 times the other, randomized on others as long as the rank proves small. Exact otherwise
    ==========  ==========================================================================================

    Rank rules are those of ``truncation_rank``; over a batch the largest rank is kept. Signs are fixed: the entry of
    largest modulus in each column of U is positive, so the result does not depend on the method or device. Errors of
    s are a few eps max(s), in single precision 1e-6 max(s): smaller values are noise.

    Raises NWidthError for non-finite entries, an unknown method, a rank above the data's, a weight that is not
    positive, an accuracy that the method cannot give.

    >>> U, s, Vh = svd(torch.diag(torch.tensor([3.0, 2.0, 1.0])), rank=2)
    >>> s.tolist()
    [3.0, 2.0]
    """
    if method not in METHODS:
        raise NWidthError("svd", got=f"method={method!r}", expected="one of " + ", ".join(METHODS))
    if a.ndim < 2 or 0 in a.shape[-2:]:
        raise NWidthError("svd", got=f"shape {tuple(a.shape)}", expected="(..., m, n) with entries")
    require_finite("svd", a)
    m, n = a.shape[-2:]
    if rank is not None and not 1 <= rank <= min(m, n):
        raise NWidthError(
            "svd",
            got=f"rank={rank} for a {m} x {n} matrix",
            expected=f"1 to {min(m, n)}",
            fix="lower the rank or add samples",
        )
    if oversample is None:
        oversample = 10 + (rank or 0) // 10
    product = inner_product(weight, a.shape, a)
    scaled = product.root(a)
    found, whole = _factors(scaled, rank, _tail(rtol, energy), method, power, oversample, generator)
    total = None if whole else squared_norms(scaled)
    keep = truncation_rank(found.s, rank=rank, rtol=rtol, energy=energy, total=total)
    U, s, Vh = found.U[..., :keep], found.s[..., :keep], found.Vh[..., :keep, :]
    if method == "gram":
        _require_seen(s, rank)
    U, Vh = fix_signs(product.unroot(U), Vh)
    return SVD(U, s, Vh)


def singular_values(a: Tensor, weight: Weight = None) -> Tensor:
    """All singular values of (..., m, n), descending, in the norm of ``weight``."""
    require_finite("singular_values", a)
    return exact_values(inner_product(weight, a.shape, a, "singular_values").root(a))


def _factors(
    a: Tensor,
    rank: int | None,
    tail: float | None,
    method: str,
    power: int | None,
    oversample: int,
    generator: torch.Generator | None,
) -> tuple[SVD, bool]:
    """Factors, and whether they hold the whole spectrum."""
    small, large = sorted(a.shape[-2:])
    if method == "randomized" and rank is None:
        if tail is None:
            raise NWidthError("svd", got="method='randomized' without a rank", expected="rank=..., rtol= or energy=")
        _require_visible(tail, a.dtype, method)
        return adaptive_svd(a, tail, small, generator) or exact_svd(a), False
    if method == "gram" and tail is not None:
        _require_visible(tail, a.dtype, method)
    if method == "auto":
        method = "exact"
        if small >= 200 and rank is not None and 5 * (rank + oversample) < small:
            method = "randomized"
        elif small >= 200 and rank is None and tail is not None and tail >= _least_tail(a.dtype):
            if large >= 4 * small:
                method = "gram"
            elif (found := adaptive_svd(a, tail, small // 5, generator)) is not None:
                return found, False
    if method == "randomized":
        assert rank is not None
        return randomized_svd(a, rank, power, oversample, generator), False
    if method == "gram":
        # the tail of what is left out is a difference of squares, for which single precision is too coarse
        part = tail if rank is None and tail is not None and tail >= _least_tail(a.dtype) else None
        return gram_svd(a, rank, part), rank is None and part is None
    return exact_svd(a), True


def _tail(rtol: float | None, energy: float | None) -> float | None:
    """The relative tail that a tolerance leaves; the larger of two, since the smaller rank holds."""
    given = [] if rtol is None else [rtol]
    if energy is not None:
        given.append(math.sqrt(max(1 - energy, 0.0)))
    return max(given, default=None)


def _least_tail(dtype: torch.dtype) -> float:
    return 1e-2 if dtype in (torch.float32, torch.complex64) else _GRAM_TAIL


def _require_visible(tail: float, dtype: torch.dtype, method: str) -> None:
    single = dtype in (torch.float32, torch.complex64)
    least = 1e-5 if single and method == "gram" else _least_tail(dtype)
    if tail < least:
        raise NWidthError(
            "svd",
            got=f"method={method!r} for a tail of {tail:.0e}",
            expected=f"{least:.0e} or more in {str(dtype).removeprefix('torch.')}",
            fix="method='exact' sees all digits",
        )


def _require_seen(s: Tensor, rank: int | None) -> None:
    """An explicit rank by the Gram matrix must not reach into the part of the spectrum that it lost."""
    if rank is None or s.dtype != torch.float64:
        return
    ratio = s[..., -1] / s[..., 0].clamp_min(1e-300)
    lost = (ratio < 1e-7) & (ratio > 10 * torch.finfo(s.dtype).eps * s.shape[-1])  # below that it is zero
    if s.shape[-1] == rank and bool(lost.any()):
        raise NWidthError(
            "svd",
            got=f"method='gram' for singular values down to {float(ratio[lost].min()):.0e} of the largest",
            expected="1e-7 or more",
            fix="method='randomized' or 'exact'",
        )
