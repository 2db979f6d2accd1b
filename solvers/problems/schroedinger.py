"""The nonlinear Schroedinger equation, periodic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...backends import Grid
from ...data import Dataset
from ...errors import NWidthError
from ..evolution import EvolutionProblem
from ..parameters import Range
from ..random_fields import GaussianField
from ..spectral import SpectralSpace, bandwidth


@dataclass(frozen=True, kw_only=True)
class Schroedinger(EvolutionProblem):
    """i h_t + d Lap h + g |h|^2 h = 0 on [lo, hi)^n, periodic, for complex h.

    The mass, the integral of |h|^2, and the energy, that of d |grad h|^2 - g |h|^4 / 2, are conserved. With
    d g > 0 (focusing) and one axis, a sech(a s x) exp(i d a^2 s^2 t), s^2 = g / (2 d), stands still; on more
    axes a focusing state of large mass collapses to a point in finite time, which ends in an error. Fields hold
    h as complex numbers, or as two real channels, real and imaginary parts; random ones are the latter.

    Parameters
    ----------
    d, g : coefficients, or [least, most]: then each sample has its own, which is a column of mu.
    initial : the law of the real and, independently, the imaginary part at t0.
    tolerance : size relative to h of what the modes at the edge of the spectrum may hold; thirty times as
        much is allowed to the summed local errors in time. Both are checked, and refined where needed.

    First guess, for values up to 1.5 times the largest of |h0|, m: solitons sech(k x) with
    k = m sqrt(|g| / (2 |d|)) have coefficients that fall like exp(-pi K / (2 k)) in the wave number K; phases turn
    at the rate g m^2.

    >>> problem = Schroedinger(times=2, final_time=0.5)
    >>> data = problem.simulate([0], seed=0, grid=problem.grid(64))
    >>> tuple(data.u.shape), data.channels("u")
    ((1, 2, 2, 64), ('re', 'im'))
    """

    dimensions: ClassVar[tuple[int, ...]] = (1, 2, 3)
    factors: ClassVar[int] = 3
    complex_state: ClassVar[bool] = True
    parameters: ClassVar[Mapping[str, str]] = {"d": "real", "g": "real"}

    d: Range = 0.5
    g: Range = 1.0
    lo: float = -5.0
    hi: float = 5.0
    final_time: float = 1.5
    initial: GaussianField = field(default_factory=lambda: GaussianField(scale=0.5, tau=1.0, alpha=3.0, modes=16))
    tolerance: float = 1e-8

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.tolerance < 1:
            raise NWidthError("Schroedinger", got=f"tolerance={self.tolerance}", expected="0 < tolerance < 1")

    @property
    def bandlimit(self) -> int:
        return self.initial.modes

    @property
    def target(self) -> float:
        return self.tolerance

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        return self.draw(indices, seed, grid, {"re": self.initial, "im": self.initial})

    def theta(self, inputs: Dataset) -> Tensor:
        """(d,)."""
        return self.stack(self.column("d", inputs))

    def operators(self, space: SpectralSpace) -> Tensor:
        """i Lap."""
        return 1j * space.laplacian()[None, None]

    def nonlinear(self, c: Tensor, space: SpectralSpace, inputs: Dataset | None) -> Tensor:
        """i g |h|^2 h."""
        h = space.values(c)
        density = h.real.square() + h.imag.square()
        return space.coefficients(h * density).mul_(1j * self.coefficient("g", inputs))

    def resolve(self, inputs: Dataset) -> tuple[Tensor, Tensor]:
        stored: Tensor = inputs.u0  # type: ignore[assignment]
        h = self.state(stored)
        own = bandwidth(h, self.ndim, max(self.tolerance, torch.finfo(stored.dtype).eps))
        largest = 1.5 * h.abs().double().cpu().flatten(1).amax(-1).clamp_min(1e-300)
        d, g = (self.column(k, inputs).double().cpu().abs() for k in ("d", "g"))
        k = largest * (g / (2 * d.clamp_min(1e-300))).sqrt()
        degree = (self.hi - self.lo) / (2 * math.pi) * (2 * k / math.pi) * math.log(1 / self.tolerance)
        degree = torch.maximum(degree, own).clamp_min(8)
        return degree, STEP / (g * largest**2).clamp_min(1e-300)


STEP = 0.1
