"""From a config to a finished, measured run in its folder: the step that train and compare share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data import Dataset
from ..data.files import save_state
from .measure import environment, fit_and_time, pictures, predict_and_score
from .runs import PICTURES, is_finished, load_fitted, save_config, save_fitted
from .session import Session, build_surrogate, config_hash, whole_number


def fit_row(config: Mapping[str, Any], session: Session, folder: Path) -> list[dict[str, Any]]:
    """Fit ``config["surrogate"]`` in ``folder``, or load it where it is finished, and measure it on val and test.

    A fit that was interrupted goes on from its checkpoint. The test split is read here, after selection.
    """
    seed = whole_number("seed", config["seed"])
    save_config(folder, config)
    if is_finished(folder):
        surrogate, _, fit = load_fitted(folder)
        log, cost = fit, fit["cost"]
    else:
        surrogate = build_surrogate(config["surrogate"])
        done, cost = fit_and_time(surrogate, session.train, session.val, seed=seed, folder=folder)
        save_fitted(folder, surrogate, done, cost, session.indices, environment())
        log = {"history": done.history, "notes": done.notes, "selected": done.selected}
    rows = []
    for split in ("val", "test"):
        # an error on samples that the final fit has learned from would say nothing
        learned = split == "val" and log["selected"].get("learned_val", False)
        if split in session.parts and not learned:
            rows.append(
                measured_row(
                    config,
                    surrogate,
                    session.parts[split],
                    split,
                    folder if split == "test" else None,
                    {
                        **cost,
                        "history": log["history"] if split == "test" else [],
                        "notes": log["notes"],
                        "selected": log["selected"],
                        "folder": str(folder),
                    },
                )
            )
    return rows


def measured_row(
    config: Mapping[str, Any], surrogate: Any, data: Dataset, split: str, folder: Path | None, known: Mapping[str, Any]
) -> dict[str, Any]:
    """One entry of ``rows``; pictures of the median and worst sample go to ``folder``."""
    row: dict[str, Any] = {"surrogate": config["name"], "seed": int(config["seed"]), "split": split}
    found, sample_scores, prediction = predict_and_score(surrogate, data)
    if folder is not None:
        save_state(folder / PICTURES, pictures(data, sample_scores, prediction))
        row["errors"] = sample_scores["rel_l2"].tolist()
    notes = [*known.get("notes", []), *prediction.notes]
    return {**row, **found, **known, "notes": notes, "config_hash": config_hash(config["surrogate"])}
