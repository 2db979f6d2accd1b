"""Sparse LU of elliptic systems, one sample after the other: the reference, and the last resort."""

from __future__ import annotations

import torch
from torch import Tensor

from .stencils import Stencil, samples_last


def solve_directly(stencil: Stencil, f: Tensor, singular: bool = False) -> Tensor:
    """A^(-1) f for f (N, 1, *space), by SuperLU on the CPU in float64, in the dtype and on the device of f.

    ``singular``: constants are the null space of A; the first unknown is then fixed to zero.
    """
    from scipy.sparse.linalg import splu

    out = torch.empty_like(f)
    right = samples_last(f).flatten(0, -2).detach().cpu().double().numpy()
    first = int(singular)
    for i in range(stencil.samples):
        matrix = stencil.matrix(i)[first:, first:]
        lu = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        u = torch.from_numpy(lu.solve(right[first:, i]))
        out[i] = torch.cat([u.new_zeros(first), u]).view(f.shape[1:]).to(f)
    return out
