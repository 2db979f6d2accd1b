"""One data set: many inputs of a PDE with their solutions on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..backends import Grid, Mesh, same_grid
from ..errors import NWidthError
from .arrays import Array, loaded, rows, thinned

INPUTS = ("a", "u0", "mu")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and solutions, sample by sample; ``N`` samples, ``C`` channels, ``T`` times.

    ======  ============================  =======================================================================
    field   shape                         meaning
    ======  ============================  =======================================================================
    a       (N, C_a, *space)              input fields: coefficients, forcings, ...
    u0      (N, C, *space)                the state at time ``t0``
    mu      (N, P)                        scalar parameters
    u       (N, C, *space)                the solution; (N, T, C, *space) at the times ``t`` for a time-dependent
                                          problem, never with the initial state among them
    t       (T,)                          increasing times after ``t0``
    ======  ============================  =======================================================================

    Fields are tensors, or arrays on disk that read only the samples asked for. ``names`` holds channel names by
    field; ``problem`` the config of the equation that made the data, where it is known; ``splits`` sample indices
    by split name that came with the file.

    >>> from nwidth.backends import Grid
    >>> d = Dataset(Grid.make((8,)), u=torch.rand(5, 1, 8), mu=torch.rand(5, 2))
    >>> len(d), d.reads, d[[0, 3]].u.shape
    (5, ('mu',), torch.Size([2, 1, 8]))
    """

    grid: Grid | Mesh
    u: Array | None = None
    a: Array | None = None
    u0: Array | None = None
    mu: Tensor | None = None
    t: Tensor | None = None
    t0: float = 0.0
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    problem: Mapping[str, Any] | None = None
    splits: Mapping[str, Tensor] = field(default_factory=dict)
    source: str = "memory"
    format: str = "memory"
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        where = f"Dataset {self.source}"
        sizes = {k: len(v) for k in ("u", *INPUTS) if (v := getattr(self, k)) is not None}
        if not sizes:
            raise NWidthError(
                where,
                got="no fields",
                expected="a solution u or an input a, u0, mu",
                fix="name the file's keys in data.fields",
            )
        if len(set(sizes.values())) > 1:
            raise NWidthError(
                where,
                got=f"fields of different sample counts {sizes}",
                expected="one count for all",
                fix="check the axes named in data.axes",
            )
        space = tuple(self.grid.shape)
        for name in ("a", "u0", "u"):
            value = getattr(self, name)
            if value is None:
                continue
            lead = 3 if name == "u" and self.t is not None else 2
            if len(value.shape) != lead + len(space) or tuple(value.shape[lead:]) != space:
                form = "(N, T, C, *space)" if lead == 3 else "(N, C, *space)"
                raise NWidthError(
                    where,
                    got=f"{name} of shape {tuple(value.shape)}",
                    expected=f"{form} with space {space}",
                    fix="check data.axes and data.grid",
                )
        if self.mu is not None and self.mu.ndim != 2:
            raise NWidthError(where, got=f"mu of shape {tuple(self.mu.shape)}", expected="(N, parameters)")
        if self.t is not None:
            t = self.t
            if t.ndim != 1 or not len(t) or not bool(torch.isfinite(t).all()) or not bool((t.diff() > 0).all()):
                raise NWidthError(
                    where,
                    got="times that are not finite and strictly increasing, or none",
                    expected="increasing times",
                    fix="repair the file's time coordinate",
                )
            if self.u is not None and self.u.shape[1] != len(t):
                raise NWidthError(where, got=f"{self.u.shape[1]} states in u and {len(t)} times", expected="as many")
            if float(t[0]) <= self.t0 and self.u0 is not None:
                raise NWidthError(
                    where, got=f"t0={self.t0:g} and the first time {float(t[0]):g}", expected="t0 before the first time"
                )

    def __len__(self) -> int:
        return next(len(v) for k in ("u", *INPUTS) if (v := getattr(self, k)) is not None)

    @property
    def reads(self) -> tuple[str, ...]:
        """The inputs that are present, among a, u0, mu."""
        return tuple(k for k in INPUTS if getattr(self, k) is not None)

    @property
    def time_dependent(self) -> bool:
        return self.t is not None

    @property
    def solution(self) -> Array:
        """u, or an error that says there is none."""
        if self.u is None:
            raise NWidthError(
                f"Dataset {self.source}",
                got="no solution u",
                expected="a file with solutions",
                fix="name the solution's key in data.fields.u",
            )
        return self.u

    @property
    def grid_dims(self) -> int:
        """Number of trailing space axes of a field: the grid's axes, or one for a mesh."""
        return len(self.grid.shape)

    def channels(self, name: str) -> tuple[str, ...]:
        """Channel names of a field, made up where the file has none."""
        value = getattr(self, name)
        if value is None:
            return ()
        n = value.shape[1] if name != "u" or self.t is None else value.shape[2]
        given = tuple(self.names.get(name, ()))
        if len(given) == n:
            return given
        return (name,) if n == 1 else tuple(f"{name}{i}" for i in range(n))

    def __getitem__(self, samples: Sequence[int] | Tensor | slice) -> Dataset:
        """Some samples; arrays on disk stay there."""
        if isinstance(samples, slice):
            samples = range(len(self))[samples]
        index = torch.as_tensor(np.asarray(samples))
        if index.dtype == torch.bool and index.shape == (len(self),):
            index = index.nonzero()[:, 0]
        if index.dtype == torch.bool or (index.is_floating_point() and index.numel()):
            raise NWidthError(
                "Dataset[...]",
                got=f"{tuple(index.shape)} values of {index.dtype}",
                expected=f"integers, or {len(self)} booleans",
            )
        index = index.long()
        if index.ndim != 1:
            raise NWidthError("Dataset[...]", got=f"an index of shape {tuple(index.shape)}", expected="a list")
        if index.numel() and (int(index.min()) < 0 or int(index.max()) >= len(self)):
            raise NWidthError(
                f"Dataset {self.source}",
                got=f"samples up to {int(index.max())}",
                expected=f"indices from 0 to {len(self) - 1}",
                fix="check the split",
            )
        picked: dict[str, Any] = {k: rows(getattr(self, k), index) for k in ("u", *INPUTS)}
        return replace(self, **picked, splits={})

    def inputs(self) -> Dataset:
        """The question without the answer: the same data set with ``u`` removed."""
        if not self.reads:
            raise NWidthError(
                f"Dataset {self.source}",
                got="a solution without inputs",
                expected="a, u0 or mu",
                fix="name an input's key in data.fields",
            )
        return replace(self, u=None)

    def load(self) -> Dataset:
        """Everything in memory."""
        return self._map(loaded)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Dataset:
        """Loaded, moved and cast; times and grid stay float64 on the CPU."""
        return self.load()._map(
            lambda v: v.to(device=device, dtype=dtype.to_complex() if dtype is not None and v.is_complex() else dtype)
        )

    def _map(self, change) -> Dataset:
        return replace(self, **{k: change(v) for k in ("u", *INPUTS) if (v := getattr(self, k)) is not None})

    @property
    def nbytes(self) -> int:
        return sum(v.nbytes for k in ("u", *INPUTS) if (v := getattr(self, k)) is not None)

    def thin(self, space: int = 1, time: int = 1) -> Dataset:
        """Every ``space``-th point from the first, and every ``time``-th time, counted from t0 (which is not in t)."""
        if space == 1 and time == 1:
            return self
        if space < 1 or time < 1 or (space > 1 and isinstance(self.grid, Mesh)):
            raise NWidthError(
                "Dataset.thin",
                got=f"space={space}, time={time} on {self.grid.describe()}",
                expected="strides of 1 or more, and a grid for a stride in space",
            )
        strides = (space,) * self.grid_dims if space > 1 else None
        times = slice(time - 1, None, time)
        changed: dict[str, Any] = {}
        for k in ("u", "a", "u0"):
            v = getattr(self, k)
            if v is None:
                continue
            changed[k] = thinned(v, times if k == "u" and self.t is not None else None, strides)
        grid = self.grid if space == 1 else self.grid.every(space)  # type: ignore[union-attr]
        return replace(self, grid=grid, t=None if self.t is None else self.t[times], **changed)


