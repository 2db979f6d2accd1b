"""Toeplitz and circulant matrices as linear operators: products by transforms of the backends."""

from __future__ import annotations

from functools import lru_cache

import torch
from linear_operator.operators import LinearOperator
from torch import Tensor

from ...backends.transforms import Fourier


@lru_cache(maxsize=256)
def odd_length(n: int) -> int:
    """The least odd number >= n without prime factors above 7: a transform of odd length has no Nyquist mode.

    >>> odd_length(17), odd_length(200)
    (21, 225)
    """
    m = n + 1 - n % 2
    while True:
        rest = m
        for p in (3, 5, 7):
            while rest % p == 0:
                rest //= p
        if rest == 1:
            return m
        m += 2


def cyclic_convolve(c: Tensor, x: Tensor) -> Tensor:
    """z_i = sum_j c_{i-j mod n} x_j along the last axis, n odd for real data."""
    n = x.shape[-1]
    line = Fourier(1)
    spectrum = line.forward(c, method="full") * line.forward(x, method="full") * n
    return line.inverse(spectrum, (n,), method="full")


class Toeplitz(LinearOperator):
    """T_ij = c_|i-j|, symmetric, from its first column c (..., n); T x costs n log n by a circulant of odd length.

    The covariance of a stationary kernel on an axis of equal steps.

    >>> T = Toeplitz(torch.tensor([2.0, 1.0, 0.5]))
    >>> (T @ torch.tensor([1.0, 0.0, 1.0])).round(decimals=4).tolist()
    [2.5, 2.0, 2.5]
    """

    def __init__(self, column: Tensor):
        super().__init__(column)
        self.column = column

    def _matmul(self, rhs: Tensor) -> Tensor:
        x = rhs[:, None] if rhs.ndim == 1 else rhs
        n = self.column.shape[-1]
        extra = odd_length(2 * n - 1) - (2 * n - 1)
        c = torch.cat(
            [self.column, self.column.new_zeros(*self.column.shape[:-1], extra), self.column[..., 1:].flip(-1)], -1
        )
        padded = torch.nn.functional.pad(x.mT, (0, n - 1 + extra))
        y = cyclic_convolve(c.unsqueeze(-2), padded)[..., :n].mT
        return y[:, 0] if rhs.ndim == 1 else y

    def _size(self) -> torch.Size:
        return torch.Size((*self.column.shape, self.column.shape[-1]))

    def _transpose_nonbatch(self) -> LinearOperator:
        return self

    def _diagonal(self) -> Tensor:
        return self.column[..., :1].expand(self.column.shape)

    def _expand_batch(self, batch_shape) -> LinearOperator:
        return type(self)(self.column.expand(*batch_shape, self.column.shape[-1]))

    def _get_indices(self, row_index, col_index, *batch_indices) -> Tensor:
        return self.column[(*batch_indices, (row_index - col_index).abs())]

    def to_dense(self) -> Tensor:
        n = self.column.shape[-1]
        i = torch.arange(n, device=self.column.device)
        return self.column[..., (i[:, None] - i).abs()]
