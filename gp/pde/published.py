"""The published method (GP-HM): grid values and kernel parameters together by gradient ascent, to compare with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...errors import NWidthError
from .basis import all_along, along, as_grid
from .equation import Equation, Order, coefficient
from .solution import Solution

KERNELS = ("stm", "gm")


class Components(NamedTuple):
    """One axis' kernels: log weights, log widths and frequencies, (Q,) each."""

    log_weights: Tensor
    log_widths: Tensor
    frequencies: Tensor


def mixture_kernel(r: Tensor, components: Components, kernel: str, order: int = 0) -> Tensor:
    """d^order/dr^order of sum_q w_q g(a_q r) cos(2 pi f_q r), at signed distances r (...): order 0, 1 or 2.

    gm: g = exp(-a r^2); stm: the Matern-5/2 correlation, whose spectrum is a Student-t density
    (Fang et al. 2024, arXiv 2311.04465).
    """
    if order not in (0, 1, 2):
        raise NWidthError("mixture_kernel", got=f"order={order}", expected="0, 1 or 2")
    w, a = components.log_weights.exp(), components.log_widths.exp()
    omega = 2 * math.pi * components.frequencies
    d = r[..., None]
    if kernel == "gm":
        g = torch.exp(-a * d.square())
        slopes = (g, -2 * a * d * g, (4 * (a * d).square() - 2 * a) * g)
    else:
        s, root = a * d.abs(), math.sqrt(5)
        e = torch.exp(-root * s)
        first = -(5 / 3) * a * a * d * (1 + root * s) * e
        slopes = ((1 + root * s + 5 / 3 * s * s) * e, first, -(5 / 3) * a * a * (1 + root * s - 5 * s * s) * e)
    c, n = torch.cos(omega * d), torch.sin(omega * d)
    waves = (c, -omega * n, -omega.square() * c)
    total = torch.stack([math.comb(order, j) * slopes[j] * waves[order - j] for j in range(order + 1)]).sum(0)
    return (w * total).sum(-1)


def toeplitz(row: Tensor) -> Tensor:
    """T_ij = row[n - 1 + i - j], from 2 n - 1 values at the signed distances: n Q kernel values, not n^2 Q."""
    n = (len(row) + 1) // 2
    i = torch.arange(n)
    return row[n - 1 + i[:, None] - i]


