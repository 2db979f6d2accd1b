"""neuraloperator's files: tensors ``x`` and ``y``, in a ``.pt`` dict, read with weights_only so that no code can run,
or in an HDF5 file that is named as theirs are (``nsforcing_128_train.hdf5``).

``y`` (N, *space) with ``x`` of the same shape is a steady problem with input field a. ``y`` (N, T, *space) with
``x`` (N, *space) is time-dependent; where ``x`` is the first state it is u0. Points are j/n and the end point 1 is
not stored: a periodic axis for time-dependent files and those called ns... (forcing to vorticity), a nodal axis on
[0, 1 - 1/n] otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import torch
from torch import Tensor

from ...errors import NWidthError
from ..dataset import Dataset
from ..handles import first_line, open_h5
from ..roles import Roles, assemble
from ..stores import H5Store, MemoryStore, Store
from .hdf5 import is_hdf5, plain_attributes
from .names import by_name


def matches(path: Path) -> bool:
    if path.suffix in (".pt", ".pth"):
        return True
    if not is_hdf5(path) or not re.match(r"(ns|navier|darcy|burgers)", path.stem.lower()):
        return False
    f = open_h5(path)
    return set(f) == {"x", "y"} and all(isinstance(f[k], h5py.Dataset) and f[k].ndim > 1 for k in f)


def load_pt(path: Path) -> dict[str, Any]:
    """What a ``.pt`` file holds by name; a single tensor is called ``u``. Nothing in the file can run."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch raises many kinds for a damaged file
        raise NWidthError(
            f"open {path}",
            got=f"a file refused by weights_only loading ({first_line(e)})",
            expected="a dict of plain tensors",
            fix="save tensors only",
        ) from None
    if isinstance(content, Tensor):
        return {"u": content}
    if not isinstance(content, Mapping):
        raise NWidthError(f"open {path}", got=f"a {type(content).__name__}", expected="a dict of tensors")
    return dict(content)


def read(path: Path, roles: Roles) -> Dataset:
    store: Store
    if path.suffix in (".pt", ".pth"):
        content = load_pt(path)
        store = MemoryStore(path, {k: v for k, v in content.items() if isinstance(v, Tensor)})
    else:
        content, store = plain_attributes(open_h5(path)), H5Store(path)
    attributes: dict[str, Any] = {k: v for k, v in content.items() if isinstance(v, str)}
    numbers = {k: float(v) for k, v in content.items() if isinstance(v, int | float)}
    attributes |= {"parameters": numbers} if numbers else {}
    if roles.fields:
        return assemble(store, roles, format="PyTorch tensors", attributes=attributes)
    if not {"x", "y"} <= set(store.keys()):
        named, channels = by_name(store, roles)
        if named.fields:
            return assemble(store, named, format="PyTorch tensors", attributes=attributes, names=channels)
        raise NWidthError(
            f"open {path}",
            got="keys " + ", ".join(store.keys()),
            expected="x and y",
            fix="name them with data.fields.u=KEY data.fields.a=KEY",
        )
    roles.own_conventions(f"open {path}")
    x, y = store.shape("x"), store.shape("y")
    if len(y) == len(x):
        channel = "c" if len(y) == 4 and y[1] < min(y[2:]) else ""
        space = y[2:] if channel else y[1:]
        axes = "n" + channel + "xyz"[: len(space)]
        flow = re.match(r"ns|navier", path.stem.lower()) is not None  # forcing to vorticity, on a torus
        kind = "periodic" if flow else "nodal"
        own = Roles({"u": "y", "a": "x"}, {"u": axes, "a": axes}, kind=roles.kind or kind, lo=roles.lo, hi=roles.hi)
        if not flow and roles.kind is None and (roles.lo, roles.hi) == (0.0, 1.0):
            own = replace(own, hi=[1 - 1 / n for n in space])
        known = "periodic" if flow else "dirichlet" if "darcy" in path.stem.lower() else ""
    elif len(y) == len(x) + 1 and y[2:] == x[1:]:
        letters = "xyz"[: len(x) - 1]
        fields = {"u": "y", "u0": "x"} | ({"t": "t"} if "t" in store.keys() else {})
        given = len(letters) == 1 and "grid" in store.keys() and store.values("grid").numel() == x[-1]
        points = {"x": "grid"} if given else {}
        own = Roles(fields, {"u": "nt" + letters, "u0": "n" + letters}, points, roles.kind or "periodic")
        own = replace(own, lo=roles.lo, hi=roles.hi)
        known = "periodic"
    else:
        raise NWidthError(
            f"open {path}",
            got=f"x {x} and y {y}",
            expected="equal shapes, or y with a time axis more",
            fix="set data.fields and data.axes",
        )
    if known and roles.kind is None:
        attributes["boundary"] = dict.fromkeys("xyz"[: len(x) - (len(y) == len(x) and "c" in own.axes["u"]) - 1], known)
    return assemble(store, own, format="neuraloperator", attributes=attributes)
