"""Non-intrusive reduced bases of linear steady problems, as a surrogate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...backends import Grid, Mesh
from ...data import Dataset, FitLog
from ...errors import NWidthError
from ..affine import AffineProblem
from ..elliptic import EllipticProblem
from ..problem import Problem
from .galerkin import ReducedBasis
from .interpolation import EmpiricalInterpolation, default_points
from .nonintrusive import SeparatedOperator, combine


class NonintrusiveRB(ReducedBasis):
    """u ~ sum_k c_k V_k with V the POD modes of the training solutions and

        sum_m lambda_m(mu) (V^T A(mu_m) V) c = V^T f(mu),

    where mu_m are a few training samples, and lambda follows from a few entries of A(mu) (``SeparatedOperator``;
    Casenave, Ern and Lelievre 2014, arXiv:1401.3684). Of the problem nothing is used but products of A(mu_m) with
    vectors, loads, and those entries: no affine decomposition. For ``AffineProblem``, where it finds the terms of the
    operator by itself, and ``EllipticProblem``, where it is the empirical interpolation of the coefficient field.

    Parameters
    ----------
    rank, rtol, problem : see ``ReducedBasis``.
    terms, terms_rtol : at most so many samples mu_m, or as many as bring the entries of all training operators within
        this much of their largest.
    oversampling : entries a term. 1 interpolates; more fit lambda by least squares.

    The log reports the rank, terms and entries, and what both approximations leave of the training data.

    >>> from nwidth.data.metrics import relative_l2
    >>> from nwidth.solvers import ThermalBlock
    >>> problem = ThermalBlock()
    >>> data = problem.simulate(range(40), seed=0, grid=problem.grid(8))
    >>> surrogate = NonintrusiveRB(rank=12)
    >>> surrogate.fit(data[:30], None).selected["terms"]
    4
    >>> p = surrogate.predict(data[30:].inputs()).mean
    >>> bool(relative_l2(p, data[30:].u, data.grid).max() < 1e-2)
    True
    """

    kinds: ClassVar[tuple[type[Problem], ...]] = (AffineProblem, EllipticProblem)

    def __init__(
        self,
        *,
        rank: int | None = None,
        rtol: float | None = None,
        problem: Problem | None = None,
        terms: int = 64,
        terms_rtol: float = 1e-10,
        oversampling: float = 2.0,
    ):
        super().__init__(rank=rank, rtol=rtol, problem=problem)
        default_points(1, oversampling, 1)
        if terms < 1:
            raise NWidthError("NonintrusiveRB", got=f"terms={terms}", expected="1 or more")
        self.terms, self.terms_rtol, self.oversampling = terms, terms_rtol, oversampling
        self._separated: SeparatedOperator | None = None

    def fit(self, train: Dataset, val: Dataset | None, *, seed: int = 0, folder: Path | None = None) -> FitLog:
        """As ``ReducedBasis.fit``."""
        self.check(train)
        problem = self._find_problem(train)
        problem.need(train)
        operator = _operator(problem, train.grid)
        self._model = None
        self._separated = SeparatedOperator(
            operator.entries,
            train.load().inputs().to(dtype=torch.float64),
            rank=min(self.terms, len(train)),
            rtol=self.terms_rtol,
            oversampling=self.oversampling,
        )
        log = super().fit(train, val, seed=seed, folder=folder)
        found = self._separated.interpolation
        missed = float(self._separated.errors[-1] / self._separated.errors[0])
        log.selected.update(terms=found.rank, points=found.points.shape[-1], operator_floor=missed)
        log.notes.append(
            f"{found.rank} operators of training samples leave {missed:.1e} of the others' entries; "
            f"{found.points.shape[-1]} of {found.basis.shape[-1]} entries tell their shares"
        )
        return log

    def state_dict(self) -> dict[str, Any]:
        """That of ``ReducedBasis``, the projected operators, and the interpolation at its points alone."""
        model = self.fitted(self._model)
        assert isinstance(model, ReducedSeparated)
        return {
            **super().state_dict(),
            "terms": model.terms,
            "functions": model.at.basis,
            "entries": model.points,
            "chosen": model.at.state_dict()["chosen"],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        local = EmpiricalInterpolation(state["functions"], torch.arange(len(state["entries"])), chosen=state["chosen"])
        self._loaded = (state["terms"], local, state["entries"])
        self._model = self._separated = None
        super().load_state_dict(state)

    def _reduce(self, basis: Tensor) -> None:
        self._basis = basis.double().clone(memory_format=torch.contiguous_format)
        assert self._problem is not None and self._grid is not None
        operator = _operator(self._problem, self._grid)
        if isinstance(self._model, ReducedSeparated) and self._model.terms.shape[-1] == len(basis):
            old = self._model  # moved to another device
            terms, local, points = old.terms, old.at, old.points
        elif self._separated is None:
            terms, local, points = self._loaded
        else:
            samples = self._separated.parameters
            v = operator.restrict(self._basis)
            terms = torch.stack([v @ operator.product(samples[[m]].to(v.device), v).T for m in range(len(samples))])
            found = self._separated.interpolation
            points = found.points
            local = EmpiricalInterpolation(
                found.at(found.basis), torch.arange(len(points)), chosen=found.state_dict()["chosen"]
            )
        self._model = ReducedSeparated(operator, terms, local, points, self._basis.device)


class ReducedSeparated:
    """sum_m lambda_m V^T A(mu_m) V c = V^T f for every sample of a batch."""

    def __init__(
        self, operator: Operator, terms: Tensor, at: EmpiricalInterpolation, points: Tensor, device: torch.device
    ):
        self.operator, self.terms, self.points = operator, terms.to(device), points.to(device)
        self.at = at.to(device)

    def solve(self, inputs: Dataset, basis: Tensor) -> Tensor:
        """Coefficients c (N, r) for modes (r, C, *space) on the grid of the inputs, which is that of the fit."""
        inputs = inputs.to(dtype=basis.dtype)
        operator = self.operator.on(inputs)
        weights = self.at.weights(operator.entries(inputs, self.points))
        load = operator.load(inputs) @ operator.restrict(basis).T
        c, info = torch.linalg.solve_ex(combine(weights, self.terms), load.expand(len(inputs), -1))
        if bool((info != 0).any()) or not bool(torch.isfinite(c).all()):
            raise NWidthError(
                "NonintrusiveRB.predict",
                got="a singular reduced operator",
                expected="parameters like those of the training samples",
                fix="raise terms or oversampling, or lower rank",
            )
        return c


class Operator(ABC):
    """What the method may know of A(mu) on one grid."""

    def __init__(self, grid: Grid | Mesh):
        self.grid = grid

    def on(self, inputs: Dataset) -> Operator:
        """Itself, or an NWidthError where the inputs lie on another grid."""
        if inputs.grid.shape != self.grid.shape:
            raise NWidthError(
                "NonintrusiveRB.predict",
                got=inputs.grid.describe(),
                expected=f"the training grid, {self.grid.describe()}",
                fix="use surrogate=reduced_basis for other resolutions",
            )
        return self

    @abstractmethod
    def entries(self, inputs: Dataset, points: Tensor | None) -> Tensor:
        """Numbers that A(mu) depends on linearly, (N, entries), or some of them."""

    @abstractmethod
    def product(self, sample: Dataset, v: Tensor) -> Tensor:
        """A(mu) v for one sample and v (r, unknowns)."""

    @abstractmethod
    def load(self, inputs: Dataset) -> Tensor:
        """f(mu), (N or 1, unknowns)."""

    def restrict(self, modes: Tensor) -> Tensor:
        """Modes (r, C, *space) as vectors of unknowns (r, unknowns)."""
        return modes.flatten(1)


class EllipticOperator(Operator):
    """A(a) = G^T diag(theta) G by its products; the entries are theta."""

    def __init__(self, problem: EllipticProblem, grid: Grid):
        super().__init__(grid)
        self.problem, self.grid = problem, grid

    def entries(self, inputs: Dataset, points: Tensor | None) -> Tensor:
        theta = torch.cat([t.flatten(1) for t in self.problem.theta(inputs)], 1).expand(len(inputs), -1)
        return theta if points is None else theta[:, points]

    def product(self, sample: Dataset, v: Tensor) -> Tensor:
        u = v.view(-1, 1, *self.grid.shape)
        return self.problem.apply(self.problem.theta(sample), u, self.grid).flatten(1)  # type: ignore[arg-type]

    def load(self, inputs: Dataset) -> Tensor:
        return self.problem.source(inputs).flatten(1)


class AffineOperator(Operator):
    """The assembled sparse matrices, one for each sample; the entries are their non-zeros."""

    def __init__(self, problem: AffineProblem, grid: Mesh):
        super().__init__(grid)
        self.system = problem.system(grid)

    def entries(self, inputs: Dataset, points: Tensor | None) -> Tensor:
        theta = self.system.coefficients(inputs.mu)[0].cpu().numpy()  # type: ignore[arg-type]
        found = self.system.operators.entries(theta, None if points is None else points.cpu().numpy())
        return torch.from_numpy(found).to(inputs.mu)

    def product(self, sample: Dataset, v: Tensor) -> Tensor:
        matrix, _ = self.system.assemble(sample.mu[0])  # type: ignore[index]
        return torch.from_numpy((matrix @ v.cpu().numpy().T).T).to(v)

    def load(self, inputs: Dataset) -> Tensor:
        c = self.system.coefficients(inputs.mu)[1]  # type: ignore[arg-type]
        return c @ torch.from_numpy(self.system.loads).to(c)

    def restrict(self, modes: Tensor) -> Tensor:
        return modes.flatten(1)[:, torch.from_numpy(self.system.free).to(modes.device)]


def _operator(problem: Problem, grid: Grid | Mesh) -> Operator:
    if isinstance(problem, AffineProblem):
        return AffineOperator(problem, grid)  # type: ignore[arg-type]
    assert isinstance(problem, EllipticProblem) and isinstance(grid, Grid)
    return EllipticOperator(problem, grid)
