"""Limited slopes, ghost cells, and numerical fluxes for hyperbolic systems: the parts of a finite volume scheme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor


class System(Protocol):
    """q_t + sum_i F_i(q)_{x_i} = 0: what a numerical flux asks of it. States are (N, fields, *space)."""

    def conserved(self, w: Tensor, mu: Tensor) -> Tensor: ...
    def flux(self, w: Tensor, axis: int, mu: Tensor) -> Tensor: ...
    def bounds(self, left: Tensor, right: Tensor, axis: int, mu: Tensor) -> tuple[Tensor, Tensor]: ...


class Fluid(System, Protocol):
    """A system with flux F = u q + push(p, u): see ``FluidProblem``."""

    def pressure(self, w: Tensor, mu: Tensor) -> Tensor: ...
    def push(self, p: Tensor, u: Tensor, axis: int, like: Tensor) -> Tensor: ...


def minmod(a: Tensor, b: Tensor) -> Tensor:
    """The smaller of two slopes of one sign, otherwise 0."""
    return torch.where(a * b > 0, torch.where(a.abs() < b.abs(), a, b), 0.0)


def van_leer(a: Tensor, b: Tensor) -> Tensor:
    """The harmonic mean 2ab/(a + b) of two slopes of one sign, otherwise 0 (van Leer 1974)."""
    product = a * b
    rising = product > 0
    return torch.where(rising, 2 * product / torch.where(rising, a + b, 1.0), 0.0)


def monotonized_central(a: Tensor, b: Tensor) -> Tensor:
    """(a + b)/2, but at most twice either of two slopes of one sign, otherwise 0 (van Leer 1977)."""
    size = torch.minimum((a + b).abs() / 2, 2 * torch.minimum(a.abs(), b.abs()))
    return torch.where(a * b > 0, torch.copysign(size, a), 0.0)


LIMITERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "minmod": minmod,
    "van_leer": van_leer,
    "mc": monotonized_central,
}


def part(x: Tensor, dim: int, start: int, stop: int) -> Tensor:
    """x[start:stop] along ``dim``; a negative or zero ``stop`` counts from the end."""
    n = x.shape[dim]
    return x.narrow(dim, start, (stop if stop > 0 else n + stop) - start)


def with_ghosts(w: Tensor, axis: int, ndim: int, boundary: str, count: int = 2) -> Tensor:
    """Primitive states with ``count`` more cells beyond both ends of an axis.

    ``periodic``: those of the other end; ``outflow``: copies of the outermost cell; ``reflecting``: mirror
    images with the opposite velocity component 1 + axis.
    """
    dim = axis - ndim
    if boundary == "periodic":
        return torch.cat([part(w, dim, w.shape[dim] - count, 0), w, part(w, dim, 0, count)], dim)
    if boundary == "outflow":
        ends = [part(w, dim, 0, 1), part(w, dim, w.shape[dim] - 1, 0)]
        low, high = (e.repeat_interleave(count, dim) for e in ends)
    else:
        low, high = part(w, dim, 0, count).flip(dim), part(w, dim, w.shape[dim] - count, 0).flip(dim)
        low[:, 1 + axis].neg_()
        high[:, 1 + axis].neg_()
    return torch.cat([low, w, high], dim)


def rusanov(system: System, left: Tensor, right: Tensor, axis: int, mu: Tensor) -> Tensor:
    """Mean flux minus s/2 times the jump, with the greatest wave speed s (Rusanov 1961; local Lax-Friedrichs)."""
    low, high = system.bounds(left, right, axis, mu)
    s = torch.maximum(low.abs(), high.abs())
    jump = system.conserved(right, mu) - system.conserved(left, mu)
    return (system.flux(left, axis, mu) + system.flux(right, axis, mu) - s * jump) / 2


def hll(system: System, left: Tensor, right: Tensor, axis: int, mu: Tensor) -> Tensor:
    """One state between the slowest and the fastest wave (Harten, Lax and van Leer 1983, SIAM Rev. 25)."""
    low, high = system.bounds(left, right, axis, mu)
    low, high = low.clamp_max(0.0), high.clamp_min(0.0)
    width = (high - low).clamp_min(torch.finfo(left.dtype).tiny)
    jump = system.conserved(right, mu) - system.conserved(left, mu)
    return (high * system.flux(left, axis, mu) - low * system.flux(right, axis, mu) + low * high * jump) / width


def hllc(system: Fluid, left: Tensor, right: Tensor, axis: int, mu: Tensor) -> Tensor:
    """Two states, on both sides of a contact that moves with the fluid.

    Toro, Spruce and Speares (1994, Shock Waves 4). With the mass m, normal velocity u and pressure p of each side K,
    and the outermost speeds s_K:

        s* = (p_R - p_L + m_L u_L (s_L - u_L) - m_R u_R (s_R - u_R)) / (m_L (s_L - u_L) - m_R (s_R - u_R))
        p* = p_K + m_K (s_K - u_K) (s* - u_K)
        F* = F_K + s_K (q* - q_K),   (s_K - s*) (q* - q_K) = (s* - u_K) q_K + push(p*, s*) - push(p_K, u_K)
    """
    low, high = system.bounds(left, right, axis, mu)
    ul, ur = left[:, 1 + axis, None], right[:, 1 + axis, None]
    pl, pr = system.pressure(left, mu), system.pressure(right, mu)
    ml, mr = left[:, :1] * (low - ul), right[:, :1] * (high - ur)
    contact = (pr - pl + ml * ul - mr * ur) / (ml - mr)
    upwind = contact >= 0
    w, s = torch.where(upwind, left, right), torch.where(upwind, low, high)
    u, p = w[:, 1 + axis, None], torch.where(upwind, pl, pr)
    star = p + w[:, :1] * (s - u) * (contact - u)
    q, push = system.conserved(w, mu), system.push(p, u, axis, w)
    change = ((contact - u) * q + system.push(star, contact, axis, w) - push) / (s - contact)
    inside = torch.where(upwind, low.clamp_max(0.0), high.clamp_min(0.0))
    return u * q + push + inside * change
