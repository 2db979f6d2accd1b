"""Surrogates that evolve a state from u0: what they share, and the one that leaves it where it is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...backends import Grid, Mesh, grid_from_dict
from ...backends.resample import resample
from ...data import Dataset, FitLog, Prediction, Surrogate
from ...data.resampling import at_times
from ...errors import NWidthError
from .encoding import tensor
from .fields import channel_scale, norms
from .pod import POD

RANKS = (2, 4, 8, 16, 32)


class StateSurrogate(Surrogate):
    """u(t) ~ m + sum_k c_k(t) V_k: POD of the states of all trajectories, and a model that evolves c from u0.

    States, the initial ones among them, are scaled to unit root mean square a channel; V is orthonormal in the grid's
    inner product. ``_candidates`` yields models (dicts of tensors and plain values) for one rank; ``_roll`` evolves
    with one of them. Each is rolled out over the validation trajectories (the training ones where there are none)
    from their u0, and the one with the smallest mean relative error over all times is kept. ``ranks`` are tried as
    far as the states have them. Predictions are for any times after t0, also beyond those of the training.
    """

    needs = ("u0",)
    uses_seed: bool = False
    center: ClassVar[bool] = True
    reads_mu: ClassVar[bool] = True

    def __init__(self, ranks: list[int] | None):
        self.ranks = sorted(set(ranks or RANKS))
        self.grid: Grid | Mesh | None = None
        self.scale: Tensor | None = None
        self.pod: POD | None = None
        self.mu_shift: Tensor | None = None
        self.mu_scale: Tensor | None = None
        self.model: dict[str, Any] | None = None

    @abstractmethod
    def _candidates(
        self, c: Tensor, t: Tensor, mu: Tensor | None, rank: int, log: FitLog, seed: int
    ) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Pairs (what was chosen, model) of one rank, from trajectories c (N, T + 1, R) at times t (T + 1,)."""

    @abstractmethod
    def _roll(self, model: Mapping[str, Any], start: Tensor, t0: float, times: Tensor, mu: Tensor | None) -> Tensor:
        """Coefficients (N, T, r) at ``times`` from ``start`` (N, R) at ``t0``; r at most R."""

    def _space_rank(self) -> int:
        """How many POD modes the models may use."""
        return self.ranks[-1]

    def fit(self, train: Dataset, val: Dataset | None, *, seed: int = 0, folder: Path | None = None) -> FitLog:
        name = type(self).__name__
        self.check(train)
        require_trajectories(name, train)
        log = FitLog()
        note_unread(log, train, self.reads_mu)
        train = train.load()
        known = train if val is None else val.load()
        self.grid = train.grid
        states, t = trajectories(train)
        self.scale = channel_scale(states, 2)
        self.pod = POD(center=self.center).fit(
            (states / self.scale).flatten(0, 1), train.grid.norm_weights(), cap=self._space_rank()
        )
        self._learn_parameters(train)
        c, mu = self._encode(states), self._parameters(train)
        error = self._rollout_error(known)
        start, known_mu = self._encode(tensor(known.u0)[:, None])[:, 0], self._parameters(known)  # type: ignore[arg-type]
        best = float("inf")
        ranks = [r for r in self.ranks if r <= self.pod.rank] or [self.pod.rank]
        for rank in ranks:
            for record, model in self._candidates(c, t, mu, rank, log, seed):
                rolled = self._roll(model, start, known.t0, known.t, known_mu)  # type: ignore[arg-type]
                found = error(rolled)
                log.history.append({"rank": rank, **record, "train_rel_l2" if val is None else "val_rel_l2": found})
                if found < best:
                    best, self.model = found, model
                    log.rank, log.selected = rank, {"rank": rank, **record}
        if self.model is None:
            raise NWidthError(
                f"{name}.fit",
                got=f"{len(log.history)} models, none with a finite rollout",
                expected="a stable one",
                fix="lower ranks, or raise the regularisation",
            )
        self._report(log, train, known, states, best)
        return log

    def _report(self, log: FitLog, train: Dataset, known: Dataset, states: Tensor, error: float) -> None:
        assert self.pod is not None and self.model is not None and self.scale is not None and log.rank is not None
        log.parameters = sum(v.numel() for v in _tensors(self.model))
        log.selected |= {"rank_of": "states", "rollout_rel_l2": error}
        for name, data in (("train_floor", states), ("val_floor", trajectories(known)[0])):
            x = (data / self.scale).flatten(0, 1)
            c = self.pod.encode(x)
            c[:, log.rank :] = 0
            left = norms(x - self.pod.decode(c), self.pod.weight)  # type: ignore[arg-type]
            log.selected[name] = float(left.norm() / norms(x, self.pod.weight).norm())  # type: ignore[arg-type]
        floor = log.selected["train_floor"]
        log.notes.append(f"{log.rank} POD modes of states leave {floor:.1e} of the training states")

    def _rollout_error(self, data: Dataset):
        """The mean over trajectories of |u' - u| / |u| over all times as a function of coefficients, no decoding."""
        assert self.pod is not None and self.scale is not None
        u = tensor(data.solution)
        truth = self._encode(u)
        x = (u / self.scale).flatten(0, 1)
        shape = u.shape[:2]
        outside = self.pod.residual(x).square().reshape(shape)
        norm = norms(x, self.pod.weight).square().reshape(shape).sum(1).clamp_min(1e-300)  # type: ignore[arg-type]

        def error(c: Tensor) -> float:
            r = c.shape[-1]
            left = (c - truth[..., :r]).abs().square().sum(-1) + truth[..., r:].abs().square().sum(-1) + outside
            value = float((left.sum(1) / norm).sqrt().mean())
            return value if value < float("inf") else float("inf")  # also where it is not a number

        return error

    def _learn_parameters(self, data: Dataset) -> None:
        self.mu_shift = self.mu_scale = None
        if data.mu is None or not self.reads_mu:
            return
        mu = tensor(data.mu)
        self.mu_shift, spread = mu.mean(0), mu.std(0)
        varies = spread > 1e-12 * (1 + self.mu_shift.abs())
        if bool(varies.any()):
            self.mu_scale = torch.where(varies, spread, torch.full_like(spread, float("inf")))
        else:
            self.mu_shift = None

    def _parameters(self, data: Dataset) -> Tensor | None:
        """Standardised parameters (N, p); zero for one that did not vary in training; None without parameters."""
        if self.mu_shift is None or self.mu_scale is None:
            return None
        if data.mu is None:
            raise NWidthError(f"{type(self).__name__}.predict", got="inputs without mu", expected="mu, as in training")
        return (tensor(data.mu) - self.mu_shift) / self.mu_scale

    def _encode(self, states: Tensor) -> Tensor:
        """Coefficients (N, T, R) of states (N, T, C, *space)."""
        assert self.pod is not None
        return self.pod.encode((states / self.scale).flatten(0, 1)).reshape(*states.shape[:2], -1)  # type: ignore[operator]

    def predict(self, inputs: Dataset) -> Prediction:
        model, pod = self.fitted(self.model), self.fitted(self.pod)
        assert self.grid is not None and self.scale is not None and pod.basis is not None
        name = type(self).__name__
        first, times = state_and_times(name, inputs)
        start = self._encode(resample(first, inputs.grid, self.grid)[:, None])[:, 0]
        c = self._roll(model, start, inputs.t0, times, self._parameters(inputs))
        if not bool(torch.isfinite(c.abs()).all()):
            raise NWidthError(
                f"{name}.predict",
                got="a solution that ceased to be finite",
                expected="a stable model",
                fix="lower ranks, or raise the regularisation",
            )
        basis = pod.basis[: c.shape[-1]]
        field = (torch.tensordot(c.to(basis.dtype), basis, dims=1) + pod.mean) * self.scale
        return Prediction(resample(field, self.grid, inputs.grid))

    def state_dict(self) -> dict[str, Any]:
        model, pod = self.fitted(self.model), self.fitted(self.pod)
        assert self.grid is not None
        return {
            "grid": self.grid.to_dict(),
            "scale": self.scale,
            "pod": pod.state_dict(),
            "mu_shift": self.mu_shift,
            "mu_scale": self.mu_scale,
            "model": model,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.grid, self.scale = grid_from_dict(state["grid"]), state["scale"]
        self.pod = POD().load_state_dict(state["pod"])
        self.mu_shift, self.mu_scale = state["mu_shift"], state["mu_scale"]
        self.model = dict(state["model"])


class Persistence(Surrogate):
    """u(t) = u0: what every method that evolves a state has to beat. It reads nothing else."""

    needs = ("u0",)
    uses_seed = False

    def __init__(self):
        self.channels: int | None = None

    def fit(self, train: Dataset, val: Dataset | None, *, seed: int = 0, folder: Path | None = None) -> FitLog:
        self.check(train)
        require_trajectories("Persistence", train)
        self.channels = train.solution.shape[2]
        log = FitLog()
        note_unread(log, train, False)
        return log

    def predict(self, inputs: Dataset) -> Prediction:
        self.fitted(self.channels)
        first, times = state_and_times("Persistence", inputs)
        return Prediction(first[:, None].expand(-1, len(times), *first.shape[1:]))

    def state_dict(self) -> dict[str, Any]:
        return {"channels": self.fitted(self.channels)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.channels = int(state["channels"])


def require_trajectories(name: str, data: Dataset) -> None:
    """Times, and an initial state of the solution's channels."""
    if not data.time_dependent:
        raise NWidthError(f"{name}.fit", got="a steady problem", expected="states at times t", fix="use pod_gp, say")
    u, u0 = data.solution, data.u0
    assert u0 is not None
    if u.shape[2] != u0.shape[1]:
        raise NWidthError(
            f"{name}.fit", got=f"u0 of {u0.shape[1]} channels and u of {u.shape[2]}", expected="u0 a state of u"
        )


def note_unread(log: FitLog, data: Dataset, reads_mu: bool) -> None:
    """Say which inputs that the data have are not read."""
    unread = [k for k in ("a", "mu") if getattr(data, k) is not None and not (k == "mu" and reads_mu)]
    if unread:
        log.notes.append(f"one model for all samples: {' and '.join(unread)} not read")


def state_and_times(name: str, inputs: Dataset) -> tuple[Tensor, Tensor]:
    """u0 and the times asked for, all after t0."""
    if inputs.u0 is None or inputs.t is None:
        raise NWidthError(f"{name}.predict", got=f"inputs {list(inputs.reads)}", expected="u0 and times t")
    if float(inputs.t[0]) <= inputs.t0:
        raise NWidthError(f"{name}.predict", got=f"times from {float(inputs.t[0]):g}", expected=f"> t0={inputs.t0:g}")
    return tensor(inputs.u0), inputs.t.double()


def trajectories(data: Dataset) -> tuple[Tensor, Tensor]:
    """States (N, T + 1, C, *space) with the initial ones first, and their times."""
    assert data.u0 is not None and data.t is not None
    states = torch.cat([tensor(data.u0)[:, None], tensor(data.solution)], 1)
    return states, torch.cat([torch.tensor([data.t0], dtype=torch.float64), data.t.double()])


def equal_step(t: Tensor) -> float | None:
    """The step of equally spaced times, or None."""
    gaps = t.diff()
    step = float(gaps.mean())
    return step if float((gaps - step).abs().max()) <= 1e-5 * step else None


def step_through(start: Tensor, t0: float, times: Tensor, step: float, advance) -> Tensor:
    """States at ``times`` of x_{k+1} = advance(x_k); between the steps by cubic interpolation in time."""
    count = max(1, int(-(-(float(times[-1]) - t0) * (1 - 1e-9) // step)))
    states = [start]
    for _ in range(count):
        states.append(advance(states[-1]))
    known = t0 + step * torch.arange(count + 1, dtype=torch.float64)
    return at_times(torch.stack(states, 1), known, times.clamp_max(float(known[-1])))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for v in value.values():
            yield from _tensors(v)
    elif isinstance(value, list):
        for v in value:
            yield from _tensors(v)
