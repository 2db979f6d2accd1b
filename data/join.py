"""Several data sets of one kind as one: samples after each other, read from where they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..backends import Grid, same_grid
from ..errors import NWidthError
from .dataset import INPUTS, Dataset, same_times
from .views import joined

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def join(parts: Sequence[Dataset], splits: Sequence[str | None] = ()) -> Dataset:
    """One data set of the samples of all parts; fields on disk stay there.

    The parts must agree in grid, times, fields and channels. Parameters (``attributes["parameters"]``, and the numbers
    of ``problem``) that differ become columns of mu, named; those that agree stay as they are. Other attributes that
    differ are kept in ``attributes["differs"]``, one entry a part. ``splits`` names the split of each part (train, val
    or test, or None); where two or more are named they become stored splits. Splits that the parts carry are kept.

    >>> grid = Grid.make((4,))
    >>> def part(nu):
    ...     return Dataset(grid, u=torch.rand(3, 1, 4), a=torch.rand(3, 1, 4), attributes={"parameters": {"nu": nu}})
    >>> both = join([part(0.1), part(0.2)], ["train", "test"])
    >>> both.channels("mu"), both.mu[:, 0].tolist(), both.splits["test"].tolist()
    (('nu',), [0.1, 0.1, 0.1, 0.2, 0.2, 0.2], [3, 4, 5])
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    for p in parts[1:]:
        compare(first, p)
    values = {k: [getattr(p, k) for p in parts] for k in ("u", *INPUTS)}
    fields: dict[str, Any] = {k: None if v[0] is None else joined(v) for k, v in values.items()}
    columns, shared = _parameters(parts)
    names = dict(first.names)
    if columns:
        own = [] if fields["mu"] is None else [fields["mu"].double()]
        names["mu"] = (*(first.channels("mu") if own else ()), *columns)
        fields["mu"] = torch.cat([*own, torch.stack(list(columns.values()), 1)], 1)
    attributes = _attributes(parts)
    if shared or columns:
        attributes["parameters"] = shared
    same_problem = all(p.problem == first.problem for p in parts)
    return replace(
        first,
        **fields,
        names=names,
        splits=_splits(parts, splits),
        problem=first.problem if same_problem else None,
        source=f"{first.source} and {len(parts) - 1} more",
        attributes=attributes,
    )


def within(data: Dataset, path: str | Path) -> Dataset:
    """Parts of one file or folder, joined: it is their only source."""
    attributes = {k: v for k, v in data.attributes.items() if k != "files"}
    return replace(data, source=str(path), attributes=attributes)


def compare(a: Dataset, b: Dataset) -> None:
    """Raise where two data sets are not of one kind, with both names and the difference."""

    def differ(what: str, left: Any, right: Any, fix: str = "open them one by one") -> None:
        raise NWidthError(
            f"open {a.source} and {b.source} together", got=f"{what} {left} and {right}", expected="one kind", fix=fix
        )

    if a.format != b.format:
        differ("formats", a.format, b.format)
    if a.grid.ndim != b.grid.ndim or type(a.grid) is not type(b.grid):
        differ("grids", a.grid.describe(), b.grid.describe())
    if a.grid.shape != b.grid.shape:
        size = list(a.grid.shape) if len(a.grid.shape) > 1 else a.grid.shape[0]
        differ(
            "resolutions",
            list(a.grid.shape),
            list(b.grid.shape),
            f"set data.resolution={str(size).replace(' ', '')} to bring all to one grid",
        )
    kinds = [[x.kind for x in d.grid.axes] if isinstance(d.grid, Grid) else [] for d in (a, b)]
    if not same_grid(a.grid, b.grid) or kinds[0] != kinds[1]:
        differ("grids", a.grid.describe(), b.grid.describe())
    for name in ("u", *INPUTS):
        x, y = getattr(a, name), getattr(b, name)
        if (x is None) != (y is None):
            differ(f"{name}:", *("none" if v is None else f"shape {tuple(v.shape)}" for v in (x, y)))
        if a.channels(name) != b.channels(name):
            differ(f"channels of {name}", list(a.channels(name)), list(b.channels(name)))
    if not same_times(a.t, b.t) or (a.t is not None and abs(a.t0 - b.t0) > 1e-6 * max(abs(a.t0), abs(float(a.t[-1])))):
        equal = a.t is not None and b.t is not None and len(a.t) == len(b.t)
        hint = "set data.times=steps to count times in steps, with each file's step as a parameter"
        differ("times", _times(a), _times(b), hint if equal else "open them one by one")
    if a.units != b.units:
        differ("units", dict(a.units), dict(b.units))


