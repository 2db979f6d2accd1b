"""QR with column pivoting for batches of wide matrices: torch has none."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import NWidthError


class PivotedQR(NamedTuple):
    """A[..., pivots] = Q R[..., pivots], with R = Q* A: pivots (..., k), Q (..., d, k), R (..., k, n)."""

    pivots: Tensor
    Q: Tensor
    R: Tensor


def pivoted_qr(a: Tensor, rank: int | None = None) -> PivotedQR:
    """The first ``rank`` steps (all d without it) of QR with column pivoting of A (..., d, n), d <= n.

    Each step takes the column that is farthest from the span of those already taken (Businger and Golub 1965, Numer.
    Math. 7) and orthogonalises all others against it, twice for the new direction: modified Gram-Schmidt, vectorised
    over columns and batch. NWidthError where the columns have a smaller rank.

    >>> a = torch.tensor([[1.0, 0.0, 3.0], [0.0, 2.0, 4.0]])
    >>> pivoted_qr(a).pivots.tolist()
    [2, 1]
    """
    d, n = a.shape[-2:]
    rank = d if rank is None else rank
    if not 1 <= rank <= min(d, n):
        raise NWidthError("pivoted_qr", got=f"rank={rank} for a {d} x {n} matrix", expected=f"1 to {min(d, n)}")
    if not bool(torch.isfinite(a).all()):
        raise NWidthError("pivoted_qr", got="NaN or infinite entries", expected="finite entries")
    flat = a.reshape(-1, d, n)
    left, batch = flat.clone(), torch.arange(len(flat), device=a.device)
    q = torch.zeros(len(flat), d, rank, dtype=a.dtype, device=a.device)
    pivots = torch.zeros(len(flat), rank, dtype=torch.long, device=a.device)
    floor = 0.0
    for k in range(rank):
        sizes = left.abs().square().sum(1)
        sizes.scatter_(1, pivots[:, :k], -1.0)
        largest, j = sizes.max(1)
        if k == 0:
            floor = largest.sqrt() * (torch.finfo(a.dtype).eps * d)
        if bool((largest.sqrt() <= floor).any()):
            raise NWidthError(
                "pivoted_qr", got=f"columns of rank {k}", expected=f"rank {rank}", fix="remove dependent rows"
            )
        pivots[:, k] = j
        v = left[batch, :, j]
        before = q[:, :, :k]
        v = v - (before @ (before.mH @ v[..., None]))[..., 0]
        v = v / torch.linalg.vector_norm(v, dim=1, keepdim=True)
        q[:, :, k] = v
        left -= v[:, :, None] * (v.conj()[:, None] @ left)
    lead = a.shape[:-2]
    r = q.mH @ flat
    return PivotedQR(pivots.view(*lead, rank), q.view(*lead, d, rank), r.view(*lead, rank, n))
