"""nwidth compare: several surrogates on one data set, or finished runs, in one report."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ..data import Dataset
from ..data.nwidth import NWidth, n_width
from ..errors import NWidthError
from ..training.measure import environment
from ..training.page import console, table, write_page
from ..training.report import load_report, make_report, save_report
from ..training.row import fit_row
from ..training.session import Session, open_session, set_process


def run(config: dict[str, Any], folder: Path) -> float | None:
    """The smallest mean test error, or None where nothing could be measured."""
    set_process(config["threads"])
    out = console()
    if config["runs"]:
        rows, data, failures = collect(config["runs"])
        width = _width_of_runs(rows, data, out)
        title = config["title"] or f"{len(rows)} rows from finished runs"
    else:
        session = open_session(config)
        width = n_width(session.train, session.parts["test"])
        rows, failures = fit_all(config, session, folder, out)
        data = session.data
        title = config["title"] or f"Surrogates for {Path(data['source']).name}"
    if not rows:
        raise NWidthError(
            "compare", got=f"{len(failures)} surrogates, none of which could be fitted", fix="see the errors above"
        )
    report = make_report(rows, title=title, data=data, environment=environment(), n_width=width, failures=failures)
    save_report(folder, report)
    from ..training.plots import draw_all  # matplotlib takes a second to import

    pictures = draw_all(report, folder)
    page = write_page(folder, report, pictures)
    out.print(table(report["summary"]))
    for sentence in report["findings"]:
        out.print(f"- {sentence}")
    out.print(f"report: {page}")
    return min((e["rel_l2"]["mean"] for e in report["summary"] if e["split"] == "test"), default=None)


def fit_all(config: Mapping[str, Any], session: Session, folder: Path, out: Console) -> tuple[list, list]:
    """Rows of every surrogate and seed; what cannot be fitted becomes a failure, not an end."""
    rows: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    seeds = [config["seeds"]] if isinstance(config["seeds"], int) else list(config["seeds"])
    plan = [(name, surrogate) for name, surrogate in config["resolved"].items()]
    for place, (name, surrogate) in enumerate(plan, 1):
        for seed in seeds:
            own = {k: copy.deepcopy(config[k]) for k in ("data", "split", "threads")}
            own |= {"command": "train", "name": name, "seed": seed, "surrogate": copy.deepcopy(surrogate)}
            out.print(f"[{place}/{len(plan)}] {name}, seed {seed}", markup=False)
            try:
                made = fit_row(own, session, folder / name / f"seed{seed}")
            except NWidthError as error:
                failures.append({"surrogate": name, "seed": seed, "error": str(error)})
                out.print(f"    failed: {error}", style="red", markup=False)
                break  # another seed would fail for the same reason
            rows += made
            last = made[-1]
            out.print(f"    test error {last['rel_l2']['mean']:.4g}, fit {last['fit_cpu_seconds']:.3g} CPU-seconds")
            if not last["selected"].get("uses_seed", True):
                break
    return rows, failures


def collect(runs: str | Sequence[str]) -> tuple[list, dict[str, Any], list]:
    """Rows of finished runs: each entry is a run's folder or a folder of runs (a sweep's)."""
    places = [runs] if isinstance(runs, str) else list(runs)
    found: list[Path] = []
    for place in places:
        root = Path(place)
        if not root.is_dir():
            raise NWidthError("compare", got=f"runs={place!r}, which is not a folder", expected="folders of runs")
        files = [root / "report.json"] if (root / "report.json").is_file() else sorted(root.rglob("report.json"))
        if not files:
            raise NWidthError(
                "compare",
                got=f"{place} without a report.json",
                expected="finished runs",
                fix="check that the runs ended well",
            )
        found += files
    reports = [load_report(path) for path in found]
    data = reports[0]["data"]
    for path, report in zip(found, reports):
        if report["data"]["test_fingerprint"] != data["test_fingerprint"]:
            raise NWidthError(
                "compare",
                got=f"{path} with other test data than {found[0]}",
                expected="runs with one data set and split",
                fix="compare them separately",
            )
    failures = [f for r in reports for f in r["failures"]]
    for place in places:
        for path in sorted(Path(place).rglob("error.txt")):
            failures.append({"surrogate": path.parent.name, "seed": "-", "error": path.read_text(encoding="utf-8")})
    return [row for r in reports for row in r["rows"]], data, failures


def _width_of_runs(rows: Sequence[Mapping[str, Any]], data: Mapping[str, Any], out: Console) -> NWidth | None:
    """The n-width curve, from the data that the first run names; None, with a word, where they are gone."""
    from ..training.runs import load_config

    try:
        config = load_config(rows[0]["folder"])
        session = open_session(config)
    except NWidthError as error:
        out.print(f"no n-width curve: {error}", markup=False)
        return None
    train: Dataset = session.train
    return n_width(train, session.parts["test"])
