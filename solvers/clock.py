"""When the stages of a run in time begin and end."""

from __future__ import annotations

import math
from collections.abc import Sequence

LEAST_STEPS = 32  # of a stage
STAGES = 8  # at least, of a run that is long enough
TICKS = 32  # instants, at least, at which a stage may end


class Clock:
    """The stored times and instants between them, in ticks: each interval has the same power of two of these."""

    def __init__(self, t0: float, t: Sequence[float]):
        self.stops = [t0, *t]
        self.a_piece = 1
        while self.a_piece * len(t) < TICKS:
            self.a_piece *= 2
        self.last = self.a_piece * len(t)
        self.longest = max(b - a for a, b in zip(self.stops, t))

    def time(self, tick: int) -> float:
        i, part = divmod(tick, self.a_piece)
        if not part:
            return self.stops[i]
        return self.stops[i] + part / self.a_piece * (self.stops[i + 1] - self.stops[i])

    def stored(self, tick: int) -> int:
        """The index of the stored time, -1 where the tick is none."""
        return -1 if tick % self.a_piece else tick // self.a_piece - 1

    def steps(self, tick: int, end: int, h: float) -> tuple[int, float]:
        """The number of equal steps, none longer than h, from one tick to another, and their size."""
        duration = self.time(end) - self.time(tick)
        count = max(1, math.ceil(duration / h * (1 - 1e-9)))
        return count, h if math.isclose(duration, count * h, rel_tol=1e-9) else duration / count

    def path(self, tick: int, end: int, h: float) -> list[int]:
        """Instants on the way: stored times, and others that leave at least half a stage's least steps between two."""
        ticks = []
        while tick < end:
            i, part = divmod(tick, self.a_piece)
            a_tick, piece = (self.stops[i + 1] - self.stops[i]) / self.a_piece, self.a_piece
            while piece > 1 and (part % piece or tick + piece > end or piece * a_tick > LEAST_STEPS * h * (1 + 1e-9)):
                piece //= 2
            tick += piece
            ticks.append(tick)
        return ticks

    def marks(self, tick: int, path: Sequence[int]) -> dict[int, float]:
        """Where errors are looked at on the way from ``tick`` along ``path``: the number of instants passed, and how
        long it is to the next look, an eighth of all time or the rest."""
        at, start, marks = [self.time(p) for p in (tick, *path)], 0, {}
        until = (self.stops[-1] - self.stops[0]) / STAGES * (1 - 1e-9)
        while start < len(path):
            stop = next((k for k in range(start + 1, len(at)) if at[k] - at[start] >= until), len(path))
            marks[start] = at[stop] - at[start]
            start = stop
        return marks

    def stage(self, tick: int, h: float) -> int:
        """The end of a stage: one as long as all before it, at most an eighth of all time."""
        start, whole = self.stops[0], self.stops[-1] - self.stops[0]
        now = self.time(tick)
        until = now + max(LEAST_STEPS * h, whole / TICKS, min(now - start, whole / STAGES))
        ahead = self.path(tick, self.last, h)
        return next((p for p in ahead if self.time(p) >= until - 1e-9 * whole), self.last)
