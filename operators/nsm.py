"""Neural Spectral Methods: an operator from spectral coefficients to spectral coefficients."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..backends.bases import real_basis
from ..backends.channels_last import analyse_last, synthesise_last
from ..backends.grid import Grid
from ..backends.transforms import Transform
from ..errors import NWidthError
from .activations import activation as activation_named
from .pointwise import check_input


class NSM(nn.Module):
    """u^ = D_0 s D_1 s D_2 s B_L .. s B_1 s D_3 s D_4 (a^, x^), B = W + D: coefficients in, coefficients out.

    a^ (*modes, C) are coefficients in real waves on periodic axes, Chebyshev polynomials on Chebyshev points, cosines
    on cells and nodes; x^ those of the coordinates, each axis scaled to [0, 1]. W mixes the channels of each mode by a
    matrix of its own, the D are one matrix and bias for all modes, and s acts on as many collocation points as there
    are modes: inverse transform, activation, transform. Du, Chalapathi and Krishnapriyan, Neural Spectral Methods,
    ICLR 2024, arXiv:2312.05225, section 3.1.

    x (B, C_in, *space) at any resolution of the grid's domain that holds the modes -> (B, C_out, *space).

    Parameters
    ----------
    in_channels, out_channels, grid : see ``nwidth.operators``.
    modes : of each axis, an int for all alike; None is min(31, n) for n points. On a periodic axis m modes are 1 and
        the lowest waves, an odd number whole waves.
    width, depth : channels h (4 h in D_3 and D_1), and number L of layers B.
    activation : gelu, relu, silu, tanh, sin or identity.

    The biases of the D are added to the coefficients of all modes, as in the authors' code, whose numbers this gives.

    >>> net = NSM(1, 1, Grid.make((15, 15)), width=8, depth=2)
    >>> net(torch.randn(3, 1, 15, 15)).shape, net(torch.randn(3, 1, 40, 32)).shape
    (torch.Size([3, 1, 15, 15]), torch.Size([3, 1, 40, 32]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: Grid,
        *,
        modes: int | Sequence[int] | None = None,
        width: int = 64,
        depth: int = 4,
        activation: str = "relu",
    ):
        super().__init__()
        if min(width, depth) < 1:
            raise NWidthError("NSM", got=f"width={width}, depth={depth}", expected="at least 1")
        self.in_channels, self.out_channels, self.act = in_channels, out_channels, activation_named(activation)
        self.transform = Transform([real_basis(axis) for axis in grid.axes])
        self.modes = self.transform.modes_for(grid.shape, [min(31, n) for n in grid.shape] if modes is None else modes)
        count = math.prod(self.modes)
        s = [b.points(m) for b, m in zip(self.transform.bases, self.modes)]
        where = torch.stack(torch.meshgrid(*s, indexing="ij"), -1)[None]
        places = analyse_last(self.transform, where, self.modes)  # (K, 1, d)
        self.register_buffer("places", places.to(torch.get_default_dtype()), persistent=False)
        self.lift = nn.ModuleList([_linear(in_channels + grid.ndim, 4 * width), _linear(4 * width, width)])
        weights = (torch.randn(count, width, width) / width**2 for _ in range(depth))
        self.weights = nn.ParameterList(nn.Parameter(w) for w in weights)
        self.across = nn.ModuleList(_linear(width, width) for _ in range(depth))
        self.leave = nn.ModuleList([_linear(width, width), _linear(width, 4 * width)])
        self.project = _linear(4 * width, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        check_input("NSM", x, self.in_channels, self.transform.ndim)
        a = analyse_last(self.transform, x.movedim(1, -1), self.modes)
        return synthesise_last(self.transform, self.coefficients(a), self.modes, x.shape[2:]).movedim(-1, 1)

    def coefficients(self, a: Tensor) -> Tensor:
        """(K, B, C_out) from (K, B, C_in), modes flattened."""
        z = torch.cat([a, self.places.expand(-1, a.shape[1], -1)], -1)  # type: ignore[operator]
        for linear in self.lift:
            z = self._at_points(linear(z))
        for weight, linear in zip(self.weights, self.across):
            z = self._at_points(torch.baddbmm(linear(z), z, weight))
        for linear in self.leave:
            z = self._at_points(linear(z))
        return self.project(z)

    def _at_points(self, c: Tensor) -> Tensor:
        values = synthesise_last(self.transform, c, self.modes, self.modes)
        return analyse_last(self.transform, self.act(values), self.modes)


def _linear(a: int, b: int) -> nn.Linear:
    """A linear map of standard deviation 1/sqrt(a), cut at two of them, without bias at the start."""
    linear = nn.Linear(a, b)
    std = 1 / math.sqrt(a) / 0.87962566103423978  # the last factor: what the cut takes away
    nn.init.trunc_normal_(linear.weight, std=std, a=-2 * std, b=2 * std)
    nn.init.zeros_(linear.bias)
    return linear
