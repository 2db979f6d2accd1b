"""NumPy ``.npz`` archives and single ``.npy`` arrays, with keys named in data.fields (a .npy array is called ``u``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import NWidthError
from ..arrays import first_line
from ..dataset import Dataset
from ..roles import Roles, assemble
from ..stores import MemoryStore


def matches(path: Path) -> bool:
    return path.suffix in (".npz", ".npy")


def read(path: Path, roles: Roles) -> Dataset:
    try:
        content = np.load(path, allow_pickle=False)
        arrays = {"u": content} if isinstance(content, np.ndarray) else {k: content[k] for k in content.files}
    except Exception as e:  # NumPy raises many kinds for a damaged archive
        raise NWidthError(
            f"open {path}",
            got=f"a file that NumPy cannot read without pickle ({first_line(e)})",
            expected="plain arrays",
            fix="save arrays of numbers only",
        ) from None
    numbers = {k: v for k, v in arrays.items() if isinstance(v, np.ndarray) and v.dtype.kind in "biufc"}
    return assemble(MemoryStore(path, numbers), roles, format="NumPy")
