"""Reduced bases: the problem's own equation, projected onto the POD modes of its solutions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from ...backends import Grid, Mesh, grid_from_dict
from ...backends.resample import resample
from ...build import build
from ...data import Dataset, FitLog, Prediction, Surrogate
from ...data.metrics import relative_l2
from ...data.native import blocks_of
from ...errors import NWidthError
from ..affine import AffineProblem
from ..elliptic import EllipticProblem
from ..evolution import EvolutionProblem
from ..problem import Problem, lead, problem_of
from ..semilinear import SemilinearProblem
from .hyper import ReducedSemilinear
from .pod import POD
from .projection import ReducedElliptic, ReducedEvolution

CANDIDATES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
BLOCK = 256


class ReducedModel(Protocol):
    """What a projected problem does: coefficients of the modes, (N, r) or (N, T, r), for the inputs of N samples."""

    def solve(self, inputs: Dataset, basis: Tensor) -> Tensor: ...


class ReducedBasis(Surrogate):
    """u ~ sum_k c_k V_k with V the POD modes of the training solutions and c from the Galerkin projection of
    the PDE.

    Steady problems: (V^T A(a) V) c = V^T f for each sample, or V^T (-Lap V c + g(V c; mu)) = V^T f by Newton's
    method. Time-dependent problems: c' = V^T (L V c + N(V c)) from the projection of u0, by ETDRK4. Modes, projections
    and errors use one inner product, that of the grid's norm weights. The initial states count among the snapshots.
    Benner et al. (2015), A survey of projection-based model reduction methods, SIAM Review 57, sections 2 and 3.

    Parameters
    ----------
    rank, rtol : modes to keep, or the relative L2 error at which their projection of the training solutions
        may stop (``backends.svd.truncation_rank``). With neither, the fewest modes whose mean relative L2
        error on validation is within 1.05 times the best of a ladder of ranks; without validation rtol=1e-4.
    problem : the equation; by default the one that the training file records.
    step_ratio : time steps of the reduced model relative to those of the full-order one (whose errors in time
        are far below those of a truncated basis).

    Inputs may lie on another grid of the domain. Steady problems: the modes are resampled and the operator is
    assembled on the inputs' grid. Time-dependent ones: u0 is interpolated to the training grid, the reduced
    model solved there, and the modes are resampled for the answer.

    >>> from nwidth.solvers import Darcy
    >>> problem = Darcy()
    >>> data = problem.simulate(range(40), seed=0, grid=problem.grid(8))
    >>> surrogate = ReducedBasis(rank=20)
    >>> surrogate.fit(data[:35], None).rank
    20
    >>> p = surrogate.predict(data[35:].inputs()).mean
    >>> bool(relative_l2(p, data[35:].u, data.grid).mean() < 0.05)
    True
    """

    uses_seed = False
    kinds: ClassVar[tuple[type[Problem], ...]] = (EllipticProblem, EvolutionProblem, SemilinearProblem)

    def __init__(
        self,
        *,
        rank: int | None = None,
        rtol: float | None = None,
        problem: Problem | None = None,
        step_ratio: float = 4.0,
    ):
        self.rank, self.rtol, self.problem, self.step_ratio = rank, rtol, problem, step_ratio
        self._problem: Problem | None = None
        self._grid: Grid | Mesh | None = None
        self._basis: Tensor | None = None
        self._model: ReducedModel | None = None

    def fit(self, train: Dataset, val: Dataset | None, *, seed: int = 0, folder: Path | None = None) -> FitLog:
        """POD of the training solutions and, where no rule is given, the rank that does best on ``val``.

        Raises NWidthError where no problem is known, its inputs are missing, or ``rank`` exceeds that of the
        data.
        """
        self.check(train)
        self._problem = self._find_problem(train)
        self._problem.need(train)
        self._grid = train.grid
        choose = self.rank is None and self.rtol is None and val is not None and len(val) > 0
        rtol = 1e-4 if self.rank is None and self.rtol is None and not choose else self.rtol
        pod = POD(center=False).fit(
            _snapshots(train, self._problem),
            train.grid.norm_weights(),
            rank=self.rank,
            rtol=rtol,
            cap=CANDIDATES[-1] if choose else None,
        )
        assert pod.basis is not None and pod.s is not None
        log = FitLog(selected={"problem": self._problem.config()})
        rank = pod.rank
        if choose:
            for r in sorted({*(c for c in CANDIDATES if c < rank), rank}):
                self._reduce(pod.basis[:r])
                log.history.append({"rank": r, "val_rel_l2": self._error(val)})  # type: ignore[arg-type]
            best = min(h["val_rel_l2"] for h in log.history)
            rank = next(h["rank"] for h in log.history if h["val_rel_l2"] <= 1.05 * best)
        self._reduce(pod.basis[:rank])
        total = pod.s.square().sum()
        log.rank, log.selected["rank"] = rank, rank
        log.selected["rank_of"] = "states" if train.time_dependent else "samples"
        floor = float((pod.s[rank:].square().sum() / total).sqrt())
        log.selected["train_floor"] = floor
        log.notes.append(f"{rank} POD modes leave {floor:.1e} of the training solutions")
        if val is not None and len(val):
            u = val.load().solution.double()  # type: ignore[union-attr]
            given = _prescribed(self._problem, val.load(), u)
            log.selected["val_floor"] = float(relative_l2(self._project(u - given) + given, u, val.grid).mean())
            log.notes.append(f"the best error of this space on validation is {log.selected['val_floor']:.1e}")
        return log

    def predict(self, inputs: Dataset) -> Prediction:
        """Solutions on ``inputs.grid``, for time-dependent problems at ``inputs.t``; computed in float64."""
        model, problem = self.fitted(self._model), self.fitted(self._problem)
        problem.need(inputs)
        if isinstance(model, ReducedEvolution) and inputs.t is None:
            raise NWidthError(
                "ReducedBasis.predict",
                got="inputs without times",
                expected="inputs.t",
                fix="give the times at which the solution is wanted",
            )
        parts = []
        for block in blocks_of(inputs, BLOCK):
            given = lead(block)
            if self._basis.device != given.device:  # type: ignore[union-attr]
                self._reduce(self._basis.to(given.device))  # type: ignore[union-attr]
                model = self.fitted(self._model)
            basis = resample(self._basis, self._grid, inputs.grid)  # type: ignore[arg-type]
            c = model.solve(block, basis)
            u = torch.tensordot(c, basis, dims=1)
            parts.append((u + _prescribed(problem, block, u)).to(given.dtype))
        return Prediction(torch.cat(parts))

    def state_dict(self) -> dict[str, Any]:
        """Modes (r, C, *space), their grid and the problem's config."""
        basis = self.fitted(self._basis)
        assert self._grid is not None and self._problem is not None
        return {"basis": basis, "grid": self._grid.to_dict(), "problem": self._problem.config()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._grid, self._problem = grid_from_dict(state["grid"]), build(state["problem"])
        self._reduce(state["basis"])

    def _find_problem(self, train: Dataset) -> Problem:
        problem = problem_of(train, self.problem, f"{type(self).__name__}.fit")
        if not isinstance(problem, self.kinds):
            raise NWidthError(
                f"{type(self).__name__}.fit",
                got=f"problem {type(problem).__name__}",
                expected=" or ".join(
                    f"an {k.__name__}" if k.__name__[0] == "E" else f"a {k.__name__}" for k in self.kinds
                ),
            )
        return problem

    def _reduce(self, basis: Tensor) -> None:
        """Build the reduced model on these modes (r, C, *space)."""
        self._basis = basis.double().clone(memory_format=torch.contiguous_format)
        if isinstance(self._problem, EllipticProblem):
            self._model = ReducedElliptic(self._problem)
        elif isinstance(self._problem, SemilinearProblem):
            assert isinstance(self._grid, Grid)
            self._model = ReducedSemilinear(self._problem, self._basis, self._grid)
        else:
            assert isinstance(self._problem, EvolutionProblem) and isinstance(self._grid, Grid)
            self._model = ReducedEvolution(self._problem, self._basis, self._grid, self.step_ratio)

    def _project(self, u: Tensor) -> Tensor:
        """The W-orthogonal projection of fields on the training grid onto the modes."""
        assert self._basis is not None and self._grid is not None
        dims = self._basis.ndim - 1
        weighted = u * self._grid.norm_weights().to(u.device)
        c = weighted.flatten(-dims) @ self._basis.flatten(1).T
        return torch.tensordot(c, self._basis, dims=1)

    def _error(self, data: Dataset) -> float:
        u = data.load().solution.double()  # type: ignore[union-attr]
        return float(relative_l2(self.predict(data.inputs()).mean.double(), u, data.grid).mean())


def _snapshots(train: Dataset, problem: Problem) -> Tensor:
    """All states (S, C, *space), float64: solutions at all times, and the initial states.

    Steady solutions lose the values that the boundary prescribes, so that the modes vanish there.
    """
    train = train.load()
    u: Tensor = train.solution.double()  # type: ignore[union-attr]
    if not train.time_dependent:
        return u - _prescribed(problem, train, u)
    states = [u.flatten(0, 1)]
    if train.u0 is not None:
        states.append(train.u0.double())  # type: ignore[union-attr]
    return torch.cat(states)


def _prescribed(problem: Problem | None, data: Dataset, like: Tensor) -> Tensor:
    """The boundary values of steady solutions, continued by zero (on meshes as the problem lifts them): shaped like
    the solutions, or a zero."""
    if isinstance(problem, AffineProblem) and isinstance(data.mu, Tensor):
        return problem.system(data.grid).lift(data.mu.to(like.device, like.dtype)).view(len(data), *like.shape[1:])
    if isinstance(problem, EllipticProblem) and isinstance(like, Tensor) and not data.time_dependent:
        return problem.complete(torch.zeros_like(like), data.inputs().to(like.device, like.dtype))
    return torch.zeros((), dtype=like.dtype, device=like.device)
