"""Fourier neural operator on any tensor-product grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..backends.grid import Grid
from ..backends.transforms import Transform
from ..errors import NWidthError
from .pointwise import ChannelLinear, ChannelMLP, Coordinates, activation, norm
from .spectral import SpectralConv


class SoftGating(nn.Module):
    """x -> w x with one learned w per channel, 1 at first."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight.view(-1, *(1,) * (x.ndim - 2))


def skip_connection(name: str, channels: int) -> nn.Module | None:
    """linear, soft-gating, identity or none."""
    if name == "linear":
        return ChannelLinear(channels, channels, bias=False)
    if name == "soft-gating":
        return SoftGating(channels)
    if name == "identity":
        return nn.Identity()
    if name == "none":
        return None
    raise NWidthError("skip", got=repr(name), expected="one of linear, soft-gating, identity, none")


def add_skip(skip: nn.Module | None, x: Tensor, y: Tensor) -> Tensor:
    """skip(x) + y."""
    if isinstance(skip, ChannelLinear):
        return skip(x, y)
    return y if skip is None else y + skip(x)


class FNOBlock(nn.Module):
    """x -> s(norm(K x) + W x), with K a spectral convolution and W the skip; s is the activation, off in the last block.

    With ``channel_mlp`` > 0: y as above, then s(norm(MLP(y)) + gate x), the block of neuraloperator.
    """

    def __init__(
        self, width: int, modes: Sequence[int], transform: Transform, *, skip: str, channel_mlp: float, mlp_skip: str,
        norm_name: str, activation_name: str, dropout: float, last: bool,
    ):
        super().__init__()
        self.conv = SpectralConv(width, width, modes, transform=transform)
        self.skip = skip_connection(skip, width)
        self.norm = norm(norm_name, width)
        self.act = activation("identity" if last else activation_name)
        self.mlp = self.mlp_skip = self.mlp_norm = None
        if channel_mlp > 0:
            hidden = max(1, round(channel_mlp * width))
            self.mlp = ChannelMLP((width, hidden, width), activation_name=activation_name, dropout=dropout)
            self.mlp_skip = skip_connection(mlp_skip, width)
            self.mlp_norm = norm(norm_name, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(add_skip(self.skip, x, self.norm(self.conv(x))))
        if self.mlp is not None:
            y = self.act(self.mlp_norm(add_skip(self.mlp_skip, x, self.mlp(y))))
        return self.dropout(y)


class FNO(nn.Module):
    """u = Q (B_L ... B_1) P (a, x): lift to ``width`` channels, L Fourier blocks, project.

    Li et al., Fourier neural operator for parametric PDEs, ICLR 2021, arXiv:2010.08895.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: Grid,
        *,
        modes: int | Sequence[int] | None = None,
        width: int = 32,
        layers: int = 4,
        lifting: float = 2.0,
        projection: float = 2.0,
        skip: str = "linear",
        channel_mlp: float = 0.0,
        mlp_skip: str = "soft-gating",
        norm: str = "none",
        positional: bool = True,
        extension: float | None = 0.25,
        activation: str = "gelu",
        dropout: float = 0.0,
    ):
        super().__init__()
        if not isinstance(grid, Grid):
            raise NWidthError("FNO", got=type(grid).__name__, expected="a Grid of tensor-product axes")
        self.grid, self.in_channels, self.out_channels = grid, in_channels, out_channels
        self.where = Coordinates(grid) if positional else None
        self.transform = Transform.for_grid(grid, extension=extension)
        limits = self.transform.modes_for(grid.shape)
        self.modes = self.transform.modes_for(grid.shape, [min(16, k) for k in limits] if modes is None else modes)
        first = in_channels + (grid.ndim if positional else 0)
        self.lift = ChannelMLP([first, *_hidden(lifting, width), width], activation_name=activation)
        self.blocks = nn.ModuleList(
            FNOBlock(
                width, self.modes, self.transform, skip=skip, channel_mlp=channel_mlp, mlp_skip=mlp_skip,
                norm_name=norm, activation_name=activation, dropout=dropout, last=i == layers - 1,
            )
            for i in range(layers)
        )
        self.project = ChannelMLP([width, *_hidden(projection, width), out_channels], activation_name=activation)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != self.grid.ndim + 2 or x.shape[1] != self.in_channels:
            raise NWidthError(
                "FNO", got=f"x of shape {tuple(x.shape)}",
                expected=f"(batch, {self.in_channels} channels, {self.grid.ndim} space axes)",
            )
        x = self.lift(x if self.where is None else self.where(x))
        for block in self.blocks:
            x = block(x)
        return self.project(x)


def _hidden(ratio: float, width: int) -> list[int]:
    return [max(1, round(ratio * width))] if ratio > 0 else []
