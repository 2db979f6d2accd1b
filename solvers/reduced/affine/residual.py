"""Dual norms of residuals that are combinations of many fixed functionals, without squaring them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ....backends.svd import InnerProduct

_PARALLEL = 1e-2  # what a projection may leave of a vector before the projection is repeated


class ResidualRange:
    """|sum_j k_j g_j|_X' = |T k|_2 for functionals g_j (rows) and coefficients k:

        C^{-*} g_j = sum_i T_ij q_i,   q_i orthonormal,   X = C* C.

    The q_i span the Riesz representatives of all g_j, by block Gram-Schmidt, twice; T is (m, number of g). Expanding
    the square |k* G k|, G = (g_i, g_j)_X', loses half the digits where the g_j cancel; T k does not (Buhr, Engwer,
    Ohlberger and Rave 2014, A numerically stable a posteriori error estimator for reduced basis approximations of
    elliptic equations, section 3).

    ``rounding``: what T k may be wrong by for each unit of sum_j |k_j| |T_j|.

    >>> from nwidth.backends.svd import inner_product
    >>> g = torch.tensor([[1.0, 0.0], [1.0, 1e-12]], dtype=torch.float64)
    >>> found = ResidualRange(inner_product(None, (2, 1), g), 2).append(g)
    >>> float((found.matrix() @ torch.tensor([1.0, -1.0], dtype=torch.float64)).norm())
    1e-12
    """

    def __init__(self, product: InnerProduct, unknowns: int):
        self.product = product
        self.basis = torch.zeros(0, unknowns, dtype=torch.float64)
        self.rounding = torch.finfo(torch.float64).eps * math.sqrt(unknowns)
        self._columns: list[Tensor] = []

    def append(self, functionals: Tensor) -> ResidualRange:
        """Add g (k, unknowns)."""
        z = self.product.dual(functionals.mT.contiguous()).mT.contiguous()
        size = z.norm(dim=1)
        old = self.basis
        first = z @ old.T
        z = z - first @ old
        second = z @ old.T
        z = z - second @ old
        inside, new = first + second, old[:0]
        for v, h, s in zip(z, inside, size):
            h = torch.cat([h, h.new_zeros(len(new))])
            before = s
            while float(after := v.norm()) > self.rounding * float(s):
                for part, start in ((new, len(old)), (old, 0)):
                    if part is new or float(after) < _PARALLEL * float(before):
                        c = part @ v
                        v = v - c @ part
                        h[start : start + len(part)] += c
                before, after = after, v.norm()
                if float(after) > 0.5 * float(before):
                    new = torch.cat([new, v[None] / after])
                    h = torch.cat([h, after[None]])
                    break
            self._columns.append(h)
        self.basis = torch.cat([old, new])
        return self

    def matrix(self) -> Tensor:
        """T, (dimension of the range, functionals so far)."""
        out = self.basis.new_zeros(len(self.basis), len(self._columns))
        for j, h in enumerate(self._columns):
            out[: len(h), j] = h
        return out
