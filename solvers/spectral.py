"""Trigonometric polynomials on a periodic box, and the points on which to form products."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..backends import Grid
from ..backends.transforms import Fourier
from ..errors import NWidthError


class SpectralSpace:
    """Real trigonometric polynomials of degree K_i along axis i of a periodic box.

    States are Fourier coefficients c (..., *counts) with frequencies -K..K, on the last axis 0..K. A product
    of ``factors`` polynomials is formed at ``shape`` points and truncated to degree K again. No alias reaches
    the kept modes when n > (factors + 1) K, which fixes K = (n - 1) // (factors + 1): for quadratic terms the
    2/3 rule (Orszag 1971).

    >>> space = SpectralSpace(Grid.make((16,)), (64,))
    >>> x = space.grid.coordinates()[0]
    >>> c = space.coefficients(torch.sin(2 * torch.pi * x))
    >>> du = space.values(space.derivative(c, 0))
    >>> space.degree, bool(torch.allclose(du, 2 * torch.pi * torch.cos(2 * torch.pi * x)))
    ((21,), True)
    """

    def __init__(
        self,
        grid: Grid,
        shape: Sequence[int],
        *,
        factors: int = 2,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ):
        if not all(grid.periodic):
            raise NWidthError("SpectralSpace", got=grid.describe(), expected="periodic axes")
        self.grid = grid.with_shape(shape)
        self.shape = self.grid.shape
        self.degree = tuple((n - 1) // (factors + 1) for n in self.shape)
        self.modes = tuple(2 * k + 1 for k in self.degree)
        lengths = [a.length for a in grid.axes]
        self.transform = Fourier(grid.ndim, lengths=lengths)
        self.counts = self.transform.counts(self.modes)
        self.wavenumbers: list[Tensor] = []
        self._symbols: dict[tuple[int, int], Tensor] = {}
        for i, (k, length) in enumerate(zip(self.transform.frequencies(self.modes), lengths)):
            k = (2 * math.pi / length) * k.to(torch.float64)
            self.wavenumbers.append(k.view(-1, *(1,) * (grid.ndim - 1 - i)).to(dtype=dtype, device=device))

    def coefficients(self, values: Tensor) -> Tensor:
        """Coefficients of point values (..., *n) on any uniform grid of the box; higher modes are dropped."""
        if tuple(values.shape[-len(self.shape) :]) != self.shape:
            values = self.transform.resize(values, self.shape)
        return self.transform.forward(values, self.modes)

    def values(self, c: Tensor) -> Tensor:
        """Point values (..., *shape)."""
        return self.transform.inverse(c, self.shape, self.modes)

    def at(self, c: Tensor, shape: Sequence[int]) -> Tensor:
        """Values at the points of a grid of any shape, coarse or fine: no mode is dropped or filtered."""
        strides = [-(-m // n) for m, n in zip(self.modes, shape)]
        fine = self.transform.inverse(c, [s * n for s, n in zip(strides, shape)], self.modes)
        for i, s in enumerate(strides):
            if s > 1:
                dim = i - len(strides)
                fine = fine.index_select(dim, torch.arange(0, fine.shape[dim], s, device=fine.device))
        return fine

    def derivative(self, c: Tensor, axis: int, order: int = 1) -> Tensor:
        """Coefficients of the order-th derivative along an axis."""
        if (axis, order) not in self._symbols:
            self._symbols[axis, order] = (1j * self.wavenumbers[axis]) ** order
        return c * self._symbols[axis, order]

    def laplacian(self) -> Tensor:
        """Symbol of the Laplacian, -|k|^2, shape (*counts)."""
        total = torch.zeros((), dtype=self.wavenumbers[0].dtype, device=self.wavenumbers[0].device)
        for k in self.wavenumbers:
            total = total - k**2
        return total


def good_size(n: int) -> int:
    """The least 2^p or 3 * 2^p that is at least n: few different sizes, all fast for the FFT.

    >>> [good_size(n) for n in (5, 17, 100, 400)]
    [6, 24, 128, 512]
    """
    p = max(n - 1, 1).bit_length()
    return min(s for s in (2**p, 3 * 2 ** max(p - 2, 0)) if s >= n)
