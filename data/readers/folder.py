"""A folder with one array a file: ``.npy``, or ``.pt`` that hold a single tensor.

The keys are the names without their endings. They are named in data.fields, or tell their roles (see ``names``):
``snapshots_vx.npy``, ``params.npy``, ``pts.npy``, ``cells.npy``. Names with train, test or valid
(``advection_input_training.pt``) make stored splits.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ...errors import NWidthError
from ..dataset import Dataset
from ..join import SPLITS, join, within
from ..roles import Roles, assemble
from ..stores import MemoryStore, NpyStore, Store
from .names import NAMES, by_name
from .neuralop import load_pt


def matches(path: Path) -> bool:
    if not path.is_dir():
        return False
    names = [p for p in path.iterdir() if p.is_file()]
    if any(p.suffix == ".npy" for p in names):
        return True
    tensors = [p for p in names if p.suffix in (".pt", ".pth")]
    return len(tensors) > 1 and all(_role(p.stem) for p in tensors)


def read(path: Path, roles: Roles) -> Dataset:
    files = {p.stem: p for p in sorted(path.iterdir()) if p.suffix == ".npy"}
    store: Store
    if files:
        store = NpyStore(path, files)
    else:
        found = {p.stem: load_pt(p) for p in sorted(path.iterdir()) if p.suffix in (".pt", ".pth")}
        odd = next((k for k, v in found.items() if set(v) != {"u"}), None)
        if odd:
            raise NWidthError(f"open {path}: {odd}", got="a dict of tensors", expected="one tensor a file, as others")
        store = MemoryStore(path, {k: v["u"] for k, v in found.items()})
    groups: dict[str | None, dict[str, str]] = {}
    for key in store.keys():
        split, rest = _without_split(key)
        groups.setdefault(split, {})[rest] = key
    if roles.fields or len([s for s in groups if s]) < 2:
        roles, names = by_name(store, roles)
        return assemble(store, roles, format="folder of arrays", names=names)
    parts, splits = [], []
    for split, keys in groups.items():
        if split is None:
            continue
        view = _Renamed(store, {**groups.get(None, {}), **keys})
        own, names = by_name(view, roles)
        if not own.fields:
            words = {_role(k): k for k in view.keys()}
            own = replace(roles, fields={r: k for r, k in words.items() if r})
        part = assemble(view, own, format="folder of arrays", names=names)
        parts.append(replace(part, source=f"{path}: {split}"))
        splits.append(split)
    return within(join(parts, splits), path)


def _words(key: str) -> list[str]:
    return re.split(r"[_\-. ]", key.lower())


def _without_split(key: str) -> tuple[str | None, str]:
    split = next((SPLITS[w] for w in _words(key) if w in SPLITS), None)
    kept = [w for w in re.split(r"[_\-. ]", key) if w.lower() not in SPLITS]
    return split, "_".join(kept) if split else key


def _role(key: str) -> str | None:
    """The role that a word of the name tells: input, output, ..."""
    return next((role for role, names in NAMES.items() for w in _words(key) if w in names and len(w) > 2), None)


class _Renamed:
    """Some arrays of a store under other names."""

    def __init__(self, store: Store, names: dict[str, str]):
        self.store, self.names, self.path = store, names, store.path

    def keys(self) -> list[str]:
        return list(self.names)

    def shape(self, key: str) -> tuple[int, ...]:
        return self.store.shape(self.names[key])

    def values(self, key: str):
        return self.store.values(self.names[key])

    def field(self, keys, axes: str):
        return self.store.field([self.names[k] for k in keys], axes)
