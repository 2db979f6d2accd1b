"""Trigonometric polynomials on a periodic box, and the points on which to form products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ..backends import Grid
from ..backends.spectral_paths import planned, to_complex
from ..backends.transforms import Fourier, Transform
from ..errors import NWidthError


class SpectralSpace:
    """Trigonometric polynomials of degree K_i along axis i of a periodic box, real or complex (``real=False``).

    States are Fourier coefficients c (..., *counts) with frequencies -K..K, of real polynomials on the last axis
    0..K. A product of ``factors`` polynomials is formed at ``shape`` points and truncated to degree K again. No
    alias reaches the kept modes when n > (factors + 1) K, which fixes K = (n - 1) // (factors + 1): for
    quadratic terms the 2/3 rule (Orszag 1971).

    With ``dealias=False`` all n modes of the n points are kept and products alias: the pseudo-spectral
    collocation method. Odd derivatives of the mode n/2 of an even number of points are zero.

    >>> space = SpectralSpace(Grid.make((16,)), (64,))
    >>> x = space.grid.coordinates()[0]
    >>> c = space.coefficients(torch.sin(2 * torch.pi * x))
    >>> du = space.values(space.derivative(c, 0))
    >>> space.degree, bool(torch.allclose(du, 2 * torch.pi * torch.cos(2 * torch.pi * x)))
    ((21,), True)
    """

    LONGEST_PRODUCT: ClassVar[int] = 12  # points up to which a product with a matrix beats the FFT, on one core

    def __init__(
        self,
        grid: Grid,
        shape: Sequence[int],
        *,
        factors: int = 2,
        dealias: bool = True,
        real: bool = True,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ):
        if not all(grid.periodic):
            raise NWidthError("SpectralSpace", got=grid.describe(), expected="periodic axes")
        self.grid, self.real = grid.with_shape(shape), real
        self.shape = self.grid.shape
        if dealias:
            self.degree = tuple((n - 1) // (factors + 1) for n in self.shape)
            self.modes = tuple(2 * k + 1 for k in self.degree)
        else:
            self.degree, self.modes = tuple(n // 2 for n in self.shape), self.shape
        self._prepare(Fourier(grid.ndim, real=real, lengths=[a.length for a in grid.axes]), 2 * math.pi, dtype, device)

    def _prepare(self, transform: Transform, turn: float, dtype: torch.dtype, device: torch.device | str) -> None:
        """What follows from ``grid``, ``shape``, ``modes`` and the bases, whose frequency k is ``turn`` k / length."""
        self.transform = transform
        # the transform's own steps, without its checks of arguments in every call
        sizes = zip(transform.bases, range(-len(self.shape), 0), self.modes, self.shape)
        plans = [planned(basis, axis, m, n, n <= self.LONGEST_PRODUCT) for basis, axis, m, n in sizes]
        self._analyses = [analysis for analysis, _ in reversed(plans)]
        self._syntheses = [synthesis for _, synthesis in plans]
        self.counts = transform.counts(self.modes)
        self.frequencies = transform.frequencies(self.modes)
        self.wavenumbers: list[Tensor] = []
        self._symbols: dict[tuple[int, int, float], Tensor] = {}
        for i, (k, axis) in enumerate(zip(self.frequencies, self.grid.axes)):
            k = (turn / axis.length) * k.to(torch.float64)
            self.wavenumbers.append(k.view(-1, *(1,) * (self.grid.ndim - 1 - i)).to(dtype=dtype, device=device))

    def coefficients(self, values: Tensor) -> Tensor:
        """Coefficients of point values (..., *n) on any uniform grid of the box; higher modes are dropped."""
        if values.shape[-len(self.shape) :] != self.shape:
            values = self.transform.resize(values, self.shape)
        if torch.is_autocast_enabled(values.device.type):
            return self.transform.forward(values, self.modes)
        values = values if self.real else to_complex(values)
        for analysis in self._analyses:
            values = analysis(values)
        return values

    def values(self, c: Tensor) -> Tensor:
        """Point values (..., *shape)."""
        if torch.is_autocast_enabled(c.device.type):
            return self.transform.inverse(c, self.shape, self.modes)
        for synthesis in self._syntheses:
            c = synthesis(c)
        return c

    def at(self, c: Tensor, shape: Sequence[int]) -> Tensor:
        """Values at the points of a grid of any shape, coarse or fine: no mode is dropped or filtered."""
        strides = [-(-m // n) for m, n in zip(self.modes, shape)]
        fine = self.transform.inverse(c, [s * n for s, n in zip(strides, shape)], self.modes)
        for i, s in enumerate(strides):
            if s > 1:
                dim = i - len(strides)
                fine = fine.index_select(dim, torch.arange(0, fine.shape[dim], s, device=fine.device))
        return fine

    def embed(self, c: Tensor, other: SpectralSpace) -> Tensor:
        """Coefficients (..., *counts) of another space of the box in this one: modes that only one has are left out."""
        for i, (ours, theirs) in enumerate(zip(self.frequencies, other.frequencies)):
            if torch.equal(ours, theirs):
                continue
            dim = i - len(self.shape)
            common = torch.isin(ours, theirs)
            place = torch.searchsorted(theirs, ours[common], sorter=(order := torch.argsort(theirs)))
            part = c.index_select(dim, order[place].to(c.device))
            shape = list(c.shape)
            shape[dim] = len(ours)
            c = c.new_zeros(shape).index_copy_(dim, common.nonzero()[:, 0].to(c.device), part)
        return c

    def symbol(self, axis: int, order: int = 1, scale: float = 1.0) -> Tensor:
        """scale (i k)^order along an axis, broadcast against coefficients: real for even orders, else imaginary."""
        if (axis, order, scale) not in self._symbols:
            k = self.wavenumbers[axis]
            power = k**order * (scale * (-1.0) ** (order // 2))
            if order % 2:
                highest = (2 * self.frequencies[axis].abs() == self.shape[axis]).to(k.device)
                power = torch.where(highest.view(k.shape), torch.zeros_like(power), power)
                power = torch.complex(torch.zeros_like(power), power)
            self._symbols[axis, order, scale] = power
        return self._symbols[axis, order, scale]

    def derivative(self, c: Tensor, axis: int, order: int = 1) -> Tensor:
        """Coefficients of the order-th derivative along an axis."""
        return c * self.symbol(axis, order)

    def laplacian(self) -> Tensor:
        """Symbol of the Laplacian, -|k|^2, shape (*counts)."""
        total = torch.zeros((), dtype=self.wavenumbers[0].dtype, device=self.wavenumbers[0].device)
        for k in self.wavenumbers:
            total = total - k**2
        return total

    def energies(self, c: Tensor) -> Tensor:
        """Mean over the box of |u|^2, mode by mode, (..., *counts): on a half axis -k counts with k."""
        power = c.abs().square()
        if self.real:
            twice = torch.full((self.counts[-1],), 2.0, dtype=power.dtype, device=power.device)
            twice[0] = 1.0
            power = power * twice
        return power

    def needed(self, c: Tensor, tolerance: float) -> Tensor:
        """The least degree, the same on all axes, beyond which less than ``tolerance`` of each state (N, C, *counts) is
        left, relative in L2, (N,); rounding is not counted.
        """
        power, degree = self.energies(c).double().cpu(), torch.zeros(len(c), dtype=torch.long)
        floor = max(tolerance, 8 * torch.finfo(c.real.dtype if c.is_complex() else c.dtype).eps)
        for i, frequencies in enumerate(self.frequencies):
            k, along = frequencies.abs().long().cpu(), power.movedim(i + 2, 1).flatten(2).sum(2)
            by_degree = along.new_zeros(len(c), int(k.max()) + 1).index_add_(1, k, along)
            degree = torch.maximum(degree, least_degree(by_degree, floor))
        return degree

    def edge(self, c: Tensor, part: float = 1 / 8) -> Tensor:
        """Root of the share of |u|^2 in the outermost ``part`` of the modes of any axis, c (N, C, *counts) -> (N,)."""
        power = self.energies(c)
        outer = torch.zeros(self.counts, dtype=torch.bool, device=c.device)
        for i, (k, degree) in enumerate(zip(self.frequencies, self.degree)):
            beyond = (k.abs() > (1 - part) * degree).to(c.device)
            outer |= beyond.view(-1, *(1,) * (len(self.shape) - 1 - i))
        total = power.flatten(1).sum(1)
        share = (power * outer).flatten(1).sum(1) / torch.where(total > 0, total, torch.ones_like(total))
        return share.sqrt()


def bandwidth(u: Tensor, ndim: int, tolerance: float) -> Tensor:
    """For each row of point values (N, C, *space) the least degree whose remainder is below ``tolerance`` in
    relative L2, float64 (N,): the largest over the axes.
    """
    degree = torch.zeros(len(u), dtype=torch.float64)
    for i in range(ndim):
        rows = u.movedim(u.ndim - ndim + i, -1)
        power = Fourier(1, real=False).forward(rows.cpu()).abs().square()
        power = power.double().flatten(1, -2).sum(1)
        k = Fourier(1, real=False).frequencies(power.shape[-1])[0].abs().long()
        by_degree = power.new_zeros(len(power), int(k.max()) + 1).index_add_(1, k, power)
        degree = torch.maximum(degree, least_degree(by_degree, tolerance).double())
    return degree


def least_degree(power: Tensor, tolerance: float) -> Tensor:
    """For each row of |u|^2 by degree, (N, K + 1), the least beyond which less than ``tolerance`` of u is left in L2.

    >>> least_degree(torch.tensor([[1.0, 0.0, 1e-4, 1e-12]]), 1e-3).tolist()
    [2]
    """
    tail = power.flip(-1).cumsum(-1).flip(-1)  # tail[k] = sum from k up
    beyond = torch.cat([tail[:, 1:], torch.zeros_like(tail[:, :1])], -1)
    return (beyond > tolerance**2 * tail[:, :1]).sum(-1)


def good_size(n: int) -> int:
    """The least 2^p or 3 * 2^p that is at least n: few different sizes, all fast for the FFT.

    >>> [good_size(n) for n in (5, 17, 100, 400)]
    [6, 24, 128, 512]
    """
    p = max(n - 1, 1).bit_length()
    return min(s for s in (2**p, 3 * 2 ** max(p - 2, 0)) if s >= n)
