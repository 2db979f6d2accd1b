"""Which matrices may share one truncated decomposition: bounds on its error without forming it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import NWidthError
from .decompose import svd
from .dense import SVD, exact_svd, exact_values, require_finite, squared_norms
from .partial import PartialSVD, merge, partial_svd
from .updating import project_out

_ROUND_OFF = 1e-15  # of the differences of squares that two of the bounds are


@dataclass(frozen=True)
class Group:
    """Blocks (positions in the input) that share a decomposition, and a bound on its relative error eps_r."""

    members: tuple[int, ...]
    bound: float


def concatenation_bound(blocks: Sequence[Tensor], rank: int, bound: str = "incremental") -> float:
    """Upper bound on eps_r, eps_r^2 = sum_{i>r} sigma_i^2 / |M|_F^2, for M = [A_0, A_1, ...] of blocks (m, n_k).

    ===========  ==========================================================================================
    bound        how
    ===========  ==========================================================================================
    weyl         sigma_i(M) >= max_k sigma_i(A_k): the singular values of each block alone. Nothing else is kept
    residual     M is block triangular in the joint basis, so that the r largest of sigma(A_0) and
                 sigma((I - Q Q*) A_k), Q a basis of the blocks before k, have squares whose sum is below that of
                 M; blocks enter by falling norm. Never above ``weyl``, which is taken where it is smaller
    incremental  the error of a decomposition of rank r, merged block by block from factors of rank 2 r: what is
                 dropped adds up in squares. Near the true error also where blocks span the same space, which the
                 others do not see
    ===========  ==========================================================================================

    The first two are differences of squares, never below 3e-8. All are computed in double precision.

    Source: Shamrai (2026), Concatenated matrix SVD, arXiv:2601.11626. There the Weyl bound uses one block (here the
    maximum over all, as safe and never worse), and the incremental one is an estimate (here with what was dropped).

    >>> a = torch.eye(4, dtype=torch.float64)
    >>> [round(concatenation_bound([3 * a[:, :2], a[:, 2:]], 2, b), 4) for b in ("weyl", "incremental")]
    [0.3162, 0.3162]
    >>> [round(concatenation_bound([3 * a[:, :2], a[:, :2]], 2, b), 4) for b in ("weyl", "incremental")]
    [0.3162, 0.0]
    """
    start = _checked(blocks, rank, bound)
    order = _by_norm(blocks)
    state = start(blocks[order[0]], rank)
    for k in order[1:]:
        state = state.joined(blocks[k], start(blocks[k], rank))
    return state.bound()


def group_blocks(blocks: Sequence[Tensor], rank: int, tol: float, bound: str = "incremental") -> list[Group]:
    """Blocks merged as long as the bound on the error of their joint rank-``rank`` decomposition stays below ``tol``.

    Greedy, by falling norm: a block joins the group where the bound becomes smallest, if that is at most ``tol``, and
    opens a group of its own otherwise. A block that exceeds ``tol`` alone stays alone, and its bound says so. Groups
    and members are in the order of the input.

    >>> a = torch.eye(4, dtype=torch.float64)
    >>> [g.members for g in group_blocks([a[:, :2], a[:, 2:], 2 * a[:, :2]], rank=2, tol=0.1)]
    [(0, 2), (1,)]
    """
    start = _checked(blocks, rank, bound)
    if not 0 <= tol < 1:
        raise NWidthError("group_blocks", got=f"tol={tol}", expected="a relative error from 0 to 1")
    groups: list[tuple[list[int], _Bound]] = []
    for k in _by_norm(blocks):
        alone = start(blocks[k], rank)
        trials = [state.joined(blocks[k], alone) for _, state in groups]
        bounds = [t.bound() for t in trials]
        best = min(range(len(groups)), key=bounds.__getitem__, default=None)
        if best is not None and bounds[best] <= tol:
            groups[best] = ([*groups[best][0], k], trials[best])
        else:
            groups.append(([k], alone))
    found = [Group(tuple(sorted(members)), state.bound()) for members, state in groups]
    return sorted(found, key=lambda g: g.members)


def compress_groups(blocks: Sequence[Tensor], groups: Sequence[Group], rank: int) -> list[SVD]:
    """The joint decomposition of each group, members side by side; of rank ``rank``, or less where they hold less."""
    found = [svd(torch.cat([blocks[k] for k in group.members], 1), method="exact") for group in groups]
    return [SVD(f.U[:, :rank], f.s[:rank], f.Vh[:rank]) for f in found]


class _Bound:
    """Weyl's bound of a set of blocks, from squares alone: their largest at each place."""

    def __init__(self, block: Tensor, rank: int):
        self.rank = rank
        self.most = exact_values(_wide(block)).square()
        self.squared = float(self.most.sum())

    def joined(self, block: Tensor, alone: _Bound) -> _Bound:
        found = object.__new__(type(self))
        length = max(len(self.most), len(alone.most))
        padded = [torch.nn.functional.pad(x, (0, length - len(x))) for x in (self.most, alone.most)]
        found.rank, found.most, found.squared = self.rank, torch.maximum(*padded), self.squared + alone.squared
        found._absorb(self, block)
        return found

    def _absorb(self, before: _Bound, block: Tensor) -> None:
        """What else the bound needs."""

    def captured(self) -> float:
        return float(self.most[: self.rank].sum())

    def bound(self) -> float:
        return math.sqrt(max(1 - self.captured() / self.squared, 0.0) + _ROUND_OFF) if self.squared > 0 else 0.0


