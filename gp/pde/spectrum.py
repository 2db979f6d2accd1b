"""Spectral densities as mixtures of bumps, Gaussian or Student-t, over the frequencies of the features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import NWidthError

SHAPES = ("student", "gaussian")


@dataclass(frozen=True)
class Mixture:
    """S(omega) = sum_q theta_q B_q(omega): each bump has a centre and a width, and integrates to one over the features.

    gaussian: B ~ exp(-d^2 / 2), of a squared-exponential kernel; student: B ~ (1 + d^2 / nu)^(-(nu + 1) / 2) with
    nu = 5, of a Matern-5/2 one; d the distance from the centre in widths. cos(centre x) times those kernels is the
    covariance of one bump (Wilson and Adams 2013; Fang et al. 2024).
    """

    bumps: Tensor  # (features, Q)
    weights: Tensor  # (Q,)
    centres: Tensor
    width: float

    @classmethod
    def over(cls, frequencies: Tensor, spacing: float, start: Tensor, *, shape: str = "gaussian", width: float = 1.0):
        """Bumps every ``width`` spacings over the frequencies (features,), with weights that come near ``start``.

        >>> w = torch.arange(6.0).double()
        >>> m = Mixture.over(w, 1.0, torch.ones(6).double(), shape="gaussian")
        >>> bool(((m.density() - 1).abs() < 0.3).all())
        True
        """
        if shape not in SHAPES:
            raise NWidthError("spectrum", got=f"shape={shape!r}", expected="one of " + ", ".join(SHAPES))
        step = width * spacing
        count = int(float(frequencies.max()) / step) + 1
        centres = step * torch.arange(count, dtype=torch.float64)

        def bump(d: Tensor) -> Tensor:
            return torch.exp(-0.5 * d.square()) if shape == "gaussian" else (1 + d.square() / 5) ** -3

        # densities are even: a bump has its image at the negative frequency
        bumps = bump((frequencies[:, None] - centres) / step) + bump((frequencies[:, None] + centres) / step)
        bumps = bumps / bumps.sum(0)
        nearest = (frequencies[:, None] - centres).abs().argmin(0)
        weights = start[nearest] * bumps.sum(0)
        mixed = bumps @ weights
        weights = weights * float(start.sum() / mixed.sum())
        return cls(bumps, weights, centres, step)

    def density(self) -> Tensor:
        return self.bumps @ self.weights

    def updated(self, signal: Tensor, informed: Tensor) -> Mixture:
        """MacKay's fixed point for the weights, from the moments of the whitened weights of the features.

        theta_q <- theta_q sum_k r_kq signal_k / sum_k r_kq informed_k, r_kq = theta_q B_kq / S_k.
        """
        share = self.bumps / self.density().clamp_min(1e-300)[:, None]
        up, down = share.T @ signal, share.T @ informed
        ratio = (up / down.clamp_min(1e-12)).clamp(1e-3, 1e3)
        weights = self.weights * ratio
        weights = weights / weights.sum()
        return Mixture(self.bumps, weights.clamp_min(1e-34), self.centres, self.width)
