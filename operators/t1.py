"""Transform Once: all layers of an operator on the coefficients of one transform."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..backends.bases import real_basis
from ..backends.grid import Grid
from ..backends.orthonormal import OrthonormalBasis, seen_as
from ..backends.transforms import Transform
from ..errors import NWidthError
from .activations import activation as activation_named
from .pointwise import check_input
from .unet import Scales, pooling, widths

SCALINGS = ("channel", "none")


class OnCoefficients(nn.Module):
    """u = S . f(A x): analysis, a map of coefficients, synthesis; what ``T1`` and ``T1U`` share.

    The functions of each axis are orthonormal in the norm of the metrics (``OrthonormalBasis``), so a relative L2
    error of fields is one of coefficients. ``coefficients(c)`` maps (B, C_in, *counts) to (B, C_out, *counts);
    ``analyse`` and ``synthesise`` go between fields and those. At another resolution than the grid's, fields are
    interpolated on the way in and out by the axis's own functions.

    ``prepare(x, y)`` takes two things from training data. The block of modes: with ``truncation`` the least number
    on each axis that leaves a relative L2 error below it in y, at most those of the constructor. The ``scaling``:
    with ``channel`` each channel is divided by the root mean square of its coefficients over the training data on the
    way in and multiplied by it on the way out; with ``none`` coefficients have the scale of the orthonormal transform
    of the array.
    """

    kept: Tensor
    size_in: Tensor
    size_out: Tensor
    places: Tensor

    def __init__(
        self,
        name: str,
        in_channels: int,
        out_channels: int,
        grid: Grid,
        modes: int | Sequence[int] | None,
        basis: str,
        truncation: float | None,
        scaling: str,
    ):
        super().__init__()
        d = grid.ndim
        if modes is None:
            modes = [min(24, n) for n in grid.shape]
        kept = (modes,) * d if isinstance(modes, int) else tuple(int(m) for m in modes)
        if len(kept) != d:
            raise NWidthError(f"{name} modes", got=f"{modes}", expected=f"a number, or {d} of them")
        if scaling not in SCALINGS or (truncation is not None and not 0 < truncation < 1):
            raise NWidthError(
                name,
                got=f"scaling={scaling!r}, truncation={truncation}",
                expected=f"scaling {' or '.join(SCALINGS)}, truncation between 0 and 1 or null",
            )
        self.name, self.in_channels, self.out_channels, self.grid = name, in_channels, out_channels, grid
        self.truncation, self.scaling = truncation, scaling
        self.transform = Transform([OrthonormalBasis(axis=a, family=basis) for a in grid.axes])
        self.interpolant = Transform([real_basis(seen_as(a, basis)) for a in grid.axes])
        self.counts = self.transform.modes_for(grid.shape, kept)
        self.register_buffer("kept", torch.tensor(kept))
        root = math.sqrt(math.prod(grid.shape))
        self.register_buffer("size_in", torch.full((in_channels, *kept), 1 / root))
        self.register_buffer("size_out", torch.full((out_channels, *kept), 1 / root))
        s = [(a.coordinates() - a.lo) / (a.length or 1.0) for a in grid.axes]
        where = torch.stack([torch.ones(grid.shape), *torch.meshgrid(*s, indexing="ij")])
        places = self.analyse(where.to(torch.get_default_dtype())[None])[0] * root
        self.register_buffer("places", self._sized(places), False)

    def _sized(self, places: Tensor) -> Tensor:
        """Those of the fixed fields, of the size that the coefficients of x have in the block."""
        if self.scaling == "none":
            return places
        rms = places.square().flatten(1).mean(1).sqrt().clamp_min(1e-12)
        return places / rms.view(-1, *(1,) * (places.ndim - 1))

    def gain(self) -> float:
        """Of the first layer: what the block lacks of a white signal of n points; 1 where channels are scaled."""
        return math.sqrt(math.prod(self.grid.shape) / math.prod(self.counts)) if self.scaling == "none" else 1.0

    def analyse(self, x: Tensor) -> Tensor:
        """Coefficients (B, C, *counts) of fields (B, C, *space)."""
        if tuple(x.shape[2:]) != self.grid.shape:
            x = self.interpolant.resize(x, self.grid.shape)
        return self.transform.forward(x, self.counts)

    def synthesise(self, c: Tensor, shape: Sequence[int] | None = None) -> Tensor:
        """Fields (B, C, *shape) of coefficients, on the grid's own points by default."""
        u = self.transform.inverse(c, self.grid.shape)
        return u if shape is None or tuple(shape) == self.grid.shape else self.interpolant.resize(u, shape)

    def forward(self, x: Tensor) -> Tensor:
        check_input(self.name, x, self.in_channels, self.grid.ndim)
        return self.synthesise(self.coefficients(self.analyse(x)), x.shape[2:])

    def coefficients(self, c: Tensor) -> Tensor:
        """Coefficients of u from those of x."""
        raise NotImplementedError

    def enter(self, c: Tensor) -> Tensor:
        """(K, B, C_in + 1 + d): scaled coefficients with those of 1 and of the coordinates."""
        z = torch.cat([c / self.size_in, self.places.expand(len(c), *self.places.shape)], 1)
        return z.flatten(2).permute(2, 0, 1)

    def prepare(self, x: Tensor, y: Tensor) -> None:
        """Choose the block and the scales from training inputs x (N, C_in, *space) and what should come out, y."""
        with torch.no_grad():
            if self.truncation is not None:
                self.crop(self._needed(y))
            if self.scaling == "channel":
                for name, v in (("size_in", x), ("size_out", y)):
                    own: Tensor = getattr(self, name)
                    rms = self.analyse(v.to(own)).square().mean(0).flatten(1).mean(1).sqrt()
                    own.copy_(rms.clamp_min(1e-12).view(-1, *(1,) * self.grid.ndim).expand_as(own))

    def _needed(self, y: Tensor) -> tuple[int, ...]:
        """The least number of modes of each axis whose remainders together are below ``truncation`` of y."""
        assert self.truncation is not None
        energy = self.analyse(y.to(self.size_out)).double().square().sum((0, 1))
        weights = self.grid.norm_weights() / math.prod(a.length or 1.0 for a in self.grid.axes)
        total = (y.double().square() * weights.to(y.device)).sum()
        allowed = self.truncation**2 * float(total) / self.grid.ndim
        found = []
        for i, axis in enumerate(self.grid.axes):
            along = energy.movedim(i, 0).reshape(self.counts[i], -1).sum(1)
            beyond = along.flip(0).cumsum(0).flip(0)  # the energy of modes k, k + 1, ..
            m = max(1, int((beyond > allowed).sum()))
            found.append(min(m + (axis.kind == "periodic" and m % 2 == 0), len(along)))  # cosines with their sines
        return tuple(found)

    def crop(self, kept: Sequence[int]) -> None:
        """Keep the first modes of each axis only."""
        self.counts = tuple(kept)
        for name in ("size_in", "size_out", "places"):
            self.register_buffer(name, block(getattr(self, name), kept, 1), name != "places")
        self.places = self._sized(self.places)
        self.kept.copy_(torch.tensor(kept))

    def _load_from_state_dict(self, state: Any, prefix: str, *args: Any) -> None:
        kept = state.get(prefix + "kept")
        if kept is not None and all(1 <= int(m) <= n for m, n in zip(kept, self.counts)):
            self.crop([int(m) for m in kept])  # what follows says so where the state is of another network
        super()._load_from_state_dict(state, prefix, *args)


