"""What the HDF5 readers share: which files are tried, attributes as plain values, config texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

from ...errors import NWidthError

SUFFIXES = (".h5", ".hdf5", ".he5", ".nc", ".nc4")


def is_hdf5(path: Path) -> bool:
    """By the ending of the name: a damaged file is then told as such by the reader that opens it."""
    return path.suffix.lower() in SUFFIXES


def plain_value(value: Any) -> Any:
    """Numbers, strings, booleans and lists of them, whatever HDF5 gave."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray):
        return plain_value(value.item()) if value.ndim == 0 else [plain_value(v) for v in value.tolist()]
    if isinstance(value, list | tuple):
        return [plain_value(v) for v in value]
    if isinstance(value, np.generic):
        return plain_value(value.item())
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def plain_attributes(item: h5py.File | h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """Every attribute as a plain value; an array of one entry becomes that entry."""
    found = {k: plain_value(v) for k, v in item.attrs.items()}
    return {k: v[0] if isinstance(v, list) and len(v) == 1 else v for k, v in found.items()}


def strings(value: Any) -> tuple[str, ...]:
    """A list of names, which some writers leave as one string, as bytes, or as an empty array of numbers."""
    value = plain_value(value)
    if isinstance(value, str):
        return (value,)
    return tuple(str(v) for v in value) if isinstance(value, Sequence) else ()


def parse_config(text: Any, where: str) -> dict[str, Any]:
    """A YAML text as plain values; nothing in it can be code."""
    try:
        found = yaml.load(plain_value(text), Loader=_LOADER)
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as e:
        raise NWidthError(
            where,
            got=f"a config that is not YAML ({str(e).splitlines()[0][:80]})",
            expected="the YAML text that the data set's scripts write",
            fix="repair or remove the attribute 'config'",
        ) from None
    return dict(found) if isinstance(found, Mapping) else {}


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def number(value: Any) -> float | None:
    """A number, also one that YAML 1.1 takes for a string (5E-3); None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) else None
