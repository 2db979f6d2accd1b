"""Fields moved between resolutions of one domain inside a network, compiled or not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache

import torch
from torch import Tensor, nn

from ..backends.grid import Axis, Grid
from ..backends.resample import interpolation_matrix


class Interpolation(nn.Module):
    """u (..., *source) -> (..., *target), two resolutions of the grid's domain, as ``backends.resample.resample``.

    The matrices are made once in float64 and kept for each dtype and device. Raises NWidthError for another
    resolution of an axis of listed points, which does not say where its points would be.

    >>> move = Interpolation(Grid.make((5,), "nodal"))
    >>> move(torch.arange(5.0), (5,), (9,)).tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]
    """

    def __init__(self, grid: Grid):
        super().__init__()
        self.keys = tuple(json.dumps(asdict(axis)) for axis in grid.axes)

    def forward(self, u: Tensor, source: Sequence[int], target: Sequence[int]) -> Tensor:
        for i, key in enumerate(self.keys):
            n, m, dim = int(source[i]), int(target[i]), i - len(self.keys)
            if n != m:
                u = (u.movedim(dim, -1) @ _matrix(key, n, m, u.dtype, u.device).mT).movedim(-1, dim)
        return u


def _matrix(key: str, n: int, m: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(m, n), from n to m points of an axis; under torch.compile one opaque call that copies it from the memo."""
    make = _opaque if torch.compiler.is_compiling() else _memo
    return make(key, n, m, dtype, device)


@lru_cache(maxsize=64)
def _memo(key: str, n: int, m: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    values = json.loads(key)
    axis = Axis(**values | {"points": None if values["points"] is None else tuple(values["points"])})
    with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
        return interpolation_matrix(axis.with_n(n), axis.with_n(m)).to(dtype).to(device)


@torch.library.custom_op("nwidth::interpolation", mutates_args=())
def _opaque(key: str, n: int, m: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return _memo(key, n, m, dtype, device).clone()


@_opaque.register_fake
def _(key, n, m, dtype, device):
    return torch.empty(m, n, dtype=dtype, device=device)
