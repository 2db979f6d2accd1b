"""Equations on tensor grids of two or three axes: factors an axis, spectra learned, errors by answers to drawn ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import NWidthError
from .basis import evaluate
from .calibration import STRETCH, between, factor_of_independent, least, rms
from .draws import drawn_errors, wall_misfit
from .equation import Equation, Order, evenly, product
from .evidence import learn
from .factors import Space
from .features import EXTENSION, FourierFeatures
from .solution import Solution
from .spectrum import Mixture
from .task import Answer, Task
from .weight_space import OVERSAMPLING

WIDER = ((1.25, True), (1.5, False))  # times the waves of the second answer, and whether its spectrum is learned
MANY, MOST = 1e5, 1e6  # nodes with two in each gap, beyond which one spectrum is tried, and one node a gap


@dataclass(frozen=True)
class Spread:
    """What standard deviations are made of."""

    errors: list[Tensor]  # weights of the errors of drawn equations
    second: tuple[FourierFeatures, Answer]
    walls: float  # misfit on the sides, in units of the usual error


def white(features: FourierFeatures) -> list[Tensor]:
    return [torch.ones(n, dtype=torch.float64) for n in features.sizes]


class TensorSpace:
    """u = sum of products of regular Fourier features, one family an axis, with the equation at the nodes of a grid.

    Each axis is factored once (``Line``); conditions are met exactly by blending; the equation is projected on the
    functions that vanish in the conditions, where a sum of one-axis operators is a Sylvester equation. Nonlinear terms,
    mixed derivatives and variable coefficients: Newton's method, its steps by GMRES with that Sylvester solve as the
    preconditioner. The spectrum of each axis is learned from the weights, in ``passes``; the cut of small singular
    values and the pass are chosen by the equation's residual between the nodes, which no solve has seen.

    Standard deviations are the errors of the solver's own answers to ``draws`` equations made from the learned prior,
    scaled to the residual between the nodes and then to the difference from a second answer, from other nodes and other
    waves, and the misfit between the nodes of sides where u is given.
    """

    def __init__(
        self,
        extension: float = EXTENSION,
        cuts: Sequence[float] = (1e-8, 1e-10, 1e-12),
        passes: int = 2,
        shape: str = "gaussian",
        updates: int = 12,
        iterations: int = 30,
        draws: int = 16,
        seed: int = 0,
    ):
        if not extension > 1 or not cuts or passes < 0 or draws < 2:
            raise NWidthError(
                "TensorSpace",
                got=f"extension={extension}, cuts={cuts}, passes={passes}, draws={draws}",
                expected="extension > 1, cuts, passes >= 0, draws >= 2",
            )
        self.extension, self.cuts, self.passes, self.shape = extension, tuple(cuts), passes, shape
        self.updates, self.iterations, self.draws, self.seed = updates, iterations, draws, seed

    def solve(self, equation: Equation) -> Solution:
        if equation.unknown or not 2 <= equation.ndim <= 3:
            raise NWidthError(
                "TensorSpace.solve",
                got=f"{equation.ndim} axes, unknown parameters {list(equation.unknown)}",
                expected="two or three axes, none unknown",
                fix="use solver=gp, which takes scattered points",
            )
        task = Task(equation, self.iterations)
        counts = [max(2, int(n / OVERSAMPLING) // 2) for n in equation.shape]
        features = FourierFeatures.regular(equation.box, counts, self.extension)
        priors = white(features)
        found: list[Answer] = []
        for number in range(self.passes + 1):
            mine = [task.answer(Space(equation, features, priors, c, task.conditions, task.axes)) for c in self.cuts]
            best = min(mine, key=lambda a: a.between)
            found.append(best)
            if number and best.between > found[-2].between:
                break
            if number < self.passes:
                priors = self._priors(features, best)
        best = min(found, key=lambda a: a.between)
        return self._solution(task, features, best, found)

    def _priors(self, features: FourierFeatures, answer: Answer) -> list[Tensor]:
        """Standard deviations of each axis' features: the marginal likelihood of the nodal values along that axis, in
        eight random combinations of the lines of the grid, which share a prior."""
        space, priors = answer.space, []
        generator = torch.Generator().manual_seed(self.seed)
        for i, line in enumerate(space.lines):
            C = torch.movedim(answer.C, i, 0).reshape(line.U.shape[1], -1)
            mix = torch.randn(C.shape[1], 8, generator=generator, dtype=torch.float64)
            w = features.line_frequencies(i)
            start = torch.ones_like(w) / len(w)
            mixture = Mixture.over(w, float(features.frequencies[i][1]), start, shape=self.shape)
            A = features.line(i, line.x)
            mixture, _ = learn(A, line.U @ (C @ mix), mixture, w[:0], self.updates)
            priors.append(mixture.density().sqrt())
        return priors

    def _spread(self, task: Task, features: FourierFeatures, best: Answer) -> Spread:
        errors = drawn_errors(task, best, self._priors(features, best), self.draws, self.seed)
        zero = (0,) * task.equation.ndim
        usual = rms(self._std([task.values_between(e, features, zero) for e in errors]))
        return Spread(errors, self._second(task, best), wall_misfit(task, best) / max(usual, 1e-300))

    def _second(self, task: Task, best: Answer) -> tuple[FourierFeatures, Answer]:
        """An answer from other nodes, two in each gap where they are not too many, and other waves: the spectrum that
        leaves less of the equation between those nodes."""
        nodes = 2**task.equation.ndim * len(task.grid)
        each = 2 if nodes <= MOST else 1
        other = Task(task.equation, self.iterations, between(task.axes, each))
        found = []
        for share, learned in WIDER if nodes <= MANY else WIDER[:1]:
            share = share if each == 2 else 1.0
            counts = [max(2, int(share * n / OVERSAMPLING) // 2) for n in task.shape]
            features = FourierFeatures.regular(task.equation.box, counts, self.extension * STRETCH)
            priors = self._priors(features, best) if learned else white(features)
            space = Space(task.equation, features, priors, best.space.cut, other.conditions, other.axes)
            found.append((features, other.answer(space)))
        return min(found, key=lambda pair: pair[1].between)

    def _std(self, errors: Sequence[Tensor]) -> Tensor:
        # the quantile of Student's t that few draws call for, as a normal one
        return torch.stack([e.square() for e in errors]).mean(0).sqrt() * (1 + 1.25 / self.draws)

    def _solution(self, task: Task, features: FourierFeatures, best: Answer, found: Sequence[Answer]) -> Solution:
        equation = task.equation
        spread: list[Spread] = []
        usual: dict[Order, tuple[float, float]] = {}  # factor of the draws' standard deviations, error on the sides

        def measured(order: Order) -> tuple[float, float]:
            # slopes err most on the sides, where a misfit of u is added
            inside, (waves, second) = evenly(equation.box, 40), spread[0].second
            ends = [torch.cat([a[:1], b, a[-1:]]) for a, b in zip(task.axes, inside)]
            at = product(ends if any(order) else inside)
            std = self._std([evaluate(features, e, at, order) for e in spread[0].errors])
            difference = evaluate(waves, second.weights, at, order) - evaluate(features, best.weights, at, order)
            # an error on the sides is passed on everywhere, with derivatives in the proportion of the draws'
            ratio = second.between / max(best.between, 1e-300)
            factor = factor_of_independent(difference, std, ratio, least=least(best.between, ratio))
            return factor, spread[0].walls * rms(std)

        def predictor(x: Tensor, order: Order) -> tuple[Tensor, Tensor]:
            if not spread:
                spread.append(self._spread(task, features, best))
            if order not in usual:
                usual[order] = measured(order)
            factor, walls = usual[order]
            mean = evaluate(features, best.weights, x, order)
            std = self._std([evaluate(features, e, x, order) for e in spread[0].errors]) * factor
            return mean, (std.square() + walls**2).sqrt()

        spectrum = [
            (features.frequencies[i], line.D[: len(features.frequencies[i])].square())
            for i, line in enumerate(best.space.lines)
        ]
        return Solution(
            equation,
            "gp",
            predictor,
            best.residual,
            {},
            [a.record() for a in found],
            best.record(),
            spectrum,
            best.notes(),
        )
