"""Lightning runs the steps: optimiser, schedule, checkpoints, validation, progress."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..data.files import write_text
from ..errors import NWidthError
from .batches import Pairs, StepBatches, whole
from .coarsening import Coarsening
from .growth import ModeGrowth
from .losses import evaluate
from .optimizers import make_optimizer
from .schedules import Schedule
from .settings import TrainingSettings
from .task import Direct, Task


class Steps(pl.LightningModule):
    """One training step: forward, decode, loss in the solution's units; mean over the steps of an unrolled rollout.

    ``errors`` are the validation errors so far, which ``Keeper`` keeps: a schedule may read them.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task | Direct,
        loss: nn.Module,
        optimizer: Callable,
        schedule: Schedule,
        coarsening: Coarsening,
        steps: int,
        budget: float | None,
    ):
        super().__init__()
        self.network, self.loss = network, loss
        self.task, self.make_optimizer, self.schedule, self.coarsening = task, optimizer, schedule, coarsening
        self.steps, self.budget = steps, budget
        self.seconds = 0.0
        self.errors: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        factor = self.coarsening.factor(self.global_step, self._progress(self.global_step))
        x, y = (self.task.restrict(v, factor) for v in batch)
        losses = [self._loss(*answer) for answer in self.task.answers(self.network, x, y)]
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

    def _loss(self, x: Tensor, p: Tensor, y: Tensor) -> Tensor:
        wants = getattr(self.loss, "reads_inputs", False)
        predicted = self.task.predicted(x, p) if wants else None
        return evaluate(self.loss, p, y, self.task.loss_grid(tuple(y.shape[2:])), predicted)

    def configure_optimizers(self):
        clipped_mixed = bool(self.trainer.gradient_clip_val) and "mixed" in str(self.trainer.precision)
        optimizer = make_optimizer(self.make_optimizer, self.network, clipped_mixed=clipped_mixed)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _factor(self, step: int) -> float:
        return self.schedule.after(self._progress(step), self.errors)

    def _progress(self, step: int) -> float:
        return step / self.steps if self.budget is None else max(step / self.steps, self.seconds / self.budget)


