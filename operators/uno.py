"""U-shaped neural operator: spectral layers that change the resolution and the width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, cat, nn

from ..backends.grid import Grid
from ..backends.transforms import Transform
from ..errors import NWidthError
from .activations import activation as activation_named
from .interpolation import Interpolation
from .low_rank import Rank
from .pointwise import ChannelLinear, ChannelMLP, Coordinates, apply_last, check_input
from .pointwise import norm as norm_named
from .spectral import SpectralConv


class UNO(nn.Module):
    """u = (Q . D_0 . ... . D_(L-1) . E_L . E_(L-1) . ... . E_1 . P)(a, x): L times to a coarser grid, and back.

    P lifts to ``width`` channels on the grid of x. E_l takes the field to a grid ``ratio`` times as coarse with
    ``growth`` times as many channels; D_l brings it back to grid l, where it is joined with what left that grid on the
    way down. Each of them is the layer v -> s(K v + R W v): K multiplies the low modes by learned matrices and is
    evaluated on the new grid, W is linear at each point, R interpolates. Between E_L and D_(L-1), and behind D_0, one
    more such layer stays on its grid. Rahman, Ross and Azizzadenesheli, U-NO, TMLR 2023, arXiv:2204.11127, section 4.

    A function of functions: x (B, C_in, *space) at any resolution of the grid's domain -> (B, C_out, *space).

    Parameters
    ----------
    in_channels, out_channels : scalars come as constant channels.
    grid : the training grid, which gives the number of axes and the kind of each. Axes of listed points keep them.
    modes : kept modes of each axis on the finest grid, see ``ModeLayout``; an int for all axes alike; None is
        min(16, n) for n points. Coarser grids keep those that they hold.
    width : channels on the finest grid; growth : factor from each grid to the next coarser one.
    levels : how often the grid is coarsened, L; ratio : by how much, more than 1.
    channel_mlp : hidden channels, over those of the field, of an MLP M over channels behind each layer,
        v -> v + M(v); 0 leaves it out, as in the paper.
    lifting, projection : hidden channels of P and Q over ``width``; 0 makes them linear.
    norm : of K v: none, instance (each channel over space), group (all channels).
    positional : append the coordinates, each axis of the domain scaled to [0, 1], to the input.
    extension : on axes that are not periodic, see ``FNO``.
    activation : gelu, relu, silu, tanh, sin or identity.
    dropout : inside M.
    init_scale : standard deviation of the initial spectral weights over sqrt(1 / C_in) of each layer.
    factorization, rank : of the spectral weights, see ``SpectralConv``.
    fused : on the CPU, compute MLPs in one pass with their own backward; False for derivatives of derivatives.

    >>> import torch
    >>> net = UNO(1, 2, Grid.make((16, 16), kind="nodal"), modes=8, width=8)
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
        width: int = 24,
        levels: int = 2,
        growth: float = 2.0,
        ratio: float = 2.0,
        channel_mlp: float = 0.5,
        lifting: float = 2.0,
        projection: float = 2.0,
        norm: str = "none",
        positional: bool = True,
        extension: float | None = 0.25,
        activation: str = "gelu",
        dropout: float = 0.0,
        init_scale: float = 0.3,
        factorization: str = "none",
        rank: Rank = 0.1,
        fused: bool = True,
    ):
        super().__init__()
        if not isinstance(grid, Grid):
            raise NWidthError("UNO", got=type(grid).__name__, expected="a Grid of tensor-product axes")
        if width < 1 or levels < 1 or not growth > 0 or not ratio > 1:
            raise NWidthError(
                "UNO",
                got=f"width={width}, levels={levels}, growth={growth}, ratio={ratio}",
                expected="width and levels at least 1, growth more than 0, ratio more than 1",
            )
        self.grid, self.in_channels, self.out_channels = grid, in_channels, out_channels
        self.levels, self.ratio = levels, ratio
        self.transform = Transform.for_grid(grid, extension=extension)
        sizes = self.shapes(grid.shape)
        held = [self.transform.modes_for(size) for size in sizes]
        if modes is None:
            self.modes = tuple(min(16, n, m) for n, m in zip(grid.shape, held[0]))
        else:
            self.modes = self.transform.modes_for(grid.shape, modes)
        widths = [max(1, round(width * growth**level)) for level in range(levels + 1)]
        move = Interpolation(grid)

        def layer(a: int, b: int, first: int, second: int, act: str = activation) -> UNOLayer:
            kept = [min(m, p, q) for m, p, q in zip(self.modes, held[a], held[b])]
            return UNOLayer(
                SpectralConv(
                    first,
                    second,
                    kept,
                    transform=self.transform,
                    init_std=init_scale / math.sqrt(first),
                    factorization=factorization,
                    rank=rank,
                ),
                move,
                hidden=_hidden(channel_mlp, second),
                norm_name=norm,
                activation_name=act,
                mlp_activation_name=activation,
                dropout=dropout,
                fused=fused,
            )

        self.down = nn.ModuleList(layer(i, i + 1, a, b) for i, (a, b) in enumerate(pairwise(widths)))
        self.bottom = layer(levels, levels, widths[-1], widths[-1])
        joined = [*(2 * w for w in widths[:-1]), widths[-1]]
        self.up = nn.ModuleList(layer(i + 1, i, joined[i + 1], widths[i]) for i in reversed(range(levels)))
        self.top = layer(0, 0, joined[0], width, "identity")
        self.where = Coordinates(grid) if positional else None
        first = in_channels + (grid.ndim if positional else 0)
        self.lift = ChannelMLP([first, *_hidden(lifting, width), width], activation_name=activation, fused=fused)
        self.project = ChannelMLP(
            [width, *_hidden(projection, width), out_channels], activation_name=activation, fused=fused
        )

    def shapes(self, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """The points of each axis on each grid, finest first: n, then ceil(n / ratio) and so on, at least 2."""
        found = [tuple(int(n) for n in shape)]
        for level in range(1, self.levels + 1):
            factor = self.ratio**level
            found.append(
                tuple(
                    n if axis.kind == "listed" else max(min(n, 2), math.ceil(n / factor - 1e-9))
                    for n, axis in zip(found[0], self.grid.axes)
                )
            )
        return found

    def forward(self, x: Tensor) -> Tensor:
        check_input("UNO", x, self.in_channels, self.grid.ndim)
        shapes = self.shapes(x.shape[2:])
        v = self.lift.last((x if self.where is None else self.where(x)).movedim(1, -1))
        left = []
        for layer, shape in zip(self.down, shapes[1:]):
            assert isinstance(layer, UNOLayer)
            left.append(v)
            v = layer.last(v, shape)
        v = self.bottom.last(v, shapes[-1])
        for layer, shape in zip(self.up, reversed(shapes[:-1])):
            assert isinstance(layer, UNOLayer)
            v = cat([layer.last(v, shape), left.pop()], -1)
        return self.project.last(self.top.last(v, shapes[0])).movedim(-1, 1)


class UNOLayer(nn.Module):
    """v -> s(K v + R W v) on the grid of another shape, then v + M(v) where there are hidden channels; see ``UNO``."""

    def __init__(
        self,
        conv: SpectralConv,
        move: Interpolation,
        *,
        hidden: list[int],
        norm_name: str,
        activation_name: str,
        mlp_activation_name: str,
        dropout: float,
        fused: bool,
    ):
        super().__init__()
        width = conv.out_channels
        self.conv, self.move = conv, move
        self.pointwise = ChannelLinear(conv.in_channels, width, bias=False)
        self.norm, self.act = norm_named(norm_name, width), activation_named(activation_name)
        self.mlp: ChannelMLP | None = None
        if hidden:
            self.mlp = ChannelMLP(
                [width, *hidden, width], activation_name=mlp_activation_name, dropout=dropout, fused=fused
            )

    def last(self, v: Tensor, shape: Sequence[int]) -> Tensor:
        """(B, *shape, C_out) from (B, *space, C_in)."""
        source = v.shape[1:-1]
        k = apply_last(self.norm, self.conv.last(v, shape))
        if math.prod(shape) < math.prod(source):  # fewer points first
            w = self.pointwise.last(self._moved(v, source, shape))
        else:
            w = self._moved(self.pointwise.last(v), source, shape)
        y = self.act(k + w)
        return y if self.mlp is None else y + self.mlp.last(y)

    def _moved(self, v: Tensor, source: Sequence[int], shape: Sequence[int]) -> Tensor:
        return self.move(v.movedim(-1, 1), source, shape).movedim(1, -1)


def _hidden(ratio: float, width: int) -> list[int]:
    return [max(1, round(ratio * width))] if ratio > 0 else []
