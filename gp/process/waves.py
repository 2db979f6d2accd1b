"""Sines or cosines on the unit cube at scattered points, with their derivatives, in units of a smooth prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...errors import NWidthError

KINDS = ("sine", "cosine")


class Waves:
    """phi_k(x) = s_k prod_i sqrt(2) sin(pi k_i x_i), k_i = 1 .. modes, s_k = 1/(pi |k|)^2, on [0, 1]^dims.

    With independent coefficients of unit variance sum_k v_k phi_k is the Gaussian process that solves -Lap u = white
    noise, u = 0 on the boundary; and Lap phi_k are orthonormal sines, so squared residuals weigh coefficients alike.
    ``kind="cosine"``: cos(pi k_i x_i), k_i = 0 .. modes - 1, s_k = 1/(1 + pi^2 |k|^2), for fields without boundary
    values.

    Points are (..., Q, dims); the K = modes^dims functions are the last axis of what comes back.

    >>> waves = Waves(3, 1)
    >>> x = torch.tensor([[0.0], [0.5]], dtype=torch.float64)
    >>> bool((waves.values(x)[0] == 0).all()), round(float(waves.laplacian(x)[1, 0]), 6)  # - sqrt(2) sin(pi / 2)
    (True, -1.414214)
    """

    def __init__(self, modes: int, dims: int, kind: str = "sine"):
        if modes < 1 or dims < 1 or kind not in KINDS:
            raise NWidthError(
                "Waves",
                got=f"modes={modes}, dims={dims}, kind={kind!r}",
                expected="modes, dims >= 1 and one of " + ", ".join(KINDS),
            )
        self.modes, self.dims, self.kind = modes, dims, kind
        self.count = modes**dims
        first = 1 if kind == "sine" else 0
        self.k = math.pi * torch.arange(first, first + modes, dtype=torch.float64)  # along one axis
        axes = torch.meshgrid([self.k.square()] * dims, indexing="ij")
        self.squares = torch.stack(axes).sum(0).flatten()  # (pi |k|)^2
        self.sizes = 1 / (self.squares + (kind == "cosine"))

    def _lines(self, x: Tensor, slope: bool = False) -> Tensor:
        """The functions of one axis, or their derivatives, at coordinates x: (..., modes)."""
        k = self.k.to(x)
        angle, root = x[..., None] * k, math.sqrt(2)
        if self.kind == "sine":
            return root * k * angle.cos() if slope else root * angle.sin()
        norm = torch.where(k == 0, 1.0, root).to(x)
        return -norm * k * angle.sin() if slope else norm * angle.cos()

    def _product(self, lines: list[Tensor]) -> Tensor:
        out = lines[0]
        for line in lines[1:]:
            out = (out[..., :, None] * line[..., None, :]).flatten(-2)
        return out

    def _check(self, x: Tensor) -> None:
        if x.shape[-1] != self.dims:
            raise NWidthError("Waves", got=f"points {tuple(x.shape)}", expected=f"(..., {self.dims})")

    def values(self, x: Tensor) -> Tensor:
        """(..., Q, K)."""
        self._check(x)
        return self._product([self._lines(x[..., i]) for i in range(self.dims)]) * self.sizes.to(x)

    def gradient(self, x: Tensor) -> Tensor:
        """(..., Q, dims, K)."""
        self._check(x)
        lines = [self._lines(x[..., i]) for i in range(self.dims)]
        slopes = [self._lines(x[..., i], slope=True) for i in range(self.dims)]
        parts = [self._product([slopes[j] if j == i else lines[j] for j in range(self.dims)]) for i in range(self.dims)]
        return torch.stack(parts, -2) * self.sizes.to(x)

    def laplacian(self, x: Tensor) -> Tensor:
        """(..., Q, K)."""
        return -self.squares.to(x) * self.values(x)
