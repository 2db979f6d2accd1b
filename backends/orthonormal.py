"""Functions that are orthonormal on the points of an axis, in the inner product of the metrics."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import NWidthError
from .bases import Basis, real_basis
from .grid import Axis

FAMILIES = ("auto", "cosine")


@dataclass(frozen=True)
class OrthonormalBasis(Basis):
    """The first functions of the axis's own basis, made orthonormal one after the other on its points.

    |u|^2 = sum_k c_k^2 where |u|^2 = sum_j w_j u_j^2 with the axis's ``norm_weights`` over its length: the mean square
    over the points of a uniform axis. Real waves on periodic axes, cosines on cells and nodes, polynomials on
    Chebyshev points; on periodic axes and cells they are those functions, scaled. ``family="cosine"`` takes the DCT-II
    of the values on any uniform axis. Other numbers of points give other functions on nodes and Chebyshev points.

    >>> basis = OrthonormalBasis(axis=Axis("nodal", 9))
    >>> u = basis.synthesis(9, 4) @ torch.ones(4, dtype=torch.float64)
    >>> round(float(u.square().mean()), 12), (basis.analysis(9, 4) @ u).round(decimals=6).tolist()
    (4.0, [1.0, 1.0, 1.0, 1.0])
    """

    axis: Axis = field(kw_only=True)
    family: str = "auto"
    fast: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        if self.family not in FAMILIES:
            raise NWidthError(self.name, got=f"family={self.family!r}", expected="one of " + ", ".join(FAMILIES))
        real_basis(self.axis)  # an error for listed points

    def points(self, n: int) -> Tensor:
        axis = self.axis.with_n(n)
        return (axis.coordinates() - axis.lo) / (axis.length or 1.0)

    def analysis(self, n: int, m: int) -> Tensor:
        root, q, _ = self._factors(n, m)
        return q.T * root

    def synthesis(self, n: int, m: int, order: int = 0) -> Tensor:
        root, q, r = self._factors(n, m)
        if order == 0:
            return q / root[:, None]
        return torch.linalg.solve_triangular(r, self._parent().synthesis(n, m, order), upper=True, left=False)

    def gram(self, m: int) -> Tensor:
        return torch.ones(m, dtype=torch.float64)

    def _factors(self, n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
        """Roots of the weights, and Q R of the parent's functions times them, with a positive diagonal of R."""
        axis = self.axis.with_n(n)
        root = (axis.norm_weights() / (axis.length or 1.0)).sqrt()
        q, r = torch.linalg.qr(root[:, None] * self._parent().synthesis(n, m))
        sign = r.diagonal().sign()
        return root, q * sign, r * sign[:, None]

    def _parent(self) -> Basis:
        return real_basis(seen_as(self.axis, self.family))


def seen_as(axis: Axis, family: str) -> Axis:
    """The axis whose functions are those of this family: with ``cosine``, uniform points are the centres of cells."""
    return replace(axis, kind="cell") if family == "cosine" and axis.uniform else axis
