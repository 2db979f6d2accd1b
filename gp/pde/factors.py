"""Factors of each axis of a grid: orthonormal functions of its nodes that meet or vanish in the conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...backends.svd import svd
from ...errors import NWidthError
from .basis import Basis, all_along, along
from .equation import Condition, Equation, Order, product
from .sylvester import KroneckerSum


@dataclass(frozen=True)
class Line:
    """One axis: orthonormal functions of the nodes, U = Phi W, that carry the prior's principal directions.

    Phi D = U diag(s) V', cut where s < cut s_1; W = D V / s turns coefficients of U into weights of the features.
    ``b`` are the conditions at the ends as functionals of the coefficients, ``lift`` functions with b lift = I,
    ``Z`` an
    orthonormal basis of those with b Z = 0.
    """

    x: Tensor
    D: Tensor  # prior standard deviations of the features
    W: Tensor
    U: Tensor
    derivatives: Mapping[int, Tensor]  # order: values at the nodes of each function's derivative
    b: Tensor
    lift: Tensor
    Z: Tensor


class Space:
    """The functions of one choice of frequencies, priors and cut, with the equation's operators on them."""

    def __init__(
        self,
        equation: Equation,
        features: Basis,
        priors: Sequence[Tensor],
        cut: float,
        conditions: Sequence[Condition],
        axes: Sequence[Tensor],
    ):
        self.equation, self.features, self.cut = equation, features, cut
        self.axes, self.conditions = axes, conditions
        orders = list(equation.terms(product([a[:1] for a in axes]), {})) + list(equation.nonlinear_in)
        self.lines = [self._line(i, prior, {o[i] for o in orders} | {0}) for i, prior in enumerate(priors)]

    def _line(self, axis: int, D: Tensor, orders: set[int]) -> Line:
        x = self.axes[axis]
        if self.features.cardinal:
            U = W = torch.eye(len(x), dtype=torch.float64)
        else:
            U, s, Vh = svd(self.features.line(axis, x) * D, method="exact")
            keep = s > self.cut * s[0]
            U, W = U[:, keep], D[:, None] * Vh[keep].T / s[keep]
        derivatives = {o: U if o == 0 else self.features.line(axis, x, o) @ W for o in orders}
        rows = [functional(self.features, axis, self.equation, c) @ W for c in self.conditions if c.axis == axis]
        b = torch.stack(rows) if rows else U[:0]
        if not len(b):
            return Line(x, D, W, U, derivatives, b, U.new_zeros(U.shape[1], 0), torch.eye(U.shape[1], dtype=U.dtype))
        Q, R = torch.linalg.qr(b.T, mode="complete")
        k = len(b)
        lift = Q[:, :k] @ torch.linalg.inv(R[:k]).T
        return Line(x, D, W, U, derivatives, b, lift, Q[:, k:])

    def lifted(self, data: Sequence[Tensor]) -> Tensor:
        """Coefficients with the values of all conditions, by blending of one axis after the other (Coons 1967)."""
        C = torch.zeros([line.U.shape[1] for line in self.lines], dtype=torch.float64)
        for i, line in enumerate(self.lines):
            mine = [(c, g) for c, g in zip(self.conditions, data) if c.axis == i]
            if not mine:
                continue
            given = []
            for _, g in mine:
                others = [other for j, other in enumerate(self.lines) if j != i]
                given.append(all_along([other.U.T for other in others], g))
            G = torch.movedim(torch.stack(given), 0, i)
            C = C + along(line.lift, G - along(line.b, C, i), i)
        return C

    def at_nodes(self, C: Tensor, order: Order) -> Tensor:
        return all_along([line.derivatives[o] for line, o in zip(self.lines, order)], C)

    def project(self, F: Tensor) -> Tensor:
        """Nodal values onto the functions with zero conditions."""
        return all_along([(line.U @ line.Z).T for line in self.lines], F)

    def embed(self, Y: Tensor) -> Tensor:
        return all_along([line.Z for line in self.lines], Y)

    def weights(self, C: Tensor) -> Tensor:
        return all_along([line.W for line in self.lines], C)

    def inverse(self, terms: Mapping[Order, float]) -> KroneckerSum:
        """The part of the operator that is a sum over axes, inverted."""
        d, sums, shift = len(self.lines), [], 0.0
        for i, line in enumerate(self.lines):
            A = torch.zeros(line.Z.shape[1], line.Z.shape[1], dtype=torch.float64)
            for order, c in terms.items():
                if order[i] and sum(o > 0 for o in order) == 1:
                    A = A + c * line.Z.T @ (line.U.T @ (line.derivatives[order[i]] @ line.Z))
            sums.append(A)
        shift = sum(c for order, c in terms.items() if order == (0,) * d)
        return KroneckerSum(sums, shift)


def functional(features: Basis, axis: int, equation: Equation, c: Condition) -> Tensor:
    end = torch.tensor([equation.box[axis][c.end]], dtype=torch.float64)
    total = torch.zeros(features.sizes[axis], dtype=torch.float64)
    for order, value in (c.terms or {(0,) * equation.ndim: 1.0}).items():
        if callable(value) or isinstance(value, Tensor) or any(o for i, o in enumerate(order) if i != axis):
            raise NWidthError(
                "Condition", got=f"{dict(c.terms or {})}", expected="numbers times normal derivatives on grids"
            )
        total = total + value * features.line(axis, end, order[axis])[0]
    return total
