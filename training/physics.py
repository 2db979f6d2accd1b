"""The residual of the equation as a loss: what a prediction leaves of its problem's own discrete equations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..backends import Grid, Mesh
from ..data import Dataset
from ..errors import NWidthError
from ..solvers import EllipticProblem, EvolutionProblem, FiniteVolumeProblem, Lorenz96, Problem
from ..solvers.cells import broadcast
from ..solvers.problem import problem_of
from .losses import _relative

NORMS = ("l2", "energy")
TIMES = ("trapezoid", "simpson")


class PhysicsResidual(nn.Module):
    """mean_n |r(p_n)| / scale_n, r the residual of the problem that made the data; the target is not read.

    Steady problems (``EllipticProblem``): r = A(a) p - f on the stored grid, by finite volumes or, where the problem
    says so, spectrally. ``norm`` ``l2``: |r| / |f|, which weighs the frequency k by k^2. ``energy``: the norm of
    P^(-1), P the problem's preconditioner, in which |r| is the energy norm of the error up to constants:
    well-conditioned on any grid. Values at nodes of Dirichlet sides are in r with ``l2`` only (else mix
    ``BoundaryTraces``).

    Time-dependent problems, with F(u) = L u + N(u), spectral on periodic boxes (``EvolutionProblem``), finite volumes
    for conservation laws, the ring of ``Lorenz96``; states k = 0 .. T with u0 as the first, in the norm over times and
    points, scaled by |F(u0)|:

        trapezoid   r_k = (p_k+1 - p_k) / dt_k - (F(p_k) + F(p_k+1)) / 2         of second order in the stored steps
        simpson     r_k = (p_k+1 - p_k-1) / (2 dt) - (F(p_k-1) + 4 F(p_k) + F(p_k+1)) / 6    fourth; equal steps

    ``time`` is one of these: the solution at stored times leaves an error of that order, so steps must resolve the
    motion. A rollout sees one step, and the first formula. ``problem``: null takes the one that the data record.
    Derivatives pass through the network's output alone, not through the network's layers. Source of the idea: Li et
    al., Physics-informed neural operator, arXiv:2111.03794, section 3.2.

    Raises ``NWidthError`` where the problem is unknown or is none of these kinds, or inputs that it reads are missing.
    """

    reads_inputs = True

    def __init__(self, problem: Problem | None = None, norm: str = "l2", time: str = "trapezoid", floor: float = 1e-6):
        super().__init__()
        for name, value, known in (("norm", norm, NORMS), ("time", time, TIMES)):
            if value not in known:
                raise NWidthError("PhysicsResidual", got=f"{name}={value!r}", expected="one of " + ", ".join(known))
        self.problem, self.norm, self.time, self.floor = problem, norm, time, floor
        self._made: tuple[Any, Problem] | None = None

    def forward(self, p: Tensor, u: Tensor, grid: Grid | Mesh, predicted: Dataset) -> Tensor:
        problem = self._problem(predicted)
        problem.need(predicted)
        if isinstance(problem, EllipticProblem):
            return self._steady(problem, predicted)
        if isinstance(problem, EvolutionProblem | FiniteVolumeProblem | Lorenz96):
            return self._evolving(problem, predicted)
        raise NWidthError(
            "PhysicsResidual",
            got=type(problem).__name__,
            expected="an elliptic problem on a grid, an evolution on a periodic box, a conservation law or lorenz96",
        )

    def _problem(self, predicted: Dataset) -> Problem:
        if self.problem is not None:
            return self.problem
        if self._made is None or self._made[0] != predicted.problem:
            self._made = (predicted.problem, problem_of(predicted, None, "PhysicsResidual"))
        return self._made[1]

    def _steady(self, problem: EllipticProblem, predicted: Dataset) -> Tensor:
        p: Tensor = predicted.solution  # type: ignore[assignment]
        inputs = predicted.inputs()
        r, f = problem.residual(p, inputs), problem.source(inputs).expand_as(p)
        if self.norm == "energy":
            return _relative(problem.dual_norm2(r, inputs), problem.dual_norm2(f, inputs), self.floor)
        return _relative(r.square().flatten(1).mean(1), f.square().flatten(1).mean(1), self.floor)

    def _evolving(self, problem: Problem, predicted: Dataset) -> Tensor:
        if predicted.t is None:
            raise NWidthError("PhysicsResidual", got="steady data", expected=f"times, as {type(problem).__name__} has")
        start: Tensor = predicted.u0  # type: ignore[assignment]
        states = torch.cat([start[:, None], predicted.solution], 1)  # type: ignore[list-item]
        many = states.shape[1]
        each = {k: v.repeat_interleave(many, 0) for k in ("a", "mu") if (v := getattr(predicted, k)) is not None}
        inputs = Dataset(predicted.grid, u0=states.flatten(0, 1), t=predicted.t, t0=predicted.t0, **each)
        q, rate = (v.unflatten(0, (-1, many)) for v in _rate(problem, inputs))
        t = torch.cat([torch.tensor([predicted.t0], dtype=torch.float64), predicted.t.double()])
        gaps = t.diff()
        if self.time == "simpson":
            if len(gaps) < 2 or float((gaps - gaps[0]).abs().max()) > 1e-6 * float(gaps[0]):
                raise NWidthError(
                    "PhysicsResidual",
                    got=f"time='simpson' with {len(gaps)} steps" + (" that differ" if len(gaps) > 1 else ""),
                    expected="two equal steps or more",
                    fix="take time=trapezoid",
                )
            mean = (rate[:, :-2] + 4 * rate[:, 1:-1] + rate[:, 2:]) / 6
            r = (q[:, 2:] - q[:, :-2]) / (2 * float(gaps[0])) - mean
        else:
            steps = gaps.to(q).view(-1, *(1,) * (q.ndim - 2))
            r = q.diff(dim=1) / steps - (rate[:, :-1] + rate[:, 1:]) / 2
        return _relative(r.square().flatten(1).mean(1), rate[:, 0].square().flatten(1).mean(1), self.floor)


def _rate(problem: Problem, inputs: Dataset) -> tuple[Tensor, Tensor]:
    """What evolves, q, and q_t = F, of the states in ``inputs.u0``."""
    u: Tensor = inputs.u0  # type: ignore[assignment]
    if isinstance(problem, FiniteVolumeProblem):
        mu = broadcast(problem.parameters(inputs), problem.ndim)
        q = problem.conserved(u, mu)
        return q, problem.tendency(q, mu, inputs.grid)  # type: ignore[arg-type]
    assert isinstance(problem, EvolutionProblem | Lorenz96)
    return u, problem.tendency(u, inputs)