class GPKronecker:
    """Maximises -1/2 log|K| - 1/2 u' K^(-1) u + c [log N(g | B u, 1/tau) + log N(f | L u + N(u), 1/v)], K = K_1 x
    ... x K_d.

    Unknowns: the values u on the grid (from 0), tau, v, and for each axis the log weights, log widths and
    frequencies of Q
    kernels, frequencies from 0 to ``frequency`` cycles per unit. Derivatives d^o u = K^(o) K^(-1) u, axis by axis.
    Adam,
    absolute ``jitter``, float64. Equally spaced axes: each matrix is Toeplitz and filled from one row.

    No evidence, no standard deviations; the last iterate is the answer. Source: Fang, Cooley, Long, Li, Kirby and Zhe
    (2024), "Solving High Frequency and Multi-Scale PDEs with Gaussian Processes", ICLR, arXiv 2311.04465.
    """

    def __init__(
        self,
        kernel: str = "stm",
        frequency: float = 20.0,
        components: int = 30,
        steps: int = 2000,
        lr: float = 0.01,
        weight: float = 200.0,
        jitter: float = 1e-6,
    ):
        if kernel not in KERNELS:
            raise NWidthError("GPKronecker", got=f"kernel={kernel!r}", expected="one of " + ", ".join(KERNELS))
        if components < 1 or steps < 1 or jitter <= 0:
            raise NWidthError("GPKronecker", got=f"{components=}, {steps=}, {jitter=}", expected="positive numbers")
        self.kernel, self.frequency, self.components, self.steps = kernel, frequency, components, steps
        self.lr, self.weight, self.jitter = lr, weight, jitter

    def solve(self, equation: Equation) -> Solution:
        if equation.unknown or equation.jitter:
            raise NWidthError(
                "GPKronecker.solve",
                got="jitter or unknown parameters",
                expected="an equally spaced grid",
                fix="solver=gp",
            )
        d, shape, x = equation.ndim, equation.shape, equation.grid()
        axes = equation.axes()
        distances = [(a[1] - a[0]) * torch.arange(1 - len(a), len(a), dtype=torch.float64) for a in axes]
        f = equation.source(x).reshape(shape)
        walls = []
        for c in equation.conditions():
            if c.terms is not None:
                raise NWidthError(
                    "GPKronecker.solve", got="conditions on derivatives", expected="values", fix="solver=gp"
                )
            side = [slice(None)] * d
            side[c.axis] = slice(-1, None) if c.end else slice(0, 1)
            points = x.reshape(*shape, d)[tuple(side)].reshape(-1, d)
            walls.append((tuple(side), c.value(points)))
        count = sum(len(g) for _, g in walls)
        u = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        log_tau, log_v = torch.zeros(2, dtype=torch.float64).unbind()
        log_tau, log_v = log_tau.clone().requires_grad_(), log_v.clone().requires_grad_()
        Q = self.components
        start = (torch.full((Q,), -math.log(Q)), torch.zeros(Q), torch.linspace(0, 1, Q) * self.frequency)
        kernels = [Components(*(p.double().clone().requires_grad_() for p in start)) for _ in range(d)]
        orders = {*equation.terms(x, {}), *equation.nonlinear_in}
        optimizer = torch.optim.Adam([u, log_tau, log_v, *(p for k in kernels for p in k)], lr=self.lr)
        history: list[dict[str, Any]] = []

        def model() -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
            L, dual = [], u
            for i, (r, k) in enumerate(zip(distances, kernels)):
                K = toeplitz(mixture_kernel(r, k, self.kernel))
                L.append(torch.linalg.cholesky(K + self.jitter * torch.eye(len(K), dtype=torch.float64)))
                dual = along_solve(L[i], dual, i)
            seen = {o: self._derivative(u, dual, o, distances, kernels) for o in orders}
            left = self._left(equation, x, seen).reshape(shape)
            off = torch.cat([u[side].reshape(-1) - g for side, g in walls])
            return L, dual, f - left, off

        for step in range(self.steps):
            optimizer.zero_grad()
            L, dual, r, off = model()
            logdet = sum(math.prod(shape) / len(m) * 2 * m.diagonal().log().sum() for m in L)
            fit = 0.5 * (count * log_tau - log_tau.exp() * off.square().sum())
            fit = fit + 0.5 * (f.numel() * log_v - log_v.exp() * r.square().sum())
            loss = 0.5 * logdet + 0.5 * (u * dual).sum() - self.weight * fit
            loss.backward()
            optimizer.step()
            if step % max(1, self.steps // 20) == 0 or step == self.steps - 1:
                history.append({"steps": step + 1, "residual": float(r.detach().norm() / f.norm().clamp_min(1e-300)),
                                "loss": float(loss.detach())})  # fmt: skip
        with torch.no_grad():
            _, dual, r, _ = model()

        def predictor(points: Tensor, order: Order) -> tuple[Tensor, None]:
            with torch.no_grad():
                grid = as_grid(points)
                sites = grid if grid is not None else [points[:, i] for i in range(d)]
                across = [
                    mixture_kernel(s[:, None] - a, k, self.kernel, o) for s, a, k, o in zip(sites, axes, kernels, order)
                ]
                if grid is not None:
                    return all_along(across, dual).reshape(-1), None
                rest = torch.tensordot(across[0], dual, dims=([1], [0]))
                for part in across[1:]:
                    rest = torch.einsum("nk,nk...->n...", part, rest)
                return rest, None

        spectrum = [(k.frequencies.detach().abs() * 2 * math.pi, k.log_weights.detach().exp()) for k in kernels]
        residual = float(r.norm() / f.norm().clamp_min(1e-300))
        notes = [] if residual < 1e-2 else [f"not converged: relative residual {residual:.1g} after {self.steps} steps"]
        chosen = {"kernel": self.kernel, "tau": float(log_tau.detach().exp()), "v": float(log_v.detach().exp())}
        return Solution(equation, "gp_kronecker", predictor, residual, {}, history, chosen, spectrum, notes)

    def _derivative(
        self, u: Tensor, dual: Tensor, order: Order, distances: Sequence[Tensor], kernels: Sequence[Components]
    ) -> Tensor:
        """K_1^(o_1) x K_2^(o_2) ... K^(-1) u; axes without a derivative return u itself, but for the jitter."""
        if not any(order):
            return u
        for i, (o, r, k) in enumerate(zip(order, distances, kernels)):
            dual = along(toeplitz(mixture_kernel(r, k, self.kernel, o)), dual, i)
        return dual

    @staticmethod
    def _left(equation: Equation, x: Tensor, seen: Mapping[Order, Tensor]) -> Tensor:
        flat = {o: v.reshape(-1) for o, v in seen.items()}
        total = torch.zeros(len(x), dtype=torch.float64)
        for o, c in equation.terms(x, {}).items():
            total = total + coefficient(c, x) * flat[o]
        if equation.nonlinear_in:
            total = total + equation.nonlinear({o: flat[o] for o in equation.nonlinear_in}, x, {})
        return total


def along_solve(L: Tensor, X: Tensor, axis: int) -> Tensor:
    """(L L')^(-1) along one axis."""
    moved = torch.movedim(X, axis, 0)
    flat = torch.cholesky_solve(moved.reshape(len(L), -1), L)
    return torch.movedim(flat.reshape(moved.shape), 0, axis)
