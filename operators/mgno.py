"""Multigrid neural operator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from ..backends.grid import Grid
from ..errors import NWidthError
from .activations import activation as activation_named
from .convolution import Convolution, TransposedConvolution, boundaries
from .pointwise import ChannelLinear, Coordinates, check_input


class MgNO(nn.Module):
    """u = Q . s(W_L + K_L) . ... . s(W_1 + K_1) (a): layers whose linear operator W is one multigrid V-cycle.

    He, Liu and Xu, MgNO: efficient parameterization of linear operators via multigrid, ICLR 2024,
    arXiv:2310.19809, eq. 9 and algorithm 1. K is a 1x1 convolution with bias, Q one without; there is no lifting.
    Each of the bias-free 3^d convolutions is a stencil whose padding is the boundary condition.

    Parameters
    ----------
    in_channels, out_channels, grid : see ``nwidth.operators``.
    width, layers : channels and number of V-cycle layers.
    iterations : smoothing steps on each level, finest first; None takes one on each level and two on the coarsest,
        halving while 4 points or more remain, on at most 6 levels.
    boundary : auto (periodic axes periodic, others zero), zero, periodic, reflect, or one for each axis.
    residual : restrict the residual f - A u instead of f.
    positional : append the coordinates, of mean 0 and variance 1, to the input. The published model has none. On a
        torus it then knows no place: it can answer only what moves along with the input.
    activation : gelu, relu, silu, tanh, sin or identity.

    The stencils act on neighbouring points, so the network belongs to the resolution it was trained on: it runs on
    any, but answers well only there. Any number of points is allowed: n halves to ceil(n/2) and returns to n.

    >>> import torch
    >>> net = MgNO(1, 1, Grid.make((21, 16), kind="nodal"), width=4, layers=2)
    >>> net(torch.randn(2, 1, 21, 16)).shape
    torch.Size([2, 1, 21, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: Grid,
        *,
        width: int = 24,
        layers: int = 4,
        iterations: Sequence[int] | None = None,
        boundary: str | Sequence[str] = "auto",
        residual: bool = False,
        positional: bool = True,
        activation: str = "gelu",
    ):
        super().__init__()
        sides = boundaries(grid, boundary, "MgNO")
        if iterations is None:
            levels = min(6, max(1, int(math.log2(max(min(grid.shape) / 4, 1))) + 1))
            iterations = [1] * (levels - 1) + [2]
        self.iterations = tuple(int(n) for n in iterations)
        if width < 1 or layers < 1 or not self.iterations or min(self.iterations) < 1:
            raise NWidthError(
                "MgNO",
                got=f"width={width}, layers={layers}, iterations={list(self.iterations)}",
                expected="all at least 1, and one number of iterations for each level",
            )
        self.in_channels, self.ndim = in_channels, grid.ndim
        self.where = Coordinates(grid, standard=True) if positional else None
        sizes = [in_channels + (grid.ndim if positional else 0), *[width] * layers]
        self.cycles = nn.ModuleList(VCycle(c, width, self.iterations, sides, residual) for c in sizes[:-1])
        self.bypasses = nn.ModuleList(ChannelLinear(c, width) for c in sizes[:-1])
        self.project = ChannelLinear(width, out_channels, bias=False)
        self.act = activation_named(activation)

    def forward(self, x: Tensor) -> Tensor:
        check_input("MgNO", x, self.in_channels, self.ndim)
        x = x if self.where is None else self.where(x)
        for cycle, bypass in zip(self.cycles, self.bypasses):
            x = self.act(cycle(x) + bypass(x))
        return self.project(x)


class VCycle(nn.Module):
    """u = W f: one V-cycle for A u = f from u = 0, with learned A, smoothers, restrictions and prolongations.

    On each level, ``iterations`` times u <- u + S (f - A u) with own S and A each time (on the finest the first
    time u = S f); then f and u are restricted, separately, and on the way back u_j <- u_j + P u_(j+1).
    """

    def __init__(
        self, in_channels: int, width: int, iterations: Sequence[int], boundary: Sequence[str], residual: bool
    ):
        super().__init__()
        self.residual = residual
        self.start = Convolution(in_channels, width, boundary)
        self.smoothers = nn.ModuleList(
            nn.ModuleList(_Smoother(in_channels, width, boundary) for _ in range(n - (level == 0)))
            for level, n in enumerate(iterations)
        )
        down = range(len(iterations) - 1)
        self.restrict_f = nn.ModuleList(Convolution(in_channels, in_channels, boundary, stride=2) for _ in down)
        self.restrict_u = nn.ModuleList(Convolution(width, width, boundary, stride=2) for _ in down)
        self.prolong = nn.ModuleList(TransposedConvolution(width, width, boundary) for _ in down)
        # for the restriction of the residual the operator A of a level is that of its last smoothing
        self.operators = nn.ModuleList(Convolution(width, in_channels, boundary) for _ in down) if residual else None

    def forward(self, f: Tensor) -> Tensor:
        u = self.start(f)
        states = []
        for level, smoothers in enumerate(self.smoothers):
            for smooth in cast(nn.ModuleList, smoothers):
                u = smooth(u, f)
            states.append(u)
            if level < len(self.restrict_f):
                if self.operators is not None:
                    f = f - self.operators[level](u)
                f, u = self.restrict_f[level](f), self.restrict_u[level](u)
        for level in reversed(range(len(self.prolong))):
            finer = states[level]
            u = finer + self.prolong[level](u, finer.shape[2:])
        return u


class _Smoother(nn.Module):
    """u + S (f - A u)."""

    def __init__(self, in_channels: int, width: int, boundary: Sequence[str]):
        super().__init__()
        self.A = Convolution(width, in_channels, boundary)
        self.S = Convolution(in_channels, width, boundary)

    def forward(self, u: Tensor, f: Tensor) -> Tensor:
        return u + self.S(f - self.A(u))
