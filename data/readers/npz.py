"""NumPy ``.npz`` archives, and single ``.npy`` arrays, which are called ``u`` and stay on disk.

Keys are named in data.fields, or tell their roles (see ``names``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import NWidthError
from ..dataset import Dataset
from ..handles import first_line
from ..roles import Roles, assemble
from ..stores import MemoryStore, NpyStore, Store
from .names import by_name


def matches(path: Path) -> bool:
    return path.suffix in (".npz", ".npy")


def read(path: Path, roles: Roles) -> Dataset:
    store: Store = NpyStore(path, {"u": path}) if path.suffix == ".npy" else _archive(path)
    roles, names = by_name(store, roles)
    numbers = {} if path.suffix == ".npy" else _single(store, roles)
    return assemble(store, roles, format="NumPy", names=names, attributes=numbers)


def _archive(path: Path) -> MemoryStore:
    try:
        content = np.load(path, allow_pickle=False)
        arrays = {k: content[k] for k in content.files}
    except Exception as e:  # NumPy raises many kinds for a damaged archive
        raise NWidthError(
            f"open {path}",
            got=f"a file that NumPy cannot read without pickle ({first_line(e)})",
            expected="a whole archive of plain arrays",
            fix="save arrays of numbers only, or copy the file again",
        ) from None
    return MemoryStore(path, {k: v for k, v in arrays.items() if v.dtype.kind in "biufc"})


def _single(store: Store, roles: Roles) -> dict[str, float]:
    """Single numbers beside the fields are attributes."""
    used = {k for r in ("u", "a", "u0", "mu", "t") for k in roles.keys(r)}
    return {k: float(store.values(k)) for k in store.keys() if k not in used and store.shape(k) == ()}
