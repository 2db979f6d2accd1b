"""Products of one-axis functions: their sums at points and on grids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from .equation import Order, product


def along(A: Tensor, X: Tensor, axis: int) -> Tensor:
    return torch.movedim(torch.tensordot(A, X, dims=([1], [axis])), 0, axis)


def all_along(matrices: Sequence[Tensor], X: Tensor) -> Tensor:
    for i, A in enumerate(matrices):
        X = along(A, X, i)
    return X


class Basis(Protocol):
    """Functions of each axis: their values and derivatives at any of its coordinates, (n, size)."""

    cardinal: bool  # one at a node of their own, zero at all others

    @property
    def sizes(self) -> tuple[int, ...]: ...

    def line(self, axis: int, x: Tensor, order: int = 0) -> Tensor: ...


def as_grid(x: Tensor) -> list[Tensor] | None:
    """The axes of points that are a tensor grid in the order of ``product``; None otherwise."""
    axes = [torch.unique(x[:, i]) for i in range(x.shape[1])]
    if math.prod(len(a) for a in axes) != len(x):
        return None
    return axes if torch.equal(product(axes), x) else None


def evaluate(basis: Basis, weights: Tensor, x: Tensor, order: Order) -> Tensor:
    """sum_k weights_k d^order phi_k at points (n, d); all at once where they are a tensor grid."""
    grid = as_grid(x)
    if grid is not None:
        return all_along([basis.line(i, a, o) for i, (a, o) in enumerate(zip(grid, order))], weights).reshape(-1)
    found = []
    for part in x.split(2**11):
        lines = [basis.line(i, part[:, i], o) for i, o in enumerate(order)]
        rest = torch.tensordot(lines[0], weights, dims=([1], [0]))
        for line in lines[1:]:
            rest = torch.einsum("nk,nk...->n...", line, rest)
        found.append(rest)
    return torch.cat(found)
