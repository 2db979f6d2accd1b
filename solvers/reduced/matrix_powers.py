"""Functions of affine matrices, such as inverse and log-determinant, from their values at a few parameters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from ...errors import NWidthError
from .interpolation import EmpiricalInterpolation

FUNCTIONS = ("inverse", "log_determinant")


class PowerInterpolation:
    """L(A_mu) ~ sum_m beta_m(mu) L(A_{mu_m}) for A_mu = A_c + sum_q z_q(mu) B_q, |z_q| <= 1, and any L that is a limit
    of powers of A_mu, with one beta for all of them.

    A^k = sum_{|a|=k} z^a P_a with products P_a of the matrices: whatever is linear in the powers is linear in the
    monomials z^a. EIM on g(mu, a) = w^|a| z^a, |a| <= K, finds parameters mu_m and monomials such that
    I_d g(mu, .) = sum_m beta_m(mu) g(mu_m, .), hence the same beta for A^k, k <= K, and for L.

    theta : training parameters (N, Q); z = (theta - centre) / radius, by default over their ranges.
    degree, weight : K and w. The weight says how fast the terms of L fall, like w^|a|.
    rank, rtol : as in ``EmpiricalInterpolation.eim``.

    ``parameters`` (d, Q) are the mu_m, at which L is to be computed.

    >>> axis = torch.linspace(0, 1, 15, dtype=torch.float64)
    >>> powers = PowerInterpolation(torch.cartesian_prod(axis, axis), degree=12, rank=28)
    >>> A, B, C = torch.eye(4).double() * 3, torch.ones(4, 4).double() / 4, torch.diag(torch.arange(4).double() / 3)
    >>> matrix = lambda t: A + t[:, 0, None, None] * B + t[:, 1, None, None] * C
    >>> new = torch.tensor([[0.3, 0.7]]).double()
    >>> approx = powers.combine(new, torch.linalg.inv(matrix(powers.parameters)))
    >>> bool((approx - torch.linalg.inv(matrix(new))).abs().max() < 1e-5)
    True
    """

    def __init__(
        self,
        theta: Tensor,
        *,
        degree: int = 25,
        weight: float = 0.5,
        rank: int | None = None,
        rtol: float | None = None,
        centre: Tensor | None = None,
        radius: Tensor | None = None,
    ):
        if theta.ndim != 2 or degree < 1 or not 0 < weight < 1:
            raise NWidthError(
                "PowerInterpolation",
                got=f"theta {tuple(theta.shape)}, degree={degree}, weight={weight}",
                expected="theta (N, Q), degree >= 1, 0 < weight < 1",
            )
        lo, hi = theta.amin(0), theta.amax(0)
        self.centre = (lo + hi) / 2 if centre is None else centre
        self.radius = torch.where(hi > lo, (hi - lo) / 2, torch.ones_like(hi)) if radius is None else radius
        self.degree, self.weight = degree, weight
        self.exponents = _exponents(theta.shape[1], degree).to(theta.device)
        self.interpolation = EmpiricalInterpolation.eim(self.monomials(theta), rank=rank, rtol=rtol)
        assert self.interpolation.selected is not None
        self.parameters = theta[self.interpolation.selected]

    @property
    def rank(self) -> int:
        return self.interpolation.rank

    def monomials(self, theta: Tensor) -> Tensor:
        """g(mu, a) = prod_q (w z_q)^a_q, (N, monomials)."""
        z = self.weight * (theta - self.centre) / self.radius
        powers = torch.stack([z**k for k in range(self.degree + 1)], -1)  # (N, Q, K + 1)
        out = torch.ones(len(theta), len(self.exponents), dtype=theta.dtype, device=theta.device)
        for q, a in enumerate(self.exponents.T):
            out = out * powers[:, q, a]
        return out

    def weights(self, theta: Tensor) -> Tensor:
        """beta (N, d)."""
        return self.interpolation.weights(self.interpolation.at(self.monomials(theta)))

    def combine(self, theta: Tensor, values: Tensor) -> Tensor:
        """sum_m beta_m(mu) L_m, (N, ...), for L_m = L(A_{mu_m}) (d, ...)."""
        return torch.tensordot(self.weights(theta), values, dims=1)

    def bound(self, theta: Tensor, sizes: Sequence[float] | Tensor, function: str, *, traces: int = 1) -> Tensor:
        """An upper bound of the error for symmetric A_mu with A_c positive definite, (N,), from s_q >= |X_q|_2,
        X_q = A_c^(-1/2) B_q A_c^(-1/2) (``sizes``, the largest generalised eigenvalues), whose sum must be below 1.

        ``inverse`` : of |A_c^(1/2) (A_mu^(-1) - sum_m beta_m A_{mu_m}^(-1)) A_c^(1/2)|_2;
        ``log_determinant`` : of the absolute error, with ``traces`` the size of the matrices.

        (I + X)^(-1) = sum_k (-X)^k and log det (I + X) = sum_k (-1)^(k+1) tr X^k / k with X = sum_q z_q X_q: the
        coefficient of z^a has at most the size k!/a! prod_q s_q^a_q, k = |a| (times n/k for the logarithm), so the
        error is at most the sum of these times |z^a - sum_m beta_m z_m^a|, and a geometric series beyond K.
        """
        if function not in FUNCTIONS:
            raise NWidthError(
                "PowerInterpolation.bound", got=f"function={function!r}", expected="one of " + ", ".join(FUNCTIONS)
            )
        s = torch.as_tensor(sizes, dtype=theta.dtype, device=theta.device)
        rho = float(s.sum())
        if s.shape != self.radius.shape or not rho < 1 or bool((s < 0).any()):
            raise NWidthError(
                "PowerInterpolation.bound",
                got=f"sizes {s.tolist()}",
                expected=f"{len(self.radius)} of them, whose sum is below 1",
                fix="take smaller ranges of the parameters",
            )
        k = self.exponents.sum(1)
        size = self._multinomials * (s ** self.exponents.to(s)).prod(1)
        beta = self.weights(theta)
        miss = self.monomials(theta) - beta @ self.monomials(self.parameters)
        miss = miss.abs() / self.weight ** k.to(s)
        tail = rho ** (self.degree + 1) / (1 - rho)
        if function == "log_determinant":
            # the constant term, log det A_c, is exact: a = 0, where |g| is largest, is the first point of EIM
            size = torch.where(k > 0, traces * size / k.clamp_min(1), torch.zeros_like(size))
            tail = tail * traces / (self.degree + 1)
        return miss @ size + (1 + beta.abs().sum(1)) * tail

    @cached_property
    def _multinomials(self) -> Tensor:
        """k! / prod_q a_q! for every exponent."""
        a = self.exponents.double()
        return torch.exp(torch.lgamma(a.sum(1) + 1) - torch.lgamma(a + 1).sum(1)).to(self.radius)


def _exponents(count: int, degree: int) -> Tensor:
    """All a (monomials, count) with |a| <= degree. NWidthError for more than a million of them."""
    total = math.comb(count + degree, count)
    if total > 10**6:
        raise NWidthError(
            "PowerInterpolation", got=f"{total} monomials", expected="a million at most", fix="lower degree"
        )
    ranges = itertools.combinations(range(count + degree), count)
    bars = torch.tensor(list(ranges)).view(-1, count)  # stars and bars
    return torch.diff(bars, dim=1, prepend=torch.full((len(bars), 1), -1)) - 1
