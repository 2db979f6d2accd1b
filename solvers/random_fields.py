"""Random inputs: Gaussian fields as series of random coefficients, one stream of numbers for each sample."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..backends import Axis, Grid
from ..backends.transforms import CosineBasis, FourierBasis, Transform
from ..errors import NWidthError

# A product with the matrix of F functions at n points beats the FFT of N >= n points while
# n F <= MATMUL_WINS N log2(N), measured on one core (N without large prime factors).
MATMUL_WINS = 20.0


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


class RandomField(ABC):
    """A Gaussian field on a box as a series with independent coefficients (Karhunen-Loeve)

        g(x) = mean + sum_k sqrt(lambda_k) xi_k phi_k(x),   xi_k ~ N(0, 1),

    whose phi_k are products of one-dimensional functions of mean square one: 1, sqrt(2) cos, sqrt(2) sin of
    2 pi k (x - lo)/L on a periodic axis, k = 0..modes; 1, sqrt(2) cos of pi k (x - lo)/L (no flux at the
    ends) on any other. A subclass gives the lambda_k.

    The coefficients drawn do not depend on the grid: the same stream gives the same function at every
    resolution, evaluated point by point, without aliasing, whatever the number of points is. Long uniform
    axes are evaluated by fast Fourier and cosine transforms, short and non-uniform ones by matrix products.
    """

    modes: int
    mean: float

    @abstractmethod
    def eigenvalues(self, grid: Grid) -> Tensor:
        """The lambda_k, float64: 2 modes + 1 on each periodic axis (1, then cos, then sin), modes + 1 on others."""

    def sample(self, streams: Sequence[np.random.Generator], grid: Grid) -> Tensor:
        """One field a stream, float64, shape (len(streams), 1, *grid.shape).

        Raises NWidthError where the law has no such field on the grid (see ``eigenvalues``).
        """
        root = self.eigenvalues(grid).sqrt()
        shape = tuple(root.shape)
        g = root * torch.from_numpy(np.stack([s.standard_normal(shape) for s in streams]))
        for i, axis in enumerate(grid.axes):
            g = torch.movedim(_evaluate(torch.movedim(g, i + 1, -1), axis, self.modes), -1, i + 1)
        return self.mean + g[:, None]

    def variance(self, grid: Grid) -> float:
        """Mean over the domain of the pointwise variance: the sum of the eigenvalues."""
        return float(self.eigenvalues(grid).sum())

    def _squares(self, grid: Grid, lengths: Sequence[float] | None = None) -> Tensor:
        """Squared frequencies |kappa_k|^2, those of axis i times ``lengths[i]`` squared."""
        if not isinstance(grid, Grid):
            raise NWidthError(type(self).__name__, got=grid.describe(), expected="a tensor-product grid")
        square = torch.zeros((), dtype=torch.float64)
        for axis, length in zip(grid.axes, lengths or (1.0,) * grid.ndim):
            square = square[..., None] + (length * _frequencies(axis, self.modes)) ** 2
        return square


@dataclass(frozen=True, kw_only=True)
class GaussianField(RandomField):
    """The Gaussian measure N(mean, scale^2 (-Lap + tau^2 I)^(-alpha)) as a ``RandomField`` with

        lambda_k = scale^2 (|kappa_k|^2 + tau^2)^(-alpha),

    the family of Li et al. (2021, arXiv:2010.08895, A.3): their Burgers initial values are scale=25, tau=5,
    alpha=2.

    ``modes`` is the highest k on each axis. The mean of the variance over the domain is ``variance``; the
    series converges for alpha > d/2, and anything else is an NWidthError.

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

    def eigenvalues(self, grid: Grid) -> Tensor:
        if not isinstance(grid, Grid) or self.alpha <= grid.ndim / 2:
            raise NWidthError(
                "GaussianField",
                got=f"alpha={self.alpha} on {grid.describe()}",
                expected="a tensor-product grid of d axes and alpha > d/2",
                fix="raise alpha",
            )
        return self.scale**2 * (self._squares(grid) + self.tau**2) ** (-self.alpha)


@dataclass(frozen=True, kw_only=True)
class MaternField(RandomField):
    """The Matern field of standard deviation ``std``, correlation length ``length`` and smoothness ``nu``,

        cov(g(x), g(y)) = std^2 2^(1-nu)/Gamma(nu) s^nu K_nu(s),   s = sqrt(2 nu) |x - y| / length,

    in any dimension d, as a ``RandomField`` with lambda_k = c (2 nu + |length kappa_k|^2)^(-nu - d/2)
    (Whittle 1954; Lindgren, Rue and Lindstrom 2011, J. R. Stat. Soc. B 73, equation 2). Paths have fewer than nu
    derivatives; nu = 1/2 is the exponential covariance.

    On a periodic box the covariance is the one above summed over all periods, on other axes over all
    reflections at the ends, which double the variance at a wall and fade within a few lengths of it. c gives the
    variance std^2 on periodic boxes, and far from the walls on others, modes that are cut off allowed for.
    ``length``: one for all axes or one for each. ``modes``: highest k on each axis; those up to about
    L/length matter most, and the rest fall like k^(-2 nu - d).

    >>> field = MaternField(std=2.0, length=0.1, nu=1.5)
    >>> round(field.variance(Grid.make((32, 32))), 12)
    4.0
    """

    std: float = 1.0
    length: float | Sequence[float] = 0.2
    nu: float = 1.5
    modes: int = 64
    mean: float = 0.0

    def __post_init__(self):
        if not isinstance(self.length, int | float):
            object.__setattr__(self, "length", tuple(float(v) for v in self.length))
        lengths = self.length if isinstance(self.length, tuple) else (self.length,)
        if not (self.std >= 0 and all(v > 0 for v in lengths) and 0 < self.nu < math.inf and self.modes >= 0):
            raise NWidthError(
                "MaternField",
                expected="std >= 0, length > 0, finite nu > 0, modes >= 0",
                got=f"std={self.std}, length={self.length}, nu={self.nu}, modes={self.modes}",
            )

    def eigenvalues(self, grid: Grid) -> Tensor:
        lengths = self.length if isinstance(self.length, tuple) else (float(self.length),) * grid.ndim  # type: ignore[arg-type]
        if len(lengths) != grid.ndim:
            raise NWidthError("MaternField", got=f"{len(lengths)} lengths", expected=f"{grid.ndim}, one for each axis")
        density = (1 + self._squares(grid, lengths) / (2 * self.nu)) ** (-self.nu - grid.ndim / 2)
        return _normalised(density, grid, self.std)


