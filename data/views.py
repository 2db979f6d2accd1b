"""Other looks at arrays on disk, made while reading: joined, repeated, turned round, complex as two channels, and on
another grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import NWidthError
from .arrays import Array, LazyArray, every, loaded


class SamplesJoined(LazyArray):
    """Arrays one after the other along the samples. A read visits each array once, its rows sorted."""

    def __init__(self, parts: Sequence[LazyArray]):
        self.parts = tuple(parts)
        first = parts[0]
        for p in parts[1:]:
            if p.shape[1:] != first.shape[1:] or p.has_time != first.has_time:
                raise NWidthError(
                    f"{p.where}",
                    got=f"samples of shape {p.shape[1:]}",
                    expected=f"{first.shape[1:]}, as {first.where} has",
                    fix="open files of one shape together",
                )
        self._starts = np.cumsum([0, *(len(p) for p in parts)])
        dtype = first.dtype
        for p in parts[1:]:
            dtype = torch.promote_types(dtype, p.dtype)
        super().__init__(first.where, (int(self._starts[-1]), *first.shape[1:]), dtype, first.has_time)

    def _fetch(self, rows: np.ndarray, times: range | None, strides: tuple[int, ...]) -> Tensor:
        order = np.argsort(rows, kind="stable")
        sorted_rows = rows[order]
        owner = np.searchsorted(self._starts, sorted_rows, side="right") - 1
        found = []
        for i in np.unique(owner):
            part = self.parts[i].thin(strides=strides)
            found.append(part.read(sorted_rows[owner == i] - self._starts[i], _slice(times)).to(self.dtype))
        joined = torch.cat(found)
        if bool((order[1:] > order[:-1]).all()):
            return joined
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return joined[torch.from_numpy(back)]

    def read_many(self, requests: Sequence[tuple[int, slice]]) -> list[Tensor]:
        assert self._times is not None
        rows = self._rows(np.array([i for i, _ in requests], dtype=np.int64))
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        found: list[Tensor] = [torch.empty(0)] * len(rows)
        for i in np.unique(owner).tolist():
            mine = np.flatnonzero(owner == i).tolist()
            part = self.parts[i].thin(strides=self._strides)
            asked = [(int(rows[j] - self._starts[i]), _slice(self._times[requests[j][1]])) for j in mine]
            for j, values in zip(mine, part.read_many(asked)):
                found[j] = values.to(self.dtype)
        return found


class ChannelsJoined(LazyArray):
    """The channels of several arrays with the same samples, times and points."""

    def __init__(self, parts: Sequence[LazyArray]):
        self.parts = tuple(parts)
        first = parts[0]
        c = 1 + first.has_time
        for p in parts[1:]:
            if (*p.shape[:c], *p.shape[c + 1 :]) != (*first.shape[:c], *first.shape[c + 1 :]):
                raise NWidthError(
                    p.where,
                    got=f"fields of shapes {first.shape} and {p.shape}",
                    expected="shapes that differ in the channels alone",
                    fix="name fields of one shape",
                )
        dtype = first.dtype
        for p in parts[1:]:
            dtype = torch.promote_types(dtype, p.dtype)
        shape = (*first.shape[:c], sum(p.shape[c] for p in parts), *first.shape[c + 1 :])
        super().__init__(first.where, shape, dtype, first.has_time)

    def _fetch(self, rows: np.ndarray, times: range | None, strides: tuple[int, ...]) -> Tensor:
        found = [p.thin(strides=strides).read(rows, _slice(times)).to(self.dtype) for p in self.parts]
        return torch.cat(found, 1 + self.has_time)


class Tiled(LazyArray):
    """An array that lacks axes, repeated along them: ``samples`` and ``times`` are counts, or None where the array has
    that axis; ``space`` holds every size, ``missing`` says which of them the array lacks."""

    def __init__(
        self,
        base: LazyArray,
        samples: int | None,
        times: int | None,
        space: Sequence[int],
        missing: Sequence[bool],
    ):
        self.base, self.missing = base, tuple(missing)
        self._repeat_samples, self._repeat_times = samples is not None, times is not None
        has_time = base.has_time or times is not None
        time = () if not has_time else (base.shape[1] if times is None else times,)
        channels = base.shape[1 + base.has_time]
        shape = (base.shape[0] if samples is None else samples, *time, channels, *space)
        super().__init__(base.where, shape, base.dtype, has_time)

    def _fetch(self, rows: np.ndarray, times: range | None, strides: tuple[int, ...]) -> Tensor:
        own = [s for s, lacks in zip(strides, self.missing) if not lacks]
        source = np.zeros(1, dtype=np.int64) if self._repeat_samples else rows
        steps = slice(None) if times is None or self._repeat_times else _slice(times)
        found = self.base.thin(strides=own).read(source, steps)
        space = [-(-n // s) for n, s in zip(self._whole[1 + self.has_time + 1 :], strides)]
        if times is not None and self._repeat_times:
            found = found.unsqueeze(1)
        lead = 2 + self.has_time
        for i, lacks in enumerate(self.missing):
            if lacks:
                found = found.unsqueeze(lead + i)
        counts = (len(rows), *(() if times is None else (len(times),)), found.shape[lead - 1], *space)
        return found.expand(counts).contiguous()


class Flipped(LazyArray):
    """Space axes read backwards, for files whose coordinates fall; ``axes`` counts them from 0."""

    def __init__(self, base: LazyArray, axes: Sequence[int]):
        self.base, self.axes = base, tuple(axes)
        super().__init__(base.where, base.shape, base.dtype, base.has_time)

    def _fetch(self, rows: np.ndarray, times: range | None, strides: tuple[int, ...]) -> Tensor:
        direct = [1 if i in self.axes else s for i, s in enumerate(strides)]
        found = self.base.thin(strides=direct).read(rows, _slice(times))
        found = found.flip([2 + self.has_time + i for i in self.axes])
        late = [s if i in self.axes else 1 for i, s in enumerate(strides)]
        return found[every(late)].contiguous()


class Mapped(LazyArray):
    """Another array after a map of its values, sample by sample: ``apply`` takes (..., C, *space) and gives channels
    and space of the shape ``inner``. Points are thinned after the map."""

    def __init__(self, base: LazyArray, apply: Callable[[Tensor], Tensor], inner: Sequence[int], dtype: torch.dtype):
        self.base, self.apply = base, apply
        super().__init__(base.where, (*base.shape[: 1 + base.has_time], *inner), dtype, base.has_time)

    def _fetch(self, rows: np.ndarray, times: range | None, strides: tuple[int, ...]) -> Tensor:
        found = self.apply(self.base.read(rows, _slice(times)))
        return found[every(strides)].contiguous()


def mapped(value: Array, apply: Callable[[Tensor], Tensor], timed: bool, inner: Sequence[int]) -> Array:
    """``apply`` to a tensor at once, or to an array on disk as it is read; ``apply`` must be picklable."""
    if not isinstance(value, LazyArray):
        return apply(value)
    lead = (1,) * (1 + timed)
    dtype = apply(torch.zeros((*lead, *value.shape[1 + timed :]), dtype=value.dtype)).dtype
    return Mapped(value, apply, inner, dtype)


def joined(parts: Sequence[Array]) -> Array:
    """Along the samples: a tensor where all are, else an array that reads from each."""
    if all(isinstance(p, LazyArray) for p in parts):
        return SamplesJoined(parts)  # type: ignore[arg-type]
    return torch.cat([loaded(p) for p in parts])


def _slice(times: range | None) -> slice:
    return slice(None) if times is None else slice(times.start, times.stop, times.step)
