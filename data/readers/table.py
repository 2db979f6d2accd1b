"""Tables of numbers as text: x in the first column, then u at one time after the other.

Lines that begin with ``%`` or ``#`` are comments. The times stand in the last of them as ``@ t=0.1``, as COMSOL writes
it; without them the columns are counted. One trajectory.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...errors import NWidthError
from ..dataset import Dataset
from ..handles import first_line
from ..roles import Roles, assemble
from ..stores import MemoryStore


def matches(path: Path) -> bool:
    return path.suffix.lower() in (".dat", ".txt")


def read(path: Path, roles: Roles) -> Dataset:
    if not roles.fields:
        roles.own_conventions(f"open {path}")
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        rows = [line.split() for line in lines if line.strip() and line.lstrip()[0] not in "%#"]
        widths = {len(r) for r in rows}
        if len(widths) > 1:
            bad = next(i for i, r in enumerate(rows) if len(r) != len(rows[0]))
            raise ValueError(f"row {bad} has {len(rows[bad])} columns, row 0 has {len(rows[0])}")
        table = np.array(rows, dtype=np.float64)
        if table.ndim != 2 or table.shape[1] < 2:
            raise ValueError("fewer than two columns")
    except (ValueError, OSError) as e:
        raise NWidthError(
            f"open {path}",
            got=f"a text that is no table of numbers ({first_line(e)})",
            expected="x, then u at several times, in columns of equal number",
            fix="convert it to .npz or .h5",
        ) from None
    comments = [line for line in lines if line.lstrip()[:1] in ("%", "#")]
    times = re.findall(r"@\s*t\s*=\s*([-+0-9.eE]+)", comments[-1]) if comments else []
    states = table.shape[1] - 1
    if times and len(times) != states:
        raise NWidthError(f"open {path}", got=f"{len(times)} times for {states} columns", expected="as many")
    t = np.array([float(v) for v in times]) if times else np.arange(states, dtype=np.float64)
    store = MemoryStore(path, {"u": table[:, 1:], "x": table[:, 0], "t": t})
    own = Roles({"u": "u", "t": "t"}, {"u": "xt"}, {"x": "x"}, roles.kind)
    if states == 1:
        own = Roles({"u": "u"}, {"u": "xc"}, {"x": "x"}, roles.kind)
    described = {"header": [line.lstrip("%# ").strip() for line in comments[:-1]]} if comments[:-1] else {}
    return assemble(store, roles if roles.fields else own, format="table", attributes=described)
