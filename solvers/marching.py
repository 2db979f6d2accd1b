"""The run of the spectral solver, in stages: samples of one degree together, each by steps of its own, refined where
checks ask for it, and made coarser as solutions calm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data import Dataset
from ..errors import NWidthError
from .clock import STAGES, Clock
from .levels import MOST_HALVINGS, Level, allowed, levels_of, rounded, space_of
from .lockstep import Steppers, lockstep
from .memory import at_once, keep_freed_memory, on_threads
from .spectral import SpectralSpace, good_size
from .step_checks import StepCheck, distance
from .stepping import Stepper, stepper_of

if TYPE_CHECKING:
    from .evolution import EvolutionProblem

MOST_ATTEMPTS = 10
DROPPED = 1e-10  # of a state, relative in L2, when its degree is lowered; with a target a hundredth of that
FAR = 0.1  # of the error allowed: below it with twice the step, halvings that a check asked for are taken back
AHEAD = 0.25  # of the error in time that may be made before its share of the time is over

Plan = list[tuple[int, Level]]  # the ends of stages, in ticks, and their levels
Next = tuple[int, int, int | None, Level]  # a sample, its next stage's first and last tick, and the level


@dataclass(frozen=True)
class Leg:
    """A stage of a sample: from one tick to another, and the instants on the way, with the steps to each."""

    tick: int
    end: int
    level: Level
    path: list[int]
    pieces: list[tuple[int, float]]

    @property
    def steps(self) -> int:
        return sum(count for count, _ in self.pieces)


def march(problem: EvolutionProblem, inputs: Dataset, t: Tensor, dtype: torch.dtype) -> Tensor:
    """The states (N, T, C, *space) at times t, each sample at the levels that ``resolve`` gives or checks ask for."""
    u, _ = March(problem, inputs, t, dtype, target=problem.target).run()
    check_finite(problem, u)
    return u


def check_finite(problem: EvolutionProblem, u: Tensor) -> None:
    if not bool(torch.isfinite(u).all()):
        raise NWidthError(
            f"{type(problem).__name__}.solve",
            got="a solution that ceased to be finite",
            expected="a stable time step",
            fix="lower cfl, or shorten final_time",
        )


@dataclass
class _Sample:
    """How far a sample has come."""

    state: Tensor | None = None  # coefficients (C, *counts); None: those of u0
    points: int = 0  # of the space that they are from
    shift: int = 0  # halvings more than ``resolve`` gives
    spent: float = 0.0  # of the error in time
    attempts: int = 0  # at this stage
    before: Tensor | None = None  # values at its stored instants and its end in the last of them
    plan: Plan = field(default_factory=list)


class March:
    """All samples from their initial states to the last of the times t.

    target : as ``EvolutionProblem.target``; with it each stage is checked, and taken again at a finer level where it
        must be. A run is one stage, or several where the problem ``calms``: after each ``resolve`` is asked again, and
        its level taken where that is the coarser one.
    least : at least so many halvings of the steps.
    plans : stages and levels of each sample; nothing is then checked or chosen.
    """

    def __init__(
        self,
        problem: EvolutionProblem,
        inputs: Dataset,
        t: Tensor,
        dtype: torch.dtype,
        *,
        target: float | None = None,
        least: int = 0,
        plans: Sequence[Plan] | None = None,
    ):
        self.problem, self.inputs, self.t, self.target, self.least = problem, inputs, t, target, least
        self.clock = Clock(inputs.t0, t.tolist())
        self.plans = plans
        self.working = inputs.to(dtype=dtype)
        self.start = problem.state(self.working.u0)  # type: ignore[arg-type]
        self.u = self.start.new_full((len(self.start), len(t), *self.start.shape[1:]), math.nan)
        self.samples = [_Sample() for _ in range(len(self.start))]
        self.spaces: dict[int, SpectralSpace] = {}
        self.one_linear = len(problem.theta(self.working)) == 1  # the same for all samples
        self.steppers: dict[int, dict[tuple[float, ...], Stepper]] = {}  # by points, then sizes of steps
        self.legs: dict[int, Leg] = {}  # of each sample, the one that it is at
        self.pending: dict[int, list[int]] = {}  # samples by the points of the space that they go on in

    def run(self) -> tuple[Tensor, list[Plan]]:
        keep_freed_memory()
        if self.plans is None:
            levels = levels_of(self.problem, self.inputs, self.clock.longest)
            for row, (n, j) in enumerate(levels):
                self.samples[row].shift = max(0, self.least - j)
                self._queue(row, 0, None, (n, max(j, self.least)))
        else:
            for row, plan in enumerate(self.plans):
                self._queue(row, 0, None, plan[0][1])
        while self.pending:
            work = [part for n, rows in sorted(self.pending.items()) for part in self._split(rows, n)]
            self.pending = {}
            for after in on_threads(self._stage, work, self.start.device):
                for row, tick, end, level in after:
                    self._queue(row, tick, end, level)
        return self.u, [s.plan for s in self.samples]

    def _queue(self, row: int, tick: int, end: int | None, level: Level) -> None:
        level = allowed(self.problem, self.inputs, self.clock.longest, [level], [row])[0]
        h, clock = self._step(level), self.clock
        if self.plans is not None:
            end = self.plans[row][len(self.samples[row].plan)][0]
        elif end is None:
            end = clock.stage(tick, h) if self.problem.calms else clock.last
        path = clock.path(tick, end, h)
        self.legs[row] = Leg(tick, end, level, path, [clock.steps(a, b, h) for a, b in pairwise([tick, *path])])
        self.pending.setdefault(level[0], []).append(row)

    def _split(self, rows: list[int], points: int) -> Iterator[list[int]]:
        """Rows to be advanced together, those with most steps first."""
        rows = sorted(rows, key=lambda row: (-self.legs[row].steps, row))
        most = at_once(points**self.problem.ndim, self.start.device)
        return (rows[i : i + most] for i in range(0, len(rows), most))

    def _step(self, level: Level) -> float:
        return self.clock.longest * 2.0 ** -level[1]

    def _space(self, n: int) -> SpectralSpace:
        if n not in self.spaces:
            self.spaces[n] = space_of(self.problem, self.working, n)
        return self.spaces[n]

    def _states(self, rows: Sequence[int], space: SpectralSpace) -> Tensor:
        """Coefficients of the samples where they stand."""
        c = space.coefficients(self.start[rows])
        for points in sorted({self.samples[row].points for row in rows} - {0}):
            some = [i for i, row in enumerate(rows) if self.samples[row].points == points]
            states = torch.stack([self.samples[rows[i]].state for i in some])  # type: ignore[misc]
            c[some] = space.embed(states, self._space(points))
        return c

    def _from(self, data: Dataset, tick: int) -> Dataset:
        """The samples as those of a run that starts here; u0 is still that of the whole run."""
        return replace(data, t=self.t[tick // self.clock.a_piece :], t0=self.clock.time(tick))

    def _maker(self, space: SpectralSpace, batch: Dataset) -> Steppers:
        def nonlinear(rows: Sequence[int]) -> Callable[[Tensor], Tensor]:
            part = batch if len(rows) == len(batch) else batch[rows]
            return lambda c: self.problem.nonlinear(c, space, part)

        kept = self.steppers.setdefault(space.shape[0], {}) if self.one_linear else {}
        return Steppers(stepper_of(self.problem.scheme), self.problem.linear(space, batch), nonlinear, len(batch), kept)

    def _stage(self, rows: list[int]) -> list[Next]:
        """A stage of each sample; then it is sent on, or back."""
        n, shape, clock = self.legs[rows[0]].level[0], self.inputs.grid.shape, self.clock
        space, batch = self._space(n), self.working[rows]
        c = self._states(rows, space)
        legs = [self.legs[row] for row in rows]
        exact = self.problem.exact_states(c, space, self._from(batch, 0), self.t.tolist())
        if exact is not None:
            for index, c in enumerate(exact):
                self.u[rows, index] = space.at(c, shape)
            for row, leg in zip(rows, legs):
                self.samples[row].plan.append((leg.end, leg.level))
            return []
        make = self._maker(space, batch)
        check = None
        if self.target is not None:
            check = StepCheck(space, make, stepper_of(self.problem.scheme).order, c, self.target)
            marks = [clock.marks(leg.tick, leg.path) for leg in legs]
            self._probe(check, legs, marks, list(range(len(rows))), [0] * len(rows), c)
        last = c.clone()
        for some, stops, states in lockstep(make, c, [leg.pieces for leg in legs]):
            at = torch.tensor([clock.stored(legs[i].path[k]) for i, k in zip(some, stops)])
            if bool((at >= 0).any()):
                who = torch.tensor([rows[i] for i in some])
                seen = (at >= 0).nonzero()[:, 0]
                self.u[who[seen], at[seen]] = space.at(states[seen], shape)
            last[some] = states
            if check is None:
                continue
            if self.problem.points is None:
                check.see(some, states)
            if bool(check.hopeless().all()):
                break
            self._probe(check, legs, marks, some, [k + 1 for k in stops], states)
        after: list[Next] = []
        kept = list(range(len(rows)))
        if check is not None:
            kept, after = self._accepted(rows, legs, check, last, space)
        for i in kept:
            sample = self.samples[rows[i]]
            sample.state, sample.points, sample.attempts, sample.before = last[i], n, 0, None
            sample.plan.append((legs[i].end, legs[i].level))
        return after + self._sent_on([i for i in kept if legs[i].end < clock.last], rows, legs, last, space)

    def _probe(
        self,
        check: StepCheck,
        legs: list[Leg],
        marks: list[dict[int, float]],
        some: list[int],
        passed: list[int],
        states: Tensor,
    ) -> None:
        """Look at the errors of those rows that have come to a mark, by stretches as long as costs little."""
        whole = self.clock.stops[-1] - self.clock.stops[0]
        by_length: dict[int, list[int]] = {}  # places among ``some``, by the pairs of steps
        for place, (i, k) in enumerate(zip(some, passed)):
            if k in marks[i]:
                duration = self.clock.time(legs[i].end) - self.clock.time(legs[i].tick)
                pairs = max(1, int(min(whole / (16 * STAGES), duration / 8) / self._step(legs[i].level)))
                by_length.setdefault(pairs, []).append(place)
        for pairs, places in by_length.items():
            rows = [some[p] for p in places]
            c = states if len(places) == len(states) else states[places]
            until = [marks[i][passed[p]] for i, p in zip(rows, places)]
            check.probe(rows, c, [self._step(legs[i].level) for i in rows], pairs, until)

    def _accepted(
        self, rows: list[int], legs: list[Leg], check: StepCheck, c: Tensor, space: SpectralSpace
    ) -> tuple[list[int], list[Next]]:
        """Places of the samples whose stage holds, and how the others take it again."""
        clock, hopeless = self.clock, check.hopeless().tolist()
        whole = clock.stops[-1] - clock.stops[0]
        kept: list[int] = []
        again: list[Next] = []

        def values(i: int) -> Tensor:
            seen = self.u[rows[i], legs[i].tick // clock.a_piece : legs[i].end // clock.a_piece]
            return torch.cat([seen, space.at(c[i : i + 1], self.inputs.grid.shape)])

        for i, (row, leg) in enumerate(zip(rows, legs)):
            sample, (n, j) = self.samples[row], leg.level
            span = clock.time(leg.end) - clock.time(leg.tick)
            share = min(1.0, (clock.time(leg.end) - clock.stops[0]) / whole + AHEAD)
            right = max(check.error_limit * share - sample.spent, 1e-3 * check.error_limit)
            error = float(check.error[i])
            if sample.before is not None and not hopeless[i]:  # against an earlier, coarser run
                error = min(error, float(distance(sample.before[None], values(i)[None])))
            finer, halved = check.finer(i, n), check.halvings(error / right)
            if finer is None and not halved:
                kept.append(i)
                sample.spent += error
                if sample.shift > self.least and error * 2.0**check.order < FAR * check.error_limit * span / whole:
                    sample.shift -= 1
                continue
            sample.attempts += 1
            if sample.attempts > MOST_ATTEMPTS:
                _fail_to_settle(self.problem, float(check.edge[i]), error, check.edge_limit, right)
            sample.before = None if hopeless[i] else values(i)
            sample.shift += halved
            again.append((row, leg.tick, leg.end, (finer or n, j + halved)))
        return kept, again

    def _sent_on(
        self, kept: list[int], rows: list[int], legs: list[Leg], c: Tensor, space: SpectralSpace
    ) -> list[Next]:
        """The next stages, at the level of the states where it is coarser than that of the last."""
        if self.plans is not None:
            plans, samples = self.plans, self.samples
            return [(rows[i], legs[i].end, None, plans[rows[i]][len(samples[rows[i]].plan)][1]) for i in kept]
        after: list[Next] = []
        for tick in sorted({legs[i].end for i in kept}):
            some = [i for i in kept if legs[i].end == tick]
            wanted = self._wanted([rows[i] for i in some], tick, c[some], space)
            needed = space.needed(c[some], DROPPED if self.target is None else self.target / 100).tolist()
            for i, (n, j), degree in zip(some, wanted, needed):
                sample, (points, halved) = self.samples[rows[i]], legs[i].level
                while n < points and min(self._space(n).degree) < degree:
                    n = good_size(n + 1)
                after.append((rows[i], tick, None, (min(n, points), min(max(j + sample.shift, self.least), halved))))
        return after

    def _wanted(self, rows: list[int], tick: int, c: Tensor, space: SpectralSpace) -> list[Level]:
        """What ``resolve`` says of the states; levels beyond all others where they are not finite."""
        given: Tensor = self.inputs.u0  # type: ignore[assignment]
        now = self.inputs[rows]
        a = now.a
        if a is not None:
            a = space.values(space.coefficients(a.to(self.working.a))).to(a)  # type: ignore[union-attr,arg-type]
        u0 = self.problem.channels(space.values(c), given).to(given.dtype)
        if not bool(torch.isfinite(u0).all()):
            return [(space.shape[0], MOST_HALVINGS)] * len(rows)
        now = replace(self._from(now, tick), grid=space.grid, u0=u0, a=a)
        return rounded(self.problem, *self.problem.resolve(now), self.clock.longest)


def _fail_to_settle(
    problem: EvolutionProblem, edge: float, error: float, edge_limit: float, error_limit: float
) -> None:
    raise NWidthError(
        f"{type(problem).__name__}.solve",
        got=f"{edge:.1e} of the solution at the edge of the spectrum, an error of {error:.1e} in time",
        expected=f"at most {edge_limit:.1e} and {error_limit:.1e} after {MOST_ATTEMPTS} refinements",
        fix="raise tolerance, compute in float64, shorten final_time, or smooth the initial state",
    )