class _Residual(_Bound):
    """With an orthonormal basis of the blocks so far, and the squares of all residuals."""

    def __init__(self, block: Tensor, rank: int):
        super().__init__(block, rank)
        U, s, _ = exact_svd(_wide(block))
        self.basis, self.residual = U[:, s > _noise(self.squared)], s.square()

    def _absorb(self, before: _Bound, block: Tensor) -> None:
        assert isinstance(before, _Residual)
        Q0, block = before.basis, _wide(block)
        if Q0.shape[1] + block.shape[1] >= len(block):
            rest = block - Q0 @ (Q0.mH @ block)
            Q, t, _ = exact_svd(rest - Q0 @ (Q0.mH @ rest))
        else:
            _, Q, R = project_out(Q0, block)
            X, t, _ = exact_svd(R)
            Q = Q @ X
        # directions that are round-off say nothing, and may lie in the basis
        kept = min(int((t > _noise(self.squared)).sum()), len(block) - Q0.shape[1])
        self.basis, self.residual = torch.cat([Q0, Q[:, :kept]], 1), torch.cat([before.residual, t[:kept].square()])

    def captured(self) -> float:
        return max(super().captured(), float(self.residual.sort(descending=True).values[: self.rank].sum()))


class _Incremental(_Bound):
    """A decomposition of rank 2 r, whose truncation to r is an approximation that the optimum cannot be worse than."""

    def __init__(self, block: Tensor, rank: int):
        self.rank = rank
        self.part: PartialSVD = partial_svd(_wide(block), right=False).within(0.0, 2 * rank)
        self.most, self.squared = self.part.s.square(), self.part.squared

    def joined(self, block: Tensor, alone: _Bound) -> _Bound:
        assert isinstance(alone, _Incremental)
        found = object.__new__(_Incremental)
        found.rank, found.part = self.rank, merge([self.part, alone.part]).within(0.0, 2 * self.rank)
        found.most, found.squared = found.part.s.square(), found.part.squared
        return found

    def bound(self) -> float:
        return self.part.within(0.0, self.rank).error


_BOUNDS: dict[str, type[_Bound]] = {"weyl": _Bound, "residual": _Residual, "incremental": _Incremental}


def _checked(blocks: Sequence[Tensor], rank: int, bound: str) -> type[_Bound]:
    if bound not in _BOUNDS:
        raise NWidthError("concatenation_bound", got=f"bound={bound!r}", expected="one of " + ", ".join(_BOUNDS))
    if rank < 1:
        raise NWidthError("concatenation_bound", got=f"rank={rank}", expected="1 or more")
    if not blocks or any(b.ndim != 2 or 0 in b.shape for b in blocks) or len({len(b) for b in blocks}) > 1:
        shapes = ", ".join(str(tuple(b.shape)) for b in blocks) or "no blocks"
        raise NWidthError("concatenation_bound", got=shapes, expected="matrices with equal numbers of rows")
    for b in blocks:
        require_finite("concatenation_bound", b)
    return _BOUNDS[bound]


def _by_norm(blocks: Sequence[Tensor]) -> list[int]:
    return sorted(range(len(blocks)), key=lambda k: -float(squared_norms(blocks[k])))


def _wide(block: Tensor) -> Tensor:
    return block.to(torch.complex128 if block.is_complex() else torch.float64)


def _noise(squared: float) -> float:
    return 1e-13 * math.sqrt(max(squared, 1e-300))
