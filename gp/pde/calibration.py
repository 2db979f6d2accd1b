"""How much wider standard deviations must be, from answers that used other points: chosen without the truth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SHARE = 0.96  # of the differences that 95 % intervals are made to hold: the second answer has errors of its own


def widening(pairs: Sequence[tuple[Tensor, Tensor]], share: float = SHARE) -> float:
    """The least factor z >= 1 by which |difference| <= 1.96 z std holds for ``share`` of the places of each pair.

    The difference of two answers to one equation shows errors that residuals hide: those that the inverse of the
    operator enlarges, round-off and the factorisation's among them.

    >>> d = torch.linspace(-3.92, 3.92, 101, dtype=torch.float64)
    >>> round(widening([(d, torch.ones(101).double())], share=1.0), 6)
    2.0
    """
    found = 1.0
    for difference, std in pairs:
        ratio = difference.abs() / (1.96 * std).clamp_min(1e-300)
        found = max(found, float(torch.quantile(ratio, share)))
    return found


def shifted(axes: Sequence[Tensor], share: float = 0.618) -> list[Tensor]:
    """Coordinates between those of each axis, and its two ends."""
    return [torch.cat([a[:1], a[:-1] + share * a.diff(), a[-1:]]) for a in axes]
