"""Neural processes of elliptic equations, learned at random points; answers with error bars."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..build import build
from ..data import Dataset, FitLog, Prediction
from ..data.arrays import loaded
from ..errors import NWidthError
from ..gp.process import FieldInference, Waves, residual_scale
from ..solvers import Problem
from ..solvers.problem import problem_of
from .neural import NeuralSurrogate
from .scattered import Draws, NegativeBound, Scattered, Scores
from .schedules import Schedule
from .self_supervised import SCALING, FreshBatches, refuse_unused
from .settings import TrainingSettings
from .task import Direct

HELD_OUT, TESTS = 256, 400  # inputs that calibrate the deviations, and random points for each batch of them
STREAM = 2**20  # random inputs come from seeds above this one: they are none of a data set's


class RandomGridProcess(NeuralSurrogate):
    """-div(kappa grad u) = f, u = 0 on the boundary, from samples of its fields at any points: u ~ a Gaussian process.

    ``network`` maps samples of the input fields at scattered points to a Gaussian q over coefficients of sines, hence
    to a Gaussian process of u. In each step inputs are drawn from the problem's law, their samples at a random number
    of random points are what the network sees, and the evidence bound at other random points is what it is trained on:
    the residual's likelihood less the divergence from the prior. No solution is needed. Afterwards the deviations are
    scaled to agree with the residuals for inputs that were not drawn before (``residual_scale``).

    ``modes`` sines an axis, covariances of rank ``rank`` plus a diagonal. ``points``: an axis of the Chebyshev grid
    that holds the random fields in training (smooth ones). ``collocation``: random points a step; None, 4 ``modes``^d.
    ``context``: least and most points that the network sees; a data set with more than ``max_context`` is read
    at as many of its points, drawn at random, and the prediction says so. ``observed_noise``: the deviation of noise
    in the training solutions; then half of each batch are training samples with noisy values at ``collocation`` of
    their points, and the other half is drawn from the law; null reads no solution. ``problem``: the equation; null,
    the one that the data record. Errors for data that are no such problem. Work a step (points in context)^3.

    Source: Vadeboncoeur, Kazlauskaite, Papandreou, Cirak, Girolami and Akyildiz, Random grid neural processes for
    parametric partial differential equations, ICML 2023 (arXiv:2301.11040). Sines in place of a covariance network,
    closed-form noise and calibration by residuals are ours.
    """

    def __init__(
        self,
        network: Callable[..., nn.Module],
        optimizer: Callable,
        schedule: Schedule | None = None,
        training: TrainingSettings | None = None,
        problem: Problem | None = None,
        modes: int = 16,
        rank: int = 4,
        points: int = 33,
        collocation: int | None = None,
        context: Sequence[int] = (24, 64),
        max_context: int = 1024,
        observed_noise: float | None = None,
    ):
        super().__init__(network, optimizer, None, schedule, training)
        low, high = context
        if not 2 <= low <= high <= max_context or rank < 0 or points < 3:
            raise NWidthError(
                "RandomGridProcess",
                got=f"context={list(context)}, max_context={max_context}, rank={rank}, points={points}",
                expected="2 <= least <= most <= max_context, rank >= 0, points >= 3",
            )
        if observed_noise is not None and not observed_noise > 0:
            raise NWidthError("RandomGridProcess", got=f"observed_noise={observed_noise}", expected="positive or null")
        self.problem, self.modes, self.rank, self.points = problem, modes, rank, points
        self.collocation, self.context, self.max_context = collocation, (low, high), max_context
        self.observed_noise = observed_noise
        self.scattered: Scattered | None = None
        self.scale = 1.0

    def fit(self, train: Dataset, val: Dataset | None, *, seed: int = 0, folder: Path | None = None) -> FitLog:
        from .engine import run_training

        self.check(train)
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        refuse_unused(self.training, "RandomGridProcess")
        self._need_validation(val)
        self.scattered = law = self._law(problem_of(train, self.problem, "RandomGridProcess.fit"))
        law.check(train)
        first = STREAM + 4 * seed  # seeds of training, units, calibration and inverse
        law.standardise(law.form.sample(range(SCALING), first + 1))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.network = self._make(law)
        network = self.network
        noisy = None if self.observed_noise is None else train
        steps = Draws(law, len(train), first, self.context, self.dtype, noisy)
        loss = NegativeBound(law, self.observed_noise)
        keeper = run_training(
            Scores(network, law.dims),
            steps,  # type: ignore[arg-type]
            Direct(),
            loss,
            self.optimizer,
            self.schedule,
            self.training,
            None if val is None else lambda module: self._errors(network, val),
            seed=seed,
            folder=folder,
            title=type(self).__name__,
            stream=FreshBatches,
        )
        network.cpu().eval()
        self.scale = self._calibrate(network, law, first + 2)
        log = FitLog(history=keeper.history, parameters=sum(p.numel() for p in network.parameters()))
        log.selected = {
            "training_seconds": keeper.seconds,
            "training_cpu_seconds": keeper.cpu_seconds,
            "deviation_scale": self.scale,
        }
        log.notes.append(
            "learned from the equation: no training solution was read"
            if noisy is None
            else f"learned from the equation and from solutions with noise of deviation {self.observed_noise:g}"
        )
        return log

    def _law(self, problem: Problem) -> Scattered:
        return Scattered(problem, self.points, self.modes, self.collocation)

    def _make(self, law: Scattered) -> nn.Module:
        count = law.waves.count * (2 + self.rank)
        made = self.make_network(in_channels=law.form.in_channels, out_channels=count, grid=law.form.grid)
        return made.to(self.dtype)

    def _calibrate(self, network: nn.Module, law: Scattered, seed: int) -> float:
        """``residual_scale`` for inputs from another stream than the training's, at random points."""
        steps = Draws(law, HELD_OUT, seed, self.context, self.dtype, None, tests=TESTS)
        squares = []
        with torch.no_grad():
            for items in torch.arange(HELD_OUT).split(32):
                x, y = steps.__getitems__(items.tolist())
                q = law.posterior(Scores(network, law.dims)(x))
                squares.append(residual_scale(q, law.waves, law.unpack(y)[0]).square())
        return float(torch.stack(squares).mean().sqrt())

    def inverse(
        self,
        network: Callable[..., nn.Module],
        *,
        noise: float,
        channel: int = 0,
        modes: int = 8,
        steps: int = 1000,
        batch_size: int = 32,
        lr: float = 1e-2,
        seed: int = 0,
    ) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Learn q(field | noisy values of u at any points), field the input ``channel``, from this forward model.

        Inputs are drawn from the law, u from the forward process's answer with its deviations, and noise of deviation
        ``noise`` is added at random points. ``network`` as in the constructor, ``modes`` cosines an axis.

        What comes back is called as inferred(points (P, d), values (N, P), query (Q, d)): mean and standard deviation
        of the field (N, Q), of its logarithm where the law's field is positive.
        """
        law: Scattered = self.fitted(self.scattered)
        forward: nn.Module = self.fitted(self.network)
        if not noise > 0 or not 0 <= channel < law.form.in_channels:
            raise NWidthError(
                "RandomGridProcess.inverse",
                got=f"noise={noise}, channel={channel}",
                expected=f"a positive deviation and a channel below {law.form.in_channels}",
            )
        unit, waves = law.solution_unit, Waves(modes, law.dims, "cosine")
        items = Draws(law, batch_size, STREAM + 4 * seed + 3, self.context, self.dtype)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            made = network(in_channels=2, out_channels=waves.count * (2 + self.rank), grid=law.form.grid).to(self.dtype)

        def both(y: Tensor) -> Tensor:
            """Values, and something like their logarithm where they are larger than the noise."""
            return torch.stack([y, torch.asinh(y * (unit / noise)) / 4], -1)

        def draw(step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
            like: dict[str, Any] = {"generator": generator, "dtype": self.dtype}
            raw, seen = items.inputs(range(step * batch_size, (step + 1) * batch_size))
            places, query = torch.rand(len(seen), law.dims, **like), torch.rand(law.count, law.dims, **like)
            given = law.standard(law.evaluate(raw, seen)).transpose(1, 2).to(self.dtype)
            with torch.no_grad():
                q = law.posterior(forward(seen[None].to(self.dtype), given))
                u = q.sample_of(law.waves.values(places), self.scale, generator)
            y = both(u + noise / unit * torch.randn(u.shape, **like))
            target = law.standard(law.evaluate(raw, query.double()))[:, channel].to(self.dtype)
            return places[None], y, query[None], target

        inference = FieldInference(made, waves)
        inference.fit(draw, steps=steps, lr=lr, seed=seed)
        shift, size = float(law.shift[channel]), float(law.size[channel])

        def inferred(points: Tensor, values: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
            where, at = (law.places(v)[None].to(self.dtype) for v in (points, query))
            mean, std = inference.infer(where, both((values / unit).to(self.dtype)), at)
            return shift + size * mean, size * std

        return inferred

    def at(self, points: Tensor, values: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of u (N, Q) at ``query`` (Q, d), from samples of the input fields (N, C, P) at
        ``points`` (P, d): a random grid, or any other."""
        law: Scattered = self.fitted(self.scattered)
        return self._from(self.fitted(self.network), law.places(points), values, law.places(query))

    @torch.no_grad()
    def _from(self, network: nn.Module, where: Tensor, values: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        law: Scattered = self.fitted(self.scattered)
        device = next(network.parameters()).device
        channels = law.standard(values.double()).transpose(1, 2)
        q = law.posterior(network(where[None].to(device, self.dtype), channels.to(device, self.dtype)))
        rows = law.waves.values(query.to(device, self.dtype))
        unit = law.solution_unit
        mean, variance = q.mean_of(rows), q.variance_of(rows)
        return unit * mean.cpu(), self.scale * unit * variance.sqrt().cpu()

    def _answer(self, network: nn.Module, inputs: Dataset) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation on the grid of the inputs."""
        law: Scattered = self.fitted(self.scattered)
        law.check(inputs)
        where, values = law.places(inputs.grid), loaded(inputs.a).flatten(2)  # type: ignore[arg-type]
        query, shape = where, (-1, 1, *inputs.grid.shape)
        if len(where) > self.max_context:
            chosen = torch.randperm(len(where), generator=torch.Generator().manual_seed(0))[: self.max_context]
            where, values = where[chosen], values[..., chosen]
        mode = network.training
        network.eval()
        mean, std = self._from(network, where, values, query)
        network.train(mode)
        if not bool(torch.isfinite(mean).all() and torch.isfinite(std).all()):
            raise NWidthError("predict", got="NaN or infinite values from the network", fix="lower the learning rate")
        return mean.view(shape), std.view(shape)

    def _predict(self, network: nn.Module, inputs: Dataset) -> Tensor:
        return self._answer(network, inputs)[0]

    def predict(self, inputs: Dataset) -> Prediction:
        network: nn.Module = self.fitted(self.network)
        block = self._block(inputs)
        parts = [self._answer(network, inputs[i : i + block].load()) for i in range(0, len(inputs), block)]
        mean, std = (torch.cat(v) for v in zip(*parts))
        total = math.prod(inputs.grid.shape)
        notes = () if total <= self.max_context else (f"inputs read at {self.max_context} of {total} points",)
        return Prediction(mean, std, notes=notes)

    def state_dict(self) -> dict[str, Any]:
        network: nn.Module = self.fitted(self.network)
        law: Scattered = self.fitted(self.scattered)
        return {
            "network": dict(network.state_dict()),
            "law": law.state_dict(),
            "scale": self.scale,
            "problem": json.dumps(law.form.problem.config()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        problem = self.problem if self.problem is not None else build(json.loads(state["problem"]))
        self.scattered = self._law(problem).load_state_dict(state["law"])
        self.network = self._make(self.scattered)
        self._load(state["network"], "RandomGridProcess", "the network that was saved")
        self.network.eval()
        self.scale = state["scale"]
