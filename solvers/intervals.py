"""Arguments that are a number or an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..errors import NWidthError

Interval = float | tuple[float, float]


def interval(
    where: str, name: str, value: float | Sequence[float], least: float = -math.inf, most: float = math.inf
) -> Interval:
    """A number, or a pair of increasing numbers, strictly between ``least`` and ``most``; NWidthError otherwise.

    >>> interval("Lorenz96", "forcing", [8, 10])
    (8.0, 10.0)
    """
    numbers = (value,) if isinstance(value, int | float) else tuple(value)
    if not (
        len(numbers) in (1, 2)
        and all(isinstance(v, int | float) and math.isfinite(v) and least < v < most for v in numbers)
        and numbers[0] <= numbers[-1]
    ):
        limits = [f"above {least:g}"] * (least > -math.inf) + [f"below {most:g}"] * (most < math.inf)
        raise NWidthError(
            where,
            got=f"{name}={value!r}",
            expected=" ".join(["a number or a pair [least, most]", *limits]),
        )
    return float(numbers[0]) if len(numbers) == 1 else (float(numbers[0]), float(numbers[1]))


def draw(generator: np.random.Generator, value: float | Sequence[float]) -> float:
    """The number, or one that is uniform in the interval."""
    if isinstance(value, int | float):
        return float(value)
    least, most = value
    return float(generator.uniform(least, most))
