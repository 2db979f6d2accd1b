"""Affine scaling of fields, learned from training data alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import NWidthError
from .arrays import Array

MODES = ("channel", "point", "none")


class Normalizer:
    """x -> (x - shift) / scale with shift, scale from the mean and standard deviation of the training samples.

    ``channel``: one pair for each channel, over samples, times and points: carries to any resolution. ``point``: a
    shift for each channel and point and one scale for each channel; another resolution is then refused. ``none``:
    unchanged. A channel that does not vary gets scale 1. One pass over the samples, in blocks.

    >>> n = Normalizer("channel").fit(torch.randn(50, 2, 8) * 3 + 1)
    >>> tuple(n.shift.shape), bool((n.inverse(n(torch.ones(1, 2, 8))) - 1).abs().max() < 1e-6)
    ((2, 1), True)
    """

    def __init__(self, mode: str = "channel"):
        if mode not in MODES:
            raise NWidthError("Normalizer", got=f"mode={mode!r}", expected="one of " + ", ".join(MODES))
        self.mode = mode
        self.shift: Tensor | None = None
        self.scale: Tensor | None = None

    def fit(self, x: Array, timed: bool = False, block: int = 256) -> Normalizer:
        """``x`` is (N, C, *space), or (N, T, C, *space) with ``timed``."""
        if self.mode == "none" or len(x) == 0:
            return self
        channel = 2 if timed else 1
        space = len(x.shape) - channel - 1
        total: Tensor | float = 0.0
        squares: Tensor | float = 0.0
        count = 0
        over = (0, 1) if timed else (0,)
        block = max(1, min(block, 2**28 // max(8 * math.prod(x.shape[1:]), 1)))  # 256 MiB in double precision
        for start in range(0, len(x), block):
            piece = x[start : start + block].double()
            total = total + piece.sum(over)
            squares = squares + piece.square().sum(over)
            count += len(piece) * (piece.shape[1] if timed else 1)
        mean, second = torch.as_tensor(total) / count, torch.as_tensor(squares) / count
        dims = tuple(range(1, space + 1))
        by_channel = mean.mean(dims, keepdim=True) if dims else mean
        self.shift = by_channel if self.mode == "channel" else mean
        variance = second - 2 * mean * self.shift + self.shift.square()
        variance = variance.mean(dims, keepdim=True) if dims else variance
        std = variance.clamp_min(0).sqrt()
        tiny = 1e-7 * (by_channel.abs() + 1e-30)
        self.scale = torch.where(std > tiny, std, torch.ones_like(std))
        return self

    def __call__(self, x: Tensor) -> Tensor:
        return x if self.shift is None else (x - self._fit(self.shift, x)) / self._fit(self.scale, x)

    def inverse(self, x: Tensor) -> Tensor:
        return x if self.shift is None else x * self._fit(self.scale, x) + self._fit(self.shift, x)

    def _fit(self, value: Tensor | None, x: Tensor) -> Tensor:
        assert value is not None
        points = x.shape[x.ndim - value.ndim + 1 :]
        if self.mode == "point" and points != self.shift.shape[1:]:  # type: ignore[union-attr]
            raise NWidthError(
                "Normalizer",
                got=f"points {tuple(points)}",
                expected=f"{tuple(self.shift.shape[1:])}, as in training",  # type: ignore[union-attr]
                fix="train with normalize=channel to use other resolutions",
            )
        return value.to(device=x.device, dtype=x.dtype)

    def state_dict(self) -> dict[str, Any]:
        return {"mode": self.mode, "shift": self.shift, "scale": self.scale}

    def load_state_dict(self, state: Mapping[str, Any]) -> Normalizer:
        self.mode, self.shift, self.scale = state["mode"], state["shift"], state["scale"]
        return self
