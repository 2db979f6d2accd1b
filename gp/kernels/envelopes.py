"""Envelopes h(s) of spectral kernels, h(0) = 1, with their derivatives of every order that exists."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from ...errors import NWidthError

ENVELOPES = ("gaussian", "matern12", "matern32", "matern52")
_HALF = {"matern12": 0, "matern32": 1, "matern52": 2}  # p of the smoothness p + 1/2
_MATERN = {0: (1.0,), 1: (1.0, 1.0), 2: (1.0, 1.0, 1 / 3)}  # coefficients of r^j, r = sqrt(2 p + 1) |s|


def check_envelope(call: str, name: str) -> str:
    if name not in ENVELOPES:
        raise NWidthError(call, got=f"envelope={name!r}", expected="one of " + ", ".join(ENVELOPES))
    return name


@lru_cache(maxsize=256)
def _matern_polynomial(p: int, order: int) -> tuple[float, ...]:
    """q with d^order/dr^order [q_0(r) exp(-r)] = q(r) exp(-r), q_0 that of the Matern function."""
    q = list(_MATERN[p])
    for _ in range(order):
        q = [(j + 1) * (q[j + 1] if j + 1 < len(q) else 0.0) - q[j] for j in range(len(q))]
    return tuple(q)


def envelope(name: str, s: Tensor, order: int = 0) -> Tensor:
    """d^order h / ds^order at s.

    gaussian: h = exp(-s^2/2), (-1)^n He_n(s) h. maternXY: with smoothness p + 1/2 and r = sqrt(2p+1) |s|, a polynomial
    times exp(-r); derivatives exist up to order 2p, odd ones vanish at 0. h(2 pi sigma d) is the characteristic
    function of a frequency with a normal, or Student-t (2p + 1 degrees of freedom) distribution of scale sigma.

    >>> envelope("matern32", torch.tensor([0.0, 1.0]), 2).mul(1000).round().tolist()
    [-3000.0, 389.0]
    """
    if name == "gaussian":
        low, high = torch.ones_like(s), s
        for n in range(order):  # Hermite: He_{n+1} = s He_n - n He_{n-1}
            low, high = high, s * high - (n + 1) * low
        return (-1) ** order * low * torch.exp(-0.5 * s.square())
    p = _HALF[name]
    if order > 2 * p:
        raise NWidthError(
            f"envelope {name}",
            got=f"a derivative of order {order}",
            expected=f"at most {2 * p}: the process has {p} derivatives",
            fix="use a smoother envelope",
        )
    rate = math.sqrt(2 * p + 1)
    r = rate * s.abs()
    q = _matern_polynomial(p, order)
    value = torch.full_like(r, q[-1])
    for c in reversed(q[:-1]):
        value = value * r + c
    value = rate**order * value * torch.exp(-r)
    return value * s.sign() if order % 2 else value


def wave(envelope_name: str, d: Tensor, bandwidth: Tensor, frequency: Tensor, order: int = 0) -> Tensor:
    """d^order/dd^order [h(2 pi bandwidth d) cos(2 pi frequency d)], by Leibniz' rule.

    Frequency and bandwidth in cycles per unit of d.
    """
    b, w = 2 * math.pi * bandwidth, 2 * math.pi * frequency
    total = torch.zeros((), dtype=d.dtype, device=d.device)
    for j in range(order + 1):
        term = math.comb(order, j) * b**j * envelope(envelope_name, b * d, j)
        total = total + term * w ** (order - j) * torch.cos(w * d + (order - j) * math.pi / 2)
    return total
