"""Kernel matrices by name, their factors with reported jitter, and the checks that samples pass first."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import NWidthError

ROOT3, ROOT5 = 3**0.5, 5**0.5

KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "rbf": lambda r: torch.exp(-0.5 * r.square()),
    "matern12": lambda r: torch.exp(-r),
    "matern32": lambda r: (1 + ROOT3 * r) * torch.exp(-ROOT3 * r),
    "matern52": lambda r: _matern52(ROOT5 * r),
    "rational_quadratic": lambda r: 1 / (1 + 0.5 * r.square()),
}
"""phi(r) of the scaled distance r; ``linear``, x . x', is the one kernel beside them."""


def _matern52(s: Tensor) -> Tensor:
    return s.square().div_(3).add_(s).add_(1) * torch.exp(-s)


def check_kernel(call: str, kernel: str) -> None:
    if kernel not in (*KERNELS, "linear"):
        raise NWidthError(call, got=f"kernel {kernel!r}", expected="one of " + ", ".join((*KERNELS, "linear")))


def gram(kernel: str, a: Tensor, b: Tensor) -> Tensor:
    """k(a_i, b_j) of scaled inputs (n, p) and (m, p).

    >>> gram("linear", torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])).item()
    11.0
    """
    return a @ b.mT if kernel == "linear" else KERNELS[kernel](torch.cdist(a, b))


def gram_diagonal(kernel: str, a: Tensor) -> Tensor:
    """k(a_i, a_i)."""
    return a.square().sum(1) if kernel == "linear" else torch.ones_like(a[:, 0])


def cholesky(K: Tensor) -> tuple[Tensor, float]:
    """L with L L' = K + jitter I, and the jitter: 0 where K is positive definite to round-off.

    Otherwise the smallest of 1e-15, 1e-14, .. 1e-6 times the largest diagonal entry that makes it so. K (..., n, n)
    is one batch with one jitter. Whoever calls adds the jitter to the noise that is reported.

    >>> L, jitter = cholesky(torch.ones(3, 3, dtype=torch.float64))
    >>> 0 < jitter < 1e-13
    True
    """
    L, info = torch.linalg.cholesky_ex(K)
    # what is not finite in the triangle that is read reaches the diagonal of L
    if not int(info.abs().max()) and bool(torch.isfinite(L.diagonal(dim1=-2, dim2=-1)).all()):
        return L, 0.0
    if not bool(torch.isfinite(K).all()):
        raise NWidthError(
            "covariance",
            got="NaN or infinite entries",
            expected="finite inputs and hyper-parameters",
            fix="check the data, or raise the noise's lower bound",
        )
    largest = float(K.diagonal(dim1=-2, dim2=-1).max())
    for power in range(-15, -5):
        jitter = 10.0**power * largest
        shifted = K.clone()
        shifted.diagonal(dim1=-2, dim2=-1).add_(jitter)
        L, info = torch.linalg.cholesky_ex(shifted)
        if not int(info.abs().max()):
            return L, jitter
    raise NWidthError(
        "covariance",
        got="a matrix that is not positive semidefinite, even with a jitter of 1e-6",
        expected="a kernel matrix",
        fix="remove repeated samples, or raise the noise's lower bound",
    )


def check_samples(call: str, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """x (N, p) and y (N, r) in double precision; an error where they are no samples.

    Kernel matrices lose their small eigenvalues, and with them small variances, in single precision.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < 2:
        raise NWidthError(call, got=f"x {tuple(x.shape)}, y {tuple(y.shape)}", expected="(N, p) and (N, r), N >= 2")
    if x.is_complex() or y.is_complex():
        raise NWidthError(call, got="complex samples", expected="real ones", fix="give real and imaginary parts")
    if not (x.is_floating_point() and y.is_floating_point()):
        raise NWidthError(call, got=f"x of {x.dtype}, y of {y.dtype}", expected="floating-point numbers")
    for name, value in (("x", x), ("y", y)):
        bad = (~torch.isfinite(value)).any(1)
        if bool(bad.any()):
            raise NWidthError(
                call,
                got=f"NaN or infinity in {name} of {int(bad.sum())} of {len(x)} samples, first {int(bad.nonzero()[0])}",
                expected="finite values",
                fix="remove these samples",
            )
    return x.double(), y.double()


def check_inputs(call: str, x: Tensor, p: int) -> Tensor:
    """Inputs (n, p) to predict at, in double precision; an error where they are none."""
    if x.ndim != 2 or x.shape[1] != p or not x.is_floating_point():
        raise NWidthError(call, got=f"x {tuple(x.shape)} of {x.dtype}", expected=f"floating-point numbers (n, {p})")
    if not bool(torch.isfinite(x).all()):
        bad = (~torch.isfinite(x)).any(1).nonzero()[:, 0]
        raise NWidthError(
            call, got=f"NaN or infinity in {len(bad)} of {len(x)} inputs, first {int(bad[0])}", expected="finite inputs"
        )
    return x.double()
