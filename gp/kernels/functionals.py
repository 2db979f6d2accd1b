"""Covariances of linear differential functionals of a Gaussian process, in closed form."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from gpytorch.kernels import AdditiveKernel, Kernel, MaternKernel, ProductKernel, RBFKernel, ScaleKernel
from torch import Tensor

from ...errors import NWidthError
from .envelopes import envelope
from .stationary import SmoothStationaryKernel

Coefficient = float | Callable[[Tensor], Tensor]
Functional = Mapping[tuple[int, ...], Coefficient]  # {orders of the derivative: coefficient}


def value(dims: int) -> Functional:
    """u itself."""
    return {(0,) * dims: 1.0}


def laplacian(dims: int) -> Functional:
    """sum_p d^2 u / dx_p^2

    >>> laplacian(2)
    {(2, 0): 1.0, (0, 2): 1.0}
    """
    return {tuple(2 * (i == p) for i in range(dims)): 1.0 for p in range(dims)}


def kernel_derivative(kernel: Kernel, x1: Tensor, x2: Tensor, orders: Sequence[int], *, diag: bool = False) -> Tensor:
    """The partial derivative of kappa(d), k(x, x') = kappa(x - x'), at x1_i - x2_j: (..., n, m); ``diag``: (..., n).

    For the kernels of this package, gpytorch's RBFKernel, MaternKernel (of one dimension), and their ScaleKernel,
    AdditiveKernel and ProductKernel.
    """
    orders = tuple(orders)
    inner = getattr(kernel, "base_kernel", None)  # a ScaleKernel repeats the choice of the kernel that it scales
    if kernel.active_dims is not None and (inner is None or inner.active_dims is None):
        dims = [int(i) for i in kernel.active_dims]
        if any(n for i, n in enumerate(orders) if i not in dims):  # constant along the other coordinates
            shape = x1[..., 0] + x2[..., 0] if diag else x1[..., :, None, 0] + x2[..., None, :, 0]
            return torch.zeros_like(shape)
        x1, x2, orders = x1[..., dims], x2[..., dims], tuple(orders[i] for i in dims)
    if isinstance(kernel, SmoothStationaryKernel):
        return kernel.derivative(x1, x2, orders, diag=diag)
    if isinstance(kernel, ScaleKernel):
        unscaled = kernel_derivative(kernel.base_kernel, x1, x2, orders, diag=diag)
        scale = kernel.outputscale
        return scale.reshape(*scale.shape, *(1,) * (1 if diag else 2)) * unscaled
    if isinstance(kernel, AdditiveKernel):
        return sum((kernel_derivative(k, x1, x2, orders, diag=diag) for k in kernel.kernels), torch.zeros(()).to(x1))
    if isinstance(kernel, ProductKernel):
        first, *rest = kernel.kernels
        if not rest:
            return kernel_derivative(first, x1, x2, orders, diag=diag)
        total = torch.zeros((), dtype=x1.dtype, device=x1.device)
        for part in itertools.product(*(range(n + 1) for n in orders)):  # Leibniz
            count = math.prod(math.comb(n, j) for n, j in zip(orders, part))
            left = kernel_derivative(first, x1, x2, part, diag=diag)
            other = tuple(n - j for n, j in zip(orders, part))
            total = total + count * left * kernel_derivative(ProductKernel(*rest), x1, x2, other, diag=diag)
        return total
    if type(kernel) is RBFKernel or (type(kernel) is MaternKernel and x1.shape[-1] == 1):
        difference = x1 - x2 if diag else x1.unsqueeze(-2) - x2.unsqueeze(-3)
        name = "gaussian" if type(kernel) is RBFKernel else f"matern{round(2 * kernel.nu)}2"
        length = kernel.lengthscale.squeeze(-2).expand(*kernel.batch_shape, len(orders))
        total = torch.ones((), dtype=x1.dtype, device=x1.device)
        for p, n in enumerate(orders):
            rate = 1 / length[..., p].reshape(*kernel.batch_shape, *(1,) * (1 if diag else 2))
            total = total * rate**n * envelope(name, rate * difference[..., p], n)
        return total
    raise NWidthError(
        "kernel_derivative",
        got=f"{type(kernel).__name__} of {x1.shape[-1]} dimensions",
        expected="a kernel of nwidth, RBFKernel, MaternKernel of one dimension, or their scales, sums and products",
        fix="use DimensionProduct of one-dimensional kernels",
    )


def functional_covariance(
    kernel: Kernel, x1: Tensor, first: Functional, x2: Tensor, second: Functional, *, diag: bool = False
) -> Tensor:
    """Cov(L1 u(x1_i), L2 u(x2_j)) = sum_ab c_a(x1_i) c_b(x2_j) (-1)^|b| kappa^(a+b)(x1_i - x2_j), u ~ GP(0, k).

    A functional is {orders: coefficient}, coefficients numbers or functions of points (n, dims): u_xx + u_yy is
    {(2, 0): 1, (0, 2): 1}, u_t + x u_x is {(1, 0): 1, (0, 1): lambda p: p[:, 1]}. Each different derivative of the
    kernel is computed once. Shape (..., n, m), or (..., n) where ``diag``.

    >>> from gpytorch.kernels import RBFKernel
    >>> x = torch.zeros(1, 1)
    >>> k = RBFKernel(); k.lengthscale = 1.0
    >>> round(functional_covariance(k, x, {(1,): 2.0}, x, {(1,): 1.0}).item(), 6)  # -2 k''(0)
    2.0
    """
    dims = x1.shape[-1]
    for f in (first, second):
        if not f or any(len(a) != dims or min(a) < 0 for a in f):
            raise NWidthError(
                "functional_covariance", got=f"a functional {list(f)}", expected=f"{dims} orders >= 0 in each term"
            )
    sums: dict[tuple[int, ...], Tensor] = {}
    for (a, c1), (b, c2) in itertools.product(first.items(), second.items()):
        left, right = _coefficient(c1, x1), _coefficient(c2, x2)
        weight = left * right if diag else left.unsqueeze(-1) * right.unsqueeze(-2)
        orders = tuple(i + j for i, j in zip(a, b))
        weight = (-1) ** sum(b) * weight
        sums[orders] = sums[orders] + weight if orders in sums else weight
    terms = [w * kernel_derivative(kernel, x1, x2, orders, diag=diag) for orders, w in sums.items()]
    return sum(terms[1:], terms[0])


def _coefficient(c: Coefficient, x: Tensor) -> Tensor:
    return c(x) if callable(c) else torch.full(x.shape[:-1], float(c), dtype=x.dtype, device=x.device)


class FunctionalKernel(Kernel):
    """Covariance of observations of different functionals of one process: inputs are (x_1, .., x_d, i), with i the
    number of the functional that was observed at x.

    With the values of u and of L u in one data set, gpytorch's ExactGP solves the linear equation L u = f.

    >>> from gpytorch.kernels import RBFKernel
    >>> k = FunctionalKernel(RBFKernel(), [value(1), {(1,): 1.0}])
    >>> k(torch.tensor([[0.0, 0.0], [0.0, 1.0]])).to_dense().detach().diagonal().mul(1000).round().tolist()
    [1000.0, 2081.0]
    """

    def __init__(self, base_kernel: Kernel, functionals: Sequence[Functional]):
        super().__init__()
        self.base_kernel = base_kernel
        self.functionals = list(functionals)

    def _numbers(self, x: Tensor) -> Tensor:
        which = x[..., -1]
        if which.ndim != 1 or not bool(
            ((which == which.round()) & (which >= 0) & (which < len(self.functionals))).all()
        ):
            raise NWidthError(
                "FunctionalKernel",
                got=f"inputs {tuple(x.shape)} whose last column does not number functionals",
                expected=f"(n, dims + 1) with 0 .. {len(self.functionals) - 1} in the last column",
            )
        return which.long()

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, last_dim_is_batch: bool = False, **params) -> Tensor:
        i1, i2 = self._numbers(x1), self._numbers(x2)
        x1, x2 = x1[:, :-1], x2[:, :-1]
        out: Tensor | None = None
        for (a, f), (b, g) in itertools.product(enumerate(self.functionals), repeat=2):
            if diag:
                both = ((i1 == a) & (i2 == b)).nonzero()[:, 0]
                block = functional_covariance(self.base_kernel, x1[both], f, x2[both], g, diag=True)
                out = block.new_zeros(*block.shape[:-1], len(x1)) if out is None else out
                out = out.index_add(-1, both, block)
                continue
            rows, cols = (i1 == a).nonzero()[:, 0], (i2 == b).nonzero()[:, 0]
            block = functional_covariance(self.base_kernel, x1[rows], f, x2[cols], g)
            out = block.new_zeros(*block.shape[:-2], len(x1), len(x2)) if out is None else out
            wide = block.new_zeros(*block.shape[:-1], len(x2)).index_add(-1, cols, block)
            out = out.index_add(-2, rows, wide)
        assert out is not None
        return out
