"""Transport by a constant velocity on a periodic box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...backends import Grid
from ...data import Dataset
from ...data.motions import Motion, Scale, Translate
from ..linear_evolution import LinearEvolution
from ..parameters import Range
from ..random_fields import GaussianField
from ..spectral import SpectralSpace


@dataclass(frozen=True, kw_only=True)
class Advection(LinearEvolution):
    """u_t + c . grad u = 0 on [lo, hi)^d, periodic: u(x, t) = u0(x - c t), exactly.

    Parameters
    ----------
    cx, cy, cz : the velocity along each axis (those of axes that are not there have no effect), a number or
        [least, most] for a velocity by sample; then it is a column of mu.
    initial : the random initial state.

    >>> problem = Advection(cx=0.25, times=1)
    >>> data = problem.simulate([0], seed=0, grid=problem.grid(132))
    >>> bool(torch.allclose(data.u[:, 0], data.u0.roll(33, -1)))
    True
    """

    parameters: ClassVar[Mapping[str, str]] = {"cx": "real", "cy": "real", "cz": "real"}

    cx: Range = 1.0
    cy: Range = 0.0
    cz: Range = 0.0
    initial: GaussianField = field(default_factory=lambda: GaussianField(scale=25.0, tau=5.0, alpha=2.0))

    def symmetries(self) -> list[Motion]:
        """Translations and multiples."""
        return [*map(Translate, range(self.ndim)), Scale((("u0", 1), ("u", 1)))]

    @property
    def bandlimit(self) -> int:
        return self.initial.modes

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        return self.draw(indices, seed, grid, {"u": self.initial})

    def theta(self, inputs: Dataset) -> Tensor:
        """The velocity."""
        return self.stack(*(self.column(k, inputs) for k in ("cx", "cy", "cz")[: self.ndim]))

    def operators(self, space: SpectralSpace) -> Tensor:
        """-d/dx_i."""
        symbols = [-space.symbol(i) for i in range(self.ndim)]
        return torch.stack([s.expand(space.counts) for s in symbols])[:, None]
