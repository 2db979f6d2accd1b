"""Cell averages between a grid and a finer one."""

from __future__ import annotations

import torch
from torch import Tensor


def broadcast(x: Tensor, ndim: int) -> Tensor:
    """(N, P) as (N, P, *1)."""
    return x.view(*x.shape, *(1,) * ndim)


def coarsen(q: Tensor, dim: int, factor: int, centred: bool) -> Tensor:
    """Means over ``factor`` cells. ``centred``: coarse cells have their middle in that of every factor-th cell."""
    if centred:
        q = torch.roll(q.repeat_interleave(2, dim), factor - 1, dim)
        factor *= 2
    return q.unflatten(dim, (-1, factor)).mean(dim)


def refined(q: Tensor, slope: Tensor, dim: int, factor: int, centred: bool) -> Tensor:
    """Means over parts of the cells of what is linear in each.

    ``coarsen`` undoes it, but for centred cells and even factors, where parts lie in two cells.
    """
    count = 2 * factor if centred else factor
    offsets = ((torch.arange(count, dtype=q.dtype, device=q.device) + 0.5) / count - 0.5).repeat(q.shape[dim])
    parts = q.repeat_interleave(count, dim)
    parts = parts + slope.repeat_interleave(count, dim) * offsets.view(-1, *(1,) * (-dim - 1))
    if centred:
        parts = torch.roll(parts, 1 - factor, dim).unflatten(dim, (-1, 2)).mean(dim)
    return parts