@dataclass(frozen=True, kw_only=True)
class PowerLawField(RandomField):
    """The field of standard deviation ``std`` with the power spectrum |k|^(-slope) for low <= |k| <= modes: a

    ``RandomField`` with lambda_k = c |k|^(-slope) there, none elsewhere and no mean fluctuation. |k| is the
    frequency in units of the lowest of the box, so the spectrum is isotropic on any box. Summed over shells of
    |k| the variance falls like k^(d - 1 - slope): a velocity field of a k^(-5/3) energy spectrum has
    slope = 8/3 in 2D. Walls as in ``MaternField``; slope 0 is band-limited white noise.

    >>> field = PowerLawField(std=1.0, slope=3.0, low=2.0, modes=16)
    >>> lam = field.eigenvalues(Grid.make((32,)))
    >>> round(float(lam[2] / lam[4]), 12), float(lam[1])
    (8.0, 0.0)
    """

    std: float = 1.0
    slope: float = 3.0
    low: float = 1.0
    modes: int = 64
    mean: float = 0.0

    def __post_init__(self):
        if not (self.std >= 0 and math.isfinite(self.slope) and 0 < self.low <= self.modes):
            raise NWidthError(
                "PowerLawField",
                expected="std >= 0, a finite slope, 0 < low <= modes",
                got=f"std={self.std}, slope={self.slope}, low={self.low}, modes={self.modes}",
            )

    def eigenvalues(self, grid: Grid) -> Tensor:
        square = self._squares(grid)
        k = square.sqrt() / min(_unit(axis) for axis in grid.axes)
        inside = (k >= self.low * (1 - 1e-9)) & (k <= self.modes * (1 + 1e-9))
        return _normalised(torch.where(inside, k.clamp_min(self.low / 2) ** -self.slope, 0.0), grid, self.std)


def _normalised(density: Tensor, grid: Grid, std: float) -> Tensor:
    """Eigenvalues in proportion to a spectral density, of variance std^2 far from the walls.

    A field on [0, L] with cosines is the even part, times sqrt(2), of a stationary one on [0, 2L), whose
    variance counts the constant functions half.
    """
    total = density
    for i, axis in enumerate(grid.axes):
        if axis.kind != "periodic":
            total = torch.cat([total.narrow(i, 0, 1) / 2, total.narrow(i, 1, total.shape[i] - 1)], i)
    return density * (std**2 / float(total.sum()))


def _unit(axis: Axis) -> float:
    """The lowest frequency of an axis."""
    return (2 if axis.kind == "periodic" else 1) * math.pi / axis.length


def _frequencies(axis: Axis, modes: int) -> Tensor:
    """The frequency of each function of an axis."""
    kappa = _unit(axis) * torch.arange(modes + 1, dtype=torch.float64)
    return torch.cat([kappa, kappa[1:]]) if axis.kind == "periodic" else kappa


def _evaluate(g: Tensor, axis: Axis, modes: int) -> Tensor:
    """Values (..., n) at the axis's points of the series with coefficients g (..., functions)."""
    count = g.shape[-1]
    # points that hold all modes, and which of them are those of the axis
    if axis.kind == "nodal":
        stride, start = max(1, -(-modes // (axis.n - 1))), 0
        fine = stride * (axis.n - 1) + 1
    else:
        stride = -(-count // axis.n)
        stride += axis.kind == "cell" and stride % 2 == 0
        start, fine = (stride // 2 if axis.kind == "cell" else 0), stride * axis.n
    slow = not axis.uniform or not _smooth(fine - (axis.kind == "nodal"))
    if slow or axis.n * count <= MATMUL_WINS * fine * math.log2(fine):
        return g @ _functions(axis, modes).T
    if axis.kind == "periodic":
        waves = torch.complex(g[..., 1 : modes + 1], -g[..., modes + 1 :]) / math.sqrt(2)
        c = torch.cat([g[..., :1].to(waves.dtype), waves], -1)
        values = Transform([FourierBasis()]).inverse(c, (fine,), (count,), "pruned")
    else:
        c = torch.cat([g[..., :1], math.sqrt(2) * g[..., 1:]], -1)
        values = Transform([CosineBasis(axis.kind)]).inverse(c, (fine,), (count,), "pruned")
    return values[..., start::stride]


def _smooth(n: int) -> bool:
    """Whether n has no prime factor above 7."""
    for p in (2, 3, 5, 7):
        while n % p == 0:
            n //= p
    return n == 1


def _functions(axis: Axis, modes: int) -> Tensor:
    """Values (n, functions) of the orthonormal functions at the axis's points."""
    angle = torch.outer(axis.coordinates() - axis.lo, _frequencies(axis, modes)[1 : modes + 1])
    parts = [torch.ones(axis.n, 1, dtype=torch.float64), math.sqrt(2) * angle.cos()]
    if axis.kind == "periodic":
        parts.append(math.sqrt(2) * angle.sin())
    return torch.cat(parts, 1)
