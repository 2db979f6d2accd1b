"""nwidth predict: solutions of a finished run for the inputs of a file, as a data set of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
from rich.console import Console
from rich.progress import track

from ..data import Dataset, save_dataset
from ..errors import NWidthError
from ..training.runs import load_fitted
from ..training.session import open_data, set_threads


def run(config: dict[str, Any], folder: Path) -> None:
    """Write ``out`` with the inputs and u, and where the surrogate gives one the dataset ``std`` beside u."""
    set_threads(config["threads"])
    for name, value in (("run", config["run"]), ("out", config["out"]), ("data.path", config["data"]["path"])):
        if not value:
            raise NWidthError("predict", got=f"no {name}", expected="run=DIR data.path=FILE out=FILE",
                              fix=f"add {name}=...")
    out = Path(config["out"])
    if out.exists() and not config["overwrite"]:
        raise NWidthError("predict", got=f"out={out}, which exists", fix="choose another, or add overwrite=true")
    surrogate, own, _ = load_fitted(config["run"])
    data = open_data(config["data"])
    inputs = data.inputs()
    if inputs.t is None and data.time_dependent:
        inputs = replace(inputs, t=data.t)
    block = max(1, 2**26 // max(inputs.nbytes // max(len(inputs), 1), 1))
    block = min(block, 256)
    spread: list = []

    def blocks() -> Iterator[Dataset]:
        for start in track(range(0, len(inputs), block), description="predict", transient=True):
            part = inputs[start : start + block].load()
            p = surrogate.predict(part)
            if p.std is not None:
                spread.append(p.std.cpu())
            yield replace(part, u=p.mean.cpu())

    first = next(blocks())
    spread.clear()
    header = replace(first, splits={}, source=f"predicted by {own['name']} ({config['run']})")
    save_dataset(out, header, blocks(), total=len(inputs))
    if spread:
        with h5py.File(out, "a") as f:
            std = f.create_dataset("std", f["u"].shape, spread[0].numpy().dtype, chunks=f["u"].chunks, fletcher32=True)
            std.attrs["dims"] = f["u"].attrs["dims"]
            start = 0
            for piece in spread:
                std[start : start + len(piece)] = piece.numpy()
                start += len(piece)
    Console().print(f"{len(inputs)} predictions: {out}", highlight=False, soft_wrap=True)
