"""The FitzHugh-Nagumo system: an activator and an inhibitor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...backends import Grid
from ...data import Dataset
from ..parameters import Range
from ..random_fields import PowerLawField, RandomField
from ..spectral import SpectralSpace
from .diffusion_reaction import DiffusionReaction, constant


@dataclass(frozen=True, kw_only=True)
class FitzHughNagumo(DiffusionReaction):
    """u_t = diffusion_u Lap u + u - u^3 - k - v,
    v_t = diffusion_v Lap v + u - v:
    the two-dimensional diffusion-reaction equations of PDEBench (Takamoto et al. 2022, arXiv:2210.07182, D.5; Klaasen
    and Troy 1984, SIAM J. Appl. Math. 44), with their values and their domain as defaults.

    diffusion_u, diffusion_v, k : numbers or ranges, mu.
    initial : the law of u0 and, independent of it, of v0: white noise up to a frequency, which PDEBench draws at the
        points of its grid, so that its states depend on the resolution.
    boundary : neumann, no flux through the walls of [lo, hi], as in PDEBench, or periodic. See
        ``DiffusionReaction``, also for the accuracy. Products are formed without aliasing (``factors`` = 3).

    >>> problem = FitzHughNagumo(ndim=1, final_time=1.0, times=2)
    >>> data = problem.simulate([0], seed=0, grid=problem.grid(32))
    >>> tuple(data.u.shape), data.names["u"], data.grid.axes[0].kind
    ((1, 2, 2, 32), ('u', 'v'), 'cell')
    """

    factors: ClassVar[int] = 3
    parameters: ClassVar[Mapping[str, str]] = {"diffusion_u": "positive", "diffusion_v": "positive", "k": "real"}

    ndim: int = 2
    lo: float = -1.0
    hi: float = 1.0
    final_time: float = 5.0
    times: int = 100
    boundary: str = "neumann"
    diffusion_u: Range = 1e-3
    diffusion_v: Range = 5e-3
    k: Range = 5e-3
    initial: RandomField = field(default_factory=lambda: PowerLawField(std=1.0, slope=0.0, modes=24))

    @property
    def bandlimit(self) -> int:
        return self.initial.modes

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        return self.draw(indices, seed, grid, {"u": self.initial, "v": self.initial})

    def theta(self, inputs: Dataset) -> Tensor:
        """(diffusion_u, diffusion_v, 1)."""
        d_u, d_v = self.column("diffusion_u", inputs), self.column("diffusion_v", inputs)
        return self.stack(d_u, d_v, torch.ones_like(d_u[:1]))

    def operators(self, space: SpectralSpace) -> Tensor:
        """The Laplacians of u and of v, and (u, -v)."""
        laplacian = space.laplacian()
        one, zero = torch.ones_like(laplacian), torch.zeros_like(laplacian)
        pairs = [(laplacian, zero), (zero, laplacian), (one, -one)]
        return torch.stack([torch.stack(pair) for pair in pairs])

    def nonlinear(self, c: Tensor, space: SpectralSpace, inputs: Dataset | None) -> Tensor:
        """(-u^3 - k - v, u)."""
        u, v = c.split(1, 1)
        values = space.values(u)
        cube = space.coefficients(values * values.square())
        return torch.cat([-cube - v - constant(space) * self.coefficient("k", inputs), u], 1)

    def jet(self, c: Tensor, space: SpectralSpace) -> Tensor:
        """(u, v)."""
        return c

    def at_points(self, jet: Tensor, inputs: Dataset) -> Tensor:
        """(-u^3 - v, u)."""
        u, v = jet.split(1, 1)
        return torch.cat([-(u**3) - v, u], 1)

    def rates(self, inputs: Dataset) -> tuple[Tensor, Tensor, Tensor]:
        u0: Tensor = inputs.u0  # type: ignore[assignment]
        largest = u0.double().cpu()[:, 0].flatten(1).abs().amax(1).clamp_min(1.0)
        diffusion = torch.minimum(
            *torch.broadcast_tensors(*(self.column(d, inputs) for d in ("diffusion_u", "diffusion_v")))
        )
        return 3 * largest**2, torch.full((1,), 2.0, dtype=torch.float64), diffusion.double().cpu()
