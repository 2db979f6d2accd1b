"""Spectral layers that begin with few modes and get more where their weights ask for them."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from ..errors import NWidthError
from ..operators import SpectralConv

BUFFER = 2  # modes beyond those that should explain the layer: one more frequency with either sign


class ModeGrowth(pl.Callback):
    """K modes an axis at first; two more while sum_{k <= K - 2} |W_k|^2 < ``explained`` sum_{k <= K} |W_k|^2.

    The rule is asked at the end of each epoch, for every spectral layer of the network, and one layer suffices. Modes
    beyond K have zero weights and are not computed; they begin at zero, so the function that the network is does not
    jump, and it is always that of the whole network. George et al., Incremental spatial and spectral learning of neural
    operators, TMLR 2024, arXiv:2211.15188, section 4 and algorithm 1 (the explained ratio of frequency strengths).

    K travels in the checkpoint. ``release`` takes the limit away when the training is over.
    """

    def __init__(self, network: nn.Module, modes: int, explained: float, per_epoch: int):
        self.layers = [m for m in network.modules() if isinstance(m, SpectralConv)]
        if not self.layers or not all(isinstance(m.weight, nn.Parameter) for m in self.layers):
            raise NWidthError(
                "training.grow_modes",
                got=type(network).__name__,
                expected="a network with dense spectral layers, such as fno with factorization=none",
                fix="leave training.grow_modes out",
            )
        self.modes, self.explained, self.per_epoch = modes, explained, per_epoch
        self.most = max(max(m.modes) for m in self.layers)

    def state_dict(self) -> dict[str, Any]:
        return {"modes": self.modes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.modes = int(state["modes"])

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._limit()
        with torch.no_grad():
            for layer in self.layers:
                assert isinstance(layer.weight, nn.Parameter)
                inside = torch.zeros_like(layer.weight)
                lower(layer, inside, layer.active or layer.modes).fill_(1)
                layer.weight.mul_(inside)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs, batch, index) -> None:
        if trainer.global_step % self.per_epoch or self.modes >= self.most:
            return
        if min(self.share(layer) for layer in self.layers) < self.explained:
            self.modes += BUFFER
            self._limit()

    def share(self, layer: SpectralConv) -> float:
        """The part of the weights' energy that the layer's modes but the last two hold."""
        assert isinstance(layer.weight, nn.Parameter) and layer.active is not None
        weight = layer.weight.detach()
        if layer.active == layer.modes:
            return 1.0
        few = tuple(max(1, k - BUFFER) for k in layer.active)
        inner, all_of_them = (float(lower(layer, weight, k).square().sum()) for k in (few, layer.active))
        return inner / all_of_them if all_of_them > 0 else 1.0

    def release(self) -> None:
        for layer in self.layers:
            layer.active = None

    def _limit(self) -> None:
        for layer in self.layers:
            layer.active = tuple(min(self.modes, m) for m in layer.modes)


def lower(layer: SpectralConv, weight: Tensor, modes: tuple[int, ...]) -> Tensor:
    """The part of a weight that belongs to the lower ``modes``, a view (numbers, *counts)."""
    t = layer.transform
    return t.crop(weight.view(*t.counts(layer.modes), -1).movedim(-1, 0), layer.modes, modes)
