"""The empirical Kolmogorov n-width of a data set: how well the best n-dimensional linear space can do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..backends.svd import svd
from .arrays import Array, block
from .dataset import Dataset

LEVELS = (1e-1, 1e-2, 1e-4)


@dataclass(frozen=True)
class NWidth:
    """Curves over n = 0, 1, 2, ...

    ``error[n]`` = sqrt(sum_{i>n} s_i^2 / sum_i s_i^2): the mean-square error of the best linear space of dimension n
    for these samples, relative (its square is the tail of the uncentred spectrum ``singular_values``). ``worst[n]``
    is the largest relative projection error of one sample on that space, an upper estimate of the n-width
    d_n = inf over spaces of sup over solutions; ``unseen[n]`` the mean relative projection error of other samples
    (the test split) on it: no linear surrogate of rank n trained on these samples can be better there.

    ``snapshots`` says what a snapshot is: "samples" (whole trajectories for a time-dependent problem) or "states". A
    time-dependent data set has both curves: ``states`` is that of the single states, which bounds methods that
    evolve coefficients in time.
    """

    singular_values: list[float]
    error: list[float]
    worst: list[float]
    unseen: list[float]
    samples: int
    snapshots: str
    states: NWidth | None = None

    def rank(self, level: float) -> int | None:
        """The smallest n with error[n] <= level, or None where all of these samples do not reach it."""
        return next((n for n, e in enumerate(self.error) if e <= level), None)

    def floor(self, n: int) -> float | None:
        """The unseen error at n, where it was measured."""
        return self.unseen[min(n, len(self.unseen) - 1)] if self.unseen else None

    def to_dict(self) -> dict:
        return {
            "singular_values": self.singular_values,
            "error": self.error,
            "worst": self.worst,
            "unseen": self.unseen,
            "ranks": {f"{level:g}": self.rank(level) for level in LEVELS},
            "samples": self.samples,
            "snapshots": self.snapshots,
            "states": None if self.states is None else self.states.to_dict(),
        }


def n_width(
    data: Dataset,
    unseen: Dataset | None = None,
    *,
    initial: bool = False,
    max_samples: int = 1000,
    max_bytes: int = 2**31,
) -> NWidth:
    """The n-width curve of the solutions, uncentred, in the grid's inner product.

    One snapshot is one sample with all its times and channels, since that is what a surrogate predicts; states are
    measured beside them, and alone for a single trajectory. ``initial`` counts the initial state as one of the times.
    At most ``max_samples`` samples, evenly spaced, and as many as fit in ``max_bytes``; ``samples`` says how many were
    taken.

    >>> from nwidth.backends import Grid
    >>> g = Grid.make((32,)); x = g.coordinates()[0]
    >>> u = torch.stack([torch.sin(2 * torch.pi * (x - s)) for s in torch.rand(10)])[:, None]
    >>> n_width(Dataset(g, u=u, mu=torch.rand(10, 1))).rank(1e-6)
    2
    """
    u = data.solution
    weight = data.grid.norm_weights().clamp_min(1e-300).sqrt()
    kept = _pick(len(u), u.nbytes, max_samples, max_bytes)
    x = _snapshots(u, kept, weight)
    first = None
    if initial and data.time_dependent and data.u0 is not None and data.u0.shape[1] == u.shape[2]:
        first = _snapshots(data.u0, kept, weight)
    others = None
    if unseen is not None and len(unseen):
        others = _snapshots(unseen.solution, _pick(len(unseen), unseen.nbytes, max_samples, max_bytes), weight)
    if not data.time_dependent:
        return _curve(x.flatten(1), None if others is None else others.flatten(1), "samples")
    every = x if first is None else torch.cat([first[:, None], x], 1)
    single, single_others = (
        None if v is None else _thin(v.flatten(0, 1).flatten(1), max_samples) for v in (every, others)
    )
    assert single is not None
    states = _curve(single, single_others, "states")
    if len(u) == 1:
        return states
    whole = _curve(every.flatten(1), others.flatten(1) if others is not None and first is None else None, "samples")
    return replace(whole, states=states)


def _curve(x: Tensor, unseen: Tensor | None, snapshots: str) -> NWidth:
    U, s, _ = svd(x.mT, method="exact")
    squares = s.square()
    total = float(squares.sum()) or 1.0
    tail = torch.cat([squares.flip(0).cumsum(0).flip(0), torch.zeros(1, dtype=squares.dtype)])
    error = (tail / total).sqrt().clamp_min(1e-16)
    others = [] if unseen is None else _projection(unseen, U).mean(0).tolist()
    return NWidth(s.tolist(), error.tolist(), _projection(x, U).amax(0).tolist(), others, len(x), snapshots)


def _pick(n: int, nbytes: int, max_samples: int, max_bytes: int) -> Tensor:
    count = min(n, max_samples, max(2, max_bytes // max(2 * nbytes // max(n, 1), 1)))
    return torch.linspace(0, n - 1, count).round().long()


def _thin(x: Tensor, count: int) -> Tensor:
    return x[torch.linspace(0, len(x) - 1, min(len(x), count)).round().long()]


def _snapshots(u: Array, picked: Tensor, weight: Tensor) -> Tensor:
    """Values times the root of the weights, so that Euclidean products are those of the grid."""
    values = block(u, picked)
    return (values if values.is_complex() else values.double()) * weight


def _projection(x: Tensor, U: Tensor) -> Tensor:
    """Relative error of each row of x projected on the first n columns of U, (rows, ranks + 1)."""
    norm2 = x.abs().square().sum(1, keepdim=True).clamp_min(1e-300)
    c = x @ U.conj()
    outside = (x - c @ U.mT).abs().square().sum(1, keepdim=True)
    # summed from the end: 1 - captured / norm2 would lose all errors below 1e-8
    inside = c.abs().square().flip(1).cumsum(1).flip(1)
    return ((torch.cat([inside, torch.zeros_like(outside)], 1) + outside) / norm2).sqrt()
