"""Linear elasticity of a block made of parts with parametrised stiffness, under parametrised tractions."""

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
from ..finite_elements import Space, side
from ..meshes import block_axes, structured_mesh
from ..problem import sizes

LAWS = ("plane_strain", "plane_stress")


@dataclass(frozen=True, kw_only=True)
class ElasticityBlock(AffineProblem):
    """-div sigma(u) = 0 on [0, 1]^d, sigma = E (lambda tr(e) I + 2 G e), e = (grad u + grad u^T) / 2,

    with Young's modulus E = mu_b on block b and 1 on ``unit_block``; u = 0 on clamped sides, sigma n = mu n (or
    mu times a direction) on the segments of loaded sides, no traction elsewhere. lambda and G are those of E = 1:

        G = 1 / (2 (1 + nu)),  lambda = nu / ((1 + nu) (1 - 2 nu))  (plane strain, and 3D),
                               lambda = nu / (1 - nu^2)             (plane stress).

    The defaults are the second tutorial of RBniCS ("elastic block"; Hesthaven, Rozza and Stamm 2016, Certified Reduced
    Basis Methods, 2.3.2), whose solutions the package smithers ships: 3 x 3 blocks in plane strain, nu = 0.3, the
    left side clamped, three tractions on the right, 8 + 3 parameters.

    Parameters
    ----------
    blocks : how many along each axis, two or three of them; numbered along x first, from the bottom left.
    unit_block : the block with E = 1, which has no parameter; None: every block has one.
    young, traction : [least, most], uniform; ``log``: the logarithms of the moduli are uniform.
    poisson, law : nu, and plane_strain or plane_stress (2D only).
    clamped, loaded : sides among left, right, bottom, top, back, front.
    segments : equal parts of each loaded side, along each of the other axes; one traction each, along the first of
        those axes first, from the bottom left.
    direction : of the tractions; None: the outward normal.
    cells, degree : see ``structured_mesh``; None: crossed in 2D, simplices in 3D.

    mu: the moduli in the order of the blocks, then the tractions, side by side. u: (N, d, points), the displacement's
    components as channels. ``grid(n)`` has n intervals an axis, shared out among the blocks. On a mesh of other origin
    the domain is the bounding box, sides and segments are found by position, and a cell belongs to the block of
    its centroid.

    >>> problem = ElasticityBlock()
    >>> data = problem.simulate([0, 1], seed=0, grid=problem.grid(6))
    >>> tuple(data.mu.shape), tuple(data.u.shape), data.channels("u")
    ((2, 11), (2, 2, 85), ('u_x', 'u_y'))
    """

    blocks: Sequence[int] = field(default_factory=lambda: [3, 3])
    unit_block: int | None = 8
    young: Sequence[float] = field(default_factory=lambda: [1.0, 100.0])
    log: bool = False
    traction: Sequence[float] = field(default_factory=lambda: [-1.0, 1.0])
    poisson: float = 0.3
    law: str = "plane_strain"
    clamped: Sequence[str] = field(default_factory=lambda: ["left"])
    loaded: Sequence[str] = field(default_factory=lambda: ["right"])
    segments: Sequence[int] = field(default_factory=lambda: [3])
    direction: Sequence[float] | None = None
    cells: str | None = None
    degree: int = 1

    def __post_init__(self):
        d, count = len(self.blocks), math.prod(self.blocks)
        laws = LAWS[:1] if d == 3 else LAWS
        wrong = [
            text
            for bad, text in (
                (d not in (2, 3) or min(self.blocks) < 1, "two or three blocks, 1 or more"),
                (
                    self.unit_block is not None and not 0 <= self.unit_block < count,
                    f"unit_block below {count}, or none",
                ),
                (len(self.young) != 2 or not 0 < self.young[0] <= self.young[1], "young=[least, most], positive"),
                (len(self.traction) != 2, "traction=[least, most]"),
                (not -1 < self.poisson < (1 if self.law == "plane_stress" else 0.5), "-1 < poisson < 1/2"),
                (self.law not in laws, "law " + " or ".join(laws)),
                (not self.clamped or not self.loaded, "a clamped and a loaded side"),
                (bool(set(self.clamped) & set(self.loaded)), "sides that are clamped or loaded, not both"),
                (len(self.segments) != d - 1 or min(self.segments, default=0) < 1, f"{d - 1} counts in segments"),
                (self.direction is not None and len(self.direction) != d, f"{d} numbers in direction"),
            )
            if bad
        ]
        if wrong:
            raise NWidthError(
                "ElasticityBlock",
                got=f"blocks={list(self.blocks)}, unit_block={self.unit_block}, young={list(self.young)}, "
                f"traction={list(self.traction)}, poisson={self.poisson}, law={self.law!r}, "
                f"clamped={list(self.clamped)}, loaded={list(self.loaded)}, segments={list(self.segments)}, "
                f"direction={self.direction}",
                expected="; ".join(wrong),
            )
        for name in (*self.clamped, *self.loaded):
            side(name, d)

    @property
    def components(self) -> int:
        return len(self.blocks)

    @property
    def _free_blocks(self) -> list[int]:
        return [b for b in range(math.prod(self.blocks)) if b != self.unit_block]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        lo, hi = self.young
        count = len(self.loaded) * math.prod(self.segments)
        return (
            *(Parameter(name=f"E_{b}", lo=lo, hi=hi, log=self.log) for b in self._free_blocks),
            *(Parameter(name=f"traction_{i}", lo=self.traction[0], hi=self.traction[1]) for i in range(count)),
        )

    def grid(self, resolution: int | Sequence[int]) -> Mesh:  # type: ignore[override]
        d = len(self.blocks)
        shape = sizes(resolution, d, max(2, *self.blocks), "ElasticityBlock")
        cells = self.cells or ("crossed" if d == 2 else "simplices")
        return structured_mesh(block_axes([(0.0, 1.0)] * d, self.blocks, shape), cells, self.degree)

    def terms(self, space: Space) -> AffineTerms:
        if space.ndim != self.components:
            raise NWidthError(
                "ElasticityBlock",
                got=f"a mesh in {space.ndim}D",
                expected=f"{self.components}D, as blocks={list(self.blocks)}",
            )
        nu = self.poisson
        shear = 1 / (2 * (1 + nu))
        lame = nu / ((1 + nu) * (1 - 2 * nu)) if self.law == "plane_strain" else nu / (1 - nu**2)
        block = space.block_of(space.centroids, self.blocks)
        order = self._free_blocks + ([] if self.unit_block is None else [self.unit_block])
        operators = []
        for b in order:
            cells = np.flatnonzero(block == b)
            if not len(cells):
                raise NWidthError("ElasticityBlock", got=f"no cells in block {b}", fix="refine the mesh")
            operators.append(space.elasticity(lame, shear, cells))
        fixed = np.zeros((self.components, len(space.points)), dtype=bool)
        for name in self.clamped:
            fixed[:, space.facet_points(space.side(name))] = True
        loads = np.concatenate([self._tractions(space, name) for name in self.loaded])
        return AffineTerms(
            operators=operators,
            loads=loads,
            fixed=fixed.ravel(),
            lifts=np.zeros((0, space.size)),
            positive=(True,) * len(operators),
            outputs={f"displacement_{i}": v / np.abs(v).sum() for i, v in enumerate(loads)},
        )

    def _tractions(self, space: Space, name: str) -> np.ndarray:
        """∫ v . direction over each segment of a side, (segments, unknowns)."""
        axis, end = side(name, space.ndim)
        facets = space.side(name)
        parts = list(self.segments)
        parts.insert(axis, 1)
        segment = space.block_of(space.facet_centroids(facets), parts)
        direction = np.eye(space.ndim)[axis] * (2 * end - 1) if self.direction is None else self.direction
        loads = []
        for s in range(math.prod(parts)):
            chosen = facets[segment == s]
            if not len(chosen):
                raise NWidthError("ElasticityBlock", got=f"no facets on segment {s} of {name}", fix="refine the mesh")
            loads.append(sum(space.flux(chosen, float(v), i) for i, v in enumerate(direction)))
        return np.stack(loads)

    def theta(self, mu: Tensor) -> Tensor:
        moduli = mu[:, : len(self._free_blocks)]
        return moduli if self.unit_block is None else torch.cat([moduli, torch.ones_like(mu[:, :1])], 1)

    def theta_load(self, mu: Tensor) -> Tensor:
        return mu[:, len(self._free_blocks) :]
