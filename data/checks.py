"""Whether a data set is sound: what its fields hold, NaN, constants, repeats."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..backends import Grid, Mesh
from .arrays import Array, blocks
from .dataset import INPUTS, Dataset
from .storage import storage

ROLE = {"a": "input field", "u0": "initial state", "mu": "parameters", "u": "solution"}
_BLOCK = 2**24  # bytes read at a time


def inspect(
    data: Dataset, others: Mapping[str, Dataset] | None = None, *, advance: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Fields with shape, dtype, range and defects, and warnings in words; one pass over the files in small blocks.

    ``others`` are data sets of other files by split name (test, val), whose samples are compared with those of
    ``data`` as well. ``advance(bytes)`` is called after each block.

    A value that is NaN or infinite is counted and left out of ``min``, ``max``, ``mean`` and ``std``; for complex
    fields these are of the modulus. Two samples repeat each other where all their inputs (without inputs, their
    solutions) are equal to the last bit.
    """
    others = dict(others or {})
    fields, warnings, keys = _fields(data, advance)
    for name, other in others.items():
        _, said, keys_of = _fields(other, advance)
        warnings += [f"{name}: {sentence}" for sentence in said]
        keys |= {f"{name} {k}": v for k, v in keys_of.items()}
    warnings += _repeats(data, others, keys)
    if isinstance(data.grid, Mesh) and data.grid.point_weights is None and data.grid.cells is None:
        warnings.append("a mesh without cells or weights: every point counts the same in norms")
    return {
        "source": data.source,
        "format": data.format,
        "samples": len(data),
        "grid": data.grid.describe(),
        "boundary": boundary(data),
        "bytes": data.nbytes,
        "storage": storage(data),
        "fields": fields,
        "parameters": parameters(data),
        "warnings": warnings,
        "times": None if data.t is None else data.t.tolist(),
        "t0": data.t0 if data.t is not None else None,
        "splits": {k: len(v) for k, v in data.splits.items()} | {k: len(v) for k, v in others.items()},
    }


def boundary(data: Dataset) -> dict[str, str]:
    """Boundary conditions: what the file says, else what the kinds of the axes imply, by axis."""
    said = data.attributes.get("boundary")
    if isinstance(said, Mapping):
        return {str(k): str(v) for k, v in said.items()}
    if said:
        return {"all": str(said)}
    if isinstance(data.grid, Grid):
        return {a.name: "periodic" if a.kind == "periodic" else "not said" for a in data.grid.axes}
    return {}


def parameters(data: Dataset) -> dict[str, dict[str, float | int]]:
    """Ranges of the columns of mu by name, and numbers among the attributes, which are one value for all samples."""
    found: dict[str, dict[str, float | int]] = {}
    if data.mu is not None and data.mu.numel():
        mu = data.mu.double()
        for name, column in zip(data.channels("mu"), mu.T):
            good = column[column.isfinite()]
            if len(good):
                found[name] = {"min": float(good.min()), "max": float(good.max()), "values": len(good.unique())}
    said = data.attributes.get("parameters")
    for name, value in [*data.attributes.items(), *(said.items() if isinstance(said, Mapping) else ())]:
        if isinstance(value, int | float) and not isinstance(value, bool):
            found.setdefault(name, {"min": float(value), "max": float(value), "values": 1})
    return found


def _fields(
    data: Dataset, advance: Callable[[int], None] | None
) -> tuple[list[dict[str, Any]], list[str], dict[str, list[bytes]]]:
    fields, warnings = [], []
    keys: dict[str, list[bytes]] = {}
    for name in ("a", "u0", "mu", "u"):
        value = getattr(data, name)
        if value is None:
            continue
        entry, keys[name] = _field(data, name, value, advance)
        fields.append(entry)
        if entry["not_finite"]:
            warnings.append(
                f"{name} has {entry['not_finite']} NaN or infinite values in {entry['bad_samples']} samples"
            )
        for channel in entry["constant_channels"]:
            warnings.append(f"{name}: channel {channel} never varies")
    return fields, warnings, keys


