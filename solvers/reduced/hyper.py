"""Hyper-reduction: Galerkin models that evaluate a nonlinearity at a few points, whatever the size of the grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ...backends import Grid
from ...backends.resample import resample
from ...data import Dataset
from ...errors import NWidthError
from ..evolution import EvolutionProblem
from ..semilinear import SemilinearProblem
from .interpolation import EmpiricalInterpolation
from .projection import ReducedEvolution

STEPS, HALVINGS = 60, 30
BLOCK = 2**22  # point values that are made at once


class HyperReducedEvolution(ReducedEvolution):
    """c' = M^(-1) (V^T L V c + V^T N(0) + V^T U (P^T U)^+ n(P^T J V c)):

    the model of ``ReducedEvolution`` with n(u) = N(u) - N(0) interpolated in a space U from its values at the points P
    (DEIM; Chaturantabut and Sorensen 2010, SIAM J. Sci. Comput. 32). J V are the modes and their
    derivatives that n depends on, kept at these points alone.

    interpolation : of functions (C points,) on the points of ``space``, as ``nonlinear_values`` gives them.
    """

    def __init__(
        self,
        problem: EvolutionProblem,
        basis: Tensor,
        grid: Grid,
        step_ratio: float,
        interpolation: EmpiricalInterpolation,
    ):
        super().__init__(problem, basis, grid, step_ratio)
        projected = interpolation.basis @ self.projector  # (d, r)
        self.matrix = interpolation.coefficients(_identity(interpolation)) @ projected  # (m, r)
        size = self.points.shape[1] // self.channels
        at, self.place = torch.unique(interpolation.points % size, return_inverse=True)
        self.channel = interpolation.points // size
        jet = self.space.values(problem.jet(self.modes, self.space))
        self.jet = jet.flatten(2)[:, :, at]  # (r, J, P)

    @property
    def channels(self) -> int:
        return self.modes.shape[1]

    @property
    def evaluations(self) -> int:
        """The number of points at which the nonlinearity is evaluated."""
        return self.jet.shape[-1]

    def _expand(self) -> None:  # type: ignore[override]
        """No table of products of modes: the points replace it."""

    def _rate(self, inputs: Dataset) -> Callable[[Tensor], Tensor]:
        constant = self._nonlinear(torch.zeros_like(self.modes[:1]).expand(len(inputs), *self.modes.shape[1:]), inputs)

        def rate(c: Tensor) -> Tensor:
            values = self.problem.at_points(torch.tensordot(c, self.jet, dims=1), inputs)
            return constant + values[:, self.channel, self.place] @ self.matrix

        return rate


def nonlinear_values(problem: EvolutionProblem, states: Dataset) -> Tensor:
    """N(u) - N(0), (S, C points), for states ``u0`` (S, C, *space) on the points of ``HyperReducedEvolution.space``."""
    states = problem.on_period(states).to(dtype=torch.float64)
    grid, u0 = states.grid, states.u0
    assert isinstance(grid, Grid) and isinstance(u0, Tensor)
    if problem.complex_state:
        raise NWidthError("DEIMGalerkin", got=f"the complex {type(problem).__name__}", expected="a real equation")
    space = problem.space(grid, [(problem.factors + 1) * (n // 2) + 1 for n in grid.shape], u0)
    size = max(1, BLOCK // (torch.Size(space.shape).numel() * u0.shape[1]))
    parts = []
    for i in range(0, len(u0), size):
        block = states[i : i + size]
        jet = space.values(problem.jet(space.coefficients(block.u0), space))  # type: ignore[arg-type]
        parts.append(problem.at_points(jet.flatten(2), block).flatten(1))
    return torch.cat(parts)


class ReducedSemilinear:
    """V^T (-Lap_h) V c + V^T U (P^T U)^+ g(P^T V c; mu) = V^T f for every sample of a batch, by Newton's method.

    Without an interpolation g is evaluated at all inner points, V^T g(V c): plain Galerkin. Modes (r, 1, *space) vanish
    on the boundary. Steps are halved for each sample until the residual falls; if Newton from c = 0 stalls, f is
    raised in steps (continuation).
    """

    def __init__(
        self,
        problem: SemilinearProblem,
        basis: Tensor,
        grid: Grid,
        interpolation: EmpiricalInterpolation | None = None,
    ):
        self.problem, self.grid = problem, grid
        self.modes = problem.inner(basis)[:, 0].flatten(1)  # (r, inner points)
        self._load: Tensor | None = None  # of forces that are the same for all samples
        self.stiffness = problem.laplacian(problem.inner(basis), grid).flatten(1) @ self.modes.T
        if interpolation is None:
            self.at_points, self.matrix = self.modes, self.modes.T
        else:
            self.at_points = self.modes[:, interpolation.points]
            self.matrix = interpolation.coefficients(_identity(interpolation)) @ (interpolation.basis @ self.modes.T)

    @property
    def evaluations(self) -> int:
        """The number of points at which the nonlinearity is evaluated."""
        return self.at_points.shape[1]

    def solve(self, inputs: Dataset, basis: Tensor) -> Tensor:
        """Coefficients c (N, r); fields of forces are interpolated to the grid of the modes."""
        inputs = inputs.to(dtype=self.modes.dtype)
        a = None if inputs.a is None else resample(inputs.a, inputs.grid, self.grid)  # type: ignore[arg-type]
        inputs = replace(inputs, grid=self.grid, a=a, u0=None)
        f = self._load
        if f is None:
            f = self.problem.inner(self.problem.forces(inputs)).flatten(1) @ self.modes.T
            self._load = None if "a" in self.problem.reads else f
        f = f.expand(len(inputs), -1)
        c, good = self._newton(torch.zeros_like(f), f, inputs)
        if not bool(good.all()):
            rest = torch.nonzero(~good)[:, 0]
            c[rest] = self._continue(f[rest], inputs[rest.tolist()])
        return c

    def _continue(self, f: Tensor, inputs: Dataset) -> Tensor:
        c = torch.zeros_like(f)
        for share in torch.linspace(0.05, 1, 20).tolist():
            c, good = self._newton(c, share * f, inputs)
        if not bool(good.all()):
            raise NWidthError(
                "DEIMGalerkin.predict",
                got=f"Newton's method without convergence for {int((~good).sum())} samples",
                expected="a stable reduced model",
                fix="raise terms or oversampling, or lower rank",
            )
        return c

    def _newton(self, c: Tensor, f: Tensor, inputs: Dataset) -> tuple[Tensor, Tensor]:
        eps, scale = torch.finfo(c.dtype).eps, torch.linalg.vector_norm(f, dim=1)
        r = self._residual(c, f, inputs)
        size = torch.linalg.vector_norm(r, dim=1)
        done = torch.zeros_like(size, dtype=torch.bool)
        for _ in range(STEPS):
            u = c @ self.at_points
            jacobian = self.stiffness + torch.einsum(
                "nm,mr,sm->nrs", self.problem.slope(u, inputs), self.matrix, self.at_points
            )
            step, info = torch.linalg.solve_ex(jacobian, -r)
            step = torch.where(((info != 0) | done)[:, None] | ~torch.isfinite(step), torch.zeros_like(step), step)
            t = torch.ones_like(size)
            for _ in range(HALVINGS):
                moved = t[:, None] * step
                trial = self._residual(c + moved, f, inputs)
                new = torch.linalg.vector_norm(trial, dim=1)
                bad = ~(new <= (1 - 1e-4 * t) * size) & ~done & ~(size <= 1e-9 * scale)
                if not bool(bad.any()):
                    break
                t = torch.where(bad, t / 2, t)
            better = new <= size
            c = torch.where(better[:, None], c + moved, c)
            still = torch.linalg.vector_norm(moved, dim=1) <= 1e3 * eps * torch.linalg.vector_norm(c, dim=1)
            r, size = torch.where(better[:, None], trial, r), torch.where(better, new, size)
            done = done | ((still | ~better) & (size <= 1e-8 * scale)) | (size <= 1e-13 * scale)
            if bool(done.all()):
                break
        return c, done

    def _residual(self, c: Tensor, f: Tensor, inputs: Dataset) -> Tensor:
        return c @ self.stiffness + self.problem.reaction(c @ self.at_points, inputs) @ self.matrix - f


def _identity(interpolation: EmpiricalInterpolation) -> Tensor:
    m, like = interpolation.points.shape[-1], interpolation.basis
    return torch.eye(m, dtype=like.dtype, device=like.device)
