"""Windows of trajectories: some states as history, the next ones as horizon, read without the other states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from ..errors import NWidthError
from .arrays import Array
from .dataset import Dataset

_GAP = 2**16  # bytes between two windows of a trajectory that are sooner read than skipped


class Windows(TorchDataset):
    """Every window of ``history`` + ``horizon`` successive states of every trajectory, as a map-style torch data set.

    State 0 is u0 (where the data have one) and state k the k-th time after it, so that S = T + 1 states make
    (S - history - horizon) // stride + 1 windows a trajectory; ``stride`` is the distance between the starts of
    successive windows. ``data.thin(time=...)`` widens the step between states. Item ``i`` is a dict::

        past    (history, C, *space)   states k .. k + history - 1
        future  (horizon, C, *space)   the states that follow
        index   (history + horizon,)   numbers of these states; ``times[index]`` are their times
        sample  ()                     the trajectory
        a, mu                          inputs of that trajectory, where the data have them

    ``batch`` reads many items at once, trajectory by trajectory in the order of the file: windows that touch or
    overlap in one read, the others apart, never a whole trajectory for a few states. A DataLoader reads through it.
    Data on disk stay there; the object can be pickled, and each worker opens files of its own.

    Raises ``NWidthError`` for steady data, a window longer than the trajectories, or a u0 that is no state of u.

    >>> from nwidth.backends import Grid
    >>> data = Dataset(Grid.make((8,)), u0=torch.rand(3, 1, 8), u=torch.rand(3, 5, 1, 8), t=torch.arange(1.0, 6))
    >>> windows = Windows(data, history=2, horizon=1)
    >>> len(windows), windows[0]["past"].shape, windows[4]["index"].tolist()
    (12, torch.Size([2, 1, 8]), [0, 1, 2])
    >>> windows.batch([0, 11])["future"].shape
    torch.Size([2, 1, 1, 8])
    """

    def __init__(self, data: Dataset, history: int = 1, horizon: int = 1, stride: int = 1):
        where = f"Windows of {data.source}"
        u = data.solution
        if data.t is None:
            raise NWidthError(where, got="steady data", expected="a time-dependent solution")
        if min(history, horizon, stride) < 1:
            raise NWidthError(
                where, got=f"history={history}, horizon={horizon}, stride={stride}", expected="whole numbers from 1"
            )
        self.offset = 0 if data.u0 is None else 1
        if data.u0 is not None and tuple(data.u0.shape[1:]) != tuple(u.shape[2:]):
            raise NWidthError(
                where,
                got=f"u0 of shape {tuple(data.u0.shape)} beside u of shape {tuple(u.shape)}",
                expected="an initial state with the channels of u",
                fix="leave it out: dataclasses.replace(data, u0=None)",
            )
        states = u.shape[1] + self.offset
        self.width = history + horizon
        if self.width > states:
            raise NWidthError(
                where,
                got=f"history={history} and horizon={horizon}",
                expected=f"at most {states} states together, as a trajectory has",
            )
        self.data, self.history, self.horizon, self.stride = data, history, horizon, stride
        self.per_sample = (states - self.width) // stride + 1
        self.times = data.t.double()
        if self.offset:
            self.times = torch.cat([torch.tensor([data.t0], dtype=torch.float64), self.times])
        self.dtype = u.dtype if data.u0 is None else torch.promote_types(u.dtype, data.u0.dtype)

    def __len__(self) -> int:
        return len(self.data) * self.per_sample

    def __getitem__(self, item: int) -> dict[str, Any]:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[int]) -> list[dict[str, Any]]:
        """What a DataLoader asks for: the items of a batch, views of what ``batch`` reads."""
        read = self.batch(items)
        return [{k: v[i] for k, v in read.items()} for i in range(len(items))]

    def batch(self, items: Sequence[int] | Tensor) -> dict[str, Tensor]:
        """The items stacked along a first axis, in the order asked."""
        wanted = np.asarray(items, dtype=np.int64)
        n = len(self)
        if wanted.ndim != 1 or (wanted.size and (wanted.min() < -n or wanted.max() >= n)):
            raise IndexError(f"Windows: got items {wanted.tolist()!s:.60}, expected a list of indices below {n}")
        samples, start = np.divmod(np.where(wanted < 0, wanted + n, wanted), self.per_sample)
        start = start * self.stride
        states = self._states(samples, start)
        found = {
            "past": states[:, : self.history],
            "future": states[:, self.history :],
            "index": torch.from_numpy(start[:, None] + np.arange(self.width)),
            "sample": torch.from_numpy(samples),
        }
        for name in ("a", "mu"):
            value: Array | None = getattr(self.data, name)
            if value is not None:
                unique, place = np.unique(samples, return_inverse=True)
                found[name] = _rows(value, unique)[torch.from_numpy(place)]
        return found

    def _states(self, samples: np.ndarray, start: np.ndarray) -> Tensor:
        """(items, history + horizon, C, *space), from the initial states and from u."""
        u, u0 = self.data.solution, self.data.u0
        out = torch.empty((len(samples), self.width, *u.shape[2:]), dtype=self.dtype)
        if u0 is not None:
            first = np.flatnonzero(start == 0)
            if len(first):
                unique, place = np.unique(samples[first], return_inverse=True)
                out[torch.from_numpy(first), 0] = _rows(u0, unique)[torch.from_numpy(place)].to(self.dtype)
        lo = np.maximum(start - self.offset, 0)  # times of u, from lo to hi
        hi = start - self.offset + self.width
        skip = self.width - (hi - lo)  # 1 where state 0 came from u0
        if isinstance(u, Tensor):
            for late in np.unique(skip).tolist():
                some = np.flatnonzero(skip == late)
                times = torch.from_numpy(lo[some][:, None] + np.arange(self.width - late))
                out[torch.from_numpy(some), late:] = u[torch.from_numpy(samples[some])[:, None], times].to(self.dtype)
            return out
        gap = _GAP // max(u.nbytes // max(u.shape[0] * u.shape[1], 1), 1)
        # windows of one trajectory that touch are read as one
        rows, low, high = samples.tolist(), lo.tolist(), hi.tolist()
        requests: list[tuple[int, slice]] = []
        found: list[tuple[int, int]] = [(0, 0)] * len(rows)  # which request, and its first time
        row, begin, end = -1, 0, 0
        for i in np.lexsort((lo, samples)).tolist():
            if rows[i] != row or low[i] > end + gap:
                row, begin, end = rows[i], low[i], high[i]
                requests.append((row, slice(begin, end)))
            elif high[i] > end:
                end = high[i]
                requests[-1] = row, slice(begin, end)
            found[i] = len(requests) - 1, begin
        blocks, values = [b.numpy() for b in u.read_many(requests)], out.numpy()
        for i, (number, begin) in enumerate(found):
            values[i, self.width - (high[i] - low[i]) :] = blocks[number][low[i] - begin : high[i] - begin]
        return out


def _rows(value: Array, samples: np.ndarray) -> Tensor:
    """Increasing samples, from memory or disk."""
    return value[torch.from_numpy(samples)] if isinstance(value, Tensor) else value.read(samples)
