"""Matrix DEIM: sparse matrices that depend on parameters in any way, from a few of their entries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from ...errors import NWidthError
from .interpolation import EmpiricalInterpolation


class MatrixInterpolation:
    """A(mu) ~ sum_k c_k(mu) A_k for sparse matrices, with A_k the POD modes of the vectors of their non-zeros and c
    from a few entries of A(mu):

        c = (P* U)^+ a_P(mu),   V* A(mu) V ~ sum_k c_k V* A_k V.

    Negri, Manzoni and Amsallem (2015), J. Comput. Phys. 303. Vectors are matrices of one column.

    matrices : training matrices of one shape; their patterns may differ, and are united.
    rank, rtol, method, points : see ``EmpiricalInterpolation.pod``.

    ``rows`` and ``columns`` (m,) are the entries that have to be evaluated for a new parameter.

    >>> rng = np.random.default_rng(0)
    >>> parts = [scipy.sparse.random(30, 30, 0.1, random_state=rng) for _ in range(3)]
    >>> matrix = lambda t: (parts[0] + t * parts[1] + t**2 * parts[2]).tocsr()
    >>> found = MatrixInterpolation([matrix(t) for t in (0.1, 0.4, 0.6, 0.9)], rtol=1e-10)
    >>> found.rank, bool(abs(found.matrix(found.entries(matrix(0.77))) - matrix(0.77)).max() < 1e-10)
    (3, True)
    """

    def __init__(
        self,
        matrices: Sequence[scipy.sparse.spmatrix],
        *,
        rank: int | None = None,
        rtol: float | None = None,
        method: str = "qdeim",
        points: int | None = None,
    ):
        shapes = {m.shape for m in matrices}
        if len(shapes) != 1:
            raise NWidthError(
                "MatrixInterpolation", got=f"matrices of shapes {sorted(shapes)}", expected="one or more of one shape"
            )
        self.shape: tuple[int, int] = shapes.pop()
        entries = [m.tocoo() for m in matrices]
        for e in entries:
            e.sum_duplicates()
        keys = [e.row.astype(np.int64) * self.shape[1] + e.col for e in entries]
        self._pattern = np.unique(np.concatenate(keys))
        if not len(self._pattern):
            raise NWidthError("MatrixInterpolation", got="matrices without entries", expected="non-zeros")
        values = np.zeros((len(entries), len(self._pattern)), dtype=np.result_type(*(e.dtype for e in entries)))
        for i, (key, e) in enumerate(zip(keys, entries)):
            values[i, np.searchsorted(self._pattern, key)] = e.data
        self.interpolation = EmpiricalInterpolation.pod(
            torch.from_numpy(values), rank=rank, rtol=rtol, method=method, points=points
        )
        at = self._pattern[self.interpolation.points.numpy()]
        self.rows, self.columns = at // self.shape[1], at % self.shape[1]

    @property
    def rank(self) -> int:
        return self.interpolation.rank

    def entries(self, matrix: scipy.sparse.spmatrix) -> Tensor:
        """The entries (m,) at ``rows`` and ``columns``."""
        return torch.from_numpy(np.asarray(matrix.tocsr()[self.rows, self.columns]).ravel())

    def matrix(self, entries: Tensor) -> scipy.sparse.csr_matrix:
        """sum_k c_k A_k from its entries (m,)."""
        return self._sparse(self.interpolation.extend(entries))

    def reduce(self, basis: Tensor, test: Tensor | None = None) -> Tensor:
        """W* A_k V, (d, s, r), for V (n, r) and W (n, s), W = V without it: with ``interpolation.coefficients`` of
        entries (N, m) the reduced matrices of N parameters are one product."""
        right, left = basis.numpy(), (basis if test is None else test).numpy().conj().T
        modes = self.interpolation.basis
        return torch.stack([torch.from_numpy(left @ (self._sparse(mode) @ right)) for mode in modes])

    def _sparse(self, values: Tensor) -> scipy.sparse.csr_matrix:
        index = (self._pattern // self.shape[1], self._pattern % self.shape[1])
        return scipy.sparse.csr_matrix((values.numpy(), index), self.shape)
