"""Files of solutions: many samples in bounded memory, resumable after an interruption at any moment."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from .. import __version__
from ..backends import Grid, Mesh
from ..data import Dataset, load_native, save_dataset
from ..data.dataset import INPUTS
from ..data.files import load_state, save_state, write_json
from ..data.handles import close_h5
from ..errors import NWidthError
from .meshes import mesh_hash
from .problem import Problem

_FIELDS = ("u", *INPUTS)
MANIFEST = "manifest.json"
POINTS_OF_A_BLOCK = 2**16  # an interruption loses a block


def generate(
    problem: Problem,
    n: int,
    resolution: int | Sequence[int],
    seed: int,
    out: str | Path,
    *,
    block: int | None = None,
    dtype: str | torch.dtype = "float32",
    device: str = "cpu",
    splits: Mapping[str, int] | None = None,
    overwrite: bool = False,
) -> Path:
    """Solve ``problem`` for n random inputs and write them to ``out`` in nwidth's HDF5 layout.

    Samples are made in blocks of ``block`` (None: as many as have 65,536 points together, 8 to 512), computed in
    double precision on ``device`` and stored as ``dtype``. Each finished block is kept in ``<out>.parts``; a run that
    was interrupted, even killed, continues there when it is called again, and gives the same values as one that was
    not. At the end the parts become one file and are removed. The file records the problem's config, the seed and the
    version.
    ``splits``: counts by name, such as {"train": 800, "val": 100, "test": 100}, given to consecutive samples.

    Where ``out`` already holds exactly this data set nothing is done. NWidthError: n < 1, a resolution that
    the problem refuses, a folder that cannot be written, a file or parts of another data set (``overwrite``
    replaces both), a solution that could not be computed.

    >>> import tempfile
    >>> from nwidth.solvers import Darcy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = generate(Darcy(), n=3, resolution=8, seed=0, out=folder + "/darcy.h5")
    ...     tuple(load_native(path).u.shape)
    (3, 1, 8, 8)
    """
    out = Path(out)
    grid = problem.grid(resolution)
    number = _float(dtype)
    if block is None:
        block = min(max(POINTS_OF_A_BLOCK // math.prod(grid.shape), 8), 512)
    if n < 1 or block < 1 or seed < 0:
        raise NWidthError("generate", got=f"n={n}, block={block}, seed={seed}", expected="n, block >= 1 and seed >= 0")
    plan = json.loads(
        json.dumps(
            {
                "problem": problem.config(),
                "n": n,
                "grid": _describe(grid),
                "seed": seed,
                "dtype": str(number).removeprefix("torch."),
                "block": block,
                "splits": {k: int(v) for k, v in (splits or {}).items()},
                "nwidth": __version__,
            }
        )
    )
    if sum(plan["splits"].values()) > n or min(plan["splits"].values(), default=1) < 1:
        raise NWidthError("generate", got=f"splits={plan['splits']} of n={n}", expected="counts of 1 or more within n")
    parts = out.with_name(out.name + ".parts")
    console = Console(stderr=True)
    if out.exists() and not overwrite:
        _compare(out, plan)
        if _read(parts / MANIFEST) == plan:  # killed after the file was whole
            shutil.rmtree(parts)
        console.print(f"{out} holds this data set already: nothing to do", highlight=False)
        return out
    _prepare(parts, plan, overwrite)
    starts = range(0, n, block)
    files = [parts / f"block-{i:06d}.safetensors" for i in range(len(starts))]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(f"generate {out.name}", total=n)
        for start, file in zip(starts, files):
            indices = range(start, min(start + block, n))
            if not file.is_file():
                _save_block(file, problem.simulate(indices, seed, grid, device=device).to("cpu", number))
            progress.update(task, completed=indices.stop)
    _assemble(parts / "whole.h5", plan, [partial(_load_block, f, grid, problem) for f in files])
    (parts / "whole.h5").replace(out)
    shutil.rmtree(parts)
    return out


def _describe(grid: Grid | Mesh) -> dict[str, Any]:
    """A grid's axes; of a mesh its size and a hash, since its points may be many."""
    if isinstance(grid, Mesh):
        return {"type": "mesh", "points": len(grid.points), "sha256": mesh_hash(grid)}
    return grid.to_dict()


