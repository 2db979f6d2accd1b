"""Moving fields between grids of one domain."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import NWidthError
from .grid import Axis, Grid, Mesh, same_grid


def resample(u: Tensor, source: Grid | Mesh, target: Grid | Mesh) -> Tensor:
    """Values (..., *source.shape) on another grid of the same domain, (..., *target.shape).

    One direction after the other: trigonometric interpolation where both axes are periodic with one period and
    origin (exact for band-limited fields), the Chebyshev interpolant on Gauss-Lobatto points, and otherwise the
    cubic Lagrange polynomial through the four nearest points (exact for cubics, fourth order; through all points
    where there are fewer). Points up to one spacing outside the source are extrapolated, but for Chebyshev axes,
    whose polynomials grow too fast there; others are refused.

    >>> g, h = Grid.make((8,), "nodal"), Grid.make((15,), "nodal")
    >>> x = g.coordinates()[0]
    >>> bool(torch.allclose(resample(x**3, g, h), h.coordinates()[0] ** 3))
    True
    """
    if same_grid(source, target):
        return u
    if isinstance(source, Mesh) or isinstance(target, Mesh):
        raise NWidthError(
            "resample",
            got=f"{source.describe()} to {target.describe()}",
            expected="one mesh, or two grids",
            fix="evaluate on the mesh of the training data",
        )
    if source.ndim != target.ndim:
        raise NWidthError("resample", got=f"{source.ndim} and {target.ndim} axes", expected="as many")
    for dim, (a, b) in enumerate(zip(source.axes, target.axes)):
        if a != b:
            matrix = interpolation_matrix(a, b).to(dtype=u.dtype, device=u.device)
            moved = u.movedim(dim - source.ndim, -1) @ matrix.mT
            u = moved.movedim(-1, dim - source.ndim)
    return u


def interpolation_matrix(source: Axis, target: Axis) -> Tensor:
    """The matrix (target.n, source.n), float64, that interpolates from one axis to the other."""
    x, y = source.coordinates(), target.coordinates()
    slack = 1e-6 * source.length if source.kind == "chebyshev" else 1.0001 * source.spacing
    if source.kind == "periodic" and target.kind == "periodic":
        if abs(source.length - target.length) > 1e-6 * source.length:
            raise NWidthError("resample", got=f"periods {source.length:g} and {target.length:g}", expected="one period")
        return _trigonometric(source, y)
    if float(y[0]) < source.lo - slack or float(y[-1]) > source.hi + slack:
        raise NWidthError(
            "resample",
            got=f"points on [{target.lo:g}, {target.hi:g}]",
            expected=f"points within [{source.lo:g}, {source.hi:g}]",
            fix="use data of the same domain",
        )
    if source.kind == "periodic":
        return _trigonometric(source, y)
    if source.kind == "chebyshev":
        return _chebyshev(x, y)
    return _lagrange(x, y, min(4, len(x)))


def _trigonometric(source: Axis, y: Tensor) -> Tensor:
    n = source.n
    theta = 2 * torch.pi * (y[:, None] - source.coordinates()[None]) / source.length
    k = torch.arange(1, (n - 1) // 2 + 1, dtype=torch.float64)
    kernel = 1 + 2 * torch.cos(k * theta[..., None]).sum(-1)
    if n % 2 == 0:
        # the Nyquist mode is interpolated by its cosine
        kernel = kernel + torch.cos(n // 2 * theta)
    return kernel / n


def _chebyshev(x: Tensor, y: Tensor) -> Tensor:
    w = (-1.0) ** torch.arange(len(x), dtype=torch.float64)
    w[0] /= 2
    w[-1] /= 2
    gap = y[:, None] - x[None]
    hit = gap.abs() < 1e-14 * max(1.0, float(x.abs().max()))
    terms = w / torch.where(hit, torch.ones_like(gap), gap)
    matrix = terms / terms.sum(1, keepdim=True)
    return torch.where(hit.any(1, keepdim=True), hit.double(), matrix)


def _lagrange(x: Tensor, y: Tensor, order: int) -> Tensor:
    right = torch.searchsorted(x, y)
    start = (right - order // 2).clamp(0, len(x) - order)
    index = start[:, None] + torch.arange(order)
    nodes = x[index]
    matrix = torch.zeros(len(y), len(x), dtype=torch.float64)
    for j in range(order):
        others = [i for i in range(order) if i != j]
        value = torch.ones(len(y), dtype=torch.float64)
        for i in others:
            value = value * (y - nodes[:, i]) / (nodes[:, j] - nodes[:, i])
        matrix.scatter_(1, index[:, j : j + 1], value[:, None])
    return matrix
