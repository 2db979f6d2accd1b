"""Sparse matrices that depend affinely on parameters: one pattern, one ordering, and condensation to interfaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from torch import Tensor

from ..errors import NWidthError

MEMORY = 2**27  # bytes that a condensation may keep
CHUNK = 2**24  # entries of the interface matrices solved together


class SparseSum:
    """A(theta) = sum_q theta_q A_q for sparse n x n matrices A_q with symmetric patterns.

    The union of the patterns is found once: the entries of A(theta) are one sparse matrix-vector product. The
    fill-reducing ordering is found at the first factorisation (minimum degree on A + A^T) and kept; SuperLU then
    factors a matrix that is already in order.

    >>> eye = scipy.sparse.identity(3, format="csr")
    >>> SparseSum([eye, 2 * eye]).factor(np.array([1.0, 2.0]))(np.ones(3)).tolist()
    [0.2, 0.2, 0.2]
    """

    def __init__(self, matrices: Sequence[scipy.sparse.csr_matrix]):
        self.matrices = [m.tocsr() for m in matrices]
        self.n = n = self.matrices[0].shape[0]
        entries = [m.tocoo() for m in self.matrices]
        keys = [e.col.astype(np.int64) * n + e.row for e in entries]  # in the order of a CSC matrix
        diagonal = np.arange(n, dtype=np.int64) * (n + 1)
        pattern = np.unique(np.concatenate([*keys, diagonal]))
        rows = np.concatenate([np.searchsorted(pattern, k) for k in keys])
        terms = np.repeat(np.arange(len(entries)), [len(k) for k in keys])
        shape = (len(pattern), len(entries))
        values = np.concatenate([e.data for e in entries])
        self._values = scipy.sparse.csr_matrix((values, (rows, terms)), shape)
        self._indices = (pattern % n).astype(np.int32)
        self._indptr = np.searchsorted(pattern, n * np.arange(n + 1, dtype=np.int64)).astype(np.int32)
        self._order: np.ndarray | None = None

    def matrix(self, theta: np.ndarray) -> scipy.sparse.csc_matrix:
        """A(theta) for one theta (Q,)."""
        return self._csc(self._values @ theta, self._indices, self._indptr)

    def entries(self, theta: np.ndarray, points: np.ndarray | None = None) -> np.ndarray:
        """The entries of A(theta_i) that any A_q may have, or those of these numbers, (N, entries) for theta (N, Q)."""
        values = self._values if points is None else self._values[points]
        return (values @ theta.T).T

    def apply(self, theta: np.ndarray, u: np.ndarray) -> np.ndarray:
        """A(theta_i) u_i for theta (N, Q) and u (N, n)."""
        return np.stack([self.matrix(t) @ v for t, v in zip(theta, u)])

    def factor(self, theta: np.ndarray, dtype: type = np.float64) -> Callable[[np.ndarray], np.ndarray]:
        """b -> A(theta)^(-1) b for b (n,) or (n, k). NWidthError where a pivot vanishes."""
        if self._order is None:
            self._find_order(theta)
        data = (self._permuted @ theta).astype(dtype)
        lu = self._splu(self._csc(data, self._permuted_indices, self._permuted_indptr), "NATURAL")
        order = self._order

        def solve(b: np.ndarray) -> np.ndarray:
            u: np.ndarray = np.empty(b.shape, dtype=dtype)
            u[order] = lu.solve(b[order].astype(dtype))
            return u

        return solve

    def _find_order(self, theta: np.ndarray) -> None:
        order = np.argsort(self._splu(self.matrix(theta), "MMD_AT_PLUS_A").perm_c)
        numbers = np.arange(1, len(self._indices) + 1, dtype=np.float64)
        moved = self._csc(numbers, self._indices, self._indptr)[order][:, order].tocsc()
        moved.sort_indices()
        self._permuted = self._values[moved.data.astype(np.int64) - 1]
        self._permuted_indices, self._permuted_indptr = moved.indices, moved.indptr
        self._order = order

    def _csc(self, data: np.ndarray, indices: np.ndarray, indptr: np.ndarray) -> scipy.sparse.csc_matrix:
        return scipy.sparse.csc_matrix((data, indices, indptr), (self.n, self.n))

    @staticmethod
    def _splu(matrix: scipy.sparse.csc_matrix, ordering: str) -> scipy.sparse.linalg.SuperLU:
        options = {"SymmetricMode": True}
        try:  # narrow panels are fastest at the fill of 2D meshes
            return scipy.sparse.linalg.splu(matrix, ordering, diag_pivot_thresh=0.0, panel_size=1, options=options)
        except RuntimeError as e:
            raise _singular(str(e)) from None


class Condensation:
    """Solutions of (sum_q theta_q A_q) u = sum_l c_l f_l through the unknowns that several A_q share.

    Let P_q be the unknowns that A_q alone touches and G the others (for coefficients that are constant on blocks:
    the interiors, and the interfaces). There the matrix is a multiple of one that is fixed, so that

        S(theta) u_G = sum_l c_l (f_l - sum_q A_q[G, P_q] W_q)_G,   S(theta) = sum_q theta_q S_q,
        u_P = W_q c / theta_q - H_q u_G,

    with S_q = A_q[G, G] - A_q[G, P] H_q, H_q = A_q[P, P]^(-1) A_q[P, G], W_q = A_q[P, P]^(-1) f[P], all found once:
    static condensation (Guyan 1965, AIAA J. 3; exact for equilibrium). A solution then costs a dense matrix of the
    size of G and a matrix product; no sparse factorisation. Batched over parameters, on the device of theta.

    ``find`` gives None where that would not pay: with many interfaces, or no fixed interiors.
    """

    def __init__(self, matrices: Sequence[scipy.sparse.csr_matrix], loads: np.ndarray, owner: np.ndarray):
        self.n = len(owner)
        self.interface = np.flatnonzero(owner < 0)
        self.symmetric = all(_symmetric(m) for m in matrices)
        g = len(self.interface)
        place = np.full(self.n, -1)
        place[self.interface] = np.arange(g)
        shared = loads[:, self.interface].copy()
        schur = np.zeros((len(matrices), g, g))
        self._parts: list[tuple[int, Tensor, Tensor, Tensor, Tensor]] = []
        for q, m in enumerate(matrices):
            inner, touched = np.flatnonzero(owner == q), np.flatnonzero(_touched(m))
            border = touched[owner[touched] < 0]
            at, rows = place[border], m[border]
            schur[q][np.ix_(at, at)] = rows[:, border].toarray()
            if not len(inner):
                continue
            solve = SparseSum([m[inner][:, inner]]).factor(np.ones(1))
            lift = solve(m[inner][:, border].toarray())
            own = solve(np.ascontiguousarray(loads[:, inner].T))
            back = rows[:, inner]
            schur[q][np.ix_(at, at)] -= back @ lift
            shared[:, at] -= (back @ own).T
            new = torch.from_numpy
            self._parts.append((q, new(inner), new(at), new(lift), new(own)))
        self._schur, self._loads = torch.from_numpy(schur.reshape(len(matrices), -1)), torch.from_numpy(shared)

    @classmethod
    def find(cls, matrices: Sequence[scipy.sparse.csr_matrix], loads: np.ndarray) -> Condensation | None:
        """The condensation where one sample costs less than a sparse factorisation would, by estimate, else None."""
        touched = np.stack([_touched(m) for m in matrices])
        count = touched.sum(0)
        owner = np.where(count == 1, touched.argmax(0), -1)
        inner = np.array([(owner == q).sum() for q in range(len(matrices))])
        border = np.array([(touched[q] & (owner < 0)).sum() for q in range(len(matrices))])
        n, shared = len(owner), int((owner < 0).sum())
        flops = shared**3 / 3 + 2 * float(inner @ border)
        if not count.all() or not shared or shared > n // 4 or flops > 100 * n**1.5:
            return None
        if 8 * float(inner @ border + len(matrices) * shared**2) > MEMORY:
            return None
        try:
            return cls(matrices, loads, owner)
        except NWidthError:  # an interior that is singular by itself
            return None

    def solve(self, theta: Tensor, c: Tensor) -> Tensor:
        """u (N, n) for theta (N, Q) and c (N, L), in their dtype and on their device."""
        size = max(1, CHUNK // len(self.interface) ** 2)
        return torch.cat([self._solve(t, b) for t, b in zip(theta.split(size), c.split(size))])

    def _solve(self, theta: Tensor, c: Tensor) -> Tensor:
        g = len(self.interface)
        matrix = (theta @ self._schur.to(c)).view(-1, g, g)
        right = (c @ self._loads.to(c))[..., None]
        factor, info = torch.linalg.cholesky_ex(matrix) if self.symmetric else (matrix, torch.ones(1))
        if bool((info == 0).all()):
            shared = torch.cholesky_solve(right, factor)[..., 0]
        else:
            solution, info = torch.linalg.solve_ex(matrix, right)
            if bool((info != 0).any()):
                raise _singular("a vanishing pivot")
            shared = solution[..., 0]
        u = c.new_empty(len(c), self.n)
        u[:, torch.from_numpy(self.interface).to(c.device)] = shared
        for q, inner, at, lift, own in self._parts:
            inner, at = inner.to(c.device), at.to(c.device)
            u[:, inner] = (c @ own.to(c).T) / theta[:, q, None] - shared[:, at] @ lift.to(c).T
        return u


def _touched(m: scipy.sparse.csr_matrix) -> np.ndarray:
    """Unknowns with an entry in their row or column."""
    found = np.diff(m.indptr) > 0
    found[m.indices] = True
    return found


def _singular(reason: str) -> NWidthError:
    return NWidthError(
        "sparse factorisation",
        got=f"a singular matrix ({reason})",
        expected="an invertible operator",
        fix="check the boundary conditions and the parameters",
    )


def _symmetric(m: scipy.sparse.csr_matrix) -> bool:
    size = abs(m).max()
    return bool(size == 0 or abs(m - m.T).max() <= 1e-12 * size)
