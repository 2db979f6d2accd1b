"""Fourier neural operator on any tensor-product grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from ..backends.grid import Grid
from ..backends.transforms import Transform
from ..errors import NWidthError
from .activations import activation
from .conditioning import CONDITIONING, Film, film
from .fused import tail
from .low_rank import Rank
from .pointwise import (
    ChannelLinear,
    ChannelMLP,
    Coordinates,
    SoftGating,
    add_skip_last,
    apply_last,
    check_input,
    norm,
    skip_connection,
)
from .scaling import check_scaling, rates, rescale
from .spectral import SpectralConv


class FNO(nn.Module):
    """u = (Q . B_L . ... . B_1 . P)(a, x): lift to ``width`` channels, L Fourier blocks, project.

    Block l maps v to s(M(s(K v + W v)) + G v), with K a convolution by learned multipliers of the low modes
    (``SpectralConv``), W the ``skip``, M a two-layer MLP over channels, G the ``mlp_skip``, s the activation
    (absent from the last block). With ``channel_mlp=0`` it is s(K v + W v), the layer of Li et al., Fourier
    neural operator for parametric PDEs, ICLR 2021, arXiv:2010.08895, eq. 2; the block with M is that of
    Kossaifi et al., Multi-grid tensorized Fourier neural operator, TMLR 2024, arXiv:2310.00120.

    A function of functions: x (B, C_in, *space) at any resolution of the grid's domain -> (B, C_out, *space).

    Parameters
    ----------
    in_channels, out_channels : scalars come as constant channels.
    grid : the training grid, which gives the number of axes and the kind of each.
    modes : kept modes of each axis, see ``ModeLayout``; an int for all axes alike; None is min(16, n) for n
        points. More than the grid holds is an error. A coarser grid at evaluation uses those that it can hold.
    width, layers : channels and number of blocks.
    lifting, projection : hidden channels of P and Q over ``width``; 0 makes them linear.
    channel_mlp : hidden channels of M over ``width``; 0 leaves M out.
    skip, mlp_skip : linear, soft-gating (one factor per channel), identity or none.
    norm : of K v and of the second sum: none, instance (each channel over space), group (all channels).
    positional : append the coordinates, each axis of the domain scaled to [0, 1], to the input.
    extension : on axes that are not periodic, K uses waves of (1 + extension) times the length at the points
        themselves, with quadrature weights: the accuracy of zero padding at the cost of none. None takes the
        cosine or Chebyshev basis of the axis instead.
    activation : gelu, relu, silu, tanh, sin or identity.
    dropout : of each block's output and inside M.
    init_scale : standard deviation of the initial spectral weights over sqrt(1 / width). The default is small: the
        network starts nearly pointwise, which generalises better from few samples than 1, neuraloperator's value.
    factorization, rank, separable : of the spectral weights, see ``SpectralConv``; tucker makes it the TFNO of
        Kossaifi et al., section 3.
    conditioning : none, or film: K v of each block is scaled and shifted, channel by channel, by functions of the
        scalar parameters (``Film``). With norm="instance" this is AdaIN.
    parameters : how many of the input channels are those scalars: the last ones; None takes the means of all channels.
    scaling : none, or mup: initial weights and the factors ``learning_rates`` that make one rate of Adam serve every
        width and number of modes (``operators.scaling``). The network is the same function of its weights.
    fused : on the CPU, compute the pointwise part of a block in one pass with its own backward (``operators.fused``):
        faster, in half the memory. False for derivatives of derivatives.

    >>> import torch
    >>> grid = Grid.make((16, 16), kind="nodal")
    >>> net = FNO(1, 2, grid, modes=8, width=8, layers=2)
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
        lifting: float = 2.0,
        projection: float = 2.0,
        channel_mlp: float = 0.5,
        skip: str = "linear",
        mlp_skip: str = "soft-gating",
        norm: str = "none",
        positional: bool = True,
        extension: float | None = 0.25,
        activation: str = "gelu",
        dropout: float = 0.0,
        init_scale: float = 0.03,
        factorization: str = "none",
        rank: Rank = 0.1,
        separable: bool = False,
        conditioning: str = "none",
        parameters: int | None = None,
        scaling: str = "none",
        fused: bool = True,
    ):
        super().__init__()
        if not isinstance(grid, Grid):
            raise NWidthError("FNO", got=type(grid).__name__, expected="a Grid of tensor-product axes")
        if width < 1 or layers < 1:
            raise NWidthError("FNO", got=f"width={width}, layers={layers}", expected="both at least 1")
        if conditioning not in CONDITIONING:
            raise NWidthError("FNO", got=f"conditioning={conditioning!r}", expected=", ".join(CONDITIONING))
        self.grid, self.in_channels, self.out_channels = grid, in_channels, out_channels
        self.transform = Transform.for_grid(grid, extension=extension)
        most = self.transform.modes_for(grid.shape)
        wanted = [min(16, n, m) for n, m in zip(grid.shape, most)] if modes is None else modes
        self.modes = self.transform.modes_for(grid.shape, wanted)
        self.where = Coordinates(grid) if positional else None
        first = in_channels + (grid.ndim if positional else 0)
        self.lift = ChannelMLP([first, *_hidden(lifting, width), width], activation_name=activation, fused=fused)
        self.blocks = nn.ModuleList(
            FNOBlock(
                width,
                self.modes,
                self.transform,
                hidden=_hidden(channel_mlp, width),
                skip=skip,
                mlp_skip=mlp_skip,
                norm_name=norm,
                activation_name="identity" if i == layers - 1 else activation,
                mlp_activation_name=activation,
                dropout=dropout,
                init_std=init_scale / (1 if separable else math.sqrt(width)),
                fused=fused,
                factorization=factorization,
                rank=rank,
                separable=separable,
            )
            for i in range(layers)
        )
        self.project = ChannelMLP(
            [width, *_hidden(projection, width), out_channels], activation_name=activation, fused=fused
        )
        self.film: Film | None = None
        if conditioning == "film":
            self.film = Film(in_channels, parameters, width=width, layers=layers, activation=activation)
        check_scaling("FNO", scaling, factorization, separable)
        self.scaling, self.width = scaling, width
        if scaling == "mup":
            rescale(self.blocks, self.project, width)

    def learning_rates(self) -> list[tuple[nn.Parameter, float]]:
        """Factors of the learning rate, one for each parameter where it is not 1."""
        if self.scaling == "none":
            return []
        inputs = [self.lift, *([] if self.film is None else [self.film.mlp])]
        return rates(self, [mlp.linears[0] for mlp in inputs], self.width)

    def forward(self, x: Tensor) -> Tensor:
        check_input("FNO", x, self.in_channels, self.grid.ndim)
        v = self.lift.last((x if self.where is None else self.where(x)).movedim(1, -1))
        changes = [None] * len(self.blocks) if self.film is None else self.film(x)
        for block, change in zip(self.blocks, changes):
            assert isinstance(block, FNOBlock)
            v = block.last(v, change)
        return self.project.last(v).movedim(-1, 1)


