"""Networks that learn from the equation alone: random inputs in every step, the residual as the loss."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..backends import Axis, Grid
from ..backends.resample import interpolation_matrix
from ..build import build
from ..data import Dataset, FitLog
from ..data.resampling import Resampler
from ..errors import NWidthError
from ..solvers import Problem
from ..solvers.forms import Form
from ..solvers.problem import problem_of
from .batches import StepBatches
from .neural import NeuralSurrogate
from .residual import ResidualLoss, SpectralLoss
from .schedules import Schedule
from .settings import TrainingSettings
from .task import Direct, Network, Task

UNUSED = ("symmetries", "average_symmetries", "equation_symmetries", "init_from", "unroll", "pushforward", "coarsening")
SCALING = 256  # random inputs from which their scale is taken


def refuse_unused(options: TrainingSettings, where: str) -> None:
    """Raise NWidthError where an option is set that means nothing for inputs drawn from their law."""
    plain = TrainingSettings()
    for name in UNUSED:
        given, neutral = (list(v) if isinstance(v := getattr(s, name), tuple) else v for s in (options, plain))
        if given != neutral:
            raise NWidthError(
                where,
                got=f"training.{name}={given}",
                expected=f"{neutral}: inputs are drawn from their law at collocation points",
            )


class SelfSupervised(NeuralSurrogate):
    """Train a network on the residual of the problem's equation; solutions serve the validation alone.

    In each step new inputs are drawn from the problem's law at collocation points (``nwidth.solvers.forms``), the
    network's output is changed to satisfy the boundary and initial conditions, and the loss is the residual of the
    equation there. Answers at other points and times are interpolated from the collocation points: exactly, for the
    functions that these hold.

    ``network``, ``optimizer``, ``schedule``, ``training`` as in ``NeuralSurrogate``. ``loss`` is a ``ResidualLoss``,
    which also says what the points are. ``problem``: the equation and the law of its inputs; None takes the one that
    the data record. ``scale``: size of the output before it is changed, 1e-3 in the published code. An epoch counts as
    many steps as passes over the training samples would take, whose number is all that is taken from them.
    """

    def __init__(
        self,
        network: Callable[..., nn.Module],
        optimizer: Callable,
        loss: ResidualLoss | None = None,
        schedule: Schedule | None = None,
        training: TrainingSettings | None = None,
        problem: Problem | None = None,
        scale: float = 1e-3,
    ):
        super().__init__(network, optimizer, None, schedule, training)
        if loss is not None and not isinstance(loss, ResidualLoss):
            raise NWidthError(
                "SelfSupervised", got=f"loss={type(loss).__name__}", expected="SpectralLoss or PointwiseLoss"
            )
        if not scale > 0:
            raise NWidthError("SelfSupervised", got=f"scale={scale}", expected="a positive number")
        self.residual = SpectralLoss() if loss is None else loss
        self.problem, self.scale = problem, scale

    def fit(self, train: Dataset, val: Dataset | None, *, seed: int = 0, folder: Path | None = None) -> FitLog:
        from .engine import run_training

        self.check(train)
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        options = self.training
        refuse_unused(options, "SelfSupervised")
        self._need_validation(val)
        problem = problem_of(train, self.problem, "SelfSupervised.fit")
        self.task = task = Collocated(self.residual.form(problem), self.scale, self.dtype)
        task.fit(train)
        inputs = Inputs(task, len(train), seed)
        task.standardise(inputs.form.sample(range(SCALING), seed + 1))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.network = self._build()
        if hasattr(self.network, "prepare"):
            raise NWidthError(
                "SelfSupervised", got=f"{type(self.network).__name__}, which prepares itself from solutions",
                expected="a network that needs no data", fix="use fno, nsm or another",
            )  # fmt: skip
        run: Any = Answer(self.network, task)
        run = torch.compile(run) if options.compile else run
        network = self.network
        validate = None if val is None else lambda module: self._errors(network, val)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            keeper = run_training(
                run,
                inputs,  # type: ignore[arg-type]
                Direct(),
                _Bound(self.residual, task.form),
                self.optimizer,
                self.schedule,
                options,
                validate,
                seed=seed,
                folder=folder,
                title=type(self.network).__name__,
                stream=FreshBatches,
            )
        self.network.cpu().eval()
        log = FitLog(history=keeper.history, parameters=sum(p.numel() for p in self.network.parameters()))
        log.selected = {"training_seconds": keeper.seconds, "training_cpu_seconds": keeper.cpu_seconds}
        if keeper.best and keeper.history:
            best = min(keeper.history, key=lambda h: h.get("val_rel_l2", float("inf")))
            log.selected |= {"epoch": best["epoch"], "val_rel_l2": best["val_rel_l2"]}
        log.notes.append("learned from the equation: no training solution was read")
        return log

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        task = self.fitted(self.task)
        return state | {"problem": json.dumps(task.form.problem.config())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        problem = self.problem if self.problem is not None else build(json.loads(state["problem"]))
        self.task = Collocated(self.residual.form(problem), self.scale, self.dtype).load_state_dict(state["task"])
        self._load_network(state["network"])


class Collocated(Task):
    """Inputs of a data set at the collocation points of a form, and its answers at the points of the data."""

    kind = "collocated"

    def __init__(self, form: Form, scale: float, dtype: torch.dtype):
        super().__init__("none", "none", dtype)
        self.form, self.scale = form, scale
        self.shift = self.size = torch.zeros(())

    def fit(self, train: Dataset) -> Task:
        self.data_grid, self.t, self.t0 = train.grid, train.t, train.t0
        self._matches(train)
        return self

    def standardise(self, raw: Tensor) -> None:
        """Shift and scale of each input channel, from random inputs."""
        values = raw.transpose(0, 1).flatten(1)
        std = values.std(1)
        self.shift, self.size = values.mean(1), torch.where(std > 1e-9, std, torch.ones_like(std))

    def standard(self, raw: Tensor) -> Tensor:
        shape = (-1, *(1,) * (raw.ndim - 2))
        return (raw - self.shift.to(raw).view(shape)) / self.size.to(raw).view(shape)

    def _matches(self, data: Dataset) -> None:
        form = self.form
        timed = len(form.grid.axes) > len(form.space.axes)
        ok = isinstance(data.grid, Grid) and data.grid.ndim == form.space.ndim and timed == (data.t is not None)
        if not ok or any(getattr(data, k) is None for k in form.problem.reads):
            raise NWidthError(
                "SelfSupervised",
                got=f"{'trajectories' if data.t is not None else 'steady data'} on {data.grid.describe()} with inputs "
                f"{list(data.reads)}",
                expected=f"data of {type(form.problem).__name__}, with inputs {list(form.problem.reads)}",
            )

    @property
    def in_channels(self) -> int:
        return self.form.in_channels

    @property
    def out_channels(self) -> int:
        return self.form.out_channels

    @property
    def grid(self) -> Grid:
        return self.form.grid

    def pair(self, data: Dataset, items: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError("inputs are drawn, see Inputs")

    def predict(self, network: Network, inputs: Dataset) -> Tensor:
        self._matches(inputs)
        form, grid = self.form, inputs.grid
        assert isinstance(grid, Grid)
        there = Resampler(grid, form.space)
        moved = {k: there(v.double()) for k in ("a", "u0") if (v := getattr(inputs, k)) is not None}
        raw = form.raw(Dataset(form.space, mu=inputs.mu, **moved)).to(self.dtype)  # type: ignore[arg-type]
        u = form.constrain(network(self.standard(raw)), raw, self.scale)
        if inputs.t is None:
            return Resampler(form.grid, grid)(u)
        times = (inputs.t - inputs.t0).double()
        target = Axis("listed", len(times), name="t", points=tuple(times.tolist()))
        matrix = interpolation_matrix(form.grid.axes[0], target).to(u)
        return Resampler(form.space, grid)(torch.tensordot(u, matrix, dims=([2], [1])).movedim(-1, 1))

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"shift": self.shift, "size": self.size}

    def load_state_dict(self, state: Mapping[str, Any]) -> Collocated:
        super().load_state_dict(state)
        self.shift, self.size = state["shift"], state["size"]
        return self


class Answer(nn.Module):
    """raw inputs -> u at the collocation points: what is trained. ``network`` is the part with weights."""

    def __init__(self, network: nn.Module, task: Collocated):
        super().__init__()
        self.network, self.task = network, task

    def forward(self, raw: Tensor) -> Tensor:
        return self.task.form.constrain(self.network(self.task.standard(raw)), raw, self.task.scale)


class Inputs(torch.utils.data.Dataset):
    """Random inputs by number: item i is ``problem.sample([i], seed)``; there is no last one."""

    def __init__(self, task: Collocated, count: int, seed: int):
        self.form, self.dtype, self.count, self.seed = task.form, task.dtype, count, seed
        self.images = [None]

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, items: list[int]) -> tuple[Tensor, Tensor]:
        raw = self.form.sample(items, self.seed).to(self.dtype)
        return raw, raw


class FreshBatches(StepBatches):
    """Items that are new in every step: those of step s are B s .. B s + B - 1, B the batch size."""

    def __iter__(self) -> Iterator[list[int]]:
        rank, world = self.processes()
        for step in range(self.start, self.steps):
            yield list(range(step * self.batch_size, (step + 1) * self.batch_size))[rank::world]


class _Bound(nn.Module):
    """The residual's loss for one form."""

    def __init__(self, loss: ResidualLoss, form: Form):
        super().__init__()
        self.loss, self.form = loss, form

    def forward(self, u: Tensor, raw: Tensor, grid: None) -> Tensor:
        return self.loss(self.form, u, raw)
