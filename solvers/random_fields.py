"""Random inputs: Gaussian fields as series of random coefficients, one stream of numbers for each sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..backends import Axis, Grid
from ..errors import NWidthError


def stream(seed: int, index: int) -> np.random.Generator:
    """The random numbers of sample ``index`` under ``seed``.

    A counter-based generator with the pair as its key (Philox; Salmon et al., SC 2011): streams of different
    pairs never meet, so a sample does not depend on how many others are drawn, in what order, or in what
    batches.

    >>> bool(stream(0, 7).random() == stream(0, 7).random() != stream(0, 8).random())
    True
    """
    if seed < 0 or index < 0:
        raise NWidthError("stream", got=f"seed={seed}, index={index}", expected="integers from 0 up")
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))


def log_uniform(generator: np.random.Generator, lo: float, hi: float) -> float:
    """A positive number whose logarithm is uniform on [log lo, log hi]."""
    return math.exp(generator.uniform(math.log(lo), math.log(hi)))


@dataclass(frozen=True, kw_only=True)
class GaussianField:
    """The Gaussian measure N(mean, scale^2 (-Lap + tau^2 I)^(-alpha)) on a box, as its Karhunen-Loeve series

        g(x) = mean + sum_k sqrt(lambda_k) xi_k phi_k(x),   lambda_k = scale^2 (|kappa_k|^2 + tau^2)^(-alpha),

    with independent xi_k ~ N(0, 1), frequencies kappa_k, and products phi_k of one-dimensional functions of
    mean square one: 1, sqrt(2) cos, sqrt(2) sin of 2 pi k (x - lo)/L on a periodic axis; 1, sqrt(2) cos of
    pi k (x - lo)/L (no flux at the ends) on any other. This is the family of Li et al. (2021, arXiv:2010.08895,
    A.3): their Burgers initial values are scale=25, tau=5, alpha=2.

    ``modes`` is the highest k on each axis. The coefficients drawn do not depend on the grid: the same stream
    gives the same function at every resolution, evaluated point by point. The mean of the variance over the
    domain is ``variance``; the series converges for alpha > d/2.

    >>> field = GaussianField(scale=25.0, tau=5.0, alpha=2.0, modes=8)
    >>> coarse = field.sample([stream(0, 3)], Grid.make((32,)))
    >>> fine = field.sample([stream(0, 3)], Grid.make((64,)))
    >>> tuple(coarse.shape), bool(torch.allclose(coarse, fine[..., ::2]))
    ((1, 1, 32), True)
    """

    scale: float = 1.0
    tau: float = 3.0
    alpha: float = 2.0
    modes: int = 64
    mean: float = 0.0

    def __post_init__(self):
        if not (self.scale >= 0 and self.tau > 0 and self.alpha > 0 and self.modes >= 0):
            raise NWidthError(
                "GaussianField",
                expected="scale >= 0, tau > 0, alpha > 0, modes >= 0",
                got=f"scale={self.scale}, tau={self.tau}, alpha={self.alpha}, modes={self.modes}",
            )

    def sample(self, streams: Sequence[np.random.Generator], grid: Grid) -> Tensor:
        """One field a stream, float64, shape (len(streams), 1, *grid.shape).

        Raises NWidthError where alpha <= d/2 (the variance would grow without bound as modes are added).
        """
        root = self._eigenvalues(grid).sqrt()
        shape = tuple(root.shape)
        g = root * torch.from_numpy(np.stack([s.standard_normal(shape) for s in streams]))
        for i, axis in enumerate(grid.axes):
            g = torch.movedim(torch.movedim(g, i + 1, -1) @ _functions(axis, self.modes)[0].T, -1, i + 1)
        return self.mean + g[:, None]

    def variance(self, grid: Grid) -> float:
        """Mean over the domain of the pointwise variance: the sum of the eigenvalues."""
        return float(self._eigenvalues(grid).sum())

    def _eigenvalues(self, grid: Grid) -> Tensor:
        if not isinstance(grid, Grid) or self.alpha <= grid.ndim / 2:
            raise NWidthError(
                "GaussianField",
                got=f"alpha={self.alpha} on {grid.describe()}",
                expected="a tensor-product grid of d axes and alpha > d/2",
                fix="raise alpha",
            )
        square = torch.zeros((), dtype=torch.float64)
        for axis in grid.axes:
            square = square[..., None] + _functions(axis, self.modes)[1] ** 2
        return self.scale**2 * (square + self.tau**2) ** (-self.alpha)


def _functions(axis: Axis, modes: int) -> tuple[Tensor, Tensor]:
    """Values (n, functions) of the orthonormal functions at the axis's points, and their frequencies."""
    k = torch.arange(1, modes + 1, dtype=torch.float64)
    kappa = (2 if axis.kind == "periodic" else 1) * math.pi * k / axis.length
    angle = torch.outer(axis.coordinates() - axis.lo, kappa)
    parts = [torch.ones(axis.n, 1, dtype=torch.float64), math.sqrt(2) * angle.cos()]
    frequencies = [torch.zeros(1, dtype=torch.float64), kappa]
    if axis.kind == "periodic":
        parts.append(math.sqrt(2) * angle.sin())
        frequencies.append(kappa)
    return torch.cat(parts, 1), torch.cat(frequencies)
