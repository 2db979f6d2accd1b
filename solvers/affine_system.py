"""An affine problem on one mesh: its matrices and loads, its solutions, and what reduced models need of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from ..backends import Mesh
from ..errors import NWidthError
from .sparse import Condensation, SparseSum

if TYPE_CHECKING:
    from .affine import AffineProblem

RESIDUAL = 1e-6  # relative to the load, in double precision; a singular matrix leaves about 1
FEW = 4  # parameters for which a condensation is not worth its preparation


@dataclass(frozen=True, eq=False)
class AffineTerms:
    """What a problem assembles on a mesh, over all unknowns, ordered (component, point).

    operators : A_q, (n, n) each.
    loads : f_p, (F, n).
    fixed : the unknowns that are prescribed, (n,) booleans.
    lifts : (B, n), prescribed values g_b; zero (or anything smooth) at the other unknowns.
    positive : for each A_q whether it is symmetric in its quadratic form up to a skew part, and positive
        semidefinite on the unknowns that are not fixed: what the min-theta bound needs.
    outputs : linear functionals of the solution by name, (n,) each.
    masses : M_p of the time derivative, with the factors ``theta_mass``; None: ∫ u . v alone.
    """

    operators: Sequence[scipy.sparse.csr_matrix]
    loads: np.ndarray
    fixed: np.ndarray
    lifts: np.ndarray
    positive: tuple[bool, ...]
    outputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    masses: Sequence[scipy.sparse.csr_matrix] | None = None


class AffineSystem:
    """A(mu) u = f(mu) on the free unknowns of one mesh:

        sum_q theta_q(mu) A_q u = sum_l c_l(mu) f_l,

    with u = u_free + sum_b chi_b(mu) g_b. The loads f_l are those of the problem and the -A_q g_b that do not
    vanish; c holds phi_p and theta_q chi_b. Everything is float64.

    space : the finite elements, with points, cells and sides.
    free : numbers of the free unknowns; ``operators`` (SparseSum, whose ``matrices`` are the A_q, CSR) and
        ``loads`` (L, free) are restricted to them.
    positive : see ``AffineTerms``.
    functionals : the problem's linear outputs over all unknowns, by name.
    """

    def __init__(self, problem: AffineProblem, mesh: Mesh):
        self.problem, self.mesh = problem, mesh
        self.space = problem.space(mesh)
        terms = problem.terms(self.space)
        self.lifts, self.positive = terms.lifts, tuple(terms.positive)
        self.free, self.fixed = np.flatnonzero(~terms.fixed), np.flatnonzero(terms.fixed)
        if not len(self.free):
            raise NWidthError(
                type(problem).__name__, got="a mesh whose points are all prescribed", fix="refine the mesh"
            )
        rows = [m.tocsr()[self.free] for m in terms.operators]
        self.operators = SparseSum([m[:, self.free] for m in rows])
        lifted = (
            -np.stack([m @ g for m in rows for g in terms.lifts]) if len(terms.lifts) else np.zeros((0, len(self.free)))
        )
        kept = np.flatnonzero(np.abs(lifted).max(1, initial=0) > 0)
        self._lifted = torch.from_numpy(kept)
        self.loads = np.concatenate([terms.loads[:, self.free], lifted[kept]])
        self.functionals, self._masses = dict(terms.outputs), terms.masses
        self._condensation: Condensation | bool | None = False

    def coefficients(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """theta (N, Q) and c (N, L) for mu (N, P); differentiable."""
        theta, chi = self.problem.theta(mu), self.problem.theta_lift(mu)
        products = (theta[:, :, None] * chi[:, None, :]).flatten(1)
        return theta, torch.cat([self.problem.theta_load(mu), products[:, self._lifted.to(mu.device)]], 1)

    def lift(self, mu: Tensor) -> Tensor:
        """sum_b chi_b(mu) g_b, (N, n)."""
        return self.problem.theta_lift(mu) @ torch.from_numpy(self.lifts).to(mu)

    def extend(self, free: Tensor, mu: Tensor) -> Tensor:
        """The whole field (N, C, points) from its free unknowns (N, free)."""
        u = self.lift(mu)
        index = torch.from_numpy(self.free).to(mu.device)
        u = u.index_add(1, index, free.to(u))
        return u.view(len(mu), self.space.components, -1)

    def restrict(self, u: Tensor, mu: Tensor) -> Tensor:
        """The free unknowns (N, free) of a field (N, C, points), without the lift."""
        return (u.flatten(1) - self.lift(mu))[:, torch.from_numpy(self.free).to(u.device)]

    def assemble(self, mu: Tensor) -> tuple[scipy.sparse.csr_matrix, np.ndarray]:
        """A(mu) and f(mu) on the free unknowns, for one mu (P,)."""
        theta, c = (v[0].numpy() for v in self.coefficients(mu.double().cpu()[None]))
        return self.operators.matrix(theta).tocsr(), c @ self.loads

    def outputs(self, u: Tensor) -> dict[str, Tensor]:
        """The problem's linear outputs of fields (N, C, points), (N,) each."""
        return {k: u.flatten(1) @ torch.from_numpy(v).to(u) for k, v in self.functionals.items()}

    @cached_property
    def masses(self) -> list[scipy.sparse.csr_matrix]:
        """M_p of M(mu) = sum_p theta_mass_p(mu) M_p on the free unknowns."""
        given = [self.space.mass()] if self._masses is None else self._masses
        return [m.tocsr()[self.free][:, self.free] for m in given]

    @cached_property
    def products(self) -> dict[str, scipy.sparse.csr_matrix]:
        """Inner products on the free unknowns: ``l2`` (mass), ``h1_semi``, ``h1``, and ``energy``, the symmetric
        part of A at the problem's reference parameter."""
        l2 = self.space.mass()[self.free][:, self.free]
        semi = self.space.stiffness()[self.free][:, self.free]
        energy = self.assemble(self.problem.reference)[0]
        return {"l2": l2, "h1_semi": semi, "h1": l2 + semi, "energy": ((energy + energy.T) / 2).tocsr()}

    def min_theta(self, mu: Tensor) -> Tensor:
        """min_q theta_q(mu) / theta_q(reference), (N,): at most the coercivity constant in the energy product.

        For a(v, v; mu) = sum_q theta_q a_q(v, v) with a_q(v, v) >= 0 (Patera and Rozza 2007, Reduced Basis
        Approximation and A Posteriori Error Estimation, 4.2.2). NWidthError where a term is not known to be
        positive semidefinite, or a factor is not positive.
        """
        theta = self.problem.theta(mu)
        reference = self.problem.theta(self.problem.reference.to(mu)[None])
        if not all(self.positive) or not bool((theta > 0).all() and (reference > 0).all()):
            raise NWidthError(
                f"{type(self.problem).__name__}.min_theta",
                got="terms that are not all positive semidefinite with positive factors",
                expected="a parametrically coercive problem",
                fix="use another lower bound of the coercivity constant",
            )
        return (theta / reference).amin(1)

    def residual(self, u: Tensor, mu: Tensor) -> Tensor:
        """A(mu) u - f(mu) at free unknowns, u - g(mu) at prescribed ones; shaped like u, differentiable."""
        theta, c = self.coefficients(mu)
        free = torch.from_numpy(self.free).to(u.device)
        values = self.restrict(u, mu)
        r = -(c @ torch.from_numpy(self.loads).to(c))
        for q, m in enumerate(self.operators.matrices):
            e = m.tocoo()
            index = torch.from_numpy(np.stack([e.row, e.col]).astype(np.int64))
            matrix = torch.sparse_coo_tensor(
                index, torch.from_numpy(e.data), e.shape, is_coalesced=True, check_invariants=False
            ).to(u)
            r = r + torch.sparse.mm(matrix, (theta[:, q, None] * values).T).T
        out = (u.flatten(1) - self.lift(mu)).index_fill(1, free, 0.0)
        return out.index_add(1, free, r).view_as(u)

    def solve(self, mu: Tensor, *, dtype: torch.dtype = torch.float64, method: str = "auto") -> Tensor:
        """Solutions (N, C, points) for mu (N, P), on the device of mu.

        method : ``direct``, a sparse factorisation for each parameter; ``condensed``, see ``Condensation``; ``auto``,
            the latter for several parameters where it pays. They agree to round-off.

        Raises NWidthError for parameters of another number or that are not finite, for factors of positive terms
        that are not positive, and for operators that are singular: the relative residual is checked.
        """
        if method not in ("auto", "direct", "condensed"):
            raise NWidthError("AffineSystem.solve", got=f"method={method!r}", expected="auto, direct or condensed")
        self.problem.check(mu)
        theta, c = self.coefficients(mu.double())
        bad = (theta <= 0) & torch.tensor(self.positive, device=mu.device)
        if bool(bad.any()):
            raise NWidthError(
                f"{type(self.problem).__name__}.solve",
                got=f"parameters {mu[bad.any(1)][0].tolist()}, for which a part of the operator is not positive",
                expected="positive factors",
                fix="check the parameters, their order and their units",
            )
        few = len(mu) < FEW and not isinstance(self._condensation, Condensation)
        condensation = None if method == "direct" or (few and method == "auto") else self.condensation
        if method == "condensed" and condensation is None:
            raise NWidthError(
                "AffineSystem.solve",
                got="method='condensed' for an operator without fixed interiors, or with too many interfaces",
                expected="auto or direct",
            )
        if condensation is None:
            u = self._direct(theta, c, dtype)
        else:
            u = condensation.solve(theta.to(dtype), c.to(dtype))
        self._check(theta, c, u)
        return self.extend(u.double(), mu.double()).to(dtype)

    @property
    def condensation(self) -> Condensation | None:
        """Prepared on first use; None where it would not pay."""
        if self._condensation is False:
            self._condensation = Condensation.find(self.operators.matrices, self.loads)
        return self._condensation if isinstance(self._condensation, Condensation) else None

    def _direct(self, theta: Tensor, c: Tensor, dtype: torch.dtype) -> Tensor:
        number = np.float32 if dtype == torch.float32 else np.float64
        loads = c.cpu().numpy() @ self.loads
        u = np.empty(loads.shape, dtype=number)
        for i, t in enumerate(theta.cpu().numpy()):
            u[i] = self.operators.factor(t, number)(loads[i])
        return torch.from_numpy(u).to(theta.device)

    def _check(self, theta: Tensor, c: Tensor, u: Tensor) -> None:
        values = u.double().cpu().numpy()
        f = c.cpu().numpy() @ self.loads
        r = self.operators.apply(theta.cpu().numpy(), values) - f
        size = np.linalg.norm(f, axis=1)
        worst = np.max(np.linalg.norm(r, axis=1) / np.where(size > 0, size, 1.0), initial=0.0)
        allowed = RESIDUAL if u.dtype == torch.float64 else math.inf
        if not np.isfinite(values).all() or not worst <= allowed:
            raise NWidthError(
                f"{type(self.problem).__name__}.solve",
                got=f"a relative residual of {worst:.1e}",
                expected=f"at most {RESIDUAL:g}: an operator that is not singular",
                fix="check the parameters, the boundary conditions and the mesh, or solve in double precision",
            )
