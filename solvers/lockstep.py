"""States advanced together, each by steps of its own size and number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from .stepping import Stepper

MOST_KEPT = 64  # sets of coefficients

Pieces = Sequence[tuple[int, float]]  # the number and the size of the steps to each of a row's stops
Maker = Callable[[Sequence[int], Sequence[float]], Stepper]  # for some rows, each with its size of steps


class Steppers:
    """A ``Maker`` for the n rows of a batch: steppers of one kind for u' = L u + N(u), each row with its own steps.

    linear : L, (n or 1, ...). nonlinear : N for some of the rows.
    kept : coefficients by sizes of steps: where L is the same for all rows, one set for each size, which serves other
        batches as well; otherwise one for each row.
    """

    def __init__(
        self,
        kind: type[Stepper],
        linear: Tensor,
        nonlinear: Callable[[Sequence[int]], Callable[[Tensor], Tensor]],
        n: int,
        kept: dict[tuple[float, ...], Stepper],
    ):
        self.kind, self.linear, self.nonlinear, self.n, self.kept = kind, linear, nonlinear, n, kept

    def __call__(self, rows: Sequence[int], h: Sequence[float]) -> Stepper:
        stepper, places = self._shared(h) if len(self.linear) == 1 else self._own(rows, h)
        return stepper.of(self.nonlinear(rows), torch.tensor(places, device=self.linear.device))

    def _shared(self, h: Sequence[float]) -> tuple[Stepper, list[int]]:
        sizes = sorted(set(h))
        return self._of(tuple(sizes)), [sizes.index(v) for v in h]

    def _own(self, rows: Sequence[int], h: Sequence[float]) -> tuple[Stepper, list[int]]:
        for sizes, stepper in self.kept.items():
            if all(sizes[i] == v for i, v in zip(rows, h)):
                return stepper, list(rows)
        wanted = [h[0]] * self.n  # those of other rows do not matter
        for i, v in zip(rows, h):
            wanted[i] = v
        return self._of(tuple(wanted)), list(rows)

    def _of(self, sizes: tuple[float, ...]) -> Stepper:
        if sizes not in self.kept:
            if len(self.kept) >= MOST_KEPT:
                self.kept.clear()
            h = torch.tensor(sizes, dtype=self.linear.real.dtype, device=self.linear.device)
            self.kept[sizes] = self.kind(self.linear, h.view(-1, *(1,) * (self.linear.ndim - 1)), lambda c: c)
        return self.kept[sizes]


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
