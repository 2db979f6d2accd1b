"""The evidence bound of -div(kappa grad u) = f at random collocation points, and error bars from its residual."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .gaussian import GaussianCoefficients, log_density
from .waves import Waves


@dataclass(frozen=True)
class Collocation:
    """Points (1 or B, Q, d) of the unit cube, and there kappa (B, Q), its gradient (B, Q, d) and f (B, Q)."""

    points: Tensor
    kappa: Tensor
    slope: Tensor
    force: Tensor

    def rows(self, waves: Waves) -> Tensor:
        """-div(kappa grad phi_k) at the points, (B, Q, K)."""
        out = -self.kappa[..., None] * waves.laplacian(self.points)
        for slope, derivative in zip(self.slope.unbind(-1), waves.gradient(self.points).unbind(-2)):
            out = out - slope[..., None] * derivative
        return out


@dataclass(frozen=True)
class Observations:
    """Noisy values (B, M) of u at points (1 or B, M, d), N(u, noise^2): those whose weight (B, M) is 1, not 0."""

    points: Tensor
    values: Tensor
    weight: Tensor
    noise: float


def evidence_bound(
    q: GaussianCoefficients, waves: Waves, at: Collocation, observed: Observations | None = None
) -> tuple[Tensor, Tensor]:
    """E_q log N(f; L u, noise^2 I) + E_q log p(observed) - KL(q || prior) of each sample, (B,), and the noise (B, 1).

    In closed form, without a draw of u, since L = -div(kappa grad) is linear. The noise of each sample's residual,
    noise^2 = mean_j E_q (f - L u)(x_j)^2, and the prior's size for the batch are those that make the bound largest.
    With new points in each step, its mean is the bound in which the grid is marginalised.

    Source: Vadeboncoeur et al. (2023, arXiv:2301.11040): random collocation grids, residual and data likelihoods.
    """
    squares = q.squares(at.rows(waves), at.force)
    noise = squares.mean(-1, keepdim=True).sqrt()
    bound = log_density(squares, noise).sum(-1) - q.divergence()[0]
    if observed is not None:
        seen = q.squares(waves.values(observed.points), observed.values)
        bound = bound + (observed.weight * log_density(seen, observed.noise)).sum(-1)
    return bound, noise


def residual_scale(q: GaussianCoefficients, waves: Waves, at: Collocation) -> Tensor:
    """The factor by which q's deviations agree with the residuals of its means: no solution is needed.

    The residual r of the mean is L (u - mean), so <phi_k, r> is what q says has the variance of <phi_k, L u>. The sum
    over k of <phi_k, r>^2, the square of |r| in H^-2 and for smooth kappa like that of |u - mean| in L2, is compared
    with the sum of these variances, both averaged over the samples of a batch that training has not seen.
    """
    rows, test = at.rows(waves), waves.values(at.points)
    r = torch.matmul(test.mT, (at.force - q.mean_of(rows))[..., None])[..., 0]
    return (r.square().sum() / q.variance_of(torch.matmul(test.mT, rows)).sum()).sqrt()