def _save_block(file: Path, data: Dataset) -> None:
    state: dict[str, Any] = {k: v for k in _FIELDS if (v := getattr(data, k)) is not None}
    save_state(file, {"fields": state, "t": data.t, "t0": data.t0, "names": dict(data.names)})


def _load_block(file: Path, grid: Grid | Mesh, problem: Problem) -> Dataset:
    state = load_state(file)
    names = {k: tuple(v) for k, v in state["names"].items()}
    return Dataset(grid, t=state["t"], t0=state["t0"], names=names, problem=problem.config(), **state["fields"])


def _assemble(path: Path, plan: Mapping[str, Any], blocks: Sequence[Callable[[], Dataset]]) -> None:
    splits, start = {}, 0
    for name, count in plan["splits"].items():
        splits[name] = torch.arange(start, start + count)
        start += count
    record = {k: v for k, v in plan.items() if k not in ("problem", "grid")}
    header = replace(
        blocks[0](), splits=splits, attributes=record, source=f"nwidth {plan['nwidth']}, seed {plan['seed']}"
    )
    save_dataset(path, header, (load() for load in blocks), total=plan["n"])


def _prepare(parts: Path, plan: Mapping[str, Any], overwrite: bool) -> None:
    """The folder of parts with its manifest; parts of another plan are refused."""
    manifest = parts / MANIFEST
    try:
        parts.mkdir(parents=True, exist_ok=True)
        found = _read(manifest)
        if found == plan:
            return
        if found is not None and not overwrite:
            raise NWidthError(
                f"generate {parts}",
                got=f"unfinished parts of another data set ({_difference(found, plan)})",
                expected="parts of this one",
                fix="remove that folder, set overwrite=true, or choose another out",
            )
        manifest.unlink(missing_ok=True)
        for stale in parts.glob("block-*"):  # parts that no manifest describes
            stale.unlink()
        write_json(manifest, plan)
    except OSError as e:
        raise NWidthError(
            f"generate {parts}", got=f"a folder that cannot be written ({e.strerror})", fix="choose another out"
        ) from None


def _read(manifest: Path) -> Any:
    """The manifest's content, None where there is none."""
    try:
        return json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _difference(found: Any, plan: Mapping[str, Any]) -> str:
    found = found if isinstance(found, Mapping) else {}
    other = [(k, v) for k, v in plan.items() if found.get(k) != v]
    return "; ".join(
        f"another {k}" if k in ("problem", "grid") else f"{k}={found.get(k)!r:.50} not {v!r:.50}" for k, v in other
    )


def _compare(out: Path, plan: Mapping[str, Any]) -> None:
    """Nothing where the file holds this data set, NWidthError otherwise."""
    try:
        data = load_native(out)
        found = {**data.attributes, "problem": data.problem, "grid": _describe(data.grid)}
    except (NWidthError, KeyError):
        found = {}
    close_h5()
    wanted = {k: v for k, v in plan.items() if k not in ("block", "nwidth")}
    if any(found.get(k) != v for k, v in wanted.items()):
        reason = _difference(found, wanted) if "seed" in found else "not written by this command"
        raise NWidthError(
            f"generate {out}",
            got=f"an existing file of other content ({reason})",
            expected="a new file",
            fix="choose another out, or set overwrite=true",
        )


def _float(dtype: str | torch.dtype) -> torch.dtype:
    known = {"float32": torch.float32, "float64": torch.float64}
    number = known.get(str(dtype).removeprefix("torch."))
    if number is None:
        raise NWidthError("generate", got=f"dtype={dtype!r}", expected="float32 or float64")
    return number
