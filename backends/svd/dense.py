"""The singular values of a matrix in memory to full accuracy, and the signs of singular vectors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from ...errors import NWidthError


class SVD(NamedTuple):
    """a = U diag(s) Vh with s descending, U (..., m, r), s (..., r), Vh (..., r, n)."""

    U: Tensor
    s: Tensor
    Vh: Tensor

    @property
    def H(self) -> SVD:
        """The decomposition of the adjoint a*."""
        return SVD(self.Vh.mH, self.s, self.U.mH)


def exact_svd(a: Tensor) -> SVD:
    """QR (or LQ) where ``a`` is not square, then the decomposition of the small factor: errors of eps max(s)."""
    m, n = a.shape[-2:]
    if m < n:
        return exact_svd(a.mH).H
    if m == n:
        return dense_svd(a)
    Q, R = torch.linalg.qr(a)
    U, s, Vh = dense_svd(R)
    return SVD(Q @ U, s, Vh)


def dense_svd(a: Tensor) -> SVD:
    """The library's driver, and LAPACK's QR iteration where that does not converge."""
    try:
        return SVD(*torch.linalg.svd(a, full_matrices=False))
    except torch.linalg.LinAlgError:
        flat = a.detach().cpu().resolve_conj().reshape(-1, *a.shape[-2:]).numpy()
        parts = [scipy.linalg.svd(x, full_matrices=False, lapack_driver="gesvd") for x in flat]
        U, s, Vh = (torch.from_numpy(np.stack(p)).to(a.device) for p in zip(*parts))
        lead = a.shape[:-2]
        return SVD(U.reshape(*lead, *U.shape[1:]), s.reshape(*lead, -1), Vh.reshape(*lead, *Vh.shape[1:]))


def exact_values(a: Tensor) -> Tensor:
    """Singular values alone, by QR without Q."""
    m, n = a.shape[-2:]
    if m < n:
        a, m, n = a.mH, n, m
    small = torch.linalg.qr(a, mode="r").R if m > n else a
    try:
        return torch.linalg.svdvals(small)
    except torch.linalg.LinAlgError:
        return dense_svd(small).s


def fix_signs(U: Tensor, Vh: Tensor) -> tuple[Tensor, Tensor]:
    """The same product with the entry of largest modulus in each column of U positive."""
    peak = U.gather(-2, U.abs().argmax(-2, keepdim=True))
    phase = torch.where(peak == 0, torch.ones_like(peak), torch.sgn(peak))
    return U * phase.conj(), phase.mT * Vh


def across(a: Tensor, x: Tensor) -> Tensor:
    """a x for tall a and small x as (x* a*)*: twice as fast, and the next such product again."""
    return (x.mH @ a.mH).mH


def squared_norms(a: Tensor) -> Tensor:
    """Squared Frobenius norms (...), in double precision."""
    return torch.linalg.vector_norm(a, dim=(-2, -1), dtype=_wide(a.dtype)).square()


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.complex128 if dtype.is_complex else torch.float64


def require_finite(call: str, a: Tensor) -> None:
    """Raise NWidthError for NaN or infinite entries; a sum sees them faster than a look at each."""
    if not bool(torch.isfinite(a.sum())) and not bool(torch.isfinite(a).all()):
        raise NWidthError(call, got="NaN or infinite entries", expected="finite numbers", fix="clean the data first")
