"""Any other HDF5 file: its keys, and where needed axes and grid, are named in the config."""

from __future__ import annotations

from pathlib import Path

from ..dataset import Dataset
from ..roles import Roles, assemble
from ..stores import H5Store


def matches(path: Path) -> bool:
    return path.suffix in (".h5", ".hdf5", ".he5")


def read(path: Path, roles: Roles) -> Dataset:
    store = H5Store(path)
    if not roles.fields:
        guess = {"u": "y", "a": "x"} if {"x", "y"} <= set(store.keys()) else {}
        roles = Roles(guess, roles.axes, roles.coordinates, roles.kind, roles.lo, roles.hi)
    return assemble(store, roles, format="HDF5")
