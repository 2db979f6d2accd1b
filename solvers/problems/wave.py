"""The wave equation on a periodic box."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...backends import Grid
from ...data import Dataset
from ..linear_evolution import LinearEvolution
from ..parameters import Range
from ..random_fields import GaussianField
from ..spectral import SpectralSpace


@dataclass(frozen=True, kw_only=True)
class Wave(LinearEvolution):
    """u_tt = c^2 Lap u on [lo, hi)^d, periodic, as the system u_t = v, v_t = c^2 Lap u of channels u, v.

    Mode by mode, with w = c |k|: u(t) = cos(w t) u0 + sin(w t)/w v0 and v(t) = -w sin(w t) u0 + cos(w t) v0;
    the mean has w = 0 and sin(w t)/w = t. The energy, the integral of v^2/2 + c^2 |grad u|^2/2, is conserved.

    Parameters
    ----------
    c : the speed, positive, or [least, most]: then each sample has its own, log-uniform between them, which is
        the parameter mu.
    initial, velocity : the random u and v at t0; v has a law of its own, zero by default.

    >>> problem = Wave(c=1.0, times=1, initial=GaussianField(modes=8))
    >>> data = problem.simulate([0], seed=0, grid=problem.grid(32))
    >>> bool(torch.allclose(data.u[:, 0], data.u0, atol=1e-10))  # a period of the box
    True
    """

    parameters: ClassVar[Mapping[str, str]] = {"c": "positive"}

    c: Range = 1.0
    initial: GaussianField = field(default_factory=lambda: GaussianField(scale=25.0, tau=5.0, alpha=2.0))
    velocity: GaussianField = field(default_factory=lambda: GaussianField(scale=0.0, tau=5.0, alpha=2.0))

    @property
    def bandlimit(self) -> int:
        return max(self.initial.modes, self.velocity.modes)

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        return self.draw(indices, seed, grid, {"u": self.initial, "v": self.velocity})

    def theta(self, inputs: Dataset) -> Tensor:
        """Zero: the linear part that is diagonal in the channels."""
        u0: Tensor = inputs.u0  # type: ignore[assignment]
        return u0.new_zeros(1, 1)

    def operators(self, space: SpectralSpace) -> Tensor:
        """The identity, which ``theta`` multiplies by zero."""
        return torch.ones_like(space.laplacian())[None, None]

    def nonlinear(self, c: Tensor, space: SpectralSpace, inputs: Dataset | None) -> Tensor:
        """(v, c^2 Lap u): linear, but it couples the channels."""
        speed = self.coefficient("c", inputs)
        return torch.cat([c[:, 1:], speed**2 * space.laplacian() * c[:, :1]], 1)

    @property
    def quadratic(self) -> bool:  # type: ignore[override]
        """Whether all samples have one speed."""
        return isinstance(self.c, float)

    def resolve(self, inputs: Dataset) -> tuple[Tensor, Tensor]:
        """The degree of the interpolant of u0, and the step that an explicit scheme takes (reduced models do)."""
        degree, _ = super().resolve(inputs)
        highest = 2 * math.pi / (self.hi - self.lo) * degree * math.sqrt(self.ndim)
        return degree, 0.5 / (highest * self.column("c", inputs).double().cpu())

    def exact_states(
        self, c: Tensor, space: SpectralSpace, inputs: Dataset, times: Sequence[float]
    ) -> Iterator[Tensor]:
        """The exact solution at each time, from the first state."""
        frequency = self.coefficient("c", inputs) * (-space.laplacian()).sqrt()
        u, v = c[:, :1], c[:, 1:]
        for t in times:
            t = t - inputs.t0
            cosine, sine = torch.cos(frequency * t), torch.sin(frequency * t)
            # torch.sinc(x) = sin(pi x) / (pi x), which is one at zero
            yield torch.cat(
                [cosine * u + t * torch.sinc(frequency * (t / math.pi)) * v, cosine * v - frequency * sine * u], 1
            )
