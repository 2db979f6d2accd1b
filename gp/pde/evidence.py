"""The posterior of y = A w + e, w ~ N(0, s^2 S), e ~ N(0, s^2 lambda I), from one SVD of A sqrt(S)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...backends.svd import svd
from ...errors import NWidthError
from .spectrum import Mixture

# noise-to-signal variances that are tried: round-off squared, to noise as large as a third of the signal
_NEGLIGIBLE = 1e-33  # share of the largest prior variance below which a weight leaves no trace in double precision
ROUNDING = 4.0  # units of round-off in a row's sum, in the standard deviations
LAMBDAS = torch.logspace(-31, -1, 121, dtype=torch.float64)


@dataclass(frozen=True)
class Posterior:
    """w | y ~ N(mean, s^2 D (I - V diag(c / (c + lambda)) V') D), with A D = U diag(sqrt c) V', D = sqrt(S).

    ``log_evidence`` is log p(y), maximised over s^2 in closed form; lambda is the largest on a grid that the likelihood
    ratio does not refuse at 95 %, so that few rows are not taken for exact ones, and at least round-off.

    Source: Rasmussen and Williams (2006), chapters on weight space and on the marginal likelihood.
    """

    mean: Tensor
    scale: Tensor  # D, prior standard deviations before s
    vectors: Tensor  # V, (features, rank)
    values: Tensor  # c
    lam: float
    amplitude: float  # s
    log_evidence: float
    complete: bool  # V spans every weight whose prior variance is not negligible

    @property
    def noise(self) -> float:
        """Standard deviation of e."""
        return self.amplitude * self.lam**0.5

    def factor(self, phi: Tensor) -> tuple[Tensor, Tensor]:
        """Functionals phi (n, features) of w: (n, rank) factor of their covariance that the rows inform, and the
        (n, features) factor of the rest, empty where V spans all."""
        wide = phi * self.scale
        along = wide @ self.vectors
        informed = self.amplitude * along * (self.lam / (self.values + self.lam)).sqrt()
        if self.complete:
            return informed, phi[:, :0]
        return informed, self.amplitude * (wide - along @ self.vectors.T)

    def std(self, phi: Tensor) -> Tensor:
        informed, rest = self.factor(phi)
        return (informed.square().sum(1) + rest.square().sum(1)).sqrt()

    def covariance(self, phi: Tensor) -> Tensor:
        informed, rest = self.factor(phi)
        return informed @ informed.T + rest @ rest.T


def condition(
    A: Tensor, y: Tensor, S: Tensor, *, lam: float | None = None, amplitude: float | None = None
) -> Posterior:
    """The posterior given rows A (n, features) of unit noise and values y (n,).

    >>> A = torch.eye(3, dtype=torch.float64)
    >>> p = condition(A, torch.tensor([1.0, 2.0, 3.0]).double(), torch.ones(3).double(), lam=1.0, amplitude=1.0)
    >>> p.mean.tolist(), round(float(p.covariance(A)[0, 0]), 6)
    ([0.5, 1.0, 1.5], 0.5)
    """
    n, features = A.shape
    if not bool(torch.isfinite(A).all() and torch.isfinite(y).all()):
        raise NWidthError(
            "solve", got="NaN or infinite coefficients, sources or boundary values", expected="finite ones"
        )
    size = float(y.norm())
    if size == 0:
        size = 1.0
    power = S * A.square().sum(0)
    active = (power > _NEGLIGIBLE * power.max()) | (_NEGLIGIBLE * S.max() < S)
    D = torch.where(active, S, 0.0).sqrt()
    U, s, Vh = svd(A[:, active] * D[active], method="exact")
    keep = s > 0
    U, s = U[:, keep], s[keep]
    V = torch.zeros(features, len(s), dtype=torch.float64)
    V[active] = Vh[keep].T
    c, z = s.square(), U.T @ (y / size)
    rest = y / size - U @ z
    rest = rest - U @ (U.T @ rest)
    free = n - len(s)  # dimensions of y that no weight reaches
    outside = float(rest.square().sum()) if free else 0.0
    top = float(c[0]) if len(c) else 1.0
    grid = LAMBDAS * top if lam is None else torch.tensor([lam], dtype=torch.float64)
    quadratic = (z.square() / (c + grid[:, None])).sum(1) + outside / grid
    logdet = (c + grid[:, None]).log().sum(1) + free * grid.log()
    square = quadratic * size**2 / n if amplitude is None else torch.full_like(quadratic, amplitude**2)
    evidence = -0.5 * (n * (2 * math.pi * square).log() + logdet + quadratic * size**2 / square)
    best = int(torch.nonzero(evidence >= evidence.max() - 1.92).max())
    chosen, amp = float(grid[best]), float(square[best].clamp_min(1e-300).sqrt())
    mean = D * (V @ (s / (c + chosen) * z)) * size
    if lam is None:  # round-off of the rows' sums is noise that no residual shows
        rounding = ROUNDING * torch.finfo(torch.float64).eps * float((A.abs() @ mean.abs()).square().mean().sqrt())
        chosen = max(chosen, (rounding / amp) ** 2)
    return Posterior(mean, D, V, c, chosen, amp, float(evidence[best]), len(s) == int(active.sum()))


def learn(
    A: Tensor, y: Tensor, mixture: Mixture, more: Tensor, steps: int, *, floor: float = 1e-13, equal: bool = True
) -> tuple[Mixture, float]:
    """The mixture's weights and the noise by MacKay's fixed points of the marginal likelihood; the last lambda.

    theta_q <- theta_q (a' K_q a) / (s^2 tr(C^(-1) K_q)), lambda alike with K = I, where C = A S A' + lambda I, a =
    C^(-1) y
    (MacKay 1992, Neural Computation 4). By Cholesky on the smaller side, hence with lambda of at least
    ``floor`` times the largest diagonal entry of C. ``equal``: noise is in proportion to each row's prior standard
    deviation. ``more``: prior variances of weights beyond those of the mixture, which stay. ``y`` may hold several
    columns
    that share the prior.
    """
    lam, m = 1e-6, len(mixture.bumps)
    for _ in range(steps):
        S = torch.cat([mixture.density(), more])
        ridge = Ridge.of(A, y, S, lam, equal)
        if ridge is None:
            lam *= 30
            continue
        signal, informed, factor = ridge.moments()
        lam = max(lam * min(max(factor, 1e-2), 10.0), floor)
        mixture = mixture.updated(signal[:m], informed[:m])
    return mixture, lam


def held_out(A: Tensor, y: Tensor, S: Tensor, lam: float, *, equal: bool = True, of: int) -> float:
    """Relative error of the prediction of every eighth of the first ``of`` rows, the equation's, from all others."""
    left = torch.zeros(len(y), dtype=torch.bool)
    left[4:of:8] = True
    ridge = Ridge.of(A[~left], y[~left], S, lam, equal)
    if ridge is None:
        return math.inf
    size = max(float(y[left].norm()), float(y.norm()) * (int(left.sum()) / len(y)) ** 0.5)
    return float((y[left] - A[left] @ ridge.weights()).norm()) / max(size, 1e-300)


@dataclass(frozen=True)
class Ridge:
    """W = rows A sqrt(S) over their scales, and the Cholesky factor of W W' + shift I or W' W + shift I, the
    smaller."""

    W: Tensor
    y: Tensor
    D: Tensor
    active: Tensor
    L: Tensor
    shift: float
    white: Tensor  # posterior mean of w / sqrt(S), of the active weights

    @classmethod
    def of(cls, A: Tensor, y: Tensor, S: Tensor, lam: float, equal: bool) -> Ridge | None:
        power = S * A.square().sum(0)
        active = power > 1e-18 * power.max()
        D = S[active].sqrt()
        W = A[:, active] * D
        if equal:
            scale = W.norm(dim=1).clamp_min(1e-12 * float(W.norm(dim=1).max()))
            W, y = W / scale[:, None], y / (scale if y.ndim == 1 else scale[:, None])
        y = y.reshape(len(y), -1)
        shift = lam * float(W.square().sum(1).max())
        tall = W.shape[0] > W.shape[1]
        gram = W.T @ W if tall else W @ W.T
        gram.diagonal().add_(shift)
        L, info = torch.linalg.cholesky_ex(gram)
        if int(info):
            return None
        if tall:
            white = torch.cholesky_solve(W.T @ y, L)
        else:
            white = W.T @ torch.cholesky_solve(y, L)
        return cls(W, y, D, active, L, shift, white)

    def weights(self) -> Tensor:
        w = torch.zeros(len(self.active), dtype=torch.float64)
        w[self.active] = self.D * self.white[:, 0]
        return w

    def moments(self) -> tuple[Tensor, Tensor, float]:
        """mean^2 / (s^2 S) and the share of each weight that the rows determine; the factor by which lambda changes."""
        n, rest = len(self.y), self.y - self.W @ self.white
        amplitude2 = max(float((self.y * rest).sum()) / self.shift / self.y.numel(), 1e-300)
        if self.W.shape[0] > self.W.shape[1]:
            known = 1 - self.shift * torch.cholesky_inverse(self.L).diagonal()
        else:
            known = torch.linalg.solve_triangular(self.L, self.W, upper=False).square().sum(0)
        signal, informed = torch.zeros(2, len(self.active), dtype=torch.float64)
        signal[self.active], informed[self.active] = self.white.square().mean(1) / amplitude2, known.clamp(0, 1)
        free = max(n - float(informed.sum()), 1e-3 * n)
        return signal, informed, float(rest.square().sum(0).mean()) / amplitude2 / self.shift / free
