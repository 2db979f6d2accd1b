"""The Korteweg-de Vries equation, periodic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...backends import Grid
from ...data import Dataset
from ...data.motions import Galilei, Motion, Translate
from ...errors import NWidthError
from ..evolution import EvolutionProblem
from ..parameters import Range
from ..random_fields import GaussianField
from ..spectral import SpectralSpace, bandwidth


@dataclass(frozen=True, kw_only=True)
class KdV(EvolutionProblem):
    """u_t + alpha u u_x + beta u_xxx = 0 on [lo, hi), periodic.

    Solitons (12 beta k^2 / alpha) sech^2(k (x - 4 beta k^2 t)) pass through each other; the integrals of u,
    u^2 and alpha u^3/3 - beta u_x^2 are conserved.

    Parameters
    ----------
    alpha, beta : coefficients, numbers other than zero, or [least, most]: then each sample has its own, which
        is a column of mu.
    initial : the random initial state.
    tolerance : size relative to u of what the modes at the edge of the spectrum may hold; thirty times as
        much is allowed to the summed local errors in time. Both are checked, and refined where needed.

    First guess. From a state of range J = max u0 - min u0 emerge solitons of height up to 2 J (Lax and Levermore
    1983), so k^2 = |alpha| J / (6 |beta|); the coefficients of sech^2(k x) fall like exp(-pi m / (2 k)) in the
    wave number m. The step is a fraction of the time in which the highest soliton passes its own width,
    1 / (4 |beta| k^3).

    >>> problem = KdV(times=2, final_time=0.2)
    >>> data = problem.simulate([0, 1], seed=0, grid=problem.grid(64))
    >>> bool(torch.allclose(data.u.mean(-1), data.u0.mean(-1)[:, None]))
    True
    """

    parameters: ClassVar[Mapping[str, str]] = {"alpha": "real", "beta": "real"}

    alpha: Range = 1.0
    beta: Range = 0.0025
    lo: float = -1.0
    hi: float = 1.0
    initial: GaussianField = field(default_factory=lambda: GaussianField(scale=600.0, tau=5.0, alpha=4.0, modes=16))
    tolerance: float = 1e-8

    def __post_init__(self):
        super().__post_init__()
        through_zero = [k for k in self.parameters if self._span(k)[0] <= 0 <= self._span(k)[-1]]
        if through_zero or not 0 < self.tolerance < 1:
            raise NWidthError(
                "KdV",
                got=f"alpha={self.alpha}, beta={self.beta}, tolerance={self.tolerance}",
                expected="alpha and beta other than zero, 0 < tolerance < 1",
            )

    def _span(self, name: str) -> tuple[float, ...]:
        value = getattr(self, name)
        return value if isinstance(value, tuple) else (value,)

    @property
    def quadratic(self) -> bool:  # type: ignore[override]
        """Whether all samples have one alpha."""
        return isinstance(self.alpha, float)

    def symmetries(self) -> list[Motion]:
        """Translations, and Galilean shifts where alpha is a number."""
        return [Translate(0), *([Galilei(self.alpha)] if isinstance(self.alpha, int | float) else [])]

    @property
    def bandlimit(self) -> int:
        return self.initial.modes

    @property
    def target(self) -> float:
        return self.tolerance

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        return self.draw(indices, seed, grid, {"u": self.initial})

    def theta(self, inputs: Dataset) -> Tensor:
        """(beta,)."""
        return self.stack(self.column("beta", inputs))

    def operators(self, space: SpectralSpace) -> Tensor:
        """-d^3/dx^3."""
        return -space.symbol(0, 3)[None, None]

    def nonlinear(self, c: Tensor, space: SpectralSpace, inputs: Dataset | None) -> Tensor:
        """-alpha (u^2/2)_x."""
        half = -0.5 * self.coefficient("alpha", inputs)
        scaled = space.symbol(0, scale=half) if isinstance(half, float) else space.symbol(0) * half
        return space.coefficients(space.values(c).square_()) * scaled

    def jet(self, c: Tensor, space: SpectralSpace) -> Tensor:
        """(u, u_x)."""
        return torch.cat([c, space.derivative(c, 0)], 1)

    def at_points(self, jet: Tensor, inputs: Dataset) -> Tensor:
        """-alpha u u_x."""
        u, slope = jet.split(1, 1)
        return u * slope * -self.column("alpha", inputs)[:, None, None]

    def resolve(self, inputs: Dataset) -> tuple[Tensor, Tensor]:
        stored: Tensor = inputs.u0  # type: ignore[assignment]
        u0 = stored.double().cpu()[:, 0]
        alpha, beta = (self.column(k, inputs).double().cpu().abs() for k in ("alpha", "beta"))
        jump = (u0.amax(-1) - u0.amin(-1)).clamp_min(1e-300)
        k = (alpha * jump / (6 * beta)).sqrt()
        degree = (self.hi - self.lo) / (2 * math.pi) * (2 * k / math.pi) * math.log(1 / self.tolerance)
        own = bandwidth(stored, 1, max(self.tolerance, torch.finfo(stored.dtype).eps))
        return torch.maximum(degree, own).clamp_min(8), STEP / (4 * beta * k**3)


STEP = 0.02  # of the time in which the highest soliton passes its width
