"""From named arrays to a Dataset: which key plays which role, how its axes lie, and what the grid is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..backends import Axis, Grid, Mesh
from ..errors import NWidthError
from .arrays import loaded
from .axes import guess_axes
from .dataset import Dataset
from .stores import Store
from .trajectories import from_states, one_row

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

    def own_conventions(self, where: str) -> None:
        """Raise where axes or coordinates are named without fields, for a format that knows its own."""
        named = [n for n in ("axes", "coordinates") if getattr(self, n)]
        if named and not self.fields:
            raise NWidthError(
                where,
                got=" and ".join(f"data.{n}={dict(getattr(self, n))}" for n in named) + " without data.fields",
                expected="fields too, for a format whose axes are known",
                fix="name the fields, or leave the axes to the format",
            )


def with_kind(data: Dataset, kind: str | Sequence[str] | None) -> Dataset:
    """The same points as axes of another kind (one for all, or one for each), where the config says so."""
    if kind is None:
        return data
    if not isinstance(data.grid, Grid):
        raise NWidthError(f"open {data.source}", got=f"data.kind={kind!r} for a mesh", expected="data.kind=null")
    kinds = [kind] * data.grid.ndim if isinstance(kind, str) else list(kind)
    if len(kinds) != data.grid.ndim:
        raise NWidthError(f"open {data.source}", got=f"data.kind={kinds}", expected=f"one, or {data.grid.ndim} kinds")
    axes = tuple(Axis.from_coordinates(a.coordinates(), a.name, kind=k) for a, k in zip(data.grid.axes, kinds))
    attributes = {k: v for k, v in data.attributes.items() if k != "boundary"}
    return replace(data, grid=Grid(axes), attributes=attributes)


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
        t = one_row(store.values(roles.keys("t")[0]).double(), f"{store.path}: {roles.keys('t')[0]!r}")
    found: dict[str, Any] = {}
    space_letters = ""
    t0 = 0.0
    for role in ("u", "a", "u0"):
        keys = roles.keys(role)
        if not keys:
            continue
        axes = roles.axes.get(role) or guess_axes(store, role, keys[0], roles, t)
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
        field = store.field(keys, axes)
        if role == "u" and "t" in axes:
            t = _times(store, roles.keys("t"), t, field.shape[1])
            u0 = None
            if roles.keys("u0"):
                u0 = store.field(roles.keys("u0"), (roles.axes.get("u0") or axes.replace("t", "")).replace("m", "x"))
            found["u"], first, t, t0 = from_states(field, t, u0, f"{store.path}: {keys[0]!r}")
            if first is not None:
                found["u0"] = first
        elif role not in found:
            found[role] = field
    if "u" in found and len(found["u"].shape) != len(space_letters) + 3:
        t = None
    mu = _parameters(store, roles.keys("mu"))
    names = {**_mu_names(mu, roles.keys("mu")), **dict(names or {})}
    if "u" in names and "u0" in found and found["u0"].shape[1] == len(names["u"]):
        names.setdefault("u0", names["u"])
    if not found:
        raise NWidthError(f"read {store.path}", got="parameters alone", expected="a field u, a or u0")
    first_field = next(iter(found.values()))
    shape = tuple(first_field.shape[-len(space_letters) :])
    points = _points(store, roles, shape[0])
    grid = make_grid(store, roles, space_letters, shape) if points is None else _mesh(store, roles, points)
    if points is not None and points.ndim == 3 and not bool((points == points[0]).all()):
        if len(points) != len(first_field) or points.shape[1] != shape[0]:
            raise NWidthError(
                f"{store.path}: {roles.coordinates['points']!r}",
                got=f"points of {len(points)} samples, {points.shape[1]} each",
                expected=f"{len(first_field)} samples of {shape[0]} points, as the fields have",
            )
        motion = (points - points.mean(0)).mT.to(first_field.dtype)
        found["a"] = torch.cat([loaded(found["a"]), motion], 1) if "a" in found else motion
        moved = tuple(f"displacement_{x}" for x in "xyz"[: motion.shape[1]])
        others = tuple(f"a{i}" for i in range(found["a"].shape[1] - len(moved)))
        names["a"] = (*names.get("a", others), *moved)
    return Dataset(
        grid,
        t=t,
        t0=t0,
        mu=mu,
        names=names,
        problem=problem,
        source=store.path,
        format=format,
        attributes=dict(attributes or {}),
        **found,
    )


def _times(store: Store, keys: Sequence[str], t: Tensor | None, count: int) -> Tensor:
    if t is None:
        return torch.arange(count, dtype=torch.float64)
    spare = bool(keys) and keys[0].rsplit("/")[-1] == "t-coordinate" and len(t) == count + 1  # PDEBench's convention
    if len(t) != count and not spare:
        raise NWidthError(
            str(store.path),
            got=f"{len(t)} times for {count} states",
            expected="as many",
            fix="check data.fields.t and data.axes.u",
        )
    return t[:count]


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


def _mu_names(mu: Tensor | None, keys: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The keys name the columns of mu where there is one for each."""
    plain = tuple(k.rsplit("/")[-1] for k in keys)
    return {} if mu is None or mu.shape[1] != len(plain) or len(set(plain)) < len(plain) else {"mu": plain}


def _points(store: Store, roles: Roles, count: int) -> Tensor | None:
    """Points of a mesh, (M, d), or (N, M, d) where each sample has its own; None for a grid."""
    if "points" not in roles.coordinates:
        return None
    points = store.values(roles.coordinates["points"]).double()
    if points.ndim in (2, 3) and points.shape[-2] != count == points.shape[-1]:
        points = points.mT.contiguous()  # some files hold one row for each coordinate
    depth = points[..., 2].flatten() if points.ndim in (2, 3) and points.shape[-1] == 3 else None
    if depth is not None and len(depth) and bool((depth == depth[0]).all()):
        points = points[..., :2].contiguous()  # a plane in space
    return points


def _mesh(store: Store, roles: Roles, points: Tensor) -> Mesh:
    """The mean mesh where each sample has points of its own."""
    cells = store.values(roles.coordinates["cells"]).long() if "cells" in roles.coordinates else None
    return Mesh(points.mean(0) if points.ndim == 3 else points, cells)


def make_grid(store: Store, roles: Roles, letters: str, shape: Sequence[int]) -> Grid:
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
