"""nwidth evaluate: a finished run on another file, at any resolution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import NWidthError
from ..training.measure import environment
from ..training.page import console, table
from ..training.report import make_report, save_report
from ..training.row import measured_row
from ..training.runs import load_fitted
from ..training.session import check_finite, describe, open_data, open_session, set_process


def run(config: dict[str, Any], folder: Path) -> float:
    """Mean test error. Without ``data.path`` the run's own data and test split are used."""
    set_process(config["threads"])
    if not config["run"]:
        raise NWidthError("evaluate", got="no run", expected="the folder of a finished run", fix="add run=DIR")
    surrogate, own, fit = load_fitted(config["run"])
    if config["data"]["path"] or config["data"].get("download"):
        data = open_data(config["data"])
        part = config["part"]
        if part is not None:
            if part not in data.splits:
                raise NWidthError(
                    "evaluate",
                    got=f"part={part!r}",
                    fix="leave part out to use every sample",
                    expected="one of " + (", ".join(data.splits) or "none: the file stores no split"),
                )
            data = data[data.splits[part]]
        check_finite({"test": data})
        about = describe(data, {"test": data}, {})
    else:
        session = open_session(own)
        data, about = session.parts["test"], session.data
    known = {
        **fit["cost"],
        "history": fit["history"],
        "notes": fit["notes"],
        "selected": fit["selected"],
        "folder": str(folder),
    }
    folder.mkdir(parents=True, exist_ok=True)
    row = measured_row(own, surrogate, data, "test", folder, known)
    report = make_report(
        [row],
        title=f"{own['name']} on {Path(about['source']).name}",
        data=about,
        environment=environment(),
        n_width=None,
    )
    path = save_report(folder, report)
    out = console()
    out.print(table(report["summary"]))
    out.print(f"report: {path}")
    return row["rel_l2"]["mean"]
