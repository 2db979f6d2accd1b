"""The covariance of a kernel along one axis of a grid."""

from __future__ import annotations

import torch
from gpytorch.kernels import Kernel
from torch import Tensor

from ...backends import Axis
from ...errors import NWidthError


def cross_covariance(kernel: Kernel, a: Tensor, b: Tensor) -> Tensor:
    """k(a_i, b_j), shape (batch, len(a), len(b)), of coordinates on one axis, in double precision."""
    K = kernel(a.double()[:, None], b.double()[:, None]).to_dense()
    if K.shape[-2:] != (len(a), len(b)):
        raise NWidthError(
            f"a kernel on a grid: {type(kernel).__name__}",
            got=f"a covariance {tuple(K.shape)} for {len(a)} by {len(b)} coordinates",
            expected="one output a point",
        )
    return K.double()


def axis_covariance(kernel: Kernel, axis: Axis) -> Tensor:
    """k(x_i, x_j), shape (batch, n, n), at the points of an axis.

    A stationary kernel on equal steps is evaluated on one column only, k_|i-j|; that it is so is checked on the last
    column.

    >>> from gpytorch.kernels import RBFKernel
    >>> axis_covariance(RBFKernel(), Axis("nodal", 3, 0.0, 2.0)).shape
    torch.Size([3, 3])
    """
    parameter = next(kernel.parameters(), None)
    x = axis.coordinates().to(parameter.device if parameter is not None else "cpu")
    if axis.uniform and kernel.is_stationary and axis.n > 2:
        ends = cross_covariance(kernel, x, x[[0, -1]])
        first, last = ends[..., 0], ends[..., 1]
        with torch.no_grad():
            alike = torch.allclose(first, last.flip(-1), rtol=1e-6, atol=1e-9 * float(first.abs().max()))
        if alike:
            i = torch.arange(axis.n, device=x.device)
            return first[..., (i[:, None] - i).abs()]
    K = cross_covariance(kernel, x, x)
    return (K + K.mT) / 2
