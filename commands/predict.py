"""nwidth predict: solutions of a finished run for the inputs of a file, as a data set of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import torch
from rich.progress import track
from torch import Tensor

from ..data import Dataset, save_dataset
from ..data.files import whole_file
from ..errors import NWidthError
from ..training.page import console
from ..training.runs import load_fitted
from ..training.session import open_data, set_process


def run(config: dict[str, Any], folder: Path) -> None:
    """Write ``out`` with the inputs and u, and where the surrogate gives one the dataset ``std`` beside u."""
    set_process(config["threads"])
    for name, value in (
        ("run", config["run"]),
        ("out", config["out"]),
        ("data.path", config["data"]["path"] or config["data"].get("download")),
    ):
        if not value:
            raise NWidthError(
                "predict", got=f"no {name}", expected="run=DIR data.path=FILE out=FILE", fix=f"add {name}=..."
            )
    out = Path(config["out"])
    if out.exists() and not config["overwrite"]:
        raise NWidthError("predict", got=f"out={out}, which exists", fix="choose another, or add overwrite=true")
    surrogate, own, _ = load_fitted(config["run"])
    data = open_data(config["data"])
    inputs = data.inputs()
    if inputs.t is None and data.time_dependent:
        inputs = replace(inputs, t=data.t)
    block = min(256, max(1, 2**26 // max(inputs.nbytes // max(len(inputs), 1), 1)))
    spread: list[Tensor] = []

    def blocks() -> Iterator[Dataset]:
        starts = range(0, len(inputs), block)
        for start in track(starts, description="predict", transient=True, disable=not sys.stderr.isatty()):
            part = inputs[start : start + block].load()
            p = surrogate.predict(part)
            if p.std is not None:
                spread.append(p.std.cpu())
            yield replace(part, u=p.mean.cpu())

    made = blocks()
    first = next(made)
    header = replace(first, splits={}, source=f"predicted by {own['name']} ({config['run']})")
    with whole_file(out) as temporary:
        save_dataset(temporary, header, chain([first], made), total=len(inputs))
        if spread:
            with h5py.File(temporary, "a") as f:
                std = f.create_dataset("std", data=torch.cat(spread).numpy(), chunks=f["u"].chunks, fletcher32=True)
                std.attrs["dims"] = f["u"].attrs["dims"]
    console().print(f"{len(inputs)} predictions: {out}")
