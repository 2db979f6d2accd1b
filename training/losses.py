"""Losses for neural surrogates: relative norms, mean over samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..backends import Grid, Mesh
from ..data.metrics import gradient
from ..errors import NWidthError


class RelativeL2(nn.Module):
    """mean_n |p_n - u_n| / |u_n|, |v|^2 = sum over channels and points of w |v|^2, w the grid's norm weights.

    ``floor`` keeps a vanishing solution from dividing by zero: |u_n| is at least ``floor`` times the batch's largest.

    >>> loss = RelativeL2()
    >>> u = torch.ones(2, 1, 4)
    >>> round(float(loss(1.5 * u, u, Grid.make((4,)))), 6)
    0.5
    """

    def __init__(self, floor: float = 1e-6):
        super().__init__()
        self.floor = floor

    def forward(self, p: Tensor, u: Tensor, grid: Grid | Mesh) -> Tensor:
        return _relative(self._norm2(p - u, grid), self._norm2(u, grid), self.floor)

    def _norm2(self, v: Tensor, grid: Grid | Mesh) -> Tensor:
        return _norm2(v, grid)


class RelativeH1(RelativeL2):
    """The same with |v|^2 + weight |L grad v|^2, L the length of each axis: derivatives count as well.

    Source of its use: Czarnecki et al. (2017), Sobolev training; He et al. (2024), MgNO, section 5.
    """

    def __init__(self, weight: float = 0.01, floor: float = 1e-6):
        super().__init__(floor)
        self.weight = weight

    def _norm2(self, v: Tensor, grid: Grid | Mesh) -> Tensor:
        if not isinstance(grid, Grid):
            raise NWidthError("RelativeH1", got=grid.describe(), expected="a grid", fix="use loss=l2")
        slopes = sum(a.length**2 * _norm2(g, grid) for a, g in zip(grid.axes, gradient(v, grid)))
        return _norm2(v, grid) + self.weight * slopes


def _norm2(v: Tensor, grid: Grid | Mesh) -> Tensor:
    if isinstance(grid, Grid) and all(a.uniform for a in grid.axes):
        return v.square().flatten(1).mean(1)
    w = grid.norm_weights().to(device=v.device, dtype=v.dtype)
    return (v.square() * w).flatten(1).sum(1)


def _relative(error2: Tensor, norm2: Tensor, floor: float) -> Tensor:
    norm = norm2.sqrt()
    # the root is not differentiable at zero: a perfect prediction has error 0 and gradient 0
    error = torch.where(error2 > 0, error2, torch.ones_like(error2)).sqrt() * (error2 > 0)
    return (error / norm.clamp_min(floor * norm.max().clamp_min(1e-30))).mean()
