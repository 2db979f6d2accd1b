"""From solutions of an affine problem to its reduced model."""

from __future__ import annotations

import numpy as np
import psutil
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ....backends.svd import inner_product, svd
from ....errors import NWidthError
from ...affine_system import AffineSystem
from .coercivity import SuccessiveConstraints
from .model import AffineModel, Coercivity
from .residual import ResidualRange

PROJECTIONS = ("galerkin", "least_squares")
COERCIVITY = ("auto", "min_theta", "scm", "none")
PRODUCTS = ("energy", "h1", "h1_semi")
SINGULAR = 1e13  # condition number
NEW = 1e-11  # what a snapshot must add to the basis, relative to itself


class AffineReductor:
    """V, X-orthonormal, and the projections onto it of the terms of an ``AffineSystem``, grown vector by vector.

    product : the inner product X: ``energy`` (the symmetric part of A at the problem's reference parameter), ``h1``,
        ``h1_semi``, or a sparse symmetric positive definite matrix on the free unknowns.
    projection : ``galerkin`` or ``least_squares`` (see ``AffineModel``).
    coercivity : ``min_theta`` (needs the energy product), ``scm`` (``SuccessiveConstraints``, trained on
        ``training``), ``none``, or a function of mu (N, P); ``auto``: min_theta where it holds, else scm.
    training : parameters (N, P) for scm; by default 500 of the problem's.

    >>> from nwidth.solvers import ThermalBlock
    >>> problem = ThermalBlock()
    >>> system = problem.system(problem.grid(8))
    >>> reductor = AffineReductor(system)
    >>> mu = problem.sample(range(4), 0, system.mesh).mu
    >>> reductor.extend(system.restrict(system.solve(mu[:2]), mu[:2]))
    2
    >>> model = reductor.reduce()
    >>> bool((model.error_bound(mu)[:2] < 1e-10).all()), bool((model.error_bound(mu)[2:] > 1e-4).all())
    (True, True)
    """

    def __init__(
        self,
        system: AffineSystem,
        *,
        product: str | csr_matrix = "energy",
        projection: str = "galerkin",
        coercivity: str | Coercivity | None = "auto",
        training: Tensor | None = None,
    ):
        if projection not in PROJECTIONS or (isinstance(product, str) and product not in PRODUCTS):
            raise NWidthError(
                "AffineReductor",
                got=f"projection={projection!r}, product={product if isinstance(product, str) else 'a matrix'!r}",
                expected="projection " + " or ".join(PROJECTIONS) + "; product " + ", ".join(PRODUCTS) + " or a matrix",
            )
        self.system, self.projection = system, projection
        n = len(system.free)
        self.product_matrix = system.products[product] if isinstance(product, str) else product
        like = torch.zeros(0, dtype=torch.float64)
        self.product = inner_product(self.product_matrix, (n, 1), like, "AffineReductor")
        self._need_regular()
        self.matrices = self._terms()
        self.basis = torch.zeros(0, n, dtype=torch.float64)
        self.operators = torch.zeros(len(self.matrices), 0, 0, dtype=torch.float64)
        self.range = ResidualRange(self.product, n).append(torch.from_numpy(system.loads))
        self.coercivity = self._coercivity(coercivity, product, training)

    def _need_regular(self) -> None:
        """NWidthError where the product is singular to working precision."""
        v = torch.from_numpy(np.random.default_rng(0).standard_normal((len(self.system.free), 1)))
        size = float(self.product.unroot(self.product.dual(v)).norm() / v.norm()) * float(
            abs(self.product_matrix).max()
        )
        if not size < SINGULAR:
            raise NWidthError(
                "AffineReductor",
                got="a product that is singular to working precision",
                expected="a symmetric positive definite one",
                fix="add the missing boundary terms, or take product=h1",
            )

    def _terms(self) -> list[csr_matrix]:
        """The matrices to be projected."""
        return self.system.operators.matrices

    def _coercivity(
        self, wanted: str | Coercivity | None, product: str | csr_matrix, training: Tensor | None
    ) -> Coercivity | None:
        if not isinstance(wanted, str):
            return wanted
        if wanted not in COERCIVITY:
            raise NWidthError(
                "AffineReductor", got=f"coercivity={wanted!r}", expected="one of " + ", ".join(COERCIVITY)
            )
        if wanted == "none":
            return None
        problem = self.system.problem
        corners = torch.tensor([[p.lo for p in problem.parameters], [p.hi for p in problem.parameters]])
        if training is None:
            training = problem.sample(range(500), 0, self.system.mesh).mu
        assert training is not None
        if wanted == "min_theta" or (wanted == "auto" and product == "energy"):
            if product != "energy":
                raise NWidthError(
                    "AffineReductor",
                    got="coercivity=min_theta in another product than energy",
                    expected="product=energy, for which min-theta holds",
                    fix="take product=energy or coercivity=scm",
                )
            try:
                self.system.min_theta(torch.cat([corners.double(), training.double().cpu()]))
                return self.system.min_theta
            except NWidthError:
                if wanted == "min_theta":
                    raise
        return SuccessiveConstraints(self.system, self.product, training)

    @property
    def rank(self) -> int:
        return len(self.basis)

    def need_memory(self, rank: int, more: int = 0) -> None:
        """NWidthError where a basis of this rank, its residuals and ``more`` numbers do not fit into memory."""
        n = len(self.system.free)
        needed = 8 * (n * (rank + 2 * (len(self.system.loads) + rank * len(self.matrices))) + more)
        free = psutil.virtual_memory().available
        if needed > free:
            raise NWidthError(
                "AffineReductor",
                got=f"{rank} basis vectors of {n:,} unknowns, which need {needed / 2**30:.1f} GiB",
                expected=f"at most the {free / 2**30:.1f} GiB that are free",
                fix="lower rank, use a coarser mesh, or fewer training parameters",
            )

    def extend(self, snapshots: Tensor) -> int:
        """Add free unknowns (k, free) to the basis: how many were new. NWidthError where they are not finite."""
        if (
            snapshots.ndim != 2
            or snapshots.shape[1] != self.basis.shape[1]
            or not bool(torch.isfinite(snapshots).all())
        ):
            raise NWidthError(
                "AffineReductor.extend",
                got=f"snapshots of shape {tuple(snapshots.shape)}"
                + ("" if torch.isfinite(snapshots).all() else " with values that are not finite"),
                expected=f"finite values (k, {self.basis.shape[1]})",
                fix="leave the damaged samples out",
            )
        return sum(self._add(v) for v in snapshots.double().cpu())

    def _add(self, v: Tensor) -> bool:
        size = self._size(v)
        for _ in range(3):
            v = v - (self.basis @ (self.product_matrix @ v.numpy())) @ self.basis
        left = self._size(v)
        if not left > NEW * size:
            return False
        v = v / left
        v = v - (self.basis @ (self.product_matrix @ v.numpy())) @ self.basis
        v = v / self._size(v)
        images = torch.from_numpy(np.stack([m @ v.numpy() for m in self.matrices]))
        transposed = torch.from_numpy(np.stack([m.T @ v.numpy() for m in self.matrices]))
        self.basis = torch.cat([self.basis, v[None]])
        old, r = self.operators, self.rank
        self.operators = old.new_zeros(len(old), r, r)
        self.operators[:, :-1, :-1] = old
        self.operators[:, :, -1] = images @ self.basis.T
        self.operators[:, -1, :] = transposed @ self.basis.T
        self.range.append(images)
        return True

    def _size(self, v: Tensor) -> float:
        return float(np.sqrt(max(float(v.numpy() @ (self.product_matrix @ v.numpy())), 0.0)))

    def norms(self, v: Tensor) -> Tensor:
        """|v_i|_X of rows v (N, free)."""
        return self.product.root(v.mT).norm(dim=0)

    def pod(
        self, snapshots: Tensor, *, rank: int | None = None, rtol: float | None = None, energy: float | None = None
    ) -> Tensor:
        """Extend by the POD modes of snapshots (N, free) in X; their singular values.

        ``rank``, ``rtol`` and ``energy`` are those of ``backends.svd.svd``; an error where the data hold less.
        """
        modes, s, _ = svd(snapshots.double().cpu().mT, rank, rtol=rtol, energy=energy, weight=self.product_matrix)
        if rank is not None and float(s[-1]) <= 1e-14 * float(s[0]):
            raise NWidthError(
                "AffineReductor.pod",
                got=f"rank={rank} for snapshots of numerical rank {int((s > 1e-14 * s[0]).sum())}",
                expected="at most the rank of the data",
                fix="lower rank or add samples",
            )
        self.extend(modes.mT.contiguous())
        return s

    def reduce(self) -> AffineModel:
        """The model on the present basis."""
        outputs = {}
        for name, value in self.system.functionals.items():
            free = torch.from_numpy(np.ascontiguousarray(value[self.system.free]))
            load = torch.from_numpy(self.system.loads[0])
            multiple = float(free @ load / (load @ load)) if len(self.system.loads) == 1 else 0.0
            if float((free - multiple * load).norm()) > 1e-12 * float(free.norm()):
                multiple = 0.0
            outputs[name] = (self.basis @ free, float(self.product.dual(free[:, None]).norm()), multiple)
        return AffineModel(
            self.system,
            self.basis,
            self.operators,
            torch.from_numpy(self.system.loads) @ self.basis.T,
            self.range.matrix(),
            self.range.rounding,
            self.coercivity,
            self.projection,
            outputs,
        )
