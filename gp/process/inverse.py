"""Inverse problems answered by one evaluation of a network: from noisy samples of one field, a process of another."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...data.progress import steps_bar
from .gaussian import GaussianCoefficients, log_density
from .waves import Waves

Draw = Callable[[int, torch.Generator], tuple[Tensor, ...]]
FLOOR = 1e-3  # of a deviation: below it the logarithm of the density would fit the last digits


class FieldInference:
    """q(g | y): values y at any points to the Gaussian process of a field g, by a network as in ``GridInvariantNet``.

    ``draw(step, generator)`` gives joint samples of both: points (1, P, d), y (B, P, C), query points (1, Q, d) and
    g there (B, Q). Trained on - log q(g(x) | y) at the query points, whose least mean is reached by the posterior's
    means and variances; so it is calibrated for what the joint samples are.

    Source: Vadeboncoeur et al. (2023, arXiv:2301.11040), their inverse direction, learned here from draws of the
    forward one that is fitted before it.
    """

    def __init__(self, network: nn.Module, waves: Waves):
        self.network, self.waves = network, waves
        self.history: list[float] = []

    def _moments(self, points: Tensor, values: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        q = GaussianCoefficients.of(self.network(points, values), self.waves.count)
        rows = self.waves.values(query)
        return q.mean_of(rows), q.variance_of(rows) + FLOOR**2

    def fit(self, draw: Draw, *, steps: int = 1000, lr: float = 1e-2, seed: int = 0) -> FieldInference:
        optimizer = torch.optim.Adam(self.network.parameters(), lr=lr)
        rise = max(1, steps // 5)  # the rate grows for a fifth of the steps and falls along a cosine
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda s: min((s + 1) / rise, 0.5 + 0.5 * math.cos(math.pi * max(0, s - rise) / max(1, steps - rise))),
        )
        generator = torch.Generator().manual_seed(seed)
        self.network.train()
        with steps_bar("inverse", steps) as advance:
            for step in range(steps):
                points, values, query, target = draw(step, generator)
                mean, variance = self._moments(points, values, query)
                loss = -log_density((target - mean).square(), variance.sqrt()).mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
                optimizer.step()
                schedule.step()
                self.history.append(float(loss.detach()))
                advance(1)
        self.network.eval()
        return self

    def infer(self, points: Tensor, values: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of g at ``query``, (B, Q)."""
        with torch.no_grad():
            mean, variance = self._moments(points, values, query)
        return mean, variance.sqrt()
