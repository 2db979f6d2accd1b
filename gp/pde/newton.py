"""Gauss-Newton on the weights of features and the parameters of an equation, every step an exact posterior."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .equation import Order
from .evidence import Posterior, condition
from .system import Collocation, Rows

_TRUST = 1e-14  # noise-to-signal variance of the equation's own rows where observations have a known noise


@dataclass(frozen=True)
class Scales:
    """Prior standard deviations that rows are divided by: equation, each block of conditions, observations."""

    equation: float
    blocks: tuple[float, ...]
    data: float = 1.0


@dataclass(frozen=True)
class State:
    """Where the steps ended: the posterior of (weights, parameters), the scaled rows A and values y that it saw, the
    prior variances ``wide`` of the parameters, u and its derivatives at the points."""

    posterior: Posterior
    A: Tensor
    y: Tensor
    wide: Tensor
    weights: Tensor
    p: Tensor
    u: Mapping[Order, Tensor]
    scales: Scales
    residual: float  # of the equation and conditions, relative to their values
    converged: bool
    steps: int


class Newton:
    """minimise |r(w, p)|^2 + lambda |w|^2_S: r linearised about the last iterate, steps halved until it falls.

    Linear equations take one step. Parameters are weights about their first guess, with a prior ten times as wide as
    the rows' own scale.
    """

    def __init__(self, collocation: Collocation, rows: Rows, iterations: int):
        self.of, self.rows, self.iterations = collocation, rows, iterations
        self.guess = torch.tensor(list(collocation.guess.values()), dtype=torch.float64)

    def white_source(self) -> Tensor:
        """S_k = 1 / (rho_min + rho_k), rho_k the mean square of L phi_k: L u is white over the band. Sums to one."""
        zero = torch.zeros(self.rows.features.size, dtype=torch.float64)
        rho = self.rows.linearise(self.rows.values(zero), self.guess)[0].square().mean(0)
        low = rho[rho > 1e-12 * rho.max()].min()
        S = 1 / (low + rho)
        return S / S.sum()

    def scales(self, S: Tensor, u: Mapping[Order, Tensor], p: Tensor) -> Scales:
        def size(A: Tensor) -> float:
            return float((A.square() @ S).mean().sqrt()) or 1.0

        seen = self.rows.seen
        J = self.rows.linearise(u, p)[0]
        return Scales(size(J), tuple(size(e) for e in self.rows.edges), 1.0 if seen is None else size(seen))

    def assemble(
        self, rows: Rows, u: Mapping[Order, Tensor], p: Tensor, scales: Scales
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(A, P, r, v): scaled rows of weights and parameters, the equation's residual, the other rows' values."""
        J, by_p, r = rows.linearise(u, p)
        A = [J / scales.equation] + [e / s for e, s in zip(rows.edges, scales.blocks)]
        v = [b.values / s for b, s in zip(self.of.blocks, scales.blocks)]
        if rows.seen is not None:
            A.append(rows.seen / scales.data)
            v.append(self.of.data.values / scales.data)
        whole = torch.cat(A)
        P = torch.zeros(len(whole), by_p.shape[1], dtype=torch.float64)
        P[: len(by_p)] = by_p / scales.equation
        return whole, P, r / scales.equation, torch.cat(v) if v else r[:0]

    @property
    def one_step(self) -> bool:
        """The rows depend on nothing that is unknown: neither weights, nor parameters, nor the observations' noise."""
        return self.of.equation.is_linear and self.of.observations is None

    def first_rows(self, S: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(A, y, wide) of a system that takes one step."""
        u = self.rows.values(torch.zeros(self.rows.features.size, dtype=torch.float64))
        A, P, r, v = self.assemble(self.rows, u, self.guess, self.scales(S, u, self.guess))
        return A, torch.cat([r, v]), P[0]

    def run(self, S: Tensor, p: Tensor | None = None, w: Tensor | None = None, scales: Scales | None = None) -> State:
        m, n = self.rows.features.size, len(self.of.interior)
        w = torch.zeros(m, dtype=torch.float64) if w is None else w
        p = self.guess if p is None else p
        u = self.rows.values(w)
        scales = self.scales(S, u, p) if scales is None else scales
        linear = self.of.equation.is_linear
        converged, steps = linear, 0
        while True:
            steps += 1
            A, P, r, v = self.assemble(self.rows, u, p, scales)
            y = torch.cat([r + A[:n] @ w + P[:n] @ (p - self.guess), v])
            wide = 100 * (A.square() @ S).mean() / P.square().mean(0).clamp_min(1e-300)
            whole = torch.cat([A, P], 1)
            posterior, ratio = self._condition(whole, y, torch.cat([S, wide]))
            if ratio != 1.0:
                whole, y = whole.clone(), y.clone()
                seen = len(self.of.data.points)
                whole[-seen:] /= ratio
                y[-seen:] /= ratio
            target, target_p = posterior.mean[:m], self.guess + posterior.mean[m:]
            if linear:
                w, u = target, self.rows.values(target)
                break
            noisy = replace(scales, data=scales.data * ratio)
            before, length = self._objective(w, p, S, noisy, posterior.lam), 1.0
            while length > 1e-4:
                w_new, p_new = w + length * (target - w), p + length * (target_p - p)
                if self._objective(w_new, p_new, S, noisy, posterior.lam) < before:
                    break
                length /= 2
            else:  # no step lowers it: round-off
                converged = True
                break
            u_new = self.rows.values(w_new)
            move = max(_change(u_new[o], u[o]) for o in u) + (_change(p_new, p) if len(p) else 0.0)
            w, p, u = w_new, p_new, u_new
            if move < 1e-11 or steps >= self.iterations:
                converged = move < 1e-6 or self._residual(w, p, scales) < 1e-8
                break
        return State(posterior, whole, y, wide, w, p, u, scales, self._residual(w, p, scales), converged, steps)

    def _condition(self, A: Tensor, y: Tensor, S: Tensor) -> tuple[Posterior, float]:
        """The posterior, and by how much more noise the observations have than the equation's rows."""
        if self.of.observations is None:
            return condition(A, y, S), 1.0
        seen = len(self.of.data.points)
        std = self.of.observations.std

        def at(ratio: float, lam: float | None) -> Posterior:
            B, z = A.clone(), y.clone()
            B[-seen:] /= ratio
            z[-seen:] /= ratio
            found = condition(B, z, S, lam=lam)
            return replace(found, log_evidence=found.log_evidence - seen * math.log(ratio))

        if std is None:
            found = [(at(r, None), r) for r in torch.logspace(0, 12, 13).tolist()]
            return max(found, key=lambda f: f[0].log_evidence)
        lam = _TRUST * float((A.square() @ S).sum())
        ratio, scale = (
            1e5,
            self.scales(
                S[: self.rows.features.size], self.rows.values(S[: self.rows.features.size] * 0), self.guess
            ).data,
        )
        for _ in range(6):
            posterior = at(ratio, lam)
            wanted = std / (posterior.noise * scale)
            if abs(math.log(wanted / ratio)) < 1e-3:
                break
            ratio = wanted
        return posterior, ratio

    def _rows_at(self, w: Tensor, p: Tensor, scales: Scales) -> list[Tensor]:
        r = self.rows.linearise(self.rows.values(w), p)[2] / scales.equation
        edges = [(b.values - e @ w) / s for b, e, s in zip(self.of.blocks, self.rows.edges, scales.blocks)]
        return [r, *edges]

    def _objective(self, w: Tensor, p: Tensor, S: Tensor, scales: Scales, lam: float) -> float:
        parts = self._rows_at(w, p, scales)
        if self.rows.seen is not None:
            parts.append((self.of.data.values - self.rows.seen @ w) / scales.data)
        return float(torch.cat(parts).square().sum()) + lam * float((w.square() / S).sum())

    def _residual(self, w: Tensor, p: Tensor, scales: Scales) -> float:
        values = [self.of.f / scales.equation] + [b.values / s for b, s in zip(self.of.blocks, scales.blocks)]
        size = float(torch.cat(values).norm())
        return float(torch.cat(self._rows_at(w, p, scales)).norm()) / (size or 1.0)


def _change(new: Tensor, old: Tensor) -> float:
    return float((new - old).norm() / new.norm().clamp_min(1e-300))