def in_steps(data: Dataset) -> Dataset:
    """Times counted in steps from t0, and the step as the parameter ``dt``, so that sets of other steps can join.

    >>> d = Dataset(Grid.make((4,)), u=torch.rand(2, 3, 1, 4), u0=torch.rand(2, 1, 4), t=0.5 * torch.arange(1, 4))
    >>> d = in_steps(d)
    >>> d.t.tolist(), d.attributes["parameters"]
    ([1.0, 2.0, 3.0], {'dt': 0.5})
    """
    if data.t is None or data.units.get("t") == "steps":
        return data
    all_times = torch.cat([torch.tensor([data.t0], dtype=torch.float64), data.t.double()])
    gaps = all_times.diff()
    if float((gaps - gaps.mean()).abs().max()) > 1e-3 * float(gaps.mean()):
        raise NWidthError(
            f"data.times=steps of {data.source}",
            got="times that are not equally spaced from t0",
            expected="equal steps",
            fix="leave data.times=null",
        )
    parameters = {**data.attributes.get("parameters", {}), "dt": float(f"{float(gaps.mean()):.9g}")}
    return replace(
        data,
        t=torch.arange(1, len(data.t) + 1, dtype=torch.float64),
        t0=0.0,
        units={**data.units, "t": "steps"},
        attributes={**data.attributes, "parameters": parameters},
    )


def _times(d: Dataset) -> str:
    return "none" if d.t is None else f"{d.t0:g}, {float(d.t[0]):g} .. {float(d.t[-1]):g} ({len(d.t)})"


def _numbers(d: Dataset) -> dict[str, float]:
    """Parameters of the equation that a data set tells of itself."""
    found = {**dict(d.problem or {}), **d.attributes.get("parameters", {})}
    return {k: float(v) for k, v in found.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def _parameters(parts: Sequence[Dataset]) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Columns of the parameters that differ, and of attributes["parameters"] those that agree."""
    numbers = [_numbers(p) for p in parts]
    listed: set[str] = set().union(*(p.attributes.get("parameters", {}) for p in parts))
    columns: dict[str, Tensor] = {}
    shared: dict[str, float] = {}
    for name in dict.fromkeys(k for n in numbers for k in n):
        values = [n.get(name) for n in numbers]
        if all(v == values[0] for v in values):
            if name in listed:
                shared[name] = values[0]  # type: ignore[assignment]
            continue
        if None in values:
            lacks = parts[values.index(None)].source
            raise NWidthError(
                f"open {lacks}",
                got=f"no parameter {name!r}",
                expected=f"{name!r}, as the other files have",
                fix="open files of one kind together",
            )
        columns[name] = torch.cat(
            [torch.full((len(p),), float(v), dtype=torch.float64) for p, v in zip(parts, values)]  # type: ignore[arg-type]
        )
    return columns, shared


def _attributes(parts: Sequence[Dataset]) -> dict[str, Any]:
    """Attributes on which all agree, and by part those on which they do not."""
    kept: dict[str, Any] = {"files": [p.source for p in parts]}
    differs: dict[str, list[Any]] = {}
    for name in dict.fromkeys(k for p in parts for k in p.attributes):
        if name in ("parameters", "split"):
            continue
        values = [p.attributes.get(name) for p in parts]
        if all(v == values[0] for v in values):
            kept[name] = values[0]
        else:
            differs[name] = values
    return kept | ({"differs": differs} if differs else {})


def _splits(parts: Sequence[Dataset], named: Sequence[str | None]) -> Mapping[str, Tensor]:
    """Sample indices by split: of the names of parts where all have one, else of the splits that the parts carry."""
    places: dict[str, list[Tensor]] = {}
    start = 0
    by_name = len(named) == len(parts) and all(named) and len(set(named)) > 1
    carried = all(p.splits for p in parts)
    for i, p in enumerate(parts):
        if by_name:
            places.setdefault(str(named[i]), []).append(torch.arange(start, start + len(p)))
        elif carried:
            for name, indices in p.splits.items():
                places.setdefault(name, []).append(indices + start)
        start += len(p)
    return {k: torch.cat(v) for k, v in places.items()}
