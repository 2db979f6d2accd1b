"""The leading singular values from products with a few random vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from .dense import SVD, across, dense_svd, squared_norms

_MOST = 4  # power iterations at most where their number is found from the spectrum


def randomized_svd(
    a: Tensor, rank: int, power: int | None = None, oversample: int = 10, generator: torch.Generator | None = None
) -> SVD:
    """Range finder: Q = orth((a a*)^q a G) with G Gaussian (n, rank + oversample), then the SVD of Q* a.

    A QR after each product keeps directions of any size. ``power`` q is fixed, or (None) the least of 1 to 4 for
    which the expected excess of |a - QQ*a|_F over the optimum is below 1e-4 of it, told from the values seen so far.

    Source: Halko, Martinsson and Tropp (2011), algorithms 4.4 and 5.1; the excess from their theorem 10.5 and the
    decay of (s_k / s_i)^(2q+1) with q.
    """
    m, n = a.shape[-2:]
    if m < n:
        return randomized_svd(a.mH, rank, power, oversample, generator).H
    columns = min(rank + oversample, n)
    Q = torch.linalg.qr(across(a, _gaussian(n, columns, a, generator))).Q
    done = 0
    while True:
        Z, R = torch.linalg.qr(a.mH @ Q)  # a*Q = Z R: QR keeps the small values that a product would lose
        W, s, Xh = dense_svd(R)
        if columns == n or done >= (_needed(s, rank, done) if power is None else power):
            break
        Q = torch.linalg.qr(across(a, Z)).Q
        done += 1
    return SVD(Q @ Xh.mH[..., :rank], s[..., :rank], (Z @ W[..., :rank]).mH)


def adaptive_svd(a: Tensor, tail: float, largest: int, generator: torch.Generator | None = None) -> SVD | None:
    """As many singular values as leave sqrt(sum of the rest) <= tail |a|_F; None where that takes over ``largest``.

    The rest is |a|^2 - sum s_i^2, a difference that holds its digits for tails above 1e-7 (double precision). Where
    it is too large, the decay of the values found says how many more to try.
    """
    total = squared_norms(a)
    rank, wanted = min(16, largest), (0.9 * tail) ** 2 * total
    while True:
        found = randomized_svd(a, rank, generator=generator)
        squares = found.s.double().square()
        rest = total - squares.sum(-1)
        if bool((rest <= wanted).all()):
            return found
        if rank >= largest:
            return None
        floor = 1e-15 * total
        earlier = (total - squares[..., : rank // 2].sum(-1)).clamp_min(floor)
        decay = (earlier / rest.clamp_min(floor)).log() / (rank - rank // 2)
        more = 1.1 * (rest.clamp_min(floor) / wanted.clamp_min(floor)).log() / decay.clamp_min(1e-9)
        rank = min(largest, max(rank + rank // 4 + 1, min(rank + int(more.max()), 4 * rank)))


def _needed(s: Tensor, rank: int, done: int) -> int:
    """Power iterations after which the leading ``rank`` directions are resolved, from estimates of the values."""
    if done == 0:
        return 1  # the values are too rough yet; one iteration is always worth its price
    k = s.shape[-1]
    lead, edge = s[..., :rank].double(), s[..., -1:].double()
    tail = s[..., rank:].double().square().sum(-1)
    floor = torch.finfo(s.dtype).eps * s[..., :1].double()
    gap = k / max(k - rank, 1)  # what a Gaussian block of so many spare columns costs
    for q in range(done, _MOST):
        ratio = (edge / lead.clamp_min(1e-300)).clamp_max(1) ** (2 * q + 1)
        excess = gap * (lead * ratio).square().sum(-1)
        if bool((excess <= 2e-4 * tail + floor.square().squeeze(-1)).all()):
            return q
    return _MOST


def _gaussian(n: int, columns: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """The same numbers on every device: drawn on the CPU in double precision."""
    if generator is None:
        generator = torch.Generator(device="cpu").manual_seed(0)
    sketch = torch.randn(n, columns, generator=generator, dtype=torch.float64, device=generator.device)
    return sketch.to(dtype=like.dtype, device=like.device)
