"""neuraloperator ``.pt`` files: a dict of tensors ``x`` and ``y``, read with weights_only so that no code can run.

``y`` (N, *space) with ``x`` of the same shape is a steady problem with input field a. ``y`` (N, T, *space) with
``x`` (N, *space) is time-dependent; where ``x`` is the first state it is u0. Points are j/n and the end point 1 is
not stored: a periodic axis for time-dependent files, a nodal axis on [0, 1 - 1/n] otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...errors import NWidthError
from ..arrays import first_line
from ..dataset import Dataset
from ..roles import Roles, assemble
from ..stores import MemoryStore


def matches(path: Path) -> bool:
    return path.suffix in (".pt", ".pth")


def read(path: Path, roles: Roles) -> Dataset:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch raises many kinds for a damaged file
        raise NWidthError(
            f"open {path}",
            got=f"a file refused by weights_only loading ({first_line(e)})",
            expected="a dict of plain tensors",
            fix="save tensors only",
        ) from None
    if isinstance(content, Tensor):
        content = {"u": content}
    if not isinstance(content, Mapping):
        raise NWidthError(f"open {path}", got=f"a {type(content).__name__}", expected="a dict of tensors")
    store = MemoryStore(path, {k: v for k, v in content.items() if isinstance(v, Tensor)})
    numbers = {k: v for k, v in content.items() if isinstance(v, int | float | str)}
    if roles.fields:
        return assemble(store, roles, format="PyTorch tensors", attributes=numbers)
    if not {"x", "y"} <= set(store.keys()):
        raise NWidthError(
            f"open {path}",
            got="keys " + ", ".join(store.keys()),
            expected="x and y",
            fix="name them with data.fields.u=KEY data.fields.a=KEY",
        )
    x, y = store.shape("x"), store.shape("y")
    if len(y) == len(x):
        channel = "c" if len(y) == 4 and y[1] < min(y[2:]) else ""
        space = y[2:] if channel else y[1:]
        axes = "n" + channel + "xyz"[: len(space)]
        hi = [1 - 1 / n for n in space]
        own = Roles({"u": "y", "a": "x"}, {"u": axes, "a": axes}, kind="nodal", hi=hi)
        return assemble(store, own, format="neuraloperator", attributes=numbers)
    if len(y) == len(x) + 1 and y[2:] == x[1:]:
        letters = "xyz"[: len(x) - 1]
        fields = {"u": "y", "u0": "x"}
        if "t" in store.keys():
            fields["t"] = "t"
        own = Roles(fields, {"u": "nt" + letters, "u0": "n" + letters}, kind="periodic")
        return assemble(store, own, format="neuraloperator", attributes=numbers)
    raise NWidthError(
        f"open {path}",
        got=f"x {x} and y {y}",
        expected="equal shapes, or y with a time axis more",
        fix="set data.fields and data.axes",
    )
