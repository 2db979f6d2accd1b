"""The greedy search of empirical interpolation, for all snapshots and a batch of sets at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import NWidthError

NORMS = ("max", "l2")
SLICE = 2**18  # entries that are updated and measured while they are in the cache


class Greedy(NamedTuple):
    """``basis`` (..., d, n), ``points`` and ``selected`` (..., d), ``errors`` (..., d + 1), ``probe`` (...)."""

    basis: Tensor
    points: Tensor
    selected: Tensor
    errors: Tensor
    probe: Tensor


def greedy(
    snapshots: Tensor,
    *,
    rank: int | None = None,
    rtol: float | None = None,
    norm: str = "max",
    weight: Tensor | None = None,
) -> Greedy:
    """See ``EmpiricalInterpolation.eim``. Costs about two passes over the snapshots a step, in a copy of them."""
    _check(snapshots, rank, rtol, norm, weight)
    lead, (count, n) = snapshots.shape[:-2], snapshots.shape[-2:]
    left = snapshots.reshape(-1, count, n).clone(memory_format=torch.contiguous_format)
    batch = torch.arange(len(left), device=left.device)
    rows = max(1, SLICE // (n * len(left)))
    most = min(count, n) if rank is None else rank
    sizes = torch.cat([_size(part, norm, weight) for part in left.split(rows, 1)], 1)
    if not bool(torch.isfinite(sizes).all()):
        raise NWidthError("EmpiricalInterpolation.eim", got="NaN or infinite values", expected="finite snapshots")
    basis: list[Tensor] = []
    points: list[Tensor] = []
    selected: list[Tensor] = []
    errors: list[Tensor] = []
    round_off = 4 * torch.finfo(left.dtype).eps * sizes.amax(1)
    enough = round_off if rtol is None and rank is None else sizes.amax(1) * (rtol or 0.0)
    while True:
        largest, i = sizes.max(1)
        errors.append(largest)
        row = left[batch, i]
        point = row.abs().argmax(1)
        if len(points) == most or bool((largest <= enough).all()):
            break
        if bool((largest <= round_off).any()):
            raise NWidthError(
                "EmpiricalInterpolation.eim",
                got=f"snapshots that are dependent beyond rank {len(points)}",
                expected=f"rank {most}" if rank is not None else f"a residual of {rtol:g} in every member of the batch",
                fix="lower rank or raise rtol",
            )
        q = row / row[batch, point][:, None]
        basis.append(q)
        points.append(point)
        selected.append(i)
        values = left[batch, :, point]
        for start in range(0, count, rows):
            part = left[:, start : start + rows]
            part.addcmul_(values[:, start : start + rows, None], q[:, None], value=-1)
            sizes[:, start : start + rows] = _size(part, norm, weight)
    if not points:
        raise NWidthError("EmpiricalInterpolation.eim", got="snapshots that are zero", expected="some that are not")
    return Greedy(
        torch.stack(basis, 1).view(*lead, -1, n),
        torch.stack(points, 1).view(*lead, -1),
        torch.stack(selected, 1).view(*lead, -1),
        torch.stack(errors, 1).view(*lead, -1),
        point.view(lead),
    )


def _size(part: Tensor, norm: str, weight: Tensor | None) -> Tensor:
    """Norms of rows (..., n): the largest modulus, or the weighted root of squares."""
    if weight is not None:
        return (part.abs().square() @ weight.to(part.real)).sqrt()
    if norm == "l2":
        return torch.linalg.vector_norm(part, dim=-1)
    if part.is_complex():
        return part.abs().amax(-1)
    return torch.maximum(part.amax(-1), -part.amin(-1))  # without a copy of the moduli


def _check(snapshots: Tensor, rank: int | None, rtol: float | None, norm: str, weight: Tensor | None) -> None:
    where = "EmpiricalInterpolation.eim"
    if norm not in NORMS:
        raise NWidthError(where, got=f"norm={norm!r}", expected="one of " + ", ".join(NORMS))
    if snapshots.ndim < 2 or 0 in snapshots.shape or not (snapshots.is_floating_point() or snapshots.is_complex()):
        raise NWidthError(where, got=f"{snapshots.dtype} {tuple(snapshots.shape)}", expected="floats (..., N, n)")
    if rank is not None and not 1 <= rank <= min(snapshots.shape[-2:]):
        raise NWidthError(where, got=f"rank={rank}", expected=f"1 to {min(snapshots.shape[-2:])}", fix="lower rank")
    if rtol is not None and not 0 < rtol < 1:
        raise NWidthError(where, got=f"rtol={rtol}", expected="a number between 0 and 1")
    if weight is not None and (norm != "l2" or weight.shape != snapshots.shape[-1:] or not bool((weight > 0).all())):
        raise NWidthError(where, got=f"a weight with norm={norm!r}", expected="norm=l2 and n positive numbers")
