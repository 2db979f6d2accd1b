"""Losses that weigh the errors by wave number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..backends import Grid, Mesh
from ..backends.transforms import Transform
from ..data.metrics import wave_numbers
from ..errors import NWidthError
from .losses import RelativeL2, _above, _relative, _root

RELATIVE = ("whole", "band")


class RelativeSobolev(RelativeL2):
    """mean_n |p_n - u_n| / |u_n| in H^s: |v|^2 = sum_k (1 + weight |2 pi k|^2)^s |v_k|^2, k in waves an axis.

    ``order`` s is any real number: 1 is ``RelativeH1`` with slopes of the interpolant; between 0 and 1 less of it;
    negative orders let high frequencies go. Fourier coefficients on periodic axes, cosine ones on nodal and cell axes,
    where k half waves count k / 2; other axes are an error.

    >>> grid = Grid.make((16,))
    >>> x = grid.coordinates()[0]
    >>> u, e = (torch.sin(2 * torch.pi * k * x)[None, None] for k in (1, 3))
    >>> loss = RelativeSobolev(order=1.0, weight=1 / (2 * torch.pi) ** 2)
    >>> round(float(loss(u + e, u, grid)), 6), round(((1 + 9) / (1 + 1)) ** 0.5, 6)
    (2.236068, 2.236068)
    """

    def __init__(self, order: float = 1.0, weight: float = 0.01, floor: float = 1e-6):
        super().__init__(floor)
        if not weight >= 0:
            raise NWidthError("RelativeSobolev", got=f"weight={weight}", expected="a number >= 0")
        self.order, self.weight = float(order), weight

    def _norm2(self, v: Tensor, grid: Grid | Mesh) -> Tensor:
        transform, waves = spectrum(grid, "RelativeSobolev")
        factor = (1 + self.weight * (2 * torch.pi * waves).square()) ** (self.order / 2)
        return energy(transform, v, factor)


class RelativeBands(RelativeL2):
    """mean_n (sum_b w_b |P_b (p_n - u_n)|^2 / s_b^2)^(1/2), P_b the wave numbers of band b.

    ``edges`` k_1 < k_2 < .. part the wave numbers (waves in the domain) into |k| <= k_1, k_1 < |k| <= k_2, .., the
    rest; ``weights`` has one w_b for each. ``relative``: ``whole``, s_b = |u_n|: with all weights 1 it is
    ``RelativeL2`` on periodic and cell axes; ``band``, s_b = |P_b u_n|, at least ``least`` |u_n|: each band counts by
    its own relative error, however weak it is. The report's bands have edges 4 and 12. Frequencies as in
    ``RelativeSobolev``.
    """

    def __init__(
        self,
        edges: Sequence[float] = (4.0, 12.0),
        weights: Sequence[float] = (1.0, 1.0, 1.0),
        relative: str = "whole",
        least: float = 1e-3,
        floor: float = 1e-6,
    ):
        super().__init__(floor)
        rising = all(a < b for a, b in zip(edges, list(edges)[1:]))
        if not rising or len(weights) != len(edges) + 1 or not all(w >= 0 for w in weights) or not any(weights):
            raise NWidthError(
                "RelativeBands",
                got=f"edges={list(edges)}, weights={list(weights)}",
                expected="increasing edges, and one weight >= 0 more than edges, not all zero",
            )
        if relative not in RELATIVE or not least > 0:
            raise NWidthError(
                "RelativeBands",
                got=f"relative={relative!r}, least={least}",
                expected="relative of " + ", ".join(RELATIVE) + " and least > 0",
            )
        self.edges, self.weights, self.relative, self.least = tuple(edges), tuple(weights), relative, least

    def forward(self, p: Tensor, u: Tensor, grid: Grid | Mesh) -> Tensor:
        transform, waves = spectrum(grid, "RelativeBands")
        band = torch.bucketize(waves, torch.tensor(self.edges, dtype=waves.dtype))
        parts = [(w, (band == b).to(waves.dtype)) for b, w in enumerate(self.weights)]
        errors = [w * energy(transform, p - u, inside) for w, inside in parts]
        norm2 = energy(transform, u, torch.ones_like(waves))
        if self.relative == "whole":
            return _relative(torch.stack(errors).sum(0), norm2, self.floor)
        least = self.least * _above(norm2.sqrt(), self.floor)
        scales = [torch.maximum(energy(transform, u, inside).sqrt(), least) for _, inside in parts]
        return _root(torch.stack([e / s.square() for e, s in zip(errors, scales)]).sum(0), 0.5).mean()


def spectrum(grid: Grid | Mesh, where: str) -> tuple[Transform, Tensor]:
    """The transform of a grid, and |k| of each of its coefficients, in waves an axis."""
    if not isinstance(grid, Grid) or any(a.kind not in ("periodic", "nodal", "cell") for a in grid.axes):
        raise NWidthError(where, got=grid.describe(), expected="periodic, nodal or cell axes", fix="use loss=h1 or l2")
    transform = Transform.for_grid(grid)
    return transform, wave_numbers(transform, grid)


def energy(transform: Transform, v: Tensor, factor: Tensor) -> Tensor:
    """sum_k |factor_k v_k|^2 over all channels, (N,)."""
    c = transform.forward(v) * factor.to(v)
    return transform.norm2(c, v.shape[v.ndim - transform.ndim :]).flatten(1).sum(1).clamp_min(0)
