"""Ordinary differential equations to a given accuracy: each sample of a batch takes its own steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ...errors import NWidthError

# Dormand and Prince (1980), A family of embedded Runge-Kutta formulae, J. Comput. Appl. Math. 6: RK5(4)7M.
_C = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0)
_A = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def integrate_adaptive(
    f: Callable[[Tensor, Tensor], Tensor],
    u: Tensor,
    t0: float,
    times: Sequence[float],
    rtol: float = 1e-6,
    atol: float = 1e-9,
    *,
    most_steps: int = 1_000_000,
) -> Iterator[Tensor]:
    """The states of u' = f(t, u) at increasing ``times`` after ``t0``, by the Dormand-Prince pair 5(4).

    u is (N, ...), real or complex. f gets the samples' own times, shaped (N, 1, ..., 1) to broadcast against
    u, and always all N samples, in their order. A step of a sample is accepted where the root mean square over
    its entries of (error estimate) / (atol + rtol max(|u|, |u+|)) is at most one; steps are chosen from that
    number for each sample alone, so that a sample does not depend on its batch, and end at each of ``times``.

    Raises NWidthError where a step becomes too short for the precision of t, the state ceases to be finite,
    or more than ``most_steps`` steps would be taken between two times.

    >>> circle = integrate_adaptive(lambda t, u: torch.stack([-u[:, 1], u[:, 0]], 1),
    ...                             torch.tensor([[1.0, 0.0]], dtype=torch.float64), 0.0, [math.pi], rtol=1e-9)
    >>> bool((next(circle) - torch.tensor([[-1.0, 0.0]])).abs().max() < 1e-7)
    True
    """
    where = "integrate_adaptive"
    stops = [float(t) for t in times]
    if not (rtol > 0 and atol >= 0) or any(b <= a for a, b in zip([t0, *stops], stops)):
        raise NWidthError(
            where,
            got=f"rtol={rtol}, atol={atol}, {len(stops)} times after t0={t0}",
            expected="rtol > 0, atol >= 0, times that increase from t0",
        )
    if not bool(torch.isfinite(u).all()):
        raise NWidthError(where, got="an initial state with NaN or infinite values", expected="finite values")
    shape = (-1, *(1,) * (u.ndim - 1))
    t = torch.full((len(u),), t0, dtype=torch.float64, device=u.device)
    real = u.real.dtype if u.is_complex() else u.dtype

    def slope(at: Tensor, state: Tensor) -> Tensor:
        return f(at.to(real).view(shape), state)

    def size(v: Tensor, scale: Tensor) -> Tensor:
        return (v.abs() / scale).flatten(1).double().square().mean(1).sqrt()

    k1 = slope(t, u)
    h = _first_step(slope, size, t, u, k1, stops[-1] - t0, atol + rtol * u.abs())
    for stop in stops:
        for _ in range(most_steps):
            active = t < stop
            if not bool(active.any()):
                break
            last = t + 1.01 * h >= stop
            taken = torch.where(active, torch.where(last, stop - t, h), torch.zeros_like(h))
            if bool((active & (taken < 4 * math.ulp(max(abs(stop), abs(t0)))) & ~last).any()):
                raise NWidthError(
                    where,
                    got=f"a step of {float(taken[active].min()):.1e} at t={float(t[active].min()):.6g}",
                    expected="a solution that stays smooth to the last time",
                    fix="raise rtol or atol, or end before the singularity",
                )
            hs = taken.to(real).view(shape)
            k = [k1]
            for c, row in zip(_C[1:], _A):
                k.append(slope(t + c * taken, u + hs * _combine(row, k)))
            new = u + hs * _combine(_A[-1], k)
            k.append(slope(t + taken, new))
            error = size(hs * _combine(_ERROR, k), (atol + rtol * torch.maximum(u.abs(), new.abs())).clamp_min(1e-300))
            error = torch.where(torch.isfinite(error), error, torch.full_like(error, 1e10))
            accept = active & (error <= 1)
            chosen = accept.view(shape)
            u, k1 = torch.where(chosen, new, u), torch.where(chosen, k[-1], k1)
            t = torch.where(accept, torch.where(last, torch.full_like(t, stop), t + taken), t)
            better = taken * (0.9 * error.clamp_min(1e-12) ** -0.2).clamp(0.2, 5.0)
            h = torch.where(active, torch.where(accept & last, torch.maximum(h, better), better), h)
        else:
            raise NWidthError(where, got=f"{most_steps} steps before t={stop:.6g}", expected="fewer", fix="raise rtol")
        yield u


def _combine(row: Sequence[float], k: Sequence[Tensor]) -> Tensor:
    total = row[0] * k[0]
    for w, v in zip(row[1:], k[1:]):
        if w != 0.0:
            total.add_(v, alpha=w)
    return total


def _first_step(slope, size, t: Tensor, u: Tensor, k1: Tensor, span: float, scale: Tensor) -> Tensor:
    """Hairer, Norsett and Wanner (1993), Solving ordinary differential equations I, section II.4."""
    shape = (-1, *(1,) * (u.ndim - 1))
    scale = scale.clamp_min(1e-300)
    d0, d1 = size(u, scale), size(k1, scale)
    guess = torch.where((d0 < 1e-5) | (d1 < 1e-5), torch.full_like(d0, 1e-6), 0.01 * d0 / d1.clamp_min(1e-300))
    guess = guess.clamp_max(span)
    euler = u + guess.to(scale.dtype).view(shape) * k1
    d2 = size(slope(t + guess, euler) - k1, scale) / guess
    largest = torch.maximum(d1, d2)
    other = torch.where(largest <= 1e-15, (guess * 1e-3).clamp_min(1e-6), (0.01 / largest.clamp_min(1e-300)) ** 0.2)
    return torch.minimum(100 * guess, other).clamp_max(span)
