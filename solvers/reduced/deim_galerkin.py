"""Hyper-reduced Galerkin models of nonlinear problems, as a surrogate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...backends import Grid
from ...backends.svd import svd, truncation_rank
from ...data import Dataset, FitLog
from ...errors import NWidthError
from ..evolution import EvolutionProblem
from ..problem import Problem
from ..semilinear import SemilinearProblem
from .galerkin import ReducedBasis
from .hyper import HyperReducedEvolution, ReducedSemilinear, nonlinear_values
from .interpolation import METHODS, EmpiricalInterpolation, default_points

EIM_RTOL = 1e-12
ENTRIES = 2**25  # values of the nonlinearity that are kept for its modes
RATIO = 3  # modes of the nonlinearity for each mode of the solution


class DEIMGalerkin(ReducedBasis):
    """u ~ sum_k c_k V_k as in ``ReducedBasis``, with the nonlinearity evaluated at a few points:

        V^T N(V c) ~ V^T U (P^T U)^+ N(V c)(x_P),

    with U the POD modes of the nonlinear term over the training solutions and points by Q-DEIM, DEIM or EIM. Once
    fitted, an evaluation costs the same on any grid. For ``EvolutionProblem`` whose nonlinearity is given at points
    (Burgers, reaction and diffusion, KdV, Navier-Stokes, ..) and ``SemilinearProblem`` (nonlinear Poisson).
    Chaturantabut and Sorensen (2010), SIAM J. Sci. Comput. 32.

    Parameters
    ----------
    rank, rtol, problem, step_ratio : see ``ReducedBasis``; the rank is chosen with the hyper-reduced model.
    terms : modes of the nonlinearity; None: three for each mode of the solution, as far as the data hold so many.
    method : how points are found, ``qdeim``, ``deim``, or ``eim`` (functions too, instead of the POD).
    oversampling : points a mode of the nonlinearity; more than 1 means least squares.

    The log reports the rank, the modes and points of the nonlinearity, what both spaces leave of the training data,
    and the error bound's factor |(P^T U)^+|.

    >>> from nwidth.data.metrics import relative_l2
    >>> from nwidth.solvers import NonlinearPoisson
    >>> problem = NonlinearPoisson()
    >>> data = problem.simulate(range(40), seed=0, grid=problem.grid(17))
    >>> surrogate = DEIMGalerkin(rank=6, terms=10)
    >>> log = surrogate.fit(data[:30], None)
    >>> log.selected["terms"], log.selected["points"]
    (10, 15)
    >>> p = surrogate.predict(data[30:].inputs()).mean
    >>> bool(relative_l2(p, data[30:].u, data.grid).max() < 1e-2)
    True
    """

    kinds: ClassVar[tuple[type[Problem], ...]] = (EvolutionProblem, SemilinearProblem)

    def __init__(
        self,
        *,
        rank: int | None = None,
        rtol: float | None = None,
        problem: Problem | None = None,
        step_ratio: float = 4.0,
        terms: int | None = None,
        method: str = "qdeim",
        oversampling: float = 1.5,
    ):
        super().__init__(rank=rank, rtol=rtol, problem=problem, step_ratio=step_ratio)
        if method not in (*METHODS, "eim"):
            raise NWidthError(
                "DEIMGalerkin", got=f"method={method!r}", expected="one of " + ", ".join((*METHODS, "eim"))
            )
        default_points(1, oversampling, 1)
        self.terms, self.method, self.oversampling = terms, method, oversampling
        self._functions: Tensor | None = None  # modes of the nonlinearity (d, values), in order
        self._points: EmpiricalInterpolation | None = None

    def fit(self, train: Dataset, val: Dataset | None, *, seed: int = 0, folder: Path | None = None) -> FitLog:
        """As ``ReducedBasis.fit``. NWidthError where ``terms`` exceeds what the data hold."""
        self.check(train)
        problem = self._find_problem(train)
        problem.need(train)
        self._points = None
        values, note = _values(problem, train.load())
        if self.method == "eim":
            found = EmpiricalInterpolation.eim(values, rank=self.terms, rtol=None if self.terms else EIM_RTOL)
            assert found.errors is not None
            self._functions, tails = found.basis, found.errors / found.errors[0]
        else:
            U, s, _ = svd(values.mT, method="exact")
            if self.terms is not None:
                truncation_rank(s, rank=self.terms)
            left = torch.cat([s, s.new_zeros(1)]).square().flip(0).cumsum(0).flip(0)
            self._functions, tails = U.mT.contiguous(), (left / left[0]).sqrt()
        log = super().fit(train, val, seed=seed, folder=folder)
        found = self.fitted(self._points)
        model = self._model
        assert isinstance(model, HyperReducedEvolution | ReducedSemilinear)
        log.selected.update(
            terms=found.rank,
            points=model.evaluations,
            nonlinear_floor=float(tails[found.rank]),
            stability=float(found.stability),
        )
        log.notes.append(
            f"the nonlinearity by {found.rank} modes, which leave {float(tails[found.rank]):.1e} of it, from "
            f"{model.evaluations} of {values.shape[1]} values" + note
        )
        return log

    def state_dict(self) -> dict[str, Any]:
        """That of ``ReducedBasis``, the modes of the nonlinearity that are used, and their points."""
        own = self.fitted(self._points)
        return {**super().state_dict(), "functions": own.basis, "points": own.points}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._functions = state["functions"]
        self._points = EmpiricalInterpolation(state["functions"], state["points"])
        super().load_state_dict(state)

    def _reduce(self, basis: Tensor) -> None:
        """The model on these modes, with the modes and points of the nonlinearity that go with them."""
        self._basis = basis.double().clone(memory_format=torch.contiguous_format)
        assert self._functions is not None and isinstance(self._grid, Grid)
        functions = self._functions.to(self._basis)
        terms = min(len(functions), self.terms or RATIO * len(basis))
        if self._points is None or self._points.rank != terms:
            self._points = self._interpolation(functions[:terms].contiguous())
        self._points = self._points.to(self._basis.device)
        if isinstance(self._problem, SemilinearProblem):
            self._model = ReducedSemilinear(self._problem, self._basis, self._grid, self._points)
        else:
            assert isinstance(self._problem, EvolutionProblem)
            self._model = HyperReducedEvolution(self._problem, self._basis, self._grid, self.step_ratio, self._points)

    def _interpolation(self, functions: Tensor) -> EmpiricalInterpolation:
        points = default_points(len(functions), self.oversampling, functions.shape[1])
        method = "deim" if self.method == "eim" else self.method  # DEIM finds EIM's points from its functions
        return EmpiricalInterpolation.from_basis(functions, method=method, points=points)


def _values(problem: Problem, train: Dataset) -> tuple[Tensor, str]:
    """The nonlinear term at the training solutions, (S, values), float64, and what was left out."""
    u: Tensor = train.solution.double()  # type: ignore[union-attr]
    if isinstance(problem, SemilinearProblem):
        inputs = train.inputs().to(dtype=torch.float64)
        return problem.reaction(problem.inner(u), inputs).flatten(1), ""
    assert isinstance(problem, EvolutionProblem)
    states, rows = u.flatten(0, 1), torch.arange(len(u), device=u.device).repeat_interleave(u.shape[1])
    if train.u0 is not None:
        states = torch.cat([states, train.u0.double()])  # type: ignore[union-attr]
        rows = torch.cat([rows, torch.arange(len(u), device=u.device)])
    stride = max(1, -(-states.numel() * 2**problem.ndim // ENTRIES))
    states, rows = states[::stride], rows[::stride]
    mu = None if train.mu is None else train.mu.double()[rows]
    at = Dataset(train.grid, u0=states, mu=mu)
    return nonlinear_values(problem, at), "" if stride == 1 else f"; every {stride}th state was used"
