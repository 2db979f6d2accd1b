"""U-Net: convolutions on a sequence of coarser grids and back, with the fields of each grid passed across."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backends.grid import Grid
from ..errors import NWidthError
from .activations import activation as activation_named
from .convolution import Convolution, boundaries
from .pointwise import ChannelLinear, Coordinates, check_input
from .pointwise import norm as pointwise_norm

NORMS = ("none", "batch", "instance", "group")
UPS = ("transposed", "linear")
_BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


class UNet(nn.Module):
    """u = Q . D_0 . ... . D_(L-2) . E_(L-1) . ... . E_0 (a): L grids, each half as fine as the one before.

    E_0 is a pair of 3^d convolutions, each followed by norm and activation; E_l is a maximum over 2^d points and such
    a pair, to twice the channels. D_l brings the field of grid l + 1 to grid l, joins the channels of E_l to it, and
    is such a pair. Q is linear at each point. Ronneberger, Fischer and Brox, U-Net, MICCAI 2015, arXiv:1505.04597,
    section 2; with padded convolutions, group norm and GELU as in the tables of Gupta and Brandstetter,
    arXiv:2209.15616.

    Parameters
    ----------
    in_channels, out_channels, grid : see ``nwidth.operators``; 1 to 3 axes.
    width : channels on the finest grid.
    levels : number L of grids; None halves each axis by itself, at most 4 times, as long as 4 points remain.
    norm : none, batch, instance (each channel over space) or group (all channels over space).
    activation : gelu, relu, silu, tanh, sin or identity.
    boundary : auto (periodic axes periodic, others zero), zero, periodic, reflect, or one for each axis.
    up : transposed (2^d convolution, one matrix for each of the 2^d finer points) or linear (interpolation; the
        coarsest grid then has the channels of the one above it).
    positional : append the coordinates, each axis of the domain scaled to [0, 1], to the input.

    The stencils act on neighbouring points, so the network belongs to the resolution it was trained on: it runs on
    any, but answers well only there. Any number of points is allowed: n halves to ceil(n/2) and returns to n.

    >>> net = UNet(1, 2, Grid.make((21, 16), kind="nodal"), width=4)
    >>> net(torch.randn(3, 1, 21, 16)).shape
    torch.Size([3, 2, 21, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: Grid,
        *,
        width: int = 32,
        levels: int | None = None,
        norm: str = "group",
        activation: str = "gelu",
        boundary: str | Sequence[str] = "auto",
        up: str = "transposed",
        positional: bool = True,
    ):
        super().__init__()
        sides = boundaries(grid, boundary, "UNet")
        if width < 1:
            raise NWidthError("UNet", got=f"width={width}", expected="at least 1")
        self.in_channels, self.ndim = in_channels, grid.ndim
        self.where = Coordinates(grid) if positional else None
        factors = pooling(halvings(grid.shape, levels, "UNet"))
        self.scales = Scales(
            in_channels + (grid.ndim if positional else 0),
            widths(width, len(factors) + 1, up),
            factors,
            sides,
            norm=norm,
            activation=activation,
            up=up,
        )
        self.project = ChannelLinear(width, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        check_input("UNet", x, self.in_channels, self.ndim)
        return self.project(self.scales(x if self.where is None else self.where(x)))


def halvings(shape: Sequence[int], levels: int | None, where: str) -> tuple[int, ...]:
    """How often each axis is halved: levels - 1 times, or (None) up to 4 times as long as 4 points remain.

    >>> halvings((85, 16, 3), None, "example"), halvings((85, 16), 5, "example")
    ((4, 2, 0), (4, 4))
    """
    if levels is None:
        return tuple(min(4, int(math.log2(max(n / 4, 1)))) for n in shape)
    if levels < 1:
        raise NWidthError(where, got=f"levels={levels}", expected="at least 1, or null")
    return (levels - 1,) * len(shape)


def pooling(times: Sequence[int]) -> list[tuple[int, ...]]:
    """The factor of each axis from one grid to the next, where axis i is halved ``times[i]`` times.

    >>> pooling((2, 1))
    [(2, 2), (2, 1)]
    """
    return [tuple(2 if level < n else 1 for n in times) for level in range(max(times))]


def widths(width: int, levels: int, up: str) -> list[int]:
    """Channels on each grid: they double, but for the last step where interpolation cannot reduce them."""
    if up not in UPS:
        raise NWidthError("up", got=repr(up), expected="one of " + ", ".join(UPS))
    doubled = [width * 2**level for level in range(levels)]
    return doubled if up == "transposed" or levels == 1 else [*doubled[:-1], doubled[-2]]


class Scales(nn.Module):
    """The encoder and decoder of a U-Net: x (B, C_in, *space) -> (B, widths[0], *space).

    ``factors[l]`` are the pooling factors of the axes from grid l to l + 1. ``process``, one module for each grid, acts
    on what the encoder hands across.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        factors: Sequence[tuple[int, ...]],
        boundary: Sequence[str],
        *,
        norm: str,
        activation: str,
        up: str,
        process: Sequence[nn.Module] = (),
    ):
        super().__init__()

        def double(a: int, between: int, b: int) -> DoubleConvolution:
            return DoubleConvolution(a, between, b, boundary, norm=norm, activation=activation)

        self.factors = list(factors)
        self.encoders = nn.ModuleList(double(a, b, b) for a, b in pairwise([in_channels, *widths]))
        steps = list(zip(self.factors, widths, widths[1:]))  # from each grid to the next: factors, channels of both
        if up == "transposed":
            self.ups = nn.ModuleList(Up(b, a, f) for f, a, b in steps)
            self.decoders = nn.ModuleList(double(2 * a, a, a) for _, a, _ in steps)
        else:
            self.ups = nn.ModuleList(nn.Identity() for _ in steps)
            back = [widths[0], *widths[:-2]]  # channels that each decoder hands to the grid above it
            self.decoders = nn.ModuleList(double(2 * a, a, c) for (_, a, _), c in zip(steps, back))
        self.process = nn.ModuleList(process)

    def forward(self, x: Tensor) -> Tensor:
        d = x.ndim - 2
        found = []
        for level, encode in enumerate(self.encoders):
            if level > 0:
                factor = self.factors[level - 1]
                x = _POOL[d](x, factor, factor, ceil_mode=True)
            x = encode(x)
            found.append(x)
        if len(self.process) > 0:
            found = [f(x) for f, x in zip(self.process, found)]
        x = found.pop()
        for up, decode in zip(reversed(self.ups), reversed(self.decoders)):
            across = found.pop()
            space = across.shape[2:]
            if isinstance(up, Up):
                x = up(x, space)
            else:
                x = F.interpolate(x, size=space, mode=_LINEAR[d], align_corners=True)
            x = decode(torch.cat([across, x], 1))
        return x


class DoubleConvolution(nn.Module):
    """Twice: a 3^d convolution, a norm, an activation."""

    def __init__(
        self, in_channels: int, between: int, out_channels: int, boundary: Sequence[str], *, norm: str, activation: str
    ):
        super().__init__()
        sizes, d, bias = [in_channels, between, out_channels], len(boundary), norm == "none"
        self.convolutions = nn.ModuleList(Convolution(a, b, boundary, bias=bias) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(_norm(norm, b, d) for b in sizes[1:])
        self.act = activation_named(activation)

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms):
            x = self.act(norm(convolution(x)))
        return x


class Up(nn.Module):
    """From a coarse point to each of its 2^d finer ones by a matrix of their own; x -> (B, C_out, *shape).

    An axis that was not pooled has one matrix, and what lies beyond ``shape`` is left out.
    """

    def __init__(self, in_channels: int, out_channels: int, factor: tuple[int, ...]):
        super().__init__()
        self.factor, d = factor, len(factor)
        conv = getattr(nn, f"ConvTranspose{d}d")(in_channels, out_channels, factor, factor)
        self.weight, self.bias = conv.weight, conv.bias
        self.scatter = getattr(F, f"conv_transpose{d}d")

    def forward(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        y = self.scatter(x, self.weight, self.bias, self.factor)
        for i, n in enumerate(shape):
            y = y.narrow(2 + i, 0, n) if y.shape[2 + i] != n else y
        return y


def _norm(name: str, channels: int, d: int) -> nn.Module:
    if name not in NORMS:
        raise NWidthError("norm", got=repr(name), expected="one of " + ", ".join(NORMS))
    return _BATCH_NORM[d](channels) if name == "batch" else pointwise_norm(name, channels)
