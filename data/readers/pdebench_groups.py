"""PDEBench files with a group for each trajectory: 2D diffusion-reaction, 2D shallow water, 1D diffusion-sorption.

Each group ("0000", "0001", ...) holds ``data`` (T, X[, Y], C), ``grid/x``[, ``grid/y``], ``grid/t`` and an attribute
``config``, a YAML text whose numbers under ``sim`` are the equation's parameters. Those that differ between groups
(the radius of the dam) become columns of mu. Coordinates are cell centres.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import torch
from torch import Tensor

from ...errors import NWidthError
from ..dataset import Dataset
from ..groups import GroupArray
from ..handles import open_dataset_h5, open_h5, read_h5
from ..roles import Roles, make_grid
from ..stores import H5Store
from ..trajectories import from_states
from .hdf5 import number, parse_config, plain_attributes

# words in the file's name or the config's -> channels, boundary conditions by axis
FAMILIES = {
    "diff-react": (("activator", "inhibitor"), {"x": "neumann", "y": "neumann"}),
    "rdb": (("height",), {"x": "open", "y": "open"}),
    "diff-sorp": (("concentration",), {"x": "dirichlet/robin"}),
}
# numbers of a config that describe the run and not the equation
RUN = {"seed", "n", "t", "tdim", "xdim", "ydim", "x_left", "x_right", "y_bottom", "y_top", "T_end", "n_time_steps"}


def matches(f: h5py.File) -> bool:
    first = next(iter(f.values()), None) if len(f) else None
    return isinstance(first, h5py.Group) and "data" in first and "x" in first.get("grid", {})


def read(path: Path, roles: Roles) -> Dataset:
    f = open_h5(path)
    groups = sorted(k for k, v in f.items() if isinstance(v, h5py.Group) and "data" in v)
    first = f[groups[0]]
    letters = "".join(c for c in "xyz" if c in first["grid"])
    if "t" not in first["grid"]:
        raise NWidthError(f"{path}: {groups[0]}", got="no grid/t", expected="grid/t beside grid/x")
    states = GroupArray(path, groups, "data", "t" + letters + "c")
    t = torch.from_numpy(read_h5(open_dataset_h5(path, f"{groups[0]}/grid/t"))).double().flatten()
    u, u0, t, t0 = from_states(states, t, None, f"{path}: {groups[0]}/grid/t")
    parameters, mu, family = _configs(path, f, groups)
    channels, boundary = FAMILIES.get(family, ((), {}))
    store = H5Store(path)
    own = Roles(coordinates={c: f"{groups[0]}/grid/{c}" for c in letters}, kind=roles.kind or "cell")
    attributes: dict[str, Any] = {**plain_attributes(f), "parameters": parameters}
    if boundary and roles.kind is None:
        attributes["boundary"] = {c: boundary[c] for c in letters if c in boundary}
    names = {"u": channels, "u0": channels} if len(channels) == states.shape[2] else {}
    return Dataset(
        make_grid(store, own, letters, states.shape[3:]),
        u=u,
        u0=u0,
        mu=torch.stack(list(mu.values()), 1) if mu else None,
        t=t,
        t0=t0,
        names=names | ({"mu": tuple(mu)} if mu else {}),
        source=str(path),
        format=f"PDEBench {family}".strip(),
        attributes=attributes,
    )


def _configs(path: Path, f: h5py.File, groups: list[str]) -> tuple[dict[str, float], dict[str, Tensor], str]:
    """Parameters that all groups share, columns of those that differ, and the family."""
    texts = [f[g].attrs.get("config") for g in groups]
    known: dict[Any, dict[str, float]] = {}
    rows, name = [], path.stem
    for group, text in zip(groups, texts):
        key = _without_seed(text)
        if key not in known:
            config = parse_config(text, f"{path}: {group}") if text is not None else {}
            name = f"{name} {config.get('name', '')}"
            sim = config.get("sim") or {}
            values = {k: number(v) for k, v in sim.items() if k not in RUN}
            known[key] = {k: v for k, v in values.items() if v is not None}
        rows.append(known[key])
    family = next((k for k in FAMILIES if k in name.lower().replace("_", "-")), "")
    names = sorted(set().union(*rows))
    shared = {k: rows[0][k] for k in names if all(r.get(k) == rows[0].get(k) for r in rows)}
    varying = [k for k in names if k not in shared]
    for group, row in zip(groups, rows):
        for k in varying:
            if k not in row:
                raise NWidthError(f"{path}: {group}", got=f"no {k!r} in its config", expected=f"{k!r}, as others have")
    return shared, {k: torch.tensor([r[k] for r in rows], dtype=torch.float64) for k in varying}, family


def _without_seed(text: Any) -> Any:
    """Texts that differ in the seed alone need not be parsed again."""
    if not isinstance(text, str | bytes):
        return None
    lines = (text.decode(errors="replace") if isinstance(text, bytes) else text).splitlines()
    return "\n".join(line for line in lines if line.strip().partition(":")[0] != "seed")
