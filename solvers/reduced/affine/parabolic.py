"""Certified reduced models of parabolic problems: POD-greedy and the bound in time."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ....backends.svd import svd
from ....data.progress import bytes_bar
from ....errors import NWidthError
from ...affine_system import AffineSystem
from ...parabolic import Parabolic, Stepper
from .greedy import GreedyLog
from .model import AffineModel, Coercivity, relative_bound
from .reductor import AffineReductor

BATCH = 2**23  # entries of the coefficients of all steps of a batch


class ParabolicModel:
    """M c' + A c = f on the basis, by the problem's own scheme and steps, with the residual r^k of every step.

    With r^k = f - A v^k - M (v^k - v^(k-1)) / dt for implicit Euler, and its likes for the other schemes, testing
    with the error e and Young's inequality give for v^0 = u^0

        |e^K|_M^2 + dt sum_k a(e^k, e^k) <= s dt sum_(k <= K) |r^k|_X'^2 / alpha(mu),

    s = 1, and s = 2 for bdf2 (by its G-norm |e^k|^2 + |2 e^k - e^(k-1)|^2; Dahlquist 1978); Crank-Nicolson has
    the mean of e^k and e^(k-1) in a. The error is that against the full-order model with the same steps.
    Haasdonk and Ohlberger (2008), ESAIM: M2AN 42, 277-302.
    """

    def __init__(self, problem: Parabolic, steady: AffineModel, masses: Tensor, start: Tensor):
        self.problem, self.steady, self.masses, self.start = problem, steady, masses, start
        self.system, self.basis = steady.system, steady.basis
        self.step = problem.final_time / problem.times / _inner(problem)

    @property
    def rank(self) -> int:
        return len(self.basis)

    def solve(self, mu: Tensor, *, bound: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients (N, T, r) at the stored times; the bound above as a square root, (N, T); its relative.

        The bound is that of sqrt(|e^K|_M^2 + dt sum a(e^k, e^k)); the relative one is to the same norm of the
        solution, (N, T). Without ``bound`` both are empty.
        """
        self.steady.system.problem.check(mu)
        size = max(1, BATCH // (max(1, self.rank) * max(self.rank, len(self.steady.residual))))
        parts = [self._solve(m, bound) for m in mu.double().split(size)]
        return tuple(torch.cat(p) for p in zip(*parts))  # type: ignore[return-value]

    def _solve(self, mu: Tensor, bound: bool) -> tuple[Tensor, Tensor, Tensor]:
        problem, r, n = self.problem, self.rank, len(mu)
        device = mu.device
        theta, f = self.system.coefficients(mu)
        weights = self.system.problem.theta_mass(mu)
        a = (theta @ self.steady.operators.to(device).flatten(1)).view(n, r, r)
        m = (weights @ self.masses.to(device).flatten(1)).view(n, r, r)
        load = f @ self.steady.loads.to(device)
        c = start_factors(problem, self.system, mu) @ self.start.to(device)
        dt, inner = self.step, _inner(problem)
        implicit = 0.5 if problem.scheme == "crank_nicolson" else 1.0
        lu = [torch.linalg.lu_factor(m / dt + implicit * a)]
        if problem.scheme == "bdf2":
            lu.append(torch.linalg.lu_factor(1.5 * m / dt + a))
        out = c.new_empty(n, problem.times, r)
        norms = c.new_zeros(2, n, problem.times if bound else 0)
        alpha = self.steady._alpha(mu) if bound else c.new_ones(n)
        factor = 2.0 if problem.scheme == "bdf2" else 1.0
        square, energy = c.new_zeros(n), c.new_zeros(n)
        before = c
        for k in range(problem.times * inner):
            late = problem.scheme == "bdf2" and k > 0
            past = 2 * c - 0.5 * before if late else c
            right = load + torch.einsum("nij,nj->ni", m, past) / dt
            if implicit < 1:
                right = right - 0.5 * torch.einsum("nij,nj->ni", a, c)
            new = torch.linalg.lu_solve(*lu[int(late)], right[..., None])[..., 0]
            if bound:
                rate = ((1.5 if late else 1.0) * new - past) / dt
                middle = implicit * new + (1 - implicit) * c
                k_all = torch.cat([f, -_per_vector(middle, theta, rate, weights)], 1)
                square = square + factor * dt * self.steady._norm(k_all).square() / alpha
                energy = energy + dt * torch.einsum("ni,nij,nj->n", middle, a, middle)
            before, c = c, new
            if (k + 1) % inner == 0:
                i = (k + 1) // inner - 1
                out[:, i] = c
                if bound:
                    norms[0, :, i] = square.sqrt()
                    norms[1, :, i] = (energy + torch.einsum("ni,nij,nj->n", c, m, c)).clamp_min(0).sqrt()
        if not bool(torch.isfinite(out).all()):
            raise NWidthError(
                "ParabolicModel.solve", got="a solution that ceased to be finite", expected="a stable reduced model"
            )
        return out, norms[0], relative_bound(norms[0], norms[1])

    def reconstruct(self, c: Tensor, mu: Tensor) -> Tensor:
        """Fields (N, T, C, points) of coefficients (N, T, r)."""
        flat = self.steady.reconstruct(c.flatten(0, 1), mu.repeat_interleave(c.shape[1], 0))
        return flat.view(*c.shape[:2], *flat.shape[1:])


def _per_vector(c: Tensor, theta: Tensor, rate: Tensor, weights: Tensor) -> Tensor:
    """The factors of A_1 v_j .. A_Q v_j, M_1 v_j .. for every basis vector j, side by side."""
    parts = [c[:, :, None] * theta[:, None], rate[:, :, None] * weights[:, None]]
    return torch.cat(parts, 2).flatten(1)


def _inner(problem: Parabolic) -> int:
    return max(1, math.ceil(problem.steps / problem.times - 1e-9))


def start_factors(problem: Parabolic, system: AffineSystem, mu: Tensor) -> Tensor:
    """(N, 1 + B): the initial free unknowns are ``initial`` times one, less the lift."""
    chi = system.problem.theta_lift(mu)
    return torch.cat([torch.full_like(mu[:, :1], problem.initial), -chi], 1)


class ParabolicReductor(AffineReductor):
    """``AffineReductor`` with the masses, and a basis that begins with the initial values: v^0 = u^0.

    The other arguments are those of ``AffineReductor``; Galerkin projection.
    """

    def __init__(
        self,
        problem: Parabolic,
        system: AffineSystem,
        *,
        product: str | csr_matrix = "energy",
        coercivity: str | Coercivity | None = "auto",
        training: Tensor | None = None,
    ):
        self.problem = problem
        super().__init__(system, product=product, coercivity=coercivity, training=training)
        ones = np.full((1, len(system.free)), float(problem.initial != 0))
        self.initial = torch.from_numpy(np.concatenate([ones, system.lifts[:, system.free]]))
        self.extend(self.initial[self.initial.abs().amax(1) > 0])

    def _terms(self) -> list[csr_matrix]:
        return [*self.system.operators.matrices, *self.system.masses]

    def reduced(self) -> ParabolicModel:
        """The model on the present basis."""
        steady = super().reduce()
        count = len(self.system.operators.matrices)
        masses, steady.operators = self.operators[count:], self.operators[:count]
        start = torch.from_numpy((self.product_matrix @ self.initial.numpy().T).T) @ self.basis.T
        return ParabolicModel(self.problem, steady, masses, start)

    def trajectory(self, mu: Tensor) -> Tensor:
        """All states (steps + 1, free) of the full-order model at one mu (1, P)."""
        start = (start_factors(self.problem, self.system, mu.double()) @ self.initial)[0]
        inner = _inner(self.problem)
        stepper = Stepper(self.system, self.problem.scheme, self.problem.final_time / self.problem.times / inner)
        states = stepper.run(mu.double(), start.numpy(), self.problem.times * inner, 1)
        return torch.cat([start[None], torch.from_numpy(states)])


def pod_greedy(
    reductor: ParabolicReductor,
    training: Tensor,
    *,
    rank: int | None = None,
    rtol: float | None = None,
    modes: int = 1,
) -> tuple[ParabolicModel, GreedyLog]:
    """Extend the basis by the first POD modes in X of what it misses of the worst trajectory, again and again.

    rank, rtol : stop at this many vectors, or where the largest relative bound at the final time is this small.
    modes : how many at a time.

    Haasdonk and Ohlberger (2008); Haasdonk (2013), ESAIM: M2AN 47, 859-873. It ends with a note where a trajectory
    adds nothing.
    """
    if (rank is None and rtol is None) or modes < 1 or not len(training):
        raise NWidthError(
            "pod_greedy",
            got=f"rank={rank}, rtol={rtol}, modes={modes}, {len(training)} training parameters",
            expected="rank or rtol, modes >= 1, and parameters",
        )
    system, problem = reductor.system, reductor.problem
    limit = min(rank or len(system.free), len(system.free))
    reductor.need_memory(rank or reductor.rank + modes, 2 * problem.times * _inner(problem) * len(system.free))
    log = GreedyLog()
    with bytes_bar("POD-greedy", limit) as advance:
        while True:
            model = reductor.reduced()
            _, bound, relative = model.solve(training)
            last, estimate = bound[:, -1], relative[:, -1]
            order = torch.where(torch.isfinite(estimate).all(), estimate, last)
            worst = int(order.argmax())
            largest = float(estimate.max())
            log.history.append({"rank": model.rank, "weak_max": float(last.max()), "weak_rel": largest})
            if (rtol is not None and largest <= rtol) or model.rank >= limit:
                break
            mu = training[worst : worst + 1]
            states = reductor.trajectory(mu)
            missed = (
                states
                - torch.from_numpy(reductor.product_matrix @ states.numpy().T).T @ reductor.basis.T @ reductor.basis
            )
            size = float(reductor.norms(states).norm())
            u, s, _ = svd(missed.mT, weight=reductor.product_matrix, method="exact")
            new = min(modes, limit - model.rank, int((s > 1e-12 * size).sum()))
            if not new or not reductor.extend(u[:, :new].mT.contiguous()):
                log.notes.append(f"ended at rank {model.rank}: the worst trajectory is in the basis up to rounding")
                break
            log.chosen.append(mu[0].clone())
            advance(new)
    return model, log
