"""The Well (Ohana et al., 2024, arXiv:2412.00568), its HDF5 specification.

::

    /                    attributes dataset_name, grid_type, n_spatial_dims, n_trajectories, simulation_parameters
    /dimensions          attribute spatial_dims; time, and one dataset a spatial dimension
    /boundary_conditions NAME: attributes bc_type (periodic, wall, open), associated_dims; mask, values
    /scalars             attribute field_names; NAME: attributes sample_varying, time_varying
    /t0_fields, /t1_fields, /t2_fields   attribute field_names; NAME (trajectory, time, *space, D..) with attributes
                         sample_varying, time_varying, dim_varying: an axis that does not vary is not stored

Fields that vary in time are the solution, one channel a component; those that do not are the input ``a``. Axes that
are not stored are repeated as samples are read. Scalars that vary over the samples are parameters ``mu``; those that
do not are attributes. A boundary that the file does not name is open, as in the data set's own loader.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

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
from ..roles import Roles, assemble, with_kind
from ..stores import H5Store
from ..trajectories import common_times, from_states
from ..views import ChannelsJoined, Tiled
from .hdf5 import is_hdf5, plain_attributes, strings

ORDERS = ("t0_fields", "t1_fields", "t2_fields")


def matches(path: Path) -> bool:
    return is_hdf5(path) and "dimensions" in (f := open_h5(path)) and any(g in f for g in ORDERS)


def read(path: Path, roles: Roles) -> Dataset:
    f = open_h5(path)
    if roles.fields:
        return assemble(H5Store(path), roles, format="HDF5")
    roles.own_conventions(f"open {path}")
    _need(path, f, "dimensions/time")
    dims = strings(f["dimensions"].attrs.get("spatial_dims"))
    if not 1 <= len(dims) <= 4:
        raise NWidthError(f"{path}: dimensions", got=f"spatial_dims={list(dims)}", expected="1 to 4 names")
    for d in dims:
        _need(path, f, f"dimensions/{d}")
    samples = _samples(path, f)
    t, step = common_times(_values(path, "dimensions/time"), f"{path}: dimensions/time")
    space = tuple(int(f[f"dimensions/{d}"].shape[-1]) for d in dims)
    boundary = _boundary(path, f, dims)
    sizes = (samples, len(t), space)
    moving, moving_names = _fields(path, f, dims, sizes, time_varying=True)
    still, still_names = _fields(path, f, dims, sizes, time_varying=False)
    if moving is None:
        raise NWidthError(f"{path}", got="no field that varies in time", expected="one or more in t0_fields, t1_fields")
    u, u0, t, t0 = from_states(moving, t, None, f"{path}: dimensions/time")
    parameters, others, columns = _scalars(path, f, samples)
    if step is not None:
        columns = {**columns, "dt": step[:, 0]}
    names: dict[str, tuple[str, ...]] = {"u": moving_names, "u0": moving_names}
    if still is not None:
        names["a"] = still_names
    if columns:
        names["mu"] = tuple(columns)
    attributes = {k: v for k, v in plain_attributes(f).items() if k not in ("n_spatial_dims", "n_trajectories")}
    listed = strings(f.attrs.get("simulation_parameters"))
    parameters = {k: attributes[k] for k in listed if isinstance(attributes.get(k), int | float)} | parameters
    for k in (*listed, "simulation_parameters"):
        if k in parameters or k in columns or k == "simulation_parameters":
            attributes.pop(k, None)
    attributes |= {"parameters": {k: v for k, v in parameters.items() if k not in columns}, "boundary": boundary}
    if others:
        attributes["time_scalars"] = others
    found = Dataset(
        _grid(path, f, dims, boundary),
        u=u,
        u0=u0,
        a=still,
        mu=torch.stack([v.double() for v in columns.values()], 1) if columns else None,
        t=t,
        t0=t0,
        names=names,
        units={"t": "steps"} if step is not None else {},
        source=str(path),
        format="The Well",
        attributes=attributes,
    )
    return with_kind(found, roles.kind)


def _need(path: Path, f: h5py.File, key: str) -> None:
    if key not in f:
        raise NWidthError(
            f"open {path}",
            got=f"no {key!r}",
            expected="the layout of The Well",
            fix="the file may be cut short: copy or download it again",
        )


def _values(path: Path, key: str) -> Tensor:
    return torch.from_numpy(np.asarray(read_h5(open_dataset_h5(path, key)), dtype=np.float64))


def _flag(d: h5py.Dataset | h5py.Group, name: str) -> bool:
    return bool(d.attrs.get(name, False))


def _listed(f: h5py.File, group: str) -> list[str]:
    """Names of the datasets of a group: those it lists, or all where it lists none."""
    if group not in f:
        return []
    named = [k for k in strings(f[group].attrs.get("field_names")) if k in f[group]]
    return named or [k for k, v in f[group].items() if isinstance(v, h5py.Dataset)]


def _samples(path: Path, f: h5py.File) -> int:
    """The number of trajectories, on which the file's parts must agree."""
    found: dict[str, int] = {}
    if "n_trajectories" in f.attrs:
        found["n_trajectories"] = int(f.attrs["n_trajectories"])
    for group in (*ORDERS, "scalars"):
        for name in _listed(f, group):
            d = f[group][name]
            if _flag(d, "sample_varying") and d.ndim:
                found[f"{group}/{name}"] = d.shape[0]
    if len(set(found.values())) > 1:
        first, other = next((a, b) for a in found for b in found if found[a] != found[b])
        raise NWidthError(
            f"open {path}",
            got=f"{found[first]} samples in {first} and {found[other]} in {other}",
            expected="one count",
            fix="the file may be cut short: copy or download it again",
        )
    return next(iter(found.values()), 1)


