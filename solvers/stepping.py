"""Exponential time differencing: the ETDRK4 scheme for u' = L u + N(u), batched, with L diagonal or dense."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ..errors import NWidthError


def phi_diagonal(z: Tensor, points: int = 32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """phi_0 = exp(z) and phi_k = (phi_{k-1} - 1/(k-1)!) / z for k = 1, 2, 3, entry by entry.

    The quotients lose all digits near z = 0; their mean over a circle of radius 1 around z does not (Cauchy's
    formula; Kassam and Trefethen 2005, SIAM J. Sci. Comput. 26, section 2). Computed in double precision.

    >>> [round(float(p), 6) for p in phi_diagonal(torch.zeros(()))]
    [1.0, 1.0, 0.5, 0.166667]
    """
    z64 = z.to(torch.complex128 if z.is_complex() else torch.float64)
    turns = (torch.arange(points, dtype=torch.float64, device=z.device) + 0.5) / points
    circle = torch.polar(torch.ones_like(turns), 2 * math.pi * turns)
    phis = [torch.exp(z64), *(torch.zeros_like(z64) for _ in range(3))]
    for shift in circle:
        w = z64 + shift
        value = torch.exp(w)
        for k in (1, 2, 3):
            value = (value - 1.0 / math.factorial(k - 1)) / w
            phis[k] += (value if z.is_complex() else value.real) / points
    return tuple(p.to(z.dtype) for p in phis)  # type: ignore[return-value]


def phi_dense(a: Tensor, points: int = 16) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same functions of real matrices (..., r, r).

    a is halved until its 1-norm is at most 1; there phi_k = mean of phi_k(z) z (z I - a)^(-1) over the circle
    |z| = 4 (upper half, real part: a is real), exact to round-off with 16 points; then the doubling formula
    phi_k(2a) = 2^(-k) (phi_0 phi_k + sum_{j=1..k} phi_j / (k-j)!) undoes the halving.
    """
    a64 = a.to(torch.float64)
    norm = float(a64.abs().sum(-2).max()) if a.numel() else 0.0
    if not math.isfinite(norm):
        raise NWidthError("phi_dense", got="a matrix with NaN or infinite entries", expected="finite entries")
    halvings = max(0, math.ceil(math.log2(norm))) if norm > 0 else 0
    a64 = a64 / 2**halvings
    eye = torch.eye(a.shape[-1], dtype=torch.complex128, device=a.device)
    phis = [torch.zeros_like(a64) for _ in range(4)]
    for j in range(points):
        angle = math.pi * (j + 0.5) / points
        z = complex(4 * math.cos(angle), 4 * math.sin(angle))
        resolvent = z * torch.linalg.inv(z * eye - a64)
        value = cmath.exp(z)
        for k in range(4):
            if k > 0:
                value = (value - 1.0 / math.factorial(k - 1)) / z
            phis[k] += (value * resolvent).real / points
    for _ in range(halvings):
        p0 = phis[0]
        doubled = [p0 @ p0]
        for k in (1, 2, 3):
            lower = sum(phis[j] / math.factorial(k - j) for j in range(1, k + 1))
            doubled.append((p0 @ phis[k] + lower) / 2**k)
        phis = doubled
    return tuple(p.to(a.dtype) for p in phis)  # type: ignore[return-value]


class ETDRK4:
    """One step of size h of the fourth-order exponential Runge-Kutta scheme of Cox and Matthews (2002, J.
    Comput. Phys. 176, equations 26 to 29) for u' = L u + N(u): exact for N = 0, so stiffness in L does not
    limit h.

    ``linear`` is the diagonal of L, broadcast against the states u (batch, ...); with ``dense`` a real matrix
    (r, r) or (batch, r, r) acting on states (batch, r).

    >>> stepper = ETDRK4(torch.tensor([-1000.0], dtype=torch.float64), 0.1, lambda u: torch.zeros_like(u))
    >>> float(stepper.step(torch.ones(1, 1, dtype=torch.float64))) == math.exp(-100.0)
    True
    """

    def __init__(self, linear: Tensor, h: float, nonlinear: Callable[[Tensor], Tensor], *, dense: bool = False):
        phi = phi_dense if dense else phi_diagonal
        self.h, self.nonlinear, self.dense = h, nonlinear, dense
        p0, p1, p2, p3 = phi(linear * h)
        half = phi(linear * (h / 2))
        self.whole, self.half = p0, half[0]
        self.q = (h / 2) * half[1]
        self.first, self.last = h * (p1 - 3 * p2 + 4 * p3), h * (4 * p3 - p2)
        self.middle = 2 * h * (p2 - 2 * p3)

    def _apply(self, factor: Tensor, u: Tensor) -> Tensor:
        if not self.dense:
            return factor * u
        return u @ factor.mT if factor.ndim == 2 else torch.bmm(factor, u[..., None])[..., 0]

    def step(self, u: Tensor) -> Tensor:
        """The state one h later."""
        apply, N = self._apply, self.nonlinear
        n0, start = N(u), apply(self.half, u)
        a = start + apply(self.q, n0)
        na = N(a)
        nb = N(start + apply(self.q, na))
        nc = N(apply(self.half, a) + apply(self.q, 2 * nb - n0))
        u = apply(self.whole, u) + apply(self.first, n0)
        return u + apply(self.middle, na + nb) + apply(self.last, nc)


def integrate(
    linear: Tensor,
    nonlinear: Callable[[Tensor], Tensor],
    u: Tensor,
    t0: float,
    times: Sequence[float],
    max_step: float,
    *,
    dense: bool = False,
) -> Iterator[Tensor]:
    """The states at increasing ``times`` after ``t0``, by ETDRK4.

    Steps between two times are equal and at most ``max_step``.
    """
    steppers: dict[tuple[int, float], ETDRK4] = {}
    before = t0
    for t in times:
        count = max(1, math.ceil((t - before) / max_step * (1 - 1e-9)))
        key = (count, round((t - before) / max_step, 9))
        if key not in steppers:
            steppers[key] = ETDRK4(linear, (t - before) / count, nonlinear, dense=dense)
        for _ in range(count):
            u = steppers[key].step(u)
        before = t
        yield u
