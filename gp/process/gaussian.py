"""Gaussian coefficients of functions: a Gaussian process at any points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class GaussianCoefficients:
    """v ~ N(mean, S), S = diag(spread)^2 + factor factor', one a sample: (B, K), (B, K) and (B, K, rank).

    ``rows`` (B or 1, Q, K) below are values of linear functionals of the K functions, such as the functions or an
    operator of them at Q points: rows v is then a Gaussian process at these points.
    """

    mean: Tensor
    spread: Tensor
    factor: Tensor

    @classmethod
    def of(cls, outputs: Tensor, count: int) -> GaussianCoefficients:
        """From a network's outputs (B, count (2 + rank)): means, logarithms of spreads, factors."""
        out = outputs.unflatten(-1, (count, -1))
        return cls(out[..., 0], torch.exp(out[..., 1] - 2), 0.1 * out[..., 2:])  # narrow before the first step

    def mean_of(self, rows: Tensor) -> Tensor:
        """E rows v, (B, Q)."""
        return torch.matmul(rows, self.mean[..., None])[..., 0]

    def variance_of(self, rows: Tensor) -> Tensor:
        """The diagonal of rows S rows', (B, Q)."""
        own = torch.matmul(rows.square(), self.spread.square()[..., None])[..., 0]
        return own + torch.matmul(rows, self.factor).square().sum(-1)

    def sample_of(self, rows: Tensor, scale: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """rows v for one draw of each sample's v, its deviation from the mean ``scale`` times as large: (B, Q)."""
        like: dict[str, Any] = {"generator": generator, "dtype": self.mean.dtype, "device": self.mean.device}
        own = self.spread * torch.randn(self.spread.shape, **like)
        shared = torch.randn(*self.factor.shape[:-2], self.factor.shape[-1], 1, **like)
        v = self.mean[..., None] + scale * (own[..., None] + torch.matmul(self.factor, shared))
        return torch.matmul(rows, v)[..., 0]

    def divergence(self) -> tuple[Tensor, Tensor]:
        """KL(N(mean, S) || N(0, scale^2 I)) of each sample, (B,), at the scale that makes their sum least, and it.

        scale^2 is the mean of E v_k^2 over samples and coefficients; log|S| is that of the low rank's capacitance.
        """
        count, rank = self.factor.shape[-2:]
        whitened = self.factor / self.spread[..., None]
        inner = torch.eye(rank).to(whitened) + whitened.mT @ whitened
        log_det = 2 * self.spread.log().sum(-1) + 2 * torch.linalg.cholesky(inner).diagonal(0, -2, -1).log().sum(-1)
        total = (self.mean.square() + self.spread.square()).sum(-1) + self.factor.square().sum((-2, -1))
        scale2 = total.mean() / count
        return 0.5 * (total / scale2 - count + count * scale2.log() - log_det), scale2.sqrt()

    def squares(self, rows: Tensor, values: Tensor) -> Tensor:
        """E (values - rows v)^2, (B, Q)."""
        return (values - self.mean_of(rows)).square() + self.variance_of(rows)


def log_density(squares: Tensor, noise: Tensor | float) -> Tensor:
    """log N(e; 0, noise^2) where e^2 = squares."""
    variance = torch.as_tensor(noise).to(squares) ** 2
    return -0.5 * (squares / variance + variance.log() + math.log(2 * math.pi))
