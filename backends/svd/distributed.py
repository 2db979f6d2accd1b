"""Singular values of a matrix whose rows are spread over processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from ...errors import NWidthError
from .dense import SVD, dense_svd, exact_svd
from .gram import gram
from .ranks import truncation_rank

METHODS = ("tsqr", "gram", "randomized")


def distributed_svd(
    rows: Tensor,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    energy: float | None = None,
    weight: Tensor | None = None,
    method: str = "tsqr",
    power: int = 2,
    oversample: int = 10,
    seed: int = 0,
    group: dist.ProcessGroup | None = None,
) -> SVD:
    """Decomposition of the matrix (m, n) whose rows lie one block (m_p, n) on each process of ``group``.

    Each process gets its rows of U, and all of s and Vh; the result equals ``svd`` of the whole, signs included.
    Every process must call it. The group is the caller's (default: the world): nothing is initialised here.

    ==========  ==========================================================================================
    method      exchanged, and accuracy
    ==========  ==========================================================================================
    tsqr        the triangular factors of the local QRs, n^2 numbers a process; errors of eps max(s)
    gram        the summed Gram matrix, n^2; what lies below 1e-8 max(s) is lost; the fastest for m >> n
    randomized  n (rank + oversample) numbers an iteration, ``power`` of them: for n too large to square; by ``rank``
    ==========  ==========================================================================================

    ``weight`` is (m_p,), the positive quadrature weights of the local rows. A process may hold no rows (0, n).

    Source: Demmel, Grigori, Hoemmen and Langou (2012) for TSQR.

    Raises NWidthError, on every process, where no process group is initialised, numbers of columns or dtypes differ,
    entries on any process are not finite or a weight is not positive, or the rank is above the data's.
    """
    if not dist.is_available() or not dist.is_initialized():
        raise NWidthError(
            "distributed_svd",
            got="no process group",
            expected="torch.distributed initialised by the program",
            fix="call torch.distributed.init_process_group first, or svd in one process",
        )
    if method not in METHODS:
        raise NWidthError("distributed_svd", got=f"method={method!r}", expected="one of " + ", ".join(METHODS))
    if method == "randomized" and rank is None:
        raise NWidthError("distributed_svd", got="method='randomized' without a rank", expected="rank=...")
    _agree(rows, weight, group)
    root = None if weight is None else weight.to(rows.dtype.to_real()).sqrt().to(rows.dtype)[:, None]
    a = rows if root is None else rows * root
    if method == "tsqr":
        Q, s, Vh = _by_tsqr(a, group)
    elif method == "gram":
        _, V = torch.linalg.eigh(_sum(gram(a), group))
        V = _from_first(V.flip(-1).to(a.dtype).contiguous(), group)
        Q, s, Wh = _by_tsqr(a @ V, group)
        Vh = Wh @ V.mH
    else:
        assert rank is not None
        Q, s, Vh = _by_range(a, rank + oversample, power, seed, group)
    norm = torch.linalg.vector_norm(a.abs().double()).square()
    keep = truncation_rank(s, rank=rank, rtol=rtol, energy=energy, total=_sum(norm, group))
    U = Q[:, :keep] if root is None else Q[:, :keep] / root
    U, Vh = _fix_signs(U, Vh[:keep], group)
    return SVD(U, s[:keep], Vh)


def tsqr(a: Tensor, group: dist.ProcessGroup | None = None) -> tuple[Tensor, Tensor]:
    """Local rows of Q, and R (k, n), of the whole matrix; k is n, or fewer where the rows of all are fewer."""
    n = a.shape[1]
    Q, R = torch.linalg.qr(a)
    padded = torch.zeros(n, n, dtype=a.dtype, device=a.device)
    padded[: len(R)] = R
    S, R = torch.linalg.qr(torch.cat(_gather(padded, group)))
    S, R = _from_first(S.contiguous(), group), _from_first(R.contiguous(), group)
    mine = dist.get_rank(group) * n
    return Q @ S[mine : mine + Q.shape[1]], R


def _by_tsqr(a: Tensor, group: dist.ProcessGroup | None) -> SVD:
    Q, R = tsqr(a, group)
    U, s, Vh = (_from_first(x.contiguous(), group) for x in dense_svd(R))
    return SVD(Q @ U, s, Vh)


def _by_range(a: Tensor, columns: int, power: int, seed: int, group: dist.ProcessGroup | None) -> SVD:
    """The range finder of ``randomized_svd`` with orthonormalisation and adjoint products over processes."""
    n = a.shape[1]
    columns = min(columns, n)
    sketch = torch.randn(n, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    Q, _ = tsqr(a @ sketch.to(a), group)
    for _ in range(power):
        Z = _from_first(torch.linalg.qr(_sum(a.mH @ Q, group)).Q.contiguous(), group)
        Q, _ = tsqr(a @ Z, group)
    V, s, Wh = (_from_first(x.contiguous(), group) for x in exact_svd(_sum(a.mH @ Q, group)))
    return SVD(Q @ Wh.mH, s, V.mH)


def _agree(rows: Tensor, weight: Tensor | None, group: dist.ProcessGroup | None) -> None:
    """The same verdict on every process, so that none waits for one that has raised."""
    problem = 0
    if rows.ndim != 2:
        problem = 1
    elif not bool(torch.isfinite(rows).all()):
        problem = 2
    elif weight is not None and (
        weight.shape != rows.shape[:1] or weight.is_complex() or not bool((weight > 0).all() & weight.isfinite().all())
    ):
        problem = 3
    kinds = [torch.float32, torch.float64, torch.complex64, torch.complex128]
    kind = kinds.index(rows.dtype) if rows.dtype in kinds else -1
    width, number = (rows.shape[1], rows.shape[0]) if rows.ndim == 2 else (0, 0)
    facts = _gather(torch.tensor([problem, width, kind, number, weight is not None], device=rows.device), group)
    worst = max(int(f[0]) for f in facts)
    said = {
        1: ("rows that are not a matrix", "(m_p, n) on each process"),
        2: ("NaN or infinite entries on a process", "finite numbers"),
        3: ("weights that are not positive, or not one for each row", "(m_p,) positive on each process"),
    }
    if worst:
        raise NWidthError("distributed_svd", got=said[worst][0], expected=said[worst][1])
    kinds_seen = sorted({(int(f[1]), int(f[2]), int(f[4])) for f in facts})
    if len(kinds_seen) > 1 or kinds_seen[0][1] < 0 or kinds_seen[0][0] == 0 or sum(int(f[3]) for f in facts) == 0:
        raise NWidthError(
            "distributed_svd",
            got="(columns, dtype, weighted) of " + ", ".join(map(str, kinds_seen)),
            expected="the same floating-point matrix everywhere, with entries",
        )


def _gather(x: Tensor, group: dist.ProcessGroup | None) -> list[Tensor]:
    """x of every process, in order of rank."""
    real = torch.view_as_real(x) if x.is_complex() else x
    found = [torch.empty_like(real) for _ in range(dist.get_world_size(group))]
    dist.all_gather(found, real.contiguous(), group=group)
    return [torch.view_as_complex(f) for f in found] if x.is_complex() else found


def _sum(x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    x = x.resolve_conj().contiguous()
    dist.all_reduce(torch.view_as_real(x) if x.is_complex() else x, group=group)
    return x


def _from_first(x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """What the group's first process has: small factors must be equal to the last bit and sign."""
    x = x.resolve_conj().contiguous()
    source = 0 if group is None else dist.get_global_rank(group, 0)
    dist.broadcast(torch.view_as_real(x) if x.is_complex() else x, source, group=group)
    return x


def _fix_signs(U: Tensor, Vh: Tensor, group: dist.ProcessGroup | None) -> tuple[Tensor, Tensor]:
    """``fix_signs`` with the largest entry over all processes."""
    peak = U.gather(0, U.abs().argmax(0, keepdim=True))[0] if len(U) else U.new_zeros(U.shape[1])
    peaks = torch.stack(_gather(peak, group))
    largest = peaks.gather(0, peaks.abs().argmax(0, keepdim=True))
    phase = torch.where(largest == 0, torch.ones_like(largest), torch.sgn(largest))
    return U * phase.conj(), phase.mT * Vh
