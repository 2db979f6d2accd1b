"""Diffusion on a periodic box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from ...backends import Grid
from ...data import Dataset
from ...data.motions import Flip, Motion, Scale, Translate
from ..linear_evolution import LinearEvolution
from ..parameters import Range
from ..random_fields import GaussianField
from ..spectral import SpectralSpace


@dataclass(frozen=True, kw_only=True)
class Heat(LinearEvolution):
    """u_t = kappa Lap u on [lo, hi)^d, periodic: each Fourier mode decays like exp(-kappa |k|^2 t), exactly.

    Parameters
    ----------
    kappa : the diffusivity, positive, or [least, most]: then each sample has its own, log-uniform between
        them, which is the parameter mu.
    initial : the random initial state.

    >>> problem = Heat(kappa=[0.001, 0.01], ndim=2, initial=GaussianField(modes=6))
    >>> data = problem.simulate(range(3), seed=0, grid=problem.grid(16))
    >>> tuple(data.u.shape), bool((data.u[:, -1].std((-2, -1)) < data.u0.std((-2, -1))).all())
    ((3, 10, 1, 16, 16), True)
    """

    parameters: ClassVar[Mapping[str, str]] = {"kappa": "positive"}

    kappa: Range = 0.01
    initial: GaussianField = field(default_factory=lambda: GaussianField(scale=25.0, tau=5.0, alpha=2.0))

    def symmetries(self) -> list[Motion]:
        """Translations, reflections, multiples."""
        return [*map(Translate, range(self.ndim)), *map(Flip, range(self.ndim)), Scale((("u0", 1), ("u", 1)))]

    @property
    def bandlimit(self) -> int:
        return self.initial.modes

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        return self.draw(indices, seed, grid, {"u": self.initial})

    def theta(self, inputs: Dataset) -> Tensor:
        """(kappa,)."""
        return self.stack(self.column("kappa", inputs))

    def operators(self, space: SpectralSpace) -> Tensor:
        """The Laplacian."""
        return space.laplacian()[None, None]