def concatenate(parts: Sequence[Dataset]) -> Dataset:
    """Several data sets of one grid and one kind, loaded and joined; anything that differs is an error."""
    first = parts[0]
    for p in parts[1:]:
        if not same_grid(p.grid, first.grid):
            raise NWidthError(
                "concatenate", got=f"grids {first.grid.describe()} and {p.grid.describe()}", expected="one grid"
            )
        if not same_times(p.t, first.t):
            raise NWidthError("concatenate", got="sets with different times", expected="the same times")
    merged: dict[str, Any] = {}
    for f in fields(Dataset):
        if f.name not in ("u", *INPUTS):
            continue
        values = [getattr(p, f.name) for p in parts]
        if any((v is None) != (values[0] is None) for v in values):
            raise NWidthError("concatenate", got=f"{f.name} in some of the sets only", expected="the same fields")
        if values[0] is not None:
            tensors = [loaded(v) for v in values]
            if any(v.shape[1:] != tensors[0].shape[1:] for v in tensors):
                raise NWidthError(
                    "concatenate",
                    got=f"{f.name} of shapes {[tuple(v.shape) for v in tensors]}",
                    expected="equal shapes but for the samples",
                )
            merged[f.name] = torch.cat(tensors)
    return replace(first, splits={}, source=", ".join(dict.fromkeys(p.source for p in parts)), **merged)


def same_times(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-6, atol=1e-12)
