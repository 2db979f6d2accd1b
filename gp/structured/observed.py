"""Covariances of the observed points of a grid: solves, determinants and gradients without the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import NWidthError
from .conjugate_gradients import conjugate_gradients, log_quadrature
from .kronecker import KroneckerEigen, apply_factors, quad_logdet

METHODS = ("auto", "dense", "complement", "iterative")
DENSE, COMPLEMENT = 2000, 3e7  # observed points; missing points times points


class ObservedCovariance:
    """C_oo = P (K_1 x ... x K_d) P' + noise I for the points where ``mask`` (n_1, .., n_d) is true; no batch.

    Vectors are fields (..., n_1, .., n_d) that are zero where nothing is observed. Three ways, ``auto`` takes the first
    that is cheap, and all give the same to round-off or to the tolerance:

    - ``dense``: Cholesky of C_oo, for few observed points;
    - ``complement``: with C the covariance of the whole grid and m the missing points,
      log|C_oo| = log|C| + log|(C^-1)_mm| and C_oo^-1 = (C^-1)_oo - (C^-1)_om ((C^-1)_mm)^-1 (C^-1)_mo, for few missing
      points;
    - ``iterative``: conjugate gradients on fields, preconditioned by the ``rank`` leading eigenvectors of the whole
    grid
      cut to the observed points, V V' + d I, whose d is the noise and the mean of the eigenvalues left out; the
      determinant by Lanczos quadrature with ``probes`` drawn from N(0, V V' + d I), its standard error in
      ``logdet_error``.

    Source of the latent Kronecker structure: Lin, Ament, Balandat and Bakshy, Scaling Gaussian processes for learning
    curve prediction via latent Kronecker structure (2024); of the stochastic determinant: Gardner et al., GPyTorch
    (NeurIPS 2018).
    """

    def __init__(
        self,
        factors: Sequence[Tensor],
        noise: Tensor,
        mask: Tensor,
        *,
        method: str = "auto",
        rank: int = 400,
        probes: int = 16,
        tolerance: float = 1e-8,
        seed: int = 0,
    ):
        if method not in METHODS:
            raise NWidthError("ObservedCovariance", got=f"method={method!r}", expected="one of " + ", ".join(METHODS))
        self.factors, self.noise, self.mask = list(factors), noise, mask
        self.rank, self.probes, self.tolerance, self.seed = rank, probes, tolerance, seed
        self.count = int(mask.sum())
        missing = mask.numel() - self.count
        if method == "auto":
            small = "complement" if missing * mask.numel() <= COMPLEMENT else "iterative"
            method = "dense" if self.count <= DENSE else small
        self.method = method
        self.space = tuple(range(-mask.ndim, 0))
        self.logdet_error: float | None = None
        self.iterations = 0
        with torch.no_grad():
            if method == "dense":
                self.cholesky = torch.linalg.cholesky(self._dense())
                return
            self.eigen = KroneckerEigen([f.detach() for f in self.factors], noise.detach())
            if method == "complement":
                self._prepare_complement()
            else:
                self._prepare_preconditioner()

    def _dense(self) -> Tensor:
        """C_oo (M, M), differentiable."""
        K = torch.ones((), dtype=self.noise.dtype, device=self.noise.device)
        for f, i in zip(self.factors, self.mask.nonzero(as_tuple=True)):
            K = K * f[i][:, i]
        return K + self.noise * torch.eye(self.count, dtype=K.dtype, device=K.device)

    def _spread(self, columns: Tensor) -> Tensor:
        """Observed values (M, R) as fields (R, n_1, .., n_d)."""
        fields = columns.new_zeros(columns.shape[1], *self.mask.shape)
        fields[:, self.mask] = columns.T
        return fields

    def _prepare_complement(self) -> None:
        """self.back: fields (m, n_1, .., n_d) whose outer products sum to C^-1 - C_oo^-1."""
        missing = (~self.mask).nonzero(as_tuple=True)
        unit = self.noise.new_zeros(len(missing[0]), *self.mask.shape)
        unit[(torch.arange(len(missing[0]), device=unit.device), *missing)] = 1
        columns = self.eigen.solve(unit)  # C^-1 on the missing points
        inner = columns[:, ~self.mask]
        self.inner = torch.linalg.cholesky((inner + inner.T) / 2)
        flat = columns.flatten(1)
        self.back = torch.linalg.solve_triangular(self.inner, flat, upper=False).view_as(columns)

    def _prepare_preconditioner(self) -> None:
        prior = self.eigen.prior.flatten()
        rank = min(self.rank, int((prior > self.noise).sum()), self.count)
        values, index = prior.topk(rank)
        points = self.mask.nonzero(as_tuple=True)
        V = values.sqrt().expand(self.count, rank).clone()
        for q, i, j in zip(self.eigen.vectors, points, torch.unravel_index(index, self.mask.shape)):
            V *= q[i][:, j]
        self.V, self.d = V, self.noise.detach() + (prior.sum() - values.sum()).clamp_min(0) / len(prior)
        inner = V.T @ V
        inner.diagonal().add_(self.d)
        self.inner = torch.linalg.cholesky(inner)

    def precondition(self, r: Tensor) -> Tensor:
        """(V V' + d I)^-1 r"""
        x = r[..., self.mask].mT
        x = (x - self.V @ torch.cholesky_solve(self.V.T @ x, self.inner)) / self.d
        return self._spread(x)

    def matmul(self, x: Tensor) -> Tensor:
        """C_oo x"""
        return self.mask * apply_factors(self.factors, x) + self.noise * x

    @torch.no_grad()
    def solve(self, x: Tensor) -> Tensor:
        """C_oo^-1 x for fields (R, n_1, .., n_d)."""
        if self.method == "dense":
            return self._spread(torch.cholesky_solve(x[:, self.mask].T, self.cholesky))
        if self.method == "complement":
            flat, back = x.flatten(1), self.back.flatten(1)
            return self.mask * (self.eigen.solve(x) - ((flat @ back.T) @ back).view_as(x))
        return self._iterate(x)[0]

    def _iterate(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        solved = conjugate_gradients(self.matmul, x, self.precondition, self.tolerance)
        self.iterations = len(solved[1])
        return solved

    def quad_logdet(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """y' C_oo^-1 y (R,) for fields y (R, n_1, .., n_d), and log|C_oo|; differentiable once."""
        y = torch.where(self.mask, y, 0)
        if self.method == "dense":
            L = torch.linalg.cholesky(self._dense())
            x = torch.linalg.solve_triangular(L, y[:, self.mask].T, upper=False)
            return x.square().sum(0), 2 * L.diagonal().log().sum()
        alpha = self.solve(y.detach())
        # 2 y'a - a'C a at a = C^-1 y: the value, and the gradient in y and C, with a held fixed
        quad = (2 * y * alpha - alpha * self.matmul(alpha)).sum(self.space)
        if self.method == "complement":
            logdet = quad_logdet(torch.zeros_like(y[:1]), self.noise, self.factors)[1]
            extra = 2 * self.inner.diagonal().log().sum()
            return quad, logdet + extra + _gradient_of(-self._form(self.back, self.back))
        value, left, right = self._stochastic_logdet()
        return quad, value + _gradient_of(self._form(left, right) / self.probes)

    def _form(self, left: Tensor, right: Tensor) -> Tensor:
        """sum_j left_j' C right_j"""
        return (left * (apply_factors(self.factors, right) + self.noise * right)).sum()

    @torch.no_grad()
    def _stochastic_logdet(self) -> tuple[Tensor, Tensor, Tensor]:
        g = torch.Generator(self.noise.device).manual_seed(self.seed)
        like: dict[str, Any] = {"dtype": self.noise.dtype, "device": self.noise.device, "generator": g}
        z = self.V @ torch.randn(self.V.shape[1], self.probes, **like)
        z = self._spread(z + self.d.sqrt() * torch.randn(self.count, self.probes, **like))
        left = self.precondition(z)
        right, alphas, betas = self._iterate(z)
        norms = (z * left).sum(self.space)
        terms = norms * log_quadrature(alphas, betas)
        self.logdet_error = float(terms.std() / self.probes**0.5)
        rest = self.count - self.V.shape[1]
        of_preconditioner = 2 * self.inner.diagonal().log().sum() + rest * self.d.log()
        return of_preconditioner + terms.mean(), left, right


def _gradient_of(s: Tensor) -> Tensor:
    """Zero, with the gradient of s."""
    return s - s.detach()
