"""Latent Spectral Models: patches of a field act through few latent tokens, on several scales."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backends.grid import Grid
from ..errors import NWidthError
from .convolution import boundaries
from .pointwise import ChannelLinear, ChannelMLP, Coordinates, check_input
from .unet import Scales, halvings, pooling, widths


class LSM(nn.Module):
    """u = Q . U (P (a, x)): a U-Net whose fields pass, patch by patch, through a few latent tokens on each scale.

    In each patch of each scale, x its points, T the M tokens of each head, <.,.> the heads' products:

        t   = T + softmax_x <T, K x> V x                            the patch as M tokens
        t_c = t_c + sum_k w_ck sin(pi k t_c/K) + v_ck cos(pi k t_c/K),  k = 0 .. K-1, each channel c by itself
        x   = x + softmax_t <Q x, t> t                              each point from the tokens

    Wu, Hu, Luo, Wang and Long, Solving high-dimensional PDEs with Latent Spectral Models, ICML 2023, arXiv:2301.12664,
    section 3. The U-Net has ReLU, maxima, interpolation, and batch norm in the paper.

    Parameters
    ----------
    in_channels, out_channels, grid : see ``nwidth.operators``; 1 to 3 axes.
    width : channels on the finest scale, a multiple of ``heads``; 64 in the paper's Darcy and Navier-Stokes rows.
    levels : number of scales, 5 in the paper; None halves each axis by itself, at most 4 times, as long as 4 points
        remain.
    patch : points of a patch on every scale, or one number for each axis; None makes the coarsest scale one patch,
        the paper's choice on square grids.
    basis, tokens, heads : K, M, and the number of heads, whose tokens are vectors of width/heads channels.
    projection : hidden channels of Q.
    norm : of the U-Net: none, batch, instance or group (all channels over space).
    activation : of the U-Net (gelu, relu, silu, tanh, sin, identity); that of Q is gelu.
    boundary : auto (periodic axes periodic, others zero), zero, periodic, reflect, or one for each axis.

    Any number of points is allowed: the lifted field is continued, by its boundary condition, to a multiple of the
    patches of the coarsest scale, and cut in the end. Stencils and patches count points, so the network belongs to
    the resolution it was trained on: it runs on any, but answers well only there.

    >>> net = LSM(1, 2, Grid.make((21, 16), kind="nodal"), width=8)
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
        patch: int | Sequence[int] | None = None,
        basis: int = 12,
        tokens: int = 4,
        heads: int = 8,
        projection: int = 128,
        norm: str = "group",
        activation: str = "relu",
        boundary: str | Sequence[str] = "auto",
    ):
        super().__init__()
        self.boundary = boundaries(grid, boundary, "LSM")
        d, times = grid.ndim, halvings(grid.shape, levels, "LSM")
        if min(width, basis, tokens, heads, projection) < 1 or width % heads:
            raise NWidthError(
                "LSM",
                got=f"width={width}, basis={basis}, tokens={tokens}, heads={heads}, projection={projection}",
                expected="all at least 1, and width a multiple of heads",
            )
        if patch is None:
            patch = [math.ceil(n / 2**k) for n, k in zip(grid.shape, times)]
        self.patch = (patch,) * d if isinstance(patch, int) else tuple(int(p) for p in patch)
        if len(self.patch) != d or min(self.patch) < 1:
            raise NWidthError("LSM", got=f"patch={patch}", expected=f"points of a patch, or {d} of them, at least 1")
        self.multiple = tuple(p * 2**k for p, k in zip(self.patch, times))
        self.in_channels, self.ndim = in_channels, d
        self.where = Coordinates(grid)
        self.lift = ChannelLinear(in_channels + d, width)
        sizes = widths(width, max(times) + 1, "linear")
        self.scales = Scales(
            width,
            sizes,
            pooling(times),
            self.boundary,
            norm=norm,
            activation=activation,
            up="linear",
            process=[NeuralSpectralBlock(c, self.patch, basis, tokens, heads) for c in sizes],
        )
        self.mix = ChannelLinear(width, width)
        self.project = ChannelMLP([width, projection, out_channels], activation_name="gelu", fused=False)

    def forward(self, x: Tensor) -> Tensor:
        check_input("LSM", x, self.in_channels, self.ndim)
        shape = x.shape[2:]
        v = self.lift(self.where(x))
        starts = []
        for i, (n, m) in enumerate(zip(shape, self.multiple)):
            v, start = continued(v, 2 + i, -n % m, self.boundary[i])
            starts.append(start)
        v = self.mix(self.scales(v))
        for i, (start, n) in enumerate(zip(starts, shape)):
            v = v.narrow(2 + i, start, n)
        return self.project.last(v.movedim(1, -1)).movedim(-1, 1)


