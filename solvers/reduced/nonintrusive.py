"""Non-intrusive reduced bases: operators separated by samples of themselves, from access to a solver alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .interpolation import EmpiricalInterpolation, default_points

Sampler = Callable[[Any, Tensor | None], Tensor]


class SeparatedOperator:
    """A(mu) ~ A_0 + sum_m lambda_m(mu) (A(mu_m) - A_0), the sum over a few of the training parameters:

        I_d g(mu, .) = sum_m lambda_m(mu) g(mu_m, .),   lambda(mu) = F^(-1) g(mu, x_.),   F_lm = g(mu_m, x_l),

    with the points x_l and parameters mu_m of EIM. Since A(mu) - A_0 is linear in g(mu, .), the same lambda separates
    it, and everything that is linear in it: A(mu) V, or its projection. No A_q is ever formed, and nothing but
    solutions of the full code with mu_m, or its products with vectors, is needed. Casenave, Ern and Lelievre (2014),
    A nonintrusive reduced basis method applied to aeroacoustic simulations, arXiv:1401.3684;
    with Sylvand (2013), arXiv:1307.4330.

    sample : (parameters, points or None) -> g (N, points): the kernel g(mu, x) at some points or at all of a training
        set of x; where the kernel is unknown, entries of A(mu), or of A(mu) w for a fixed vector w. Parameters are
        whatever has a length and takes lists of indices: tensors (N, P), data sets.
    parameters : the training set.
    rank, rtol : terms to keep, or the largest relative residual of g at which to stop.
    oversampling : points a term. 1 interpolates; more fit lambda by least squares.

    ``parameters`` are then the mu_m, ``errors`` the residuals of the greedy search, max over the training set.

    >>> n = 50
    >>> x = torch.linspace(0, 1, n, dtype=torch.float64)
    >>> r = (x[:, None] - x).abs()
    >>> matrix = lambda mu: torch.eye(n) + torch.exp(-mu * r)
    >>> def kernel(mu, points):
    ...     return torch.exp(-mu * (r.flatten() if points is None else r.flatten()[points]))
    >>> separated = SeparatedOperator(kernel, torch.linspace(0, 3, 30, dtype=torch.float64)[:, None], rank=8)
    >>> terms = torch.stack([matrix(m) for m in separated.parameters[:, 0]])
    >>> A = separated.combine(torch.tensor([[1.234]], dtype=torch.float64), terms, fixed=torch.eye(n).double())[0]
    >>> bool((A - matrix(1.234)).abs().max() < 1e-8)
    True
    """

    def __init__(
        self,
        sample: Sampler,
        parameters: Any,
        *,
        rank: int | None = None,
        rtol: float | None = None,
        oversampling: float = 1.0,
    ):
        self.sample = sample
        self.interpolation = _oversample(
            EmpiricalInterpolation.eim(sample(parameters, None), rank=rank, rtol=rtol), oversampling
        )
        assert self.interpolation.selected is not None
        self.selected: list[int] = self.interpolation.selected.tolist()
        self.parameters = parameters[self.selected]

    @property
    def rank(self) -> int:
        """The number of terms d."""
        return self.interpolation.rank

    @property
    def errors(self) -> Tensor:
        """The largest residual of g over the training set before each step and at the end, (d + 1,)."""
        assert self.interpolation.errors is not None
        return self.interpolation.errors

    def weights(self, parameters: Any) -> Tensor:
        """lambda (N, d): g is evaluated at the points alone."""
        return self.interpolation.weights(self.sample(parameters, self.interpolation.points))

    def combine(self, parameters: Any, terms: Tensor, fixed: Tensor | None = None) -> Tensor:
        """F_0 + sum_m lambda_m (F(mu_m) - F_0), (N, ...), for terms F(mu_m) (d, ...) of anything that depends linearly
        on A(mu), and its value F_0 (...) for A_0; without it A_0 = 0."""
        return combine(self.weights(parameters), terms, fixed)

    def bound(self, parameters: Any, sensitivity: float | Tensor = 1.0) -> Tensor:
        """sup_x |g - I_d g| times ``sensitivity``, (N,): bounds |A(mu) - A_d(mu)| in a norm in which A(mu) - A_0
        changes by at most that times the change of g in the maximum norm; evaluates g at all points."""
        g = self.sample(parameters, None)
        return (g - self.interpolation(g)).abs().amax(-1) * sensitivity


def combine(weights: Tensor, terms: Tensor, fixed: Tensor | None = None) -> Tensor:
    """fixed + sum_m weights_m (terms_m - fixed), (N, ...)."""
    dtype = torch.promote_types(weights.dtype, terms.dtype)
    out = torch.tensordot(weights.to(dtype), terms.to(dtype), dims=1)
    if fixed is None:
        return out
    rest = 1 - weights.sum(-1)
    return out + rest.view(-1, *(1,) * fixed.ndim) * fixed


class NonintrusiveModel:
    """V* A(mu) V c = V* b by ``SeparatedOperator``, and u ~ V c: for many parameters at once, without the full code.

    basis : V (n, r), orthonormal columns, for instance of solutions at some parameters (``backends.svd``).
    product : (mu_m, V) -> A(mu_m) V (n, r): by the matrix, or by one product with each column.
    fixed : A_0 V (n, r).

    Offline the products V* A(mu_m) V; online, for N parameters, a sum of d matrices and one solve of r unknowns each.
    """

    def __init__(
        self,
        separated: SeparatedOperator,
        basis: Tensor,
        product: Callable[[Any, Tensor], Tensor],
        fixed: Tensor | None = None,
    ):
        self.separated, self.basis = separated, basis
        self.terms = torch.stack([basis.mH @ product(separated.parameters[[m]], basis) for m in range(separated.rank)])
        self.fixed = None if fixed is None else basis.mH @ fixed

    def solve(self, parameters: Any, load: Tensor) -> Tensor:
        """c (N, r) for the load b (n,), or one for each parameter (N, n)."""
        matrix = self.separated.combine(parameters, self.terms, self.fixed)
        right = load.to(matrix.dtype) @ self.basis.conj().to(matrix.dtype)
        return torch.linalg.solve(matrix, right.expand(len(matrix), -1))

    def extend(self, c: Tensor) -> Tensor:
        """u (N, n)."""
        return c @ self.basis.mT.to(c.dtype)


def _oversample(found: EmpiricalInterpolation, oversampling: float) -> EmpiricalInterpolation:
    m = default_points(found.rank, oversampling, found.basis.shape[-1])
    return found if m == found.rank else found.oversampled(m)
