"""One pass over snapshots that are read block by block, in bounded memory."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import NWidthError
from .compress import Compressed, exact_compress, gram_compress, gram_extend
from .dense import require_finite, squared_norms
from .partial import PartialSVD, fewest
from .ranks import truncation_rank
from .updating import extend


class _Step(NamedTuple):
    """How one block changed the right factor: V <- [V top + offset; bottom + shift], each row with the same addend."""

    top: Tensor | None
    bottom: Tensor
    offset: Tensor | None
    shift: Tensor | None


class StreamingSVD:
    """Decomposition of [B_1, B_2, ...] from blocks of columns (d, b), each seen once.

    Between blocks it holds U (d, k), s and the small rotations of the right factor, which a backward sweep joins at
    the end: no step touches all columns seen so far. Memory: d (k + b) numbers, and k (k + b) for each block.

    - ``rank``: k is at most rank + ``spare`` (default max(10, rank)); the result says what was missed
    - ``tail``: |a - U s V*|_F <= tail |a|_F. Half of the square may be spent on the way, the rest at the end; k is
      what that needs
    - ``center``: the columns' mean is subtracted, exactly, although it is known at the end only: a block enters
      centred on its own mean, with one column more for the difference of the means

    A block is joined through the Gram matrix of [U s, B] as long as all values kept are above 1e-7 of the first, and
    by the QR of ``IncrementalSVD`` from then on.

    Source: Ross, Lim, Lin and Yang (2008), section 3.1, for the mean.

    >>> a = torch.arange(24.0, dtype=torch.float64).reshape(4, 6).sin()
    >>> stream = StreamingSVD(rank=2)
    >>> for block in a.split(4, 1):
    ...     stream.append(block)
    >>> bool(torch.allclose(stream.result().s, torch.linalg.svdvals(a)[:2]))
    True
    """

    def __init__(
        self,
        *,
        rank: int | None = None,
        tail: float | None = None,
        spare: int | None = None,
        center: bool = False,
        right: bool = True,
    ):
        if rank is None and tail is None:
            raise NWidthError("StreamingSVD", got="no rank and no tail", expected="one that bounds the memory")
        if (rank is not None and rank < 1) or (tail is not None and not 0 <= tail <= 1):
            raise NWidthError("StreamingSVD", got=f"rank={rank}, tail={tail}", expected="rank >= 1, 0 <= tail <= 1")
        self.rank, self.tail, self.center, self.right = rank, tail, center, right
        self.most = None if rank is None else rank + (max(10, rank) if spare is None else spare)
        self.count, self.squared, self._lost = 0, 0.0, 0.0
        self.mean: Tensor | None = None
        self.U: Tensor | None = None
        self.s: Tensor | None = None
        self._steps: list[_Step] = []
        self._squared = True  # until values are to be kept that a Gram matrix cannot see

    def append(self, block: Tensor) -> None:
        """The next columns (d, b)."""
        if block.ndim != 2 or 0 in block.shape or (self.U is not None and len(block) != len(self.U)):
            rows = "d" if self.U is None else len(self.U)
            raise NWidthError("StreamingSVD.append", got=f"shape {tuple(block.shape)}", expected=f"({rows}, b)")
        if not (block.is_floating_point() or block.is_complex()):
            raise NWidthError("StreamingSVD.append", got=f"dtype {block.dtype}", expected="floating point")
        require_finite("StreamingSVD.append", block)
        b = block.shape[1]
        old = new = 0.0
        if self.center:
            block, old, new = self._centred(block)
        self.squared += float(squared_norms(block))
        k = 0 if self.s is None else len(self.s)
        self.U, self.s, Gh, dropped = self._extended(block)
        self._lost += dropped**2
        if self.right:
            G = Gh.mH
            top, bottom = (G[:k] if k else None), G[k : k + b]
            if self.center:
                bottom = _reflected(torch.cat([torch.zeros_like(G[:1]), G[k : k + b - 1]]))
            joint = G[-1] if old else None  # of the column that joins the means
            self._steps.append(
                _Step(top, bottom, None if joint is None else old * joint, None if joint is None else new * joint)
            )
        self.count += b

    def _centred(self, block: Tensor) -> tuple[Tensor, float, float]:
        """The block less its mean, and the column of the means with its entries in old and new rows of V.

        The b centred columns are b - 1 in an orthonormal basis of what is orthogonal to (1, ..., 1). So rows of V sum
        to zero to round-off also for small singular values, which the column of the means needs.
        """
        n, b = self.count, block.shape[1]
        mean = block.mean(1)
        columns = _reflected((block - mean[:, None]).mT).mT[:, 1:]
        if self.mean is None:
            self.mean = mean
            return (columns if b > 1 else torch.zeros_like(block)), 0.0, 0.0
        joint = math.sqrt(n * b / (n + b)) * (self.mean - mean)
        self.mean = self.mean + (mean - self.mean) * (b / (n + b))
        return torch.cat([columns, joint[:, None]], 1), math.sqrt(b / (n + b) / n), -math.sqrt(n / (n + b) / b)

    def _extended(self, block: Tensor) -> Compressed:
        if self._squared:
            if self.U is None or self.s is None:
                found = gram_compress(block, self._keep)
            else:
                found = gram_extend(self.U, self.s, block, self._keep)
            if found is not None:
                return found
            self._squared = False
        if self.U is None or self.s is None:
            return exact_compress(block, self._keep)
        return extend(self.U, self.s, block, self._keep)

    def _keep(self, s: Tensor) -> int:
        """How many to carry on; ``squared`` includes the block at hand."""
        budget = 0.0 if self.tail is None else max(0.5 * self.tail**2 * self.squared - self._lost, 0.0)
        return fewest(s, budget, self.most)

    def result(self) -> PartialSVD:
        """The decomposition of all columns so far; more may follow. Signs are as they come."""
        if self.U is None or self.s is None:
            raise NWidthError("StreamingSVD.result", got="no blocks", expected="one or more")
        total = torch.tensor(self.squared, dtype=torch.float64)
        keep = truncation_rank(self.s, rank=self.rank, rtol=self.tail, total=total)
        rest = float(self.s[keep:].double().square().sum())
        Vh = self._right_factor(keep).mH if self.right else None
        return PartialSVD(
            self.U[:, :keep],
            self.s[:keep],
            Vh,
            math.sqrt(self._lost + rest),
            self.squared,
            self.count,
            self.mean,
            math.sqrt(rest),
        )

    def _right_factor(self, keep: int) -> Tensor:
        """V (n, keep) from the last block to the first."""
        assert self.U is not None and self.s is not None
        M = torch.eye(len(self.s), keep, dtype=self.U.dtype, device=self.U.device)
        addend = torch.zeros(keep, dtype=self.U.dtype, device=self.U.device)
        blocks = []
        for step in reversed(self._steps):
            local = step.bottom @ M + addend
            if step.offset is not None and step.shift is not None:
                local = local + step.shift @ M
                addend = addend + step.offset @ M
            blocks.append(local)
            if step.top is not None:
                M = step.top @ M
        return torch.cat(blocks[::-1], 0)


def _reflected(x: Tensor) -> Tensor:
    """H x, x (b, r), for the reflection H = H' that takes (1, 0, ..., 0) to -(1, ..., 1) / sqrt(b)."""
    v = torch.full((len(x), 1), 1 / math.sqrt(len(x)), dtype=x.dtype, device=x.device)
    v[0] += 1
    return x - v * (2 / float((v * v).sum().real) * (v.mT @ x))