def continued(x: Tensor, dim: int, more: int, boundary: str) -> tuple[Tensor, int]:
    """``more`` points along one dimension by its boundary condition, and where the given ones start.

    Zeros follow the last point; a periodic or mirrored field goes on at both ends, so that the place where its two
    continuations meet is away from both.

    >>> continued(torch.tensor([1, 2, 3]), 0, 5, "reflect")
    (tensor([3, 2, 1, 2, 3, 2, 1, 2]), 2)
    """
    if more == 0:
        return x, 0
    if boundary == "zero":
        return F.pad(x, [0, 0] * (x.ndim - 1 - dim) + [0, more]), 0
    n, before = x.shape[dim], more // 2
    places = torch.arange(-before, n + more - before, device=x.device)
    if boundary == "periodic":
        places = places % n
    else:
        period = max(2 * (n - 1), 1)
        places = places % period
        places = torch.where(places >= n, period - places, places)
    return x.index_select(dim, places), before


class NeuralSpectralBlock(nn.Module):
    """Patches to tokens, the tokens through sines and cosines, and back to the points; see ``LSM``.

    x (B, C, *space) -> the same, with space a multiple of ``patch``. The maps to keys, values and queries are linear,
    so they are taken to the side of the tokens, of which there are fewer than points:

        <T, K x> = <K' T, x> + const(x),  sum_x s_x V x = V sum_x s_x x,  <Q x, t> = <x, Q' t>

    with the biases where they do not cancel. The weights are laid out as in the authors' code.
    """

    def __init__(self, channels: int, patch: Sequence[int], basis: int, tokens: int, heads: int):
        super().__init__()
        self.patch, self.heads = tuple(patch), heads
        self.latent = nn.Parameter(torch.rand(heads, tokens, channels // heads) / channels)
        self.weight = nn.Parameter(torch.rand(channels, 2 * basis) / channels)
        self.encode = ChannelLinear(channels, 2 * channels)  # keys and values of a channel are neighbours
        self.decode = ChannelLinear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        patches = self._fold(x)
        y = self._read(patches, self._transition(self._tokens(patches)))
        return self._unfold(y, x.shape)

    def _tokens(self, x: Tensor) -> Tensor:
        """(B, heads, M, C/heads) of patches (B, C, points)."""
        heads, count, c = self.latent.shape
        weight = self.encode.weight.view(heads, c, 2, -1)
        scores = torch.bmm(self.latent, weight[:, :, 0]).flatten(0, 1) @ x  # (B, heads M, points)
        gathered = (scores.softmax(-1) @ x.mT).unflatten(1, (heads, count))  # (B, heads, M, C)
        assert self.encode.bias is not None
        shift = self.encode.bias.view(heads, 1, c, 2)[..., 1]
        values = torch.einsum("bhmk,hck->bhmc", gathered, weight[:, :, 1])
        return values + (self.latent + shift)

    def _transition(self, t: Tensor) -> Tensor:
        """t + sum_k w_k sin(pi k t/K) + v_k cos(pi k t/K)."""
        count = self.weight.shape[1] // 2
        k = torch.arange(count, dtype=t.dtype, device=t.device) * (math.pi / count)
        angle = t.permute(1, 3, 0, 2).flatten(2).flatten(0, 1)[..., None] * k  # (C, B M, K)
        waves = torch.cat([angle.sin(), angle.cos()], -1)
        change = torch.bmm(waves, self.weight[..., None])
        return t + change.view(self.heads, -1, len(t), t.shape[2]).permute(2, 0, 3, 1)

    def _read(self, x: Tensor, t: Tensor) -> Tensor:
        """x + softmax_t <Q x, t> t for patches x (B, C, points)."""
        batch, heads, count, c = t.shape
        weight = self.decode.weight.view(heads, c, -1)
        assert self.decode.bias is not None
        shift = (t * self.decode.bias.view(heads, 1, c)).sum(-1).view(batch, heads * count, 1)
        query = torch.einsum("bhmc,hck->bhmk", t, weight).flatten(1, 2)  # (B, heads M, C)
        scores = torch.baddbmm(shift, query, x).unflatten(1, (heads, count)).softmax(2)
        points = x.reshape(batch * heads, c, -1)
        return torch.baddbmm(points, t.flatten(0, 1).mT, scores.flatten(0, 1)).view(x.shape)

    def _fold(self, x: Tensor) -> Tensor:
        """(B, C, *space) -> (B patches, C, points of a patch)."""
        d, (batch, channels), space = len(self.patch), x.shape[:2], x.shape[2:]
        split = [m for n, p in zip(space, self.patch) for m in (n // p, p)]
        order = [0, *range(2, 2 * d + 2, 2), 1, *range(3, 2 * d + 3, 2)]
        return x.reshape(batch, channels, *split).permute(order).reshape(-1, channels, math.prod(self.patch))

    def _unfold(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        d, counts = len(self.patch), [n // p for n, p in zip(shape[2:], self.patch)]
        x = x.reshape(shape[0], *counts, shape[1], *self.patch)
        order = [0, d + 1, *(j for i in range(d) for j in (1 + i, d + 2 + i))]
        return x.permute(order).reshape(shape)
