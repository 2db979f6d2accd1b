"""Sparse Gaussian process regression: the collapsed variational bound and its posterior, by Cholesky, in batches."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .gram import KERNELS, cholesky
from .landmarks import pivots


class Hyper(NamedTuple):
    """mean (b,), length (b, p) or (b, 1), variance (b,) and noise variance (b,) of b processes."""

    mean: Tensor
    length: Tensor
    variance: Tensor
    noise: Tensor


def ard_gram(kernel: str, x: Tensor, z: Tensor, length: Tensor) -> Tensor:
    """phi(|(x - z) / length|) (..., n, m) for a length of each coordinate, or one; differentiable in it."""
    a, b = x / length.unsqueeze(-2), z / length.unsqueeze(-2)
    return KERNELS[kernel](torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist"))


def whitened(Kuu: Tensor, Kuf: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """L, L_B and A: L L' = Kuu, A = L^-1 Kuf / sigma, L_B L_B' = I + A A'."""
    L, _ = cholesky(Kuu)
    A = torch.linalg.solve_triangular(L, Kuf, upper=False) / noise.sqrt()[..., None, None]
    LB = torch.linalg.cholesky(torch.eye(A.shape[-2], dtype=A.dtype, device=A.device) + A @ A.mT)
    return L, LB, A


def collapsed_bound(Kuu: Tensor, Kuf: Tensor, prior: Tensor, rest: Tensor, noise: Tensor) -> Tensor:
    """log N(rest; 0, Q + noise I) - tr(K - Q) / (2 noise) (...), Q = Kfu Kuu^-1 Kuf: below the log likelihood.

    Kuu (..., m, m), Kuf (..., m, n), prior (..., n) the diagonal of K, rest (..., n), noise (...). Work n m^2.

    Source: Titsias, AISTATS 2009, section 3.

    >>> x = torch.rand(9, 1, dtype=torch.float64)
    >>> K, y, one = ard_gram("rbf", x, x, torch.ones(1).double()), torch.rand(9).double(), torch.ones(()).double()
    >>> exact = torch.distributions.MultivariateNormal(0 * y, K + torch.eye(9)).log_prob(y)
    >>> bool((collapsed_bound(K, K, K.diagonal(), y, one) - exact).abs() < 1e-6)
    True
    """
    _, LB, A = whitened(Kuu, Kuf, noise)
    c = torch.linalg.solve_triangular(LB, A @ rest[..., None], upper=False)[..., 0] / noise.sqrt()[..., None]
    n = rest.shape[-1]
    logdet = 2 * LB.diagonal(dim1=-2, dim2=-1).log().sum(-1) + n * noise.log()
    quadratic = rest.square().sum(-1) / noise - c.square().sum(-1)
    missed = prior.sum(-1) / noise - A.square().sum((-2, -1))
    return -0.5 * (n * math.log(2 * math.pi) + logdet + quadratic + missed)


def inducing_points(kernel: str, x: Tensor, length: Tensor, count: int, seed: int) -> Tensor:
    """``count`` of the inputs, by randomly pivoted Cholesky of the kernel with these lengths."""
    generator = torch.Generator().manual_seed(seed)
    ones = torch.ones_like(x[:, 0])
    return x[pivots(lambda i: ard_gram(kernel, x, x[i], length), ones, count, generator)]


def maximise_bound(
    kernel: str, hyper: Hyper, z: Tensor, x: Tensor, y: Tensor, steps: int, floor: float
) -> tuple[Hyper, Tensor]:
    """Hyper-parameters of b processes for outputs y (b, n), from those of ``hyper``, and their bounds (b,).

    Inducing points z are fixed. One process after the other, by L-BFGS on the logarithms; the noise stays above
    ``floor``.
    """
    found, bounds = [], []
    for j in range(len(y)):
        start = [hyper.length[j].log(), hyper.variance[j].log(), (hyper.noise[j] - floor).clamp_min(1e-12).log()]
        raw = [v.detach().clone().requires_grad_() for v in (hyper.mean[j], *start)]
        optimizer = torch.optim.LBFGS(raw, lr=0.5, max_iter=steps, line_search_fn="strong_wolfe")

        def bound(raw: list[Tensor] = raw, j: int = j) -> Tensor:
            length, variance, noise = raw[1].exp(), raw[2].exp(), floor + raw[3].exp()
            Kuu, Kuf = (variance * ard_gram(kernel, z, v, length) for v in (z, x))
            return collapsed_bound(Kuu, Kuf, variance.expand(len(x)), y[j] - raw[0], noise)

        def closure(optimizer: torch.optim.Optimizer = optimizer, bound=bound) -> Tensor:
            optimizer.zero_grad()
            loss = -bound() / len(x)
            loss.backward()
            return loss

        optimizer.step(closure)
        with torch.no_grad():
            bounds.append(bound())
        done = [v.detach() for v in raw]
        found.append((done[0], done[1].exp(), done[2].exp(), floor + done[3].exp()))
    return Hyper(*(torch.stack(v) for v in zip(*found))), torch.stack(bounds)


class InducingPosterior:
    """The optimal q(u) at inducing points z for outputs y (b, n): mean and variance of new observations.

    v(x) = k(x, x) - |L^-1 k|^2 + |L_B^-1 L^-1 k|^2 + noise, k = k(z, x). Source: Titsias (2009), section 3.
    """

    def __init__(self, kernel: str, hyper: Hyper, z: Tensor, x: Tensor, y: Tensor):
        self.kernel, self.hyper, self.z = kernel, hyper, z
        self.parts = []
        for j in range(len(y)):  # bounds memory: m x n
            v = hyper.variance[j]
            Kuu, Kuf = (v * ard_gram(kernel, z, w, hyper.length[j]) for w in (z, x))
            L, LB, A = whitened(Kuu, Kuf, hyper.noise[j])
            rest = (y[j] - hyper.mean[j]) / hyper.noise[j].sqrt()
            self.parts.append((L, LB, torch.linalg.solve_triangular(LB, (A @ rest)[:, None], upper=False)[:, 0]))

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, (b, n)."""
        means, spreads = [], []
        for j, (L, LB, c) in enumerate(self.parts):
            v = self.hyper.variance[j]
            k = v * ard_gram(self.kernel, self.z, x, self.hyper.length[j])
            first = torch.linalg.solve_triangular(L, k, upper=False)
            second = torch.linalg.solve_triangular(LB, first, upper=False)
            means.append(self.hyper.mean[j] + c @ second)
            left = (v - first.square().sum(0)).clamp_min(0)
            spreads.append((left + second.square().sum(0) + self.hyper.noise[j]).sqrt())
        return torch.stack(means), torch.stack(spreads)
