"""How a data set becomes pairs of channel tensors for a network, and the network's output a solution again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..backends import Axis, Grid, Mesh, grid_from_dict
from ..data import Dataset
from ..data.arrays import Array, loaded
from ..data.normalize import Normalizer
from ..data.resampling import at_times
from ..data.windows import Windows
from ..errors import NWidthError
from .coarsening import restrict

Network = Callable[[Tensor], Tensor]
TIMES = ("auto", "channels", "axis", "rollout")


class Task(ABC):
    """Input fields, initial state and parameters (as constant channels), normalised, are the network's input.

    ``items`` training pairs are drawn from a data set; ``pair`` gives some of them as (x, y), y in the solution's
    units; ``decode`` turns the network's output into those units; ``predict`` answers a data set of inputs.
    Normalisation is fitted on the training samples only.
    """

    kind: ClassVar[str]

    def __init__(
        self, normalize_input: str = "channel", normalize_output: str = "channel", dtype: torch.dtype = torch.float32
    ):
        self.dtype = dtype
        self.normalizers = {k: Normalizer(normalize_input) for k in ("a", "u0")}
        self.normalizers["u"] = Normalizer(normalize_output)
        self.mu_shift: Tensor | None = None
        self.mu_scale: Tensor | None = None
        self.reads: tuple[str, ...] = ()
        self.channels: dict[str, int] = {}
        self.data_grid: Grid | Mesh | None = None
        self.t: Tensor | None = None
        self.t0 = 0.0
        self.problem: Mapping[str, Any] | None = None

    def fit(self, train: Dataset) -> Task:
        self.reads, self.data_grid, self.t, self.t0 = train.reads, train.grid, train.t, train.t0
        self.problem = train.problem
        if not isinstance(train.grid, Grid):
            raise NWidthError(
                "NeuralSurrogate.fit",
                got=train.grid.describe(),
                expected="data on a grid",
                fix="interpolate to a grid, or use pod_gp, pod_rbf or kernel, which take meshes",
            )
        u = train.solution
        if u.dtype.is_complex:
            raise NWidthError(
                "NeuralSurrogate.fit",
                got="a complex solution",
                expected="real fields",
                fix="set data.complex=channels: real and imaginary parts as channels",
            )
        self.channels = {"u": u.shape[2] if train.time_dependent else u.shape[1]}
        for k in ("a", "u0"):
            if (v := getattr(train, k)) is not None:
                self.channels[k] = v.shape[1]
                self.normalizers[k].fit(v)
        if train.mu is not None:
            self.channels["mu"] = train.mu.shape[1]
            mu = train.mu.double()
            spread = mu.std(0)
            self.mu_shift = mu.mean(0)
            self.mu_scale = torch.where(spread > 1e-12 * (1 + self.mu_shift.abs()), spread, torch.ones_like(spread))
        self._fit_output(u)
        return self

    def _fit_output(self, u: Array) -> None:
        self.normalizers["u"].fit(u)

    @property
    def in_channels(self) -> int:
        return sum(self.channels[k] for k in self.reads)

    @property
    @abstractmethod
    def out_channels(self) -> int: ...

    @property
    def grid(self) -> Grid:
        """The grid that the network works on, from the training data."""
        assert isinstance(self.data_grid, Grid)
        return self.data_grid

    def loss_grid(self, shape: tuple[int, ...]) -> Grid:
        """The same domain at the resolution of a target tensor."""
        return self.grid if self.grid.shape == shape else self.grid.with_shape(shape)

    def items(self, data: Dataset) -> int:
        return len(data)

    @abstractmethod
    def pair(self, data: Dataset, items: Tensor) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def predict(self, network: Network, inputs: Dataset) -> Tensor: ...

    def decode(self, out: Tensor, x: Tensor) -> Tensor:
        return self.normalizers["u"].inverse(out)

    def answers(self, network: Network, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(x, p, y) of each prediction p that a training pair compares with a target y: one, but for rollouts."""
        yield x, self.decode(network(x).to(y.dtype), x), y

    def restrict(self, v: Tensor, factor: int) -> Tensor:
        """A field of a training pair on a grid with ``factor`` times as few intervals: every factor-th point, means of
        cells."""
        return restrict(v, self.data_grid, factor)  # type: ignore[arg-type]

    def predicted(self, x: Tensor, p: Tensor) -> Dataset:
        """The prediction p for the network's input x as a data set with its inputs, in the data's own units."""
        return replace(self._question(x), u=p)

    def _question(self, x: Tensor) -> Dataset:
        """The inverse of ``encode``: inputs on a grid of the domain, from normalised channels."""
        fields: dict[str, Any] = {}
        at = 0
        for k in self.reads:
            value = x[:, at : at + self.channels[k]]
            at += self.channels[k]
            if k == "mu":
                assert self.mu_shift is not None and self.mu_scale is not None
                fields[k] = value.flatten(2)[..., 0] * self.mu_scale.to(value) + self.mu_shift.to(value)
            else:
                fields[k] = self.normalizers["u" if k == "u0" and self._shares_state else k].inverse(value)
        shape = tuple(x.shape[2:])
        assert isinstance(self.data_grid, Grid)
        grid = self.data_grid if self.data_grid.shape == shape else self.data_grid.with_shape(shape)
        return Dataset(grid, problem=self.problem, **fields)

    def encode(self, data: Dataset, state: Tensor | None = None) -> Tensor:
        """(N, in_channels, *space); ``state`` takes the place of u0."""
        parts, dtype, space = [], self.dtype, data.grid.shape
        for k in self.reads:
            value = state if k == "u0" and state is not None else getattr(data, k)
            if value is None:
                raise NWidthError(
                    "predict",
                    got=f"inputs without {k!r}",
                    expected=", ".join(self.reads),
                    fix="name its key in data.fields",
                )
            value = loaded(value)
            if value.shape[1] != self.channels[k]:
                raise NWidthError(
                    "predict", got=f"{value.shape[1]} channels in {k}", expected=f"{self.channels[k]}, as in training"
                )
            if k == "mu":
                assert self.mu_shift is not None and self.mu_scale is not None
                value = (value.double() - self.mu_shift.to(value.device)) / self.mu_scale.to(value.device)
                value = value.reshape(*value.shape, *(1,) * len(space)).expand(*value.shape, *space)
            else:
                value = self.normalizers["u" if k == "u0" and self._shares_state else k](value.to(dtype))
            parts.append(value.to(dtype))
        return torch.cat(parts, 1)

    def _cast(self, value: Array) -> Tensor:
        return loaded(value).to(self.dtype)

    @property
    def _shares_state(self) -> bool:
        return False

    def take_scales(self, other: Task) -> None:
        """Use the normalisation of another task with the same channels."""
        self.normalizers, self.mu_shift, self.mu_scale = other.normalizers, other.mu_shift, other.mu_scale

    def state_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "normalizers": {k: v.state_dict() for k, v in self.normalizers.items()},
            "mu_shift": self.mu_shift,
            "mu_scale": self.mu_scale,
            "reads": list(self.reads),
            "channels": dict(self.channels),
            "grid": self.data_grid.to_dict() if self.data_grid else None,
            "t": self.t,
            "t0": self.t0,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> Task:
        for k, v in state["normalizers"].items():
            self.normalizers[k] = Normalizer().load_state_dict(v)
        self.mu_shift, self.mu_scale, self.reads = state["mu_shift"], state["mu_scale"], tuple(state["reads"])
        self.channels, self.t, self.t0 = dict(state["channels"]), state["t"], float(state["t0"])
        self.data_grid = grid_from_dict(state["grid"])
        return self


