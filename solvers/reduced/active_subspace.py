"""Active subspaces: the directions of the inputs along which an output varies, from a network of Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import NWidthError


@dataclass(frozen=True)
class ActiveSubspace:
    """``eigenvalues`` (p,), descending, and ``directions`` (p, p), in columns, of the metric in which the output
    varies alike in all directions; ``importance`` (p,), the share of each input coordinate."""

    eigenvalues: Tensor
    directions: Tensor

    @property
    def importance(self) -> Tensor:
        """sum_k |v_ik| e_k, made to sum to one."""
        share = self.directions.abs() @ self.eigenvalues
        return share / share.sum()

    def project(self, x: Tensor, dimension: int) -> Tensor:
        """The first active coordinates of inputs x (N, p)."""
        return x @ self.directions[:, :dimension]


class GaussianRBFNetwork:
    """y(x) = b + sum_i w_i exp(-|L' (x - c_i)|^2 / 2), with the metric L L' learned: its eigenvectors are active.

    The centres c_i are ``centers`` of the training inputs, at random. For given L the weights w are those of ridge
    regression, in closed form (variable projection), so that only the p (p + 1) / 2 entries of the triangle L are
    searched, by L-BFGS on the mean square error plus ``ridge`` |w|^2 / N + ``shrink`` |L|^2: directions along which
    nothing varies shrink away.

    Source: D'Inverno, Moradi and Bemporad's idea of a learned metric, as in arXiv:2307.05639; variable projection:
    Golub and Pereyra, SIAM J. Numer. Anal. 10 (1973).

    >>> x = torch.rand(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> network = GaussianRBFNetwork(centers=40).fit(x, torch.sin(3 * (x[:, 0] - x[:, 1])), seed=0)
    >>> bool(network.active_subspace().directions[:2, 0].abs().min() > 0.7)
    True
    """

    def __init__(self, centers: int = 128, ridge: float = 1e-6, steps: int = 150, shrink: float = 1e-3):
        self.centers, self.ridge, self.steps, self.shrink = centers, ridge, steps, shrink
        self.L: Tensor | None = None

    def fit(self, x: Tensor, y: Tensor, *, seed: int = 0) -> GaussianRBFNetwork:
        """Inputs (N, p) and outputs (N,) or (N, k), in double precision."""
        x, y = x.double(), y.double().reshape(len(y), -1)
        if x.ndim != 2 or len(x) != len(y) or len(x) < 2:
            raise NWidthError(
                "GaussianRBFNetwork.fit", got=f"{tuple(x.shape)}, {tuple(y.shape)}", expected="(N, p), (N, k)"
            )
        self.bias = y.mean(0)
        self.size = float((y - self.bias).square().mean().sqrt()) or 1.0
        target = (y - self.bias) / self.size
        pick = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[: self.centers]
        self.c = x[pick]
        spread = x.std(0).mean().clamp_min(1e-300)
        self.L = self._search(x, target, float(0.5 / spread / x.shape[1] ** 0.5))
        self.w = self._weights(self._features(x, self.L), target)
        return self

    def _search(self, x: Tensor, target: Tensor, start: float) -> Tensor:
        p = x.shape[1]
        rows, columns = torch.tril_indices(p, p)
        entries = (torch.eye(p, dtype=torch.float64) * start)[rows, columns].requires_grad_()
        optimizer = torch.optim.LBFGS([entries], max_iter=self.steps, history_size=30, line_search_fn="strong_wolfe")

        def triangle() -> Tensor:
            return torch.zeros(p, p, dtype=torch.float64).index_put((rows, columns), entries)

        def closure() -> Tensor:
            optimizer.zero_grad()
            phi = self._features(x, triangle())
            w = self._weights(phi, target)
            loss = (phi @ w - target).square().mean() + self.ridge * w.square().sum() / len(x)
            loss = loss + self.shrink * entries.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return triangle().detach()

    def _features(self, x: Tensor, L: Tensor) -> Tensor:
        z, c = x @ L, self.c @ L
        square = z.square().sum(1)[:, None] + c.square().sum(1) - 2 * z @ c.mT
        return torch.exp(-0.5 * square.clamp_min(0))

    def _weights(self, phi: Tensor, target: Tensor) -> Tensor:
        gram = phi.mT @ phi + self.ridge * torch.eye(phi.shape[1], dtype=phi.dtype)
        return torch.cholesky_solve(phi.mT @ target, torch.linalg.cholesky(gram))

    def predict(self, x: Tensor) -> Tensor:
        """Outputs (N, k)."""
        if self.L is None:
            raise NWidthError("GaussianRBFNetwork.predict", got="a network that was not fitted", fix="call fit first")
        return self.bias + self.size * self._features(x.double(), self.L) @ self.w

    def active_subspace(self) -> ActiveSubspace:
        """Eigenvalues and eigenvectors of L L'."""
        if self.L is None:
            raise NWidthError("GaussianRBFNetwork", got="a network that was not fitted", fix="call fit first")
        values, vectors = torch.linalg.eigh(self.L @ self.L.mT)
        return ActiveSubspace(values.flip(0), vectors.flip(1))
