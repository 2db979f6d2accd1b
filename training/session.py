"""What every command does first: threads and memory, data, split, surrogate."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..build import build
from ..data import Dataset, Roles, Split, Surrogate, apply_split, open_dataset
from ..data.arrays import blocks
from ..data.download import ensure
from ..data.values import cast, complex_as
from ..errors import NWidthError
from .heap import keep_freed


@dataclass
class Session:
    """The parts of the data by split name, the indices that made them, and what a report says of them."""

    parts: dict[str, Dataset]
    indices: dict[str, Tensor]
    data: dict[str, Any]

    @property
    def train(self) -> Dataset:
        return self.parts["train"]

    @property
    def val(self) -> Dataset | None:
        return self.parts.get("val")


def whole_number(name: str, value: Any, least: int = 0) -> int:
    """``value`` as an integer of at least ``least``; the error names the config's key."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise NWidthError(name, got=repr(value), expected=f"a whole number from {least}")
    return value


def set_process(threads: Any) -> int:
    """Freed memory is kept (``heap``), and there are so many threads.

    ``auto``: the cores this process may use, at most 8, since small trainings slow down with more.
    """
    keep_freed()
    if threads in (None, "auto"):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = int(os.environ.get("OMP_NUM_THREADS", min(cores, 8)))
    if not isinstance(threads, int) or threads < 1:
        raise NWidthError("threads", got=repr(threads), expected="auto, or a number from 1")
    torch.set_num_threads(threads)
    return threads


def open_data(config: Mapping[str, Any], path: str | None = None) -> Dataset:
    """The data set that ``config`` (the ``data`` group) describes, thinned and limited as it says."""
    config = ensure(config) if path is None else config
    path = path or config["path"]
    if not path:
        raise NWidthError("data.path", got="nothing", expected="a file", fix="add data.path=FILE")
    named = {k: {r: _keys(v) for r, v in config[k].items() if v is not None} for k in ("fields", "axes", "coordinates")}
    roles = Roles(named["fields"], named["axes"], named["coordinates"], config["kind"], config["lo"], config["hi"])
    resolution, times = config.get("resolution"), config.get("times")
    data = open_dataset(path, roles, config["format"], resolution=resolution, times=times)
    if config["n"] is not None:
        n = whole_number("data.n", config["n"], 1)
        if n > len(data):
            raise NWidthError("data.n", got=f"{n}", expected=f"1 to {len(data)}, the samples of {path}")
        kept = {k: v[v < n] for k, v in data.splits.items()}
        data = replace(data[:n], splits={k: v for k, v in kept.items() if len(v)})
    data = data.thin(*(whole_number(f"data.{k}", config[k], 1) for k in ("stride", "time_stride")))
    if config["dtype"] is not None:
        dtypes = {"float32": torch.float32, "float64": torch.float64}
        if config["dtype"] not in dtypes:
            raise NWidthError("data.dtype", got=repr(config["dtype"]), expected="float32, float64 or null")
        data = cast(data, dtypes[config["dtype"]])
    return complex_as(data, config.get("complex") or "keep")


def _keys(value: Any) -> Any:
    return [str(v) for v in value] if isinstance(value, list | tuple) else str(value)


def open_session(config: Mapping[str, Any]) -> Session:
    """Data and split of a command: one file that is split, or separate files for validation and test."""
    where = ensure(config["data"])
    data = open_data(where)
    split: Split = build(config["split"])
    others = {name: open_data(where, where[f"{name}_path"]) for name in ("test", "val") if where[f"{name}_path"]}
    if others:
        sizes: dict[str, Any] = dict.fromkeys(others, 0)
        split = replace(split, **sizes)
    stored = {k: v for k, v in data.splits.items() if k not in others} if split.stored else {}
    if not {"train", "test"} <= set(stored) | set(others):
        stored = {}
    parts, indices = apply_split(data, split, stored)
    for name, other in others.items():
        if tuple(other.grid.shape) != tuple(data.grid.shape) or other.reads != data.reads:
            raise NWidthError(
                f"data.{name}_path",
                got=f"{other.grid.describe()} with inputs {list(other.reads)}",
                expected=f"{data.grid.describe()} with inputs {list(data.reads)}",
                fix="use nwidth evaluate for data of another resolution",
            )
        parts[name] = other
    if "test" not in parts:
        raise NWidthError(
            "split", got="no test samples", expected="a test split", fix="set split.test or data.test_path"
        )
    check_finite(parts)
    return Session(parts, indices, describe(data, parts, indices))


def check_finite(parts: Mapping[str, Dataset]) -> None:
    """Raise where a part holds NaN or infinity, saying which samples."""
    for name, part in parts.items():
        for field in ("u", "a", "u0", "mu"):
            value = getattr(part, field)
            if value is None:
                continue
            for samples, _, piece in blocks(value, timed=field == "u" and part.time_dependent):
                bad = (~torch.isfinite(piece)).flatten(1).any(1).nonzero().flatten()
                if len(bad):
                    raise NWidthError(
                        f"data {part.source}",
                        got=f"NaN or infinite values in {field} of {len(bad)} {name} samples "
                        f"(first: {int(bad[0]) + samples.start})",
                        expected="finite data",
                        fix="see nwidth info, then leave them out or repair the file",
                    )


def describe(data: Dataset, parts: Mapping[str, Dataset], indices: Mapping[str, Tensor]) -> dict[str, Any]:
    """The ``data`` entry of a report."""
    digest = hashlib.sha256()
    for name in sorted(indices):
        digest.update(name.encode() + indices[name].numpy().tobytes())
    test = parts["test"]
    return {
        "source": data.source,
        "format": data.format,
        "samples": {k: len(v) for k, v in parts.items()},
        "grid": data.grid.describe(),
        "resolution": list(data.grid.shape),
        "inputs": list(data.reads),
        "channels": {k: list(data.channels(k)) for k in ("a", "u0", "u") if getattr(data, k) is not None},
        "parameters": 0 if data.mu is None else data.mu.shape[1],
        "times": None if data.t is None else [float(data.t[0]), float(data.t[-1]), len(data.t)],
        "problem": None if data.problem is None else dict(data.problem),
        "split_hash": digest.hexdigest()[:12],
        "test_fingerprint": fingerprint(test),
    }


def fingerprint(data: Dataset) -> str:
    """A hash of up to 16 solutions, to tell whether two reports speak of the same test data."""
    some = torch.linspace(0, len(data) - 1, min(16, len(data))).round().long().unique()
    u = data[some].load().solution
    return hashlib.sha256(u.contiguous().numpy().tobytes()).hexdigest()[:12]  # type: ignore[union-attr]


def config_hash(config: Mapping[str, Any]) -> str:
    """Of the surrogate's own config: two rows with one hash differ in data or seed only."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:12]


def build_surrogate(config: Mapping[str, Any]) -> Surrogate:
    """The surrogate that a config names; anything else is refused."""
    found = build(config)
    if not isinstance(found, Surrogate):
        raise NWidthError(
            "surrogate", got=f"a {type(found).__name__}", expected="a Surrogate", fix="check surrogate._target_"
        )
    return found
