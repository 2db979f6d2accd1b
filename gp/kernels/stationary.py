"""Kernels of the difference of their inputs that know their derivatives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from gpytorch.kernels import Kernel
from torch import Tensor, nn

from ...errors import NWidthError


class SmoothStationaryKernel(Kernel):
    """k(x, x') = kappa(x - x') on R^dims, with all the partial derivatives of kappa that exist.

    A subclass gives ``kappa(d, orders, axes)``: the derivative of these orders at differences d, a list of one tensor
    (..., *data) a dimension, of which the last ``axes`` axes run over data.
    """

    is_stationary = True

    def __init__(self, dims: int, batch_shape: Sequence[int] = (), active_dims: Sequence[int] | None = None):
        if dims < 1:
            raise NWidthError(type(self).__name__, got=f"dims={dims}", expected="1 or more")
        chosen = None if active_dims is None else tuple(active_dims)
        super().__init__(batch_shape=torch.Size(batch_shape), active_dims=chosen)
        self.dims = dims

    def kappa(self, d: list[Tensor], orders: Sequence[int], axes: int) -> Tensor:
        raise NotImplementedError

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, last_dim_is_batch: bool = False, **params) -> Tensor:
        if last_dim_is_batch:
            raise NWidthError(type(self).__name__, got="last_dim_is_batch", fix="give a batch of kernels instead")
        return self.derivative(x1, x2, (0,) * self.dims, diag=diag)

    def derivative(self, x1: Tensor, x2: Tensor, orders: Sequence[int], *, diag: bool = False) -> Tensor:
        """The derivative of kappa at x1_i - x2_j, (..., n, m), or at x1_i - x2_i, (..., n), where ``diag``."""
        if x1.shape[-1] != self.dims or x2.shape[-1] != self.dims or len(orders) != self.dims or min(orders) < 0:
            raise NWidthError(
                type(self).__name__,
                got=f"inputs {tuple(x1.shape)} and {tuple(x2.shape)}, orders {tuple(orders)}",
                expected=f"{self.dims} coordinates",
            )
        difference = x1 - x2 if diag else x1.unsqueeze(-2) - x2.unsqueeze(-3)
        return self.kappa(list(difference.unbind(-1)), orders, 1 if diag else 2)


class DimensionProduct(SmoothStationaryKernel):
    """k(x, x') = k_1(x_1 - x_1') ... k_d(x_d - x_d'), one-dimensional kernels, such as a mixture a dimension.

    On a tensor grid its covariance is a Kronecker product: ``GridGP(grid, product.kernels)``.

    >>> from nwidth.gp.kernels import SpectralMixture
    >>> k = DimensionProduct([SpectralMixture(3), SpectralMixture(2, envelope="matern52")])
    >>> k(torch.rand(5, 2)).to_dense().shape
    torch.Size([5, 5])
    """

    def __init__(self, kernels: Sequence[SmoothStationaryKernel], active_dims: Sequence[int] | None = None):
        if not kernels or any(not isinstance(k, SmoothStationaryKernel) or k.dims != 1 for k in kernels):
            raise NWidthError(
                "DimensionProduct",
                got=f"{[type(k).__name__ for k in kernels]}",
                expected="one-dimensional nwidth kernels",
            )
        super().__init__(len(kernels), (), active_dims)
        self.kernels = nn.ModuleList(kernels)

    def kappa(self, d: list[Tensor], orders: Sequence[int], axes: int) -> Tensor:
        out = torch.ones((), dtype=d[0].dtype, device=d[0].device)
        for k, x, n in zip(self.kernels, d, orders):
            assert isinstance(k, SmoothStationaryKernel)
            out = out * k.kappa([x], (n,), axes)
        return out
