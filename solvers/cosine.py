"""Cosine polynomials on a box whose walls let nothing through, and the points on which to form products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..backends import Grid
from ..backends.transforms import CosineBasis, Transform
from ..errors import NWidthError
from .spectral import SpectralSpace


class CosineSpace(SpectralSpace):
    """Products of cos(pi k_i (x_i - lo_i)/L_i), k_i = 0..K_i: u with du/dn = 0 on the walls of a box, that is even
    functions of period 2L. The counterpart of ``SpectralSpace`` on cell centres.

    States are real coefficients (..., K_1 + 1, ..). A product of ``factors`` of them formed at n cell centres
    leaves the kept modes free of alias when 2 n > (factors + 1) K: the same spacing as on a periodic box. Odd
    derivatives are sine series, which are not in the space.

    >>> space = CosineSpace(Grid.make((16,), "cell"), (64,))
    >>> c = space.coefficients(torch.cos(3 * torch.pi * Grid.make((16,), "cell").coordinates()[0]))
    >>> space.degree, round(float(c[3]), 12), tuple(space.at(c, (5,)).shape)
    ((42,), 1.0, (5,))
    """

    LONGEST_PRODUCT: ClassVar[int] = 192

    def __init__(
        self,
        grid: Grid,
        shape: Sequence[int],
        *,
        factors: int = 2,
        dealias: bool = True,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ):
        if any(a.kind != "cell" for a in grid.axes):
            raise NWidthError("CosineSpace", got=grid.describe(), expected="cell centres on every axis")
        self.grid, self.real = grid.with_shape(shape), True
        self.shape = self.grid.shape
        self.degree = tuple((2 * n - 1) // (factors + 1) if dealias else n - 1 for n in self.shape)
        self.modes = tuple(k + 1 for k in self.degree)
        bases = [CosineBasis("cell")] * grid.ndim
        self._prepare(Transform(bases, lengths=[a.length for a in grid.axes]), math.pi, dtype, device)

    def symbol(self, axis: int, order: int = 1, scale: float = 1.0) -> Tensor:
        """scale (-k^2)^(order/2) along an axis; NWidthError for an odd order."""
        if order % 2:
            raise NWidthError("CosineSpace.symbol", got=f"order={order}", expected="an even order")
        return super().symbol(axis, order, scale)

    def at(self, c: Tensor, shape: Sequence[int]) -> Tensor:
        """Values at the cell centres of a grid of any shape, coarse or fine: no mode is dropped or filtered."""
        strides = [
            -(-m // n) // 2 * 2 + 1 for m, n in zip(self.modes, shape)
        ]  # odd: the centres are among the fine ones
        fine = self.transform.inverse(c, [s * n for s, n in zip(strides, shape)], self.modes)
        cut: tuple[Any, ...] = (..., *(slice(s // 2, None, s) for s in strides))
        return fine[cut]

    def energies(self, c: Tensor) -> Tensor:
        """Mean over the box of u^2 by mode: (..., *counts)."""
        power = c.square()
        for i, m in enumerate(self.modes):
            half = torch.full((m, *(1,) * (len(self.modes) - 1 - i)), 0.5, dtype=c.dtype, device=c.device)
            half[0] = 1.0
            power = power * half
        return power
