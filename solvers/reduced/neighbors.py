"""Nearest neighbours as a regressor, and so as a classifier of indicator vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...errors import NWidthError
from .fields import as_real
from .regression import Validate


class KNN:
    """y(x) = sum_i w_i y_i / sum_i w_i over the k nearest training inputs, w_i = |x - x_i|^-p.

    Every combination of ``neighbors`` (k) and ``powers`` (p; 0: the plain mean) is tried. The best on validation is
    kept, or without validation the one with the smallest leave-one-out error. At a training input the answer is that
    sample's, for p > 0. Trained on indicator vectors, the answer is the share of each class among the neighbours.

    Source: Shepard, Proc. 23rd ACM National Conference (1968), for the weights.

    >>> x = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None]
    >>> k = KNN(); _ = k.fit(x, x**2, None, seed=0)
    >>> bool((k.predict(x + 0.003)[0] - (x + 0.003) ** 2).abs().max() < 2e-2)
    True
    """

    def __init__(self, neighbors: list[int] | None = None, powers: list[float] | None = None):
        self.neighbors = sorted(neighbors or [1, 2, 4, 8, 16])
        self.powers = list(powers if powers is not None else [0.0, 1.0, 2.0, 4.0])
        if self.neighbors[0] < 1 or not self.powers or min(self.powers) < 0:
            raise NWidthError("KNN", got=f"{self.neighbors}, {self.powers}", expected="neighbors >= 1, powers >= 0")
        self.k, self.power = self.neighbors[0], self.powers[0]
        self.x: Tensor | None = None
        self.y: Tensor | None = None

    def fit(self, x: Tensor, y: Tensor, validate: Validate | None, *, seed: int) -> list[dict[str, Any]]:
        self.refit(x, y)
        history: list[dict[str, Any]] = []
        own = validate is None
        key = "loo_rel_l2" if own else "val_rel_l2"
        most = max(1, min(self.neighbors[-1], len(x) - own))
        distance, index = self._nearest(as_real(x) if validate is None else as_real(validate[0]), most, own)
        for k in sorted({min(k, most) for k in self.neighbors}):
            for power in self.powers:
                mean = self._mean(distance[:, :k], index[:, :k], power)
                error = float((mean - y).norm() / y.norm().clamp_min(1e-300)) if validate is None else validate[1](mean)
                history.append({"neighbors": k, "power": power, key: error})
        best = min(history, key=lambda h: h[key])
        self.k, self.power = best["neighbors"], best["power"]
        return history

    refine = fit

    def refit(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def _nearest(self, x: Tensor, k: int, own: bool = False) -> tuple[Tensor, Tensor]:
        """Distances (N, k) to the nearest training inputs, increasing, and which they are; ``own``: not oneself."""
        assert self.x is not None
        distance = torch.cdist(x, as_real(self.x), compute_mode="donot_use_mm_for_euclid_dist")
        if own and len(x) > 1:
            distance.fill_diagonal_(float("inf"))
        found = distance.topk(k, dim=1, largest=False)
        return found.values, found.indices

    def _mean(self, distance: Tensor, index: Tensor, power: float) -> Tensor:
        assert self.y is not None
        # relative to the nearest one, so that no power under- or overflows
        ratio = distance[:, :1].clamp_min(1e-300) / distance.clamp_min(1e-300)
        weight = ratio**power
        weight = weight / weight.sum(1, keepdim=True)
        return (weight[..., None] * self.y[index]).sum(1)

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        assert self.x is not None
        parts = [self._mean(*self._nearest(p, min(self.k, len(self.x))), self.power) for p in as_real(x).split(1024)]
        return torch.cat(parts), None

    @property
    def selected(self) -> dict[str, Any]:
        return {"neighbors": self.k, "power": self.power}

    @property
    def parameters(self) -> int:
        return 0 if self.y is None else self.y.numel()

    def state_dict(self) -> dict[str, Any]:
        return {"k": self.k, "power": self.power, "x": self.x, "y": self.y}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.k, self.power = int(state["k"]), float(state["power"])
        self.x, self.y = state["x"], state["y"]
