"""The viscous Burgers equation in one dimension, periodic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...backends import Grid
from ...data import Dataset
from ...data.motions import Flip, Galilei, Motion, Translate
from ...errors import NWidthError
from ..evolution import EvolutionProblem
from ..parameters import Range
from ..random_fields import GaussianField
from ..spectral import SpectralSpace, bandwidth


@dataclass(frozen=True, kw_only=True)
class Burgers(EvolutionProblem):
    """u_t + (u^2/2)_x = nu u_xx on [lo, hi), periodic, u(x, 0) = u0(x).

    Parameters
    ----------
    nu : the viscosity, one for all samples, or a pair [least, most]: then each sample has its own,
        log-uniform between them, which is the parameter mu.
    initial : the random initial state, by default that of Li et al. (2021, arXiv:2010.08895, section 5.1),
        N(0, 625 (-Lap + 25 I)^(-2)).
    tolerance : size relative to u of what the modes at the edge of the spectrum may hold; thirty times as much is
        allowed to the errors of the time steps.
    cfl : time steps of cfl * dx / max|u0|, with dx the spacing of the points on which products are formed, and
        of (hi - lo) / (80 J) at most.

    The solution at a time, (N, 1, n), conserves the mean of u0 and stays within its range, from which the
    discretisation follows. A front between states J apart has the profile J/2 tanh(J x / (4 nu)), whose
    Fourier coefficients fall like exp(-2 pi nu k / J) in the wave number k: modes are kept up to
    k = J log(1/tolerance) / (2 pi nu) with J = max u0 - min u0, and up to those of u0 itself.

    >>> problem = Burgers(nu=0.05, final_time=0.5, times=2)
    >>> data = problem.simulate([0, 1], seed=0, grid=problem.grid(32))
    >>> tuple(data.u0.shape), tuple(data.u.shape), data.t.tolist()
    ((2, 1, 32), (2, 2, 1, 32), [0.25, 0.5])
    """

    calms: ClassVar[bool] = True
    quadratic: ClassVar[bool] = True
    parameters: ClassVar[Mapping[str, str]] = {"nu": "positive"}

    nu: Range = 0.01
    initial: GaussianField = field(default_factory=lambda: GaussianField(scale=25.0, tau=5.0, alpha=2.0))
    tolerance: float = 1e-8
    cfl: float = 0.75

    def __post_init__(self):
        super().__post_init__()
        if not (0 < self.tolerance < 1 and self.cfl > 0):
            raise NWidthError(
                "Burgers", got=f"tolerance={self.tolerance}, cfl={self.cfl}", expected="0 < tolerance < 1 and cfl > 0"
            )

    @property
    def bandlimit(self) -> int:
        return self.initial.modes

    @property
    def target(self) -> float:
        return self.tolerance

    def symmetries(self) -> list[Motion]:
        """Translations, u -> -u(-x), Galilean shifts."""
        return [Translate(0), Flip(0, -1.0), Galilei()]

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        return self.draw(indices, seed, grid, {"u": self.initial})

    def theta(self, inputs: Dataset) -> Tensor:
        """(nu,)."""
        return self.stack(self.column("nu", inputs))

    def operators(self, space: SpectralSpace) -> Tensor:
        """d^2/dx^2."""
        return space.laplacian()[None, None]

    def nonlinear(self, c: Tensor, space: SpectralSpace, inputs: Dataset | None) -> Tensor:
        """-(u^2/2)_x, in the form that conserves the mean."""
        return space.coefficients(space.values(c).square_()) * space.symbol(0, scale=-0.5)

    def jet(self, c: Tensor, space: SpectralSpace) -> Tensor:
        """(u, u_x)."""
        return torch.cat([c, space.derivative(c, 0)], 1)

    def at_points(self, jet: Tensor, inputs: Dataset) -> Tensor:
        """-u u_x."""
        u, slope = jet.split(1, 1)
        return -u * slope

    def resolve(self, inputs: Dataset) -> tuple[Tensor, Tensor]:
        stored: Tensor = inputs.u0  # type: ignore[assignment]
        u0 = stored.double().cpu()[:, 0]
        nu = self.column("nu", inputs).double().cpu()
        length = self.hi - self.lo
        jump = u0.amax(-1) - u0.amin(-1)
        degree = jump * math.log(1 / self.tolerance) * length / (4 * math.pi**2 * nu)
        own = bandwidth(stored, 1, max(self.tolerance, torch.finfo(stored.dtype).eps))
        degree = torch.maximum(degree, own).clamp_min(8)
        step = self.cfl * length / (3 * degree + 1) / u0.abs().amax(-1).clamp_min(1e-300)
        return degree, torch.minimum(step, length / (80 * jump.clamp_min(1e-300)))
