"""All times of a trajectory from one evaluation of a network: as channels, or as one more axis of its grid."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..backends import Axis, Grid
from ..data import Dataset
from ..data.arrays import Array
from ..data.resampling import at_times
from .task import Network, Task


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


class _Stacked:
    """Times and channels of u as one axis, read in blocks."""

    def __init__(self, u: Array):
        self.u, self.shape = u, (u.shape[0], u.shape[1] * u.shape[2], *u.shape[3:])

    def __len__(self) -> int:
        return len(self.u)

    def __getitem__(self, where: slice) -> Tensor:
        return self.u[where].flatten(1, 2)
