"""nwidth solve: one equation, its solution with error bars."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from ..build import build
from ..data.files import whole_file, write_json
from ..errors import NWidthError
from ..gp.pde import GP, Cloud, Equation, Observations, Solution
from ..gp.pde.equation import evenly, product
from ..training.measure import cpu_seconds
from ..training.page import console
from ..training.session import set_process, whole_number

MEASURED = {1: 3000, 2: 250, 3: 31}  # points a side at which errors are measured, in step with no wave
_SHOWN = ("features", "band", "rank", "points", "steps", "residual", "held_out", "change", "log_evidence", "loss")


def run(config: dict[str, Any], folder: Path) -> None:
    set_process(config["threads"])
    if config.get("problem") is None:
        raise NWidthError("solve", got="no problem", expected="problem=NAME", fix="try problem=poisson_sin100")
    equation, solver = build(config["problem"]), build(config["solver"])
    if not isinstance(equation, Equation):
        raise NWidthError(
            "solve", got=f"problem={type(equation).__name__}", expected="one equation", fix="nwidth generate takes it"
        )
    if not hasattr(solver, "solve"):
        raise NWidthError("solve", got=f"solver={type(solver).__name__}", expected="a class with solve(equation)")
    if config["out"] and Path(config["out"]).suffix != ".npz":
        raise NWidthError("solve", got=f"out={config['out']}", expected="a name that ends in .npz")
    shown = _shown(equation) if config["resolution"] is None else whole_number("resolution", config["resolution"], 2)
    given = read_given(config, solver)
    before = cpu_seconds()
    solution: Solution = solver.solve(equation, **given)
    spent = cpu_seconds() - before
    cloud = given.get("cloud")
    points = product([torch.linspace(a, b, shown, dtype=torch.float64) for a, b in equation.box])
    if cloud is not None:
        points = torch.cat([cloud.interior, cloud.boundary])
    measured = points if cloud is not None else product(evenly(equation.box, MEASURED[equation.ndim]))
    report = tell(solution, measured, spent)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "solution.json", report)
    mean, std = solution.predict(points)
    if config["out"]:
        with whole_file(config["out"]) as path, path.open("wb") as file:
            if std is None:
                np.savez(file, points=points.numpy(), mean=mean.numpy())
            else:
                np.savez(file, points=points.numpy(), mean=mean.numpy(), std=std.numpy())
    if config["plot"]:
        from ..training.solution_pictures import draw_solution

        console().print(
            f"picture: {draw_solution(solution, points, mean, std, folder / 'solution.png', scattered=cloud)}"
        )
    console().print(f"in {folder}")


def _shown(equation: Equation) -> int:
    """Points a side of the picture: several on the shortest wave that the equation's own points can tell, and a prime
    number of intervals, which is in step with no wave.
    """
    intervals = max(400, 4 * max(equation.shape)) if equation.ndim == 1 else max(100, *equation.shape)
    intervals = intervals if equation.ndim < 3 else 30
    while any(intervals % k == 0 for k in range(2, math.isqrt(intervals) + 1)):
        intervals += 1
    return intervals + 1


def read_given(config: dict[str, Any], solver: Any) -> dict[str, Any]:
    """The cloud and the observations that files describe."""
    found: dict[str, Any] = {}
    if config["cloud"]:
        cloud = _arrays(config["cloud"], ("interior", "boundary", "values"))
        found["cloud"] = Cloud(cloud["interior"], cloud["boundary"], cloud["values"])
    if config["observations"]:
        arrays = _arrays(config["observations"], ("points", "values"), ("std",))
        std = float(arrays["std"].reshape(-1)[0]) if "std" in arrays else None
        found["observations"] = Observations(arrays["points"], arrays["values"], std)
    if found and not isinstance(solver, GP):
        raise NWidthError(
            "solve", got=f"{', '.join(found)} with solver={type(solver).__name__}", expected="solver=gp", fix="use it"
        )
    return found


def _arrays(path: str, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Tensor]:
    if not Path(path).is_file():
        raise NWidthError("solve", got=f"no file {path}", expected=f"an .npz file with {', '.join(names)}")
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {k: file[k] for k in (*names, *optional) if k in file.files}
    except (ValueError, OSError, BadZipFile) as error:
        got = "Python objects" if "Object arrays" in str(error) else "another kind of file, or a damaged one"
        raise NWidthError(str(path), got=got, expected="an .npz file of numbers") from None
    missing = [k for k in names if k not in found]
    if missing:
        raise NWidthError(str(path), got=f"no {', '.join(missing)}", expected=", ".join(names))
    return {k: torch.from_numpy(np.asarray(v, dtype=np.float64)) for k, v in found.items()}


def tell(solution: Solution, points: Tensor, seconds: float) -> dict[str, Any]:
    """Print convergence, choices and errors; the same as plain values."""
    out, equation = console(), solution.equation
    out.print(f"{type(equation).__name__} on {equation.box}, {equation.shape} points, solver {solution.solver}")
    for record in solution.history:
        out.print("  " + "  ".join(f"{k} {_short(record[k])}" for k in _SHOWN if k in record))
    report: dict[str, Any] = {
        "solver": solution.solver,
        "history": solution.history,
        "selected": solution.selected,
        "residual": solution.residual,
        "cpu_seconds": seconds,
        "notes": solution.notes,
    }
    mean, std = solution.predict(points)
    size = float(mean.norm()) or 1.0
    for name, (value, spread) in solution.parameters.items():
        out.print(f"{name} = {value:.8g} +- {1.96 * spread:.2g} (95 %)")
        report.setdefault("parameters", {})[name] = [value, spread]
    if std is not None:
        report["relative_std"] = float(std.norm()) / size
        out.print(f"standard deviation, relative L2: {report['relative_std']:.2g}")
    if equation.has_exact:
        report["relative_l2"] = solution.error(points)
        out.print(f"error against the exact solution, relative L2: {report['relative_l2']:.2g}")
        if std is not None:
            report["coverage_95"] = solution.coverage(points)
            out.print(f"share of points within the 95 % interval: {report['coverage_95']:.3f}")
    out.print(f"residual {solution.residual:.2g}, processor time {seconds:.2f} s")
    for note in solution.notes:
        out.print(f"warning: {note}", style="yellow")
    return report


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
