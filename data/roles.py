"""From named arrays to a Dataset: which key plays which role, how its axes lie, and what the grid is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..backends import Axis, Grid, Mesh
from ..errors import NWidthError
from .arrays import Array
from .dataset import Dataset
from .stores import Store

ROLES = ("u", "a", "u0", "mu", "t")


@dataclass(frozen=True)
class Roles:
    """Keys by role, and where the guess would fail, axes and grid.

    ``fields`` maps u, a, u0, mu, t to a key or several keys (channels, parameters). ``axes`` maps u, a, u0 to
    letters as the array lies in the file (n sample, t time, c channel, x y z w space; m for a mesh's points).
    ``coordinates`` maps x, y, z, w to keys, or ``points`` and ``cells`` for a mesh. ``kind`` is the kind of axis
    (periodic, nodal, cell, chebyshev), one for all or one for each; ``lo`` and ``hi`` the domain where no
    coordinates are stored.
    """

    fields: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    axes: Mapping[str, str] = field(default_factory=dict)
    coordinates: Mapping[str, str] = field(default_factory=dict)
    kind: str | Sequence[str] | None = None
    lo: float | Sequence[float] = 0.0
    hi: float | Sequence[float] = 1.0

    def __post_init__(self):
        allowed = {"fields": ROLES, "axes": ROLES[:3], "coordinates": (*"xyzw", "points", "cells")}
        for name, keys in allowed.items():
            unknown = set(getattr(self, name)) - set(keys)
            if unknown:
                raise NWidthError(f"data.{name}", got=f"{sorted(unknown)}", expected="some of " + ", ".join(keys))

    def keys(self, role: str) -> tuple[str, ...]:
        value = self.fields.get(role)
        return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def assemble(
    store: Store,
    roles: Roles,
    *,
    format: str,
    attributes: Mapping[str, Any] | None = None,
    names: Mapping[str, tuple[str, ...]] | None = None,
    problem: Mapping[str, Any] | None = None,
) -> Dataset:
    """The data set that ``roles`` sees in ``store``.

    A time-dependent solution without a key for u0 gives its first state as u0, and keeps the others as u; one that
    repeats u0 as its first state loses that state, so that inputs never count as predictions.
    """
    if not roles.keys("u") and not any(roles.keys(r) for r in ("a", "u0", "mu")):
        raise NWidthError(
            f"read {store.path}",
            got="no roles for the keys " + ", ".join(store.keys()[:20]),
            expected="which key is the solution and which the input",
            fix="set e.g. data.fields.u=KEY data.fields.a=KEY",
        )
    t = None
    if roles.keys("t"):
        t = store.values(roles.keys("t")[0]).double().flatten()
    found: dict[str, Any] = {}
    space_letters = ""
    t0 = 0.0
    for role in ("u", "a", "u0"):
        keys = roles.keys(role)
        if not keys:
            continue
        axes = roles.axes.get(role) or _guess_axes(store, role, keys[0], roles, t)
        axes = axes.replace("m", "x")
        letters = "".join(c for c in "xyzw" if c in axes)
        if space_letters and letters != space_letters:
            raise NWidthError(
                f"{store.path}: {role}",
                got=f"space axes {letters!r}",
                expected=f"{space_letters!r}, as u has",
                fix="set data.axes",
            )
        space_letters = letters
        if role == "u" and "t" in axes:
            t, t0 = _times(store, t, store.shape(keys[0])[axes.index("t")])
            first = store.field(keys, axes, 0)
            if not roles.keys("u0") or _repeats(store, roles, first, axes):
                found["u0"] = first
                found["u"] = store.field(keys, axes, slice(1, None))
                t0, t = float(t[0]), t[1:]
                if not len(t):
                    raise NWidthError(f"{store.path}: {keys[0]!r}", got="a single time", expected="two times or more")
                continue
            if float(t[0]) <= t0:
                t0 = float(t[0]) - (float(t[1] - t[0]) if len(t) > 1 else 1.0)
        found[role] = store.field(keys, axes)
    if "u" in found and len(found["u"].shape) != len(space_letters) + 3:
        t = None
    mu = _parameters(store, roles.keys("mu"))
    if not found:
        raise NWidthError(f"read {store.path}", got="parameters alone", expected="a field u, a or u0")
    shape = tuple(next(iter(found.values())).shape[-len(space_letters) :])
    return Dataset(
        _grid(store, roles, space_letters, shape),
        t=t,
        t0=t0,
        mu=mu,
        names=dict(names or {}),
        problem=problem,
        source=store.path,
        format=format,
        attributes=dict(attributes or {}),
        **found,
    )


def _guess_axes(store: Store, role: str, key: str, roles: Roles, t: Tensor | None) -> str:
    """n[t][xyz] when the count of axes leaves one reading only; an error that asks otherwise."""
    shape = store.shape(key)
    d = len([c for c in roles.coordinates if c in "xyzw"]) or None
    timed = role == "u" and t is not None
    if d is None:
        d = len(shape) - 1 - timed
    if len(shape) == 1 + timed + d and 1 <= d <= 4:
        return "n" + "t" * timed + "xyzw"[:d]
    if len(shape) == 2 + timed + d and 1 <= d <= 4:
        return "n" + "t" * timed + "c" + "xyzw"[:d]
    raise NWidthError(
        f"{store.path}: {key!r}",
        got=f"shape {shape}, whose axes cannot be guessed",
        expected="one letter an axis",
        fix=f"set e.g. data.axes.{role}=ncxy",
    )


def _times(store: Store, t: Tensor | None, count: int) -> tuple[Tensor, float]:
    if t is None:
        return torch.arange(count, dtype=torch.float64), -1.0
    if len(t) < count:
        raise NWidthError(
            str(store.path),
            got=f"{len(t)} times for {count} states",
            expected="as many",
            fix="check data.fields.t and data.axes.u",
        )
    return t[:count], 0.0


def _repeats(store: Store, roles: Roles, first: Array, axes: str) -> bool:
    """Whether the file's u0 is the first state of u (checked on up to 32 samples)."""
    own = roles.axes.get("u0") or axes.replace("t", "")
    u0 = store.field(roles.keys("u0"), own)
    if tuple(u0.shape) != tuple(first.shape):
        return False
    some = list(range(min(32, len(u0))))
    return bool(torch.allclose(u0[some].to(first.dtype), first[some], rtol=1e-5, atol=1e-6))


def _parameters(store: Store, keys: Sequence[str]) -> Tensor | None:
    if not keys:
        return None
    parts = []
    for key in keys:
        v = store.values(key)
        v = v if v.is_floating_point() else v.double()
        parts.append(v.reshape(len(v) if v.ndim else 1, -1))
    if len({len(p) for p in parts}) > 1:
        raise NWidthError(
            f"{store.path}: mu",
            got=f"{[len(p) for p in parts]} values of {', '.join(keys)}",
            expected="one count for all",
            fix="check data.fields.mu",
        )
    return torch.cat(parts, 1)


def _grid(store: Store, roles: Roles, letters: str, shape: Sequence[int]) -> Grid | Mesh:
    if "points" in roles.coordinates:
        cells = store.values(roles.coordinates["cells"]).long() if "cells" in roles.coordinates else None
        points = store.values(roles.coordinates["points"]).double()
        # some files hold one row for each coordinate
        return Mesh(points.T if points.ndim == 2 and len(points) != shape[0] == points.shape[1] else points, cells)
    kinds = [roles.kind] * len(letters) if isinstance(roles.kind, str) or roles.kind is None else list(roles.kind)
    lo, hi = ([v] * len(letters) if isinstance(v, int | float) else list(v) for v in (roles.lo, roles.hi))
    if not len(kinds) == len(lo) == len(hi) == len(letters):
        raise NWidthError(
            f"{store.path}: data.grid",
            got=f"{len(kinds)} kinds, {len(lo)} lo, {len(hi)} hi",
            expected=f"one for all or one for each of {letters}",
        )
    axes = []
    for name, n, kind, a, b in zip(letters, shape, kinds, lo, hi):
        if name in roles.coordinates:
            x = store.values(roles.coordinates[name]).double().flatten()
            if len(x) != n:
                raise NWidthError(
                    f"{store.path}: {roles.coordinates[name]!r}",
                    got=f"{len(x)} coordinates",
                    expected=f"{n}, as the field has along {name}",
                    fix="check data.axes",
                )
            axes.append(Axis.from_coordinates(x, name, kind=kind))
        else:
            axes.append(Axis(kind or "nodal", int(n), a, b, name))
    return Grid(tuple(axes))
