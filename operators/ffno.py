"""Factorised Fourier neural operator: spectral maps along one axis at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from ..backends.grid import Grid
from ..backends.transforms import Transform
from ..errors import NWidthError
from .pointwise import ChannelMLP, Coordinates, check_input
from .spectral import SpectralConv


class FFNO(nn.Module):
    """u = (Q . L_n . ... . L_1 . P)(a, x) with layers v -> v + F(sum_i K_i v), i over the axes.

    K_i multiplies the low modes along axis i alone by learned matrices over channels, F is a two-layer MLP over
    channels. The sum takes the place of a product over all axes: weights grow with the sum of the modes, not with
    their product, and the residual outside of F lets many layers train. Tran et al., Factorized Fourier neural
    operators, ICLR 2023, arXiv:2111.13802, section 3.

    A function of functions: x (B, C_in, *space) at any resolution of the grid's domain -> (B, C_out, *space).

    Parameters
    ----------
    in_channels, out_channels : scalars come as constant channels.
    grid : the training grid, which gives the number of axes and the kind of each.
    modes : kept modes of each axis, see ``ModeLayout``; an int for all axes alike; None is min(32, n) for n points.
    width, layers : channels and number of layers.
    feedforward : hidden channels of F over ``width``.
    share : all layers have the same K_i: fewer parameters by a factor of nearly ``layers``.
    lifting, projection : hidden channels of P and Q over ``width``; 0 makes them linear.
    positional : append the coordinates, each axis of the domain scaled to [0, 1], to the input.
    extension : on axes that are not periodic, see ``FNO``.
    activation : gelu, relu, silu, tanh, sin or identity.
    dropout : inside F.
    init_scale : standard deviation of the initial spectral weights over sqrt(1 / (width * axes)).
    fused : on the CPU, compute F in one pass with its own backward; False for derivatives of derivatives.

    >>> import torch
    >>> net = FFNO(1, 2, Grid.make((16, 16), kind="nodal"), modes=8, width=8, layers=2)
    >>> net(torch.randn(4, 1, 16, 16)).shape, net(torch.randn(4, 1, 31, 24)).shape
    (torch.Size([4, 2, 16, 16]), torch.Size([4, 2, 31, 24]))
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
        feedforward: float = 2.0,
        share: bool = False,
        lifting: float = 0.0,
        projection: float = 2.0,
        positional: bool = True,
        extension: float | None = 0.25,
        activation: str = "gelu",
        dropout: float = 0.0,
        init_scale: float = 1.0,
        fused: bool = True,
    ):
        super().__init__()
        if not isinstance(grid, Grid):
            raise NWidthError("FFNO", got=type(grid).__name__, expected="a Grid of tensor-product axes")
        if width < 1 or layers < 1 or feedforward <= 0:
            raise NWidthError(
                "FFNO",
                got=f"width={width}, layers={layers}, feedforward={feedforward}",
                expected="at least 1, 1 and more than 0",
            )
        self.grid, self.in_channels, self.out_channels = grid, in_channels, out_channels
        bases = Transform.for_grid(grid, extension=extension).bases
        transforms = [Transform([basis]) for basis in bases]
        held = Transform(bases).modes_for(grid.shape)
        wanted = [min(32, n, m) for n, m in zip(grid.shape, held)] if modes is None else modes
        self.modes = Transform(bases).modes_for(grid.shape, wanted)
        std = init_scale / math.sqrt(width * grid.ndim)
        self.convs = nn.ModuleList(
            nn.ModuleList(
                SpectralConv(width, width, m, bias=False, transform=t, init_std=std)
                for m, t in zip(self.modes, transforms)
            )
            for _ in range(1 if share else layers)
        )
        self.where = Coordinates(grid) if positional else None
        first = in_channels + (grid.ndim if positional else 0)
        self.lift = ChannelMLP([first, *_hidden(lifting, width), width], activation_name=activation, fused=fused)
        self.feedforward = nn.ModuleList(
            ChannelMLP(
                [width, *_hidden(feedforward, width), width], activation_name=activation, dropout=dropout, fused=fused
            )
            for _ in range(layers)
        )
        self.project = ChannelMLP(
            [width, *_hidden(projection, width), out_channels], activation_name=activation, fused=fused
        )

    def forward(self, x: Tensor) -> Tensor:
        check_input("FFNO", x, self.in_channels, self.grid.ndim)
        v = self.lift.last((x if self.where is None else self.where(x)).movedim(1, -1))
        for i, feedforward in enumerate(self.feedforward):
            assert isinstance(feedforward, ChannelMLP)
            v = v + feedforward.last(self._spectral(v, i % len(self.convs)))
        return self.project.last(v).movedim(-1, 1)

    def _spectral(self, v: Tensor, layer: int) -> Tensor:
        """sum_i K_i v, channels last."""
        convs = self.convs[layer]
        assert isinstance(convs, nn.ModuleList)
        total: Tensor | None = None
        for axis, conv in enumerate(convs, 1):
            assert isinstance(conv, SpectralConv)
            k = conv.along(v, axis)
            total = k if total is None else total + k
        assert total is not None
        return total


def _hidden(ratio: float, width: int) -> list[int]:
    return [max(1, round(ratio * width))] if ratio > 0 else []
