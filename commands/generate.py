"""nwidth generate: a data set from a problem and a solver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..build import build
from ..errors import NWidthError
from ..solvers import Problem
from ..solvers.generate import generate
from ..training.page import console
from ..training.session import set_process, whole_number


def run(config: dict[str, Any], folder: Path) -> None:
    set_process(config["threads"])
    if config.get("problem") is None:
        raise NWidthError("generate", got="no problem", expected="problem=NAME", fix="try problem=burgers")
    if not config["out"]:
        raise NWidthError("generate", got="no out", expected="out=FILE.h5", fix="add out=FILE.h5")
    problem = build(config["problem"])
    if not isinstance(problem, Problem):
        raise NWidthError(
            "generate",
            got=f"problem={type(problem).__name__}",
            expected="a Problem, with inputs to sample",
            fix="single equations are for nwidth solve",
        )
    n, seed = whole_number("n", config["n"], 1), whole_number("seed", config["seed"], 0)
    block = None if config["block"] is None else whole_number("block", config["block"], 1)
    splits = {k: whole_number(f"splits.{k}", v, 1) for k, v in (config["splits"] or {}).items() if v is not None}
    path = generate(
        problem,
        n,
        config["resolution"],
        seed,
        config["out"],
        block=block,
        dtype=config["dtype"],
        device=config["device"],
        splits=splits,
        overwrite=bool(config["overwrite"]),
    )
    console().print(f"{config['n']} samples: {Path(path)}")
