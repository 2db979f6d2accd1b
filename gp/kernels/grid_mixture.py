"""The grid spectral mixture product kernel: fixed peaks, learned sparse weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import NWidthError
from .envelopes import check_envelope
from .mixture import sum_of_waves
from .stationary import SmoothStationaryKernel


class GridSpectralMixtureProduct(SmoothStationaryKernel):
    """k(x, x') = sum_q w_q prod_p exp(-2 pi^2 sigma_p^2 d_p^2) cos(2 pi mu_qp d_p), mu on a fixed grid, w >= 0 learned.

    The grid has ``counts[p]`` centres from 0 to ``max_frequency[p]`` (cycles per unit), Q = prod counts; sigma_p is
    ``bandwidth[p]``, by default half the step of the grid. ``envelope`` may be another one of ``SpectralMixture``.
    ``fit_weights`` learns w and the noise on data by majorisation: no step size, the likelihood never falls, and most
    weights go to zero. As logarithms the weights can also be learned by gradient, like any gpytorch kernel's.

    Source of the kernel: Suwandi et al., Sparsity-aware distributed learning for Gaussian processes with linear
    multiple kernel (2023); of the update: Yin et al., Linear multiple low-rank kernel based stationary Gaussian
    processes regression for time series (2020), and Hunter and Lange, A tutorial on MM algorithms (2004).

    >>> k = GridSpectralMixtureProduct(counts=[21], max_frequency=[10.0])
    >>> x = torch.linspace(0, 1, 60, dtype=torch.float64)[:, None]
    >>> noise, _ = k.double().fit_weights(x, torch.sin(2 * torch.pi * 4 * x[:, 0]))
    >>> k.frequencies[k.weights.argmax()].tolist()
    [4.0]
    """

    def __init__(
        self,
        counts: Sequence[int],
        max_frequency: Sequence[float],
        *,
        bandwidth: Sequence[float] | None = None,
        envelope: str = "gaussian",
        active_dims: Sequence[int] | None = None,
    ):
        if len(counts) != len(max_frequency) or min(counts) < 2 or min(max_frequency) <= 0:
            raise NWidthError(
                "GridSpectralMixtureProduct",
                got=f"counts={list(counts)}, max_frequency={list(max_frequency)}",
                expected="2 or more centres and a positive frequency for each dimension",
            )
        super().__init__(len(counts), (), active_dims)
        self.envelope = check_envelope("GridSpectralMixtureProduct", envelope)
        axes = [torch.linspace(0, f, n) for n, f in zip(counts, max_frequency)]
        widths = bandwidth or [f / (n - 1) / 2 for n, f in zip(counts, max_frequency)]
        mu = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(counts))
        self.register_buffer("frequencies", mu)
        self.register_buffer("bandwidths", torch.tensor(widths).expand(mu.shape).clone())
        self.log_weights = nn.Parameter(torch.full((len(mu),), -math.log(len(mu))))

    @property
    def weights(self) -> Tensor:
        return self.log_weights.exp()

    def kappa(self, d: list[Tensor], orders: Sequence[int], axes: int) -> Tensor:
        return sum_of_waves(self.envelope, d, self.weights, self.bandwidths, self.frequencies, orders, axes)

    def active(self, tolerance: float = 1e-3) -> Tensor:
        """Which components have a weight above ``tolerance`` times the largest."""
        return self.weights.detach() > tolerance * self.weights.detach().max()

    @torch.no_grad()
    def fit_weights(
        self, x: Tensor, y: Tensor, *, noise: float | None = None, steps: int = 100, tolerance: float = 1e-7
    ) -> tuple[float, list[float]]:
        """Maximise the likelihood of y (n,), less its mean, at x (n, dims), over the weights and the noise variance.

        w_q <- w_q sqrt(a' K_q a / tr(C^-1 K_q)), noise <- noise sqrt(a'a / tr C^-1), a = C^-1 y, until the gain of the
        log likelihood a point is below ``tolerance``. Returns the noise variance and the log likelihoods. Work and
        memory n^2 Q.
        """
        n = len(x)
        if y.shape != (n,) or x.shape != (n, self.dims) or not bool(torch.isfinite(y).all() & torch.isfinite(x).all()):
            raise NWidthError(
                "GridSpectralMixtureProduct.fit_weights",
                got=f"x {tuple(x.shape)}, y {tuple(y.shape)}",
                expected=f"finite (n, {self.dims}) and (n,)",
            )
        x, y = x.double(), y.double() - y.double().mean()
        variance = float(y.square().mean())
        if not variance > 0:
            raise NWidthError(
                "GridSpectralMixtureProduct.fit_weights", got="constant values", expected="values that vary"
            )
        difference = list((x.unsqueeze(-2) - x.unsqueeze(-3)).unbind(-1))
        parts = []
        for mu, sigma in zip(self.frequencies.double(), self.bandwidths.double()):
            one = torch.ones(1, dtype=torch.float64, device=x.device)
            zero = (0,) * self.dims
            parts.append(sum_of_waves(self.envelope, difference, one, sigma[None], mu[None], zero, 2).flatten())
        K = torch.stack(parts)
        w = torch.full((len(K),), variance / len(K), dtype=torch.float64, device=x.device)
        s = 0.1 * variance if noise is None else float(noise)
        floor = 1e-10 * variance
        history: list[float] = []
        for _ in range(steps):
            C = (w @ K).view(n, n)
            C.diagonal().add_(s)
            L = torch.linalg.cholesky(C)
            inverse = torch.cholesky_inverse(L)
            a = inverse @ y
            history.append(-0.5 * float(y @ a + 2 * L.diagonal().log().sum() + n * math.log(2 * math.pi)))
            if len(history) > 1 and history[-1] - history[-2] < tolerance * n:
                break
            # one factor for all matrices: K_q is symmetric, so both forms are products with its entries
            forms = K @ torch.stack([torch.outer(a, a).flatten(), inverse.flatten()], 1)
            w = (w * (forms[:, 0].clamp_min(0) / forms[:, 1]).sqrt()).clamp_min(1e-30 * variance)
            s = max(s * float((a @ a / inverse.trace()).sqrt()), floor)
        self.log_weights.copy_(w.log())
        return s, history
