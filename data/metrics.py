"""Errors of predictions, one number a sample; inputs never enter."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..backends import Grid, Mesh
from ..backends.transforms import Transform
from ..errors import NWidthError

BANDS = {"low": (0.0, 4.0), "mid": (4.0, 12.0), "high": (12.0, math.inf)}


def relative_l2(p: Tensor, u: Tensor, grid: Grid | Mesh) -> Tensor:
    """|p - u| / |u| for each sample and channel, (N, C), |v|^2 = sum over times and points of w |v|^2.

    ``p`` and ``u`` are (N, C, *space) or (N, T, C, *space); w are the grid's norm weights (equal on
    uniform axes, quadrature on others). 0/0 counts as 0.

    >>> u = torch.ones(2, 1, 4)
    >>> relative_l2(1.1 * u, u, Grid.make((4,))).flatten().tolist()  # doctest: +ELLIPSIS
    [0.1..., 0.1...]
    """
    return _ratio(_norm2(p - u, grid), _norm2(u, grid))


def relative_h1(p: Tensor, u: Tensor, grid: Grid) -> Tensor:
    """The same in the norm |v|^2 + |grad v|^2, (N, C); gradients as in ``gradient``."""
    e = p - u
    return _ratio(
        _norm2(e, grid) + sum(_norm2(g, grid) for g in gradient(e, grid)),
        _norm2(u, grid) + sum(_norm2(g, grid) for g in gradient(u, grid)),
    )


def relative_max(p: Tensor, u: Tensor, grid: Grid | Mesh) -> Tensor:
    """max |p - u| / max |u| over times and points, (N, C)."""
    over = tuple(range(u.ndim - len(grid.shape), u.ndim)) + ((1,) if u.ndim > len(grid.shape) + 2 else ())
    return _ratio((p - u).abs().amax(over).square(), u.abs().amax(over).square())


def relative_l2_over_time(p: Tensor, u: Tensor, grid: Grid | Mesh) -> Tensor:
    """|p(t) - u(t)| / |u(t)| over all channels at each time, (N, T): the error of a rollout as it grows."""
    w = grid.norm_weights().to(device=u.device, dtype=u.real.dtype)
    dims = tuple(range(2, u.ndim))
    return _ratio(((p - u).abs().square() * w).sum(dims), (u.abs().square() * w).sum(dims))


def band_errors(p: Tensor, u: Tensor, grid: Grid) -> dict[str, Tensor]:
    """Error by wave number: sqrt(energy of p - u in the band / energy of u), (N,) for low, mid and high.

    Wave numbers count waves in the domain: |k| <= 4, 4 < |k| <= 12, |k| > 12, the bands of PDEBench (Takamoto et
    al. 2022, appendix B). Fourier modes on periodic axes, cosine modes on nodal and cell axes (k half waves count
    k/2), Chebyshev degrees likewise halved.
    """
    transform = Transform.for_grid(grid, real=not u.is_complex())
    radius = wave_numbers(transform, grid).to(u.device)
    c = transform.forward(p - u)
    total = _norm2(u, grid).sum(1) / float(grid.norm_weights().sum())
    found = {}
    for name, (lo, hi) in BANDS.items():
        inside = (radius > lo) & (radius <= hi) if lo > 0 else radius <= hi
        energy = transform.norm2(c * inside.to(c.real.dtype)).clamp_min(0)
        found[name] = _ratio(energy.reshape(len(u), -1).sum(1), total)
    return found


def wave_numbers(transform: Transform, grid: Grid) -> Tensor:
    """|k| of each coefficient of the grid's transform, in waves an axis: float64, shaped like the coefficients."""
    k2 = torch.zeros((), dtype=torch.float64)
    for i, (f, periodic) in enumerate(zip(transform.frequencies(transform.modes_for(grid.shape)), grid.periodic)):
        wave = f.double().abs() * (1.0 if periodic else 0.5)
        k2 = k2 + wave.square().reshape(-1, *(1,) * (grid.ndim - 1 - i))
    return k2.sqrt()


