"""nwidth's own layout (see nwidth.data.native)."""

from pathlib import Path

from ..arrays import open_h5
from ..dataset import Dataset
from ..native import is_native, load_native
from ..roles import Roles
from . import plain


def matches(path: Path) -> bool:
    return path.suffix in (".h5", ".hdf5") and is_native(open_h5(path))


def read(path: Path, roles: Roles) -> Dataset:
    return plain.read(path, roles) if roles.fields else load_native(path)
