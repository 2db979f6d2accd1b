"""Hierarchical approximate POD: a tree of small decompositions with a tolerance for the whole."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from dataclasses import replace

from torch import Tensor

from ...errors import NWidthError
from .dense import require_finite, squared_norms
from .partial import PartialSVD, merge, partial_svd
from .weights import InnerProduct, Weight, inner_product


def hapod(
    leaves: Iterable[Tensor],
    *,
    rtol: float | None = None,
    tol: float | None = None,
    omega: float = 0.75,
    arity: int = 2,
    weight: Weight = None,
    right: bool = True,
) -> PartialSVD:
    """Decomposition of [a_1, a_2, ...] from leaves (m, n_i) that are read one after the other, each once.

    Each leaf is compressed as it comes; ``arity`` neighbours of one level are merged and compressed again, so that
    about arity * log(number of leaves) compressed parts are held at a time. The root merges what is left.

    - ``rtol``: |a - U s Vh|_F <= rtol |a|_F
    - ``tol``: sqrt(|a - U s Vh|_F^2 / n) <= tol, the mean-square error of a column

    The split of the tolerance is fixed in advance, so that parts can be compressed before the rest is seen: a node
    may lose (1 - omega^2) / (L - 1) of the squared tolerance on its own columns, L the levels of the tree; the root
    the rest, at least omega^2. Without ``len(leaves)`` level l = 0, 1, ... has the share 2^-(l+1) in place of
    1 / (L - 1). ``omega`` near 1 gives fewer final directions and larger parts on the way.

    Source: Himpe, Leibner and Rave (2018), Hierarchical approximate proper orthogonal decomposition,
    with norms in place of numbers of snapshots for ``rtol``.

    Raises NWidthError for no leaves, non-finite entries, leaves of different height, both tolerances or none.

    >>> import torch
    >>> a = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None].pow(torch.arange(40))
    >>> found = hapod(a.split(8, 1), rtol=1e-6)
    >>> len(found.s), found.error <= 1e-6
    (13, True)
    """
    if (rtol is None) == (tol is None):
        raise NWidthError("hapod", got=f"rtol={rtol}, tol={tol}", expected="one of the two")
    target = float(tol if rtol is None else rtol)  # type: ignore[arg-type]
    if not target >= 0 or not 0 < omega < 1 or arity < 2:
        raise NWidthError(
            "hapod",
            got=f"tolerance {target}, omega={omega}, arity={arity}",
            expected="a tolerance >= 0, omega between 0 and 1, arity of 2 or more",
        )
    levels = _levels(len(leaves), arity) if isinstance(leaves, Sized) else None

    def budget(squared: float, count: int) -> float:
        return target**2 * (squared if tol is None else count)

    def share(level: int) -> float:
        return (1 - omega**2) * (2.0 ** -(level + 1) if levels is None else 1 / levels)

    held: list[list[PartialSVD]] = []  # by level
    product: InnerProduct | None = None
    for leaf in leaves:
        require_finite("hapod", leaf)
        if product is None:
            product = inner_product(weight, leaf.shape, leaf, "hapod")
        scaled, level = product.root(leaf), 0
        allowed = share(0) * budget(float(squared_norms(scaled)), leaf.shape[1])
        part = partial_svd(scaled, right, allowed)
        while True:
            if level == len(held):
                held.append([])
            held[level].append(part)
            if len(held[level]) < arity:
                break
            level += 1
            parts, held[level - 1] = held[level - 1], []
            part = merge(parts, share(level) * budget(sum(p.squared for p in parts), sum(p.count for p in parts)))
    if product is None:
        raise NWidthError("hapod", got="no leaves", expected="one or more blocks of columns")
    parts = [part for level_parts in reversed(held) for part in level_parts]
    allowed = budget(sum(p.squared for p in parts), sum(p.count for p in parts))
    root = merge(parts, max(allowed - sum(p.missed**2 for p in parts), 0.0))
    return replace(root, U=product.unroot(root.U)).signed()


def _levels(leaves: int, arity: int) -> int:
    """Levels on which parts are compressed before the root."""
    levels = 1
    while leaves >= arity:
        leaves //= arity
        levels += 1
    return levels
