"""How finely a sample is solved: points on each axis and time steps, from the sample alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data import Dataset
from ..errors import NWidthError
from .spectral import SpectralSpace, good_size

if TYPE_CHECKING:
    from .evolution import EvolutionProblem

MOST_POINTS = 2**16
MOST_VALUES = 2**26  # points of one sample on all axes
MOST_HALVINGS = 20
EXPLICIT_LIMIT = 2.5  # h |L| of the explicit scheme

Level = tuple[int, int]  # points on each axis, halvings of the longest interval between stored times


def levels_of(problem: EvolutionProblem, inputs: Dataset, longest: float) -> list[Level]:
    """The level of each sample, from it alone: points are 2^p or 3 * 2^p, steps ``longest`` * 2^(-j)."""
    degree, step = problem.resolve(inputs)
    worst = float(degree.max())
    if problem.points is None and not worst * (problem.factors + 1) < MOST_POINTS:
        raise NWidthError(
            f"{type(problem).__name__}.solve",
            got=f"a solution that needs {worst:.3g} modes to be resolved",
            expected=f"fewer than {MOST_POINTS // (problem.factors + 1)}",
            fix="raise the viscosity, smooth the initial state, or loosen tolerance",
        )
    return allowed(problem, inputs, longest, rounded(problem, degree, step, longest), range(len(degree)))


def rounded(problem: EvolutionProblem, degree: Tensor, step: Tensor, longest: float) -> list[Level]:
    """The levels that hold so many modes and take steps of at most so much."""
    if problem.points is None:
        most = MOST_POINTS / (problem.factors + 1)
        points = [good_size((problem.factors + 1) * math.ceil(min(k, most)) + 1) for k in degree.tolist()]
    else:
        points = [problem.points] * len(degree)
        step = step * (2 * degree / problem.points).clamp_max(1.0)
    return [(n, halvings(longest, h)) for n, h in zip(points, step.tolist())]


def halvings(longest: float, step: float) -> int:
    return max(0, math.ceil(math.log2(longest / step) - 1e-9))


def groups_of(problem: EvolutionProblem, inputs: Dataset, longest: float) -> list[tuple[list[int], int, float]]:
    """Samples (indices, points on each axis, time step) of one level."""
    members: dict[Level, list[int]] = {}
    for i, level in enumerate(levels_of(problem, inputs, longest)):
        members.setdefault(level, []).append(i)
    return [(rows, n, longest * 2.0**-j) for (n, j), rows in sorted(members.items())]


def allowed(
    problem: EvolutionProblem, inputs: Dataset, longest: float, levels: Sequence[Level], rows: Sequence[int]
) -> list[Level]:
    """The levels of some rows with the steps of an explicit scheme kept within its stability; NWidthError where one is
    too fine."""
    levels = list(levels)
    if problem.scheme == "rk4":
        inputs = inputs.to(dtype=torch.float64)
        for n in {n for n, _ in levels}:
            some = [i for i, level in enumerate(levels) if level[0] == n]
            part = inputs[[rows[i] for i in some]]
            largest = problem.linear(space_of(problem, inputs, n), part).abs().flatten(1).amax(1)
            for i, most in zip(some, largest.expand(len(some)).tolist()):
                levels[i] = (n, max(levels[i][1], halvings(longest, EXPLICIT_LIMIT / max(most, 1e-300))))
    for points, halved in set(levels):
        _check_size(problem, points, halved, longest)
    return levels


def space_of(problem: EvolutionProblem, inputs: Dataset, points: int) -> SpectralSpace:
    return problem.space(inputs.grid, [points] * problem.ndim, inputs.u0, problem.points is None)  # type: ignore[arg-type]


def _check_size(problem: EvolutionProblem, points: int, halved: int, longest: float) -> None:
    where = f"{type(problem).__name__}.solve"
    if points > MOST_POINTS or points**problem.ndim > MOST_VALUES:
        raise NWidthError(
            where,
            got=f"a solution that needs {points} points on each of {problem.ndim} axes to be resolved",
            expected=f"at most {MOST_POINTS} on an axis and {MOST_VALUES} in all",
            fix="smooth the initial state, raise the dissipation, shorten final_time, or set points",
        )
    if halved > MOST_HALVINGS:
        raise NWidthError(
            where,
            got=f"time steps of {longest * 2.0**-halved:.1e}",
            expected=f"fewer than a million of them in {longest:.3g}",
            fix="scale the initial state down or store more times",
        )
