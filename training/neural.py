"""Any network of channel tensors as a surrogate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..data import Dataset, FitLog, Prediction, Surrogate
from ..data.metrics import relative_l2
from ..data.symmetry import images
from ..errors import NWidthError
from .augmentation import chosen_symmetries, equation_copies, named
from .losses import RelativeL2
from .rollout import Rollout
from .schedules import Constant, Schedule
from .settings import TrainingSettings
from .task import Task
from .tasks import load_task, make_task

if TYPE_CHECKING:
    from .batches import Pairs

PREPARING = 2000  # pairs that a network's ``prepare`` sees
NUMBERS = 2**26  # values in them


class NeuralSurrogate(Surrogate):
    """Train a network on pairs (input fields, solution) by gradient descent.

    ``network(in_channels=, out_channels=, grid=)`` makes the module once the data's sizes are known (a factory, as
    ``_partial_: true`` gives in a config); it maps (batch, in_channels, *space) to (batch, out_channels, *space).
    ``optimizer(parameters)`` and ``schedule`` likewise come from the config; ``loss(p, u, grid)`` is computed in the
    solution's units. A network with a method ``prepare(x, y)`` is given training inputs and the outputs that it should
    have before the first step, for what it takes from data. The weights with the least validation error are kept. The
    same seed gives the same result on the same machine, thread count and library versions.
    """

    def __init__(
        self,
        network: Callable[..., nn.Module],
        optimizer: Callable,
        loss: nn.Module | None = None,
        schedule: Schedule | None = None,
        training: TrainingSettings | None = None,
    ):
        self.make_network, self.optimizer = network, optimizer
        self.loss = RelativeL2() if loss is None else loss
        self.schedule = schedule or Constant()
        self.training = training or TrainingSettings()
        self.task: Task | None = None
        self.network: nn.Module | None = None
        self.symmetries: list[str] = []

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if str(self.training.precision) == "64" else torch.float32

    def warm_up(self) -> None:
        from . import engine  # noqa: F401  Lightning

        network = getattr(self.make_network, "func", self.make_network)
        getattr(network, "warm_up", lambda: None)()

    def fit(self, train: Dataset, val: Dataset | None, *, seed: int = 0, folder: Path | None = None) -> FitLog:
        from .batches import Pairs
        from .coefficients import arrange
        from .engine import run_training

        self.check(train)
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        options, memory = self.training, self.training.memory_gib * 2**30
        self.task = make_task(
            train,
            options.time,
            options.normalize_input,
            options.normalize_output,
            self.dtype,
            options.unroll,
            options.pushforward,
        )
        self.task.fit(train)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.network = self._build()
        found = chosen_symmetries(options.symmetries, train, val)
        self.symmetries = [s.name for s in found]
        sets = [image(train) if image.factors else train for image in images(found)]
        copies = equation_copies(options.equation_symmetries, train, options.equation_copies, seed)
        pairs = Pairs(self.task, sets + copies, memory)
        if options.init_from is None:
            self._prepare(pairs, seed)
        else:
            self._take_over(options.init_from)
        network, batches, task, loss = arrange(self.network, pairs, self.loss, options)
        whole = None if network is self.network else self.network
        run: Any = torch.compile(network) if options.compile else network
        validate = None if val is None else lambda module: self._errors(whole or module, val)
        self._need_validation(val)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            keeper = run_training(
                run,
                batches,
                task,
                loss,
                self.optimizer,
                self.schedule,
                options,
                validate,
                seed=seed,
                folder=folder,
                title=type(self.network).__name__,
            )
        self.network.cpu().eval()
        log = FitLog(history=keeper.history, parameters=sum(p.numel() for p in self.network.parameters()))
        log.selected = {
            "time": self.task.kind,
            "training_seconds": keeper.seconds,
            "training_cpu_seconds": keeper.cpu_seconds,
        }
        if found:
            log.notes.append("training samples moved by: " + ", ".join(self.symmetries))
        if copies:
            log.notes.append(f"{len(copies)} copies of the training samples moved by the equation's symmetries")
        if options.symmetries != "none":
            log.selected["symmetries"] = self.symmetries
        if keeper.best and keeper.history:
            best = min(keeper.history, key=lambda h: h.get("val_rel_l2", float("inf")))
            log.selected |= {k: best[k] for k in ("epoch", "val_rel_l2", "val_one_step") if k in best}
            if best is keeper.history[-1] and len(keeper.history) > 3:
                log.notes.append("the last epoch was the best: longer training may help")
        return log

    def _need_validation(self, val: Dataset | None) -> None:
        if val is None and self.schedule.needs_validation:
            raise NWidthError(
                f"schedule {type(self.schedule).__name__}",
                got="no validation samples",
                expected="a validation split",
                fix="set split.val, or another schedule",
            )

    def _build(self) -> nn.Module:
        assert self.task is not None
        network = self.make_network(
            in_channels=self.task.in_channels, out_channels=self.task.out_channels, grid=self.task.grid
        )
        return network.to(self.dtype)

    def _prepare(self, pairs: Pairs, seed: int) -> None:
        """A network with a method ``prepare(x, y)`` sees some training pairs, drawn by the seed, before the first step.

        y is what its output should be: the solution taken back through ``decode``, which is affine in every value of
        the output. At most ``PREPARING`` pairs, fewer where they hold more than ``NUMBERS`` values.
        """
        prepare: Callable[[Tensor, Tensor], None] | None = getattr(self.network, "prepare", None)
        if prepare is None:
            return
        assert self.task is not None
        total = len(pairs) * len(pairs.images)
        most = max(2, NUMBERS // pairs.__getitems__([0])[1].numel())
        order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
        x, y = pairs.__getitems__(order[: min(PREPARING, most)].tolist())
        x, y = x.double(), y.double()
        with torch.no_grad():
            shift = self.task.decode(torch.zeros_like(y), x)
            scale = self.task.decode(torch.ones_like(y), x) - shift
            prepare(x.to(self.dtype), (y - shift) / scale)

    def _take_over(self, run: str) -> None:
        """Weights and normalisation of a finished run, which a training goes on from."""
        from .runs import load_fitted

        source = load_fitted(run)[0]
        if not isinstance(source, NeuralSurrogate):
            raise NWidthError(
                "training.init_from", got=f"a run of {type(source).__name__}", expected="a run of a network"
            )
        assert self.task is not None and self.network is not None and source.task is not None
        own, theirs = (
            {"inputs": list(t.reads), "channels": t.channels, "time": t.kind, "outputs": t.out_channels}
            for t in (self.task, source.task)
        )
        if own != theirs:
            raise NWidthError("training.init_from", got=f"a run with {theirs}", expected=f"{own}, as the data have")
        self.task.take_scales(source.task)
        self._load(self.fitted(source.network).state_dict(), "training.init_from", "a run of the same network")

    def _errors(self, module: nn.Module, data: Dataset) -> dict[str, float]:
        """Mean relative L2 error, as the report computes it; of rollouts that of single steps as well."""
        found = {"val_rel_l2": self._error(module, data)}
        if isinstance(self.task, Rollout):
            found["val_one_step"] = self._one_step(module, self.task, data)
        return found

    def _one_step(self, module: nn.Module, task: Rollout, data: Dataset) -> float:
        """Mean relative L2 error of the states one step after each state of the data."""
        device, mode = next(module.parameters()).device, module.training
        module.eval()
        errors = []
        block = max(1, self._block(data)) * len(data.t)  # type: ignore[arg-type]
        with torch.no_grad(), task.single_steps():
            for items in torch.arange(task.items(data)).split(block):
                x, y = (v.to(device) for v in task.pair(data, items))
                p = task.decode(module(x).to(y.dtype), x)
                errors.append(relative_l2(p.double(), y.double(), data.grid).mean(1))
        module.train(mode)
        return float(torch.cat(errors).mean())

    def _error(self, module: nn.Module, data: Dataset) -> float:
        """Mean relative L2 error, as the report computes it."""
        errors = []
        for start in range(0, len(data), self._block(data)):
            part = data[start : start + self._block(data)].load()
            mean = self._predict(module, part.inputs())
            errors.append(relative_l2(mean.double(), part.solution.double(), part.grid).mean(1))  # type: ignore[union-attr]
        return float(torch.cat(errors).mean())

    def _block(self, data: Dataset) -> int:
        """Samples at a time: as many points as a training batch has at least, and 64 MiB of output at most."""
        per_sample = 4 * int(torch.tensor(data.grid.shape).prod()) * (1 if data.t is None else len(data.t))
        return max(1, min(4 * self.training.batch_size, 2**26 // max(per_sample, 1)))

    def predict(self, inputs: Dataset) -> Prediction:
        network: nn.Module = self.fitted(self.network)
        block = self._block(inputs)
        parts = [self._predict(network, inputs[start : start + block].load()) for start in range(0, len(inputs), block)]
        return Prediction(torch.cat(parts))

    def _predict(self, network: nn.Module, inputs: Dataset) -> Tensor:
        task: Task = self.fitted(self.task)
        device = next(network.parameters()).device
        mode = network.training
        network.eval()
        names = self.symmetries if self.training.average_symmetries else []
        group = images(named(names, inputs))
        with torch.no_grad():
            mean = torch.zeros((), device=device)
            for image in group:
                moved = image(inputs.to(device))
                mean = mean + image.undo(task.predict(lambda x: network(x.to(device)).to(x.dtype), moved)) / len(group)
        network.train(mode)
        if not bool(torch.isfinite(mean).all()):
            raise NWidthError(
                "predict",
                got="NaN or infinite values from the network",
                expected="finite predictions",
                fix="the rollout or the training diverged: lower the learning rate or train longer",
            )
        return mean.cpu()

    def state_dict(self) -> dict[str, Any]:
        network: nn.Module = self.fitted(self.network)
        return {
            "symmetries": list(self.symmetries),
            "task": self.fitted(self.task).state_dict(),
            "network": {k: v for k, v in network.state_dict().items() if isinstance(v, Tensor)},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.task = load_task(state["task"], self.dtype)
        self.symmetries = list(state["symmetries"])
        self._load_network(state["network"])

    def _load_network(self, state: Mapping[str, Tensor]) -> None:
        with torch.random.fork_rng():
            self.network = self._build()
        self._load(state, "load", "the config and weights of one run")
        self.network.eval()

    def _load(self, weights: Mapping[str, Any], where: str, expected: str) -> None:
        assert self.network is not None
        try:
            self.network.load_state_dict(dict(weights))
        except RuntimeError as e:
            reason = str(e).splitlines()[-1].strip()[:90]
            raise NWidthError(where, got=f"weights that do not fit the network ({reason})", expected=expected) from None
