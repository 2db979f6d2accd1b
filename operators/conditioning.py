"""Scalar parameters that act on all channels of a network: feature-wise affine maps."""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import NWidthError
from .pointwise import ChannelMLP

CONDITIONING = ("none", "film")


class Film(nn.Module):
    """v -> (1 + g_l(p)) v + h_l(p), l = 1 .. L, each channel with its own g and h of the sample's parameters p.

    p are the means over space of the last ``parameters`` channels of the network's input, where scalars come as
    constant fields; None takes all channels. g and h are one MLP with ``width`` hidden channels for all layers, zero
    at first: the network starts without conditioning. Perez et al., FiLM, AAAI 2018, arXiv:1709.07871, eq. 2. After an
    instance norm it is AdaIN (Huang and Belongie, ICCV 2017, arXiv:1703.06868, eq. 8).

    >>> import torch
    >>> g, h = Film(3, 2, width=8, layers=4)(torch.randn(5, 3, 16, 16))[0]
    >>> g.shape, h.shape
    (torch.Size([5, 8]), torch.Size([5, 8]))
    """

    def __init__(self, in_channels: int, parameters: int | None, *, width: int, layers: int, activation: str = "gelu"):
        super().__init__()
        if parameters is not None and not 1 <= parameters <= in_channels:
            raise NWidthError(
                "conditioning",
                got=f"parameters={parameters}",
                expected=f"1 to {in_channels}, the number of input channels, or None for all",
            )
        self.scalars = in_channels if parameters is None else parameters
        self.layers, self.width = layers, width
        self.mlp = ChannelMLP([self.scalars, width, 2 * layers * width], activation_name=activation, fused=False)
        last = self.mlp.linears[-1]
        for p in last.parameters():
            nn.init.zeros_(p)

    def forward(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(g, h) of each layer, both (B, width), from the network's input x (B, C, *space)."""
        p = x[:, x.shape[1] - self.scalars :].flatten(2).mean(2)
        y = self.mlp.last(p).view(len(x), self.layers, 2, self.width)
        return [(layer[:, 0], layer[:, 1]) for layer in y.unbind(1)]


def film(v: Tensor, g: Tensor, h: Tensor) -> Tensor:
    """(1 + g) v + h with the channels last: v (B, *space, C), g and h (B, C)."""
    ones = (1,) * (v.ndim - 2)
    return (1 + g).view(len(v), *ones, -1) * v + h.view(len(v), *ones, -1)
