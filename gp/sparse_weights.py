"""Non-negative weights of kernel matrices, sparse: convex steps on the likelihood of one agent's samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from .gram import cholesky

FLOOR = 1e-8  # of the noise variance, in units of the data's
TINY = 1e-10  # weight at which the prior is cut off, in units of the data's variance
SHARE = 0.02  # of the largest weight, in the size of each


class Agent:
    """Local data, and one step on l(theta) = y' C^-1 y + log|C|, C = sum_q theta_q K_q + theta_Q I, theta >= 0."""

    def __init__(self, K: Tensor, y: Tensor):
        self.n, self.y = len(y), y
        self.K = K.reshape(len(K), -1)
        self.theta = torch.full((len(K) + 1,), 1 / len(K), dtype=torch.float64)
        self.theta[-1] = 0.1
        self.dual = torch.zeros_like(self.theta)
        self.sent = torch.zeros_like(self.theta)  # what the others know of theta + dual / rho

    def keep(self, some: Tensor) -> None:
        """Forget all but some components; ``some`` (Q + 1,) ends with the noise."""
        self.K = self.K[some[:-1]]
        self.theta, self.dual, self.sent = (v[some] for v in (self.theta, self.dual, self.sent))

    def _factor(self, theta: Tensor) -> Tensor:
        active = theta[:-1].nonzero()[:, 0]
        C = (theta[active] @ self.K[active]).view(self.n, self.n)
        C.diagonal().add_(theta[-1])
        return cholesky(C)[0]

    def loss(self, theta: Tensor) -> float:
        L = self._factor(theta)
        white = torch.linalg.solve_triangular(L, self.y[:, None], upper=False)
        return float(white.square().sum() + 2 * L.diagonal().log().sum())

    def slope(self, theta: Tensor) -> Tensor:
        """tr(C^-1 K_q): the linear majorant of log|C|, which is concave in theta."""
        inverse = torch.cholesky_inverse(self._factor(theta))
        return torch.cat([self.K @ inverse.flatten(), inverse.trace()[None]])

    def rises(self, theta: Tensor, most: float) -> Tensor:
        """By how much the loss rises without each component that has a weight, at most ``most``; (Q,)."""
        found, here = torch.full((len(theta) - 1,), most, dtype=torch.float64), self.loss(theta)
        for q in theta[:-1].nonzero()[:, 0]:
            without = theta.clone()
            without[q] = 0
            found[q] = min(most, self.loss(without) - here)
        return found

    def step(self, calls: int, slope: Tensor, consensus: Tensor | None = None, rho: Tensor | float = 0.0) -> None:
        """theta <- argmin y' C^-1 y + slope . theta + dual . (theta - z) + |theta - z|^2_rho / 2, a convex problem."""
        z = torch.zeros_like(slope) if consensus is None else consensus
        unit = units(self.theta)  # weights of all sizes move alike

        def value(v: np.ndarray) -> tuple[float, np.ndarray]:
            theta = unit * torch.from_numpy(v)
            alpha = torch.cholesky_solve(self.y[:, None], self._factor(theta))[:, 0]
            forms = torch.cat([self.K @ torch.outer(alpha, alpha).flatten(), alpha.square().sum()[None]])
            away = theta - z
            total = self.y @ alpha + slope @ theta + self.dual @ away + 0.5 * (rho * away.square()).sum()
            return float(total), (unit * (slope - forms + self.dual + rho * away)).numpy()

        bounds = [(0.0, None)] * (len(slope) - 1) + [(FLOOR / float(unit[-1]), None)]
        options = {"maxfun": calls, "maxiter": calls}
        start = (self.theta / unit).numpy()
        found = scipy.optimize.minimize(value, start, jac=True, bounds=bounds, options=options)
        self.theta = unit * torch.from_numpy(found.x)


def units(theta: Tensor) -> Tensor:
    """A size for each weight that is never zero."""
    return theta + SHARE * theta.max()


def tangent(theta: Tensor, prior: float) -> Tensor:
    """Slope of prior sum_q log theta_q, concave as well."""
    slope = prior / (theta + TINY)
    slope[-1] = 0
    return slope


def penalty(theta: Tensor, prior: float) -> float:
    return prior * float((theta[:-1] / TINY).log1p().sum())


def restrict(agents: Sequence[Agent], theta: Tensor) -> Tensor:
    """Which entries are not zero, the noise's last; the agents forget the other components."""
    some = theta > 0
    for agent in agents:
        agent.keep(some)
    return some


def drop(theta: Tensor, bar: float, rises: Callable[[Tensor], Tensor]) -> Tensor:
    """theta without the components that lower the loss by less than ``bar``, the least one first."""
    while bool(theta[:-1].any()) and float((found := rises(theta)).min()) < bar:
        theta = theta.clone()
        theta[found.argmin()] = 0
    return theta
