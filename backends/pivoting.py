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
    Math. 7), orthogonalised twice. Distances are downdated, |a|^2 - |q* a|^2, and measured again where that cancels.
    Vectorised over columns and batch; one matrix on the CPU goes to LAPACK. NWidthError where the columns have a
    smaller rank.

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
    lead, flat = a.shape[:-2], a.reshape(-1, d, n)
    if len(flat) == 1 and a.device.type == "cpu":
        pivots = _lapack(flat[0], rank)[None]
        q = torch.linalg.qr(flat[:, :, pivots[0]]).Q
    else:
        pivots, q = _batched(flat, rank)
    r = q.mH @ flat
    return PivotedQR(pivots.view(*lead, rank), q.view(*lead, d, rank), r.view(*lead, rank, n))


def _lapack(a: Tensor, rank: int) -> Tensor:
    """The pivots of one matrix by LAPACK's blocked geqp3."""
    from scipy.linalg import qr

    triangle, pivots = qr(a.detach().numpy(), mode="r", pivoting=True, check_finite=False)
    sizes = torch.from_numpy(triangle.diagonal()[:rank].copy()).abs()
    floor = torch.finfo(a.dtype).eps * len(a) * sizes[0]
    if bool((sizes <= floor).any()):
        raise _dependent(int((sizes > floor).sum()), rank)
    return torch.from_numpy(pivots[:rank].astype("int64"))


def _batched(flat: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Pivots (B, k) and Q (B, d, k) of a batch (B, d, n)."""
    d, n = flat.shape[1:]
    eps, batch = torch.finfo(flat.dtype).eps, torch.arange(len(flat), device=flat.device)
    q = torch.zeros(len(flat), d, rank, dtype=flat.dtype, device=flat.device)
    r = torch.zeros(len(flat), rank, n, dtype=flat.dtype, device=flat.device)
    pivots = torch.zeros(len(flat), rank, dtype=torch.long, device=flat.device)
    sizes = flat.abs().square().sum(1)  # squared distances from the span
    known = whole = sizes.amax(1)
    for k in range(rank):
        largest, j = sizes.max(1)
        if bool((largest <= eps**0.5 * known).any()):  # too many digits cancelled: measure again
            left = flat - q @ r
            left = left - q @ (q.mH @ left)
            sizes = left.abs().square().sum(1).scatter(1, pivots[:, :k], -1.0)
            largest, j = sizes.max(1)
            known = largest
        if bool((largest.clamp_min(0).sqrt() <= eps * d * whole.sqrt()).any()):
            raise _dependent(k, rank)
        pivots[:, k] = j
        v = flat[batch, :, j]
        before = q[:, :, :k]
        for _ in range(2):
            v = v - (before @ (before.mH @ v[..., None]))[..., 0]
        v = v / torch.linalg.vector_norm(v, dim=1, keepdim=True)
        q[:, :, k] = v
        r[:, k] = (v.conj()[:, None] @ flat)[:, 0]
        sizes = (sizes - r[:, k].abs().square()).scatter(1, pivots[:, : k + 1], -1.0)
    return pivots, q


def _dependent(found: int, rank: int) -> NWidthError:
    return NWidthError(
        "pivoted_qr", got=f"columns of rank {found}", expected=f"rank {rank}", fix="remove dependent rows"
    )
