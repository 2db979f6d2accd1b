"""Linear equations with constant coefficients on periodic boxes: solved exactly, mode by mode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..data import Dataset
from .evolution import EvolutionProblem
from .spectral import SpectralSpace


@dataclass(frozen=True, kw_only=True)
class LinearEvolution(EvolutionProblem):
    """u_t = sum_q theta_q(mu) A_q u on a periodic box: c(t) = exp((t - t0) L) c(t0) for the Fourier coefficients
    c of the interpolant of u0, with no error but round-off.

    A subclass gives ``theta`` and ``operators``. There is nothing to choose in space or time: the fields
    scheme, points and accuracy of ``EvolutionProblem`` are constants here.
    """

    dimensions: ClassVar[tuple[int, ...]] = (1, 2, 3)
    factors: ClassVar[int] = 1
    quadratic: ClassVar[bool] = True

    scheme: ClassVar[str] = "etdrk4"  # type: ignore[misc]
    points: ClassVar[None] = None  # type: ignore[misc]
    accuracy: ClassVar[None] = None  # type: ignore[misc]

    def nonlinear(self, c: Tensor, space: SpectralSpace, inputs: Dataset | None) -> Tensor:
        """Zero."""
        return torch.zeros_like(c)

    def resolve(self, inputs: Dataset) -> tuple[Tensor, Tensor]:
        """The degree of the interpolant of u0; steps of any length."""
        ones = torch.ones(len(inputs), dtype=torch.float64)
        return ones * (max(inputs.grid.shape) // 2), ones * 1e300

    def exact_states(
        self, c: Tensor, space: SpectralSpace, inputs: Dataset, times: Sequence[float]
    ) -> Iterator[Tensor]:
        """exp((t - t0) L) c, from the first state at each time: errors do not add up."""
        linear = self.linear(space, inputs)
        for t in times:
            yield torch.exp(linear * (t - inputs.t0)) * c
