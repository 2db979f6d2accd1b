"""Darcy flow through a random log-normal medium, on the unit box of any dimension."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...backends import Grid
from ...backends.transforms import SineBasis, Transform
from ...data import Dataset
from ...errors import NWidthError
from ..elliptic import EllipticProblem
from ..problem import sizes
from ..random_fields import GaussianField, stream


@dataclass(frozen=True, kw_only=True)
class Darcy(EllipticProblem):
    """-div(a grad u) = f on [0, 1]^d, u = 0 on the boundary; a = exp(g) with a Gaussian field g.

    Parameters
    ----------
    ndim : the dimension d.
    log_a : the law of g, with no flux at the boundary: by default a multiple of N(0, (-Lap + 9 I)^(-2)), the
        law of Li et al. (2021, arXiv:2010.08895, A.3), here without their threshold; standard deviation 0.9 in
        2D. Log-normal data for operator learning: Bhattacharya et al. (2021, SMAI J. Comput. Math. 7).
    forcing : the constant f.
    rtol, iterations : see ``EllipticProblem``.

    Finite volumes on n^d cells, second order: the flux between neighbours i, j has the harmonic mean of their
    a, 2 a_i a_j / (a_i + a_j), and at a wall, half a cell away, the coefficient 2 a_i (Eymard, Gallouet and
    Herbin 2000, Finite Volume Methods, chapter 3). Conjugate gradients are preconditioned by
    a^(-1/2) (-Lap_h)^(-1) a^(-1/2), whose inverse Laplacian is a fast sine transform; the iterations depend on the
    smoothness of log a, not on the mesh (Concus and Golub 1973, SIAM J. Numer. Anal. 10).

    >>> problem = Darcy()
    >>> data = problem.simulate([0, 1], seed=0, grid=problem.grid(16))
    >>> tuple(data.a.shape), tuple(data.u.shape), bool((data.u > 0).all())
    ((2, 1, 16, 16), (2, 1, 16, 16), True)
    """

    log_a: GaussianField = field(default_factory=lambda: GaussianField(scale=6.0, tau=3.0, alpha=2.0))
    forcing: float = 1.0

    @property
    def reads(self) -> tuple[str, ...]:
        return ("a",)

    def grid(self, resolution: int | Sequence[int]) -> Grid:
        return Grid.make(sizes(resolution, self.ndim, 2, "Darcy"), "cell")

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        g = self.log_a.sample([stream(seed, i) for i in indices], grid)
        return Dataset(grid, a=g.exp(), names={"a": ("a",), "u": ("u",)}, problem=self.config())

    def theta(self, inputs: Dataset) -> list[Tensor]:
        """Harmonic means at inner faces, 2 a at walls: (N, 1, .., n_i + 1, ..) for axis i."""
        a: Tensor = inputs.a  # type: ignore[assignment]
        self._check(inputs)
        faces = []
        for i in range(self.ndim):
            dim = i - self.ndim
            n = a.shape[dim]
            left, right = a.narrow(dim, 0, n - 1), a.narrow(dim, 1, n - 1)
            inner = 2 * left * right / (left + right)
            faces.append(torch.cat([2 * a.narrow(dim, 0, 1), inner, 2 * a.narrow(dim, n - 1, 1)], dim))
        return faces

    def differences(self, u: Tensor, grid: Grid) -> list[Tensor]:
        """Difference quotients across faces, u = 0 beyond the walls."""
        out = []
        for i, axis in enumerate(grid.axes):
            dim = i - grid.ndim
            wall = torch.zeros_like(u.narrow(dim, 0, 1))
            out.append(torch.diff(u, dim=dim, prepend=wall, append=wall) / axis.spacing)
        return out

    def adjoint(self, faces: Sequence[Tensor], grid: Grid) -> Tensor:
        """Minus the divergence of face values."""
        out = torch.zeros((), dtype=faces[0].dtype, device=faces[0].device)
        for i, (q, axis) in enumerate(zip(faces, grid.axes)):
            out = out - torch.diff(q, dim=i - grid.ndim) / axis.spacing
        return out

    def source(self, inputs: Dataset) -> Tensor:
        a: Tensor = inputs.a  # type: ignore[assignment]
        return torch.full((1, 1, *inputs.grid.shape), self.forcing, dtype=a.dtype, device=a.device)

    def precondition(self, inputs: Dataset) -> Callable[[Tensor], Tensor]:
        a: Tensor = inputs.a  # type: ignore[assignment]
        grid: Grid = inputs.grid  # type: ignore[assignment]
        transform = Transform([SineBasis("cell")] * grid.ndim)
        eigenvalues = torch.zeros((), dtype=torch.float64)
        for axis, k in zip(grid.axes, transform.frequencies(grid.shape)):
            root = 2 / axis.spacing * torch.sin(math.pi * k.double() / (2 * axis.n))
            eigenvalues = eigenvalues[..., None] + root**2
        inverse, root = (1 / eigenvalues).to(a), a.rsqrt()
        return lambda r: root * transform.inverse(inverse * transform.forward(root * r), grid.shape)

    def _check(self, inputs: Dataset) -> None:
        a: Tensor = inputs.a  # type: ignore[assignment]
        grid = inputs.grid
        cells = (
            isinstance(grid, Grid)
            and grid.ndim == self.ndim
            and all(x.kind == "cell" and abs(x.lo) < 1e-6 and abs(x.hi - 1) < 1e-6 for x in grid.axes)
        )
        if not cells or a.shape[1] != 1:
            raise NWidthError(
                "Darcy",
                got=f"{a.shape[1]} channels on {grid.describe()}",
                expected=f"one coefficient at the cell centres of [0, 1]^{self.ndim}",
                fix="set data.kind=cell where the points are cell centres",
            )
        if not bool(((a > 0) & torch.isfinite(a)).all()):
            raise NWidthError(
                "Darcy",
                got="coefficients that are not positive and finite",
                expected="a > 0",
                fix="give the coefficient itself, not a code for its phase",
            )
