"""nwidth train: fit one surrogate, measure it, keep everything in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..training.measure import environment
from ..training.page import console, table
from ..training.report import make_report, save_report
from ..training.row import fit_row
from ..training.session import open_session, set_process


def run(config: dict[str, Any], folder: Path) -> float:
    """Returns the validation error (the test error where there is no validation), for sweeps that optimise it."""
    set_process(config["threads"])
    session = open_session(config)
    rows = fit_row(config, session, folder)
    report = make_report(
        rows,
        title=f"{config['name']} on {Path(session.data['source']).name}",
        data=session.data,
        environment=environment(),
        n_width=None,
    )
    save_report(folder, report)
    out = console()
    out.print(table(report["summary"]))
    for note in report["summary"][0]["notes"]:
        out.print(f"note: {note}")
    out.print(f"run: {folder}")
    own = next((r["rel_l2"]["mean"] for r in rows if r["split"] == "val"), None)
    chosen = rows[-1]["selected"].get("val_rel_l2")
    return own if own is not None else rows[-1]["rel_l2"]["mean"] if chosen is None else chosen
