"""One module a file format, with ``matches(path)`` and ``read(path, roles)``; ``open_dataset`` tries them in turn."""

from __future__ import annotations

from pathlib import Path

from ...errors import NWidthError
from ..arrays import first_line
from ..dataset import Dataset
from ..roles import Roles
from . import matlab, native, neuralop, npz, pdebench, plain

FORMATS = {
    "native": native,
    "pdebench": pdebench,
    "neuralop": neuralop,
    "matlab": matlab,
    "npz": npz,
    "plain": plain,
}


def open_dataset(path: str | Path, roles: Roles | None = None, format: str = "auto") -> Dataset:
    """Open a file of PDE data, whatever its format; fields of HDF5 files stay on disk.

    ``format`` is ``auto`` or one of native, pdebench, neuralop, matlab, npz, plain. With ``roles`` that name fields,
    the file's own conventions are not consulted: the roles say it all.

    Errors: a missing file, a format that no reader knows, a key that is not there (with those that are), axes that
    cannot be guessed.
    """
    path = Path(path)
    if not path.is_file():
        raise NWidthError(f"open {path}", got="no such file", fix="check data.path")
    if format not in ("auto", *FORMATS):
        raise NWidthError(f"open {path}", got=f"data.format={format!r}", expected="auto, " + ", ".join(FORMATS))
    try:
        if format == "auto":
            format = next((name for name, reader in FORMATS.items() if reader.matches(path)), "")
        if format:
            return FORMATS[format].read(path, roles or Roles())
    except (OSError, RuntimeError, KeyError) as e:  # what HDF5 raises for damaged metadata
        raise NWidthError(
            f"open {path}",
            got=f"a file that cannot be read ({first_line(e)})",
            expected="a whole file",
            fix="it may be damaged: copy or download it again",
        ) from e
    raise NWidthError(
        f"open {path}",
        got=f"a file ending in {path.suffix!r} that no reader recognises",
        expected=".h5, .hdf5, .pt, .mat or .npz",
        fix="set data.format, or convert the file",
    )
