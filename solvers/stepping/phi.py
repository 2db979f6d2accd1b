"""The functions phi_k of exponential integrators: of diagonals, entry by entry, and of dense matrices."""

from __future__ import annotations

import cmath
import math

import torch
from torch import Tensor

from ...errors import NWidthError


def phi_diagonal(z: Tensor, points: int = 32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """phi_0 = exp(z) and phi_k = (phi_{k-1} - 1/(k-1)!) / z for k = 1, 2, 3, entry by entry.

    The quotients lose all digits near z = 0. Where |z| < 1 their mean over a circle of radius 1 around z, which
    loses none, is taken instead (Cauchy's formula; Kassam and Trefethen 2005, SIAM J. Sci. Comput. 26, section
    2). Computed in double precision, for real and complex z.

    >>> [round(float(p), 6) for p in phi_diagonal(torch.zeros(()))]
    [1.0, 1.0, 0.5, 0.166667]
    """
    z64 = z.to(torch.complex128 if z.is_complex() else torch.float64)
    near = z64.abs() < 1
    safe = torch.where(near, torch.ones_like(z64), z64)
    phis = [torch.exp(z64)]
    for k in (1, 2, 3):
        phis.append((torch.exp(safe) - 1 if k == 1 else phis[-1] - 1.0 / math.factorial(k - 1)) / safe)
    if bool(near.any()):
        for p, mean in zip(phis[1:], _circle_means(z64[near], points)):
            p[near] = mean
    return tuple(p.to(z.dtype) for p in phis)  # type: ignore[return-value]


def _circle_means(z: Tensor, points: int) -> list[Tensor]:
    """phi_1, phi_2, phi_3 as means of their values on circles of radius 1 around z (entries,)."""
    turns = 2 * math.pi * (torch.arange(points, dtype=torch.float64, device=z.device) + 0.5) / points
    w = z + torch.polar(torch.ones_like(turns), turns)[:, None]
    value, means = torch.exp(w), []
    for k in (1, 2, 3):
        value = (value - 1.0 / math.factorial(k - 1)) / w
        mean = value.mean(0)
        means.append(mean if z.is_complex() else mean.real)
    return means


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
