"""Grid-invariant convolutional networks: samples at any points in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...backends import Grid
from ...errors import NWidthError
from ..gram import KERNELS, check_kernel

FLOOR = 1e-10  # of the nugget: kernel matrices stay positive definite


class GridInvariantNet(nn.Module):
    """Samples (x_j, c_j) at any number of points of [0, 1]^dims, in any order, to ``out_channels`` numbers.

    Each sample's channels c_j are lifted by a small network of their own; the lifted values are interpolated to a fixed
    grid by regularised kernel interpolation,

        F(g) = k(g, X) (k(X, X) + delta I)^-1 F(X),

    with several lengths and one delta, which are learned, each length for its share of the channels; then come
    residual convolutions on that grid and a dense head. Nothing depends on how many points there are or where, but
    through the values of the interpolant: hence the name.

    ``points`` (B or 1, P, dims): 1 shares one set of points, whose matrix is then factorised once; ``values``
    (B, P, C). Memory P^2 a length and set of points, work P^3.

    Source: Vadeboncoeur et al., Random grid neural processes for parametric partial differential equations, ICML 2023
    (arXiv:2301.11040), figure 5: lifting, kernels onto a fixed grid, convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: Grid,
        *,
        nodes: int = 24,
        width: int = 24,
        depth: int = 2,
        kernel_size: int = 5,
        hidden: int = 96,
        kernel: str = "matern52",
        lengths: Sequence[float] = (0.2, 0.5),
        nugget: float = 1e-4,
    ):
        super().__init__()
        check_kernel("GridInvariantNet", kernel)
        dims = grid.ndim
        if dims not in (1, 2, 3) or width % len(lengths) or kernel == "linear" or kernel_size % 2 == 0:
            raise NWidthError(
                "GridInvariantNet",
                got=f"dims={dims}, width={width}, lengths={list(lengths)}, kernel={kernel}, kernel_size={kernel_size}",
                expected="1 to 3 dimensions, a width that the lengths divide, a stationary kernel, an odd kernel_size",
            )
        self.dims, self.kernel = dims, kernel
        self.lift = nn.Sequential(nn.Linear(in_channels, width), nn.GELU(), nn.Linear(width, width))
        self.log_lengths = nn.Parameter(torch.tensor([math.log(v) for v in lengths]))
        self.log_nugget = nn.Parameter(torch.tensor(math.log(nugget)))
        line = (torch.arange(nodes) + 0.5) / nodes
        mesh = torch.stack(torch.meshgrid([line] * dims, indexing="ij"), -1)
        self.nodes: Tensor
        self.register_buffer("nodes", mesh.reshape(-1, dims), persistent=False)
        self.shape = (nodes,) * dims
        convolution: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
        self.entry = convolution(width + dims, width, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.GELU(),
                convolution(width, width, kernel_size, padding="same"),
                nn.GELU(),
                convolution(width, width, 1),
            )
            for _ in range(depth)
        )
        narrow = max(1, 8 // dims)
        self.exit = convolution(width, narrow, 1)
        self.head = nn.Sequential(
            nn.Linear(narrow * nodes**dims, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, out_channels),
        )

    def weights(self, points: Tensor) -> Tensor:
        """The matrices of the interpolation, one a length: (B, lengths, G, P), computed in float64."""
        x, g = points.double(), self.nodes.double()
        phi, lengths = KERNELS[self.kernel], self.log_lengths.double().exp()[:, None, None]
        near = phi(_distances(x, x)[:, None] / lengths)
        far = phi(_distances(g[None], x)[:, None] / lengths)
        near = near + (FLOOR + self.log_nugget.double().exp()) * torch.eye(x.shape[1]).to(near)
        return torch.cholesky_solve(far.mT, torch.linalg.cholesky(near)).mT.to(points.dtype)

    def forward(self, points: Tensor, values: Tensor) -> Tensor:
        lifted = self.lift(values)  # (B, P, width)
        parts = lifted.unflatten(-1, (len(self.log_lengths), -1)).transpose(-2, -3)  # (B, lengths, P, width / lengths)
        on_grid = torch.matmul(self.weights(points), parts).transpose(-1, -2).flatten(1, 2)
        where = self.nodes.mT.expand(len(values), -1, -1)
        v = self.entry(torch.cat([on_grid, where.to(on_grid)], 1).unflatten(-1, self.shape))
        for block in self.blocks:
            v = v + block(v)
        return self.head(self.exit(v).flatten(1))


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|, with a derivative that is zero where points coincide."""
    return (a[:, :, None] - b[:, None]).square().sum(-1).clamp_min(1e-24).sqrt()
