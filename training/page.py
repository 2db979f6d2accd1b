"""report.html: one file with everything in it, and the same table for the terminal."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from rich import box
from rich.console import Console
from rich.table import Table

from ..data.files import write_text

COLUMNS: tuple[tuple[str, str], ...] = (
    ("surrogate", "surrogate"),
    ("error", "error mean"),
    ("median", "median"),
    ("worst", "worst"),
    ("h1", "H1"),
    ("fit", "fit CPU-s"),
    ("predict", "predict ms"),
    ("memory", "memory MB"),
    ("size", "parameters"),
    ("rank", "rank"),
    ("data", "data"),
    ("seeds", "seeds"),
)


def cells(entry: Mapping[str, Any]) -> dict[str, str]:
    """One summary entry as short strings."""
    e = entry["rel_l2"]
    spread = "" if e.get("std") is None else f" ± {e['std']:.1g}"
    used = entry["train_samples"]
    val = entry.get("val_samples") or 0
    return {
        "surrogate": ("* " if entry["pareto"] else "  ") + entry["surrogate"],
        "error": f"{_short(e['mean'])}{spread}",
        "median": _short(e["median"]),
        "worst": _short(e["max"]),
        "h1": _short(entry["rel_h1"]["mean"]) if "rel_h1" in entry else "-",
        "fit": _short(entry["fit_cpu_seconds"]),
        "predict": _short(entry["predict_ms_per_sample"]),
        "memory": "-" if entry["peak_memory_mb"] is None else f"{entry['peak_memory_mb']:.0f}",
        "size": "-" if entry["parameters"] is None else f"{entry['parameters']:,}",
        "rank": "-" if entry["rank"] is None else str(entry["rank"]),
        "data": "-" if used is None else f"{used}+{val}",
        "seeds": str(len(entry["seeds"])),
    }


def console() -> Console:
    """Standard output; a pipe or a log gets lines wide enough for the table. Only the first process speaks."""
    if int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) > 0:
        return Console(quiet=True)
    shown = Console(highlight=False, soft_wrap=True)
    return shown if shown.is_terminal else Console(highlight=False, soft_wrap=True, width=150)


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    if value != value or abs(value) == float("inf"):
        return "inf"
    return f"{value:.3g}" if value == 0 or 1e-4 <= abs(value) < 1e4 else f"{value:.2e}"


def table(summary: Sequence[Mapping[str, Any]], split: str = "test") -> Table:
    """The rows of one split for the terminal; * marks the Pareto front."""
    shown = Table(
        title=f"relative L2 error, {split} split",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        caption="* Pareto front of error and fit time; data: training + validation samples; predict: per sample",
        caption_justify="left",
    )
    for key, title in COLUMNS:
        shown.add_column(title, justify="left" if key == "surrogate" else "right", no_wrap=True)
    for entry in summary:
        if entry["split"] == split:
            c = cells(entry)
            shown.add_row(*(c[key] for key, _ in COLUMNS), style="bold" if entry["pareto"] else None)
    return shown


def write_page(folder: Path, report: Mapping[str, Any], pictures: Sequence[tuple[str, Path]]) -> Path:
    """report.html beside report.json; pictures are embedded, names escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    images = [(caption, base64.b64encode(path.read_bytes()).decode()) for caption, path in pictures]
    splits = [s for s in ("test", "val") if any(e["split"] == s for e in report["summary"])]
    rows = {s: [(e, cells(e)) for e in report["summary"] if e["split"] == s] for s in splits}
    html = environment.get_template("page.html").render(report=report, images=images, columns=COLUMNS, rows=rows)
    path = folder / "report.html"
    write_text(path, html)
    return path
