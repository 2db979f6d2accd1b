"""Symmetries that a data set might have: maps of the grid onto itself that may take solutions to solutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..backends import Grid
from .dataset import Dataset


@dataclass(frozen=True)
class Symmetry:
    """A map of fields applied to a, u0 and u alike; parameters stay."""

    name: str
    move: Callable[[Tensor], Tensor]

    def __call__(self, data: Dataset) -> Dataset:
        """The mapped samples, loaded."""
        loaded = data.load()
        moved: dict[str, Any] = {k: self.move(v) for k in ("u", "a", "u0") if (v := getattr(loaded, k)) is not None}
        return replace(loaded, splits={}, **moved)


@dataclass(frozen=True)
class Image:
    """A product of symmetries, applied in order; each is its own inverse."""

    factors: tuple[Symmetry, ...] = ()

    def __call__(self, data: Dataset) -> Dataset:
        """The mapped samples, loaded."""
        for symmetry in self.factors:
            data = symmetry(data)
        return data

    def undo(self, u: Tensor) -> Tensor:
        """The field whose image is u."""
        for symmetry in reversed(self.factors):
            u = symmetry.move(u)
        return u


def images(symmetries: Sequence[Symmetry]) -> list[Image]:
    """All 2^k products of some of k symmetries; the identity is the first.

    >>> d = Dataset(Grid.make((4, 4), "cell"), u=torch.rand(1, 1, 4, 4))
    >>> [len(image.factors) for image in images(candidates(d)[:2])]
    [0, 1, 1, 2]
    >>> all(torch.equal(image.undo(image(d).u), d.u) for image in images(candidates(d)))
    True
    """
    found = [Image()]
    for symmetry in symmetries:
        found += [Image((*image.factors, symmetry)) for image in found]
    return found


def candidates(data: Dataset) -> list[Symmetry]:
    """Exchange of equal axes, reflection of each axis, shift by half a period, as far as the grid allows them.

    Files often leave out the last point of a domain: points j/n of [0, 1]. On nodal axes a reflection with an open end
    is that of the whole domain, lo to hi + spacing; the point that is not stored takes the values at lo, which is exact
    where both ends have the same boundary value.

    A candidate is a hypothesis about the equation: keep it only where validation says so. Vector fields, whose
    components would move along, and meshes have none.

    >>> d = Dataset(Grid.make((8, 8), "cell"), u=torch.rand(2, 1, 8, 8), a=torch.rand(2, 1, 8, 8))
    >>> [s.name for s in candidates(d)]
    ['exchange x and y', 'reflect x', 'reflect y']
    """
    grid = data.grid
    if not isinstance(grid, Grid) or any(len(data.channels(k)) > 1 for k in ("u", "a", "u0")):
        return []
    found = []
    axes, d = grid.axes, grid.ndim
    for i in range(d):
        for j in range(i + 1, d):
            if replace(axes[i], name="x") == replace(axes[j], name="x"):
                exchange = partial(_exchange, i=i - d, j=j - d)
                found.append(Symmetry(f"exchange {axes[i].name} and {axes[j].name}", exchange))
    for i, axis in enumerate(axes):
        x = axis.coordinates()
        if axis.kind == "periodic":
            found.append(Symmetry(f"reflect {axis.name}", partial(_reflect, dim=i - d, shift=1)))
            flipped = partial(_reflect, dim=i - d, shift=1, sign=-1.0)
            found.append(Symmetry(f"reflect {axis.name} and change sign", flipped))
            if axis.n % 2 == 0:
                half = partial(torch.roll, shifts=axis.n // 2, dims=i - d)
                found.append(Symmetry(f"shift {axis.name} by half", half))
        elif torch.allclose(x + x.flip(0), (x[0] + x[-1]).expand_as(x), atol=1e-9 * axis.length):
            found.append(Symmetry(f"reflect {axis.name}", partial(_reflect, dim=i - d)))
            if axis.kind == "nodal" and axis.n > 2:
                found.append(Symmetry(f"reflect {axis.name} with an open end", partial(_reflect, dim=i - d, shift=1)))
    return found


def _exchange(u: Tensor, i: int, j: int) -> Tensor:
    return u.transpose(i, j).contiguous()


def _reflect(u: Tensor, dim: int, shift: int = 0, sign: float = 1.0) -> Tensor:
    """u(-x); on a periodic axis, or one with an open end, the point 0 stays in place (``shift`` 1)."""
    u = u.flip(dim)
    return sign * (torch.roll(u, shift, dim) if shift else u)
