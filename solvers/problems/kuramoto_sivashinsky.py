"""The Kuramoto-Sivashinsky equation, periodic."""

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

FORMS = ("conservative", "gradient")


@dataclass(frozen=True, kw_only=True)
class KuramotoSivashinsky(EvolutionProblem):
    """form conservative (one axis):    u_t + nu1 u u_x + nu2 u_xx + nu4 u_xxxx = 0
       form gradient (one to three):    u_t + (nu1/2) |grad u|^2 + nu2 Lap u + nu4 Lap^2 u = 0

    on [lo, hi)^d, periodic. The slope of a solution of the second form is one of the first. nu2 > 0 feeds waves
    longer than 2 pi sqrt(nu4/nu2), nu4 damps shorter ones: chaotic on long boxes. The mean is conserved in the
    first form and falls in the second. In chaos errors grow exponentially with time, as with any solver.

    Parameters
    ----------
    nu1, nu2, nu4 : coefficients, nu1 and nu4 positive, or [least, most]: then each sample has its own, which is
        a column of mu.
    form : conservative or gradient.
    initial : the random initial state.
    tolerance : size relative to u of what the modes at the edge of the spectrum may hold; thirty times as
        much is allowed to the summed local errors in time. Both are checked, and refined where needed.

    First guess. Three scales bound the spectrum: k2 = sqrt(nu2/nu4), beyond which the linear part damps; the
    thickness of a front of height J that nu4 holds, 1/k with k^3 = nu1 J / nu4; and u0 itself. The step follows
    from the speed of the largest values, those of u0 or of the attractor, nu1 u ~ 4 nu2 k2.

    >>> problem = KuramotoSivashinsky(final_time=5.0, times=2)
    >>> data = problem.simulate([0, 1], seed=0, grid=problem.grid(256))
    >>> bool(torch.allclose(data.u.mean(-1), data.u0.mean(-1)[:, None], atol=1e-10))
    True
    """

    dimensions: ClassVar[tuple[int, ...]] = (1, 2, 3)
    parameters: ClassVar[Mapping[str, str]] = {"nu1": "positive", "nu2": "real", "nu4": "positive"}

    nu1: Range = 1.0
    nu2: Range = 1.0
    nu4: Range = 1.0
    form: str = "conservative"
    lo: float = 0.0
    hi: float = 100.0
    final_time: float = 50.0
    initial: GaussianField = field(default_factory=lambda: GaussianField(scale=0.1, tau=0.5, alpha=2.0, modes=16))
    tolerance: float = 1e-8

    def __post_init__(self):
        super().__post_init__()
        if self.form not in FORMS or (self.form == "conservative" and self.ndim > 1) or not 0 < self.tolerance < 1:
            raise NWidthError(
                "KuramotoSivashinsky",
                got=f"form={self.form!r}, ndim={self.ndim}, tolerance={self.tolerance}",
                expected="form conservative on one axis or gradient, 0 < tolerance < 1",
            )

    @property
    def quadratic(self) -> bool:  # type: ignore[override]
        """Whether all samples have one nu1."""
        return isinstance(self.nu1, float)

    def symmetries(self) -> list[Motion]:
        """Translations; u -> u(-x), or -u(-x) and Galilean shifts in the conservative form."""
        found: list[Motion] = list(map(Translate, range(self.ndim)))
        if self.form == "gradient":
            return [*found, *map(Flip, range(self.ndim))]
        return [*found, Flip(0, -1.0), *([Galilei(self.nu1)] if isinstance(self.nu1, int | float) else [])]

    @property
    def bandlimit(self) -> int:
        return self.initial.modes

    @property
    def target(self) -> float:
        return self.tolerance

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        return self.draw(indices, seed, grid, {"u": self.initial})

    def theta(self, inputs: Dataset) -> Tensor:
        """(nu2, nu4)."""
        return self.stack(self.column("nu2", inputs), self.column("nu4", inputs))

    def operators(self, space: SpectralSpace) -> Tensor:
        """-Lap and -Lap^2."""
        laplacian = space.laplacian()
        return torch.stack([-laplacian, -laplacian.square()])[:, None]

    def nonlinear(self, c: Tensor, space: SpectralSpace, inputs: Dataset | None) -> Tensor:
        """-nu1 (u^2/2)_x, or -(nu1/2) |grad u|^2."""
        half = -0.5 * self.coefficient("nu1", inputs)
        if self.form == "conservative":
            scaled = space.symbol(0, scale=half) if isinstance(half, float) else space.symbol(0) * half
            return space.coefficients(space.values(c).square_()) * scaled
        squares = [space.values(space.derivative(c, i)).square_() for i in range(self.ndim)]
        return space.coefficients(sum(squares[1:], squares[0])) * half

    def jet(self, c: Tensor, space: SpectralSpace) -> Tensor:
        """(u, u_x), or grad u."""
        slopes = [space.derivative(c, i) for i in range(self.ndim)]
        return torch.cat([c, *slopes] if self.form == "conservative" else slopes, 1)

    def at_points(self, jet: Tensor, inputs: Dataset) -> Tensor:
        """-nu1 u u_x, or -(nu1/2) |grad u|^2."""
        product = jet.prod(1, keepdim=True) if self.form == "conservative" else jet.square().sum(1, keepdim=True) / 2
        return product * -self.column("nu1", inputs)[:, None, None]

    def resolve(self, inputs: Dataset) -> tuple[Tensor, Tensor]:
        stored: Tensor = inputs.u0  # type: ignore[assignment]
        per_unit = (self.hi - self.lo) / (2 * math.pi)
        own = bandwidth(stored, self.ndim, max(self.tolerance, torch.finfo(stored.dtype).eps))
        u0 = stored.double().cpu().flatten(1)
        nu1, nu2, nu4 = (self.column(k, inputs).double().cpu() for k in ("nu1", "nu2", "nu4"))
        jump = (u0.amax(-1) - u0.amin(-1)).clamp_min(1e-300)
        if self.form == "gradient":  # heights of the slope
            jump = jump * (own.clamp_min(1) / per_unit).clamp_max(2 * (nu1 * jump / nu4).sqrt())
        decay = math.log(1 / self.tolerance)
        cutoff = (nu2.clamp_min(0) / nu4).sqrt()
        front = (nu1 * jump / nu4) ** (1 / 3)
        degree = per_unit * decay * torch.maximum(DECAY * cutoff, FRONT * front)
        degree = torch.maximum(degree, own).clamp_min(8)
        speed = torch.maximum(nu1 * jump, 4 * nu2.clamp_min(0) * cutoff)
        return degree, STEP / (speed * torch.maximum(cutoff, front))


DECAY, FRONT = 0.36, 0.2  # decades of the spectrum, in units of the two wave numbers
STEP = 0.2
