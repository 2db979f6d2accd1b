"""One module a file format, with ``matches(path)`` and ``read(path, roles)``; ``open_dataset`` tries them in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import NWidthError
from ..dataset import Dataset
from ..handles import first_line
from ..join import in_steps, join
from ..resampling import at_resolution
from ..roles import Roles
from . import folder, matlab, native, neuralop, npz, pdearena, pdebench, plain, table, well
from .paths import expand, split_of

FORMATS = {
    "native": native,
    "well": well,
    "pdebench": pdebench,
    "pdearena": pdearena,
    "neuralop": neuralop,
    "matlab": matlab,
    "npz": npz,
    "table": table,
    "folder": folder,
    "plain": plain,
}


def open_dataset(
    path: str | Path | Sequence[str | Path],
    roles: Roles | None = None,
    format: str = "auto",
    *,
    resolution: int | Sequence[int] | None = None,
    times: str | None = None,
) -> Dataset:
    """Open PDE data, whatever their format; fields of HDF5 and ``.npy`` files stay on disk.

    ``path`` is a file, a folder, a pattern such as ``runs/*.h5``, or a list of these. Several files become one set (see
    ``join``), with stored splits where their names or folders say train, valid and test. ``format`` is ``auto`` or
    one of native, well, pdebench, pdearena, neuralop, matlab, npz, table, folder, plain. With ``roles`` that name
    fields, the file's own conventions are not consulted: the roles say it all. ``resolution`` brings every file to one
    number of points, by interpolation as samples are read; ``times="steps"`` counts times in steps, with the step as
    the parameter dt.

    Errors: a missing file, a format that no reader knows, a key that is not there (with those that are), axes that
    cannot be guessed, damaged files, files that are not of one kind (with both names and the difference).
    """
    if format not in ("auto", *FORMATS):
        raise NWidthError(f"open {path}", got=f"data.format={format!r}", expected="auto, " + ", ".join(FORMATS))
    if times not in (None, "steps"):
        raise NWidthError(f"open {path}", got=f"data.times={times!r}", expected="steps or null")
    one = isinstance(path, str | Path) and (Path(path).is_file() or folder.matches(Path(path)))
    files = [Path(path)] if one else expand(path)  # type: ignore[arg-type]
    parts = [_open(file, roles or Roles(), format) for file in files]
    if resolution is not None:
        parts = [at_resolution(p, resolution) for p in parts]
    if times == "steps":
        parts = [in_steps(p) for p in parts]
    if len(parts) == 1:
        return parts[0]
    found = join(parts, [split_of(f) for f in files])
    return replace(found, source=str(path)) if isinstance(path, str | Path) else found


def _open(path: Path, roles: Roles, format: str) -> Dataset:
    try:
        if format == "auto":
            format = next((name for name, reader in FORMATS.items() if reader.matches(path)), "")
        if format:
            return FORMATS[format].read(path, roles)
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
        expected=".h5, .hdf5, .nc, .pt, .mat, .npz, .npy or .dat",
        fix="set data.format, or convert the file",
    )
