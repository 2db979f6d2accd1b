"""Reactions and diffusion: what the systems of this kind share, and the scalar equation of Fisher."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ...backends import Grid
from ...backends.transforms import CosineBasis, Transform
from ...data import Dataset
from ...errors import NWidthError
from ..cosine import CosineSpace
from ..evolution import EvolutionProblem
from ..parameters import Range
from ..problem import sizes
from ..random_fields import MaternField, RandomField
from ..spectral import SpectralSpace, bandwidth, least_degree


@dataclass(frozen=True, kw_only=True)
class DiffusionReaction(EvolutionProblem):
    """u_t = D Lap u + R(u) for one or more fields on a box of 1, 2 or 3 dimensions, R a polynomial.

    Parameters
    ----------
    boundary : periodic, or neumann: no flux, du/dn = 0 on the walls. Fields then lie at cell centres, and are
        expanded in cosines (``CosineSpace``) by the same code.
    tolerance : size relative to u of the modes at the edge of the spectrum (see ``EvolutionProblem.target``).
    cfl : time steps of cfl over the fastest rate of the reactions.

    The run starts with modes up to log(1/tolerance)/4 of the wave number (rate/D)^(1/2) at which diffusion
    balances the reactions, those of the initial state at least, and is checked and refined. A subclass gives
    ``rates`` besides what an ``EvolutionProblem`` asks.
    """

    calms: ClassVar[bool] = True
    dimensions: ClassVar[tuple[int, ...]] = (1, 2, 3)

    boundary: str = "periodic"
    tolerance: float = 1e-6
    cfl: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        if self.boundary not in ("periodic", "neumann"):
            raise NWidthError(type(self).__name__, got=f"boundary={self.boundary!r}", expected="periodic or neumann")
        if not (0 < self.tolerance < 1 and self.cfl > 0):
            raise NWidthError(
                type(self).__name__,
                got=f"tolerance={self.tolerance}, cfl={self.cfl}",
                expected="0 < tolerance < 1 and cfl > 0",
            )

    @abstractmethod
    def rates(self, inputs: Dataset) -> tuple[Tensor, Tensor, Tensor]:
        """For each sample the fastest rate of its reactions at the start, that of the fronts and patterns which
        form, and the least diffusion coefficient: (N,) or (1,), float64.
        """

    @property
    def target(self) -> float:
        return self.tolerance

    def resolve(self, inputs: Dataset) -> tuple[Tensor, Tensor]:
        stored: Tensor = inputs.u0  # type: ignore[assignment]
        tolerance = max(self.tolerance, torch.finfo(stored.dtype).eps)
        fastest, settled, diffusion = self.rates(inputs)
        degree = math.log(1 / self.tolerance) / 4 * (self.hi - self.lo) / (2 * math.pi) * (settled / diffusion).sqrt()
        own = bandwidth(stored, self.ndim, tolerance) if self.boundary == "periodic" else _cosines(stored, tolerance)
        return torch.maximum(degree, own).clamp_min(8), (self.cfl / fastest).expand(len(stored))

    # walls: the same on cell centres

    def grid(self, resolution: int | Sequence[int]) -> Grid:
        if self.boundary == "periodic":
            return super().grid(resolution)
        return Grid.make(sizes(resolution, self.ndim, 4, type(self).__name__), "cell", self.lo, self.hi)

    def space(self, grid: Grid, points: Sequence[int], like: Tensor, dealias: bool = True) -> SpectralSpace:
        if self.boundary == "periodic":
            return super().space(grid, points, like, dealias)
        return CosineSpace(grid, points, factors=self.factors, dealias=dealias, dtype=like.dtype, device=like.device)

    def on_period(self, data: Dataset) -> Dataset:
        if self.boundary == "periodic":
            return super().on_period(data)
        grid, close = data.grid, 1e-6 * (self.hi - self.lo)
        if not (
            isinstance(grid, Grid)
            and grid.ndim == self.ndim
            and all(a.kind == "cell" and abs(a.lo - self.lo) + abs(a.hi - self.hi) < close for a in grid.axes)
        ):
            raise NWidthError(
                type(self).__name__,
                got=grid.describe(),
                expected=f"{self.ndim} axes of cell centres on [{self.lo:g}, {self.hi:g}]",
                fix="set lo and hi to the data's, and data.kind=cell",
            )
        return data

    def simulate(self, indices: Sequence[int], seed: int, grid: Grid, *, device: str = "cpu") -> Dataset:
        if self.boundary == "periodic":
            return super().simulate(indices, seed, grid, device=device)
        # every s-th of s n cells, s odd, has the centre of one of n
        strides = [-(-(2 * self.bandlimit + 1) // n) // 2 * 2 + 1 for n in grid.shape]
        fine = grid.with_shape([s * n for s, n in zip(strides, grid.shape)])
        data = self.solve(self.sample(indices, seed, fine).to(device))
        cut = (..., *(slice(s // 2, None, s) for s in strides))
        return replace(data, grid=grid, u0=data.u0[cut], u=data.u[cut])  # type: ignore[index]


def constant(space: SpectralSpace) -> Tensor:
    """The coefficients of the function 1, (*counts), kept with the space."""
    if space not in _CONSTANTS:
        laplacian = space.laplacian()
        _CONSTANTS[space] = (laplacian == 0).to(laplacian)
    return _CONSTANTS[space]


_CONSTANTS: WeakKeyDictionary[SpectralSpace, Tensor] = WeakKeyDictionary()


def _cosines(u: Tensor, tolerance: float) -> Tensor:
    """As ``bandwidth``, in whole waves, for cosine series on cell centres."""
    ndim = u.ndim - 2
    c = Transform([CosineBasis("cell")] * ndim).forward(u.double().cpu()).square()
    degree = torch.zeros(len(u), dtype=torch.float64)
    for i in range(ndim):
        power = c.movedim(i + 2, 1).flatten(2).sum(2)
        degree = torch.maximum(degree, least_degree(power, tolerance) / 2)
    return degree


@dataclass(frozen=True, kw_only=True)
class FisherKPP(DiffusionReaction):
    """u_t = nu Lap u + rho u (1 - u): logistic growth that spreads (Fisher 1937; Kolmogorov, Petrovsky and Piskunov
    1937), the one-dimensional diffusion-reaction equation of PDEBench (Takamoto et al. 2022, arXiv:2210.07182, D.3).

    nu, rho : numbers or ranges, mu.
    initial : the law of g in u0 = 1 / (1 + exp(-g)).

    Solutions from u0 in [0, 1] stay there; below zero they cease to exist in finite time. See
    ``DiffusionReaction`` for the boundary and the accuracy.

    >>> problem = FisherKPP(nu=5e-3, rho=2.0, final_time=0.5, times=2)
    >>> data = problem.simulate([0], seed=0, grid=problem.grid(32))
    >>> bool((data.u.mean(-1) > data.u0.mean(-1)[:, None]).all() and (data.u < 1.000001).all())
    True
    """

    parameters: ClassVar[Mapping[str, str]] = {"nu": "positive", "rho": "real"}

    nu: Range = 5e-3
    rho: Range = 1.0
    initial: RandomField = field(default_factory=lambda: MaternField(std=2.0, length=0.2, nu=3.5, modes=12))

    @property
    def bandlimit(self) -> int:
        return 4 * self.initial.modes

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        data = self.draw(indices, seed, grid, {"u": self.initial})
        return replace(data, u0=torch.sigmoid(data.u0))  # type: ignore[arg-type]

    def theta(self, inputs: Dataset) -> Tensor:
        """(nu, rho)."""
        return self.stack(self.column("nu", inputs), self.column("rho", inputs))

    def operators(self, space: SpectralSpace) -> Tensor:
        """The Laplacian and the identity."""
        laplacian = space.laplacian()
        return torch.stack([laplacian, torch.ones_like(laplacian)])[:, None]

    def nonlinear(self, c: Tensor, space: SpectralSpace, inputs: Dataset | None) -> Tensor:
        """-rho u^2."""
        return space.coefficients(space.values(c).square()) * -self.coefficient("rho", inputs)

    def jet(self, c: Tensor, space: SpectralSpace) -> Tensor:
        """u."""
        return c

    def at_points(self, jet: Tensor, inputs: Dataset) -> Tensor:
        """-rho u^2."""
        return jet.square() * -self.column("rho", inputs)[:, None, None]

    def rates(self, inputs: Dataset) -> tuple[Tensor, Tensor, Tensor]:
        u0: Tensor = inputs.u0  # type: ignore[assignment]
        rho = self.column("rho", inputs).double().cpu().abs().clamp_min(1e-12)
        fastest = rho * (1 + 2 * u0.double().cpu().abs().flatten(1).amax(1))
        return fastest, rho, self.column("nu", inputs).double().cpu()
