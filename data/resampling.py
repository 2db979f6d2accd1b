"""Trajectories at other times."""

from __future__ import annotations

import torch
from torch import Tensor

from ..backends import Axis
from ..backends.resample import interpolation_matrix
from ..errors import NWidthError


def at_times(u: Tensor, t: Tensor | None, wanted: Tensor | None) -> Tensor:
    """States u (N, T, ...) known at times ``t``, interpolated to ``wanted`` by cubic polynomials; no extrapolation.

    Steady fields (both None) and equal times pass unchanged.
    """
    if t is None and wanted is None:
        return u
    if t is None or wanted is None:
        raise NWidthError(
            "predict",
            got="steady and time-dependent data mixed",
            expected="data of the training's kind",
            fix="check data.fields.t",
        )
    if t.shape == wanted.shape and bool(torch.allclose(t.double(), wanted.double(), rtol=1e-6, atol=1e-12)):
        return u
    slack = 1e-6 * max(abs(float(t[-1])), 1e-300)
    if float(wanted[0]) < float(t[0]) - slack or float(wanted[-1]) > float(t[-1]) + slack:
        raise NWidthError(
            "predict",
            got=f"times on [{float(wanted[0]):g}, {float(wanted[-1]):g}]",
            expected=f"times within the training's [{float(t[0]):g}, {float(t[-1]):g}]",
            fix="use a surrogate with training.time=rollout to go further",
        )
    source, target = (Axis("listed", len(x), name="t", points=tuple(x.tolist())) for x in (t, wanted))
    matrix = interpolation_matrix(source, target).to(dtype=u.dtype, device=u.device)
    return torch.tensordot(matrix, u, dims=([1], [1])).movedim(0, 1)
