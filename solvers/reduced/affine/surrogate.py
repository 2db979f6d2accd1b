"""The certified reduced basis as a surrogate: predictions with a bound of their error."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from ....backends import Mesh, grid_from_dict
from ....backends.svd import InnerProduct, inner_product
from ....build import build
from ....data import Dataset, FitLog, Prediction, Surrogate
from ....errors import NWidthError
from ...affine import AffineProblem
from ...affine_system import AffineSystem
from ...meshes import mesh_hash
from ...parabolic import Parabolic
from ...problem import Problem, lead, problem_of
from .coercivity import SuccessiveConstraints, largest
from .greedy import GreedyLog, greedy
from .model import AffineModel, relative_bound
from .parabolic import ParabolicModel, ParabolicReductor, pod_greedy
from .reductor import AffineReductor

METHODS = ("greedy", "pod")
OUTSIDE = ("warn", "error")
BLOCK = 2**24  # entries of a block of solutions
RTOL = 1e-4


class CertifiedReducedBasis(Surrogate):
    """u ~ g(mu) + sum_k c_k V_k with c from the problem's own affine equation, and a bound of the error:

        |u - u_N|_W <= C |u - u_N|_X <= C |r(mu)|_X' / alpha(mu),   C^2 = max |v|_W^2 / |v|_X^2,

    W being the norm of the report. ``Prediction.bound`` is what follows for the relative L2 error against the
    problem's full-order solution on the same mesh (the mean over channels of bound / (|u_N| - bound), infinite where
    that says nothing). ``AffineModel`` has the sharper bounds in the energy norm, ``ParabolicModel`` those in time.

    Parameters
    ----------
    rank, rtol : how many basis vectors at most, and the tolerance: for greedy, of the relative error bound in X over
        the training parameters; for pod, of the projection of the snapshots. With neither rtol=1e-4.
    method : ``greedy``, with full-order solutions computed where the bound is largest (POD-greedy in time); ``pod``,
        the modes of the training solutions in X, each solution divided by its norm.
    parameters : greedy chooses among this many random parameters of the problem's box; None: among those of the
        training samples.
    product, projection, coercivity : see ``AffineReductor``. Without coercivity there is no bound.
    outside : ``warn`` or ``error`` for parameters outside the problem's ranges. Bounds hold there too, if they are
        finite, but may be large.
    problem : the equation; by default the one that the training file records. An ``AffineProblem``, or ``Parabolic``
        of one, which starts from its own initial value.

    Inputs must lie on the mesh of the training data, and at its times.

    >>> from nwidth.data.metrics import relative_l2
    >>> from nwidth.solvers import ThermalBlock
    >>> problem = ThermalBlock(blocks=[2, 1])
    >>> data = problem.simulate(range(24), seed=0, grid=problem.grid(8))
    >>> surrogate = CertifiedReducedBasis(rtol=1e-3)
    >>> _ = surrogate.fit(data[:20], None)
    >>> p = surrogate.predict(data[20:].inputs())
    >>> error = relative_l2(p.mean, data[20:].u, data.grid)[:, 0]
    >>> bool((error <= p.bound).all()), bool((p.bound < 0.01).all())
    (True, True)
    """

    needs = ("mu",)

    def __init__(
        self,
        *,
        rank: int | None = None,
        rtol: float | None = None,
        method: str = "greedy",
        parameters: int | None = None,
        product: str = "energy",
        projection: str = "galerkin",
        coercivity: str = "auto",
        outside: str = "warn",
        problem: Problem | None = None,
    ):
        if method not in METHODS or outside not in OUTSIDE:
            raise NWidthError(
                "CertifiedReducedBasis",
                got=f"method={method!r}, outside={outside!r}",
                expected="method " + " or ".join(METHODS) + ", outside " + " or ".join(OUTSIDE),
            )
        self.rank, self.rtol, self.method, self.parameters = rank, rtol, method, parameters
        self.product, self.projection, self.coercivity = product, projection, coercivity
        self.outside, self.problem = outside, problem
        self.uses_seed = parameters is not None
        self._problem: AffineProblem | Parabolic | None = None
        self._mesh: Mesh | None = None
        self._model: AffineModel | ParabolicModel | None = None
        self._embedding = math.nan

    def fit(self, train: Dataset, val: Dataset | None, *, seed: int = 0, folder: Path | None = None) -> FitLog:
        """NWidthError for problems of another kind, snapshots that are not finite, ranks above what they hold,
        problems that are not coercive, and where memory does not suffice."""
        self.check(train)
        problem = self._problem = self._find_problem(train)
        problem.need(train)
        steady = problem.steady if isinstance(problem, Parabolic) else problem
        system = steady.system(train.grid)
        self._mesh = system.mesh
        mu: Tensor = train.load().mu.double().cpu()  # type: ignore[union-attr]
        steady.check(mu)
        chosen = mu if self.parameters is None else steady.sample(range(self.parameters), seed, self._mesh).mu
        assert chosen is not None
        reductor = self._reductor(problem, system, torch.cat([chosen, mu]) if self.parameters else chosen)
        rtol = RTOL if self.rank is None and self.rtol is None else self.rtol
        log = FitLog(selected={"problem": problem.config()})
        if self.method == "pod":
            found = GreedyLog()
            reductor.pod(self._snapshots(train.load(), system), rank=self.rank, rtol=rtol)
            self._model = reductor.reduced() if isinstance(reductor, ParabolicReductor) else reductor.reduce()
        elif isinstance(reductor, ParabolicReductor):
            self._model, found = pod_greedy(reductor, chosen, rank=self.rank, rtol=rtol)
        else:
            self._model, found = greedy(reductor, chosen, rank=self.rank, rtol=rtol)
        log.history, log.notes = found.history, found.notes
        log.rank = self._model.rank
        log.selected |= {"rank": log.rank, "rank_of": "states" if train.time_dependent else "samples"}
        self._embedding = _embedding(system, reductor)
        coercivity = reductor.coercivity
        kind = "scm" if isinstance(coercivity, SuccessiveConstraints) else "min_theta" if coercivity else "none"
        log.selected["coercivity"] = kind
        log.notes.insert(0, f"{log.rank} basis vectors by {self.method}; coercivity: {kind}")
        if coercivity is None:
            log.notes.append("no coercivity bound: predictions come without a bound of their error")
        return log

    def _find_problem(self, train: Dataset) -> AffineProblem | Parabolic:
        problem = problem_of(train, self.problem, "CertifiedReducedBasis.fit")
        if not isinstance(problem, AffineProblem | Parabolic):
            raise NWidthError(
                "CertifiedReducedBasis.fit",
                got=f"problem {type(problem).__name__}",
                expected="an AffineProblem, or Parabolic: an operator that is affine in functions of mu, on a mesh",
                fix="take reduced_basis for other problems",
            )
        if isinstance(problem, Parabolic):
            self._same_times(problem, train)
            if self.projection != "galerkin" or self.coercivity == "none":
                raise NWidthError(
                    "CertifiedReducedBasis.fit",
                    got=f"projection={self.projection!r}, coercivity={self.coercivity!r} for a parabolic problem",
                    expected="projection=galerkin and a coercivity bound",
                )
        return problem

    @staticmethod
    def _same_times(problem: Parabolic, data: Dataset) -> None:
        want = problem.final_time * np.arange(1, problem.times + 1) / problem.times
        got = None if data.t is None else data.t.double().cpu().numpy() - data.t0
        if got is None or got.shape != want.shape or not np.allclose(got, want, rtol=1e-6) or data.u0 is not None:
            raise NWidthError(
                "CertifiedReducedBasis",
                got="inputs with u0" if data.u0 is not None else "other times than the problem's",
                expected=f"{problem.times} equal times up to {problem.final_time:g}, from the problem's initial value",
                fix="set problem.times and problem.final_time as in the data, and leave u0 away",
            )

    def _reductor(self, problem: AffineProblem | Parabolic, system: AffineSystem, training: Tensor) -> AffineReductor:
        options: dict[str, Any] = {"product": self.product, "coercivity": self.coercivity, "training": training}
        if isinstance(problem, Parabolic):
            return ParabolicReductor(problem, system, **options)
        return AffineReductor(system, projection=self.projection, **options)

    @staticmethod
    def _snapshots(train: Dataset, system: AffineSystem) -> Tensor:
        """The training solutions on the free nodes, each divided by its norm: the errors that count are relative."""
        u: Tensor = train.solution.double().cpu()  # type: ignore[union-attr]
        if not bool(torch.isfinite(u).all()):
            raise NWidthError(
                "CertifiedReducedBasis.fit",
                got="snapshots with values that are not finite",
                expected="finite solutions",
                fix="see nwidth info, and leave the damaged samples out",
            )
        size = u.flatten(1).norm(dim=1)
        u = u / torch.where(size > 0, size, 1.0).view(-1, *(1,) * (u.ndim - 1))
        mu: Tensor = train.mu.double().cpu()  # type: ignore[union-attr]
        if train.time_dependent:
            mu, u = mu.repeat_interleave(u.shape[1], 0), u.flatten(0, 1)
        return system.restrict(u, mu)

    def predict(self, inputs: Dataset) -> Prediction:
        """Solutions on the mesh of the training data, and bounds of their relative L2 errors (N,)."""
        model, problem = self.fitted(self._model), self.fitted(self._problem)
        problem.need(inputs)
        if not isinstance(inputs.grid, Mesh) or mesh_hash(inputs.grid) != mesh_hash(self._mesh):  # type: ignore
            raise NWidthError(
                "CertifiedReducedBasis.predict",
                got=f"inputs on {inputs.grid.describe()}",
                expected="the mesh of the training data",
                fix="fit on this mesh",
            )
        if isinstance(problem, Parabolic):
            self._same_times(problem, inputs)
        given = lead(inputs)
        mu: Tensor = inputs.load().mu.double()  # type: ignore[union-attr]
        steady = model.steady if isinstance(model, ParabolicModel) else model
        notes = self._outside(steady, mu)
        size = max(1, BLOCK // (steady.system.space.size * max(1, getattr(problem, "times", 1))))
        parts = [self._predict(model, m) for m in mu.split(size)]
        mean = torch.cat([p[0].to(given.dtype) for p in parts])
        bound = None if parts[0][1] is None else torch.cat([p[1] for p in parts])  # type: ignore[misc]
        return Prediction(mean, bound=bound, notes=notes)

    def _predict(self, model: AffineModel | ParabolicModel, mu: Tensor) -> tuple[Tensor, Tensor | None]:
        weights = self._mesh.norm_weights().to(mu)  # type: ignore[union-attr]
        if isinstance(model, ParabolicModel):
            c, absolute, _ = model.solve(mu)
            problem = model.system.problem
            ratio = problem.theta_mass(mu) / problem.theta_mass(problem.reference.to(mu)[None])
            bound = self._embedding * absolute.norm(dim=1) / ratio.amin(1).sqrt()
            u = model.reconstruct(c, mu)
            size = (u.square() * weights).sum((1, 3)).sqrt()
        else:
            c = model.solve(mu)
            u = model.reconstruct(c, mu)
            if model.coercivity is None:
                return u, None
            bound = self._embedding * model.error_bound(mu, c, norm="product")
            size = (u.square() * weights).sum(2).sqrt()
        return u, relative_bound(bound[:, None].expand_as(size), size).mean(1)

    def _outside(self, model: AffineModel, mu: Tensor) -> tuple[str, ...]:
        out = model.outside(mu)
        if not bool(out.any()):
            return ()
        text = f"{int(out.sum())} of {len(mu)} parameters lie outside the problem's ranges, first {mu[out][0].tolist()}"
        if self.outside == "error":
            ranges = ", ".join(f"{p.name} in [{p.lo:g}, {p.hi:g}]" for p in model.system.problem.parameters)
            raise NWidthError("CertifiedReducedBasis.predict", got=text, expected=ranges, fix="set outside=warn")
        warnings.warn(f"CertifiedReducedBasis: {text}", stacklevel=3)
        return (text,)

    def state_dict(self) -> dict[str, Any]:
        """The reduced matrices, the basis, the mesh and the problem's config."""
        model, problem = self.fitted(self._model), self.fitted(self._problem)
        assert self._mesh is not None
        steady = model.steady if isinstance(model, ParabolicModel) else model
        state = {
            "model": steady.state_dict(),
            "problem": problem.config(),
            "mesh": self._mesh.to_dict(),
            "embedding": self._embedding,
            "coercivity": "none" if steady.coercivity is None else "min_theta",
        }
        if isinstance(steady.coercivity, SuccessiveConstraints):
            state |= {"coercivity": "scm", "scm": steady.coercivity.state_dict()}
        if isinstance(model, ParabolicModel):
            state |= {"masses": model.masses, "start": model.start}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        problem = self._problem = build(state["problem"])
        mesh = grid_from_dict(state["mesh"])
        assert isinstance(mesh, Mesh)
        self._mesh, self._embedding = mesh, float(state["embedding"])
        steady = problem.steady if isinstance(problem, Parabolic) else problem
        system = steady.system(mesh)
        coercivity = {
            "none": lambda: None,
            "min_theta": lambda: system.min_theta,
            "scm": lambda: SuccessiveConstraints.restored(system, state["scm"]),
        }[state["coercivity"]]()
        model = AffineModel.restored(system, state["model"], coercivity)
        self._model = ParabolicModel(problem, model, state["masses"], state["start"]) if "masses" in state else model


def _embedding(system: AffineSystem, reductor: AffineReductor) -> float:
    """max |v|_W / |v|_Y on the free unknowns, Y being X, or M at the reference for parabolic problems."""
    weights = system.mesh.norm_weights().double().repeat(system.space.components)[torch.from_numpy(system.free)]
    product: InnerProduct = reductor.product
    if isinstance(reductor, ParabolicReductor):
        factors = system.problem.theta_mass(system.problem.reference[None])[0].tolist()
        mass = scipy.sparse.csr_matrix(sum(w * m for w, m in zip(factors, system.masses)))
        product = inner_product(mass, (len(weights), 1), weights)
    return math.sqrt(largest(product, weights.numpy()))
