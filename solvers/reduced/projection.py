"""Galerkin projection of steady and time-dependent problems onto a few modes, for many samples at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...backends import Grid
from ...data import Dataset
from ...errors import NWidthError
from ..elliptic import EllipticProblem
from ..evolution import EvolutionProblem
from ..stepping import integrate

CHUNK = 2**22  # entries of the largest temporary matrix


class ReducedElliptic:
    """(V^T A(a) V) c = V^T f for every sample of a batch.

    With A = G^T diag(theta(a)) G the entries are sum_f theta_f (G V)_fj (G V)_fk: one matrix product of theta
    (N, faces) with the products of columns of G V (faces, r (r + 1) / 2) assembles all of them. Grids must
    have equal weights, which then cancel.
    """

    def __init__(self, problem: EllipticProblem):
        self.problem = problem

    def solve(self, inputs: Dataset, basis: Tensor) -> Tensor:
        """Coefficients c (N, r) for modes (r, 1, *space) on the grid of the inputs."""
        inputs, grid = inputs.to(dtype=basis.dtype), inputs.grid
        assert isinstance(grid, Grid)
        r = len(basis)
        j, k = torch.triu_indices(r, r, device=basis.device)
        packed: Tensor | float = 0.0
        for theta, gv in zip(self.problem.theta(inputs), self.problem.differences(basis, grid)):
            theta, gv = theta.flatten(1), gv.flatten(1)
            for part in torch.arange(gv.shape[1], device=gv.device).split(max(1, CHUNK // len(j))):
                columns = gv[:, part]
                packed = packed + theta[:, part] @ (columns[j] * columns[k]).T
        assert isinstance(packed, Tensor)
        matrix = packed.new_empty(len(inputs), r, r)
        matrix[:, j, k] = packed
        matrix[:, k, j] = packed
        load = self.problem.source(inputs).flatten(1) @ basis.flatten(1).T
        factor, info = torch.linalg.cholesky_ex(matrix)
        if bool((info != 0).any()):
            raise NWidthError(
                "ReducedBasis.predict",
                got="a reduced operator that is not positive definite",
                expected="independent modes",
                fix="lower rank",
            )
        return torch.cholesky_solve(load.expand(len(inputs), r)[..., None], factor)[..., 0]


class ReducedEvolution:
    """c' = M^(-1) (sum_q theta_q(mu) V^T A_q V c + V^T N(V c)), c(t0) = M^(-1) V^T u0, M = V^T V.

    Modes are read as their trigonometric interpolants of degree n/2 on n points, and all products are exact
    integrals over the domain: no aliasing. V^T stands for the mean over the
    domain of products with the modes; M differs from a multiple of the identity at the Nyquist frequency only. A
    quadratic N is reduced once to a constant, a linear part and r (r + 1) / 2 products of modes, where these
    are cheaper to apply than an evaluation on the points; any other N is evaluated on the points.
    """

    def __init__(self, problem: EvolutionProblem, basis: Tensor, grid: Grid, step_ratio: float = 1.0):
        self.problem, self.step_ratio = problem, step_ratio
        cut = problem.on_period(Dataset(grid, u0=basis))
        grid, basis = cut.grid, cut.u0  # type: ignore[assignment]
        points = [(problem.factors + 1) * (n // 2) + 1 for n in grid.shape]
        self.space = problem.space(grid, points, basis)
        self.modes = self.space.coefficients(problem.state(basis))
        self.points = self._values(self.modes)
        gram = self.points @ self.points.T
        self.projector = torch.linalg.solve(gram, self.points).T
        terms = problem.operators(self.space)[:, None] * self.modes
        self.linear = (self._reduce(terms.flatten(0, 1)).view(len(terms), len(basis), -1)).mT
        self.pairs = torch.triu_indices(len(basis), len(basis), device=basis.device)
        cheap = len(basis) ** 2 <= 8 * self.points.shape[1]
        self.polynomial = self._expand() if problem.quadratic and cheap else None

    def _reduce(self, c: Tensor) -> Tensor:
        """Reduced coefficients (N, r) of states given by Fourier coefficients."""
        return self._values(c) @ self.projector

    def _values(self, c: Tensor) -> Tensor:
        """Real point values (N, C points) of states given by coefficients; a complex state has two channels."""
        return self.problem.channels(self.space.values(c), c.real).flatten(1)

    def _expand(self) -> tuple[Tensor, Tensor, Tensor]:
        """N(sum_j c_j V_j) = constant + sum_j c_j l_j + sum_{j<=k} c_j c_k q_jk, by polarisation."""
        j, k = self.pairs
        v = self.modes
        constant = self._nonlinear(torch.zeros_like(v[:1]))
        plus, minus = self._nonlinear(v), self._nonlinear(-v)
        linear, square = (plus - minus) / 2, (plus + minus) / 2 - constant
        sums = torch.cat([self._nonlinear(v[a] + v[b]) for a, b in zip(j.split(512), k.split(512))])
        alone = linear + square
        cross = sums - constant - alone[j] - alone[k]
        return constant, linear, torch.where((j == k)[:, None], cross / 2, cross)

    def _nonlinear(self, c: Tensor, inputs: Dataset | None = None) -> Tensor:
        return self._reduce(self.problem.nonlinear(c, self.space, inputs))

    def solve(self, inputs: Dataset, basis: Tensor) -> Tensor:
        """Coefficients c (N, T, r) at ``inputs.t``."""
        inputs = self.problem.on_period(inputs)
        t: list[float] = inputs.t.tolist()  # type: ignore[union-attr]
        steps: dict[float, list[int]] = {}
        for rows, _, step in self.problem.groups(inputs, t[0] - inputs.t0):
            steps.setdefault(step, []).extend(rows)
        inputs = inputs.to(dtype=self.points.dtype)
        start = self._reduce(self.space.coefficients(self.problem.state(inputs.u0)))  # type: ignore[arg-type]
        out = start.new_empty(len(start), len(t), start.shape[1])
        for step, rows in steps.items():
            batch = inputs[rows]
            linear = torch.tensordot(self.problem.theta(batch), self.linear, dims=1)
            linear = linear[0] if len(linear) == 1 else linear
            states = integrate(
                linear,
                self._rate(batch),
                start[rows],
                inputs.t0,
                t,
                step * self.step_ratio,
                dense=True,
            )
            for i, c in enumerate(states):
                out[rows, i] = c
        if not bool(torch.isfinite(out).all()):
            raise NWidthError(
                "ReducedBasis.predict",
                got="a solution that ceased to be finite",
                expected="a stable reduced model",
                fix="lower step_ratio or change rank",
            )
        return out

    def _rate(self, inputs: Dataset) -> Callable[[Tensor], Tensor]:
        """c -> M^(-1) V^T N(V c) for the samples of ``inputs``."""
        if self.polynomial is None:
            return lambda c: self._nonlinear(torch.tensordot(c.to(self.modes.dtype), self.modes, dims=1), inputs)
        constant, linear, quadratic = self.polynomial
        j, k = self.pairs
        return lambda c: constant + c @ linear + (c[:, j] * c[:, k]) @ quadratic
