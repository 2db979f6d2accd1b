"""Reduced models of affine problems, with error bounds, for thousands of parameters in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ....errors import NWidthError
from ...affine_system import AffineSystem

CHUNK = 2**23  # entries of the largest temporary tensor

Coercivity = Callable[[Tensor], Tensor]


class AffineModel:
    """sum_q theta_q(mu) V^T A_q V c = sum_l c_l(mu) V^T f_l, and what the rest of the equation leaves:

        |u(mu) - V c|_X <= |r(mu)|_X' / alpha(mu),   r = f(mu) - A(mu) V c,

    for any c, with alpha at most the coercivity constant of A(mu) in X. ``reductor.reduce()`` makes it. All calls take
    mu (N, P), compute in float64 on its device, and need no vector of full length but for ``reconstruct``.

    projection : ``galerkin``; ``least_squares``, Petrov-Galerkin with the optimal test functions: c minimises
        |r|_X', by QR of the orthonormalised residual (condition not squared).

    The residual's norm is exact to rounding, which is added to it: the bound stays above the error when both come
    near machine precision. Hesthaven, Rozza and Stamm (2016), Certified Reduced Basis Methods, 3.3 and 4.2.
    """

    def __init__(
        self,
        system: AffineSystem,
        basis: Tensor,
        operators: Tensor,
        loads: Tensor,
        residual: Tensor,
        rounding: float,
        coercivity: Coercivity | None,
        projection: str = "galerkin",
        outputs: Mapping[str, tuple[Tensor, float, float]] | None = None,
    ):
        self.system, self.basis, self.coercivity, self.projection = system, basis, coercivity, projection
        self.operators, self.loads, self.residual, self.rounding = operators, loads, residual, rounding
        self.functionals = dict(outputs or {})
        skew = (operators - operators.mT).abs().amax() if operators.numel() else torch.zeros(())
        self.symmetric = bool(skew <= 1e-10 * operators.abs().amax()) if operators.numel() else True

    @property
    def rank(self) -> int:
        return len(self.basis)

    def truncated(self, rank: int) -> AffineModel:
        """The model of the first ``rank`` basis vectors."""
        if not 0 <= rank <= self.rank:
            raise NWidthError("AffineModel.truncated", got=f"rank={rank}", expected=f"0 to {self.rank}")
        columns = self.loads.shape[0] + rank * len(self.operators)
        return AffineModel(
            self.system,
            self.basis[:rank],
            self.operators[:, :rank, :rank],
            self.loads[:, :rank],
            self.residual[:, :columns],
            self.rounding,
            self.coercivity,
            self.projection,
            {k: (v[:rank], size, multiple) for k, (v, size, multiple) in self.functionals.items()},
        )

    def solve(self, mu: Tensor) -> Tensor:
        """Coefficients c (N, r). NWidthError where the reduced operator is singular or indefinite."""
        theta, f = self._coefficients(mu)
        if self.rank == 0:
            return theta.new_zeros(len(mu), 0)
        one = self._galerkin if self.projection == "galerkin" else self._least_squares
        width = self.rank if self.projection == "galerkin" else len(self.residual)
        size = max(1, CHUNK // (self.rank * width))
        return torch.cat([one(t, b) for t, b in zip(theta.split(size), f.split(size))])

    def _galerkin(self, theta: Tensor, f: Tensor) -> Tensor:
        r = self.rank
        matrix = (theta @ self.operators.to(theta.device).flatten(1)).view(len(theta), r, r)
        return solve_dense(matrix, f @ self.loads.to(theta.device), self.symmetric and self.coercivity is not None)

    def _least_squares(self, theta: Tensor, f: Tensor) -> Tensor:
        t = self.residual.to(theta.device)
        count = len(self.loads)
        parts = t[:, count:].view(len(t), self.rank, len(self.operators))
        q, triangle = torch.linalg.qr(torch.einsum("mrq,nq->nmr", parts, theta))
        right = q.mT @ (f @ t[:, :count].T)[..., None]
        return torch.linalg.solve_triangular(triangle, right, upper=True)[..., 0]

    def residual_norm(self, mu: Tensor, c: Tensor | None = None) -> Tensor:
        """|r(mu)|_X' (N,), rounding included."""
        c = self.solve(mu) if c is None else c
        theta, f = self._coefficients(mu)
        return self._norm(torch.cat([f, -(c[:, :, None] * theta[:, None]).flatten(1)], 1))

    def _norm(self, k: Tensor) -> Tensor:
        """|T k| and its rounding, for coefficients k (N, functionals)."""
        t = self.residual.to(k.device)
        size = max(1, CHUNK // max(t.shape))
        norm = torch.cat([(part @ t.T).norm(dim=1) for part in k.split(size)])
        return norm + self.rounding * (k.abs() @ t.norm(dim=0))

    def error_bound(
        self, mu: Tensor, c: Tensor | None = None, *, norm: str = "energy", relative: bool = False
    ) -> Tensor:
        """A bound of the error of V c (by default of ``solve``), (N,).

        norm : ``energy``, sqrt(e' A(mu) e) <= |r|/sqrt(alpha); ``product``, |e|_X <= |r|/alpha. With the continuity
            constant gamma(mu) in X the first is at most sqrt(gamma/alpha) times the error of a symmetric problem,
            the second at most gamma/alpha times.
        relative : to the same norm of the solution, without its lift: bound / (|V c| - bound), infinite where the
            bound exceeds |V c|.

        NWidthError where the model has no coercivity bound, or that is not positive.
        """
        if norm not in ("product", "energy"):
            raise NWidthError("AffineModel.error_bound", got=f"norm={norm!r}", expected="product or energy")
        c = self.solve(mu) if c is None else c
        alpha = self._alpha(mu)
        bound = self.residual_norm(mu, c) / (alpha if norm == "product" else alpha.sqrt())
        if not relative:
            return bound
        size = c.norm(dim=1)
        if norm == "energy":
            theta, terms = self._coefficients(mu)[0], self.operators.to(c.device)
            size = sum((theta[:, q] * ((c @ a) * c).sum(1) for q, a in enumerate(terms)), theta.new_zeros(len(c)))
            size = size.clamp_min(0).sqrt()
        return relative_bound(bound, size)

    def _alpha(self, mu: Tensor) -> Tensor:
        if self.coercivity is None:
            raise NWidthError(
                "AffineModel.error_bound",
                got="a model without a bound of the coercivity constant",
                expected="coercivity=min_theta or scm",
                fix="give one, or take residual_norm",
            )
        return self.coercivity(mu)

    def outputs(self, mu: Tensor, c: Tensor | None = None) -> dict[str, tuple[Tensor, Tensor]]:
        """The problem's linear outputs l(u), (N,), and a bound of their errors, (N,): |l|_X' |r|_X' / alpha.

        For a symmetric problem with one load and l = k f (compliance) the error of Galerkin's solution is
        k a(e, e) / c(mu), and the bound its square's, |k / c(mu)| |r|^2 / alpha.
        """
        c = self.solve(mu) if c is None else c
        alpha, norm = self._alpha(mu), self.residual_norm(mu, c)
        wholes = torch.stack([torch.from_numpy(self.system.functionals[k]) for k in self.functionals], 1).to(c.device)
        few = mu.double().split(max(1, CHUNK // len(wholes)))
        lifted = torch.cat([self.system.lift(m) @ wholes for m in few])  # lifts live on the whole mesh
        out = {}
        for (name, (v, size, multiple)), lift in zip(self.functionals.items(), lifted.T):
            bound = size * norm / alpha
            if multiple and self.symmetric and self.projection == "galerkin":
                factor = (multiple / self._coefficients(mu)[1][:, 0]).abs()
                compliant = factor * (norm.square() / alpha + self.rounding * self.residual.norm() * c.norm(dim=1))
                bound = torch.minimum(bound, compliant)
            out[name] = (c @ v.to(c.device) + lift, bound)
        return out

    def reconstruct(self, c: Tensor, mu: Tensor) -> Tensor:
        """The fields (N, C, points) of coefficients c (N, r), with their prescribed values; float64."""
        return self.system.extend(c @ self.basis.to(c.device), mu.double())

    def _coefficients(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        self.system.problem.check(mu)
        theta, f = self.system.coefficients(mu.double())
        return theta, f

    def outside(self, mu: Tensor) -> Tensor:
        """Which parameters lie outside the problem's ranges, (N,)."""
        lo, hi = (
            torch.tensor([getattr(p, k) for p in self.system.problem.parameters], dtype=torch.float64, device=mu.device)
            for k in ("lo", "hi")
        )
        slack = 1e-6 * (hi - lo).abs().clamp_min(1e-300)
        return ((mu.double() < lo - slack) | (mu.double() > hi + slack)).any(1)

    def state_dict(self) -> dict[str, Any]:
        names = ("basis", "operators", "loads", "residual", "rounding", "projection")
        state = {k: getattr(self, k) for k in names}
        return {**state, "functionals": {k: list(v) for k, v in self.functionals.items()}}

    @classmethod
    def restored(cls, system: AffineSystem, state: Mapping[str, Any], coercivity: Coercivity | None) -> AffineModel:
        """The model of ``state_dict`` on the same system."""
        own = dict(state)
        functionals = {
            k: (v, float(size), float(multiple)) for k, (v, size, multiple) in own.pop("functionals").items()
        }
        return cls(system, coercivity=coercivity, outputs=functionals, **own)


def relative_bound(bound: Tensor, size: Tensor) -> Tensor:
    """|e| / |u| <= bound / (|u_N| - bound), infinite where that says nothing; 0 where both vanish."""
    left = size - bound
    ratio = torch.where(left > 0, bound / left.clamp_min(torch.finfo(size.dtype).tiny), torch.inf)
    return torch.where((bound == 0) & (size == 0), torch.zeros_like(ratio), ratio)


def solve_dense(matrix: Tensor, right: Tensor, definite: bool) -> Tensor:
    """Solutions (N, r) of small dense systems (N, r, r); by Cholesky where they have to be positive definite."""
    if definite:
        factor, info = torch.linalg.cholesky_ex(matrix)
        solution = torch.cholesky_solve(right[..., None], factor)[..., 0]
    else:
        solution, info = torch.linalg.solve_ex(matrix, right)
    if bool((info != 0).any()):
        raise NWidthError(
            "AffineModel.solve",
            got=f"a reduced operator that is {'not positive definite' if definite else 'singular'}",
            expected="an invertible operator" if not definite else "a coercive problem",
            fix="check the parameters, or use projection=least_squares",
        )
    return solution
