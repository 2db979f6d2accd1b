"""States advanced together, each by steps of its own size and number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from .stepping import Stepper

Pieces = Sequence[tuple[int, float]]  # the number and the size of the steps to each of a row's stops
Maker = Callable[[Sequence[int], Sequence[float]], Stepper]  # for some rows, each with its size of steps


def lockstep(make: Maker, c: Tensor, courses: Sequence[Pieces]) -> Iterator[tuple[list[int], list[int], Tensor]]:
    """Runs rows c (N, ...) along their courses, one step of all at a time, whatever its size in each.

    Yields (rows, the index of the stop of each, their states) where rows come to stops of theirs. Rows are in the order
    of falling numbers of steps: those still on their way are then the first ones.
    """
    totals = [sum(count for count, _ in pieces) for pieces in courses]
    if totals != sorted(totals, reverse=True):
        raise ValueError(f"lockstep: rows of {totals} steps, expected falling numbers")
    stops: dict[int, list[tuple[int, int]]] = {}
    sizes: dict[int, dict[int, float]] = {}  # after so many steps these rows go on with steps of another size
    for row, pieces in enumerate(courses):
        taken, before = 0, None
        for k, (count, h) in enumerate(pieces):
            if h != before:
                sizes.setdefault(taken, {})[row] = h
            taken, before = taken + count, h
            stops.setdefault(taken, []).append((row, k))
    now = [0.0] * len(courses)
    active, stepper = len(courses), None
    for taken in range(totals[0]):
        for row, h in sizes.get(taken, {}).items():
            now[row] = h
        left = active
        while totals[left - 1] <= taken:
            left -= 1
        if stepper is None or left < active or taken in sizes:
            stepper, c, active = make(range(left), now[:left]), c[:left], left
        c = stepper.step(c)
        if taken + 1 in stops:
            rows, reached = map(list, zip(*stops[taken + 1]))
            yield rows, reached, c if len(rows) == active else c[torch.tensor(rows, device=c.device)]