def _field(
    data: Dataset, name: str, value: Array, advance: Callable[[int], None] | None
) -> tuple[dict[str, Any], list[bytes]]:
    timed = name == "u" and data.time_dependent
    moments, constant = _Moments(), _Constant(1 + timed)
    bad, bad_samples = 0, set()
    keys: list[bytes] = []
    growing: tuple[int, Any] = (-1, None)  # a sample whose times come in several blocks
    for samples, _, x in blocks(value, timed=timed, size=_BLOCK):
        for i, sample in zip(range(samples.start, samples.stop), x):
            if growing[0] != i:
                growing = (i, hashlib.blake2b(digest_size=12))
                keys.append(b"")
            growing[1].update(sample.contiguous().numpy())
            keys[-1] = growing[1].digest()
        constant.add(x)
        if advance:
            advance(x.nbytes)
        x = (x.abs() if x.is_complex() else x).double()
        if not math.isfinite(float(x.sum())):
            finite = torch.isfinite(x)
            missing = int((~finite).sum())
            bad += missing
            if missing:
                rows = (~finite).flatten(1).any(1).nonzero().flatten() + samples.start
                bad_samples |= set(rows.tolist())
                x = x[finite]
        moments.add(x)
    names = data.channels(name)
    entry = {
        "name": name,
        "role": ROLE[name],
        "shape": list(value.shape),
        "dtype": str(value.dtype).removeprefix("torch."),
        "channels": list(names),
        "units": data.units.get(name, ""),
        "min": moments.low,
        "max": moments.high,
        "mean": moments.mean,
        "std": moments.std,
        "not_finite": bad,
        "bad_samples": len(bad_samples),
        "constant_channels": [c for c, same in zip(names, constant.flags()) if same],
    }
    return entry, keys


class _Moments:
    """Range, mean and standard deviation of blocks that arrive one by one (Chan, Golub and LeVeque's update)."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, 0.0, 0.0
        self.low, self.high = math.inf, -math.inf

    def add(self, x: Tensor) -> None:
        if not x.numel():
            return
        low, high = torch.aminmax(x)
        var, mean = torch.var_mean(x, correction=0)
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
        total, step = self.count + x.numel(), float(mean) - self.mean
        self.squares += float(var) * x.numel() + step**2 * self.count * x.numel() / total
        self.mean += step * x.numel() / total
        self.count = total

    @property
    def std(self) -> float:
        return math.sqrt(self.squares / self.count) if self.count else 0.0


class _Constant:
    """Which channels hold one value only; NaN is left out, so that a channel of NaN and one value is constant."""

    def __init__(self, channel: int):
        self.channel, self.count = channel, 0
        self.low: Tensor | None = None
        self.high: Tensor | None = None

    def add(self, x: Tensor) -> None:
        x = torch.view_as_real(x) if x.is_complex() else x[..., None]
        x = x.movedim(self.channel, 0)
        self.count += x[0].numel() // x.shape[-1]
        over = list(range(1, x.ndim - 1))
        low, high = (x.amin(over), x.amax(over)) if over else (x, x)
        if not bool((low + high).isfinite().all()):  # NaN or infinity somewhere: leave these values out
            finite = x.isfinite()
            low = x.masked_fill(~finite, math.inf).amin(over) if over else x
            high = x.masked_fill(~finite, -math.inf).amax(over) if over else x
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)

    def flags(self) -> list[bool]:
        if self.low is None or self.high is None or self.count < 2:
            return []
        return (self.low == self.high).all(-1).tolist()


def _repeats(data: Dataset, others: Mapping[str, Dataset], keys: Mapping[str, list[bytes]]) -> list[str]:
    """Samples whose inputs (or, without inputs, solutions) are equal to the last bit, within and across splits."""
    used = [k for k in INPUTS if k in keys] or ["u"]
    samples: list[tuple[str, int, bytes]] = []  # split, number, digest
    place = {int(i): name for name, indices in data.splits.items() for i in indices}
    main = "train" if others else ""
    for i, key in enumerate(b"".join(parts) for parts in zip(*(keys[k] for k in used))):
        samples.append((place.get(i, main), i, key))
    for name in others:
        if all(f"{name} {k}" in keys for k in used):
            parts = zip(*(keys[f"{name} {k}"] for k in used))
            samples += [(name, i, b"".join(p)) for i, p in enumerate(parts)]
    equal: dict[bytes, list[tuple[str, int]]] = {}
    for split, i, key in samples:
        equal.setdefault(key, []).append((split, i))
    pairs = [(same[0], other) for same in equal.values() for other in same[1:]]
    if not pairs:
        return []
    (_, old), (split, new) = min(
        pairs, key=lambda p: (list(others).index(p[1][0]) if p[1][0] in others else -1, p[1][1])
    )
    where = f"{split} " if split in others else ""
    said = [f"{len(pairs)} samples repeat the inputs of an earlier one (first: {where}sample {new} repeats {old})"]
    placed = ([p for p in same if p[0]] for same in equal.values())
    crossing = [(same[0], b) for same in placed for b in same[1:] if b[0] != same[0][0]]
    if crossing:
        (first, a), (second, b) = crossing[0]
        said.append(
            f"{len(crossing)} of them stand in another split than the original (first: {first} {a} and "
            f"{second} {b}): test errors will be too small"
        )
    return said
