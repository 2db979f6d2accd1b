"""Singular values by the eigenvalues of a Gram matrix: fast, and blind below the root of the precision."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.linalg.blas
import torch
from torch import Tensor

from .dense import SVD, across, dense_svd

_ROWS = 2**16  # rows of single precision that are widened at a time


def gram_svd(a: Tensor, rank: int | None = None, tail: float | None = None) -> SVD:
    """Eigenvectors V of the smaller of a*a and aa*, then one Rayleigh-Ritz step: QR of a V, SVD of its R.

    With ``rank`` only that many pairs are computed where it is below a third of the smaller side (LAPACK's MRRR, on
    the CPU), with ``tail`` only as many as leave half of it by the eigenvalues. U and V are orthonormal to eps.

    The Gram matrix is formed in double precision. Squares of single-precision numbers are exact there, so that
    single-precision data lose nothing; double-precision data lose what lies below sqrt(eps) max(s) = 1.5e-8 max(s).
    """
    m, n = a.shape[-2:]
    if m < n:
        return gram_svd(a.mH, rank, tail).H
    values, V = _eigenpairs(gram(a), rank)
    if tail is not None:
        V = V[..., : _needed(values, tail)]
    V = V.to(a.dtype)
    Q, R = torch.linalg.qr(across(a, V))
    U, s, Wh = dense_svd(R)
    return SVD(Q @ U, s, Wh @ V.mH)


def gram(a: Tensor) -> Tensor:
    """a* a (..., n, n) in double precision."""
    wide = torch.complex128 if a.is_complex() else torch.float64
    if a.dtype == torch.float64 and a.device.type == "cpu" and a.ndim == 2:
        return _half(a.detach())
    if a.dtype == wide:
        return a.mH @ a
    total = torch.zeros(*a.shape[:-2], a.shape[-1], a.shape[-1], dtype=wide, device=a.device)
    for rows in a.split(_ROWS, -2):
        block = rows.to(wide)
        total += block.mH @ block
    return total


def _half(a: Tensor) -> Tensor:
    """a' a by the routine that computes one triangle, in half the time."""
    x = a.numpy() if a.is_contiguous() or a.mT.is_contiguous() else a.contiguous().numpy()
    G = scipy.linalg.blas.dsyrk(1.0, x.T) if x.flags.c_contiguous else scipy.linalg.blas.dsyrk(1.0, x, trans=1)
    upper = torch.from_numpy(G)
    return upper.triu() + upper.triu(1).mT


def _eigenpairs(G: Tensor, rank: int | None) -> tuple[Tensor, Tensor]:
    """Eigenvalues and orthonormal vectors of Hermitian G (..., n, n), largest first; ``rank`` of them or more."""
    n = G.shape[-1]
    if rank is None or G.device.type != "cpu" or G.ndim > 2 or 3 * rank >= n:
        values, vectors = torch.linalg.eigh(G)
        return values.flip(-1), vectors.flip(-1)
    top = [n - rank, n - 1]
    pairs = scipy.linalg.eigh(G.detach().resolve_conj().numpy(), subset_by_index=top, driver="evr", check_finite=False)
    values, vectors = (torch.from_numpy(np.ascontiguousarray(x[..., ::-1])) for x in pairs)
    return values, vectors


def _needed(values: Tensor, tail: float) -> int:
    """The fewest leading eigenvalues that leave half of the tail; the largest number over a batch."""
    squares = values.clamp_min(0)
    rest = squares.sum(-1, keepdim=True) - squares.cumsum(-1)
    enough = rest <= (0.5 * tail) ** 2 * squares.sum(-1, keepdim=True)
    return int(torch.where(enough.any(-1), enough.int().argmax(-1) + 1, values.shape[-1]).max())
