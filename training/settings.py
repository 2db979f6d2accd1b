"""How a network is trained, apart from what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import NWidthError


@dataclass(frozen=True)
class TrainingSettings:
    """Length of the training (``epochs``, or ``steps``; ``time_budget`` in seconds stops it earlier and paces the
    schedule), batches, selection, and the machine. ``clock`` says which seconds: those of the wall, or the processor
    time of this process, which is fair to trainings that share a machine with other work; on a GPU take wall.

    Every ``val_every`` epochs the validation error decides which weights are kept; after ``patience`` validations
    without improvement training stops (null: never). ``time`` says how time-dependent data are learned (see
    ``nwidth.training.tasks``). ``checkpoint_seconds`` is the time between checkpoints from which a killed run goes on.

    ``symmetries``: maps of the grid onto itself that take solutions to solutions (``nwidth.data.symmetry``). Each
    training item is then that of a random product of them. ``none``, a list of their names, or ``auto``: those that
    lower the validation error of a kernel regression (``augmentation.confirmed``). ``average_symmetries`` also
    averages predictions over them: a smaller error for as many evaluations.

    ``equation_symmetries``: the same for those that the problem of the data declares (``Problem.symmetries``: shifts,
    reflections with a sign, Galilean and scaling maps): none, auto (all of them) or their names. Training items are
    then drawn from the data and ``equation_copies`` copies of them, each sample moved by a random element.

    ``init_from``: the folder of a finished run of the same network, whose weights and normalisation the training
    starts from. ``unroll``, ``pushforward``: rollouts learn from so many steps at once (``rollout.Rollout``).
    ``coarsening``: factors by which the grid is thinned (``coarsening.restrict``), such as [4, 2, 1]: the training
    spends equal shares of its steps on each in turn (``coarsening_order`` staged), or draws one a step (mixed); the
    last, or one of them, should be 1. ``grow_modes``: spectral layers begin with so many modes an axis, and get two
    more whenever the last two hold more than 1 - ``grow_explained`` of the weights' energy (``growth.ModeGrowth``).
    """

    epochs: int = 50
    steps: int | None = None
    time_budget: float | None = None
    clock: str = "wall"
    batch_size: int = 20
    val_every: int = 1
    patience: int | None = None
    time: str = "auto"
    normalize_input: str = "channel"
    normalize_output: str = "channel"
    clip: float | None = None
    precision: str = "32"
    device: str = "auto"
    devices: int = 1
    compile: bool = False
    workers: int = 0
    checkpoint_seconds: float = 30.0
    progress: bool = True
    tensorboard: bool = True
    memory_gib: float = 2.0
    symmetries: str | Sequence[str] = "none"
    average_symmetries: bool = False
    equation_symmetries: str | Sequence[str] = "none"
    equation_copies: int = 4
    init_from: str | None = None
    unroll: int = 1
    pushforward: bool = False
    coarsening: Sequence[int] = (1,)
    coarsening_order: str = "staged"
    grow_modes: int | None = None
    grow_explained: float = 0.99

    def __post_init__(self):
        positive = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "val_every": self.val_every,
            "devices": self.devices,
            "checkpoint_seconds": self.checkpoint_seconds,
            "unroll": self.unroll,
            "equation_copies": self.equation_copies,
        }
        for name, value in positive.items():
            if value <= 0:
                raise NWidthError(f"training.{name}", got=f"{value}", expected="a positive number")
        for name, limit in {
            "steps": self.steps,
            "time_budget": self.time_budget,
            "patience": self.patience,
            "clip": self.clip,
            "grow_modes": self.grow_modes,
        }.items():
            if limit is not None and limit <= 0:
                raise NWidthError(f"training.{name}", got=f"{limit}", expected="a positive number or null")
        known = ("32", "64", "bf16-mixed", "16-mixed")
        if str(self.precision) not in known:
            raise NWidthError("training.precision", got=f"{self.precision}", expected="one of " + ", ".join(known))
        if self.device not in ("auto", "cpu", "gpu", "cuda", "mps"):
            raise NWidthError("training.device", got=repr(self.device), expected="auto, cpu, gpu, cuda or mps")
        if self.clock not in ("wall", "processor"):
            raise NWidthError("training.clock", got=repr(self.clock), expected="wall or processor")
        if self.coarsening_order not in ("staged", "mixed"):
            raise NWidthError("training.coarsening_order", got=repr(self.coarsening_order), expected="staged or mixed")
        factors = list(self.coarsening) if isinstance(self.coarsening, Sequence) else []
        if not factors or not all(isinstance(f, int) and f >= 1 for f in factors):
            raise NWidthError("training.coarsening", got=f"{self.coarsening}", expected="a list of factors from 1")
        if not 0 < self.grow_explained < 1:
            raise NWidthError("training.grow_explained", got=f"{self.grow_explained}", expected="between 0 and 1")
        if self.pushforward and self.unroll == 1:
            raise NWidthError(
                "training.pushforward", got="true with unroll=1", expected="several steps", fix="set training.unroll=2"
            )
        if self.grow_modes is not None and self.init_from is not None:
            raise NWidthError(
                "training.grow_modes", got="a start from init_from", expected="one of them", fix="leave one out"
            )
