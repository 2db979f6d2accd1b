"""How a data set becomes pairs of channel tensors for a network, and the network's output a solution again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..backends import Grid, Mesh, grid_from_dict
from ..data import Dataset
from ..data.arrays import Array, loaded
from ..data.normalize import Normalizer
from ..errors import NWidthError
from .coarsening import restrict

Network = Callable[[Tensor], Tensor]


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
