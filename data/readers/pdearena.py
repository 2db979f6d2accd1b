"""PDEArena (Gupta and Brandstetter, 2022, arXiv:2209.15616; Brandstetter et al., 2022): files with a group for each
split, train, valid or test.

- Navier-Stokes with smoke: ``u``, ``vx``, ``vy`` (N, T, X, Y), ``t`` (N, T), ``x`` (N, X), ``y`` (N, Y), ``dt``,
  ``dx``, ``dy``, ``buo_y`` (N,). A closed box; the buoyancy is a parameter.
- Kuramoto-Sivashinsky: ``pde_T-X`` (N, T, X), ``dt``, ``dx``, and ``v`` (N,) or absent. Each sample has steps of its
  own in time and space: times and points are counted in steps, and dt, dx and v are parameters.
- Maxwell: ``d_field``, ``h_field`` (N, T, X, Y, Z, 3), periodic.
- Shallow water: one netCDF-4 file a trajectory, ``u``, ``v`` (time, lev, lat, lon), ``pres`` (time, lat, lon).
  Latitudes that fall are turned round.

A file with several groups gives stored splits.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from ...backends import Axis, Grid
from ...errors import NWidthError
from ..arrays import LazyArray
from ..dataset import Dataset
from ..disk import H5Array
from ..handles import open_dataset_h5, open_h5, read_h5
from ..join import SPLITS, join, within
from ..roles import Roles, assemble, with_kind
from ..stores import H5Store
from ..trajectories import common_times, from_states
from ..views import ChannelsJoined, Flipped
from .hdf5 import is_hdf5, plain_attributes

MODES = ("train", "valid", "test")


def matches(path: Path) -> bool:
    if not is_hdf5(path):
        return False
    f = open_h5(path)
    return _is_weather(f) or any(_reader(f[m]) for m in MODES if isinstance(f.get(m), h5py.Group))


def read(path: Path, roles: Roles) -> Dataset:
    f = open_h5(path)
    if roles.fields:
        return assemble(H5Store(path), roles, format="HDF5")
    roles.own_conventions(f"open {path}")
    if _is_weather(f):
        return with_kind(_weather(path, f), roles.kind)
    modes = [m for m in MODES if isinstance(f.get(m), h5py.Group)]
    parts = []
    for m in modes:
        make = _reader(f[m])
        if make is None:
            raise NWidthError(
                f"{path}: {m}", got="keys " + ", ".join(f[m]), expected="u, vx, vy, or pde_..., as others"
            )
        part = replace(make(path, f[m]), source=f"{path}: {m}", attributes=_attributes(f, f[m], m))
        parts.append(with_kind(part, roles.kind))
    if len(parts) == 1:
        return replace(parts[0], source=str(path))
    return within(join(parts, [SPLITS[m] for m in modes]), path)


def _attributes(f: h5py.File, group: h5py.Group, mode: str) -> dict[str, Any]:
    found = {**plain_attributes(f), **plain_attributes(group), "split": SPLITS[mode]}
    kind = _reader(group)
    if kind is _smoke:
        found["boundary"] = {"x": "wall", "y": "wall"}
    elif kind is not None:
        found["boundary"] = dict.fromkeys("xyz" if kind is _maxwell else "x", "periodic")
    return found


def _reader(group: h5py.Group):
    keys = set(group)
    if {"u", "vx", "vy"} <= keys:
        return _smoke
    if any(k.startswith("pde_") for k in keys):
        return _sivashinsky
    return _maxwell if {"d_field", "h_field"} <= keys else None


def _values(path: Path, group: h5py.Group, key: str) -> Tensor | None:
    if key not in group:
        return None
    found = np.asarray(read_h5(open_dataset_h5(path, f"{group.name}/{key}")), dtype=np.float64)
    return torch.from_numpy(np.atleast_1d(found))


def _dataset(path: Path, states: LazyArray, t: Tensor, grid: Grid, channels: tuple[str, ...], **more: Any) -> Dataset:
    u, u0, t, t0 = from_states(states, t, None, f"{path}: 't'")
    columns = {k: v for k, v in more.pop("columns", {}).items() if v is not None}
    for k, v in columns.items():
        if v.numel() != states.shape[0]:
            raise NWidthError(f"{path}: {k!r}", got=f"{v.numel()} values", expected=f"{states.shape[0]}, one a sample")
    names = {"u": channels, "u0": channels} | ({"mu": tuple(columns)} if columns else {})
    mu = torch.stack([v.flatten() for v in columns.values()], 1) if columns else None
    return Dataset(grid, u=u, u0=u0, mu=mu, t=t, t0=t0, names=names, format="PDEArena", **more)


def _smoke(path: Path, group: h5py.Group) -> Dataset:
    keys = [f"{group.name}/{k}" for k in ("u", "vx", "vy")]
    states = H5Array(path, keys, "ntxy")
    t = _values(path, group, "t")
    t, step = (torch.arange(states.shape[1]).double(), None) if t is None else common_times(t, f"{path}: 't'")
    axes = []
    for name, n in zip("xy", states.shape[3:]):
        x = _values(path, group, name)
        if x is None:
            axes.append(Axis("nodal", n, name=name))
            continue
        x = x.reshape(-1, n) if x.shape[-1] == n else x
        if x.ndim != 2 or float((x - x[:1]).abs().amax()) > 1e-6 * float(x.abs().amax()):
            raise NWidthError(
                f"{path}: {name!r}", got=f"coordinates {tuple(x.shape)}", expected=f"{n}, one row for all"
            )
        axes.append(Axis.from_coordinates(x[0], name))
    columns = {"buo_y": _values(path, group, "buo_y"), "dt": None if step is None else step[:, 0]}
    units = {} if step is None else {"t": "steps"}
    return _dataset(path, states, t, Grid(tuple(axes)), ("u", "vx", "vy"), columns=columns, units=units)


def _sivashinsky(path: Path, group: h5py.Group) -> Dataset:
    key = sorted(k for k in group if k.startswith("pde_"))
    if len(key) > 1:
        raise NWidthError(
            f"{path}: {group.name}", got="keys " + ", ".join(key), expected="one", fix="name it in data.fields"
        )
    d = group[key[0]]
    axes = {3: "ntx", 4: "ntcx"}.get(d.ndim)
    if axes is None:
        raise NWidthError(f"{path}: {d.name}", got=f"shape {d.shape}", expected="(N, T, X)")
    states = H5Array(path, d.name, axes)
    n, times = d.shape[0], d.shape[1]
    columns: dict[str, Tensor | None] = {k: _values(path, group, k) for k in ("dt", "dx", "v")}
    columns = {k: v.expand(n) if v is not None and v.numel() == 1 else v for k, v in columns.items()}
    grid = Grid((Axis("periodic", states.shape[-1], 0.0, float(states.shape[-1]), "x"),))
    t = torch.arange(times, dtype=torch.float64)
    return _dataset(path, states, t, grid, ("u",), columns=columns, units={"t": "steps", "x": "steps"})


def _maxwell(path: Path, group: h5py.Group) -> Dataset:
    parts = [H5Array(path, f"{group.name}/{k}", "ntxyzc") for k in ("d_field", "h_field")]
    states = ChannelsJoined(parts)
    grid = Grid(tuple(Axis("periodic", n, name=c) for n, c in zip(states.shape[3:], "xyz")))
    channels = tuple(f"{k}_{c}" for k in ("d", "h") for c in "xyz")
    return _dataset(path, states, torch.arange(states.shape[1]).double(), grid, channels, units={"t": "steps"})


def _is_weather(f: h5py.File) -> bool:
    return {"lat", "lon", "pres"} <= set(f)


def _weather(path: Path, f: h5py.File) -> Dataset:
    """One trajectory of the shallow-water equations on the sphere."""
    parts: list[LazyArray] = []
    channels = [k for k in ("pres", "u", "v") if k in f]
    for key in channels:
        d = f[key]
        axes = {3: "tyx", 4: "tcyx"}.get(d.ndim)
        if axes is None or (d.ndim == 4 and d.shape[1] != 1):
            raise NWidthError(f"{path}: {key!r}", got=f"shape {d.shape}", expected="(time, lat, lon), or one level")
        parts.append(H5Array(path, key, axes))
    states: LazyArray = ChannelsJoined(parts)
    lon, lat = (torch.from_numpy(np.asarray(f[k], dtype=np.float64)) for k in ("lon", "lat"))
    if len(lat) > 1 and bool((lat.diff() < 0).all()):
        states, lat = Flipped(states, [1]), lat.flip(0)
    t = torch.from_numpy(np.asarray(f["time"], dtype=np.float64)) if "time" in f else torch.arange(states.shape[1])
    grid = Grid((Axis.from_coordinates(lon, "lon", kind="periodic"), Axis.from_coordinates(lat, "lat")))
    units = {k: str(u) for k in (*channels, "time") if k in f and (u := plain_attributes(f[k]).get("units"))}
    found = _dataset(path, states, t.double(), grid, tuple(channels), units=_by_role(units))
    attributes = {**plain_attributes(f), "boundary": {"lon": "periodic"}}
    return replace(found, source=str(path), attributes=attributes)


def _by_role(units: dict[str, str]) -> dict[str, str]:
    time = units.pop("time", None)
    return ({"u": ", ".join(f"{k} in {u}" for k, u in units.items())} if units else {}) | ({"t": time} if time else {})
