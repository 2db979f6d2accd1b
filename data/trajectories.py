"""States in time: the initial one apart, times that increase, and one row of times for all samples."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import NWidthError
from .arrays import Array, at_index, thinned


def from_states(
    states: Array, t: Tensor, u0: Array | None = None, where: str = "states"
) -> tuple[Array, Array | None, Tensor, float]:
    """(u, u0, t, t0) of a trajectory whose states at the times ``t`` may begin with the initial one.

    Without ``u0``, or where the first state repeats it, the first state is the initial state and leaves u; else t0 is
    one step before the first time (or 0, where that is before it) and ``u0`` stays as it is (None is returned).
    """
    if len(t) != states.shape[1]:
        raise NWidthError(where, got=f"{len(t)} times for {states.shape[1]} states", expected="as many")
    check_times(t, where)
    first = at_index(states, 0)
    if u0 is None or _repeats(u0, first):
        if len(t) < 2:
            raise NWidthError(where, got="a single time", expected="two times or more")
        return _own(thinned(states, slice(1, None))), _own(first), t[1:], float(t[0])
    t0 = 0.0
    if float(t[0]) <= 0:
        t0 = float(t[0]) - (float(t[1] - t[0]) if len(t) > 1 else 1.0)
    return states, None, t, t0


def check_times(t: Tensor, where: str) -> None:
    """Times must be finite and increase; the error says where they do not."""
    bad = (~torch.isfinite(t)).nonzero().flatten()
    if len(bad):
        raise NWidthError(
            where,
            got=f"time {int(bad[0])} that is not finite ({float(t[bad[0]]):g})",
            expected="increasing times",
            fix="repair the file's time coordinate",
        )
    falls = (t.diff() <= 0).nonzero().flatten()
    if len(falls):
        k = int(falls[0])
        raise NWidthError(
            where,
            got=f"times that do not increase: {float(t[k]):g} at {k}, {float(t[k + 1]):g} at {k + 1}",
            expected="increasing times",
            fix="repair the file's time coordinate",
        )


def one_row(t: Tensor, where: str) -> Tensor:
    """Times as one row; a file that holds a row for each sample must hold equal ones."""
    if t.ndim != 2 or min(t.shape) < 2:
        return t.flatten()
    row, step = common_times(t, where)
    if step is not None:
        raise NWidthError(
            where,
            got="times that differ between samples",
            expected="one row of times for all",
            fix="split the file by its times, or name the step with data.fields.mu and leave data.fields.t",
        )
    return row


def common_times(t: Tensor, where: str) -> tuple[Tensor, Tensor | None]:
    """One row of times for all samples: t (T,), and None or the step of each sample (N, 1).

    Rows (N, T) that are equal give that row. Rows that are each equally spaced, with steps of their own, give steps
    counted from 0; the step of each sample is then a parameter. Anything else has no common times.
    """
    rows = t.double().reshape(-1, t.shape[-1])
    check_times(rows[0], where)
    scale = float(rows.abs().amax()) or 1.0
    if float((rows - rows[:1]).abs().amax()) <= 1e-6 * scale:
        return rows[0], None
    gaps = rows.diff(dim=1)
    step = gaps.mean(1, keepdim=True)
    if (
        not bool(torch.isfinite(rows).all())
        or float(((gaps - step) / step).abs().amax()) > 1e-3
        or float(step.min()) <= 0
    ):
        raise NWidthError(
            where,
            got="times that differ between samples and are not equally spaced",
            expected="one row of times for all, or equal steps in each sample",
            fix="split the file by its times",
        )
    return torch.arange(rows.shape[1], dtype=torch.float64), step


def _repeats(u0: Array, first: Array) -> bool:
    """Whether u0 is the first state (checked on up to 32 samples)."""
    if tuple(u0.shape) != tuple(first.shape):
        return False
    some = list(range(min(32, len(u0))))
    return bool(torch.allclose(u0[some].to(first.dtype), first[some], rtol=1e-5, atol=1e-6, equal_nan=True))


def _own(value: Array) -> Array:
    """A tensor that is part of another, with memory of its own."""
    return value.contiguous() if isinstance(value, Tensor) else value
