"""Whether degree and time step suffice, sample by sample: modes at the edge, and errors of the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .lockstep import Maker
from .spectral import SpectralSpace, good_size

WILD = 1e3  # beyond so many times the limit an error estimate says no more than that it is too large


class StepCheck:
    """From some states on, a short stretch is run with steps h and again with 2h. For a scheme of order p the results
    differ by 2^p - 1 times the error of the former. Summed up over all time, that is the error of the solution as far
    as the equation does not amplify it. Stretches are as long as costs little: where errors oscillate (dispersive
    waves), long ones say how much of them remains.

    make : steppers of order ``order`` for some of the rows, of given steps, see ``lockstep``.
    target : what the modes at the edge of the spectrum may hold, relative in L2; ten times as much is let pass, and
        thirty times as much of the errors in time.
    """

    def __init__(self, space: SpectralSpace, make: Maker, order: int, c: Tensor, target: float):
        rounding = torch.finfo(c.real.dtype if c.is_complex() else c.dtype).eps
        self.space, self.make, self.order = space, make, order
        self.edge_limit, self.error_limit = max(10 * target, 8 * rounding), max(30 * target, 64 * rounding)
        self.edge = torch.zeros(len(c), dtype=torch.float64)
        self.error = torch.zeros(len(c), dtype=torch.float64)

    def probe(self, rows: Sequence[int], c: Tensor, h: Sequence[float], pairs: int, durations: Sequence[float]) -> None:
        """Add the errors of so much time each, from the states c of some rows on, by so many pairs of steps."""
        once, twice = self.make(rows, h), self.make(rows, [2 * v for v in h])
        fine = coarse = c
        for _ in range(pairs):
            fine, coarse = once.step(once.step(fine)), twice.step(coarse)
        rate = distance(coarse, fine) / (2.0**self.order - 1) / (2 * pairs * torch.tensor(h, dtype=torch.float64))
        self.error[rows] += rate * torch.tensor(durations, dtype=torch.float64)

    def see(self, rows: Sequence[int], c: Tensor) -> None:
        self.edge[rows] = torch.maximum(self.edge[rows], self.space.edge(c).double().cpu().nan_to_num(math.inf))

    def hopeless(self) -> Tensor:
        """Which rows are not worth going on with, booleans (N,)."""
        return (self.edge > self.edge_limit) | (self.error > WILD * self.error_limit)

    def finer(self, i: int, points: int) -> int | None:
        """The points that sample i needs, where it needs more: modes are taken to decay exponentially. Where the step
        is far too long, those at the edge mean nothing.
        """
        edge, error = float(self.edge[i]), float(self.error[i])
        if not edge > self.edge_limit or error > WILD * self.error_limit:
            return None
        growth = math.log(self.edge_limit / 2) / math.log(edge) if edge < 1 else 2.0
        return good_size(max(points + 1, math.ceil(points * min(growth, 2.0))))

    def halvings(self, ratio: float) -> int:
        """How often the step must be halved for an error so many times what it may be."""
        return min(4, 3 if math.isinf(ratio) else math.ceil(math.log2(max(ratio, 1.0)) / self.order - 1e-9))


def distance(u: Tensor, reference: Tensor) -> Tensor:
    """Relative L2 difference of each sample over all times, infinite where either is not finite."""
    difference = (u - reference).abs().flatten(1).double().square().sum(1).sqrt()
    size = reference.abs().flatten(1).double().square().sum(1).sqrt()
    ratio = difference / torch.where(size > 0, size, torch.ones_like(size))
    return torch.where(torch.isfinite(ratio), ratio, torch.full_like(ratio, math.inf)).cpu()
