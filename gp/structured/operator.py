"""The covariance of noisy values on a tensor grid, as a linear operator."""

from __future__ import annotations

import torch
from linear_operator.operators import (
    DiagLinearOperator,
    KroneckerProductLinearOperator,
    LinearOperator,
    MatmulLinearOperator,
)
from torch import Tensor

from ...errors import NWidthError
from .kronecker import KroneckerEigen, apply_factors, quad_logdet


class GridCovariance(LinearOperator):
    """C = K_1 x ... x K_d + noise I: noise (batch, 1), symmetric factors (batch, n_i, n_i).

    Products cost N sum n_i for N points. Solves, determinants and their gradients are exact by the eigendecompositions
    of the factors, never dense. linear_operator's MaskedLinearOperator(C, mask, mask) is the covariance of the points
    that were observed.

    >>> C = GridCovariance(torch.tensor([0.5]), torch.eye(2), torch.ones(2, 2))
    >>> C.to_dense()[0].tolist(), round(float(C.logdet().exp()), 4)
    ([1.5, 1.0, 0.0, 0.0], 1.5625)
    """

    def __init__(self, noise: Tensor, *factors: Tensor):
        if noise.shape[-1:] != (1,) or not factors or any(f.ndim < 2 or f.shape[-1] != f.shape[-2] for f in factors):
            raise NWidthError(
                "GridCovariance",
                got=f"noise {tuple(noise.shape)} and factors {[tuple(f.shape) for f in factors]}",
                expected="noise (..., 1) and square factors",
            )
        batch = torch.broadcast_shapes(noise.shape[:-1], *(f.shape[:-2] for f in factors))
        noise, expanded = _expand(noise, batch, 1), tuple(_expand(f, batch, 2) for f in factors)
        super().__init__(noise, *expanded)
        self.noise, self.factors = noise, expanded
        self.space = torch.Size(f.shape[-1] for f in factors)

    def _fields(self, x: Tensor) -> Tensor:
        """Columns (..., N, R) as fields (..., R, n_1, .., n_d)."""
        return x.mT.reshape(*x.shape[:-2], x.shape[-1], *self.space)

    def _columns(self, u: Tensor) -> Tensor:
        return u.flatten(-len(self.space)).mT

    def _spread_factors(self) -> list[Tensor]:
        return [f.unsqueeze(-3) for f in self.factors]  # one batch axis more, for the columns

    def _matmul(self, rhs: Tensor) -> Tensor:
        x = rhs[:, None] if rhs.ndim == 1 else rhs
        y = self._columns(apply_factors(self._spread_factors(), self._fields(x))) + self.noise[..., None] * x
        return y[..., 0] if rhs.ndim == 1 else y

    def _size(self) -> torch.Size:
        return torch.Size((*self.noise.shape[:-1], self.space.numel(), self.space.numel()))

    def _transpose_nonbatch(self) -> LinearOperator:
        return type(self)(self.noise, *(f.mT for f in self.factors))

    def _expand_batch(self, batch_shape) -> LinearOperator:
        return type(self)(_expand(self.noise, batch_shape, 1), *(_expand(f, batch_shape, 2) for f in self.factors))

    def _diagonal(self) -> Tensor:
        i = torch.unravel_index(torch.arange(self.space.numel(), device=self.noise.device), self.space)
        entries = [f[..., r, r] for f, r in zip(self.factors, i)]
        return torch.stack(entries).prod(0) + self.noise

    def _get_indices(self, row_index, col_index, *batch_indices) -> Tensor:
        rows, cols = (torch.unravel_index(i, self.space) for i in (row_index, col_index))
        out = (row_index == col_index) * self.noise[(*batch_indices, torch.zeros_like(row_index))]
        return out + torch.stack([f[(*batch_indices, r, c)] for f, r, c in zip(self.factors, rows, cols)]).prod(0)

    def _roots(self, power: float) -> LinearOperator:
        """Q D^power"""
        eigen = KroneckerEigen(self.factors, self.noise[..., 0])
        return MatmulLinearOperator(
            KroneckerProductLinearOperator(*eigen.vectors),
            DiagLinearOperator(eigen.total.flatten(-eigen.ndim).pow(power)),
        )

    def _root_decomposition(self) -> LinearOperator:
        return self._roots(0.5)

    def _root_inv_decomposition(self, initial_vectors=None, test_vectors=None) -> LinearOperator:
        return self._roots(-0.5)

    def _solve(self, rhs: Tensor, preconditioner=None, num_tridiag: int | None = 0):
        if num_tridiag:
            return super()._solve(rhs, preconditioner, num_tridiag=num_tridiag)
        return self._columns(KroneckerEigen(self._spread_factors(), self.noise).solve(self._fields(rhs)))

    def inv_quad_logdet(self, inv_quad_rhs=None, logdet=False, reduce_inv_quad=True):
        none = torch.zeros((), dtype=self.noise.dtype, device=self.noise.device)
        rhs = self.noise.new_zeros(self.space.numel(), 1) if inv_quad_rhs is None else inv_quad_rhs
        fields = self._fields(rhs[:, None] if rhs.ndim == 1 else rhs)
        quad, log = quad_logdet(fields, self.noise, self._spread_factors())
        quad = quad.sum(-1) if reduce_inv_quad else quad
        return (none if inv_quad_rhs is None else quad), (log[..., 0] if logdet else none)


def _expand(x: Tensor, batch, own: int) -> Tensor:
    shape = torch.Size((*batch, *x.shape[x.ndim - own :]))
    return x if x.shape == shape else x.expand(shape).requires_grad_(x.requires_grad)
