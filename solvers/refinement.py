"""Runs of the spectral solver at finer and finer levels, until the solution no longer changes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data import Dataset
from ..errors import NWidthError
from .marching import March, Plan, check_finite
from .spectral import good_size
from .step_checks import distance

if TYPE_CHECKING:
    from .evolution import EvolutionProblem


def solve_to_accuracy(
    problem: EvolutionProblem, inputs: Dataset, t: Tensor, dtype: torch.dtype, accuracy: float
) -> tuple[Tensor, float]:
    """The states, and the largest relative change of a sample in its last refinement, which is below ``accuracy``.

    The levels that ``march`` takes are compared with half their points and twice their steps, then refined as long as
    the finer of two runs differs by more. NWidthError where refinements no longer lower the change.
    """
    fixed = problem.points is not None
    fine, plans = March(problem, inputs, t, dtype, target=problem.target, least=1).run()
    check_finite(problem, fine)

    def scaled(plan: Plan, by: int) -> Plan:
        return [(end, (n if fixed else max(good_size(math.ceil(n * 2.0**by)), 8), j + by)) for end, (n, j) in plan]

    u, _ = March(problem, inputs, t, dtype, plans=[scaled(p, -1) for p in plans]).run()
    finest = torch.empty_like(u)
    rows, before, stuck = list(range(len(u))), torch.full((len(u),), math.inf), torch.zeros(len(u))
    reached = 0.0
    while True:
        change = distance(u, fine)
        done = change < accuracy
        finest[rows] = fine
        reached = max([reached, *change[done].tolist()])
        stuck = torch.where(change > 0.8 * before, stuck + 1, torch.zeros_like(stuck))
        if bool(((stuck >= 2) & ~done).any()):
            raise NWidthError(
                f"{type(problem).__name__}.solve",
                got=f"a solution that still changes by {float(change[~done].max()):.1e} as it is refined",
                expected=f"less than accuracy={accuracy:g}",
                fix="raise accuracy, compute in float64, shorten final_time, or smooth the initial state",
            )
        left = (~done).nonzero()[:, 0].tolist()
        if not left:
            return finest, reached
        rows, u, before, stuck = [rows[i] for i in left], fine[left], change[left], stuck[left]
        plans = [scaled(plans[i], 1) for i in left]
        fine, _ = March(problem, inputs[rows], t, dtype, plans=plans).run()
