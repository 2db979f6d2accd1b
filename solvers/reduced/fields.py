"""What surrogates of fields share: one scale a channel, and answers on the grid and at the times of the inputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...backends import Grid, Mesh
from ...backends.resample import resample
from ...data import Dataset
from ...data.resampling import at_times
from .pod import POD


def channel_scale(u: Tensor, channel: int) -> Tensor:
    """The root mean square of each channel of u over everything else, (C, 1, ...); 1 for a channel of zeros."""
    rms = u.abs().square().mean([d for d in range(u.ndim) if d != channel]).sqrt()
    return torch.where(rms > 0, rms, torch.ones_like(rms)).reshape(-1, *(1,) * (u.ndim - channel - 1))


def onto(field: Tensor, t: Tensor | None, grid: Grid | Mesh, inputs: Dataset) -> Tensor:
    """Fields known at times ``t`` on ``grid``, at the times and on the grid of the inputs."""
    return resample(at_times(field, t, inputs.t), grid, inputs.grid)


def field_spread(pod: POD, std: Tensor, missed: Tensor | None) -> Tensor:
    """sqrt(sum_k V_k^2 std_k^2 + missed), the standard deviation of a field from those of its POD coefficients and
    the variance ``missed`` of what the POD truncates."""
    basis = pod.basis
    assert basis is not None
    variance = (std.square() @ basis.abs().square().flatten(1)).reshape(len(std), *basis.shape[1:])
    return (variance if missed is None else variance + missed).sqrt()


def missed_variance(pod: POD, x: Tensor, c: Tensor) -> Tensor | None:
    """The mean square of what decoding the coefficients c of snapshots x leaves out, at each point; None where it is
    round-off."""
    return (x - pod.decode(c)).abs().square().mean(0) if pod.tail > 1e-12 else None


def coefficient_error(pod: POD, x: Tensor) -> Callable[[Tensor], float]:
    """The mean relative L2 error of predicted coefficients for snapshots x, without decoding: |c' - c|^2 and the part
    of x outside the space are orthogonal."""
    assert pod.weight is not None
    c, outside = pod.encode(x), pod.residual(x)
    norm = norms(x, pod.weight).clamp_min(1e-300)

    def error(predicted: Tensor) -> float:
        return float((((predicted - c).abs().square().sum(1) + outside.square()).sqrt() / norm).mean())

    return error


def norms(x: Tensor, weight: Tensor) -> Tensor:
    """|x_i| in the inner product, for snapshots x (N, *shape) and a weight of their last axes, (N,)."""
    return (x.abs().square() * weight).flatten(1).sum(1).sqrt()


def as_real(x: Tensor) -> Tensor:
    """Vectors (N, p); complex ones as (N, 2 p) real ones of the same length."""
    return torch.view_as_real(x.resolve_conj()).flatten(1) if x.is_complex() else x
