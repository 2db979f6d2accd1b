"""Any other HDF5 file: its keys, and where needed axes and grid, are named in the config, or tell their roles.

``x`` and ``y`` are input and solution, as in neuraloperator's HDF5 files (see ``names`` for the others).
"""

from __future__ import annotations

from pathlib import Path

from ..dataset import Dataset
from ..handles import open_h5
from ..roles import Roles, assemble
from ..stores import H5Store
from .hdf5 import is_hdf5, plain_attributes
from .names import by_name


def matches(path: Path) -> bool:
    return is_hdf5(path)


def read(path: Path, roles: Roles) -> Dataset:
    store = H5Store(path)
    roles, names = by_name(store, roles)
    return assemble(store, roles, format="HDF5", names=names, attributes=plain_attributes(open_h5(path)))
