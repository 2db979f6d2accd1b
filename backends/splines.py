"""Fields at arbitrary points: tensor-product cubic splines through the values on a uniform grid."""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor

from ..errors import NWidthError
from .grid import Axis, Grid, Mesh


class CubicSpline:
    """s(x) = sum_k c_k B(x/h - k), the cubic spline with s(x_j) = u_j on a grid of uniform axes.

    Values (N, C, *shape) are interpolated at points (N, d, M), different for each sample, to (N, C, M); the result is
    twice continuously differentiable in the points, of fourth order, and exact for cubics. Periodic axes are
    continued periodically; at the ends of others the outermost two pieces are one cubic (not-a-knot), and points
    outside are moved to the end of the domain.

    Source: de Boor, A Practical Guide to Splines (2001), chapter IX; Unser, IEEE Signal Process. Mag. 16 (1999).

    >>> g = Grid.make((9,), "nodal"); x = g.coordinates()
    >>> s = CubicSpline((x**3)[None], g)
    >>> torch.allclose(s(torch.tensor([[[0.3, 0.77]]]).double()), torch.tensor([0.3, 0.77]).double() ** 3)
    True
    """

    def __init__(self, values: Tensor, grid: Grid | Mesh):
        if not isinstance(grid, Grid) or not all(a.uniform and a.n >= 4 for a in grid.axes):
            raise NWidthError("CubicSpline", got=grid.describe(), expected="uniform axes of 4 points or more")
        self.grid = grid
        for i, axis in enumerate(grid.axes):
            dim = i - grid.ndim
            matrix = _coefficients(axis).to(dtype=values.dtype, device=values.device)
            values = (values.movedim(dim, -1) @ matrix.mT).movedim(-1, dim)
        self.shape = values.shape[2:]
        self.coefficients = values.flatten(2).contiguous()

    def __call__(self, points: Tensor) -> Tensor:
        """(N, C, M) at points (N, d, M)."""
        index, weights = [], []
        for i, axis in enumerate(self.grid.axes):
            piece, share = _locate(axis, points[:, i])
            index.append(piece)
            weights.append(_cubic(share))
        n, channels = self.coefficients.shape[:2]
        total: Tensor | None = None
        for corner in product(range(4), repeat=self.grid.ndim):
            flat = torch.zeros_like(index[0])
            for size, piece, j in zip(self.shape, index, corner):
                flat = flat * size + piece + j
            weight = math.prod((w[j] for w, j in zip(weights[1:], corner[1:])), start=weights[0][corner[0]])
            taken = self.coefficients.gather(2, flat[:, None].expand(n, channels, -1))
            term = taken * weight[:, None]
            total = term if total is None else total + term
        assert total is not None
        return total


def _locate(axis: Axis, x: Tensor) -> tuple[Tensor, Tensor]:
    """The piece of each point and its place there, in [0, 1] but for half a cell at the ends of cell axes."""
    first = float(axis.coordinates()[0])
    if axis.kind == "periodic":
        s = ((x - first) / axis.spacing) % axis.n
        piece = s.detach().floor().clamp(0, axis.n - 1)
    else:
        s = (x.clamp(axis.lo, axis.hi) - first) / axis.spacing
        piece = s.detach().floor().clamp(0, axis.n - 2)
    return piece.long(), s - piece


def _cubic(f: Tensor) -> tuple[Tensor, ...]:
    """The four B-splines on one piece."""
    g = 1 - f
    return g**3 / 6, (3 * f**3 - 6 * f**2 + 4) / 6, (3 * g**3 - 6 * g**2 + 4) / 6, f**3 / 6


def _coefficients(axis: Axis) -> Tensor:
    """The matrix from n values to the coefficients c_-1 .. c_n (c_-1 .. c_{n+1} on a periodic axis)."""
    n = axis.n
    if axis.kind == "periodic":
        eye = torch.eye(n, dtype=torch.float64)
        inverse = torch.linalg.inv(4 / 6 * eye + (eye.roll(1, 0) + eye.roll(-1, 0)) / 6)
        return torch.cat([inverse[-1:], inverse, inverse[:2]])
    A = torch.zeros(n + 2, n + 2, dtype=torch.float64)
    rows = torch.arange(n)
    for j, w in enumerate((1 / 6, 4 / 6, 1 / 6)):
        A[rows, rows + j] = w
    fourth = torch.tensor([1.0, -4.0, 6.0, -4.0, 1.0], dtype=torch.float64)
    A[n, :5], A[n + 1, -5:] = fourth, fourth
    return torch.linalg.inv(A)[:, :n]