def _fields(
    path: Path, f: h5py.File, dims: tuple[str, ...], sizes: tuple[int, int, tuple[int, ...]], time_varying: bool
) -> tuple[LazyArray | None, tuple[str, ...]]:
    """Every field that does, or does not, vary in time as the channels of one array, and their names."""
    samples, times, space = sizes
    parts: list[LazyArray] = []
    names: list[str] = []
    for order, group in enumerate(ORDERS):
        for name in _listed(f, group):
            d = f[group][name]
            if _flag(d, "time_varying") != time_varying:
                continue
            varying = np.atleast_1d(d.attrs.get("dim_varying", [True] * len(dims))).astype(bool).tolist()
            letters = "".join(c for c, v in zip("xyzw", varying) if v)
            axes = "n" * _flag(d, "sample_varying") + "t" * time_varying + letters + "cd"[:order]
            expected = (
                *((samples,) if "n" in axes else ()),
                *((times,) if time_varying else ()),
                *(n for n, v in zip(space, varying) if v),
                *(len(dims),) * order,
            )
            if order == 2 and d.shape == (*expected[:-2], len(dims) ** 2):  # components in one axis
                axes, expected = axes[:-1], d.shape
            if d.shape != expected:
                raise NWidthError(
                    f"{path}: {group}/{name}",
                    got=f"shape {d.shape}",
                    expected=f"{expected}, as its flags and the dimensions say",
                    fix="the file may be cut short: copy or download it again",
                )
            array: LazyArray = H5Array(path, f"{group}/{name}", axes)
            if "n" not in axes or not all(varying):
                array = Tiled(array, None if "n" in axes else samples, None, space, [not v for v in varying])
            parts.append(array)
            suffixes = ["".join(c) for c in product(dims, repeat=order)]
            names += [f"{name}_{s}" if s else name for s in suffixes]
    if not parts:
        return None, ()
    return (parts[0] if len(parts) == 1 else ChannelsJoined(parts)), tuple(names)


def _scalars(
    path: Path, f: h5py.File, samples: int
) -> tuple[dict[str, float], dict[str, list[float]], dict[str, Tensor]]:
    """Scalars that never vary, those that vary in time alone, and columns of those that vary over samples."""
    constant: dict[str, float] = {}
    in_time: dict[str, list[float]] = {}
    columns: dict[str, Tensor] = {}
    for name in _listed(f, "scalars"):
        d = f["scalars"][name]
        v = _values(path, f"scalars/{name}")
        if _flag(d, "sample_varying"):
            rows = v.reshape(samples, -1)
            columns |= {name if rows.shape[1] == 1 else f"{name}_{i}": c for i, c in enumerate(rows.T)}
        elif v.numel() == 1 and not _flag(d, "time_varying"):
            constant[name] = float(v)
        else:
            in_time[name] = v.flatten().tolist()
    return constant, in_time, columns


def _boundary(path: Path, f: h5py.File, dims: tuple[str, ...]) -> dict[str, str]:
    """periodic, wall or open for each axis; ``low/high`` where its two ends differ."""
    ends = {d: ["open", "open"] for d in dims}
    for name, bc in f["boundary_conditions"].items() if "boundary_conditions" in f else ():
        kind = str(plain_attributes(bc).get("bc_type", "")).lower()
        if kind not in ("periodic", "wall", "open"):
            raise NWidthError(
                f"{path}: boundary_conditions/{name}", got=f"bc_type={kind!r}", expected="periodic, wall or open"
            )
        own = [d for d in strings(bc.attrs.get("associated_dims")) if d in dims]
        mask = np.asarray(bc["mask"]) if "mask" in bc else None
        for i, d in enumerate(own):
            for end, at in enumerate((0, -1)):
                here = True if mask is None or mask.ndim != len(own) else bool(np.take(mask, at, axis=i).any())
                if kind == "periodic" or here:
                    ends[d][end] = kind
    return {d: low if low == high else f"{low}/{high}" for d, (low, high) in ends.items()}


def _grid(path: Path, f: h5py.File, dims: tuple[str, ...], boundary: dict[str, str]) -> Grid:
    axes = []
    for d in dims:
        x = _values(path, f"dimensions/{d}")
        if x.ndim > 1:
            if float((x - x[:1]).abs().amax()) > 1e-6 * float(x.abs().amax()):
                raise NWidthError(
                    f"{path}: dimensions/{d}",
                    got="coordinates that differ between samples",
                    expected="one grid for all samples",
                    fix="split the file by its grids",
                )
            x = x.reshape(-1, x.shape[-1])[0]
        kind = "periodic" if boundary[d] == "periodic" else None
        axes.append(Axis.from_coordinates(x, d, kind=kind))
    return Grid(tuple(axes))
