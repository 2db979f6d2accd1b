"""nwidth info: what is in a file, whether it is sound, and how fast its n-width decays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..data.checks import inspect
from ..data.files import write_json
from ..data.nwidth import n_width
from ..errors import NWidthError
from ..training.session import open_data, set_threads


def run(config: dict[str, Any], folder: Path) -> None:
    set_threads(config["threads"])
    data = open_data(config["data"], config["data"]["path"])
    console = Console()
    found = inspect(data)
    console.print(f"{data.source}: {data.format}, {len(data)} samples, {data.nbytes / 2**20:.1f} MiB in memory",
                  highlight=False, soft_wrap=True)
    console.print(f"grid: {data.grid.describe()}", highlight=False)
    if data.t is not None:
        console.print(f"times: {len(data.t)} on [{float(data.t[0]):g}, {float(data.t[-1]):g}], start {data.t0:g}",
                      highlight=False)
    fields = Table()
    for title in ("field", "role", "shape", "dtype", "channels", "units", "min", "max", "mean", "std", "not finite",
                  "constant"):
        fields.add_column(title)
    for f in found["fields"]:
        fields.add_row(f["name"], f["role"], str(tuple(f["shape"])), f["dtype"], ", ".join(f["channels"]),
                       f["units"] or "-", *(f"{f[k]:.4g}" for k in ("min", "max", "mean", "std")),
                       str(f["not_finite"]), ", ".join(f["constant_channels"]) or "-")
    console.print(fields)
    for key, value in data.attributes.items():
        console.print(f"{key}: {value}", highlight=False)
    if data.problem is not None:
        console.print(f"problem: {dict(data.problem)}", highlight=False)
    console.print("splits: " + (", ".join(f"{k} {len(v)}" for k, v in data.splits.items()) or "none stored"),
                  highlight=False)
    for sentence in found["warnings"]:
        console.print(f"warning: {sentence}", style="yellow", highlight=False)
    width = None
    if data.u is not None and not any(f["not_finite"] for f in found["fields"]):
        width = n_width(data, initial=True, max_samples=int(config["max_samples"]))
        ranks = width.to_dict()["ranks"]
        console.print(f"n-width of {width.samples} {width.snapshots}: "
                      + ", ".join(f"rank {r if r is not None else f'above {len(width.error) - 1}'} for {level}"
                                  for level, r in ranks.items()) + " (relative mean-square error)", highlight=False)
    if config["out"]:
        write_json(config["out"], {**found, "n_width": None if width is None else width.to_dict()})
    if config["plot"]:
        if width is None:
            raise NWidthError("info", got="plot=true for data without a finite solution", expected="a solution u")
        from ..training.plots import draw_data

        for path in draw_data(data, width, folder):
            console.print(f"picture: {path}", highlight=False, soft_wrap=True)
