"""The run of the spectral solver: samples grouped by discretisation, checked, and refined where they must be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data import Dataset
from ..errors import NWidthError
from .spectral import SpectralSpace, good_size
from .stepping import Stepper, stepper_of

if TYPE_CHECKING:
    from .evolution import EvolutionProblem

MOST_POINTS = 2**16
MOST_VALUES = 2**26  # points of one sample on all axes
MOST_HALVINGS = 20
CACHED_VALUES = 2**16  # points of the samples that a CPU advances together: 512 KiB in double precision
HELD_VALUES = 2**26  # the same of an accelerator
PROBES = 8  # instants at which the local error of the time steps is measured
EXPLICIT_LIMIT = 2.5  # h |L| of the explicit scheme
MOST_ATTEMPTS = 10
WILD = 1e3  # beyond so many times the limit an error estimate says no more than that it is too large

Level = tuple[int, int]  # points on each axis, halvings of the longest interval between stored times


def march(problem: EvolutionProblem, inputs: Dataset, t: Tensor, dtype: torch.dtype) -> Tensor:
    """The states (N, T, C, *space) at times t, each sample at the level that ``resolve`` gives or its checks ask
    for.
    """
    u, _ = _march(problem, inputs, t, dtype, levels_of(problem, inputs, _longest(inputs, t)), problem.target)
    return u


def solve_to_accuracy(
    problem: EvolutionProblem, inputs: Dataset, t: Tensor, dtype: torch.dtype, accuracy: float
) -> tuple[Tensor, float]:
    """The states, and the largest relative change of a sample in its last refinement, which is below ``accuracy``.

    The level that ``march`` takes is compared with half its points and twice its steps, then refined as long as
    the finer of two levels differs by more. NWidthError where refinements no longer lower the change.
    """
    longest, fixed = _longest(inputs, t), problem.points is not None
    levels = [(n, max(j, 1)) for n, j in levels_of(problem, inputs, longest)]
    fine, levels = _march(problem, inputs, t, dtype, levels, problem.target)
    coarser = _allowed(problem, inputs, longest, [(n if fixed else max(n // 2, 8), j - 1) for n, j in levels])
    u, _ = _march(problem, inputs, t, dtype, coarser, None, finite=False)
    finest = torch.empty_like(u)
    rows, before, stuck = list(range(len(u))), torch.full((len(u),), math.inf), torch.zeros(len(u))
    reached = 0.0
    while True:
        change = _relative(u, fine)
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
        levels = [(n if fixed else 2 * n, j + 1) for n, j in (levels[i] for i in left)]
        levels = _allowed(problem, inputs[rows], longest, levels)
        fine, _ = _march(problem, inputs[rows], t, dtype, levels, None, finite=False)


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
    if problem.points is None:
        points = [good_size((problem.factors + 1) * math.ceil(k) + 1) for k in degree.tolist()]
    else:
        points = [problem.points] * len(degree)
        step = step * (2 * degree / problem.points).clamp_max(1.0)
    return _allowed(problem, inputs, longest, [(n, _halvings(longest, h)) for n, h in zip(points, step.tolist())])


def groups_of(problem: EvolutionProblem, inputs: Dataset, longest: float) -> list[tuple[list[int], int, float]]:
    """Samples (indices, points on each axis, time step) of one level."""
    return [(rows, n, longest * 2.0**-j) for (n, j), rows in _grouped(levels_of(problem, inputs, longest))]


def _grouped(levels: Sequence[Level]) -> list[tuple[Level, list[int]]]:
    members: dict[Level, list[int]] = {}
    for i, level in enumerate(levels):
        members.setdefault(level, []).append(i)
    return sorted(members.items())


def _longest(inputs: Dataset, t: Tensor) -> float:
    """The longest interval between stored times."""
    return float(torch.cat([t[:1] - inputs.t0, t.diff()]).max())


def _halvings(longest: float, step: float) -> int:
    return max(0, math.ceil(math.log2(longest / step) - 1e-9))


def _allowed(problem: EvolutionProblem, inputs: Dataset, longest: float, levels: Sequence[Level]) -> list[Level]:
    """The levels with the steps of an explicit scheme kept within its stability; NWidthError where one is too fine."""
    levels = list(levels)
    if problem.scheme == "rk4":
        inputs = inputs.to(dtype=torch.float64)
        for n in {n for n, _ in levels}:
            rows = [i for i, level in enumerate(levels) if level[0] == n]
            largest = problem.linear(_space(problem, inputs, n), inputs[rows]).abs().flatten(1).amax(1)
            for i, most in zip(rows, largest.expand(len(rows)).tolist()):
                levels[i] = (n, max(levels[i][1], _halvings(longest, EXPLICIT_LIMIT / max(most, 1e-300))))
    for points, halvings in set(levels):
        _check_size(problem, points, halvings, longest)
    return levels


def _check_size(problem: EvolutionProblem, points: int, halvings: int, longest: float) -> None:
    where = f"{type(problem).__name__}.solve"
    if points > MOST_POINTS or points**problem.ndim > MOST_VALUES:
        raise NWidthError(
            where,
            got=f"a solution that needs {points} points on each of {problem.ndim} axes to be resolved",
            expected=f"at most {MOST_POINTS} on an axis and {MOST_VALUES} in all",
            fix="smooth the initial state, raise the dissipation, shorten final_time, or set points",
        )
    if halvings > MOST_HALVINGS:
        raise NWidthError(
            where,
            got=f"time steps of {longest * 2.0**-halvings:.1e}",
            expected=f"fewer than a million of them in {longest:.3g}",
            fix="scale the initial state down or store more times",
        )


def _space(problem: EvolutionProblem, inputs: Dataset, points: int) -> SpectralSpace:
    return problem.space(inputs.grid, [points] * problem.ndim, inputs.u0, problem.points is None)  # type: ignore[arg-type]


def _march(
    problem: EvolutionProblem,
    inputs: Dataset,
    t: Tensor,
    dtype: torch.dtype,
    levels: Sequence[Level],
    target: float | None,
    *,
    finite: bool = True,
) -> tuple[Tensor, list[Level]]:
    """The states (N, T, C, *space) with each sample at its level; with ``target``, at the level that its checks
    ask for, which is returned too. States that are not finite are an error where ``finite`` says so.
    """
    longest = _longest(inputs, t)
    keep_freed_memory()
    working = inputs.to(dtype=dtype)
    start = problem.state(working.u0)  # type: ignore[arg-type]
    u = start.new_full((len(start), len(t), *start.shape[1:]), math.nan)
    pending, final = dict(_grouped(levels)), list(levels)
    attempts = dict.fromkeys(range(len(start)), 0)
    while pending:
        n, j = min(pending)
        rows = pending.pop((n, j))
        most = at_once(n**problem.ndim, start.device)
        if len(rows) > most:
            rows, pending[n, j] = rows[:most], rows[most:]
        h = longest * 2.0**-j
        batch = working[rows]
        space = _space(problem, working, n)
        check = None if target is None else _Check(problem, space, batch, h, t, target)
        first, before = space.coefficients(start[rows]), u[rows].clone()
        u[rows] = math.nan
        if check is not None:
            check.see(first, -1)
        for i, c in enumerate(problem.trajectory(first, space, batch, t.tolist(), h)):
            u[rows, i] = space.at(c, inputs.grid.shape)
            if check is not None and check.see(c, i):
                break
        if check is None:
            continue
        settled = _relative(before, u[rows]) < check.error_limit  # against an earlier, coarser run
        for i, (row, (finer, halved)) in enumerate(zip(rows, check.verdict())):
            if finer or (halved and not settled[i]):
                attempts[row] += 1
                if attempts[row] > MOST_ATTEMPTS:
                    _fail_to_settle(problem, check, i)
                level = _allowed(problem, inputs[[row]], longest, [(2 * n if finer else n, j + halved)])[0]
                pending.setdefault(level, []).append(row)
                final[row] = level
    if finite and not bool(torch.isfinite(u).all()):
        raise NWidthError(
            f"{type(problem).__name__}.solve",
            got="a solution that ceased to be finite",
            expected="a stable time step",
            fix="lower cfl, or shorten final_time",
        )
    return u, final


def keep_freed_memory() -> None:
    """Let the C library keep memory that is freed, for the next array of that size.

    glibc returns arrays above a threshold to the system when they are freed, and the page faults of the next one cost
    as much as the arithmetic on it. Freeing one block of nearly 32 MiB, the most that glibc considers, raises the
    threshold to that size (mallopt(3), M_MMAP_THRESHOLD). The block is never touched; elsewhere it has no effect.
    """
    torch.empty(2**25 - 2**13, dtype=torch.uint8)


def at_once(values: int, device: torch.device) -> int:
    """How many samples of so many points are advanced together: arrays stay in the cache of a CPU, or within the
    memory of an accelerator.
    """
    return max(1, (CACHED_VALUES if device.type == "cpu" else HELD_VALUES) // values)


class _Check:
    """Whether degree and step suffice, sample by sample: modes at the edge, and errors of the steps.

    From a few instants on, a short stretch is run with steps h and again with 2h. For a scheme of order p the
    results differ by 2^p - 1 times the error of the former. Summed up over all time, that is the error of the
    solution as far as the equation does not amplify it. Stretches are as long as costs little: where errors
    oscillate (dispersive waves), long ones say how much of them remains.
    """

    def __init__(
        self, problem: EvolutionProblem, space: SpectralSpace, batch: Dataset, h: float, t: Tensor, target: float
    ):
        real: Tensor = batch.u0.real if batch.u0.is_complex() else batch.u0  # type: ignore[union-attr,assignment]
        rounding = torch.finfo(real.dtype).eps
        self.space, self.h, self.fixed = space, h, problem.points is not None
        self.edge_limit, self.error_limit = max(10 * target, 8 * rounding), max(30 * target, 64 * rounding)
        self.edge = torch.zeros(len(real), dtype=torch.float64)
        self.error = torch.zeros(len(real), dtype=torch.float64)
        stops = [float(batch.t0), *t.tolist()]
        every = max(1, -(-(len(stops) - 1) // PROBES))
        marks = list(range(0, len(stops) - 1, every))
        self.spans = {m - 1: stops[min(m + every, len(stops) - 1)] - stops[m] for m in marks}
        self.pairs = max(1, int((stops[-1] - stops[0]) / h / (16 * PROBES)))  # a tenth of all steps, or one pair
        kind = stepper_of(problem.scheme)
        linear = problem.linear(space, batch)
        self.order = kind.order

        def nonlinear(c: Tensor) -> Tensor:
            return problem.nonlinear(c, space, batch)

        self.once: Stepper = kind(linear, h, nonlinear)
        self.twice: Stepper = kind(linear, 2 * h, nonlinear)

    def see(self, c: Tensor, i: int) -> bool:
        """Look at the state number i, -1 for the first; whether no sample is worth going on with."""
        if not self.fixed and i >= 0:  # the first state is held as it is
            edge = self.space.edge(c).double().cpu()
            self.edge = torch.maximum(self.edge, edge.nan_to_num(math.inf))
        if i in self.spans:
            fine = coarse = c
            for _ in range(self.pairs):
                fine, coarse = self.once.step(self.once.step(fine)), self.twice.step(coarse)
            rate = _relative(coarse, fine) / (2.0**self.order - 1) / (2 * self.pairs * self.h)
            self.error += rate * self.spans[i]
        return bool(((self.edge > self.edge_limit) | (self.error > WILD * self.error_limit)).all())

    def verdict(self) -> list[tuple[bool, int]]:
        """For each sample whether it needs twice the degree, and how often its step must be halved.

        Where the step is far too long, the modes at the edge mean nothing.
        """
        answers = []
        for edge, error in zip(self.edge.tolist(), (self.error / self.error_limit).tolist()):
            halvings = 3 if math.isinf(error) else math.ceil(math.log2(max(error, 1.0)) / self.order - 1e-9)
            answers.append((edge > self.edge_limit and not error > WILD, min(halvings, 4)))
        return answers


def _fail_to_settle(problem: EvolutionProblem, check: _Check, i: int) -> None:
    edge, error = float(check.edge[i]), float(check.error[i])
    raise NWidthError(
        f"{type(problem).__name__}.solve",
        got=f"{edge:.1e} of the solution at the edge of the spectrum, an error of {error:.1e} in time",
        expected=f"at most {check.edge_limit:.1e} and {check.error_limit:.1e} after {MOST_ATTEMPTS} refinements",
        fix="raise tolerance, compute in float64, shorten final_time, or smooth the initial state",
    )


def _relative(u: Tensor, reference: Tensor) -> Tensor:
    """Relative L2 difference of each sample over all times, infinite where either is not finite."""
    difference = (u - reference).abs().flatten(1).double().square().sum(1).sqrt()
    size = reference.abs().flatten(1).double().square().sum(1).sqrt()
    ratio = difference / torch.where(size > 0, size, torch.ones_like(size))
    return torch.where(torch.isfinite(ratio), ratio, torch.full_like(ratio, math.inf)).cpu()
