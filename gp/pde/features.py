"""Regular Fourier features: waves of equally spaced frequencies on a period longer than the domain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .equation import Order

# sqrt(2.4): an irrational ratio, so that no wave of the domain, or of a fraction of it, is in the dictionary
EXTENSION = 2.4**0.5


@dataclass(frozen=True)
class FourierFeatures:
    """phi(x) = products over the axes of cos(omega z) and sin(omega z), z = x - centre.

    Derivatives are exact: d/dx cos(omega z) = omega cos(omega z + pi/2). ``frequencies``: one increasing tensor an
    axis, radians per unit; a zero gives the constant, which has no sine.

    Source: Hensman, Durrande and Solin (2018), JMLR 18; Boyd (2002), J. Comput. Phys. 178, for the extension.
    """

    centre: tuple[float, ...]
    frequencies: tuple[Tensor, ...]
    cardinal = False

    @classmethod
    def regular(
        cls, box: Sequence[tuple[float, float]], counts: Sequence[int], extension: float = EXTENSION
    ) -> FourierFeatures:
        """``counts`` frequencies an axis, 0 included, spaced by 2 pi / (extension length)."""
        centre = tuple((a + b) / 2 for a, b in box)
        steps = [2 * math.pi / (extension * (b - a)) for a, b in box]
        return cls(centre, tuple(h * torch.arange(n, dtype=torch.float64) for h, n in zip(steps, counts)))

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(2 * len(w) - int((w == 0).sum()) for w in self.frequencies)

    @property
    def size(self) -> int:
        return math.prod(self.sizes)

    def line(self, axis: int, x: Tensor, order: int = 0) -> Tensor:
        """The features of one axis at its coordinates x (n,): (n, size), cosines first."""
        w = self.frequencies[axis]
        phase = (x - self.centre[axis])[:, None] * w
        turned = phase + order * math.pi / 2
        sines = w > 0
        return torch.cat([w**order * torch.cos(turned), w[sines] ** order * torch.sin(turned[:, sines])], 1)

    def line_frequencies(self, axis: int) -> Tensor:
        w = self.frequencies[axis]
        return torch.cat([w, w[w > 0]])

    def __call__(self, x: Tensor, order: Order | None = None) -> Tensor:
        """d^order phi at points (n, d): (n, size)."""
        found = torch.ones(len(x), 1, dtype=torch.float64)
        for i in range(x.shape[1]):
            part = self.line(i, x[:, i], 0 if order is None else order[i])
            found = (found[:, :, None] * part[:, None, :]).reshape(len(x), -1)
        return found

    def all_frequencies(self) -> Tensor:
        """omega of every feature, (size, d), all non-negative."""
        lines = [self.line_frequencies(i) for i in range(len(self.frequencies))]
        return torch.cartesian_prod(*lines).reshape(-1, len(lines))
