"""Whether a data set is sound: what its fields hold, NaN, constants, repeats."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import torch

from ..backends import Mesh
from .arrays import Array, H5Array
from .dataset import Dataset

ROLE = {"a": "input field", "u0": "initial state", "mu": "parameters", "u": "solution"}


def inspect(data: Dataset) -> dict[str, Any]:
    """Fields with shape, dtype, range and defects, and warnings in words; one pass over the file in blocks."""
    fields, warnings = [], []
    digests: dict[str, list[bytes]] = {}
    for name in ("a", "u0", "mu", "u"):
        value = getattr(data, name)
        if value is None:
            continue
        entry, digest = _field(data, name, value)
        fields.append(entry)
        digests[name] = digest
        if entry["not_finite"]:
            warnings.append(
                f"{name} has {entry['not_finite']} NaN or infinite values in {entry['bad_samples']} samples"
            )
        for channel in entry["constant_channels"]:
            warnings.append(f"{name}: channel {channel} never varies")
    warnings += _repeats(data, digests)
    if isinstance(data.grid, Mesh) and data.grid.point_weights is None and data.grid.cells is None:
        warnings.append("a mesh without cells or weights: every point counts the same in norms")
    return {
        "source": data.source,
        "format": data.format,
        "samples": len(data),
        "grid": data.grid.describe(),
        "bytes": data.nbytes,
        "fields": fields,
        "warnings": warnings,
        "times": None if data.t is None else data.t.tolist(),
        "splits": {k: len(v) for k, v in data.splits.items()},
    }


def _field(data: Dataset, name: str, value: Array) -> tuple[dict[str, Any], list[bytes]]:
    n = len(value)
    block = max(1, 2**26 // max(value.nbytes // max(n, 1), 1))
    total, squares, count, bad, bad_samples = 0.0, 0.0, 0, 0, 0
    channel = 2 if name == "u" and data.time_dependent else 1
    lows: list[np.ndarray] = []
    highs: list[np.ndarray] = []
    digests: list[bytes] = []
    for start in range(0, n, block):
        x = value.read(slice(start, start + block)) if isinstance(value, H5Array) else value[start : start + block]
        digests += [hashlib.blake2b(s.contiguous().numpy().tobytes(), digest_size=12).digest() for s in x]
        x = x.abs().double() if x.is_complex() else x.double()
        finite = torch.isfinite(x)
        missing = int((~finite).sum())
        over = [d for d in range(x.ndim) if d != channel]
        lows.append(x.masked_fill(~finite, math.inf).amin(over).numpy())
        highs.append(x.masked_fill(~finite, -math.inf).amax(over).numpy())
        bad += missing
        if missing:
            bad_samples += int((~finite).flatten(1).any(1).sum())
            x = x.masked_fill(~finite, 0.0)
        total, squares, count = total + float(x.sum()), squares + float(x.square().sum()), count + x.numel() - missing
    mean = total / max(count, 1)
    names = data.channels(name)
    low, high = float(np.min(lows)), float(np.max(highs))
    spread = np.max(highs, 0) - np.min(lows, 0)
    entry = {
        "name": name,
        "role": ROLE[name],
        "shape": list(value.shape),
        "dtype": str(value.dtype).removeprefix("torch."),
        "channels": list(names),
        "units": data.units.get(name, ""),
        "min": low,
        "max": high,
        "mean": mean,
        "std": math.sqrt(max(squares / max(count, 1) - mean**2, 0.0)),
        "not_finite": bad,
        "bad_samples": bad_samples,
        "constant_channels": [c for c, s in zip(names, spread) if s == 0 and n > 1],
    }
    return entry, digests


def _repeats(data: Dataset, digests: dict[str, list[bytes]]) -> list[str]:
    """Samples whose inputs (or, without inputs, solutions) are equal to the last bit, within and across splits."""
    inputs: list[str] = [k for k in ("a", "u0", "mu") if k in digests]
    inputs = inputs or ["u"]
    keys = [b"".join(parts) for parts in zip(*(digests[k] for k in inputs))]
    equal: dict[bytes, list[int]] = {}
    for i, key in enumerate(keys):
        equal.setdefault(key, []).append(i)
    pairs = sorted(((same[0], i) for same in equal.values() for i in same[1:]), key=lambda pair: pair[1])
    if not pairs:
        return []
    old, new = pairs[0]
    said = [f"{len(pairs)} samples repeat the inputs of an earlier one (first: sample {new} repeats {old})"]
    place = {int(i): name for name, indices in data.splits.items() for i in indices}
    placed = ([i for i in same if i in place] for same in equal.values())
    crossing = [(same[0], b) for same in placed for b in same[1:] if place[b] != place[same[0]]]
    if crossing:
        a, b = crossing[0]
        said.append(
            f"{len(crossing)} of them stand in another split than the original (first: {place[a]} {a} and "
            f"{place[b]} {b}): test errors will be too small"
        )
    return said
