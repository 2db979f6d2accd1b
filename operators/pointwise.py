"""What neural operators do at every point alike: linear maps of channels, activations, norms, coordinates."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backends.bases import ExtendedFourierBasis
from ..backends.grid import Grid
from ..backends.tables import table
from ..errors import NWidthError
from .activations import activation
from .fused import mlp


def check_input(name: str, x: Tensor, channels: int, d: int) -> None:
    """An error unless x is (batch, channels, d space axes)."""
    if x.ndim != d + 2 or x.shape[1] != channels:
        raise NWidthError(
            name, got=f"x of shape {tuple(x.shape)}", expected=f"(batch, {channels} channels, {d} space axes)"
        )


def norm(name: str, channels: int) -> nn.Module:
    """none; instance (each channel over space, no parameters); group (all channels over space, affine)."""
    if name == "none":
        return nn.Identity()
    if name == "instance":
        return nn.GroupNorm(channels, channels, affine=False)
    if name == "group":
        return nn.GroupNorm(1, channels)
    raise NWidthError("norm", got=repr(name), expected="one of none, instance, group")


class ChannelLinear(nn.Module):
    """y = W x + b at every point: x (B, C_in, *space) -> (B, C_out, *space).

    Weights and bias are uniform in +-1/sqrt(C_in), as in torch.nn.Linear.

    >>> ChannelLinear(3, 5)(torch.randn(2, 3, 8, 8)).shape
    torch.Size([2, 5, 8, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True):
        super().__init__()
        bound = 1 / math.sqrt(in_channels)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound)) if bias else None

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, bias={self.bias is not None}"

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        w = self.weight.expand(len(x), -1, -1)
        if self.bias is not None:
            y = torch.baddbmm(self.bias[:, None], w, flat)
        else:
            y = torch.bmm(w, flat)
        return y.unflatten(2, x.shape[2:])

    def last(self, x: Tensor) -> Tensor:
        """The same with the channels last, (B, *space, C)."""
        return F.linear(x, self.weight, self.bias)


class SoftGating(nn.Module):
    """x -> w x with one learned factor per channel, 1 at first."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight.view(-1, *(1,) * (x.ndim - 2))

    def last(self, x: Tensor) -> Tensor:
        """The same with the channels last."""
        return x * self.weight


def skip_connection(name: str, channels: int) -> nn.Module | None:
    """linear (no bias), soft-gating, identity or none."""
    if name == "linear":
        return ChannelLinear(channels, channels, bias=False)
    if name == "soft-gating":
        return SoftGating(channels)
    if name == "identity":
        return nn.Identity()
    if name == "none":
        return None
    raise NWidthError("skip", got=repr(name), expected="one of linear, soft-gating, identity, none")


def add_skip_last(skip: nn.Module | None, x: Tensor, y: Tensor) -> Tensor:
    """skip(x) + y with the channels last."""
    if skip is None:
        return y
    return y + (skip.last(x) if isinstance(skip, ChannelLinear | SoftGating) else skip(x))


def apply_last(module: nn.Module, x: Tensor) -> Tensor:
    """A module that wants (B, C, *space), on a field with the channels last."""
    return x if isinstance(module, nn.Identity) else module(x.movedim(-1, 1)).movedim(1, -1)


class ChannelMLP(nn.Module):
    """Linear maps of channels with an activation between them: ``sizes`` (C_in, hidden ..., C_out).

    ``fused``: see ``FNO``.
    """

    def __init__(
        self, sizes: Sequence[int], *, activation_name: str = "gelu", dropout: float = 0.0, fused: bool = True
    ):
        super().__init__()
        self.activation_name, self.fused = activation_name, fused
        self.linears = nn.ModuleList(ChannelLinear(a, b) for a, b in pairwise(sizes))
        self.act, self.dropout = activation(activation_name), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        for linear in self.linears[:-1]:
            x = self.dropout(self.act(linear(x)))
        return self.linears[-1](x)

    def last(self, x: Tensor) -> Tensor:
        """The same with the channels last: (B, *space, C_in) -> (B, *space, C_out)."""
        linears = [cast(ChannelLinear, linear) for linear in self.linears]
        if len(linears) == 2 and self.fused and not (self.training and self.dropout.p > 0):
            a, b = linears
            return mlp(x, a.weight, a.bias, b.weight, b.bias, self.activation_name)  # type: ignore[arg-type]
        for linear in linears[:-1]:
            x = self.dropout(self.act(linear.last(x)))
        return linears[-1].last(x)


class Coordinates(nn.Module):
    """Append the coordinates of the points, each axis of the domain scaled to [0, 1], as channels.

    (B, C, *space) -> (B, C + d, *space), at any resolution of the grid's domain. ``standard`` scales to mean 0 and
    variance 1 over the domain, as inputs are: [-sqrt(3), sqrt(3)].

    >>> Coordinates(Grid.make((4, 4)))(torch.zeros(1, 1, 8, 2))[0, 1:, 1, 1].tolist()
    [0.125, 0.5]
    """

    def __init__(self, grid: Grid, *, standard: bool = False):
        super().__init__()
        self.standard = standard
        self.bases = tuple(ExtendedFourierBasis(axis=axis) for axis in grid.axes)

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape[2:]
        columns = []
        for i, basis in enumerate(self.bases):
            s = table(basis, "points", operator.index(shape[i]), 0, 0, x.dtype, x.device)
            s = (s - 0.5) * math.sqrt(12) if self.standard else s
            columns.append(s.view(*(-1 if j == i else 1 for j in range(len(shape)))).expand(shape))
        return torch.cat([x, torch.stack(columns).expand(len(x), -1, *shape)], 1)
