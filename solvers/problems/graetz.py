"""Convection and diffusion in a channel whose heated part has a parametrised length."""

from __future__ import annotations

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
from ..meshes import structured_mesh
from ..problem import sizes

_JUMP = 1.0  # where the walls begin to be heated


@dataclass(frozen=True, kw_only=True)
class Graetz(AffineProblem):
    """-mu_1 Lap u + y (1 - y) u_x = 0 on [0, 1] x [0, 1] and [1, 1 + mu_0] x [0, 1],

    u = 0 at the inlet x = 0 and on the walls for x < 1, u = 1 on the walls for x > 1, du/dn = 0 at the outlet.
    The fourth tutorial of RBniCS (Rozza, Huynh and Patera 2008, Arch. Comput. Methods Eng. 15, section 6.2), whose
    solutions the package smithers ships.

    Parameters
    ----------
    length, diffusion : [least, most] of mu_0 and mu_1, uniform; ``log``: with uniform logarithms.
    reference_length : the length L of the heated part of the mesh that ``grid`` makes.
    velocity : ``interpolated``, y (1 - y) as a finite element function, as in RBniCS; ``exact``, as it is. Then the
        convection is skew but for the outlet, and ``positive`` says so.
    corners : u at (1, 0) and (1, 1), where the walls' values jump; RBniCS's data have 1 and 0.
    cells, degree : see ``structured_mesh``.

    The solution is stored at the points (X, y) of one reference mesh, for every mu_0. Its place in the channel is
    x = X for X <= 1 and x = 1 + (X - 1) mu_0 / L beyond (``deform``), L being the length of the mesh at hand, whatever
    made it. With s = mu_0 / L the operator is affine:

        mu_1 K_1 + (mu_1 / mu_0) (L K_xx) + (mu_1 mu_0) (K_yy / L) + C,

    K_1 the Laplacian for X < 1, K_xx and K_yy its parts beyond, C the convection of both.

    ``grid(n)`` has n intervals a unit of length; a mesh of other origin must have no cell that crosses X = 1.

    >>> problem = Graetz()
    >>> data = problem.simulate([0, 1], seed=0, grid=problem.grid(8))
    >>> tuple(data.u.shape), problem.deform(data.grid, data.mu[0]).shape
    ((2, 1, 281), (281,))
    """

    length: Sequence[float] = field(default_factory=lambda: [0.1, 10.0])
    diffusion: Sequence[float] = field(default_factory=lambda: [0.01, 10.0])
    log: bool = False
    reference_length: float = 1.0
    velocity: str = "interpolated"
    corners: Sequence[float] = field(default_factory=lambda: [1.0, 0.0])
    cells: str = "crossed"
    degree: int = 1

    def __post_init__(self):
        good = all(len(r) == 2 and 0 < r[0] <= r[1] for r in (self.length, self.diffusion)) and len(self.corners) == 2
        if not good or self.reference_length <= 0 or self.velocity not in ("interpolated", "exact"):
            raise NWidthError(
                "Graetz",
                got=f"length={list(self.length)}, diffusion={list(self.diffusion)}, velocity={self.velocity!r}, "
                f"reference_length={self.reference_length}, corners={list(self.corners)}",
                expected="0 < least <= most, velocity interpolated or exact, a positive length, two corner values",
            )

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (
            Parameter(name="length", lo=self.length[0], hi=self.length[1], log=self.log),
            Parameter(name="diffusion", lo=self.diffusion[0], hi=self.diffusion[1], log=self.log),
        )

    def grid(self, resolution: int | Sequence[int]) -> Mesh:  # type: ignore[override]
        nx, ny = sizes(resolution, 2, 2, "Graetz")
        heated = max(1, round(nx * self.reference_length))
        first, second = np.linspace(0, _JUMP, nx + 1), np.linspace(_JUMP, _JUMP + self.reference_length, heated + 1)
        return structured_mesh(
            [np.concatenate([first, second[1:]]), np.linspace(0, 1, ny + 1)], self.cells, self.degree
        )

    def deform(self, mesh: Mesh, mu: Tensor) -> Mesh:
        """The mesh in the channel of one parameter mu (2,)."""
        points = mesh.points.double().clone()
        scale = float(mu[0]) / (float(points[:, 0].max()) - _JUMP)
        beyond = points[:, 0] > _JUMP
        points[beyond, 0] = _JUMP + (points[beyond, 0] - _JUMP) * scale
        return Mesh(points, mesh.cells)

    def terms(self, space: Space) -> AffineTerms:
        heated = self._heated(space)
        length = space.hi[0] - _JUMP
        k, kxx, kyy = (
            space.stiffness(cells, axes)
            for cells, axes in (
                (np.flatnonzero(~heated), None),
                (np.flatnonzero(heated), [0]),
                (np.flatnonzero(heated), [1]),
            )
        )

        def velocity(x: np.ndarray) -> np.ndarray:
            return np.stack([x[1] * (1 - x[1]), np.zeros_like(x[1])])

        convection = space.convection(velocity, interpolate=self.velocity == "interpolated")
        fixed, lift = self._walls(space)
        outlet = space.flux(space.side("right"))
        return AffineTerms(
            operators=[k, length * kxx, kyy / length, convection],
            loads=np.zeros((1, space.size)),
            fixed=fixed,
            lifts=lift[None],
            positive=(True, True, True, self.velocity == "exact"),
            outputs={"outlet": outlet},
            masses=[space.mass(np.flatnonzero(~heated)), space.mass(np.flatnonzero(heated)) / length],
        )

    def _heated(self, space: Space) -> np.ndarray:
        """The cells beyond X = 1; NWidthError for a mesh that is not of this channel."""
        near = 1e-6 * space.hi.max()
        if space.ndim == 2:
            x = space.points[space.cells, 0]
            box = np.array([space.lo[0], space.lo[1], space.hi[1] - 1.0])
            crossing = (x.min(1) < _JUMP - near) & (x.max(1) > _JUMP + near)
            if (np.abs(box) < near).all() and space.hi[0] > _JUMP + near and not crossing.any():
                return space.centroids[:, 0] > _JUMP
        raise NWidthError(
            "Graetz",
            got=f"a mesh of {space.lo.tolist()} to {space.hi.tolist()}, or cells that cross x = 1",
            expected="a mesh of [0, 1 + L] x [0, 1] with edges along x = 1",
            fix="give the reference mesh, not that of one sample, or take problem.grid(resolution)",
        )

    def _walls(self, space: Space) -> tuple[np.ndarray, np.ndarray]:
        fixed, lift = np.zeros(space.size, dtype=bool), np.zeros(space.size)
        fixed[space.facet_points(space.side("left"))] = True
        for name, y, corner in (("bottom", 0.0, self.corners[0]), ("top", 1.0, self.corners[1])):
            facets = space.side(name)
            fixed[space.facet_points(facets)] = True
            lift[space.facet_points(facets[space.facet_centroids(facets)[:, 0] > _JUMP])] = 1.0
            lift[np.argmin(np.abs(space.points - np.array([_JUMP, y])).max(1))] = corner
        return fixed, lift

    def theta(self, mu: Tensor) -> Tensor:
        length, diffusion = mu[:, 0], mu[:, 1]
        return torch.stack([diffusion, diffusion / length, diffusion * length, torch.ones_like(length)], 1)

    def theta_mass(self, mu: Tensor) -> Tensor:
        return torch.stack([torch.ones_like(mu[:, 0]), mu[:, 0]], 1)

    def theta_lift(self, mu: Tensor) -> Tensor:
        return mu.new_ones(len(mu), 1)
