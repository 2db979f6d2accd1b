"""Trajectories at other times, and data sets at other resolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..backends import Axis, Grid, same_grid
from ..backends.resample import interpolation_matrix
from ..errors import NWidthError
from .dataset import Dataset
from .views import mapped


def at_times(u: Tensor, t: Tensor | None, wanted: Tensor | None) -> Tensor:
    """States u (N, T, ...) known at times ``t``, interpolated to ``wanted`` by cubic polynomials; no extrapolation.

    Steady fields (both None) and equal times pass unchanged.
    """
    if t is None and wanted is None:
        return u
    if t is None or wanted is None:
        raise NWidthError(
            "predict",
            got="steady and time-dependent data mixed",
            expected="data of the training's kind",
            fix="check data.fields.t",
        )
    if t.shape == wanted.shape and bool(torch.allclose(t.double(), wanted.double(), rtol=1e-6, atol=1e-12)):
        return u
    slack = 1e-6 * max(abs(float(t[-1])), 1e-300)
    if float(wanted[0]) < float(t[0]) - slack or float(wanted[-1]) > float(t[-1]) + slack:
        raise NWidthError(
            "predict",
            got=f"times on [{float(wanted[0]):g}, {float(wanted[-1]):g}]",
            expected=f"times within the training's [{float(t[0]):g}, {float(t[-1]):g}]",
            fix="use a surrogate with training.time=rollout to go further",
        )
    source, target = (Axis("listed", len(x), name="t", points=tuple(x.tolist())) for x in (t, wanted))
    matrix = interpolation_matrix(source, target).to(dtype=u.dtype, device=u.device)
    return torch.tensordot(matrix, u, dims=([1], [1])).movedim(0, 1)


class Resampler:
    """Values (..., *source.shape) on another grid of the same domain; the matrices are made once (see ``resample``)."""

    def __init__(self, source: Grid, target: Grid):
        self.matrices = [
            None if a == b else interpolation_matrix(a, b) for a, b in zip(source.axes, target.axes, strict=True)
        ]

    def __call__(self, u: Tensor) -> Tensor:
        for i, matrix in enumerate(self.matrices):
            if matrix is not None:
                dim = i - len(self.matrices)
                moved = u.movedim(dim, -1) @ matrix.to(dtype=u.dtype, device=u.device).mT
                u = moved.movedim(-1, dim)
        return u.contiguous()


def at_resolution(data: Dataset, resolution: int | Sequence[int]) -> Dataset:
    """A data set at ``resolution`` points an axis (one number for all, or one each): interpolated as it is read.

    The domain and the kinds of axes stay. A nodal axis whose last point is one step from the domain's end, as
    neuraloperator stores it ([0, 1 - 1/n]), keeps that convention.

    >>> d = Dataset(Grid.make((8,)), u=torch.rand(2, 1, 8))
    >>> at_resolution(d, 12).u.shape
    torch.Size([2, 1, 12])
    """
    if not isinstance(data.grid, Grid):
        raise NWidthError("data.resolution", got=data.grid.describe(), expected="data on a grid", fix="leave it null")
    sizes = [resolution] * data.grid.ndim if isinstance(resolution, int) else list(resolution)
    if len(sizes) != data.grid.ndim or any(isinstance(n, bool) or not isinstance(n, int) or n < 2 for n in sizes):
        raise NWidthError(
            "data.resolution", got=f"{resolution}", expected=f"a number from 2, or {data.grid.ndim} of them"
        )
    target = Grid(tuple(_axis(a, n) for a, n in zip(data.grid.axes, sizes)))
    if target == data.grid or same_grid(target, data.grid):
        return data
    apply = Resampler(data.grid, target)
    changed: dict[str, Any] = {}
    for name in ("u", "a", "u0"):
        value = getattr(data, name)
        if value is not None:
            timed = name == "u" and data.t is not None
            channels = value.shape[1 + timed]
            changed[name] = mapped(value, apply, timed, (channels, *target.shape))
    return replace(data, grid=target, **changed)


def _axis(axis: Axis, n: int) -> Axis:
    if n != axis.n and axis.kind == "nodal" and abs(axis.hi + axis.spacing - 1.0) < 1e-6 and axis.lo == 0.0:
        return replace(axis, n=n, hi=1 - 1 / n)
    return axis.with_n(n)
