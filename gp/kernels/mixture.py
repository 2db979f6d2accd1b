"""Spectral mixtures: sums of waves with Gaussian or Student-t spectra."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import NWidthError
from .envelopes import check_envelope, wave
from .stationary import SmoothStationaryKernel


def sum_of_waves(
    envelope: str,
    d: list[Tensor],
    weights: Tensor,
    bandwidths: Tensor,
    frequencies: Tensor,
    orders: Sequence[int],
    axes: int,
) -> Tensor:
    """sum_q w_q prod_p d^orders_p [h(2 pi sigma_qp d_p) cos(2 pi f_qp d_p)] with w (..., Q), sigma, f (..., Q, P)."""

    def spread(x: Tensor) -> Tensor:
        return x.reshape(*x.shape, *(1,) * axes)

    out = spread(weights)
    for p, (x, n) in enumerate(zip(d, orders)):
        out = out * wave(envelope, x.unsqueeze(-1 - axes), spread(bandwidths[..., p]), spread(frequencies[..., p]), n)
    return out.sum(-1 - axes)


class SpectralMixture(SmoothStationaryKernel):
    """k(x, x') = sum_q w_q prod_p h(2 pi sigma_qp d_p) cos(2 pi f_qp d_p), d = x - x'.

    h is exp(-s^2/2) for the ``gaussian`` envelope, whose spectrum is a mixture of normal peaks, and the Matern function
    of smoothness 1/2, 3/2, 5/2 for ``matern12``, ``matern32``, ``matern52``: peaks of Student-t shape with 1, 3, 5
    degrees of freedom, whose tails keep high frequencies. Centres f and widths sigma are in cycles per unit of x,
    weights w are variances. w and sigma are learned as logarithms: a flat prior on log w is Jeffreys' prior on w, a
    step is a factor, and components that the data do not need fall towards zero, where ``prune`` removes them.
    Components start with equal weights, their centres evenly from 0 to ``max_frequency``; ``initialize_from_data`` is
    better.

    Source: Wilson and Adams, Gaussian process kernels for pattern discovery and extrapolation (2013); for
    Student-t: Fang et al., Solving high frequency and multi-scale PDEs with Gaussian processes (ICLR 2024).

    >>> k = SpectralMixture(2, envelope="matern32", max_frequency=5.0)
    >>> x = torch.linspace(0, 1, 4)[:, None]
    >>> k(x).to_dense().shape, round(k(x).to_dense()[0, 0].item(), 6)
    (torch.Size([4, 4]), 1.0)
    """

    def __init__(
        self,
        num_mixtures: int,
        dims: int = 1,
        *,
        envelope: str = "gaussian",
        max_frequency: float = 1.0,
        batch_shape: Sequence[int] = (),
        active_dims: Sequence[int] | None = None,
    ):
        if num_mixtures < 1:
            raise NWidthError("SpectralMixture", got=f"num_mixtures={num_mixtures}", expected="1 or more")
        super().__init__(dims, batch_shape, active_dims)
        self.envelope = check_envelope("SpectralMixture", envelope)
        shape = (*batch_shape, num_mixtures, dims)
        start = torch.linspace(0, max_frequency, num_mixtures)[:, None].expand(shape).clone()
        width = max_frequency / (2 * max(num_mixtures - 1, 1))
        self.log_weights = nn.Parameter(torch.full(shape[:-1], -math.log(num_mixtures)))
        self.log_bandwidths = nn.Parameter(torch.full(shape, math.log(width)))
        self.frequencies = nn.Parameter(start)

    @property
    def num_mixtures(self) -> int:
        return self.log_weights.shape[-1]

    @property
    def weights(self) -> Tensor:
        return self.log_weights.exp()

    @property
    def bandwidths(self) -> Tensor:
        return self.log_bandwidths.exp()

    @torch.no_grad()
    def assign(self, weights: Tensor, bandwidths: Tensor, frequencies: Tensor) -> SpectralMixture:
        """Set all parameters, shapes (..., Q), (..., Q, dims), (..., Q, dims)."""
        if not bool((weights > 0).all() and (bandwidths > 0).all() and torch.isfinite(frequencies).all()):
            raise NWidthError("SpectralMixture.assign", got="weights or bandwidths that are not positive, or NaN")
        self.log_weights.copy_(weights.log().expand_as(self.log_weights))
        self.log_bandwidths.copy_(bandwidths.log().expand_as(self.log_bandwidths))
        self.frequencies.copy_(frequencies.expand_as(self.frequencies))
        return self

    def prune(self, tolerance: float = 1e-6) -> SpectralMixture:
        """The same kernel without components whose weight is below ``tolerance`` times the sum; no batch."""
        if self.batch_shape:
            raise NWidthError("SpectralMixture.prune", got="a batch of kernels", expected="a single one")
        keep = self.weights.detach() > tolerance * self.weights.detach().sum()
        small = SpectralMixture(int(keep.sum()), self.dims, envelope=self.envelope, active_dims=self.active_dims)
        small = small.to(self.log_weights)
        return small.assign(self.weights[keep], self.bandwidths[keep], self.frequencies[keep])

    def kappa(self, d: list[Tensor], orders: Sequence[int], axes: int) -> Tensor:
        return sum_of_waves(self.envelope, d, self.weights, self.bandwidths, self.frequencies, orders, axes)
