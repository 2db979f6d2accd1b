"""nwidth convert: any readable data as one file in nwidth's own layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..data.convert import COMPRESSIONS, FIELDS, convert
from ..data.download import ensure
from ..data.progress import bytes_bar
from ..data.transfer import size_text
from ..errors import NWidthError
from ..training.page import console
from ..training.session import open_data, set_process

DTYPES = {None: None, "float32": torch.float32, "float64": torch.float64}


def run(config: dict[str, Any], folder: Path) -> None:
    """Write ``out``; data.test_path and data.val_path become splits of it."""
    set_process(config["threads"])
    if not config["out"]:
        raise NWidthError("convert", got="no out", expected="out=FILE.h5", fix="add out=FILE.h5")
    for name, allowed in (("dtype", DTYPES), ("compression", COMPRESSIONS)):
        if config[name] not in allowed:
            expected = ", ".join(str(k or "null") for k in allowed)
            raise NWidthError(name, got=repr(config[name]), expected=expected)
    out = Path(config["out"])
    if out.suffix not in (".h5", ".hdf5"):
        raise NWidthError("convert", got=f"out={out}", expected="a name that ends in .h5 or .hdf5")
    if out.exists() and not config["overwrite"]:
        raise NWidthError("convert", got=f"out={out}, which exists", fix="choose another, or add overwrite=true")
    where = ensure(config["data"])
    others = {name: where[f"{name}_path"] for name in ("val", "test") if where.get(f"{name}_path")}
    parts = {"train": open_data(where)} | {name: open_data(where, path) for name, path in others.items()}
    total = sum(v.nbytes for p in parts.values() for k in FIELDS if (v := getattr(p, k)) is not None)
    with bytes_bar("convert", total) as advance:
        convert(
            parts if others else parts["train"],
            out,
            dtype=DTYPES[config["dtype"]],
            compression=config["compression"],
            on_bytes=advance,
        )
    count = sum(len(p) for p in parts.values())
    console().print(f"{count} samples, {size_text(out.stat().st_size)}: {out}")
