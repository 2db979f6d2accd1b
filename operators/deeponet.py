"""DeepONet and POD-DeepONet: coefficients of the input times functions of the point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..backends.grid import Grid
from ..backends.svd import svd
from ..errors import NWidthError
from .activations import activation as activation_named
from .convolution import Convolution, boundaries
from .interpolation import Interpolation
from .pointwise import Coordinates, check_input

BRANCHES = ("mlp", "conv")


class BasisExpansion(nn.Module):
    """u_c(y) = phi_0c(y) + sum_k b_k(a) phi_kc(y), with the coefficients b of a branch network.

    The branch sees the input at fixed sensors, the points of the training grid: an input at another resolution is
    interpolated to them. Subclasses give the functions phi, (p, C_out, *shape), and the shift phi_0 at any
    resolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: Grid,
        count: int,
        *,
        branch: str,
        branch_width: int,
        branch_layers: int,
        activation: str,
    ):
        super().__init__()
        name = type(self).__name__
        if not isinstance(grid, Grid):
            raise NWidthError(name, got=type(grid).__name__, expected="a Grid of tensor-product axes")
        if min(count, branch_width) < 1 or branch_layers < 0:
            raise NWidthError(
                name,
                got=f"{count} functions, branch_width={branch_width}, branch_layers={branch_layers}",
                expected="at least one function, a branch at least 1 wide, layers not negative",
            )
        if branch not in BRANCHES:
            raise NWidthError(name, got=f"branch={branch!r}", expected="one of " + ", ".join(BRANCHES))
        self.grid, self.in_channels, self.out_channels = grid, in_channels, out_channels
        self.move, self.branch = Interpolation(grid), nn.Sequential()
        space, channels = grid.shape, in_channels
        if branch == "conv":
            encoder = ConvolutionEncoder(in_channels, branch_width, grid, activation)
            space, channels = encoder.space, encoder.channels
            self.branch.append(encoder)
        sizes = [channels * math.prod(space), *[branch_width] * branch_layers, count]
        self.branch.append(nn.Flatten())
        self.branch.append(MLP(sizes, activation))

    def forward(self, x: Tensor) -> Tensor:
        check_input(type(self).__name__, x, self.in_channels, self.grid.ndim)
        return self.expand(self.coefficients(x), x.shape[2:])

    def coefficients(self, x: Tensor) -> Tensor:
        """b (B, p) of inputs x at any resolution."""
        return self.branch(self.move(x, x.shape[2:], self.grid.shape))

    def expand(self, b: Tensor, shape: Sequence[int]) -> Tensor:
        """The functions (B, C_out, *shape) with coefficients b (B, p)."""
        phi, shift = self.functions(shape, b)
        return (b @ phi.flatten(1)).view(len(b), self.out_channels, *shape) + shift

    def functions(self, shape: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
        """phi (p, C_out, *shape) and phi_0, broadcastable to (C_out, *shape), in the dtype and on the device of x."""
        raise NotImplementedError


class DeepONet(BasisExpansion):
    """u_c(y) = beta_c + sum_k b_k(a) t_kc(y): branch b of the input's values at fixed sensors, trunk t of the point.

    Lu, Jin, Pang, Zhang and Karniadakis, Learning nonlinear operators via DeepONet, Nature Machine Intelligence 3
    (2021), arXiv:1910.03193, the unstacked form with bias. Output channels share the branch and have trunk outputs
    of their own: the functions t_k have vectors as values.

    Parameters
    ----------
    in_channels, out_channels, grid : see ``nwidth.operators``; any number of axes with the mlp branch.
    latent : number p of functions.
    branch : mlp, of all values at the sensors; or conv, 3^d convolutions of stride 2 with doubled channels until
        at most 4 points an axis remain, before the mlp (1 to 3 axes).
    branch_width, branch_layers : hidden layers of the branch's MLP; the convolutions end with ``branch_width``
        channels or fewer.
    trunk_width, trunk_layers : hidden layers of the trunk's MLP; its outputs pass the activation too.
    harmonics : on a periodic axis the trunk sees sin and cos of 2 pi k s, k = 1 .. harmonics, of the coordinate
        s in [0, 1): the functions are periodic. On others it sees s itself, scaled to [-1, 1].
    activation : gelu, relu, silu, tanh, sin or identity.

    The trunk takes any point: the output is at the resolution of the input, whichever it is. An input at another
    resolution is interpolated to the sensors (``backends.resample``).

    >>> net = DeepONet(1, 2, Grid.make((16, 16), kind="nodal"), latent=8, branch_width=16, trunk_width=16)
    >>> net(torch.randn(4, 1, 16, 16)).shape, net(torch.randn(4, 1, 31, 24)).shape
    (torch.Size([4, 2, 16, 16]), torch.Size([4, 2, 31, 24]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: Grid,
        *,
        latent: int = 64,
        branch: str = "conv",
        branch_width: int = 512,
        branch_layers: int = 1,
        trunk_width: int = 128,
        trunk_layers: int = 3,
        harmonics: int = 4,
        activation: str = "gelu",
    ):
        super().__init__(
            in_channels,
            out_channels,
            grid,
            latent,
            branch=branch,
            branch_width=branch_width,
            branch_layers=branch_layers,
            activation=activation,
        )
        if trunk_width < 1 or trunk_layers < 0 or harmonics < 1:
            raise NWidthError(
                "DeepONet",
                got=f"trunk_width={trunk_width}, trunk_layers={trunk_layers}, harmonics={harmonics}",
                expected="at least 1; layers not negative",
            )
        self.latent, self.harmonics = latent, harmonics
        self.where = Coordinates(grid)
        features = sum(2 * harmonics if p else 1 for p in grid.periodic)
        sizes = [features, *[trunk_width] * trunk_layers, latent * out_channels]
        self.trunk, self.act = MLP(sizes, activation), activation_named(activation)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def functions(self, shape: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
        s = self.where(like.new_zeros(1, 0, *shape))[0].flatten(1).mT  # (points, d) in [0, 1]
        k = 2 * math.pi * torch.arange(1, self.harmonics + 1, dtype=s.dtype, device=s.device)
        seen = []
        for column, periodic in zip(s.unbind(1), self.grid.periodic):
            if periodic:
                angle = column[:, None] * k
                seen += [angle.sin(), angle.cos()]
            else:
                seen.append(2 * column[:, None] - 1)
        t = self.act(self.trunk(torch.cat(seen, 1)))
        return t.mT.unflatten(0, (self.latent, self.out_channels)).unflatten(2, shape), self._constant()

    def _constant(self) -> Tensor:
        return self.bias.view(-1, *(1,) * self.grid.ndim)


class PODDeepONet(BasisExpansion):
    """u_c(y) = phi_0c(y) + sum_k b_k(a) phi_kc(y): a branch as in ``DeepONet``, POD modes of the training outputs.

    phi_0 is their mean, phi_k the k-th mode times the standard deviation of its coefficient, so that every b_k
    has variance 1 over the training samples. Modes are orthogonal in the grid's ``norm_weights``, jointly over the
    output channels. Lu et al., A comprehensive and fair comparison of two neural operators, Comput. Methods Appl.
    Mech. Engrg. 393 (2022), arXiv:2111.05512.

    The basis comes from data: ``prepare(x, y)``, which ``NeuralSurrogate`` calls before training. It is saved with
    the weights. A network without it raises NWidthError.

    Parameters
    ----------
    in_channels, out_channels, grid : see ``nwidth.operators``; any number of axes with the mlp branch.
    modes : number of POD modes. Where the samples span fewer, the others are zero.
    branch, branch_width, branch_layers, activation : see ``DeepONet``.

    At another resolution, input and modes are interpolated (``backends.resample``).

    >>> net = PODDeepONet(1, 1, Grid.make((16,)), modes=4, branch_width=16)
    >>> net.prepare(torch.randn(20, 1, 16), torch.randn(20, 1, 16))
    >>> net(torch.randn(3, 1, 16)).shape, net(torch.randn(3, 1, 24)).shape
    (torch.Size([3, 1, 16]), torch.Size([3, 1, 24]))
    """

    mean: Tensor
    basis: Tensor
    ready: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: Grid,
        *,
        modes: int = 64,
        branch: str = "conv",
        branch_width: int = 512,
        branch_layers: int = 1,
        activation: str = "gelu",
    ):
        super().__init__(
            in_channels,
            out_channels,
            grid,
            modes,
            branch=branch,
            branch_width=branch_width,
            branch_layers=branch_layers,
            activation=activation,
        )
        self.register_buffer("mean", torch.zeros(out_channels, *grid.shape))
        self.register_buffer("basis", torch.zeros(modes, out_channels, *grid.shape))
        self.register_buffer("ready", torch.tensor(False))
        self.prepared = False  # the same, as a value that a compiled graph may hold
        self.register_load_state_dict_post_hook(_loaded)

    def prepare(self, x: Tensor, y: Tensor) -> None:
        """Mean and modes of outputs y (N, C_out, *grid.shape); the inputs x are not used."""
        if y.shape[1:] != self.mean.shape or len(y) < 2:
            raise NWidthError(
                "PODDeepONet.prepare",
                got=f"outputs of shape {tuple(y.shape)}",
                expected=f"2 or more of shape {tuple(self.mean.shape)}",
            )
        flat = y.detach().double().flatten(1)
        mean = flat.mean(0)
        centred = flat - mean
        self.mean.copy_(mean.view_as(self.mean))
        self.basis.zero_()
        if float(centred.abs().max()) > 1e-14 * float(flat.abs().max()):
            w = self.grid.norm_weights().to(flat.device).expand(self.mean.shape).flatten()
            U, s, _ = svd(centred.mT.contiguous(), weight=w, method="gram")
            modes = (U * (s / math.sqrt(len(y) - 1))).mT[: len(self.basis)]
            self.basis[: len(modes)] = modes.unflatten(1, self.mean.shape).to(self.basis)
        self.ready.fill_(True)
        self.prepared = True

    def functions(self, shape: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
        if not self.prepared:
            raise NWidthError(
                "PODDeepONet",
                got="a network without its POD modes",
                expected="modes of the training outputs",
                fix="call prepare(x, y) first, or load a state that has them",
            )
        phi, mean = self.basis.to(like.dtype), self.mean.to(like.dtype)
        return self.move(phi, self.grid.shape, shape), self.move(mean, self.grid.shape, shape)


def _loaded(module: nn.Module, keys: Any) -> None:
    assert isinstance(module, PODDeepONet)
    module.prepared = bool(module.ready)


class ConvolutionEncoder(nn.Sequential):
    """3^d convolutions of stride 2 until at most 4 points an axis remain, the channels doubled each time.

    (B, C, *grid.shape) -> (B, channels, *space); the last has at most ``width`` channels.
    """

    def __init__(self, in_channels: int, width: int, grid: Grid, activation: str):
        super().__init__()
        sides = boundaries(grid, "auto", "branch=conv")
        steps = max(1, math.ceil(math.log2(max(grid.shape) / 4)))
        self.channels = in_channels
        self.space = grid.shape
        for step in range(steps):
            wider = max(1, min(width, 32 * 2**step))
            self.append(Convolution(self.channels, wider, sides, stride=2, bias=True))
            self.append(Activation(activation))
            self.channels, self.space = wider, tuple(-(-n // 2) for n in self.space)


class MLP(nn.Sequential):
    """Linear maps (B, sizes[0]) -> (B, sizes[-1]) with activations between them."""

    def __init__(self, sizes: Sequence[int], activation: str):
        super().__init__()
        for i, (a, b) in enumerate(pairwise(sizes)):
            if i > 0:
                self.append(Activation(activation))
            self.append(nn.Linear(a, b))


class Activation(nn.Module):
    """An activation by name as a module."""

    def __init__(self, name: str):
        super().__init__()
        self.act = activation_named(name)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x)
