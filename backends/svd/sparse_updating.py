"""Sparse rows and columns appended to a truncated decomposition, at a cost that follows their non-zeros."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.sparse
import torch

from ...errors import NWidthError
from .dense import SVD, dense_svd, exact_svd, fix_signs
from .updating import IncrementalSVD
from .weights import to_scipy


class SparseIncrementalSVD:
    """``IncrementalSVD`` for sparse appended rows and columns: the same result for O(nnz k + b^3 + k^3) an update.

    The factors stay products U = U' K_u and V = V' K_v with small K. For rows E, with C = V* E* and the Gram matrix
    G = E E* - C* C of the residuals E* - V C (never formed), G = X l X* gives their orthonormal basis
    Q = (E* - V C) X l^(-1/2), and [[s, 0], [C*, R*]] = F t H* the update

        K_u <- K_u F_top,  U' <- [U'; F_bottom K_u^-1]
        K_v <- K_v (H_top - C X l^(-1/2) H_bottom),  V' <- V' + E* X l^(-1/2) H_bottom K_v^-1

    which touches only the rows of V' where E has entries. Columns are the same for the adjoint.

    The Gram matrix squares: relative to its row, a residual below 1e-3 costs orthogonality, one below 1e-7 drowns in
    round-off. The first kind makes the update dense (Zha and Simon), the second is dropped. Where cond(K) would pass
    ``restart`` the products are formed first, and orthonormalised again where they have drifted. So the result equals
    the dense update to 1e-12 (double precision). ``restarts`` and ``dense_updates`` count both. Runs on the CPU.

    Source: Deng, Wang, Chen and co-authors (ICLR 2024), Fast updating truncated SVD for representation learning with
    sparse matrices.

    >>> a = scipy.sparse.random_array((40, 30), density=0.2, rng=np.random.default_rng(0), format="csr")
    >>> from nwidth.backends.svd import svd
    >>> model = SparseIncrementalSVD(svd(torch.from_numpy(a[:20].toarray()), rank=5))
    >>> model.append_rows(a[20:])
    >>> model.factors().U.shape
    torch.Size([40, 5])
    """

    def __init__(self, start: SVD, rank: int | None = None, missed: float = 0.0, restart: float = 1e4):
        if start.U.ndim != 2:
            raise NWidthError("SparseIncrementalSVD", got=f"U {tuple(start.U.shape)}", expected="one matrix (m, k)")
        if restart <= len(start.s):
            expected = f"above {len(start.s)}, the condition of the identity (Frobenius)"
            raise NWidthError("SparseIncrementalSVD", got=f"restart={restart}", expected=expected)
        self.rank = len(start.s) if rank is None else rank
        self.restart, self.restarts, self.dense_updates = restart, 0, 0
        self.missed = missed
        self._side: str | None = None
        self._set(start)

    @property
    def s(self) -> torch.Tensor:
        return torch.from_numpy(self._s.copy())

    def append_rows(self, E: Any) -> None:
        """a <- [a; E], E (b, n) sparse (scipy or torch)."""
        self._append(E, "rows")

    def append_columns(self, B: Any) -> None:
        """a <- [a, B], B (m, b) sparse (scipy or torch)."""
        self._append(B, "columns")

    def factors(self) -> SVD:
        """The decomposition, with the signs of ``svd``; forms the products."""
        U, V = torch.from_numpy(self._u.dense()), torch.from_numpy(self._v.dense())
        U, Vh = fix_signs(U, V.mH)
        return SVD(U, self.s, Vh)

    def _set(self, found: SVD) -> None:
        self._u, self._v = _Lazy(_numpy(found.U)), _Lazy(_numpy(found.Vh.mH))
        self._s = _numpy(found.s)
        self.dtype = found.U.dtype

    def _append(self, block: Any, side: str) -> None:
        E = self._checked(block, side)
        fresh = False
        while not self._update(E, side):
            if fresh:
                self._append_dense(E, side)
                return
            self._restart()
            fresh = True

    def _update(self, E: Any, side: str) -> bool:
        """One sparse update; False where it would be inaccurate, and then nothing has changed."""
        grows, meets = (self._u, self._v) if side == "rows" else (self._v, self._u)
        b, k = E.shape[0], len(self._s)
        if k < self.rank:
            return False
        touched, B = _compressed(E)
        P = (B @ meets.X[touched]) @ meets.K  # C* = E V
        G = B @ B.conj().T
        G = G.toarray() if scipy.sparse.issparse(G) else G
        norms = G.diagonal().real ** 0.5
        norms[norms == 0] = 1
        C = P / norms[:, None]
        lam, X = np.linalg.eigh(G / np.outer(norms, norms) - C @ C.conj().T)
        eps = float(np.finfo(lam.dtype).eps)
        seen = lam > 4 * (b + k) * eps
        if (seen & (lam < eps**0.375)).any():
            return False
        T = (X[:, seen] * lam[seen] ** -0.5) / norms[:, None]  # Q = (E* - V C) T
        R = (norms[:, None] * X[:, seen] * lam[seen] ** 0.5).conj().T
        corner = np.zeros((k, len(R)), P.dtype)
        small = torch.from_numpy(np.block([[np.diag(self._s).astype(P.dtype), corner], [P, R.conj().T]]))
        F, t, Hh = (_numpy(x) for x in dense_svd(small))
        F, H = F[:, :k], Hh[:k].conj().T
        W = T @ H[k:]
        turned = grows.turned(F[:k], self.restart), meets.turned(H[:k] - P.conj().T @ W, self.restart)
        if turned[0] is None or turned[1] is None:
            return False
        grows.K, meets.K = turned[0][0], turned[1][0]
        grows.append(F[k:] @ turned[0][1])
        meets.X[touched] += B.conj().T @ (W @ turned[1][1])
        self._s = t[:k]
        unseen = float(lam[~seen].clip(0).sum() ** 0.5 * norms.max())
        self._count(math.hypot(unseen, float(np.linalg.norm(t[k:]))), side)
        return True

    def _append_dense(self, E: Any, side: str) -> None:
        """One update by Zha and Simon, which also lets the rank grow."""
        model = IncrementalSVD(self.factors(), self.rank)
        block = torch.from_numpy(E.toarray())
        if side == "rows":
            model.append_rows(block)
        else:
            model.append_columns(block.mH)
        self._set(SVD(model.U, model.s, model.V.mH))
        self._count(model.missed, side)
        self.dense_updates += 1

    def _restart(self) -> None:
        U, V = torch.from_numpy(self._u.dense()), torch.from_numpy(self._v.dense())
        found = SVD(U, self.s, V.mH)
        eye = torch.eye(len(self._s), dtype=self.dtype)
        drift = max(float((x.mH @ x - eye).abs().max()) for x in (U, V))
        if drift > 100 * torch.finfo(self.dtype).eps:
            Qu, Ru = torch.linalg.qr(U)
            Qv, Rv = torch.linalg.qr(V)
            X, t, Yh = exact_svd(Ru * self.s @ Rv.mH)
            found = SVD(Qu @ X, t, Yh @ Qv.mH)
        self._set(found)
        self.restarts += 1

    def _count(self, dropped: float, side: str) -> None:
        straight = self._side in (None, side)
        self.missed = math.hypot(self.missed, dropped) if straight else self.missed + dropped
        self._side = side if straight else "both"

    def _checked(self, block: Any, side: str) -> Any:
        """CSR rows; columns arrive as the adjoint."""
        length = len(self._v if side == "rows" else self._u)
        call = f"append_{side}"
        if not (scipy.sparse.issparse(block) or (isinstance(block, torch.Tensor) and block.layout != torch.strided)):
            raise NWidthError(call, got=type(block).__name__, expected="a sparse matrix", fix="IncrementalSVD")
        E = to_scipy(block)
        along = E.shape[1 if side == "rows" else 0]
        if E.ndim != 2 or along != length or 0 in E.shape:
            expected = f"(b, {length})" if side == "rows" else f"({length}, b)"
            raise NWidthError(call, got=f"shape {tuple(E.shape)}", expected=expected)
        E = scipy.sparse.csr_array(E if side == "rows" else E.conj().T)
        if np.iscomplexobj(E.data) and not self.dtype.is_complex:
            raise NWidthError(call, got="complex entries", expected="real ones, as the factors")
        if not np.isfinite(E.data).all():
            raise NWidthError(call, got="NaN or infinite entries", expected="finite numbers")
        E = E.astype(_numpy(torch.empty(0, dtype=self.dtype)).dtype)
        E.sum_duplicates()
        return E


class _Lazy:
    """The product of tall X (rows, k) and small K (k, k); X may gain rows."""

    def __init__(self, X: np.ndarray):
        self._buffer, self._rows = X.copy(), len(X)
        self.K = np.eye(X.shape[1], dtype=X.dtype)

    def __len__(self) -> int:
        return self._rows

    @property
    def X(self) -> np.ndarray:
        return self._buffer[: self._rows]

    def dense(self) -> np.ndarray:
        return self.X @ self.K

    def turned(self, M: np.ndarray, most: float) -> tuple[np.ndarray, np.ndarray] | None:
        """K M and its inverse, or None where its condition (Frobenius) is above ``most``."""
        K = self.K @ M
        try:
            inverse = np.linalg.inv(K)
        except np.linalg.LinAlgError:
            return None
        return (K, inverse) if np.linalg.norm(K) * np.linalg.norm(inverse) <= most else None

    def append(self, new: np.ndarray) -> None:
        if self._rows + len(new) > len(self._buffer):
            wider = np.empty((max(2 * len(self._buffer), self._rows + len(new)), new.shape[1]), new.dtype)
            wider[: self._rows] = self.X
            self._buffer = wider
        self._buffer[self._rows : self._rows + len(new)] = new
        self._rows += len(new)


def _compressed(E: Any) -> tuple[np.ndarray, Any]:
    """The columns of CSR E that hold entries, and E on these: dense where that is no more than 8 times the entries."""
    touched, position = np.unique(E.indices, return_inverse=True)
    small = scipy.sparse.csr_array((E.data, position, E.indptr), shape=(E.shape[0], len(touched)))
    return touched, small.toarray() if math.prod(small.shape) <= 8 * E.nnz else small


def _numpy(x: torch.Tensor) -> np.ndarray:
    return x.detach().cpu().resolve_conj().numpy()
