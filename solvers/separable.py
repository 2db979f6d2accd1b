"""The Laplacian on tensor-product grids, inverted axis by axis: fast transforms, or eigenvectors of each axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..backends import Axis
from ..backends.transforms import Basis, CosineBasis, FourierBasis, SineBasis, Transform


@dataclass(frozen=True)
class Line:
    """-d^2/dx^2 at the points of a uniform axis with a condition at either end, by second differences.

    Unknowns are the points but for nodes at a Dirichlet end. At Neumann ends the cell of a node is half as wide; a
    wall of cells is half a cell away. ``lower``, ``upper``: dirichlet, neumann or periodic.
    """

    axis: Axis
    lower: str
    upper: str

    @property
    def nodal(self) -> bool:
        return self.axis.kind == "nodal"

    @property
    def count(self) -> int:
        """The number of unknowns."""
        return self.axis.n - (self.nodal * [self.lower, self.upper].count("dirichlet"))

    @property
    def basis(self) -> Basis | None:
        """The functions that diagonalise it, where there is a fast transform of them."""
        if self.axis.kind == "periodic":
            return FourierBasis()
        if self.lower != self.upper:
            return None
        if self.lower == "dirichlet":
            return SineBasis("interior" if self.nodal else "cell")
        return CosineBasis(self.axis.kind)

    def widths(self) -> Tensor:
        """Widths of the cells of the unknowns relative to the spacing, float64."""
        w = torch.ones(self.count, dtype=torch.float64)
        if self.nodal:
            w[0] = 0.5 if self.lower == "neumann" else 1.0
            w[-1] = 0.5 if self.upper == "neumann" else 1.0
        return w

    def eigenvalues(self, k: Tensor) -> Tensor:
        """Those of the waves with integer frequencies k in ``basis``."""
        h, turn = self.axis.spacing, 2 if self.axis.kind == "periodic" else 1
        return (2 / h * torch.sin(turn * torch.pi * k.double().abs() * h / (2 * self.axis.length))) ** 2

    def matrix(self) -> Tensor:
        """The symmetric matrix: differences of fluxes, (count, count), float64."""
        m, end = self.count, {"dirichlet": 1.0 if self.nodal else 2.0, "neumann": 0.0, "periodic": 1.0}
        diagonal = torch.full((m,), 2.0, dtype=torch.float64)
        diagonal[0] += end[self.lower] - 1
        diagonal[-1] += end[self.upper] - 1
        beside = -torch.ones(m - 1, dtype=torch.float64)
        matrix = diagonal.diag() + beside.diag(1) + beside.diag(-1)
        if self.lower == "periodic":
            matrix[0, -1] -= 1
            matrix[-1, 0] -= 1
        return matrix / self.axis.spacing**2

    def eigenvectors(self) -> tuple[Tensor, Tensor, Tensor]:
        """lambda, E, E^(-1) with W^(-1) matrix = E diag(lambda) E^(-1), W = diag(widths); float64."""
        root = self.widths().sqrt()
        values, vectors = torch.linalg.eigh(self.matrix() / (root[:, None] * root))
        return values.clamp_min(0), vectors / root[:, None], vectors.T * root


class Separable:
    """u = A^(-1) f for A = sum_i (matrix of line i) x (widths of the others): the Laplacian times cell volumes.

    With ``spectral`` its eigenvalues are those of the derivative: kappa^2 instead of (2/h sin(kappa h/2))^2 for a wave
    of frequency kappa. A zero eigenvalue (no Dirichlet end anywhere) counts as the smallest other one.

    Fast transforms where every axis has one, products with the eigenvectors of each axis otherwise (Lynch, Rice and
    Thomas 1964, Numer. Math. 6). Values have the trailing shape of the unknowns, dtype and device of ``like``.

    >>> line = Line(Axis("cell", 8), "dirichlet", "neumann")
    >>> f = torch.rand(8, dtype=torch.float64)
    >>> bool(torch.allclose(line.matrix() @ Separable([line], f).solve(f), f))
    True
    """

    def __init__(self, lines: Sequence[Line], like: Tensor, *, spectral: bool = False):
        bases = [line.basis for line in lines]
        self.shape = tuple(line.count for line in lines)
        volume = torch.ones((), dtype=torch.float64)
        for line in lines:
            volume = volume[..., None] * line.widths()
        self.transform = None if None in bases else Transform([b for b in bases if b is not None])
        if self.transform is not None:
            waves = self.transform.frequencies(self.shape)
            values = [line.eigenvalues(k) for line, k in zip(lines, waves)]
            self.vectors: list[tuple[Tensor, Tensor]] = []
        else:
            solved = [line.eigenvectors() for line in lines]
            values = [v for v, _, _ in solved]
            self.vectors = [(inverse.to(like), e.to(like)) for _, e, inverse in solved]
        if spectral:
            values = [
                (2 / line.axis.spacing * torch.asin((line.axis.spacing / 2 * v.sqrt()).clamp_max(1.0))) ** 2
                for line, v in zip(lines, values)
            ]
        total = torch.zeros((), dtype=torch.float64)
        for v in values:
            total = total[..., None] + v
        zero = total <= 1e-9 * total.amax()
        total = torch.where(zero, total[~zero].amin() if bool((~zero).any()) else 1.0, total)
        self.inverse, self.weight = (1 / total).to(like), (1 / volume).to(like)

    def solve(self, f: Tensor) -> Tensor:
        """A^(-1) f, for f (..., *shape)."""
        f = f * self.weight
        if self.transform is not None:
            return self.transform.inverse(self.inverse * self.transform.forward(f), self.shape)
        c = along(f, [v[0] for v in self.vectors])
        return along(self.inverse * c, [v[1] for v in self.vectors])


def along(u: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Multiply each of the last axes by its matrix."""
    for i, matrix in enumerate(matrices):
        u = times(matrix, u, i - len(matrices))
    return u


def times(matrix: Tensor, u: Tensor, dim: int) -> Tensor:
    """A matrix applied along one dimension, in the dtype of u unless the matrix is complex."""
    dtype = torch.promote_types(u.dtype, matrix.dtype) if matrix.is_complex() else u.dtype
    return torch.movedim(torch.movedim(u, dim, -1).to(dtype) @ matrix.to(u.device, dtype).T, -1, dim)
