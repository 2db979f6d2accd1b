"""The matrices of the bases in working precision: built once in float64, kept per dtype and device."""

from __future__ import annotations

import json
from functools import lru_cache

import torch
from torch import Tensor

from .bases import (
    Basis,
    ChebyshevBasis,
    CosineBasis,
    ExtendedFourierBasis,
    FourierBasis,
    RealFourierBasis,
    SineBasis,
    is_half,
)
from .grid import Axis
from .orthonormal import OrthonormalBasis

KINDS = {
    k.__name__: k
    for k in (
        FourierBasis,
        RealFourierBasis,
        ExtendedFourierBasis,
        CosineBasis,
        SineBasis,
        ChebyshevBasis,
        OrthonormalBasis,
    )
}


def table(basis: Basis, what: str, n: int, m: int, order: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """One matrix of the basis for n points and m modes.

    ``analysis`` and ``synthesis`` are those of the basis, for a half Fourier axis as one real product with
    interleaved real and imaginary parts, (n, 2K) and (2K, n); ``operator`` takes n values to the
    ``order``-th derivative of their interpolant at m points; ``gram`` holds mean products of the m basis
    functions; ``points`` the n points. Under torch.compile it is one opaque call that copies the matrix
    from the memo, whatever the resolution.
    """
    if torch.compiler.is_compiling():
        return _opaque_table(basis.key, what, n, m, order, dtype, device)
    return _memo(basis, what, n, m, order, dtype, device)


def _build(basis: Basis, what: str, n: int, m: int, order: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
        if what == "points":
            values = basis.points(n)
        elif what == "gram":
            values = basis.gram(m)
        elif what == "operator":
            kept = min(basis.limit(n), basis.limit(m))
            values = basis.synthesis(m, kept, order) @ basis.analysis(n, kept)
            values = values.real if values.is_complex() else values
        else:
            values = basis.analysis(n, m) if what == "analysis" else basis.synthesis(n, m, order)
            values = _interleaved(values, what) if is_half(basis) else values
        if values.is_complex():
            dtype = torch.complex128 if dtype == torch.float64 else torch.complex64
        return values.to(dtype).contiguous().to(device)


_memo = lru_cache(maxsize=1024)(_build)


def _interleaved(matrix: Tensor, what: str) -> Tensor:
    """Real forms of c = A u, (n, 2K), and of u = Re(S c), (2K, n), on pairs (re, im) of coefficients."""
    if what == "analysis":
        return torch.view_as_real(matrix.T.contiguous()).flatten(1)
    return torch.view_as_real(matrix.conj().T.resolve_conj().contiguous()).mT.flatten(0, 1)


@torch.library.custom_op("nwidth::table", mutates_args=())
def _opaque_table(key: str, what: str, n: int, m: int, order: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return _memo(_decode(key), what, n, m, order, dtype, device).clone()


@_opaque_table.register_fake
def _(key, what, n, m, order, dtype, device):
    return _build(_decode(key), what, n, m, order, dtype, device)  # not the memo: these have no values


@lru_cache(maxsize=256)
def _decode(key: str) -> Basis:
    name, values = json.loads(key)
    if "axis" in values:
        points = values["axis"].pop("points")
        values["axis"] = Axis(**values["axis"], points=None if points is None else tuple(points))
    return KINDS[name](**values)
