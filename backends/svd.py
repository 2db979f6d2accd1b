"""Singular values of batches of matrices: the one place that calls the library's SVD."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from ..errors import NWidthError

METHODS = ("auto", "exact", "gram", "randomized")


class SVD(NamedTuple):
    """a = U diag(s) Vh with s descending, U (..., m, r), s (..., r), Vh (..., r, n)."""

    U: Tensor
    s: Tensor
    Vh: Tensor


def truncation_rank(
    s: Tensor,
    *,
    rank: int | None = None,
    rtol: float | None = None,
    energy: float | None = None,
    total: Tensor | None = None,
) -> int:
    """How many singular values to keep; the one home of rank rules.

    - ``rank``: exactly so many; more than the data hold (values above round-off) is an error;
    - ``rtol``: the fewest with sqrt(sum_{i>r} s_i^2 / sum s_i^2) <= rtol (relative Frobenius error);
    - ``energy``: the fewest with sum_{i<=r} s_i^2 / sum s_i^2 >= energy;
    - none: the numerical rank, s_i > eps max(s) len(s), eps that of the dtype of s.

    Of several rules the smallest result holds. ``s`` may be a batch (..., k): the largest rank over it is returned.
    ``total`` (...) holds the squared Frobenius norms where ``s`` is not the whole spectrum.

    >>> truncation_rank(torch.tensor([1.0, 0.1, 0.01]), rtol=0.05)
    2
    """
    eps, k = torch.finfo(s.dtype).eps, s.shape[-1]
    if k == 0:
        raise NWidthError("truncation_rank", got="no singular values", expected="a matrix with entries")
    flat = s.detach().double().reshape(-1, k)
    numerical = int((flat > eps * k * flat[:, :1].clamp_min(1e-300)).sum(1).max())
    chosen = max(numerical, 1)
    if rank is not None:
        if not 1 <= rank <= chosen:
            raise NWidthError(
                "truncation_rank",
                got=f"rank={rank}",
                expected=f"1 to {chosen}, the rank of the data",
                fix="lower the rank or add samples",
            )
        chosen = rank
    squares = flat.square()
    kept = squares.flip(1).cumsum(1).flip(1)
    whole = kept[:, :1] if total is None else total.detach().double().reshape(-1, 1)
    tail = torch.cat([kept, torch.zeros_like(kept[:, :1])], 1) + (whole - kept[:, :1]).clamp_min(0)
    whole = whole.clamp_min(1e-300)
    for name, value in (("rtol", rtol), ("energy", energy)):
        if value is None:
            continue
        if not 0 <= value <= 1:
            raise NWidthError("truncation_rank", got=f"{name}={value}", expected="a number from 0 to 1")
        limit = value**2 * (1 + 1e-12) if name == "rtol" else 1 - value + 1e-16
        enough = tail / whole <= limit
        needed = torch.where(enough.any(1), enough.int().argmax(1), torch.full((len(flat),), k))
        chosen = min(chosen, max(int(needed.max()), 1))
    return chosen


def svd(
    a: Tensor,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    energy: float | None = None,
    weight: Tensor | None = None,
    method: str = "auto",
    power: int = 2,
    oversample: int = 10,
    generator: torch.Generator | None = None,
) -> SVD:
    """Truncated singular value decomposition of one matrix or a batch (..., m, n), real or complex.

    With ``weight`` W, positive (m,) for a diagonal or (m, m) for a symmetric positive definite inner product, U is
    W-orthonormal: U* W U = I, and the truncation is the best in the norm of W (Eckart-Young in the weighted norm).

    ==========  ==========================================================================================
    method      what is computed
    ==========  ==========================================================================================
    exact       QR (or LQ) first where the matrix is not square, then the SVD of the small factor; falls back
                to QR-iteration LAPACK where divide and conquer fails to converge
    gram        eigenvalues of the smaller of a*a, aa*, then one Rayleigh-Ritz step; everything below
                sqrt(eps) max(s) is lost
    randomized  range finder with ``power`` power iterations and ``oversample`` extra columns (Halko, Martinsson
                and Tropp 2011, algorithm 4.4); needs ``rank``
    auto        randomized where the rank asked for is below a fifth of the smaller side of a large matrix; gram
                where rtol >= 1e-5 in float64 on a large matrix far from square; exact otherwise
    ==========  ==========================================================================================

    Rank rules are those of ``truncation_rank``; over a batch the largest rank is kept. Signs are fixed: the entry of
    largest modulus in each column of U is positive, so the result does not depend on the method or device.

    Raises NWidthError for non-finite entries, an unknown method, a rank above the data's, a weight that is not
    positive.

    >>> U, s, Vh = svd(torch.diag(torch.tensor([3.0, 2.0, 1.0])), rank=2)
    >>> s.tolist()
    [3.0, 2.0]
    """
    if method not in METHODS:
        raise NWidthError("svd", got=f"method={method!r}", expected="one of " + ", ".join(METHODS))
    if a.ndim < 2 or 0 in a.shape[-2:]:
        raise NWidthError("svd", got=f"shape {tuple(a.shape)}", expected="(..., m, n) with entries")
    if not bool(torch.isfinite(a).all()):
        raise NWidthError("svd", got="NaN or infinite entries", expected="finite numbers", fix="clean the data first")
    m, n = a.shape[-2:]
    if rank is not None and not 1 <= rank <= min(m, n):
        raise NWidthError(
            "svd",
            got=f"rank={rank} for a {m} x {n} matrix",
            expected=f"1 to {min(m, n)}",
            fix="lower the rank or add samples",
        )
    scaled, unscale = _apply_weight(a, weight)
    if method == "auto":
        method = _choose(m, n, rank, rtol, energy, a.dtype)
    if method == "randomized":
        if rank is None:
            raise NWidthError("svd", got="method='randomized' without a rank", expected="rank=...")
        U, s, Vh = _randomized(scaled, rank, power, oversample, generator)
        total = torch.linalg.vector_norm(scaled, dim=(-2, -1)).square()
    else:
        U, s, Vh = (_gram if method == "gram" else _exact)(scaled)
        total = None
    keep = truncation_rank(s, rank=rank, rtol=rtol, energy=energy, total=total)
    U, s, Vh = U[..., :keep], s[..., :keep], Vh[..., :keep, :]
    U, Vh = _fix_signs(U, Vh)
    return SVD(unscale(U), s, Vh)


def singular_values(a: Tensor, weight: Tensor | None = None) -> Tensor:
    """All singular values of (..., m, n), descending, in the norm of ``weight``."""
    if not bool(torch.isfinite(a).all()):
        raise NWidthError("singular_values", got="NaN or infinite entries", expected="finite numbers")
    scaled, _ = _apply_weight(a, weight)
    m, n = scaled.shape[-2:]
    if m < n:
        scaled, m, n = scaled.mH, n, m
    small = torch.linalg.qr(scaled, mode="r").R if m > n else scaled
    try:
        return torch.linalg.svdvals(small)
    except torch.linalg.LinAlgError:
        return _dense_svd(small)[1]


def _choose(m: int, n: int, rank: int | None, rtol: float | None, energy: float | None, dtype: torch.dtype) -> str:
    small, large = min(m, n), max(m, n)
    if rank is not None and small >= 200 and 5 * (rank + 10) < small:
        return "randomized"
    if rank is None and energy is None and rtol is not None and rtol >= 1e-5 and dtype == torch.float64:
        return "gram" if small >= 200 and large >= 4 * small else "exact"
    return "exact"


def _apply_weight(a: Tensor, weight: Tensor | None):
    if weight is None:
        return a, lambda U: U
    weight = weight.to(device=a.device)
    m = a.shape[-2]
    if weight.shape == (m,):
        if not bool((weight > 0).all()):
            raise NWidthError("svd", got="weights that are zero or negative", expected="positive quadrature weights")
        root = weight.sqrt().to(a.dtype)[:, None]
        return a * root, lambda U: U / root
    if weight.shape != (m, m):
        raise NWidthError("svd", got=f"weight of shape {tuple(weight.shape)}", expected=f"({m},) or ({m}, {m})")
    L, info = torch.linalg.cholesky_ex(weight)
    if int(info):
        raise NWidthError(
            "svd",
            got="an inner product that is not positive definite",
            expected="a symmetric positive definite matrix",
            fix="add the missing boundary terms",
        )
    L = L.to(a.dtype)
    return L.mH @ a, lambda U: torch.linalg.solve_triangular(L.mH, U, upper=True)


def _exact(a: Tensor) -> SVD:
    m, n = a.shape[-2:]
    if m < n:
        V, s, Uh = _exact(a.mH)
        return SVD(Uh.mH, s, V.mH)
    if m == n:
        return _dense_svd(a)
    Q, R = torch.linalg.qr(a)
    U, s, Vh = _dense_svd(R)
    return SVD(Q @ U, s, Vh)


def _dense_svd(a: Tensor) -> SVD:
    try:
        return SVD(*torch.linalg.svd(a, full_matrices=False))
    except torch.linalg.LinAlgError:
        flat = a.detach().cpu().resolve_conj().reshape(-1, *a.shape[-2:]).numpy()
        parts = [scipy.linalg.svd(x, full_matrices=False, lapack_driver="gesvd") for x in flat]
        U, s, Vh = (torch.from_numpy(np.stack(p)).to(a.device) for p in zip(*parts))
        lead = a.shape[:-2]
        return SVD(U.reshape(*lead, *U.shape[1:]), s.reshape(*lead, -1), Vh.reshape(*lead, *Vh.shape[1:]))


def _gram(a: Tensor) -> SVD:
    m, n = a.shape[-2:]
    if m < n:
        V, s, Uh = _gram(a.mH)
        return SVD(Uh.mH, s, V.mH)
    _, V = torch.linalg.eigh(a.mH @ a)
    # Rayleigh-Ritz on the computed eigenvectors: orthonormalise a V, then the SVD of the small factor
    Q, R = torch.linalg.qr(a @ V.flip(-1))
    U, s, Wh = _dense_svd(R)
    return SVD(Q @ U, s, Wh @ V.flip(-1).mH)


def _randomized(a: Tensor, rank: int, power: int, oversample: int, generator: torch.Generator | None) -> SVD:
    m, n = a.shape[-2:]
    if m < n:
        V, s, Uh = _randomized(a.mH, rank, power, oversample, generator)
        return SVD(Uh.mH, s, V.mH)
    k = min(rank + oversample, n)
    if generator is None:
        generator = torch.Generator(device="cpu").manual_seed(0)
    sketch = torch.randn(n, k, generator=generator, dtype=torch.float64, device=generator.device)
    Q = torch.linalg.qr(a @ sketch.to(dtype=a.dtype, device=a.device)).Q
    for _ in range(power):
        Z = torch.linalg.qr(a.mH @ Q).Q
        Q = torch.linalg.qr(a @ Z).Q
    # QR of (Q* a)* keeps the small singular values that a product with its adjoint would lose
    V, s, Wh = _exact((Q.mH @ a).mH)
    return SVD(Q @ Wh.mH[..., :rank], s[..., :rank], V.mH[..., :rank, :])


def _fix_signs(U: Tensor, Vh: Tensor) -> tuple[Tensor, Tensor]:
    peak = U.gather(-2, U.abs().argmax(-2, keepdim=True))
    phase = torch.where(peak == 0, torch.ones_like(peak), torch.sgn(peak))
    return U * phase.conj(), phase.mT * Vh
