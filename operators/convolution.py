"""Convolutions on grids with the boundary condition as padding: zero, circular or mirrored, axis by axis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backends.grid import Grid
from ..errors import NWidthError

PADDING = {"zero": "constant", "periodic": "circular", "reflect": "reflect"}
_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def boundaries(grid: Grid, boundary: str | Sequence[str], where: str) -> tuple[str, ...]:
    """The padding of each axis: ``auto`` is periodic on periodic axes and zero on others; or one name, or one an axis.

    zero suits u = 0 on the boundary, periodic a torus, reflect no flux.

    >>> boundaries(Grid.make((8, 8)), "auto", "example")
    ('periodic', 'periodic')
    """
    if not isinstance(grid, Grid) or grid.ndim > 3:
        got = grid.describe() if isinstance(grid, Grid) else type(grid).__name__
        raise NWidthError(where, got=got, expected="a Grid of 1 to 3 axes")
    names = (boundary,) * grid.ndim if isinstance(boundary, str) else tuple(boundary)
    chosen = tuple(("periodic" if p else "zero") if n == "auto" else n for n, p in zip(names, grid.periodic))
    if len(names) != grid.ndim or not set(chosen) <= set(PADDING):
        raise NWidthError(
            where, got=f"boundary={boundary!r}", expected=f"auto, zero, periodic or reflect, or {grid.ndim} of them"
        )
    return chosen


def pad(x: Tensor, width: int, boundary: Sequence[str]) -> Tensor:
    """``width`` more points at both ends of each space axis of x (B, C, *space)."""
    d = len(boundary)
    for i, name in enumerate(boundary):
        amount = [0] * (2 * d)
        amount[2 * (d - 1 - i) : 2 * (d - i)] = [width, width]
        if name == "zero" or x.shape[2 + i] > (width if name == "reflect" else 0):
            x = F.pad(x, amount, mode=PADDING[name]) if name == "zero" else _wrap(x, 2 + i, width, name)
        else:
            raise NWidthError(
                "pad",
                got=f"{x.shape[2 + i]} points with reflect",
                expected=f"more than {width}",
                fix="use fewer levels",
            )
    return x


def _wrap(x: Tensor, dim: int, width: int, name: str) -> Tensor:
    n = x.shape[dim]
    places = torch.arange(-width, n + width, device=x.device)
    if name == "periodic":
        places = places % n
    else:
        places = places.abs()
        places = torch.where(places >= n, 2 * (n - 1) - places, places)
    return x.index_select(dim, places)


class Convolution(nn.Module):
    """A 3^d convolution with the boundary condition of each axis; ``stride`` 2 halves n points to ceil(n/2).

    x (B, C_in, *space) -> (B, C_out, *ceil(space/stride)). Weights as in torch.nn.Conv2d.

    >>> Convolution(2, 3, ("zero", "periodic"), stride=2)(torch.randn(1, 2, 9, 8)).shape
    torch.Size([1, 3, 5, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        boundary: Sequence[str],
        *,
        stride: int = 1,
        bias: bool = False,
    ):
        super().__init__()
        self.boundary, self.stride, d = tuple(boundary), stride, len(boundary)
        conv = getattr(nn, f"Conv{d}d")(in_channels, out_channels, 3, bias=bias)
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x: Tensor) -> Tensor:
        d = len(self.boundary)
        if set(self.boundary) == {"zero"}:
            return _CONV[d](x, self.weight, self.bias, self.stride, 1)
        return _CONV[d](pad(x, 1, self.boundary), self.weight, self.bias, self.stride)


class TransposedConvolution(nn.Module):
    """The 4^d transposed convolution of stride 2, from m points to ``shape`` of 2m or 2m - 1 on each axis.

    >>> TransposedConvolution(2, 3, ("zero", "zero"))(torch.randn(1, 2, 5, 4), (9, 8)).shape
    torch.Size([1, 3, 9, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, boundary: Sequence[str]):
        super().__init__()
        self.boundary, d = tuple(boundary), len(boundary)
        self.weight = getattr(nn, f"ConvTranspose{d}d")(in_channels, out_channels, 4, bias=False).weight

    def forward(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        d, padding = len(self.boundary), 1
        if set(self.boundary) != {"zero"}:
            x, padding = pad(x, 1, self.boundary), 3
        y = _TRANSPOSED[d](x, self.weight, None, 2, padding)
        for i, n in enumerate(shape):
            y = y.narrow(2 + i, 0, n) if y.shape[2 + i] != n else y
        return y