class Direct:
    """What a training step needs of a task, where outputs and targets are compared as they come and are no fields."""

    def decode(self, out: Tensor, x: Tensor) -> Tensor:
        return out

    def answers(self, network: Network, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        yield x, self.decode(network(x), x), y

    def restrict(self, v: Tensor, factor: int) -> Tensor:
        return v

    def predicted(self, x: Tensor, p: Tensor) -> None:
        return None

    def loss_grid(self, shape: tuple[int, ...]) -> None:
        return None


class Steady(Task):
    """(a, u0, mu) -> u for problems without time."""

    kind = "steady"

    @property
    def out_channels(self) -> int:
        return self.channels["u"]

    def pair(self, data: Dataset, items: Tensor) -> tuple[Tensor, Tensor]:
        some = data[items].load()
        return self.encode(some), self._cast(some.solution)

    def predict(self, network: Network, inputs: Dataset) -> Tensor:
        x = self.encode(inputs)
        return self.decode(network(x), x)


class TimeChannels(Task):
    """All times at once, stacked as channels: (a, u0, mu) -> (T C) channels. Cheapest; other times by interpolation."""

    kind = "channels"

    def _fit_output(self, u: Array) -> None:
        self.normalizers["u"].fit(_Stacked(u))  # type: ignore[arg-type]

    @property
    def out_channels(self) -> int:
        assert self.t is not None
        return self.channels["u"] * len(self.t)

    def pair(self, data: Dataset, items: Tensor) -> tuple[Tensor, Tensor]:
        some = data[items].load()
        return self.encode(some), self._cast(some.solution).flatten(1, 2)

    def predicted(self, x: Tensor, p: Tensor) -> Dataset:
        return replace(self._question(x), u=p.unflatten(1, (-1, self.channels["u"])), t=self.t, t0=self.t0)

    def predict(self, network: Network, inputs: Dataset) -> Tensor:
        x = self.encode(inputs)
        u = self.decode(network(x), x)
        return at_times(u.unflatten(1, (-1, self.channels["u"])), self.t, inputs.t)


class TimeAxis(Task):
    """Time as one more axis of the network's grid: (a, u0, mu) repeated in time -> u(t, x)."""

    kind = "axis"

    def _fit_output(self, u: Array) -> None:
        self.normalizers["u"].fit(u, timed=True)

    @property
    def out_channels(self) -> int:
        return self.channels["u"]

    @property
    def grid(self) -> Grid:
        assert isinstance(self.data_grid, Grid) and self.t is not None
        return Grid((Axis.from_coordinates(self.t, "t"), *self.data_grid.axes))

    def pair(self, data: Dataset, items: Tensor) -> tuple[Tensor, Tensor]:
        some = data[items].load()
        return self._repeat(self.encode(some)), self._cast(some.solution).transpose(1, 2)

    def _repeat(self, x: Tensor) -> Tensor:
        assert self.t is not None
        return x.unsqueeze(2).expand(*x.shape[:2], len(self.t), *x.shape[2:])

    def decode(self, out: Tensor, x: Tensor) -> Tensor:
        n = self.normalizers["u"]
        return n.inverse(out.transpose(1, 2)).transpose(1, 2)

    def predicted(self, x: Tensor, p: Tensor) -> Dataset:
        return replace(self._question(x[:, :, 0]), u=p.transpose(1, 2), t=self.t, t0=self.t0)

    def predict(self, network: Network, inputs: Dataset) -> Tensor:
        x = self._repeat(self.encode(inputs))
        return at_times(self.decode(network(x), x).transpose(1, 2), self.t, inputs.t)


class Rollout(Task):
    """Autoregressive: (u(t), a, mu) -> u(t + dt), one network for every step; prediction starts from u0.

    The network learns the increment, scaled by that of the training data. Times must be equally spaced; prediction
    goes as far as asked, in steps of the training's dt.

    ``unroll`` k: a training pair is k successive steps from a state of the data, each but the first from the network's
    own answer. ``pushforward``: only the last one counts, and no gradient passes through the others (Brandstetter et
    al. 2022, arXiv:2202.03376, section 3.1).
    """

    kind = "rollout"
    unroll, pushforward = 1, False

    def fit(self, train: Dataset) -> Task:
        if train.t is not None and self.unroll > len(train.t):
            raise NWidthError(
                "training.unroll", got=f"{self.unroll}", expected=f"1 to {len(train.t)}, the steps of a trajectory"
            )
        if train.u0 is None or train.t is None:
            raise NWidthError(
                "training.time=rollout",
                got="data without an initial state u0 or times",
                expected="a time-dependent problem with u0",
                fix="use training.time=channels",
            )
        if train.u0.shape[1] != train.solution.shape[2]:
            raise NWidthError(
                "training.time=rollout",
                got=f"{train.u0.shape[1]} channels in u0",
                expected=f"{train.solution.shape[2]}, as the solution has",
            )
        gaps = torch.cat([torch.tensor([train.t0], dtype=torch.float64), train.t.double()]).diff()
        if float((gaps - gaps[0]).abs().max()) > 1e-3 * float(gaps[0]):
            raise NWidthError(
                "training.time=rollout",
                got="times that are not equally spaced from t0",
                expected="equal steps",
                fix="thin the data (data.stride), or use training.time=channels",
            )
        return super().fit(train)

    def _fit_output(self, u: Array) -> None:
        self.normalizers["u"].fit(u, timed=True)
        increments = _Increments(u)
        self.normalizers["step"] = Normalizer(self.normalizers["u"].mode).fit(increments, timed=True)  # type: ignore[arg-type]

    @property
    def _shares_state(self) -> bool:
        return True

    @property
    def dt(self) -> float:
        assert self.t is not None
        return float(self.t[-1] - self.t0) / len(self.t)

    @property
    def out_channels(self) -> int:
        return self.channels["u"]

    def items(self, data: Dataset) -> int:
        return len(data) * (len(data.t) - self.unroll + 1)  # type: ignore[arg-type]

    def pair(self, data: Dataset, items: Tensor) -> tuple[Tensor, Tensor]:
        read = Windows(data, horizon=self.unroll).batch(items)
        now, then = read["past"][:, 0], read["future"]
        some = replace(data, u=None, u0=now, a=read.get("a"), mu=read.get("mu"), t=None, splits={})
        return self.encode(some), self._cast(then if self.unroll > 1 else then[:, 0])

    def answers(self, network: Network, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Each of ``unroll`` steps, or with ``pushforward`` the last one, from a state that counts as data."""
        if self.unroll == 1:
            yield from super().answers(network, x, y)
            return
        for k, target in enumerate(y.unbind(1)):
            early = self.pushforward and k < self.unroll - 1
            with torch.set_grad_enabled(torch.is_grad_enabled() and not early):
                p = self.decode(network(x).to(y.dtype), x)
            if not early:
                yield x, p, target
            at = self._state(x)
            x = torch.cat([x[:, : at.start], self.normalizers["u"](p).to(x.dtype), x[:, at.stop :]], 1)

    @contextmanager
    def single_steps(self) -> Iterator[None]:
        """Within it, training pairs are single steps."""
        unroll, self.unroll = self.unroll, 1
        try:
            yield
        finally:
            self.unroll = unroll

    def _state(self, x: Tensor) -> slice:
        """Where the state lies among the channels of x."""
        at = sum(self.channels[k] for k in self.reads[: self.reads.index("u0")])
        return slice(at, at + self.channels["u"])

    def decode(self, out: Tensor, x: Tensor) -> Tensor:
        return self.normalizers["u"].inverse(x[:, self._state(x)]) + self.normalizers["step"].inverse(out)

    def predicted(self, x: Tensor, p: Tensor) -> Dataset:
        return replace(self._question(x), u=p[:, None], t=torch.tensor([self.dt], dtype=torch.float64))

    def predict(self, network: Network, inputs: Dataset) -> Tensor:
        assert inputs.t is not None
        count = max(1, round(float(inputs.t[-1] - inputs.t0) / self.dt + 0.499))
        state, found = self._cast(inputs.u0), []  # type: ignore[arg-type]
        for _ in range(count):
            x = self.encode(inputs, state)
            state = self.decode(network(x), x)
            found.append(state)
        times = inputs.t0 + self.dt * torch.arange(1, count + 1, dtype=torch.float64)
        states, t = torch.stack(found, 1), times
        if float(inputs.t[0]) < float(times[0]) * (1 - 1e-9):  # a time before the first step: interpolate from u0
            states = torch.cat([self._cast(inputs.u0)[:, None].to(states), states], 1)  # type: ignore[arg-type]
            t = torch.cat([torch.tensor([inputs.t0], dtype=torch.float64), times])
        return at_times(states, t, inputs.t)


def make_task(
    data: Dataset,
    time: str,
    normalize_input: str,
    normalize_output: str,
    dtype: torch.dtype,
    unroll: int = 1,
    pushforward: bool = False,
) -> Task:
    """``time``: auto (channels up to 64 output channels, rollout beyond), channels, axis or rollout; steady data
    need none. ``unroll`` and ``pushforward``: see ``Rollout``, which alone takes more than one step."""
    if time not in TIMES:
        raise NWidthError("training.time", got=repr(time), expected="one of " + ", ".join(TIMES))
    kinds = {k.kind: k for k in (Steady, TimeChannels, TimeAxis, Rollout)}
    kind = "steady"
    if data.time_dependent:
        kind = time
        if time == "auto":
            u = data.solution
            kind = "channels" if u.shape[1] * u.shape[2] <= 64 or data.u0 is None else "rollout"
    task = kinds[kind](normalize_input, normalize_output, dtype)
    if isinstance(task, Rollout):
        task.unroll, task.pushforward = unroll, pushforward
    elif unroll > 1:
        raise NWidthError(
            "training.unroll",
            got=f"{unroll} with training.time={kind}",
            expected="training.time=rollout",
            fix="set training.time=rollout, or training.unroll=1",
        )
    return task


def load_task(state: Mapping[str, Any], dtype: torch.dtype) -> Task:
    kinds = {k.kind: k for k in (Steady, TimeChannels, TimeAxis, Rollout)}
    return kinds[state["kind"]](dtype=dtype).load_state_dict(state)


class _Stacked:
    """Times and channels of u as one axis, read in blocks."""

    def __init__(self, u: Array):
        self.u, self.shape = u, (u.shape[0], u.shape[1] * u.shape[2], *u.shape[3:])

    def __len__(self) -> int:
        return len(self.u)

    def __getitem__(self, where: slice) -> Tensor:
        return self.u[where].flatten(1, 2)


class _Increments:
    """u(t_k+1) - u(t_k), read in blocks."""

    def __init__(self, u: Array):
        self.u, self.shape = u, (u.shape[0], max(u.shape[1] - 1, 1), *u.shape[2:])

    def __len__(self) -> int:
        return len(self.u)

    def __getitem__(self, where: slice) -> Tensor:
        u = self.u[where]
        return u.diff(dim=1) if u.shape[1] > 1 else u
