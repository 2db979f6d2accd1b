"""Quasi-periodic processes by structural equations: a likelihood whose cost does not grow with the length."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from gpytorch.kernels import Kernel
from torch import Tensor, nn

from ...data.surrogate import Prediction
from ...errors import NWidthError


class QuasiPeriodicKernel(Kernel):
    """Y_i = w Y_{i-1} + e_i for blocks Y_i of one period, p samples at equal steps: Cov = w^|i-j| K_p,
    K_p[a, b] = k(h |a - b|) + nugget (a = b), h = period / p.

    ``base_kernel`` is any stationary kernel k of one input (gpytorch's PeriodicKernel for seamless periods), the
    correlation w of neighbouring periods and the nugget are learned. Inputs are multiples of h. As a gpytorch kernel
    it is dense; ``log_likelihood`` of ``PeriodStatistics`` uses the recursion: log p = -1/2 [tr(K_p^-1 M(w)) + k
    log|K_p| + p (k-1) log(1-w^2) + ...], M(w) = Y_1 Y_1' + sum (Y_i - w Y_{i-1})(..)' / (1 - w^2), so k periods enter
    through sums that are formed once, and K_p^-1 through Levinson's recursion and the formula of Gohberg and Semencul,
    p^2 operations.

    Source: Nigam, Srivastava, Marzbanrad and Burke, A structural equation formulation for general quasi-periodic
    Gaussian processes, arXiv:2511.01151 (2025).

    >>> from gpytorch.kernels import RBFKernel
    >>> k = QuasiPeriodicKernel(RBFKernel(), period=1.0, samples=4, correlation=0.5)
    >>> x = torch.arange(9)[:, None] / 4
    >>> K = k(x).to_dense()
    >>> round((K[0, 4] / K[0, 0]).item(), 3), round((K[0, 8] / K[0, 0]).item(), 3)
    (0.5, 0.25)
    """

    def __init__(
        self, base_kernel: Kernel, *, period: float, samples: int, correlation: float = 0.9, nugget: float = 1e-3
    ):
        super().__init__()
        if not base_kernel.is_stationary or base_kernel.batch_shape:
            raise NWidthError("QuasiPeriodicKernel", got=type(base_kernel).__name__, expected="one stationary kernel")
        if not (period > 0 and samples >= 2 and 0 < correlation < 1 and nugget > 0):
            raise NWidthError(
                "QuasiPeriodicKernel",
                got=f"period={period}, samples={samples}, correlation={correlation}, nugget={nugget}",
                expected="period > 0, samples >= 2, 0 < correlation < 1, nugget > 0",
            )
        self.base_kernel, self.period, self.samples = base_kernel, float(period), int(samples)
        self.raw_correlation = nn.Parameter(torch.tensor(math.log(correlation / (1 - correlation))))
        self.log_nugget = nn.Parameter(torch.tensor(math.log(nugget)))

    @property
    def correlation(self) -> Tensor:
        return self.raw_correlation.sigmoid()

    @property
    def nugget(self) -> Tensor:
        return self.log_nugget.exp()

    def column(self) -> Tensor:
        """First column of K_p, (p,), in double precision."""
        x = torch.arange(self.samples, dtype=torch.float64, device=self.log_nugget.device)[:, None]
        column = self.base_kernel(x * (self.period / self.samples), x[:1]).to_dense()[:, 0].double()
        return torch.cat([column[:1] + self.nugget, column[1:]])

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, last_dim_is_batch: bool = False, **params) -> Tensor:
        if diag:
            return self.column()[0].to(x1).expand(x1.shape[:-1])
        (i, a), (j, b) = (self._place(x) for x in (x1, x2))
        between = self.correlation ** (i[..., :, None] - j[..., None, :]).abs()
        return (between * self.column()[(a[..., :, None] - b[..., None, :]).abs()]).to(x1)

    def _place(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Number of the period and place within, for inputs on the lattice."""
        steps = x[..., 0].double() * self.samples / self.period
        n = steps.round()
        if x.shape[-1] != 1 or bool((steps - n).abs().gt(1e-3).any()):
            raise NWidthError(
                "QuasiPeriodicKernel",
                got="inputs off the lattice",
                expected=f"multiples of {self.period / self.samples:g}",
            )
        n = n.long()
        return n.div(self.samples, rounding_mode="floor"), n % self.samples

    def log_likelihood(self, data: PeriodStatistics) -> Tensor:
        """log p(y) of the samples in ``data``; differentiable; p^2 operations, whatever the number of periods."""
        if data.samples != self.samples:
            raise NWidthError(
                "QuasiPeriodicKernel", got=f"blocks of {data.samples}", expected=f"{self.samples} samples"
            )
        w, p, r = self.correlation.double(), self.samples, len(data.tail)
        left = 1 - w
        shrink = 1 - w.square()
        c = self.column()
        orders = (p, r) if r else (p,)
        (a, E, logdet), *rest = levinson(c, orders)
        b = torch.cat([a.new_zeros(1), a[1:].flip(0)])
        both = torch.stack([a, b])
        forms = (both @ data.sums * both).sum(-1)  # (4, 2)
        forms = (forms[:, 0] - forms[:, 1]) / E
        quad = forms[0] + (forms[1] + 2 * left * forms[2] + left.square() * forms[3]) / shrink
        total = quad + data.periods * logdet + p * (data.periods - 1) * shrink.log()
        if r:
            a, E, logdet = rest[0]
            e = data.tail - w * data.last[:r]
            total = total + inverse_form(a, E, e) / shrink + logdet + r * shrink.log()
        return -0.5 * (total + (p * data.periods + r) * math.log(2 * math.pi))

    @torch.no_grad()
    def forecast(self, data: PeriodStatistics, count: int) -> Prediction:
        """Mean and standard deviation of the next ``count`` samples given all before; work does not grow with these."""
        w, p, r = self.correlation.double(), self.samples, len(data.tail)
        i = torch.arange(p, device=data.last.device)
        K = self.column()[(i[:, None] - i).abs()]
        mean, cov = w * data.last, (1 - w**2) * K
        if r:  # the period that has begun
            gain = torch.linalg.solve(K[:r, :r], K[:r]).T
            mean = mean + gain @ (data.tail - mean[:r])
            cov = cov - (1 - w**2) * gain @ K[:r]
            mean[:r] = data.tail
        means, variances = [mean[r:]], [cov.diagonal()[r:]]
        known = cov.diagonal().clone()
        known[:r] = 0
        for j in range(1, -(-max(count - (p - r), 0) // p) + 1):
            means.append(w**j * mean)
            variances.append(w ** (2 * j) * known + (1 - w ** (2 * j)) * K[0, 0])
        variance = torch.cat(variances)[:count].clamp_min(0)
        return Prediction(torch.cat(means)[:count], variance.sqrt())


@dataclass(frozen=True)
class PeriodStatistics:
    """What the likelihood needs of y (n,), n = k p + r: made once by ``of``, n p operations.

    ``sums`` (4, p, p) are the sums along diagonals of Y_1 Y_1', sum D_i D_i', sum of the symmetric part of D_i
    Y_{i-1}', and sum Y_{i-1} Y_{i-1}', D_i = Y_i - Y_{i-1}: differences, since w is near 1. ``last`` is the last whole
    period, ``tail`` what follows it.
    """

    sums: Tensor
    last: Tensor
    tail: Tensor
    periods: int
    samples: int

    @classmethod
    def of(cls, y: Tensor, samples: int) -> PeriodStatistics:
        if y.ndim != 1 or len(y) < samples or samples < 2 or not bool(torch.isfinite(y).all()):
            raise NWidthError("PeriodStatistics", got=f"y {tuple(y.shape)}", expected=f"finite (n,), n >= {samples}")
        y = y.double()
        k = len(y) // samples
        Y = y[: k * samples].view(k, samples)
        D, before = Y.diff(dim=0), Y[:-1]
        mixed = D.T @ before
        matrices = torch.stack([torch.outer(Y[0], Y[0]), D.T @ D, (mixed + mixed.T) / 2, before.T @ before])
        for i in range(samples - 2, -1, -1):  # T[i, j] = M[i, j] + T[i+1, j+1]
            matrices[:, i, :-1] += matrices[:, i + 1, 1:]
        return cls(matrices, Y[-1], y[k * samples :], k, samples)


def levinson(c: Tensor, orders: tuple[int, ...]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(a, E, log|T|) of the leading Toeplitz matrices of these orders, first column c: predictor a, its error E.

    An error where a prediction error is not positive: the matrix is singular to round-off. p^2 operations.
    """
    a, E = c.new_ones(1), c[0]
    logdet = E.log()
    found = {1: (a, E, logdet)}
    for m in range(1, max(orders)):
        k = -(a @ c[1 : m + 1].flip(0)) / E
        longer = torch.nn.functional.pad(a, (0, 1))
        a = longer + k * longer.flip(0)
        E = E * (1 - k) * (1 + k)
        if not bool(E / c[0] > 1e-14):
            raise NWidthError(
                "QuasiPeriodicKernel",
                got="a covariance of one period that is singular to round-off",
                expected="a positive definite one",
                fix="raise the nugget, or shorten the kernel's length",
            )
        logdet = logdet + E.log()
        if m + 1 in orders:
            found[m + 1] = (a, E, logdet)
    return [found[n] for n in orders]


def inverse_form(a: Tensor, E: Tensor, x: Tensor) -> Tensor:
    """x' T^-1 x by Gohberg and Semencul: T^-1 = (L(a) L(a)' - L(b) L(b)') / E, L lower triangular Toeplitz."""
    n = len(x)
    i = torch.arange(n, device=x.device)
    shift = (i[None] - i[:, None]).clamp_min(0)
    upper = (i[None] >= i[:, None]).to(x)
    b = torch.cat([a.new_zeros(1), a[1:].flip(0)])
    return ((upper * a[shift] @ x).square().sum() - (upper * b[shift] @ x).square().sum()) / E
