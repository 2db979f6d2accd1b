"""The Gray-Scott system: spots, stripes and waves from an autocatalytic reaction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ...backends import Axis, Grid
from ...data import Dataset
from ...errors import NWidthError
from ..parameters import Range, draw_parameters, varying
from ..random_fields import stream
from ..spectral import SpectralSpace
from .diffusion_reaction import DiffusionReaction, constant


@dataclass(frozen=True, kw_only=True)
class Patches:
    """p = 1 - exp(-sum_i exp(-|x - x_i|^2 / (2 width^2))): ``count`` smooth bumps at uniformly distributed places x_i,
    p in [0, 1); with all their periods on periodic axes, with their reflections between walls.

    >>> p = Patches(count=3, width=0.1).sample([stream(0, 0)], Grid.make((16, 16)))
    >>> tuple(p.shape), bool(((p > 0) & (p < 1)).all())
    ((1, 1, 16, 16), True)
    """

    count: int = 20
    width: float = 0.1

    def __post_init__(self):
        if not (self.count >= 1 and self.width > 0):
            raise NWidthError(
                "Patches", got=f"count={self.count}, width={self.width}", expected="count >= 1, width > 0"
            )

    def modes(self, length: float) -> int:
        """The frequency on a period ``length`` beyond which a state holds less than about 1e-8."""
        return math.ceil(9 * length / (2 * math.pi * self.width))

    def sample(self, streams: Sequence[np.random.Generator], grid: Grid) -> Tensor:
        """One state a stream, float64, shape (len(streams), 1, *grid.shape)."""
        places = torch.from_numpy(np.stack([s.random((self.count, grid.ndim)) for s in streams]))
        bumps = torch.ones(len(streams), self.count, dtype=torch.float64)
        for i, axis in enumerate(grid.axes):
            bumps = bumps[..., None] * self._profile(axis, places[..., i]).view(
                len(streams), self.count, *(1,) * i, axis.n
            )
        return -torch.expm1(-bumps.sum(1, keepdim=True))

    def _profile(self, axis: Axis, place: Tensor) -> Tensor:
        """sum over images of exp(-(x - x_i)^2 / (2 width^2)), (N, count, n)."""
        x, center = axis.coordinates() - axis.lo, axis.length * place[..., None]
        period = axis.length if axis.kind == "periodic" else 2 * axis.length
        centers = [center] if axis.kind == "periodic" else [center, -center]
        reach = math.ceil(1 + 9 * self.width / period)
        total = torch.zeros(*place.shape, axis.n, dtype=torch.float64)
        for c in centers:
            for m in range(-reach, reach + 1):
                total += torch.exp(-((x - c + m * period) ** 2) / (2 * self.width**2))
        return total


@dataclass(frozen=True, kw_only=True)
class GrayScott(DiffusionReaction):
    """u_t = diffusion_u Lap u - u v^2 + feed (1 - u),
    v_t = diffusion_v Lap v + u v^2 - (feed + kill) v
    (Gray and Scott 1984, Chem. Eng. Sci. 39; Pearson 1993, Science 261).

    diffusion_u, diffusion_v, feed, kill : numbers or ranges, mu. On [-1, 1]^2 with the default diffusion, (feed, kill)
        = (0.029, 0.057) makes a maze, (0.03, 0.062) spots, (0.058, 0.065) worms, (0.018, 0.051) spirals, (0.014,
        0.054) gliders, (0.098, 0.057) bubbles: the parameters of The Well (Ohana et al. 2024, arXiv:2412.00568).
    initial : the random patches p of u0 = 1 - p/2, v0 = p/4, after Pearson's squares.

    u stays in [0, 1] and v >= 0. See ``DiffusionReaction`` for the boundary and the accuracy; products are formed
    without aliasing (``factors`` = 3).

    >>> problem = GrayScott(ndim=1, final_time=50.0, times=2)
    >>> data = problem.simulate([0], seed=0, grid=problem.grid(64))
    >>> tuple(data.u.shape), bool((data.u > -1e-6).all() and (data.u < 1.000001).all())
    ((1, 2, 2, 64), True)
    """

    factors: ClassVar[int] = 3
    parameters: ClassVar[Mapping[str, str]] = {
        "diffusion_u": "positive",
        "diffusion_v": "positive",
        "feed": "positive",
        "kill": "real",
    }

    ndim: int = 2
    lo: float = -1.0
    hi: float = 1.0
    final_time: float = 1000.0
    times: int = 20
    tolerance: float = 1e-4
    diffusion_u: Range = 2e-5
    diffusion_v: Range = 1e-5
    feed: Range = 0.029
    kill: Range = 0.057
    initial: Patches = field(default_factory=Patches)

    @property
    def bandlimit(self) -> int:
        return self.initial.modes(self.hi - self.lo)

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        streams = [stream(seed, i) for i in indices]
        mu = draw_parameters(self, tuple(self.parameters), streams)
        p = self.initial.sample(streams, grid)
        names: dict[str, tuple[str, ...]] = {"u0": ("u", "v"), "u": ("u", "v")}
        if mu is not None:
            names["mu"] = varying(self, tuple(self.parameters))
        return Dataset(grid, u0=torch.cat([1 - p / 2, p / 4], 1), mu=mu, names=names, problem=self.config())

    def theta(self, inputs: Dataset) -> Tensor:
        """(diffusion_u, diffusion_v, feed, kill)."""
        return self.stack(*(self.column(k, inputs) for k in self.parameters))

    def operators(self, space: SpectralSpace) -> Tensor:
        """The Laplacians of u and of v, -(u, v), and -(0, v)."""
        laplacian = space.laplacian()
        one, zero = torch.ones_like(laplacian), torch.zeros_like(laplacian)
        pairs = [(laplacian, zero), (zero, laplacian), (-one, -one), (zero, -one)]
        return torch.stack([torch.stack(pair) for pair in pairs])

    def nonlinear(self, c: Tensor, space: SpectralSpace, inputs: Dataset | None) -> Tensor:
        """(-u v^2 + feed, u v^2)."""
        u, v = space.values(c).split(1, 1)
        product = space.coefficients(u * v * v)
        return torch.cat([constant(space) * self.coefficient("feed", inputs) - product, product], 1)

    def jet(self, c: Tensor, space: SpectralSpace) -> Tensor:
        """(u, v)."""
        return c

    def at_points(self, jet: Tensor, inputs: Dataset) -> Tensor:
        """(-u v^2, u v^2)."""
        u, v = jet.split(1, 1)
        product = u * v.square()
        return torch.cat([-product, product], 1)

    def rates(self, inputs: Dataset) -> tuple[Tensor, Tensor, Tensor]:
        u0: Tensor = inputs.u0  # type: ignore[assignment]
        u, v = (x.flatten(1).abs().amax(1) for x in u0.double().cpu().unbind(1))
        loss = self.column("feed", inputs) + self.column("kill", inputs)
        diffusion = torch.minimum(
            *torch.broadcast_tensors(*(self.column(d, inputs) for d in ("diffusion_u", "diffusion_v")))
        )
        # in patterns v is a few tenths, u v about feed + kill
        return (v.square() + 2 * u * v).clamp_min(0.25), loss.double().cpu(), diffusion.double().cpu()
