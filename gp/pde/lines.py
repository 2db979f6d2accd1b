"""Sharp lines of a spectrum: frequencies found in the equation's right-hand side, refined by Newton's method."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Dictionary = Callable[[Tensor], Tensor]  # frequencies (k,) -> rows (n, 2 k), cosines first


def find_lines(
    rows: Dictionary, y: Tensor, band: float, spacing: float, most: int = 6, goal: float = 1e-8
) -> tuple[Tensor, float]:
    """(mu, misfit): y = sum_k rows(mu_k) c_k to ``goal``, found one by one; mu is empty where no few lines explain y.

    Each new one maximises the correlation of the residual with normalised waves on a grid of a quarter of ``spacing``;
    after it all are moved together by Gauss-Newton steps on (mu, c). (Mamandipoor, Ramasamy and Madhow 2016, IEEE TSP
    64: Newtonized orthogonal matching pursuit.)

    >>> x = torch.rand(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> waves = lambda mu: torch.cat([torch.cos(x[:, None] * mu), torch.sin(x[:, None] * mu)], 1)
    >>> mu, misfit = find_lines(waves, torch.sin(91.3 * x) + torch.cos(20.7 * x), 120.0, 4.0)
    >>> [round(m, 6) for m in mu.tolist()]
    [20.7, 91.3]
    """
    size, mu, residual = float(y.norm()), y.new_zeros(0), y
    if size == 0:
        return mu, 0.0
    trial = torch.arange(spacing / 8, band, spacing / 4, dtype=y.dtype)
    waves = rows(trial)
    pairs = torch.stack([waves[:, : len(trial)], waves[:, len(trial) :]], -1).permute(1, 0, 2)
    basis = torch.linalg.qr(pairs)[0]
    for _ in range(most):
        power = torch.einsum("knp,n->kp", basis, residual).square().sum(-1)
        mu = torch.cat([mu, trial[power.argmax()][None]])
        mu, residual = refine(rows, y, mu, spacing)
        if float(residual.norm()) <= 1e-4 * goal * size:
            break
    misfit = float(residual.norm()) / size
    if misfit > goal:
        return y.new_zeros(0), misfit
    mu = mu.sort().values
    return mu[torch.cat([torch.ones(1, dtype=torch.bool), mu.diff() > 1e-6 * spacing])], misfit


def refine(rows: Dictionary, y: Tensor, mu: Tensor, spacing: float, steps: int = 12) -> tuple[Tensor, Tensor]:
    """Gauss-Newton on the frequencies with the amplitudes eliminated, steps halved until the residual falls."""
    c, residual = amplitudes(rows(mu), y)
    for _ in range(steps):
        h = 1e-5 * spacing
        slope = (rows(mu + h) - rows(mu - h)) / (2 * h)
        k = len(mu)
        turn = slope[:, :k] * c[:k] + slope[:, k:] * c[k:]
        wave = torch.cat([turn, rows(mu)], 1)
        step = amplitudes(wave, residual)[0][:k].clamp(-spacing, spacing)
        before, length, low = float(residual.norm()), 1.0, spacing / 20  # lower ones are left to the regular features
        while length > 1e-3:
            mu_new = (mu + length * step).clamp_min(low)
            c_new, residual_new = amplitudes(rows(mu_new), y)
            if float(residual_new.norm()) < before:
                break
            length /= 2
        else:
            break
        mu, c, residual = mu_new, c_new, residual_new
        if float(residual.norm()) > 0.999 * before:
            break
    return mu, residual


def amplitudes(A: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares by QR, columns scaled, with pivots that vanish left out: (c, residual)."""
    scale = A.norm(dim=0).clamp_min(1e-300)
    c = torch.linalg.lstsq(A / scale, y[:, None], driver="gelsy", rcond=1e-13).solution[:, 0]
    return c / scale, y - (A / scale) @ c
