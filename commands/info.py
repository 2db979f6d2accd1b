"""nwidth info: what is in a file, whether it is sound, and how fast its n-width decays."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from rich.markup import escape
from rich.table import Table

from ..backends import Grid
from ..data import Dataset
from ..data.checks import inspect
from ..data.download import ensure
from ..data.files import write_json
from ..data.nwidth import NWidth, n_width
from ..data.progress import bytes_bar
from ..data.transfer import size_text
from ..training.page import console
from ..training.session import open_data, set_process, whole_number

ORDINAL = {2: "nd", 3: "rd"}
_WIDTH_BYTES = 2**26  # of float64 snapshots: larger sets are thinned for the n-width curve


def run(config: dict[str, Any], folder: Path) -> None:
    """Print what the data are; ``out`` gets the same facts as JSON, ``plot`` writes pictures into ``folder``."""
    set_process(config["threads"])
    max_samples = whole_number("max_samples", config["max_samples"], 2)
    where = ensure(config["data"])
    data = open_data(where)
    others = {k: open_data(where, where[f"{k}_path"]) for k in ("val", "test") if where.get(f"{k}_path")}
    out = console()
    with bytes_bar("reading", data.nbytes + sum(d.nbytes for d in others.values())) as advance:
        found = inspect(data, others, advance=advance)
    for line in _facts(data, found):
        out.print(line, markup=False)
    out.print(_table(found["fields"]))
    for line in _details(data, found):
        out.print(line, markup=False)
    for sentence in found["warnings"]:
        out.print(f"warning: {sentence}", style="yellow", markup=False)
    width = None
    if data.u is not None and not any(f["not_finite"] for f in found["fields"]):
        thinner, said = _thinned(data, max_samples)
        width = n_width(thinner, initial=True, max_samples=max_samples, max_bytes=2 * _WIDTH_BYTES)
        for line in _width_lines(width, said):
            out.print(line, markup=False)
    out.print(f"next: {_next(config, data, found)}", markup=False)
    if config["out"]:
        write_json(config["out"], {**found, "n_width": None if width is None else width.to_dict()})
    if config["plot"]:
        from ..training.data_pictures import draw_data

        for path in draw_data(data, width, folder):
            out.print(f"picture: {path}", markup=False)


def _facts(data: Dataset, found: Mapping[str, Any]) -> Iterator[str]:
    stored, layout = found["storage"], found["storage"]["layout"]
    disk = f", {size_text(stored['bytes'])} on disk" if stored["bytes"] else ""
    files = f" in {stored['files']} files" if stored["files"] > 1 else ""
    yield f"{data.source}: {data.format}, {_count(len(data))}{files}, {size_text(data.nbytes)} in memory{disk}"
    kept = "read from disk as needed" if layout else "read whole into memory"
    yield f"storage: {kept}" + "".join(f"; {name}: {words}" for name, words in layout.items())
    yield f"grid: {data.grid.describe()}"
    if found["boundary"]:
        yield "boundary: " + ", ".join(f"{k} {v}" for k, v in found["boundary"].items())
    if data.t is not None:
        steps = data.t.diff().tolist()
        even = len(steps) > 0 and max(steps) - min(steps) <= 1e-4 * max(steps)
        gap = f", step {steps[0]:.6g}" if even else f", steps {min(steps):.3g} to {max(steps):.3g}" if steps else ""
        unit = f" {data.units['t']}" if data.units.get("t") else ""
        yield f"times: {len(data.t)} on [{float(data.t[0]):g}, {float(data.t[-1]):g}]{unit}{gap}, start {data.t0:g}"


def _count(n: int) -> str:
    return "1 sample" if n == 1 else f"{n} samples"


def _table(fields: list[dict[str, Any]]) -> Table:
    shown = Table()
    titles = (
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
        "NaN/Inf",
        "constant",
    )
    for title in titles:
        shown.add_column(title)
    for f in fields:
        complex_ = f["dtype"].startswith("complex")
        names = [f"|{n}|" if complex_ else n for n in f["channels"]]
        cells = (
            f["name"],
            f["role"],
            str(tuple(f["shape"])),
            f["dtype"],
            ", ".join(names[:8]) + (", ..." if len(names) > 8 else ""),
            f["units"] or "-",
            *(f"{f[k]:.4g}" for k in ("min", "max", "mean", "std")),
            str(f["not_finite"]),
            ", ".join(f["constant_channels"]) or "-",
        )
        shown.add_row(*map(escape, cells))
    return shown


def _details(data: Dataset, found: Mapping[str, Any]) -> Iterator[str]:
    ranges = [
        f"{name} = {p['min']:g}"
        if p["min"] == p["max"]
        else f"{name} {p['min']:g} to {p['max']:g} ({p['values']} values)"
        for name, p in found["parameters"].items()
    ]
    if ranges:
        yield "parameters: " + ", ".join(ranges)
    for key, value in data.attributes.items():
        if value not in ({}, None, "") and key not in found["parameters"] and key not in ("boundary", "parameters"):
            text = str(value)
            yield f"{key}: {text if len(text) <= 300 else text[:297] + '...'}"
    if data.problem is not None:
        yield f"problem: {dict(data.problem)}"
    order = ("train", "val", "test")
    splits = sorted(found["splits"].items(), key=lambda kv: order.index(kv[0]) if kv[0] in order else len(order))
    yield "splits: " + (", ".join(f"{k} {v}" for k, v in splits) or "none stored")


def _thinned(data: Dataset, max_samples: int) -> tuple[Dataset, str]:
    """Fewer times, then fewer points, until some 64 samples fit the budget of the curve; and what was done."""
    assert data.u is not None
    time = space = 1
    count = min(len(data), max_samples, 64)
    sample = 8 * data.u.nbytes // max(data.u.dtype.itemsize * len(data), 1)
    if data.t is not None:
        time = min(max(1, len(data.t) // 8), -(-sample * count // _WIDTH_BYTES))
        sample //= time
    if isinstance(data.grid, Grid):
        while sample // space**data.grid.ndim * count > _WIDTH_BYTES:
            space += 1
    said = [f"every {n}{ORDINAL.get(n, 'th')} {what}" for n, what in ((time, "time"), (space, "point")) if n > 1]
    return data.thin(space, time), ", ".join(said)


def _width_lines(width: NWidth, said: str) -> Iterator[str]:
    for curve in (width, width.states):
        if curve is not None:
            ranks = [
                f"rank {r if r is not None else f'above {len(curve.error) - 1}'} for {level}"
                for level, r in curve.to_dict()["ranks"].items()
            ]
            thin = f", {said}" if said else ""
            yield (
                f"n-width of {curve.samples} {curve.snapshots}{thin}: {', '.join(ranks)} (relative mean-square error)"
            )


def _next(config: Mapping[str, Any], data: Dataset, found: Mapping[str, Any]) -> str:
    """A command that goes on from here, or what is in its way."""
    path = config["data"]["path"]
    given = []
    if HydraConfig.initialized():
        kept = ("data.", "data=")
        given = [o for o in HydraConfig.get().overrides.task if o.startswith(kept) and not o.startswith("data.path=")]
    where = " ".join(map(shlex.quote, given))
    if path:
        text = path if isinstance(path, str) else "[" + ",".join(path) + "]"
        plain = re.fullmatch(r"[\w./~+*,\[\]-]+", text)
        where = f"{shlex.quote(f'data.path={text}' if plain else f'data.path={text!r}')} {where}".rstrip()
    if any(f["not_finite"] for f in found["fields"]):
        return "leave out or repair the samples with NaN; training refuses them"
    if data.u is None:
        return f"solutions of a finished run: nwidth predict run=DIR {where} out=answers.h5"
    if not data.reads:
        return "name an input to train on: data.fields.a=KEY, .u0=KEY or .mu=KEY"
    if len(data) < 10:
        few = "1 sample is" if len(data) == 1 else f"{len(data)} samples are"
        return f"{few} too few to learn from; one file for all tools: nwidth convert {where} out=data.h5"
    if any("another split" in w for w in found["warnings"]):
        return f"a split of your own, since the stored one leaks: nwidth compare {where} split.stored=false"
    if data.u.dtype.is_complex:
        where += " data.complex=channels"
    names = ["mean", "linear", "kernel", "pod_gp"]
    networks = isinstance(data.grid, Grid) and not data.u.dtype.is_complex and data.reads != ("mu",)
    chosen = ",".join([*names, "fno"] if networks else names)
    return f"nwidth compare {where} 'surrogates=[{chosen}]'"
