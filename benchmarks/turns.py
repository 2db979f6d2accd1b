"""Times of several steps that take turns, so that a busy machine slows all alike: what the other scripts import."""

import time
from collections.abc import Callable, Sequence


def turns(
    steps: Sequence[Callable[[], object]],
    repeats: int,
    summary: Callable[[list[float]], float] = min,
    clock: Callable[[], float] = time.process_time,
) -> list[float]:
    """Milliseconds of each step: the least (or ``summary``) of ``repeats``, after two that do not count."""
    times: list[list[float]] = [[] for _ in steps]
    for i in range(repeats + 2):
        for step, series in zip(steps, times):
            start = clock()
            step()
            if i >= 2:
                series.append(1e3 * (clock() - start))
    return [summary(series) for series in times]
