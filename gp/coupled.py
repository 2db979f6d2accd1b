"""Many outputs of one process: a shared kernel with a scale for each, and the intrinsic model of coregionalisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .gram import cholesky
from .inducing import Hyper, ard_gram, whitened
from .structured.kronecker import KroneckerEigen, quad_logdet

Parameters = dict[str, Tensor]


def minimise(loss: Callable[[Parameters], Tensor], start: Parameters, steps: int) -> tuple[Parameters, float]:
    """L-BFGS with line search; the parameters found, and the loss there."""
    raw = {k: v.clone().requires_grad_() for k, v in start.items()}
    optimizer = torch.optim.LBFGS(list(raw.values()), lr=0.5, max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(raw)
        value.backward()
        return value

    optimizer.step(closure)
    found = {k: v.detach() for k, v in raw.items()}
    return found, float(loss(found))


def _mean_log(scale: Tensor) -> Tensor:
    """Over the outputs that vary; with none, any kernel is as good."""
    varies = scale > 1e-30
    return scale[varies].log().mean() if bool(varies.any()) else 0 * scale.sum()


class SharedKernel:
    """y_j ~ GP(0, s_j^2 k(x, x'; l)) + N(0, s_j^2 g): one kernel and ratio g of noise, a scale for each output.

    One Cholesky factor of K + g I serves all outputs; s_j^2 = y_j' (K + g I)^-1 y_j / n maximises the likelihood.
    """

    @staticmethod
    def start(x: Tensor, y: Tensor, lengths: int) -> Parameters:
        first = 2.0 * x.shape[1] ** 0.5 if lengths > 1 or x.shape[1] == 1 else 1.0
        return {"log_length": x.new_full((lengths,), math.log(first)), "log_noise": x.new_tensor(math.log(1e-3))}

    @staticmethod
    def loss(kernel: str, x: Tensor, y: Tensor, h: Mapping[str, Tensor], floor: float) -> Tensor:
        """Negative log likelihood a value, Rasmussen and Williams (2006), section 5.4.1, with the scales put in."""
        L, _, quadratic, _ = SharedKernel._solve(kernel, x, y, h, floor)
        n = x.shape[0]
        logdet = 2 * L.diagonal().log().sum()
        return 0.5 * (_mean_log(quadratic / n) + logdet / n + 1 + math.log(2 * math.pi))

    @staticmethod
    def sparse(
        kernel: str, z: Tensor, x: Tensor, y: Tensor, h: Mapping[str, Tensor], floor: float
    ) -> tuple[Tensor, Hyper]:
        """The negative collapsed bound a value with inducing points z and the scales put in, and all it says of y."""
        length, noise = h["log_length"].exp(), floor + h["log_noise"].exp()
        _, LB, A = whitened(ard_gram(kernel, z, z, length), ard_gram(kernel, z, x, length), noise)
        c = torch.linalg.solve_triangular(LB, A @ y.mT, upper=False)
        n, scale = len(x), (y.square().sum(1) - c.square().sum(0)).clamp_min(0) / noise / len(x)
        logdet = 2 * LB.diagonal().log().sum() + n * noise.log()
        missed = n / noise - A.square().sum()
        value = _mean_log(scale) + (logdet + missed) / n + 1 + math.log(2 * math.pi)
        return 0.5 * value, Hyper(torch.zeros_like(scale), length.expand(len(y), -1), scale, scale * noise)

    @staticmethod
    def _solve(
        kernel: str, x: Tensor, y: Tensor, h: Mapping[str, Tensor], floor: float
    ) -> tuple[Tensor, float, Tensor, Tensor]:
        """L with L L' = K + g I, the jitter it needed, y_j' (K + g I)^-1 y_j and L^-1 y_j."""
        K = ard_gram(kernel, x, x, h["log_length"].exp())
        noise = floor + h["log_noise"].exp()
        L, jitter = cholesky(K + noise * torch.eye(len(x), dtype=x.dtype, device=x.device))
        white = torch.linalg.solve_triangular(L, y.mT, upper=False)
        return L, jitter, white.square().sum(0), white

    def __init__(self, kernel: str, x: Tensor, y: Tensor, h: Mapping[str, Tensor], floor: float):
        self.kernel, self.x, self.length = kernel, x, h["log_length"].exp()
        self.factor, self.jitter, quadratic, self.white = self._solve(kernel, x, y, h, floor)
        self.noise = floor + h["log_noise"].exp() + self.jitter
        self.scale = (quadratic / len(x)).sqrt()

    def predict(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of new observations, (r, n)."""
        k = torch.linalg.solve_triangular(self.factor, ard_gram(self.kernel, self.x, z, self.length), upper=False)
        variance = (1 - k.square().sum(0)).clamp_min(0) + self.noise
        return self.white.mT @ k, self.scale[:, None] * variance.sqrt()


class Coregionalised:
    """cov(y_i(x), y_j(x')) = B_ij k(x, x'; l) + d_i delta, B = W W' + diag(kappa), W (r, rank).

    Outputs inform each other where there is noise. With all outputs at all inputs the covariance is a Kronecker product
    and noise, and eigendecompositions of K and of d^-1/2 B d^-1/2 make the likelihood and posterior exact, at the cost
    n^3 + r^3 instead of (n r)^3.

    Source: Bonilla, Chai and Williams, NIPS 2007; Rakitsch et al., NIPS 2013.
    """

    @staticmethod
    def start(x: Tensor, y: Tensor, lengths: int, rank: int) -> Parameters:
        r = len(y)
        values, vectors = torch.linalg.eigh(y @ y.mT / y.shape[1])
        k = min(rank, r)
        first = SharedKernel.start(x, y, lengths)["log_length"]
        return {
            "log_length": first,
            "factor": (vectors[:, -k:] * values[-k:].clamp_min(1e-6).sqrt()).contiguous(),
            "log_own": torch.full_like(y[:, 0], math.log(0.1)),
            "log_noise": torch.full_like(y[:, 0], math.log(0.1)),
        }

    @staticmethod
    def _whiten(y: Tensor, h: Mapping[str, Tensor], floor: float) -> tuple[Tensor, Tensor, Tensor]:
        d = floor + h["log_noise"].exp()
        B = h["factor"] @ h["factor"].mT + torch.diag(h["log_own"].exp())
        s = d.rsqrt()
        return y * s[:, None], s[:, None] * B * s, d

    @staticmethod
    def loss(kernel: str, x: Tensor, y: Tensor, h: Mapping[str, Tensor], floor: float) -> Tensor:
        """Negative log likelihood a value."""
        white, B, d = Coregionalised._whiten(y, h, floor)
        K = ard_gram(kernel, x, x, h["log_length"].exp())
        quadratic, logdet = quad_logdet(white, torch.ones_like(d[0]), [B, K])
        return 0.5 * ((quadratic + logdet) / y.numel() + d.log().mean() + math.log(2 * math.pi))

    def __init__(self, kernel: str, x: Tensor, y: Tensor, h: Mapping[str, Tensor], floor: float):
        self.kernel, self.x, self.length = kernel, x, h["log_length"].exp()
        white, self.B, self.noise = self._whiten(y, h, floor)
        self.eigen = KroneckerEigen([self.B, ard_gram(kernel, x, x, self.length)], torch.ones_like(self.noise[0]))
        self.alpha = self.eigen.solve(white)

    def predict(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of new observations, (r, n)."""
        k = ard_gram(self.kernel, self.x, z, self.length)
        (mu, _), (U, Q) = self.eigen.values, self.eigen.vectors
        rotated = (Q.mT @ k).square()
        explained = (U * mu).square() @ (self.eigen.total.reciprocal() @ rotated)
        variance = (self.B.diagonal()[:, None] - explained).clamp_min(0) + 1
        return self.noise.sqrt()[:, None] * (self.B @ self.alpha @ k), (self.noise[:, None] * variance).sqrt()
