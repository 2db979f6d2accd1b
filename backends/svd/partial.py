"""Singular value decompositions of parts of a matrix, what each has lost, and their union."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...errors import NWidthError
from .compress import compress
from .dense import SVD, fix_signs, squared_norms
from .ranks import truncation_rank


@dataclass(frozen=True)
class PartialSVD:
    """a = U diag(s) Vh + L for a matrix (m, n) that was never held whole, with the size of L known.

    - ``U`` (m, r), ``s`` (r,), ``Vh`` (r, n), or None where the right factor was not asked for
    - ``missed``: |L|_F. Exact where only columns, or only rows, were joined: each truncation drops rows orthogonal to
      those kept, so that the squares of what is dropped add up. An upper bound elsewhere. Round-off, a few
      eps |a|_F, comes on top
    - ``best``: what no approximation of this rank can fall below; the optimum lies between ``best`` and ``missed``
    - ``squared``: |a|_F^2
    - ``count``: n, the number of columns
    - ``mean``: the column mean that was subtracted from ``a``, (m,), or None

    |a - U U* a|_F <= missed, and s_i^2 <= sigma_i^2 <= s_i^2 + missed^2. With a weight all norms are weighted.
    """

    U: Tensor
    s: Tensor
    Vh: Tensor | None
    missed: float
    squared: float
    count: int
    mean: Tensor | None = None
    best: float = 0.0

    @property
    def error(self) -> float:
        """|L|_F / |a|_F."""
        return self.missed / math.sqrt(self.squared) if self.squared > 0 else 0.0

    @property
    def svd(self) -> SVD:
        if self.Vh is None:
            raise NWidthError("PartialSVD.svd", got="no right factor", expected="one", fix="ask for right=True")
        return SVD(self.U, self.s, self.Vh)

    def truncated(self, rank: int | None = None, rtol: float | None = None, energy: float | None = None) -> PartialSVD:
        """Fewer directions by the rules of ``truncation_rank``, which count what is missed already."""
        total = torch.tensor(self.squared, dtype=torch.float64)
        return self._first(truncation_rank(self.s, rank=rank, rtol=rtol, energy=energy, total=total))

    def within(self, budget: float, most: int | None = None) -> PartialSVD:
        """The fewest directions that add at most ``budget`` (squared, Frobenius) to what is missed."""
        return self._first(fewest(self.s, budget, most))

    def _first(self, keep: int) -> PartialSVD:
        dropped = float(self.s[keep:].double().square().sum())
        Vh = None if self.Vh is None else self.Vh[:keep]
        return replace(
            self,
            U=self.U[:, :keep],
            s=self.s[:keep],
            Vh=Vh,
            missed=math.sqrt(self.missed**2 + dropped),
            best=math.sqrt(self.best**2 + dropped),
        )

    def signed(self) -> PartialSVD:
        """The signs of ``svd``: the entry of largest modulus in each column of U is positive."""
        Vh = torch.eye(len(self.s), dtype=self.U.dtype, device=self.U.device) if self.Vh is None else self.Vh
        U, Vh = fix_signs(self.U, Vh)
        return replace(self, U=U, Vh=None if self.Vh is None else Vh)


def partial_svd(a: Tensor, right: bool = True, budget: float = 0.0, most: int | None = None) -> PartialSVD:
    """One block of columns (m, n), with the fewest directions that miss at most ``budget`` (squared, Frobenius)."""
    squared = float(squared_norms(a))
    U, s, Vh, dropped = compress(a, lambda t: fewest(t, budget, most), budget > 0)
    return PartialSVD(U, s, Vh if right else None, dropped, squared, a.shape[1], best=dropped)


def fewest(s: Tensor, budget: float, most: int | None = None) -> int:
    """The fewest leading values, at least one, whose rest has squares of at most ``budget``; zeros are dropped."""
    squares = s.detach().double().square()
    round_off = (torch.finfo(s.dtype).eps * squares[:1].sqrt()).square() * len(s)
    rest = torch.cat([squares.flip(0).cumsum(0).flip(0), squares.new_zeros(1)])
    keep = max(int((rest <= torch.clamp(round_off, min=budget)).int().argmax()), 1)
    return keep if most is None else min(keep, most)


def merge(parts: Sequence[PartialSVD], budget: float = 0.0, most: int | None = None) -> PartialSVD:
    """The decomposition of [a_1, a_2, ...] from those of its parts; what they miss adds up in squares.

    [a_1, ...] ~ [U_1 s_1, ...] diag(V_1*, ...), and the right factor has orthonormal rows, so that the singular
    values of [U_1 s_1, ...] are those of the whole. The fewest directions are kept that add at most ``budget``
    (squared, Frobenius) to what the parts miss. The parts must not be centred.

    >>> a = torch.arange(12.0, dtype=torch.float64).reshape(3, 4).sin()
    >>> whole = merge([partial_svd(a[:, :1]), partial_svd(a[:, 1:])])
    >>> bool(torch.allclose(whole.U * whole.s @ whole.Vh, a))
    True
    """
    rows = {len(p.U) for p in parts}
    if len(rows) != 1:
        raise NWidthError("merge", got=f"parts with {sorted(rows)} rows", expected="one or more with as many rows")
    if any(p.mean is not None for p in parts):
        raise NWidthError("merge", got="centred parts", expected="parts of one matrix", fix="center=False")
    joint = torch.cat([p.U * p.s for p in parts], 1)
    U, s, Wh, dropped = compress(joint, lambda t: fewest(t, budget, most), budget > 0)
    Vh: Tensor | None = None
    if all(p.Vh is not None for p in parts):
        pieces = Wh.split([len(p.s) for p in parts], 1)
        Vh = torch.cat([w @ p.Vh for w, p in zip(pieces, parts) if p.Vh is not None], 1)
    missed = math.sqrt(sum(p.missed**2 for p in parts) + dropped**2)
    squared, count = sum(p.squared for p in parts), sum(p.count for p in parts)
    return PartialSVD(U, s, Vh, missed, squared, count, best=dropped)
