"""nwidth's own layout (see nwidth.data.native)."""

from pathlib import Path

from ..dataset import Dataset
from ..handles import open_h5
from ..native import is_native, load_native
from ..roles import Roles, with_kind
from . import plain


def matches(path: Path) -> bool:
    return path.suffix in (".h5", ".hdf5") and is_native(open_h5(path))


def read(path: Path, roles: Roles) -> Dataset:
    if roles.fields:
        return plain.read(path, roles)
    roles.own_conventions(f"open {path}")
    return with_kind(load_native(path), roles.kind)