class FNOBlock(nn.Module):
    """v -> s(M(s(K v + W v)) + G v), or s(K v + W v) when ``hidden`` is empty; see ``FNO``."""

    def __init__(
        self,
        width: int,
        modes: Sequence[int],
        transform: Transform,
        *,
        hidden: list[int],
        skip: str,
        mlp_skip: str,
        norm_name: str,
        activation_name: str,
        mlp_activation_name: str,
        dropout: float,
        init_std: float,
        fused: bool = True,
        factorization: str = "none",
        rank: Rank = 0.1,
        separable: bool = False,
    ):
        super().__init__()
        self.inner, self.outer, self.fused = mlp_activation_name, activation_name, fused
        self.conv = SpectralConv(
            width,
            width,
            modes,
            transform=transform,
            init_std=init_std,
            factorization=factorization,
            rank=rank,
            separable=separable,
        )
        self.skip = skip_connection(skip, width)
        self.norm = norm(norm_name, width)
        self.act = activation(activation_name)
        self.mlp: ChannelMLP | None = None
        if hidden:
            self.mlp = ChannelMLP(
                [width, *hidden, width], activation_name=mlp_activation_name, dropout=dropout, fused=fused
            )
            self.mlp_skip = skip_connection(mlp_skip, width)
            self.mlp_norm = norm(norm_name, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, v: Tensor) -> Tensor:
        return self.last(v.movedim(1, -1)).movedim(-1, 1)

    def last(self, v: Tensor, change: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The same with the channels last, as ``FNO`` runs it: (B, *space, C); ``change`` is one layer of ``Film``."""
        if change is None or isinstance(self.norm, nn.Identity):
            k = apply_last(self.norm, self.conv.last(v, change=change))
        else:
            k = film(apply_last(self.norm, self.conv.last(v)), *change)
        if self.mlp is not None and self._fused():
            assert isinstance(self.skip, ChannelLinear) and isinstance(self.mlp_skip, SoftGating)
            a, b = self.mlp.linears
            weights = (self.skip.weight, a.weight, a.bias, b.weight, b.bias, self.mlp_skip.weight)
            return tail(k, v, *weights, self.inner, self.outer)  # type: ignore[arg-type]
        y = self.act(add_skip_last(self.skip, v, k))
        if self.mlp is not None:
            y = self.act(apply_last(self.mlp_norm, add_skip_last(self.mlp_skip, v, self.mlp.last(y))))
        return self.dropout(y)

    def _fused(self) -> bool:
        """Whether this block is of the kind that ``operators.fused.tail`` computes."""
        return (
            self.fused
            and isinstance(self.skip, ChannelLinear)
            and isinstance(self.mlp_skip, SoftGating)
            and isinstance(self.norm, nn.Identity)
            and not (self.training and self.dropout.p > 0)
        )


def _hidden(ratio: float, width: int) -> list[int]:
    """Sizes of the hidden layers of an MLP over channels."""
    return [max(1, round(ratio * width))] if ratio > 0 else []