def block(x: Tensor, kept: Sequence[int], first: int) -> Tensor:
    """The low modes of the axes from ``first``."""
    for i, m in enumerate(kept):
        x = x.narrow(first + i, 0, m)
    return x.contiguous()


class T1(OnCoefficients):
    """u = S Q z_L, z_l+1 = z_l + M_l s(W_l z_l), z_0 = P A (x, 1, coordinates): one transform A, one inverse S.

    z_l (*kept, C) are coefficients of C fields. W_l mixes the channels of each mode by a matrix of its own, s acts on
    coefficients, M_l mixes the modes of each channel: along one axis after the other by a full matrix. P and the two
    layers of Q, with a sine between them, act on each mode alike. Poli, Massaroli, Berto, Park, Dao, Re and Ermon,
    Transform Once: Efficient Operator Learning in Frequency Domain, NeurIPS 2022, arXiv:2211.14453, section 3.

    x (B, C_in, *space) at any resolution of the grid's domain -> (B, C_out, *space).

    Parameters
    ----------
    in_channels, out_channels, grid : see ``nwidth.operators``. P is linear, so it acts on the coefficients of x: C_in
        fields are transformed, not C.
    modes : functions kept on each axis, an int for all alike; None is min(24, n). On a periodic axis these are 1, the
        lowest cosines and the lowest sines.
    width, layers : channels and number of layers.
    activation : s: gelu, relu, silu, tanh, sin or identity.
    projection : hidden channels of Q.
    basis : auto, the functions of each kind of axis; cosine, the DCT-II of the values on all uniform axes.
    truncation, scaling : see ``OnCoefficients``.

    At the start u = 0, and the layers preserve variance (section 3.3): W has standard deviation (1/C)^1/2, M (1/m)^1/2.
    With ``scaling="none"`` W_0 restores what a white signal of n points loses in K of n modes, (n / (K C))^1/2.

    >>> net = T1(1, 2, Grid.make((64, 48)), modes=12, width=8, layers=2)
    >>> net(torch.randn(3, 1, 64, 48)).shape, net(torch.randn(3, 1, 100, 90)).shape
    (torch.Size([3, 2, 64, 48]), torch.Size([3, 2, 100, 90]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: Grid,
        *,
        modes: int | Sequence[int] | None = None,
        width: int = 48,
        layers: int = 8,
        activation: str = "gelu",
        projection: int = 128,
        basis: str = "auto",
        truncation: float | None = 1e-3,
        scaling: str = "channel",
    ):
        super().__init__("T1", in_channels, out_channels, grid, modes, basis, truncation, scaling)
        if min(width, layers, projection) < 1:
            raise NWidthError(
                "T1", got=f"width={width}, layers={layers}, projection={projection}", expected="all at least 1"
            )
        self.lift = nn.Linear(in_channels + 1 + grid.ndim, width, bias=False)
        gains = [self.gain(), *[1.0] * (layers - 1)]
        self.layers = nn.ModuleList(ModeLayer(width, self.counts, gain, activation) for gain in gains)
        self.hidden = nn.Linear(width, projection)
        self.project = nn.Linear(projection, out_channels)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def coefficients(self, c: Tensor) -> Tensor:
        z = self.lift(self.enter(c))
        for layer in self.layers:
            z = layer(z)
        y = self.project(torch.sin(self.hidden(z)))  # (K, B, C_out)
        return y.permute(1, 2, 0).reshape(len(c), self.out_channels, *self.counts) * self.size_out

    def crop(self, kept: Sequence[int]) -> None:
        super().crop(kept)
        for layer in self.layers:
            layer.crop(kept)  # type: ignore[operator]


class ModeLayer(nn.Module):
    """z -> z + M s(W z) on coefficients (K, B, C); see ``T1``."""

    def __init__(self, width: int, counts: Sequence[int], gain: float, activation: str):
        super().__init__()
        self.counts, self.act, self.restores = tuple(counts), activation_named(activation), gain != 1
        self.weight = nn.Parameter(torch.randn(math.prod(counts), width, width) * (gain / math.sqrt(width)))
        self.mixing = nn.ParameterList(torch.randn(width, m, m) / math.sqrt(m) for m in counts)

    def forward(self, z: Tensor) -> Tensor:
        batch, channels = z.shape[1:]
        y = self.act(torch.bmm(z, self.weight))
        y = y.permute(2, 1, 0).reshape(channels, batch, *self.counts)
        for i, mixing in enumerate(self.mixing):
            y = y.movedim(2 + i, -1)
            y = torch.bmm(y.reshape(channels, -1, y.shape[-1]), mixing).view(y.shape).movedim(-1, 2 + i)
        return z + y.reshape(channels, batch, -1).permute(2, 1, 0)

    def crop(self, kept: Sequence[int]) -> None:
        """Keep the first modes; the standard deviations become those of a layer of this size."""
        grown = math.sqrt(math.prod(self.counts) / math.prod(kept))
        with torch.no_grad():
            weight = block(self.weight.view(*self.counts, *self.weight.shape[1:]), kept, 0).flatten(0, len(kept) - 1)
            self.weight = nn.Parameter(weight * (grown if self.restores else 1.0))
            mixing = [m[:, :k, :k] * math.sqrt(m.shape[1] / k) for m, k in zip(self.mixing, kept)]
            self.mixing = nn.ParameterList(mixing)
        self.counts = tuple(kept)


class T1U(OnCoefficients):
    """u = S Q U(M s(W z) + z), z = P A (x, 1, coordinates): one layer of ``T1``, then a U-Net on the block of modes.

    The block of coefficients is an image of as many points as modes, in which the U-Net's stencils join neighbouring
    frequencies. Poli et al., arXiv:2211.14453, section 4.

    Parameters
    ----------
    in_channels, out_channels, grid, modes, basis, truncation, scaling : as in ``T1``; 1 to 3 axes.
    width : channels of the layer and of the U-Net's first scale.
    levels : number of scales.
    activation, norm : of the layer and the U-Net; see there.

    >>> net = T1U(1, 1, Grid.make((64, 64)), modes=16, width=8, levels=3)
    >>> net(torch.randn(3, 1, 64, 64)).shape
    torch.Size([3, 1, 64, 64])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: Grid,
        *,
        modes: int | Sequence[int] | None = None,
        width: int = 16,
        levels: int = 3,
        activation: str = "gelu",
        norm: str = "group",
        basis: str = "auto",
        truncation: float | None = 1e-3,
        scaling: str = "channel",
    ):
        super().__init__("T1U", in_channels, out_channels, grid, modes, basis, truncation, scaling)
        if width < 1 or levels < 1:
            raise NWidthError("T1U", got=f"width={width}, levels={levels}", expected="at least 1")
        d = grid.ndim
        self.lift = nn.Linear(in_channels + 1 + d, width, bias=False)
        self.layer = ModeLayer(width, self.counts, self.gain(), activation)
        sizes, sides = widths(width, levels, "transposed"), ("zero",) * d
        factors = pooling((levels - 1,) * d)
        self.scales = Scales(width, sizes, factors, sides, norm=norm, activation=activation, up="transposed")
        self.project = nn.Linear(width, out_channels)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def coefficients(self, c: Tensor) -> Tensor:
        z = self.layer(self.lift(self.enter(c))).permute(1, 2, 0)
        z = self.scales(z.reshape(*z.shape[:2], *self.counts))
        return self.project(z.movedim(1, -1)).movedim(-1, 1) * self.size_out

    def crop(self, kept: Sequence[int]) -> None:
        super().crop(kept)
        self.layer.crop(kept)
