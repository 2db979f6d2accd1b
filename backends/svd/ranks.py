"""How many singular values to keep."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import NWidthError


def truncation_rank(
    s: Tensor,
    *,
    rank: int | None = None,
    rtol: float | None = None,
    energy: float | None = None,
    total: Tensor | None = None,
) -> int:
    """How many singular values to keep; the one home of rank rules.

    - ``rank``: exactly so many; more than the data hold (values above round-off) is an error;
    - ``rtol``: the fewest with sqrt(sum_{i>r} s_i^2 / sum s_i^2) <= rtol (relative Frobenius error);
    - ``energy``: the fewest with sum_{i<=r} s_i^2 / sum s_i^2 >= energy;
    - none: the numerical rank, s_i > eps max(s) len(s), eps that of the dtype of s.

    Of several rules the smallest result holds. ``s`` may be a batch (..., k): the largest rank over it is returned.
    ``total`` (...) holds the squared Frobenius norms where ``s`` is not the whole spectrum.

    >>> truncation_rank(torch.tensor([1.0, 0.1, 0.01]), rtol=0.05)
    2
    """
    eps, k = torch.finfo(s.dtype).eps, s.shape[-1]
    if k == 0:
        raise NWidthError("truncation_rank", got="no singular values", expected="a matrix with entries")
    flat = s.detach().double().cpu().reshape(-1, k)
    numerical = int((flat > eps * k * flat[:, :1].clamp_min(1e-300)).sum(1).max())
    chosen = max(numerical, 1)
    if rank is not None:
        if not 1 <= rank <= chosen:
            raise NWidthError(
                "truncation_rank",
                got=f"rank={rank}",
                expected=f"1 to {chosen}, the rank of the data",
                fix="lower the rank or add samples",
            )
        chosen = rank
    squares = flat.square()
    kept = squares.flip(1).cumsum(1).flip(1)
    whole = kept[:, :1] if total is None else total.detach().double().cpu().reshape(-1, 1)
    tail = torch.cat([kept, torch.zeros_like(kept[:, :1])], 1) + (whole - kept[:, :1]).clamp_min(0)
    whole = whole.clamp_min(1e-300)
    for name, value in (("rtol", rtol), ("energy", energy)):
        if value is None:
            continue
        if not 0 <= value <= 1:
            raise NWidthError("truncation_rank", got=f"{name}={value}", expected="a number from 0 to 1")
        limit = value**2 * (1 + 1e-12) if name == "rtol" else 1 - value + 1e-16
        enough = tail / whole <= limit
        needed = torch.where(enough.any(1), enough.int().argmax(1), torch.full((len(flat),), k))
        chosen = min(chosen, max(int(needed.max()), 1))
    return chosen
