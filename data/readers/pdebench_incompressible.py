"""PDEBench's 2D incompressible, inhomogeneous Navier-Stokes files.

``velocity`` (N, T, X, Y, 2), ``particles`` (N, T, X, Y, 1), ``force`` (N, X, Y, 2), constant in time, and ``t``
(N, T); the root attribute ``config`` is a YAML text with the viscosity ``NU`` and ``domain_size``. Values are at cell
centres; the velocity vanishes on the boundary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import torch

from ...backends import Axis, Grid
from ...errors import NWidthError
from ..dataset import Dataset
from ..disk import H5Array
from ..handles import open_dataset_h5, open_h5, read_h5
from ..trajectories import common_times, from_states
from ..views import ChannelsJoined
from .hdf5 import number, parse_config, plain_attributes

# numbers of the config that describe the run and not the equation
RUN = {"seed", "n_steps", "DT", "frame_int", "n_batch"}


def matches(f: h5py.File) -> bool:
    return {"velocity", "particles", "t"} <= set(f)


def read(path: Path) -> Dataset:
    f = open_h5(path)
    d = f["velocity"].ndim - 3
    letters = "xyz"[:d]
    axes = "nt" + letters + "c"
    states = ChannelsJoined([H5Array(path, "velocity", axes), H5Array(path, "particles", axes)])
    a = H5Array(path, "force", "n" + letters + "c") if "force" in f else None
    t, step = common_times(torch.from_numpy(read_h5(open_dataset_h5(path, "t"))), f"{path}: 't'")
    if len(t) != states.shape[1]:
        raise NWidthError(f"{path}: 't'", got=f"{len(t)} times for {states.shape[1]} states", expected="as many")
    u, u0, t, t0 = from_states(states, t, None, f"{path}: 't'")
    attributes: dict[str, Any] = plain_attributes(f)
    config = parse_config(f.attrs["config"], f"{path}: config") if "config" in f.attrs else {}
    attributes.pop("config", None)
    size = config.get("domain_size") or [1.0] * d
    if not isinstance(size, list) or len(size) != d or any(number(s) is None for s in size):
        raise NWidthError(f"{path}: config", got=f"domain_size={size!r}", expected=f"{d} lengths")
    lengths = [float(number(s) or 1.0) for s in size]
    kept = {k: v for k, value in config.items() if k not in RUN and (v := number(value)) is not None}
    attributes |= {"parameters": kept, "boundary": dict.fromkeys(letters, "wall")}
    channels = (*(f"velocity_{c}" for c in letters), "particles")
    names = {"u": channels, "u0": channels, "a": tuple(f"force_{c}" for c in letters)}
    return Dataset(
        Grid(tuple(Axis("cell", n, 0.0, length, c) for n, length, c in zip(states.shape[3:], lengths, letters))),
        u=u,
        u0=u0,
        a=a,
        mu=step,
        t=t,
        t0=t0,
        names=names | ({"mu": ("dt",)} if step is not None else {}),
        units={"t": "steps"} if step is not None else {},
        source=str(path),
        format="PDEBench incompressible flow",
        attributes=attributes,
    )
