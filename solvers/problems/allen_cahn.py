"""The Allen-Cahn equation, periodic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...backends import Grid
from ...data import Dataset
from ...data.motions import Flip, Motion, Translate
from ...errors import NWidthError
from ..evolution import EvolutionProblem
from ..parameters import Range
from ..random_fields import GaussianField
from ..spectral import SpectralSpace, bandwidth


@dataclass(frozen=True, kw_only=True)
class AllenCahn(EvolutionProblem):
    """u_t = eps Lap u + r (u - u^3) on [lo, hi)^d, periodic: phases u = -1 and u = 1 with interfaces between.

    An interface has the profile tanh(x / w) with w = sqrt(2 eps / r). The energy, the integral of
    eps |grad u|^2/2 + r (1 - u^2)^2/4, falls; values stay within [-1, 1], or the range of u0 where that is larger.

    Parameters
    ----------
    eps, r : diffusivity and rate, positive, or [least, most]: then each sample has its own, log-uniform between
        them, which is a column of mu.
    initial : the random initial state.
    tolerance : size relative to u of what the modes at the edge of the spectrum may hold; thirty times as
        much is allowed to the summed local errors in time. Both are checked, and refined where needed.

    First guess. The coefficients of tanh(x/w) fall like exp(-pi k w / 2) in the wave number k. The step is a
    fraction of 1/(r m^2), with m the largest value.

    >>> problem = AllenCahn(eps=0.001, final_time=0.5, times=2)
    >>> data = problem.simulate([0, 1], seed=0, grid=problem.grid(64))
    >>> tuple(data.u.shape), bool(data.u.abs().max() < max(1.0, data.u0.abs().max()))
    ((2, 2, 1, 64), True)
    """

    calms: ClassVar[bool] = True
    dimensions: ClassVar[tuple[int, ...]] = (1, 2, 3)
    factors: ClassVar[int] = 3
    parameters: ClassVar[Mapping[str, str]] = {"eps": "positive", "r": "positive"}

    eps: Range = 1e-4
    r: Range = 5.0
    lo: float = -1.0
    hi: float = 1.0
    initial: GaussianField = field(default_factory=lambda: GaussianField(scale=8000.0, tau=15.0, alpha=4.0, modes=16))
    tolerance: float = 1e-8

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.tolerance < 1:
            raise NWidthError("AllenCahn", got=f"tolerance={self.tolerance}", expected="0 < tolerance < 1")

    def symmetries(self) -> list[Motion]:
        """Translations, reflections, exchange of the phases."""
        return [*map(Translate, range(self.ndim)), *map(Flip, range(self.ndim)), Flip(None, -1.0)]

    @property
    def bandlimit(self) -> int:
        return self.initial.modes

    @property
    def target(self) -> float:
        return self.tolerance

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        return self.draw(indices, seed, grid, {"u": self.initial})

    def theta(self, inputs: Dataset) -> Tensor:
        """(eps, r)."""
        return self.stack(self.column("eps", inputs), self.column("r", inputs))

    def operators(self, space: SpectralSpace) -> Tensor:
        """The Laplacian and the identity."""
        laplacian = space.laplacian()
        return torch.stack([laplacian, torch.ones_like(laplacian)])[:, None]

    def nonlinear(self, c: Tensor, space: SpectralSpace, inputs: Dataset | None) -> Tensor:
        """-r u^3."""
        u = space.values(c)
        return space.coefficients(u * u * u) * (-1.0 * self.coefficient("r", inputs))

    def jet(self, c: Tensor, space: SpectralSpace) -> Tensor:
        """u."""
        return c

    def at_points(self, jet: Tensor, inputs: Dataset) -> Tensor:
        """-r u^3."""
        return jet**3 * -self.column("r", inputs)[:, None, None]

    def resolve(self, inputs: Dataset) -> tuple[Tensor, Tensor]:
        stored: Tensor = inputs.u0  # type: ignore[assignment]
        own = bandwidth(stored, self.ndim, max(self.tolerance, torch.finfo(stored.dtype).eps))
        largest = stored.double().cpu().flatten(1).abs().amax(-1).clamp_min(1.0)
        eps, r = (self.column(k, inputs).double().cpu() for k in ("eps", "r"))
        width = (2 * eps / r).sqrt()
        degree = (self.hi - self.lo) / (2 * math.pi) * 2 / (math.pi * width) * math.log(1 / self.tolerance)
        return torch.maximum(degree.expand_as(own), own).clamp_min(8), STEP / (r * largest**2)


STEP = 0.1
