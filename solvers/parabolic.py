"""Parabolic problems on meshes: an affine problem's operator with a time derivative."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..backends import Grid, Mesh
from ..data import Dataset
from ..errors import NWidthError
from .affine import AffineProblem
from .affine_system import AffineSystem
from .problem import Problem, lead
from .sparse import SparseSum

SCHEMES = ("implicit_euler", "crank_nicolson", "bdf2")


@dataclass(frozen=True, kw_only=True)
class Parabolic(Problem):
    """M(mu) u_t + A(mu) u = f(mu), u(t0) = u0, with A, f and the prescribed values of a steady affine problem.

    Parameters
    ----------
    steady : the problem that gives A, f, M, the mesh and the parameters. Solutions tend to its solution.
    final_time, times : the end, and the number of stored instants, equally spaced after 0.
    steps : time steps from 0 to ``final_time``; each interval between stored instants has a whole number of equal
        ones, not longer than final_time / steps.
    scheme : implicit_euler (order 1, damps everything), crank_nicolson (order 2, does not damp what is unresolved),
        or bdf2 (order 2, strongly damping, started by implicit Euler). Hairer and Wanner (1996), Solving Ordinary
        Differential Equations II, IV.3 and V.1.
    initial : the constant initial value where the inputs have no u0; prescribed points have their values from t0 on.

    One sparse factorisation a parameter (two for bdf2); inputs with times t must have them equally spaced from t0.

    >>> from nwidth.solvers import ThermalBlock
    >>> problem = Parabolic(steady=ThermalBlock(), times=4, steps=20)
    >>> data = problem.simulate([0, 1], seed=0, grid=problem.grid(6))
    >>> tuple(data.u.shape), data.t.tolist()
    ((2, 4, 1, 85), [0.25, 0.5, 0.75, 1.0])
    """

    steady: AffineProblem
    final_time: float = 1.0
    times: int = 10
    steps: int = 100
    scheme: str = "bdf2"
    initial: float = 0.0

    def __post_init__(self):
        good = isinstance(self.steady, AffineProblem) and self.scheme in SCHEMES and math.isfinite(self.initial)
        if not good or not 0 < self.final_time < math.inf or not 1 <= self.times <= self.steps:
            raise NWidthError(
                "Parabolic",
                got=f"steady={type(self.steady).__name__}, final_time={self.final_time}, times={self.times}, "
                f"steps={self.steps}, scheme={self.scheme!r}, initial={self.initial}",
                expected="an affine problem, final_time > 0, 1 <= times <= steps, a finite initial value, and a scheme "
                "of " + ", ".join(SCHEMES),
            )

    @property
    def reads(self) -> tuple[str, ...]:
        return ("mu",)

    def grid(self, resolution: int | Sequence[int]) -> Mesh:  # type: ignore[override]
        return self.steady.grid(resolution)

    def sample(self, indices: Sequence[int], seed: int, grid: Grid | Mesh) -> Dataset:
        t = self.final_time * torch.arange(1, self.times + 1, dtype=torch.float64) / self.times
        return replace(self.steady.sample(indices, seed, grid), t=t, problem=self.config())

    def solve(self, inputs: Dataset, *, dtype: torch.dtype = torch.float64) -> Dataset:
        """``inputs`` with the solution u (N, T, C, points) at ``inputs.t``; sparse solvers in float64 on the CPU.

        Raises NWidthError for missing or unusable inputs, times that are not equally spaced from t0, and operators
        that are singular.
        """
        self.need(inputs)
        inputs = inputs.load()
        mu: Tensor = inputs.mu.double().cpu()  # type: ignore[union-attr]
        system = self.steady.system(inputs.grid)
        self.steady.check(mu)
        interval, count = self._interval(inputs)
        inner = max(1, math.ceil(interval * self.steps / self.final_time - 1e-9))
        stepper = Stepper(system, self.scheme, interval / inner)
        u = torch.empty(len(mu), count, system.space.components, len(system.space.points), dtype=torch.float64)
        for i, m in enumerate(mu.split(1)):
            if inputs.u0 is None:
                start = torch.full_like(u[i, 0], self.initial)[None]
            else:
                start = inputs.u0[i : i + 1].double().cpu()
            free = stepper.run(m, system.restrict(start, m)[0].numpy(), count, inner)
            u[i] = system.extend(torch.from_numpy(free), m.expand(count, -1))
        given = lead(inputs)
        names = {"u": self.steady.channels, **inputs.names}
        return replace(inputs, u=u.to(given.device, given.dtype), names=names, problem=self.config())

    def _interval(self, inputs: Dataset) -> tuple[float, int]:
        t = inputs.t
        if t is None:
            raise NWidthError(
                "Parabolic.solve", got="inputs without times", expected="inputs.t", fix="take problem.sample"
            )
        gaps = torch.cat([t[:1] - inputs.t0, t.diff()]).double()
        if not bool((gaps > 0).all()) or float(gaps.max() - gaps.min()) > 1e-6 * float(gaps.mean()):
            raise NWidthError(
                "Parabolic.solve",
                got=f"times {t[:4].tolist()}... from t0={inputs.t0:g}",
                expected="times equally spaced from t0",
                fix="set t0, or thin the times",
            )
        return float(gaps.mean()), len(t)


class Stepper:
    """Time steps of M(mu) v' + A(mu) v = f(mu) for the free unknowns v of a system."""

    def __init__(self, system: AffineSystem, scheme: str, step: float):
        self.system, self.scheme, self.step = system, scheme, step
        self._sum = SparseSum([*system.operators.matrices, *system.masses])

    def run(self, mu: Tensor, start: np.ndarray, count: int, inner: int) -> np.ndarray:
        """(count, free): every ``inner``-th state after ``start`` (free,), for one mu (1, P)."""
        theta, c = (v[0].numpy() for v in self.system.coefficients(mu))
        masses = self.system.problem.theta_mass(mu)[0].numpy()
        f = self.step * (c @ self.system.loads)

        def matrix(a: float, m: float) -> np.ndarray:
            return np.concatenate([a * self.step * theta, m * masses])

        mass = self._sum.matrix(matrix(0.0, 1.0))
        implicit = {"implicit_euler": 1.0, "crank_nicolson": 0.5, "bdf2": 1.0}[self.scheme]
        first = self._sum.factor(matrix(implicit, 1.0))
        explicit = self._sum.matrix(matrix(implicit - 1.0, 1.0))
        second = self._sum.factor(matrix(1.0, 1.5)) if self.scheme == "bdf2" else first
        out = np.empty((count, len(start)))
        before, v = start, start
        for k in range(count * inner):
            if self.scheme == "bdf2" and k > 0:
                before, v = v, second(mass @ (2 * v - 0.5 * before) + f)
            else:
                before, v = v, first(explicit @ v + f)
            if (k + 1) % inner == 0:
                out[(k + 1) // inner - 1] = v
        if not np.isfinite(out).all():
            raise NWidthError(
                "Parabolic.solve",
                got="a solution that ceased to be finite",
                expected="a stable problem",
                fix="check the parameters, or raise steps",
            )
        return out
