"""Random initial states of fluids, with several fields: piecewise constant, smooth, and a column that is let go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..backends import Grid
from ..errors import NWidthError
from .intervals import draw, interval
from .random_fields import GaussianField


@dataclass(frozen=True, kw_only=True)
class PiecewiseConstant:
    """Constant states on the boxes between random cuts, ``pieces`` along each axis: in one dimension with two
    pieces a Riemann problem, in two dimensions the four quadrants of one.

    ``ranges`` holds the interval of each quantity, a scalar or a vector whose components share it; values are
    uniform in it. Cuts are uniform between ``margin`` and 1 - ``margin`` of an axis. On a periodic axis its ends
    are one more cut.

    >>> from nwidth.solvers import stream
    >>> states = PiecewiseConstant(ranges=[[0.5, 1.0], [-1.0, 1.0]])
    >>> tuple(states.sample([stream(0, 0)], Grid.make((8, 8), "cell"), (1, 2)).shape)
    (1, 3, 8, 8)
    """

    ranges: Sequence[Sequence[float]]
    pieces: int = 2
    margin: float = 0.2

    def __post_init__(self):
        object.__setattr__(self, "ranges", tuple(interval("PiecewiseConstant", "ranges", r) for r in self.ranges))
        if not (self.pieces >= 1 and 0 <= self.margin < 0.5):
            raise NWidthError(
                "PiecewiseConstant",
                got=f"pieces={self.pieces}, margin={self.margin}",
                expected="pieces >= 1 and 0 <= margin < 0.5",
            )

    def sample(self, streams: Sequence[np.random.Generator], grid: Grid, components: Sequence[int]) -> Tensor:
        """States at the points of a grid, (N, sum(components), *space), float64.

        ``components`` counts those of each quantity: 1 for a scalar, d for a vector.
        """
        _count("PiecewiseConstant", "ranges", self.ranges, components)
        spans = [r for r, c in zip(self.ranges, components) for _ in range(c)]
        states = []
        for s in streams:
            cuts = np.sort(s.uniform(self.margin, 1 - self.margin, (grid.ndim, self.pieces - 1)), 1)
            count = self.pieces**grid.ndim
            values = torch.tensor([[draw(s, r) for _ in range(count)] for r in spans], dtype=torch.float64)
            box = torch.zeros(grid.shape, dtype=torch.long)
            for i, (axis, places) in enumerate(zip(grid.axes, cuts)):
                edges = axis.lo + axis.length * torch.from_numpy(places)
                piece = torch.searchsorted(edges, axis.coordinates(), right=True)
                box = box * self.pieces + piece.view(-1, *(1,) * (grid.ndim - 1 - i))
            states.append(values[:, box])
        return torch.stack(states)


@dataclass(frozen=True, kw_only=True)
class SmoothStates:
    """Independent Gaussian fields, one law for each quantity; a quantity that must be positive is exp of its field.

    >>> from nwidth.solvers import stream
    >>> states = SmoothStates(fields=[GaussianField(modes=4), GaussianField(modes=4)])
    >>> w = states.sample([stream(0, 0)], Grid.make((8,)), (1, 1), (True, False))
    >>> tuple(w.shape), bool((w[:, 0] > 0).all())
    ((1, 2, 8), True)
    """

    fields: Sequence[GaussianField]

    def __post_init__(self):
        object.__setattr__(self, "fields", tuple(self.fields))

    def sample(
        self, streams: Sequence[np.random.Generator], grid: Grid, components: Sequence[int], positive: Sequence[bool]
    ) -> Tensor:
        """As ``PiecewiseConstant.sample``; ``positive`` says which quantities are."""
        _count("SmoothStates", "fields", self.fields, components)
        channels = []
        for law, count, exponential in zip(self.fields, components, positive):
            for _ in range(count):
                g = law.sample(streams, grid)
                channels.append(g.exp() if exponential else g)
        return torch.cat(channels, 1)


@dataclass(frozen=True, kw_only=True)
class RadialDamBreak:
    """Water at rest, of depth ``inside`` within ``radius`` of the middle of the box and ``outside`` beyond: each a
    number or the interval of a uniform random one. The defaults are those of PDEBench (Takamoto et al. 2022,
    arXiv:2210.07182).
    """

    radius: float | Sequence[float] = (0.3, 0.7)
    inside: float | Sequence[float] = 2.0
    outside: float | Sequence[float] = 1.0

    def __post_init__(self):
        for name in ("radius", "inside", "outside"):
            checked = interval("RadialDamBreak", name, getattr(self, name), least=0.0)
            object.__setattr__(self, name, checked)

    def sample(self, streams: Sequence[np.random.Generator], grid: Grid) -> Tensor:
        """Depth and velocities at the points of a grid, (N, 1 + d, *space), float64."""
        values = torch.tensor([[draw(s, r) for r in (self.radius, self.inside, self.outside)] for s in streams])
        x = grid.coordinates()
        middle = torch.tensor([(a.lo + a.hi) / 2 for a in grid.axes], dtype=torch.float64)
        distance = (x - middle.view(-1, *(1,) * grid.ndim)).square().sum(0).sqrt()
        radius, inside, outside = (v.double().view(-1, 1, *(1,) * grid.ndim) for v in values.T)
        depth = torch.where(distance <= radius, inside, outside)
        return torch.cat([depth, torch.zeros_like(depth).expand(-1, grid.ndim, *grid.shape)], 1)


def _count(where: str, name: str, given: Sequence[object], components: Sequence[int]) -> None:
    if len(given) != len(components):
        raise NWidthError(
            where, got=f"{len(given)} {name}", expected=f"{len(components)}, one for each quantity of the problem"
        )