def coverage(mean: Tensor, std: Tensor, u: Tensor, z: float = 1.959964) -> Tensor:
    """Share of points with |u - mean| <= z std, (N,); 0.95 is right for z = 1.96."""
    return ((u - mean).abs() <= z * std).double().flatten(1).mean(1)


def sharpness(std: Tensor, u: Tensor, grid: Grid | Mesh) -> Tensor:
    """|std| / |u| over all channels, (N,): how wide the intervals are, relative to the solution."""
    return _ratio(_norm2(std, grid).sum(1), _norm2(u, grid).sum(1))


def gradient(u: Tensor, grid: Grid) -> list[Tensor]:
    """Derivatives along each axis: of the trigonometric interpolant on a periodic axis, of the polynomial on a
    Chebyshev axis, and second-order differences elsewhere."""
    found = []
    for i, axis in enumerate(grid.axes):
        dim = i - grid.ndim
        if axis.kind in ("periodic", "chebyshev"):
            t = Transform.for_grid(Grid((axis,)), real=not u.is_complex())
            found.append(t.derivative(u.movedim(dim, -1), 1).movedim(-1, dim))
        elif axis.n == 1:
            found.append(torch.zeros_like(u))
        else:
            x = axis.coordinates().to(device=u.device, dtype=u.real.dtype)
            found.append(torch.gradient(u, spacing=(x,), dim=dim, edge_order=2 if axis.n > 2 else 1)[0])
    return found


def scores(mean: Tensor, std: Tensor | None, u: Tensor, grid: Grid | Mesh) -> dict[str, Tensor]:
    """Every metric that the grid allows, by name; (N,) each, ``rel_l2_channels`` (N, C), ``rel_l2_times`` (N, T).

    A sample's rel_l2, rel_h1 and rel_max are means over its channels. H1 needs a grid; spectral bands need one
    without listed axes.
    """
    if mean.shape != u.shape or (std is not None and std.shape != u.shape):
        raise NWidthError("scores", got=f"a prediction of shape {tuple(mean.shape)}", expected=f"{tuple(u.shape)}")
    if not bool(torch.isfinite(u).all()):
        raise NWidthError(
            "scores",
            got="NaN or infinite values in the solution",
            expected="finite data",
            fix="see nwidth info, and leave the damaged samples out",
        )
    mean, u = mean.to(device=u.device, dtype=_double(mean)), u.to(_double(u))
    timed = u.ndim > len(grid.shape) + 2
    channels = relative_l2(mean, u, grid)
    found = {"rel_l2": channels.mean(1), "rel_max": relative_max(mean, u, grid).mean(1), "rel_l2_channels": channels}
    if isinstance(grid, Grid):
        found["rel_h1"] = relative_h1(mean, u, grid).mean(1)
        if all(a.kind != "listed" for a in grid.axes):
            found |= {f"band_{k}": v for k, v in band_errors(mean, u, grid).items()}
    if timed:
        found["rel_l2_times"] = relative_l2_over_time(mean, u, grid)
    if std is not None:
        std = std.to(u.device).double()
        found["coverage95"] = coverage(mean, std, u)
        found["sharpness"] = sharpness(std, u, grid)
    return found


def _double(v: Tensor) -> torch.dtype:
    return torch.complex128 if v.is_complex() else torch.float64


def _norm2(v: Tensor, grid: Grid | Mesh) -> Tensor:
    """sum over times and points of w |v|^2, (N, C)."""
    space = len(grid.shape)
    w = grid.norm_weights().to(device=v.device, dtype=v.real.dtype if v.is_complex() else v.dtype)
    energy = (v.abs().square() * w).sum(tuple(range(v.ndim - space, v.ndim)))
    return energy.sum(1) if energy.ndim == 3 else energy


def _ratio(error2: Tensor, norm2: Tensor) -> Tensor:
    both_zero = (error2 == 0) & (norm2 == 0)
    return torch.where(both_zero, torch.zeros_like(error2), (error2 / norm2).sqrt())
