"""Rows and columns appended to a matrix of which only a truncated decomposition is known."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...errors import NWidthError
from .compress import Compressed, Keep, exact_compress, norm
from .dense import SVD, dense_svd, fix_signs, require_finite


class IncrementalSVD:
    """Truncated decomposition a ~ U diag(s) V* that follows rows and columns appended to a (dense; Zha and Simon).

    ``append_columns(B)``: [U s, B] = [U, Q] [[s, U*B], [0, R]] with Q R the QR of (I - U U*) B, then the SVD of the
    small matrix, of which the leading ``rank`` are kept. ``append_rows`` is the same for the adjoint. An update of b
    columns costs O((m + n)(k + b)^2).

    ``missed`` bounds |a - U s V*|_F: exact (squares add up) as long as only columns, or only rows, are appended; sums
    of norms after a change of side. Each update is optimal for the truncated matrix, not for the original one.

    Source: Zha and Simon (1999), On updating problems in latent semantic indexing; Brand (2006).

    >>> a = torch.linspace(0, 3, 24, dtype=torch.float64).reshape(6, 4).cos()
    >>> from nwidth.backends.svd import svd
    >>> model = IncrementalSVD(svd(a[:3]), rank=4)
    >>> model.append_rows(a[3:])
    >>> bool(torch.allclose(model.s, torch.linalg.svdvals(a)[: len(model.s)]))
    True
    """

    def __init__(self, start: SVD, rank: int | None = None, missed: float = 0.0):
        if start.U.ndim != 2:
            raise NWidthError("IncrementalSVD", got=f"U of shape {tuple(start.U.shape)}", expected="one matrix (m, k)")
        self.rank = len(start.s) if rank is None else rank
        if self.rank < 1:
            raise NWidthError("IncrementalSVD", got=f"rank={rank}", expected="1 or more")
        self.U, self.s, self.V = start.U, start.s, start.Vh.mH
        self.missed = missed
        self._side: str | None = None

    def append_columns(self, B: Tensor) -> None:
        """a <- [a, B], B (m, b)."""
        self.U, self.s, G = self._extend(self.U, B, "columns")
        self.V = _grown(self.V, G)

    def append_rows(self, E: Tensor) -> None:
        """a <- [a; E], E (b, n)."""
        self.V, self.s, G = self._extend(self.V, E.mH, "rows")
        self.U = _grown(self.U, G)

    def factors(self) -> SVD:
        """The decomposition, with the signs of ``svd``."""
        U, Vh = fix_signs(self.U, self.V.mH)
        return SVD(U, self.s, Vh)

    def _extend(self, F: Tensor, B: Tensor, side: str) -> tuple[Tensor, Tensor, Tensor]:
        _require_like(f"append_{side}", B if side == "columns" else B.mH, F, side)
        F, s, Gh, dropped = extend(F, self.s, B, lambda values: min(self.rank, len(values)))
        if self._side in (None, side):
            self.missed = math.hypot(self.missed, dropped)
        else:
            self.missed += dropped
        # after a change of side what was lost is no longer orthogonal to what is kept
        self._side = side if self._side in (None, side) else "both"
        return F, s, Gh.mH


def extend(F: Tensor, s: Tensor, B: Tensor, keep: Keep) -> Compressed:
    """[F diag(s), B] = U diag(s') G + what is dropped, for orthonormal F (d, k) and ``keep`` of the values."""
    d, k = F.shape
    if k + B.shape[1] >= d:
        return exact_compress(torch.cat([F * s, B], 1), keep)
    C, Q, R = project_out(F, B)
    K = torch.cat(
        [torch.cat([torch.diag(s).to(C.dtype), C], 1), torch.cat([torch.zeros_like(C.mH[: len(R)]), R], 1)], 0
    )
    X, t, Gh = dense_svd(K)
    r = keep(t)
    return Compressed(F @ X[:k, :r] + Q @ X[k:, :r], t[:r], Gh[:r], norm(t[r:]))


def project_out(F: Tensor, B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """B = F C + Q R with F* Q = 0 and Q orthonormal, to eps, however close B is to the range of F."""
    C = F.mH @ B
    Q, R = torch.linalg.qr(B - F @ C)
    for _ in range(3 if F.shape[1] else 0):
        # the normalised residual again: round-off in a small residual lies in any direction
        D = F.mH @ Q
        if float(D.abs().max()) <= 4 * torch.finfo(B.dtype).eps:
            break
        Q, S = torch.linalg.qr(Q - F @ D)
        C, R = C + D @ R, S @ R
    return C, Q, R


def _grown(V: Tensor, G: Tensor) -> Tensor:
    """[[V, 0], [0, I]] G."""
    k = V.shape[1]
    return torch.cat([V @ G[:k], G[k:]], 0)


def _require_like(call: str, block: Tensor, F: Tensor, side: str) -> None:
    d = len(F)
    expected = f"({d}, b)" if side == "columns" else f"(b, {d})"
    if block.ndim != 2 or 0 in block.shape or block.shape[0 if side == "columns" else 1] != d:
        raise NWidthError(call, got=f"shape {tuple(block.shape)}", expected=expected)
    if block.dtype != F.dtype:
        raise NWidthError(call, got=f"dtype {block.dtype}", expected=str(F.dtype))
    require_finite(call, block)
