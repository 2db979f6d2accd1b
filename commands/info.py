"""nwidth info: what is in a file, whether it is sound, and how fast its n-width decays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from ..data.checks import inspect
from ..data.files import write_json
from ..data.nwidth import n_width
from ..errors import NWidthError
from ..training.page import console
from ..training.session import open_data, set_threads, whole_number


def run(config: dict[str, Any], folder: Path) -> None:
    set_threads(config["threads"])
    data = open_data(config["data"], config["data"]["path"])
    out = console()
    found = inspect(data)
    out.print(f"{data.source}: {data.format}, {len(data)} samples, {data.nbytes / 2**20:.1f} MiB in memory")
    out.print(f"grid: {data.grid.describe()}")
    if data.t is not None:
        out.print(f"times: {len(data.t)} on [{float(data.t[0]):g}, {float(data.t[-1]):g}], start {data.t0:g}")
    fields = Table()
    for title in (
        "field",
        "role",
        "shape",
        "dtype",
        "channels",
        "units",
        "min",
        "max",
        "mean",
        "std",
        "not finite",
        "constant",
    ):
        fields.add_column(title)
    for f in found["fields"]:
        fields.add_row(
            f["name"],
            f["role"],
            str(tuple(f["shape"])),
            f["dtype"],
            ", ".join(f["channels"]),
            f["units"] or "-",
            *(f"{f[k]:.4g}" for k in ("min", "max", "mean", "std")),
            str(f["not_finite"]),
            ", ".join(f["constant_channels"]) or "-",
        )
    out.print(fields)
    for key, value in ((k, v) for k, v in data.attributes.items() if v not in ({}, None)):
        out.print(f"{key}: {value}")
    if data.problem is not None:
        out.print(f"problem: {dict(data.problem)}")
    out.print("splits: " + (", ".join(f"{k} {len(v)}" for k, v in data.splits.items()) or "none stored"))
    for sentence in found["warnings"]:
        out.print(f"warning: {sentence}", style="yellow")
    width = None
    if data.u is not None and not any(f["not_finite"] for f in found["fields"]):
        width = n_width(data, initial=True, max_samples=whole_number("max_samples", config["max_samples"], 2))
        for curve in (width, width.states):
            if curve is not None:
                ranks = [
                    f"rank {r if r is not None else f'above {len(curve.error) - 1}'} for {level}"
                    for level, r in curve.to_dict()["ranks"].items()
                ]
                out.print(
                    f"n-width of {curve.samples} {curve.snapshots}: {', '.join(ranks)} (relative mean-square error)"
                )
    if config["out"]:
        write_json(config["out"], {**found, "n_width": None if width is None else width.to_dict()})
    if config["plot"]:
        if width is None:
            raise NWidthError("info", got="plot=true for data without a finite solution", expected="a solution u")
        from ..training.plots import draw_data

        for path in draw_data(data, width, folder):
            out.print(f"picture: {path}")