class Keeper(pl.Callback):
    """Validation, selection, history, checkpoints and the stop by time or patience; all of it survives a restart.

    The state (best weights, history, seconds so far) travels in the checkpoint, so it always fits the weights there.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        validate: Callable[[nn.Module], dict[str, float]] | None,
        per_epoch: int,
        folder: Path | None,
    ):
        self.settings, self.validate, self.per_epoch, self.folder = settings, validate, per_epoch, folder
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.best_error = float("inf")
        self.waited = 0
        self.seconds = self.cpu_seconds = 0.0
        self.running: list[Tensor] = []
        self.random: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": self.history,
            "best": self.best,
            "best_error": self.best_error,
            "waited": self.waited,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "running": [float(v) for v in self.running],
            "random": _random_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for k, v in state.items():
            setattr(self, k, v)
        self.running = [torch.tensor(v) for v in state["running"]]

    @property
    def spent(self) -> float:
        """Seconds by the clock of the time budget."""
        return self.cpu_seconds if self.settings.clock == "processor" else self.seconds

    def on_train_start(self, trainer: pl.Trainer, module: Steps) -> None:  # type: ignore[override]
        self._clock = self._saved = time.perf_counter()
        self._cpu = time.process_time()
        module.seconds = self.spent
        module.errors = [h["val_rel_l2"] for h in self.history if "val_rel_l2" in h]
        if self.random:  # the last thing before the first step: dropout goes on where it was
            _set_random_state(self.random)

    def on_train_batch_end(self, trainer: pl.Trainer, module: Steps, outputs, batch, index) -> None:  # type: ignore[override]
        now, cpu = time.perf_counter(), time.process_time()
        self.seconds += now - self._clock
        self.cpu_seconds += cpu - self._cpu
        self._clock, self._cpu = now, cpu
        module.seconds = self.spent
        loss = outputs["loss"].detach()
        self.running.append(loss)
        step = trainer.global_step
        last = step >= module.steps or (module.budget is not None and module.seconds >= module.budget)
        if step % (self.per_epoch * self.settings.val_every) == 0 or last:
            self._end_of_epoch(trainer, module, step)
            last = last or (self.settings.patience is not None and self.waited >= self.settings.patience)
        if last:
            trainer.should_stop = True
        elif self.folder is not None and self._due(trainer, step, now):
            self.save(trainer)

    def _end_of_epoch(self, trainer: pl.Trainer, module: Steps, step: int) -> None:
        train_loss = float(torch.stack(self.running).mean())
        self.running = []
        if not train_loss == train_loss or abs(train_loss) == float("inf"):
            raise NWidthError(
                "training",
                got=f"a loss of {train_loss} at step {step}",
                expected="a finite loss",
                fix="lower the learning rate, set training.clip=1, or look for outliers with nwidth info",
            )
        entry: dict[str, Any] = {
            "epoch": step / self.per_epoch,
            "step": step,
            "train_loss": train_loss,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
        }
        if self.validate is not None:
            entry |= self.validate(module.network)
            module.errors.append(entry["val_rel_l2"])
            if entry["val_rel_l2"] < self.best_error:
                self.best_error, self.waited = entry["val_rel_l2"], 0
                self.best = {k: v.detach().cpu().clone() for k, v in module.network.state_dict().items()}
            else:
                self.waited += 1
        # validation counts as fitting: it chooses the weights
        now, cpu = time.perf_counter(), time.process_time()
        self.seconds += now - self._clock
        self.cpu_seconds += cpu - self._cpu
        self._clock, self._cpu = now, cpu
        entry |= {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}
        self.history.append(entry)
        for logger in trainer.loggers:
            logger.log_metrics({k: v for k, v in entry.items() if k != "step"}, step=step)
        if self.folder is not None and trainer.is_global_zero:
            keys = list(entry)
            lines = [",".join(keys)] + [",".join(f"{h.get(k, '')}" for k in keys) for h in self.history]
            write_text(self.folder / "history.csv", "\n".join(lines) + "\n")

    def _due(self, trainer: pl.Trainer, step: int, now: float) -> bool:
        if trainer.world_size > 1:  # clocks differ between processes, steps do not
            return step % self.per_epoch == 0
        return now - self._saved >= self.settings.checkpoint_seconds

    def save(self, trainer: pl.Trainer) -> None:
        assert self.folder is not None
        target = self.folder / "checkpoint.ckpt"
        temporary = target.with_name(f".{target.name}.tmp")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            os.replace(temporary, target)
        self._saved = self._clock = time.perf_counter()


class Bar(pl.Callback):
    """One line: epoch, loss, validation error, elapsed and remaining time."""

    def __init__(self, keeper: Keeper, steps: int, per_epoch: int, title: str):
        self.keeper, self.steps, self.per_epoch, self.title = keeper, steps, per_epoch, title
        self.progress: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            refresh_per_second=4,
        )
        self.progress.start()
        self.bar = self.progress.add_task(self.title, total=self.steps, completed=trainer.global_step, state="")

    def on_train_batch_end(self, trainer: pl.Trainer, module, outputs, batch, index) -> None:
        if self.progress is None:
            return
        step = trainer.global_step
        if step % max(1, self.per_epoch // 10) and step < self.steps:
            return
        last = self.keeper.history[-1] if self.keeper.history else {}
        parts = [f"epoch {step / self.per_epoch:.0f}/{self.steps / self.per_epoch:.0f}"]
        shown = {"train_loss": "train", "val_rel_l2": "val"}
        parts += [f"{label} {last[k]:.4f}" for k, label in shown.items() if k in last]
        done: float = step
        if isinstance(module, Steps) and module.budget is not None:
            done = max(done, self.steps * min(1.0, module.seconds / module.budget))
        self.progress.update(self.bar, completed=done, state="  ".join(parts))

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None


def run_training(
    network: nn.Module,
    pairs: Pairs,
    task: Task | Direct,
    loss: nn.Module,
    optimizer: Callable,
    schedule: Schedule,
    settings: TrainingSettings,
    validate: Callable[[nn.Module], dict[str, float]] | None,
    *,
    seed: int,
    folder: Path | None,
    title: str,
    stream: type[StepBatches] = StepBatches,
) -> Keeper:
    """Train ``network`` in place and leave the weights with the least validation error in it.

    A checkpoint in ``folder`` is continued: the result is that of an uninterrupted run with the same seed.
    """
    batches = stream(len(pairs), settings.batch_size, 1, seed, images=len(pairs.images))
    batches.steps = steps = settings.steps or settings.epochs * batches.per_epoch
    collate: Any = whole
    loader: DataLoader = DataLoader(
        pairs,
        batch_sampler=batches,
        num_workers=settings.workers,
        collate_fn=collate,
        persistent_workers=settings.workers > 0,
    )
    coarsening = Coarsening(settings.coarsening, settings.coarsening_order, seed)
    module = Steps(network, task, loss, optimizer, schedule, coarsening, steps, settings.time_budget)
    keeper = Keeper(settings, validate, batches.per_epoch, folder)
    growth = None
    if settings.grow_modes is not None:
        growth = ModeGrowth(network, settings.grow_modes, settings.grow_explained, batches.per_epoch)
    callbacks: list[pl.Callback] = (
        [keeper] if growth is None else [growth, keeper]
    )  # the keeper's checkpoint comes last
    if settings.progress and sys.stderr.isatty():
        callbacks.append(Bar(keeper, steps, batches.per_epoch, title))
    checkpoint = folder / "checkpoint.ckpt" if folder is not None else None
    resume = None
    if checkpoint is not None and checkpoint.is_file():
        batches.start = int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"])
        resume = str(checkpoint)
    logger: TensorBoardLogger | bool = False
    if settings.tensorboard and folder is not None:
        logger = TensorBoardLogger(str(folder), name="", version="tensorboard", purge_step=batches.start or None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore")
        trainer = pl.Trainer(
            accelerator={"cuda": "gpu"}.get(settings.device, settings.device),
            devices=settings.devices,
            precision={"32": "32-true", "64": "64-true"}.get(str(settings.precision), settings.precision),  # type: ignore[arg-type]
            max_epochs=1,
            max_steps=steps,
            gradient_clip_val=settings.clip,
            callbacks=callbacks,
            logger=logger,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            barebones=False,
            use_distributed_sampler=False,
            limit_val_batches=0,
            log_every_n_steps=max(steps, 1),
            num_sanity_val_steps=0,
            default_root_dir=str(folder) if folder else None,
        )
        trainer.fit(module, loader, ckpt_path=resume, weights_only=True)
    if growth is not None:
        growth.release()
    if keeper.best:
        network.load_state_dict(keeper.best)
    if checkpoint is not None and trainer.is_global_zero:
        checkpoint.unlink(missing_ok=True)
    return keeper


def _random_state() -> dict[str, Tensor]:
    cuda = {f"cuda{i}": torch.cuda.get_rng_state(i) for i in range(torch.cuda.device_count())}
    return {"cpu": torch.get_rng_state(), **cuda}


def _set_random_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    for i in range(torch.cuda.device_count()):
        if f"cuda{i}" in state:
            torch.cuda.set_rng_state(state[f"cuda{i}"].cpu(), i)
