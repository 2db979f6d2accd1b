"""From ``data.path`` to files, and the split that a file's name or folder says."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from ...errors import NWidthError
from ..join import SPLITS
from .hdf5 import SUFFIXES

DATA = (*SUFFIXES, ".pt", ".pth", ".mat", ".npz", ".npy", ".dat", ".txt")
# of a folder: not texts, which are more often notes than tables
COLLECTED = (*SUFFIXES, ".pt", ".pth", ".mat", ".npz", ".dat")


def expand(path: str | Path | Sequence[str | Path]) -> list[Path]:
    """Files of a path, a folder, a pattern (``*``, ``?``, ``[``), or a list of these, in order and each once.

    A folder gives the data files in it and below; hidden files and those of other endings (statistics, licences) are
    no data. Errors: nothing there, or a pattern or folder without data files.
    """
    if not isinstance(path, str | Path):
        if not path:
            raise NWidthError("data.path", got="an empty list", expected="files", fix="name at least one")
        return list(dict.fromkeys(found for p in path for found in expand(p)))
    if Path(path).is_file():
        return [Path(path)]
    if Path(path).is_dir():
        if any((Path(path) / name).exists() for name in (".zgroup", ".zarray", "zarr.json")):
            raise NWidthError(f"open {path}", got="a Zarr store", expected="HDF5 or netCDF-4", fix="convert it to one")
        below = sorted(p for p in Path(path).rglob("*") if p.suffix.lower() in COLLECTED and p.is_file())
        found = [p for p in below if not any(part.startswith(".") for part in p.relative_to(path).parts)]
        if not found:
            raise NWidthError(f"open {path}", got="a folder without data files", expected=", ".join(COLLECTED))
        return found
    if glob.has_magic(str(path)):
        matched = [Path(p) for p in sorted(glob.glob(str(path), recursive=True))]
        found = [p for p in matched if p.is_file() and p.suffix.lower() in DATA]
        if not found:
            raise NWidthError(f"open {path}", got="a pattern that no data file fits", fix="check data.path")
        return found
    raise NWidthError(f"open {path}", got="no such file", fix="check data.path")


def split_of(path: Path) -> str | None:
    """train, val or test, as the file's folder is called or one word of its name says; None where neither does."""
    folder = SPLITS.get(path.parent.name.lower())
    words = [SPLITS[w] for w in re.split(r"[_\-. ]", path.stem.lower()) if w in SPLITS]
    return words[-1] if words else folder
