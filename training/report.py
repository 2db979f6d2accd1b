"""report.json: rows, summary over seeds, the n-width curve, and what they say in words.

Layout, version 1 (documented in docs/report.md): ``format``, ``version``, ``title``, ``created``, ``rows``,
``summary``, ``failures``, ``n_width``, ``data``, ``environment``, ``findings``.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..data.files import write_json
from ..data.nwidth import NWidth
from ..errors import NWidthError

FORMAT, VERSION = "nwidth-report", 1
COSTS = ("fit_seconds", "fit_cpu_seconds", "predict_seconds", "peak_memory_mb", "parameters", "rank")


def make_report(
    rows: Sequence[Mapping[str, Any]],
    *,
    title: str,
    data: Mapping[str, Any],
    environment: Mapping[str, Any],
    n_width: NWidth | None,
    failures: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The whole report as plain values."""
    table = summarize(rows)
    width = None if n_width is None else n_width.to_dict()
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": title,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "findings": findings(table, width),
        "summary": table,
        "rows": list(rows),
        "failures": list(failures),
        "n_width": width,
        "data": dict(data),
        "environment": dict(environment),
    }


def save_report(folder: Path, report: Mapping[str, Any]) -> Path:
    path = folder / "report.json"
    write_json(path, report)
    return path


def load_report(path: str | Path) -> dict[str, Any]:
    """Read a report.json (or the one in a folder)."""
    path = Path(path)
    path = path / "report.json" if path.is_dir() else path
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise NWidthError(f"report {path}", got="no such file", fix="check runs=[DIR, ...]") from None
    except ValueError:
        raise NWidthError(f"report {path}", got="a file that is not JSON", expected="a report of nwidth") from None
    if not isinstance(report, dict) or report.get("format") != FORMAT or report.get("version") != VERSION:
        raise NWidthError(f"report {path}", got="another format or version", expected=f"{FORMAT} {VERSION}")
    return report


