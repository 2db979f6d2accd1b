"""Nearest-neighbour operators on a grid, one for each sample of a batch, as arrays of coefficients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from scipy.sparse import csc_matrix

Offset = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Stencil:
    """(A u)(p) = sum_o coefficients[o](p) u(p + o), offsets o in {-1, 0, 1}^d.

    Coefficients and values have the shape (*space, N): samples last, so that strided parts of the grid (the
    colours of a smoother, the points of a coarse grid) are runs of contiguous numbers. Values beyond an axis's
    ends count as zero, or continue at the other end where ``periodic`` says so.

    >>> one = torch.ones(4, 1)
    >>> second = Stencil({(0,): 2 * one, (1,): -one, (-1,): -one}, (False,))
    >>> second.apply(torch.tensor([[0.0], [1.0], [4.0], [9.0]])).flatten().tolist()
    [-1.0, -2.0, -2.0, 14.0]
    """

    coefficients: Mapping[Offset, Tensor]
    periodic: tuple[bool, ...]

    @classmethod
    def from_couplings(cls, couplings: Sequence[Tensor], periodic: Sequence[bool]) -> Stencil:
        """(A u)(p) = sum over neighbours q of c_pq (u_p - u_q), zero beyond the ends of axes that are not periodic.

        ``couplings[i]`` holds the c of the faces across axis i, (.., n_i + 1, .., N): entry j lies between the points
        j - 1 and j; the first and the last are those to what lies beyond the ends, on a periodic axis one and the same.
        """
        d = len(couplings)
        coefficients: dict[Offset, Tensor] = {}
        diagonal: Tensor | float = 0.0
        for i, c in enumerate(couplings):
            n = c.shape[i] - 1
            for offset, first, edge in ((-1, 0, 0), (1, 1, n - 1)):
                part = c.narrow(i, first, n)
                diagonal = diagonal + part
                if not periodic[i]:
                    part = part.clone()
                    part.narrow(i, edge, 1).zero_()
                coefficients[tuple(offset * (j == i) for j in range(d))] = -part
        assert isinstance(diagonal, Tensor)
        return cls({**coefficients, (0,) * d: diagonal}, tuple(periodic))

    @property
    def ndim(self) -> int:
        return len(self.periodic)

    @cached_property
    def diagonal(self) -> Tensor:
        return self.coefficients[(0,) * self.ndim]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.diagonal.shape[:-1])

    @property
    def samples(self) -> int:
        return self.diagonal.shape[-1]

    def pad(self, u: Tensor) -> Tensor:
        """u with one more layer on every side: zeros, or the values of the other end."""
        padded = u.new_zeros(*(n + 2 for n in self.shape), u.shape[-1])
        padded[tuple(slice(1, n + 1) for n in self.shape)] = u
        self.wrap(padded)
        return padded

    def wrap(self, padded: Tensor) -> None:
        """Refresh the outer layers of periodic axes, in place."""
        for i, n in enumerate(self.shape):
            if self.periodic[i]:
                padded.select(i, 0).copy_(padded.select(i, n))
                padded.select(i, n + 1).copy_(padded.select(i, 1))

    def window(self, offset: Offset, start: Offset | None = None, stride: int = 1) -> tuple[slice, ...]:
        """The part of a padded array with u(p + offset) for p = start, start + stride, ..."""
        first = start or (0,) * self.ndim
        return tuple(slice(1 + s + o, 1 + n + o, stride) for s, o, n in zip(first, offset, self.shape))

    def apply(self, u: Tensor) -> Tensor:
        """A u, (*space, N)."""
        padded = self.pad(u)
        out = self.diagonal * u
        for offset, c in self.coefficients.items():
            if any(offset):
                out.addcmul_(c, padded[self.window(offset)])
        return out

    def matrix(self, sample: int) -> csc_matrix:
        """A of one sample as a sparse matrix, float64."""
        import numpy as np
        from scipy.sparse import coo_matrix

        points = np.arange(self.diagonal[..., 0].numel()).reshape(self.shape)
        rows, columns, values = [], [], []
        for offset, c in self.coefficients.items():
            row, column = points, points
            value = c[..., sample].detach().cpu().double().numpy()
            for i, o in enumerate(offset):
                if o and self.periodic[i]:
                    column = np.roll(column, -o, i)
                elif o:
                    inner = slice(0, -1) if o > 0 else slice(1, None)
                    outer = slice(1, None) if o > 0 else slice(0, -1)
                    here = (slice(None),) * i
                    row, value, column = row[(*here, inner)], value[(*here, inner)], column[(*here, outer)]
            rows.append(row.ravel())
            columns.append(column.ravel())
            values.append(value.ravel())
        n = points.size
        parts = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        return coo_matrix(parts, shape=(n, n)).tocsc()


def samples_last(u: Tensor) -> Tensor:
    """(N, 1, *space) as (*space, N), contiguous."""
    return u[:, 0].movedim(0, -1).contiguous()


def samples_first(u: Tensor) -> Tensor:
    """(*space, N) as (N, 1, *space); a view."""
    return u.movedim(-1, 0)[:, None]


def shifted(x: Tensor, offset: Sequence[int], dims: Sequence[int], periodic: Sequence[bool]) -> Tensor:
    """y(p) = x(p + offset) along the named dimensions; zero, or the other end's value, beyond the ends."""
    for o, dim, wraps in zip(offset, dims, periodic):
        if o and wraps:
            x = x.roll(-o, dim)
        elif o:
            n, edge = x.shape[dim], torch.zeros_like(x.narrow(dim, 0, 1))
            parts = [x.narrow(dim, 1, n - 1), edge] if o > 0 else [edge, x.narrow(dim, 0, n - 1)]
            x = torch.cat(parts, dim)
    return x
