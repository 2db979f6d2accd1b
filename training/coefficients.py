"""Training on coefficients: networks whose loss needs no inverse transform, on pairs that were transformed once.

A network with ``analyse`` (fields to coefficients, orthonormal in the norm of the metrics) and ``coefficients`` (those
of the input to those of the output), such as ``nwidth.operators.T1``, has by Parseval

    |decode(p) - u|^2 = sum_c s_c^2 (|p_c - a_c|^2 + r_c^2),

p its output as coefficients, a those of u taken back through ``decode``, s the scale of each channel and r the part of
u outside the kept block, which no output changes. So ``RelativeL2`` costs a sum over coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset

from ..backends import Grid, Mesh
from .batches import Pairs
from .losses import RelativeL2, _relative
from .settings import TrainingSettings
from .task import Direct

BLOCK = 2**24  # values transformed at a time


class OnCoefficients(nn.Module):
    """The network as a map of coefficients: what is trained. ``network`` is the whole."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, c: Tensor) -> Tensor:
        return self.network.coefficients(c)  # type: ignore[operator]


class CoefficientPairs(TorchDataset):
    """(coefficients of x, targets) of pairs; computed once where these keep theirs in memory.

    Targets (B, C, K + 2): the K coefficients of u, taken back through ``decode`` and times the scale of the channel;
    the norm of what is outside the block; the norm of u.
    """

    def __init__(self, pairs: Pairs, network: nn.Module, scale: Tensor):
        self.pairs, self.network, self.scale, self.images = pairs, network, scale, pairs.images
        self.kept: tuple[Tensor, Tensor] | None = None
        if pairs.kept:
            count = len(pairs) * len(pairs.images)
            step = max(1, BLOCK // max(v[0].numel() for v in pairs.kept[0]))
            parts = [self._read(list(range(i, min(i + step, count)))) for i in range(0, count, step)]
            x, y = (torch.cat(p) for p in zip(*parts))
            self.kept = (x, y)
            pairs.kept = []  # not needed any more

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitems__(self, items: list[int]) -> tuple[Tensor, Tensor]:
        if self.kept is None:
            return self._read(items)
        index = torch.tensor(items)
        return self.kept[0][index], self.kept[1][index]

    def _read(self, items: list[int]) -> tuple[Tensor, Tensor]:
        x, u = self.pairs.__getitems__(items)
        task = self.pairs.task
        analyse: Callable[[Tensor], Tensor] = self.network.analyse  # type: ignore[assignment]
        with torch.no_grad():
            scale = self.scale.to(u).view(-1, *(1,) * (u.ndim - 2))
            target = (u - task.decode(torch.zeros_like(u), x)) / scale
            weights = _weights(task.loss_grid(tuple(u.shape[2:]))).to(u)
            a = analyse(target).flatten(2)
            rest = (target.square() * weights).flatten(2).sum(2) - a.square().sum(2)
            norm = (u.square() * weights).flatten(2).sum(2)
            own = scale.view(-1)
            y = [a * own[:, None], (rest.clamp_min(0).sqrt() * own)[..., None], norm.sqrt()[..., None]]
            return analyse(x), torch.cat(y, 2)


class Scaled(Direct):
    """The output as targets are."""

    def __init__(self, scale: Tensor):
        self.scale = scale.flatten()

    def decode(self, out: Tensor, x: Tensor) -> Tensor:
        return out.flatten(2) * self.scale.to(out)[:, None]


class CoefficientL2(nn.Module):
    """``RelativeL2`` of outputs p (B, C, K) and targets y (B, C, K + 2) of ``CoefficientPairs``."""

    def __init__(self, floor: float):
        super().__init__()
        self.floor = floor

    def forward(self, p: Tensor, y: Tensor, grid: Grid | Mesh | None = None) -> Tensor:
        k = p.shape[2]
        error2 = (p - y[..., :k]).square().sum((1, 2)) + y[..., k].square().sum(1)
        return _relative(error2, y[..., k + 1].square().sum(1), self.floor)


class Arranged(NamedTuple):
    """What the engine trains and on what."""

    network: nn.Module
    pairs: Any
    task: Any
    loss: nn.Module


def arrange(network: nn.Module, pairs: Pairs, loss: nn.Module, settings: TrainingSettings) -> Arranged:
    """As given, or on coefficients: where the network offers that, the loss is ``RelativeL2``, pairs are of one step
    on one grid, and outputs are scaled channel by channel alone."""
    one = settings.unroll == 1 and set(settings.coarsening) == {1}
    scale = _scale(pairs) if one and type(loss) is RelativeL2 and hasattr(network, "analyse") else None
    if scale is None:
        return Arranged(network, pairs, pairs.task, loss)
    assert isinstance(loss, RelativeL2)
    return Arranged(
        OnCoefficients(network), CoefficientPairs(pairs, network, scale), Scaled(scale), CoefficientL2(loss.floor)
    )


def _scale(pairs: Pairs) -> Tensor | None:
    """The factor of each channel between output and solution; None where it varies within a channel."""
    x, u = pairs.__getitems__([0])
    factor = pairs.task.decode(torch.ones_like(u), x) - pairs.task.decode(torch.zeros_like(u), x)
    by_channel = factor[0].flatten(1).double()
    mean = by_channel.mean(1)
    even = (by_channel - mean[:, None]).abs().amax(1) <= 1e-4 * mean.abs()
    return mean if bool(even.all()) else None


def _weights(grid: Grid) -> Tensor:
    """Of norms, for a domain of volume 1."""
    return grid.norm_weights() / math.prod(a.length or 1.0 for a in grid.axes)