def summarize(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each surrogate, config and split, over its seeds, sorted by test error.

    ``rel_l2`` holds mean, median and max over samples, each averaged over seeds, and ``std``, the standard deviation
    of the mean error over seeds (null for one seed).
    """
    groups: dict[tuple, list[Mapping[str, Any]]] = {}
    for row in rows:
        key = (row["surrogate"], row["config_hash"], row["split"], tuple(row["resolution"]), row.get("train_samples"))
        groups.setdefault(key, []).append(row)
    table = []
    for (name, digest, split, resolution, _), members in groups.items():
        entry: dict[str, Any] = {
            "surrogate": name,
            "split": split,
            "resolution": list(resolution),
            "config_hash": digest,
            "seeds": sorted(m["seed"] for m in members),
        }
        metrics = [k for k, v in members[0].items() if isinstance(v, Mapping) and {"mean", "median", "max"} <= set(v)]
        for metric in metrics:
            kept = [k for k in ("mean", "median", "max", "min") if k in members[0][metric]]
            values = {k: [_number(m[metric][k]) for m in members if metric in m] for k in kept}
            entry[metric] = {k: statistics.fmean(v) for k, v in values.items()}
            means = values["mean"]
            seeded = any(m.get("selected", {}).get("uses_seed", True) for m in members)
            entry[metric]["std"] = statistics.stdev(means) if len(means) > 1 and seeded else None
        for cost in COSTS:
            known = [m[cost] for m in members if m.get(cost) is not None]
            entry[cost] = statistics.fmean(known) if known else None
            if cost in ("parameters", "rank") and known:
                entry[cost] = round(entry[cost])
        entry["predict_ms_per_sample"] = 1e3 * entry["predict_seconds"] / max(members[0]["test_samples"], 1)
        entry["rank_of"] = members[0].get("selected", {}).get("rank_of", "samples")
        entry["train_samples"] = members[0].get("train_samples")
        entry["val_samples"] = members[0].get("val_samples")
        entry["notes"] = list(dict.fromkeys(n for m in members for n in m.get("notes", [])))
        table.append(entry)
    table.sort(key=lambda e: (e["split"] != "test", e["rel_l2"]["mean"]))
    front = pareto([e for e in table if e["split"] == "test"])
    for entry in table:
        entry["pareto"] = entry["split"] == "test" and any(entry is e for e in front)
    return table


def _number(value: Any) -> float:
    """JSON has no infinity: null stands for an error that is not finite."""
    return math.inf if value is None else float(value)


def pareto(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries that no other beats in both test error and processor time of the fit."""

    def cost(e: Mapping[str, Any]) -> tuple[float, float]:
        return e["rel_l2"]["mean"], e["fit_cpu_seconds"] or 0.0

    return [
        e
        for e in entries
        if not any(all(x <= y for x, y in zip(cost(o), cost(e))) and cost(o) != cost(e) for o in entries)
    ]


def findings(table: Sequence[Mapping[str, Any]], width: Mapping[str, Any] | None) -> list[str]:
    """What the figures say, in sentences a reader can act on."""
    rows = {e["surrogate"]: e for e in table if e["split"] == "test"}
    if not rows:
        return ["No surrogate could be measured."]
    ranked = sorted(rows.values(), key=lambda e: e["rel_l2"]["mean"])
    best = ranked[0]
    error = best["rel_l2"]["mean"]
    said = [
        f"The smallest test error is {_percent(error)}, by {best['surrogate']} "
        f"(worst sample {_percent(best['rel_l2']['max'])}; fit {best['fit_cpu_seconds']:.3g} CPU-seconds)."
    ]
    close = [e for e in ranked[1:] if _overlap(best, e)]
    if close:
        said.append(
            f"Within the spread over seeds {_list([e['surrogate'] for e in close])} "
            f"{'is' if len(close) == 1 else 'are'} as good."
        )
    said += _on_linearity(rows, error)
    said += _on_width(best, width)
    said += _on_bounds(ranked)
    front = [
        e["surrogate"] for e in sorted((e for e in ranked if e["pareto"]), key=lambda e: e["fit_cpu_seconds"] or 0)
    ]
    said.append(
        f"Nothing is both cheaper to fit and more accurate than {_list(front)}: "
        f"{'this is' if len(front) == 1 else 'these are'} the Pareto front, from cheap to accurate."
    )
    if "mean" in rows:
        lost = [
            e["surrogate"]
            for e in ranked
            if e["surrogate"] != "mean" and e["rel_l2"]["mean"] > 0.9 * rows["mean"]["rel_l2"]["mean"]
        ]
        if lost:
            said.append(
                f"{_list(lost)} {'does' if len(lost) == 1 else 'do'} hardly better than predicting the mean: "
                "more data, longer training, or another input is needed."
            )
    for e in ranked:
        cover = e.get("coverage95")
        if cover and not 0.9 <= cover["mean"] <= 0.99:
            said.append(
                f"The 95 % intervals of {e['surrogate']} hold {_percent(cover['mean'])} of the values: they are "
                f"too {'narrow' if cover['mean'] < 0.9 else 'wide'}."
            )
    return said


def _on_linearity(rows: Mapping[str, Mapping[str, Any]], best: float) -> list[str]:
    linear = rows.get("linear")
    if linear is None:
        return []
    e = linear["rel_l2"]["mean"]
    if e < 1e-4:
        return [
            f"The map from input to solution is linear: the linear row has an error of {_percent(e)}, and no "
            "nonlinear surrogate is needed."
        ]
    if not set(rows) - {"linear", "mean"}:
        return []
    if e <= 1.2 * best:
        return [
            f"A linear map does as well as anything here ({_percent(e)}): the nonlinear part is not learned, or "
            "there is none."
        ]
    return [
        f"The map from input to solution is not linear: the best linear one has {e / best:.3g} times the error of "
        "the best row."
    ]


def _on_width(best: Mapping[str, Any], width: Mapping[str, Any] | None) -> list[str]:
    """What the n-width curves say: of single states where the problem is time-dependent, else of the samples."""
    if width is None:
        return []
    error = best["rel_l2"]["mean"]
    curve = width["states"] or width
    what = "states" if curve["snapshots"] == "states" else "solutions"
    ranks, count = curve["ranks"], curve["samples"]
    most = f"more than {len(curve['error']) - 1}"
    known = [f"{most if n is None else n} for {level}" for level, n in ranks.items()]
    said = [f"Linear modes that the training {what} need, by relative mean-square error: {_list(known)}."]
    floor = curve["unseen"] or curve["error"]
    enough = next((n for n, e in enumerate(floor) if e is not None and e <= error), None)
    cap = len(floor) - 1
    if enough is None:
        said.append(
            f"No linear reduction built from these samples can reach {best['surrogate']}: the best linear space "
            f"of dimension {cap} leaves {_percent(floor[cap])} of unseen {what}."
        )
    elif enough <= max(20, 0.05 * count):
        modes = "1 mode already holds" if enough == 1 else f"{enough} modes already hold"
        said.append(
            f"A linear reduction would do: {modes} unseen {what} to the best row's error, "
            "so a reduced basis with a good model of its coefficients can compete."
        )
    else:
        said.append(
            f"A linear reduction needs {enough} modes to hold unseen {what} to the best row's error: the "
            "n-width decays slowly, and reduced bases will be large."
        )
    return said


def _on_bounds(ranked: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is guaranteed, for rows whose predictions come with bounds of their errors."""
    said = []
    for e in ranked:
        bound, ratio = e.get("bound"), e.get("effectivity")
        if not bound or not ratio:
            continue
        if math.isfinite(bound["max"]):
            limit = f"at most {_percent(bound['max'])} in this split"
        else:
            limit = f"{_percent(bound['median'])} in the median, and nothing for some samples: raise rank or lower rtol"
        least = f"{ratio['min']:.3g} times or more" if "min" in ratio else "above"
        said.append(
            f"{e['surrogate']} guarantees its relative L2 error against the full-order solution on this mesh: {limit} "
            f"(bounds are {least} the error, {ratio['median']:.3g} times in the median)."
        )
    return said


def _overlap(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    spread = (a["rel_l2"].get("std") or 0.0) + (b["rel_l2"].get("std") or 0.0)
    return b["rel_l2"]["mean"] - a["rel_l2"]["mean"] <= max(spread, 0.02 * a["rel_l2"]["mean"])


def _percent(e: float) -> str:
    return f"{100 * e:.3g} %" if e >= 1e-5 or e == 0 else f"{e:.2g}"


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
