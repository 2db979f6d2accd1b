"""Training on coarser grids first: fields restricted to every f-th point, or to means of f cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..backends import Grid
from ..errors import NWidthError


@dataclass(frozen=True)
class Coarsening:
    """Which factor a step uses: ``staged``, each of ``factors`` for an equal share of the progress; ``mixed``, one
    drawn from (seed, step), so that a run goes on from a checkpoint with the same draws.

    >>> [Coarsening([4, 2, 1], "staged", 0).factor(0, p) for p in (0.0, 0.5, 0.9, 1.0)]
    [4, 2, 1, 1]
    """

    factors: Sequence[int]
    order: str
    seed: int

    def factor(self, step: int, progress: float) -> int:
        count = len(self.factors)
        if self.order == "staged" or count == 1:
            return self.factors[min(int(progress * count), count - 1)]
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + step) % 2**63)
        return self.factors[int(torch.randint(count, (1,), generator=generator))]


def restrict(v: Tensor, grid: Grid, factor: int) -> Tensor:
    """v (..., *space) on the grid of the same domain with ``factor`` times as few intervals on each axis.

    Values at every factor-th point of periodic and nodal axes, means over ``factor`` cells on cell axes: what the
    grid ``grid.with_shape`` of the result's shape has as its points. NWidthError where the intervals do not divide,
    or an axis is of another kind.

    >>> restrict(torch.arange(9.0), Grid.make((9,), "nodal"), 4).tolist()
    [0.0, 4.0, 8.0]
    >>> restrict(torch.arange(8.0), Grid.make((8,), "cell"), 4).tolist()
    [1.5, 5.5]
    """
    if factor == 1:
        return v
    for i, axis in enumerate(grid.axes):
        intervals = axis.n - 1 if axis.kind == "nodal" else axis.n
        if axis.kind not in ("periodic", "nodal", "cell") or intervals % factor or intervals // factor < 2:
            raise NWidthError(
                "training.coarsening",
                got=f"the factor {factor} for axis {axis.name!r} of {axis.n} {axis.kind} points",
                expected="a factor that divides the intervals of periodic, nodal or cell axes and leaves two",
            )
        dim = v.ndim - grid.ndim + i
        if axis.kind == "cell":
            v = v.unflatten(dim, (-1, factor)).mean(dim + 1)
        else:
            v = v[(slice(None),) * dim + (slice(None, None, factor),)]
    return v
