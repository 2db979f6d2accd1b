"""Sums of Kronecker products with one matrix an axis: (A_1 x I x I + I x A_2 x I + I x I x A_3 + shift) X = F."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg as sl
import torch
from torch import Tensor

from ...errors import NWidthError


class KroneckerSum:
    """Solves sum_i A_i X (along axis i) + shift X = F for X of shape (n_1, ..., n_d), d from 1 to 3.

    Schur forms A_i = Z_i T_i Z_i* turn it into triangular equations: the last axis is substituted backwards, what is
    left
    for each of its indices is a Sylvester equation of two axes (Bartels and Stewart 1972, Commun. ACM 15).
    O(n^3) for two
    axes, O(n^4) for three, and no matrix of eigenvectors to be inverted.

    >>> A = torch.tensor([[2.0, 1.0], [0.0, 3.0]], dtype=torch.float64)
    >>> X = KroneckerSum([A, A]).solve(torch.eye(2, dtype=torch.float64))
    >>> bool(torch.allclose(A @ X + X @ A.T, torch.eye(2, dtype=torch.float64)))
    True
    """

    def __init__(self, matrices: Sequence[Tensor], shift: float = 0.0):
        if not 1 <= len(matrices) <= 3:
            raise NWidthError("KroneckerSum", got=f"{len(matrices)} axes", expected="1 to 3")
        self.lu = None
        if len(matrices) == 1:
            self.lu = sl.lu_factor(matrices[0].numpy() + shift * np.eye(len(matrices[0])))
            return
        first = matrices[0].numpy() + shift * np.eye(len(matrices[0]))
        whole = [first, *(m.numpy() for m in matrices[1:])]
        kind = "real" if len(matrices) == 2 else "complex"
        self.T, self.Z = zip(*(sl.schur(m, output=kind) for m in whole))

    def solve(self, F: Tensor) -> Tensor:
        """X, of F's shape.

        Raises NWidthError where the sum is singular to round-off.
        """
        G = F.numpy()
        if self.lu is not None:
            return torch.from_numpy(sl.lu_solve(self.lu, G))
        for i, Z in enumerate(self.Z):
            G = _along(Z.conj().T, G, i)
        X = self._triangular(G)
        for i, Z in enumerate(self.Z):
            X = _along(Z, X, i)
        if not np.isfinite(X).all():
            raise NWidthError(
                "KroneckerSum.solve", got="a singular operator", expected="conditions that fix the solution"
            )
        return torch.from_numpy(np.ascontiguousarray(X.real))

    def _triangular(self, G: np.ndarray) -> np.ndarray:
        T = self.T
        if G.ndim == 2:
            return self._two(T[0], G)
        X = np.zeros(G.shape, dtype=complex)
        eye = np.eye(len(T[0]))
        for k in range(G.shape[2] - 1, -1, -1):
            right = G[:, :, k] - X[:, :, k + 1 :] @ T[2][k, k + 1 :]
            X[:, :, k] = self._two(T[0] + T[2][k, k] * eye, right)
        return X

    def _two(self, T: np.ndarray, right: np.ndarray) -> np.ndarray:
        """T Y + Y T_2^t = right, plain transpose, by the triangular Sylvester solver (which has the adjoint only)."""
        if not np.iscomplexobj(T):
            Y, scale, _ = sl.lapack.dtrsyl(T, self.T[1], right, tranb="T")
        else:
            Y, scale, _ = sl.lapack.ztrsyl(T, self.T[1].conj(), right, tranb="C")
        return Y / scale


def _along(A: np.ndarray, X: np.ndarray, axis: int) -> np.ndarray:
    """A contracted with one axis. Later axes hold Z_i X^t, so that plain transposes appear in the equations."""
    return np.moveaxis(np.tensordot(A, X, axes=(1, axis)), 0, axis)
