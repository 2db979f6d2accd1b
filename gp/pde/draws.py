"""Errors of a grid's solver on solutions drawn from the learned prior: what its factors cut away counts as well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .basis import Basis, all_along, along
from .calibration import SHARE
from .equation import Order
from .factors import functional
from .sylvester import KroneckerSum
from .task import Answer, Task


def drawn_errors(task: Task, best: Answer, priors: Sequence[Tensor], count: int, seed: int) -> list[Tensor]:
    """w - (the linearised solver's answer to w's equation), for w drawn from the prior (Matheron's rule), in the size
    of the residual that was seen between the nodes."""
    space, generator = best.space, torch.Generator().manual_seed(seed)
    # the amplitude that gives the draws the size of the solution's own weights
    variance = math.prod(float(D.square().sum()) for D in priors)
    amplitude = float(best.weights.norm()) / math.sqrt(variance)
    inverse, slopes = space.inverse(task.constant), task.slopes(space, best.C)
    errors = []
    for _ in range(count):
        w = amplitude * torch.randn(best.weights.shape, generator=generator, dtype=torch.float64)
        for i, D in enumerate(priors):
            w = along(torch.diag(D), w, i)
        errors.append(w - _answer(task, best, w, inverse, slopes))
    size = _size(task, best, errors)
    return [e * size for e in errors]


def _answer(task: Task, best: Answer, w: Tensor, inverse: KroneckerSum, slopes: Mapping[Order, Tensor]) -> Tensor:
    """Weights that the solver finds from what the linearised equation and the conditions say of w at the nodes."""
    space, features, axes = best.space, best.space.features, task.axes
    direct = not slopes and task.simple
    f = torch.zeros(task.shape, dtype=torch.float64)
    for o in {*task.terms, *slopes}:
        c = task.terms.get(o, 0.0)
        c = c.reshape(task.shape) if isinstance(c, Tensor) else c
        c = c + slopes[o] if o in slopes else c
        f = f + c * all_along([features.line(i, a, k) for i, (a, k) in enumerate(zip(axes, o))], w)
    data = [_seen(task, features, w, number, axes) for number in range(len(task.conditions))]
    C = space.lifted(data)
    for _ in range(2 if direct else 4):
        R = space.project(f - task.tangent(space, C, slopes))
        C = C + space.embed(inverse.solve(R) if direct else task.newton_step(space, best.C, R, inverse))
    return space.weights(C)


def _seen(task: Task, features: Basis, w: Tensor, number: int, axes: Sequence[Tensor]) -> Tensor:
    """What one condition sees of a solution with weights w, at coordinates of the other axes."""
    condition = task.conditions[number]
    flat = torch.tensordot(
        functional(features, condition.axis, task.equation, condition), w, dims=([0], [condition.axis])
    )
    return all_along([features.line(i, a) for i, a in enumerate(axes) if i != condition.axis], flat)


def _size(task: Task, best: Answer, errors: Sequence[Tensor]) -> float:
    """The factor that gives errors the size seen between the nodes: of the equation's residual, or of the conditions'
    misfit where that asks for more."""
    features, points = best.space.features, task.points_between
    slopes = task.slopes_at(lambda o: task.values_between(best.weights, features, o), points)

    def residual(e: Tensor) -> Tensor:
        parts = [c * task.values_between(e, features, o) for o, c in [*task.terms_between.items(), *slopes.items()]]
        return torch.stack(parts).sum(0)

    def walls(w: Tensor) -> Tensor:
        return torch.cat(
            [_seen(task, features, w, number, task.between).reshape(-1) for number in range(len(task.conditions))]
        )

    observed = best.between * (float(task.f.square().mean().sqrt()) or 1.0)
    off = _rms([walls(best.weights) - task.walls_between])
    ratios = (observed, _rms([residual(e) for e in errors])), (off, _rms([walls(e) for e in errors]))
    return max(seen / max(predicted, 1e-300) for seen, predicted in ratios)


def wall_misfit(task: Task, best: Answer) -> float:
    """The standard deviation whose 95 % intervals hold errors of u between the nodes of the sides where it is given:
    known, and no draw need show them."""
    found, start = [], 0
    for number, condition in enumerate(task.conditions):
        seen = _seen(task, best.space.features, best.weights, number, task.between).reshape(-1)
        if condition.terms is None:
            found.append((seen - task.walls_between[start : start + len(seen)]).abs())
        start += len(seen)
    return float(torch.quantile(torch.cat(found), SHARE)) / 1.96 if found else 0.0


def _rms(parts: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(p.square().mean()) for p in parts) / len(parts))
