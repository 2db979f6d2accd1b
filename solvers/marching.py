"""The run of the spectral solver, in stages: samples grouped by discretisation, refined where checks ask for it, and
made coarser as solutions calm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data import Dataset
from ..errors import NWidthError
from .clock import STAGES, Clock
from .levels import Level, allowed, levels_of, rounded, space_of
from .memory import at_once, keep_freed_memory, on_threads
from .spectral import SpectralSpace, good_size
from .step_checks import StepCheck, distance
from .stepping import Stepper, advance, stepper_of

if TYPE_CHECKING:
    from .evolution import EvolutionProblem

MOST_ATTEMPTS = 10
DROPPED = 1e-10  # of a state, relative in L2, when its degree is lowered; with a target a hundredth of that
FAR = 0.1  # of the error allowed: below it with twice the step, halvings that a check asked for are taken back
AHEAD = 0.25  # of the error in time that may be made before its share of the time is over

Plan = list[tuple[int, Level]]  # the ends of stages, in ticks, and their levels
Next = tuple[int, int, int | None, Level]  # a sample, its next stage's first and last tick, and the level


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
        self.steppers: dict[tuple[int, float], Stepper] = {}
        self.pending: dict[tuple[int, int, int, int], list[int]] = {}  # tick, end of the stage, level

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
            work = [(part, key) for key, rows in sorted(self.pending.items()) for part in self._split(rows, key[2])]
            self.pending = {}
            for after in on_threads(self._stage, work, self.start.device):
                for row, tick, end, level in after:
                    self._queue(row, tick, end, level)
        return self.u, [s.plan for s in self.samples]

    def _queue(self, row: int, tick: int, end: int | None, level: Level) -> None:
        level = allowed(self.problem, self.inputs[[row]], self.clock.longest, [level])[0]
        if self.plans is not None:
            end = self.plans[row][len(self.samples[row].plan)][0]
        elif end is None:
            end = self.clock.stage(tick, self._step(level)) if self.problem.calms else self.clock.last
        self.pending.setdefault((tick, end, *level), []).append(row)

    def _split(self, rows: list[int], points: int) -> Iterator[list[int]]:
        """Rows to be advanced together."""
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
        if self.samples[rows[0]].state is None:
            return space.coefficients(self.start[rows])
        return torch.stack([space.embed(s.state, self._space(s.points)) for s in (self.samples[r] for r in rows)])  # type: ignore[arg-type]

    def _from(self, data: Dataset, tick: int) -> Dataset:
        """The samples as those of a run that starts here; u0 is still that of the whole run."""
        return replace(data, t=self.t[tick // self.clock.a_piece :], t0=self.clock.time(tick))

    def _maker(self, space: SpectralSpace, batch: Dataset) -> Callable[[float], Stepper]:
        """Steppers for these samples; their coefficients are kept where they are the same for all samples."""
        kind, n, linear = stepper_of(self.problem.scheme), space.shape[0], self.problem.linear(space, batch)

        def nonlinear(c: Tensor) -> Tensor:
            return self.problem.nonlinear(c, space, batch)

        def make(h: float) -> Stepper:
            if not self.one_linear:
                return kind(linear, h, nonlinear)
            key = (n, round(h / self.clock.longest, 12))
            if key not in self.steppers:
                self.steppers[key] = kind(linear, h, nonlinear)
            return self.steppers[key].of(nonlinear)

        return make

    def _stage(self, work: tuple[list[int], tuple[int, int, int, int]]) -> list[Next]:
        """From one tick to another; then each sample is sent on, or back."""
        rows, (tick, end, *finest) = work
        level: Level = (finest[0], finest[1])
        n, h, clock = level[0], self._step(level), self.clock
        space, batch = self._space(n), self._from(self.working[rows], tick)
        c = self._states(rows, space)
        path = clock.path(tick, end, h)
        times = [clock.time(p) for p in path]
        states: Iterator[Tensor] | None = self.problem.exact_states(c, space, batch, times)
        check = None
        if states is None:
            make = self._maker(space, batch)
            states = advance(make, c, batch.t0, times, h)
            if self.target is not None:
                whole, duration = clock.stops[-1] - clock.stops[0], times[-1] - batch.t0
                pairs = max(1, int(min(whole / (16 * STAGES), duration / 8) / h))
                check = StepCheck(space, make(h), make(2 * h), pairs, c, self.target)
                marks = clock.marks(batch.t0, times)
                check.probe(c, marks[0])
        for k, (p, c) in enumerate(zip(path, states), 1):
            index = clock.stored(p)
            if index is not None:
                self.u[rows, index] = space.at(c, self.inputs.grid.shape)
            if check is None:
                continue
            if self.problem.points is None:
                check.see(c)
            if check.hopeless():
                break
            if k in marks:
                check.probe(c, marks[k])
        after: list[Next] = []
        if check is not None:
            rows, c, after = self._accepted(rows, tick, end, level, check, c, space)
        for row, state in zip(rows, c):
            sample = self.samples[row]
            sample.state, sample.points, sample.attempts, sample.before = state, n, 0, None
            sample.plan.append((end, level))
        return after + (self._sent_on(rows, end, level, c, space) if end < clock.last and rows else [])

    def _accepted(
        self,
        rows: list[int],
        tick: int,
        end: int,
        level: Level,
        check: StepCheck,
        c: Tensor,
        space: SpectralSpace,
    ) -> tuple[list[int], Tensor, list[Next]]:
        """The samples whose stage holds, with their states; and how the others take it again."""
        clock, (n, j) = self.clock, level
        whole, span = clock.stops[-1] - clock.stops[0], clock.time(end) - clock.time(tick)
        kept: list[int] = []
        again: list[Next] = []

        def values(i: int) -> Tensor:
            seen = self.u[rows[i], tick // clock.a_piece : end // clock.a_piece]
            return torch.cat([seen, space.at(c[i : i + 1], self.inputs.grid.shape)])

        for i, row in enumerate(rows):
            sample = self.samples[row]
            share = min(1.0, (clock.time(end) - clock.stops[0]) / whole + AHEAD)
            right = max(check.error_limit * share - sample.spent, 1e-3 * check.error_limit)
            error = float(check.error[i])
            if sample.before is not None and not check.hopeless():  # against an earlier, coarser run
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
            sample.before = None if check.hopeless() else values(i)
            sample.shift += halved
            again.append((row, tick, end, (finer or n, j + halved)))
        return [rows[i] for i in kept], c[kept], again

    def _sent_on(self, rows: list[int], tick: int, level: Level, c: Tensor, space: SpectralSpace) -> list[Next]:
        """The next stages, at the level of the states where it is coarser than that of the last."""
        if self.plans is not None:
            return [(row, tick, None, self.plans[row][len(self.samples[row].plan)][1]) for row in rows]
        given: Tensor = self.inputs.u0  # type: ignore[assignment]
        now = self.inputs[rows]
        a = now.a
        if a is not None:
            a = space.values(space.coefficients(a.to(self.working.a))).to(a)  # type: ignore[union-attr,arg-type]
        u0 = self.problem.channels(space.values(c), given).to(given.dtype)
        now = replace(self._from(now, tick), grid=space.grid, u0=u0, a=a)
        if not bool(torch.isfinite(u0).all()):
            wanted = [level] * len(rows)
        else:
            wanted = rounded(self.problem, *self.problem.resolve(now), self.clock.longest)
        needed = space.needed(c, DROPPED if self.target is None else self.target / 100)
        after: list[Next] = []
        for row, (n, j), degree in zip(rows, wanted, needed.tolist()):
            sample = self.samples[row]
            while n < level[0] and min(self._space(n).degree) < degree:
                n = good_size(n + 1)
            after.append((row, tick, None, (min(n, level[0]), min(max(j + sample.shift, self.least), level[1]))))
        return after


def _fail_to_settle(
    problem: EvolutionProblem, edge: float, error: float, edge_limit: float, error_limit: float
) -> None:
    raise NWidthError(
        f"{type(problem).__name__}.solve",
        got=f"{edge:.1e} of the solution at the edge of the spectrum, an error of {error:.1e} in time",
        expected=f"at most {edge_limit:.1e} and {error_limit:.1e} after {MOST_ATTEMPTS} refinements",
        fix="raise tolerance, compute in float64, shorten final_time, or smooth the initial state",
    )
