"""Parameters of an equation as fields of its problem: one number for all samples, or an interval, a column of mu."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import Dataset
from ..errors import NWidthError
from .intervals import interval
from .random_fields import log_uniform

Range = float | Sequence[float]  # a number, or [least, most]

SIGNS = {"positive": 0.0, "real": -math.inf}  # each with the bound that values exceed


def check_parameters(problem: Any, signs: Mapping[str, str]) -> None:
    """Check the fields of a frozen dataclass that ``signs`` names, and make each a float or (least, most).

    ``signs`` says of each whether it must be positive or may be any real number.
    """
    for name, sign in signs.items():
        checked = interval(type(problem).__name__, name, getattr(problem, name), SIGNS[sign])
        object.__setattr__(problem, name, checked)


def varying(problem: Any, names: Sequence[str]) -> tuple[str, ...]:
    """Those parameters that are intervals: the columns of mu, in this order."""
    return tuple(k for k in names if isinstance(getattr(problem, k), tuple))


def draw_parameters(problem: Any, names: Sequence[str], streams: Sequence[np.random.Generator]) -> Tensor | None:
    """mu (N, P) with a column for each interval, float64; None where there is none.

    Log-uniform on intervals of positive numbers, uniform on others.
    """
    columns = varying(problem, names)
    if not columns:
        return None
    rows = [[_draw(s, *getattr(problem, k)) for k in columns] for s in streams]
    return torch.tensor(rows, dtype=torch.float64)


def _draw(generator: np.random.Generator, least: float, most: float) -> float:
    return log_uniform(generator, least, most) if least > 0 else generator.uniform(least, most)


def parameter(problem: Any, signs: Mapping[str, str], name: str, inputs: Dataset | None) -> float | Tensor:
    """The number where it is one for all samples; otherwise its column of ``inputs.mu``, (N,).

    Raises NWidthError where mu is missing, has another number of columns, or a value that is not allowed.
    """
    value = getattr(problem, name)
    if not isinstance(value, tuple):
        return value
    columns = varying(problem, tuple(signs))
    mu = None if inputs is None else inputs.mu
    column = columns.index(name)
    if (
        mu is None
        or mu.shape[1] != len(columns)
        or not bool((torch.isfinite(mu[:, column]) & (mu[:, column] > SIGNS[signs[name]])).all())
    ):
        sign = "positive " if signs[name] == "positive" else ""
        raise NWidthError(
            type(problem).__name__,
            got="no mu" if mu is None else f"mu of shape {tuple(mu.shape)}, or with a {name} that is not allowed",
            expected=f"mu (N, {len(columns)}) with columns {', '.join(columns)}; {name} {sign}and finite",
            fix=f"give one {name} for all samples, or data with mu",
        )
    return mu[:, column]
