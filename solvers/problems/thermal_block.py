"""Heat conduction through blocks, or through a disc in a square, of parametrised conductivity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...backends import Mesh
from ...errors import NWidthError
from ..affine import AffineProblem, Parameter
from ..affine_system import AffineTerms
from ..finite_elements import Space
from ..meshes import block_axes, make_mesh, structured_mesh
from ..problem import sizes


@dataclass(frozen=True, kw_only=True)
class ThermalBlock(AffineProblem):
    """-div(k(mu) grad u) = f on [0, 1]^d, u = 0 on the boundary; k = mu_b on block b.

    Parameters
    ----------
    blocks : how many along each axis; their number is the dimension. Blocks are numbered along x first, from the
        bottom left, as in pyMOR's ``thermal_block_problem`` (Patera and Rozza 2007, 1.4.1, is a relative).
    conductivity : [least, most] of each mu_b, uniform, or with a uniform logarithm (``log``).
    forcing : the constant f.
    cells, degree : see ``structured_mesh``; None: crossed in 2D, simplices otherwise. 100 intervals make 20,201
        points of crossed cells.

    ``grid(n)`` has n intervals an axis, shared out among the blocks, whose edges are edges of cells. On a mesh of
    other origin a cell belongs to the block of its centroid; the domain is its bounding box.

    >>> problem = ThermalBlock(blocks=[2, 1])
    >>> data = problem.simulate([0, 1], seed=0, grid=problem.grid(8))
    >>> tuple(data.mu.shape), tuple(data.u.shape), bool((data.u >= 0).all())
    ((2, 2), (2, 1, 145), True)
    """

    blocks: Sequence[int] = field(default_factory=lambda: [2, 2])
    conductivity: Sequence[float] = field(default_factory=lambda: [0.1, 1.0])
    log: bool = False
    forcing: float = 1.0
    cells: str | None = None
    degree: int = 1

    def __post_init__(self):
        good = 1 <= len(self.blocks) <= 3 and min(self.blocks) >= 1
        if not good or len(self.conductivity) != 2 or not 0 < self.conductivity[0] <= self.conductivity[1]:
            raise NWidthError(
                "ThermalBlock",
                got=f"blocks={list(self.blocks)}, conductivity={list(self.conductivity)}",
                expected="one to three counts of 1 or more, and [least, most] with 0 < least <= most",
            )

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        lo, hi = self.conductivity
        return tuple(Parameter(name=f"k_{b}", lo=lo, hi=hi, log=self.log) for b in range(math.prod(self.blocks)))

    def grid(self, resolution: int | Sequence[int]) -> Mesh:  # type: ignore[override]
        d = len(self.blocks)
        shape = sizes(resolution, d, max(2, *self.blocks), "ThermalBlock")
        cells = self.cells or ("crossed" if d == 2 else "simplices")
        return structured_mesh(block_axes([(0.0, 1.0)] * d, self.blocks, shape), cells, self.degree)

    def terms(self, space: Space) -> AffineTerms:
        if space.ndim != len(self.blocks):
            raise NWidthError(
                "ThermalBlock",
                got=f"a mesh in {space.ndim}D",
                expected=f"{len(self.blocks)}D, as blocks={list(self.blocks)}",
            )
        block = space.block_of(space.centroids, self.blocks)
        count = math.prod(self.blocks)
        fixed = np.zeros(space.size, dtype=bool)
        fixed[space.facet_points(space.boundary)] = True
        load = space.load()
        return AffineTerms(
            operators=[space.stiffness(_cells(block == b, f"block {b}")) for b in range(count)],
            loads=self.forcing * load[None],
            fixed=fixed,
            lifts=np.zeros((0, space.size)),
            positive=(True,) * count,
            outputs={"integral": load},
        )

    def theta(self, mu: Tensor) -> Tensor:
        return mu


@dataclass(frozen=True, kw_only=True)
class ThermalInclusion(AffineProblem):
    """-div(k grad u) = 0 on [-1, 1]^2 with k = mu_0 for r < radius and 1 elsewhere; k du/dn = mu_1 on the bottom,
    u = 0 on the top, no flux through the sides.

    The first tutorial of RBniCS ("thermal block"; Hesthaven, Rozza and Stamm 2016, Certified Reduced Basis Methods,
    5.1.1), whose solutions the package smithers ships.

    Parameters
    ----------
    radius : of the disc around the centre of the domain.
    conductivity, flux : [least, most] of mu_0 and mu_1, uniform; ``log``: the logarithm of mu_0 is uniform.
    degree : 1 or 2.

    ``grid(n)`` has n intervals (even) an axis, crossed, with the points near the circle moved onto it. On a mesh of
    other origin the disc is the cells whose centroid lies in it.

    >>> problem = ThermalInclusion()
    >>> data = problem.simulate([0], seed=0, grid=problem.grid(16))
    >>> tuple(data.mu.shape), tuple(data.u.shape)
    ((1, 2), (1, 1, 545))
    """

    radius: float = 0.5
    conductivity: Sequence[float] = field(default_factory=lambda: [0.1, 10.0])
    flux: Sequence[float] = field(default_factory=lambda: [-1.0, 1.0])
    log: bool = False
    degree: int = 1

    def __post_init__(self):
        good = len(self.conductivity) == len(self.flux) == 2 and 0 < self.conductivity[0] <= self.conductivity[1]
        if not good or not 0 < self.radius < 1:
            raise NWidthError(
                "ThermalInclusion",
                got=f"radius={self.radius}, conductivity={list(self.conductivity)}, flux={list(self.flux)}",
                expected="0 < radius < 1, and [least, most] with 0 < least conductivity",
            )

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (
            Parameter(name="conductivity", lo=self.conductivity[0], hi=self.conductivity[1], log=self.log),
            Parameter(name="flux", lo=self.flux[0], hi=self.flux[1]),
        )

    def grid(self, resolution: int | Sequence[int]) -> Mesh:  # type: ignore[override]
        shape = sizes(resolution, 2, 4, "ThermalInclusion")
        if shape[0] != shape[1] or shape[0] % 2:
            raise NWidthError("ThermalInclusion.grid", got=f"resolution={resolution}", expected="one even number")
        half = shape[0] // 2
        inner = min(max(round(half * self.radius), 1), half - 1)
        ring = np.concatenate(
            [np.linspace(0, self.radius, inner + 1), np.linspace(self.radius, 1, half - inner + 1)[1:]]
        )
        axis = np.concatenate([-ring[:0:-1], ring])
        square = structured_mesh([axis, axis])
        points = square.points.numpy()
        cells = square.cells.numpy()  # type: ignore[union-attr]
        return make_mesh(_rounded(points, self.radius), cells, self.degree)

    def terms(self, space: Space) -> AffineTerms:
        if space.ndim != 2:
            raise NWidthError("ThermalInclusion", got=f"a mesh in {space.ndim}D", expected="2D")
        inside = np.linalg.norm(space.centroids - (space.lo + space.hi) / 2, axis=1) < self.radius
        fixed = np.zeros(space.size, dtype=bool)
        fixed[space.facet_points(space.side("top"))] = True
        bottom = space.flux(space.side("bottom"))
        return AffineTerms(
            operators=[
                space.stiffness(_cells(part, name)) for part, name in ((inside, "the disc"), (~inside, "the rest"))
            ],
            loads=bottom[None],
            fixed=fixed,
            lifts=np.zeros((0, space.size)),
            positive=(True, True),
            outputs={"bottom": bottom / bottom.sum()},
        )

    def theta(self, mu: Tensor) -> Tensor:
        return torch.stack([mu[:, 0], torch.ones_like(mu[:, 0])], 1)

    def theta_load(self, mu: Tensor) -> Tensor:
        return mu[:, 1:]


def _cells(chosen: np.ndarray, name: str) -> np.ndarray:
    found = np.flatnonzero(chosen)
    if not len(found):
        raise NWidthError(
            "thermal block", got=f"no cells in {name}", expected="cells in each part", fix="refine the mesh"
        )
    return found


def _rounded(points: np.ndarray, radius: float) -> np.ndarray:
    """Squares |p|_max = s become circles at s = radius and stay squares at 0 and 1, in between by linear blending."""
    s, r = np.abs(points).max(1), np.linalg.norm(points, axis=1)
    share = np.where(s <= radius, s / radius, (1 - s) / (1 - radius))[:, None]
    return points * (1 - share + share * (s / np.where(r > 0, r, 1.0))[:, None])
