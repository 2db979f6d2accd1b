"""A tall matrix reduced to its leading directions, by its Gram matrix where that can see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .dense import across, dense_svd, exact_svd
from .gram import gram

_SMALLEST = 1e-7  # the smallest kept value, over the largest, that a Gram matrix in double precision may decide on

Keep = Callable[[Tensor], int]


class Compressed(NamedTuple):
    """M = U diag(s) Gh + what is dropped, whose rows are orthogonal to those of Gh, and its Frobenius norm."""

    U: Tensor
    s: Tensor
    Gh: Tensor
    dropped: float


def compress(M: Tensor, keep: Keep, squared: bool = True) -> Compressed:
    """M (d, c) reduced to ``keep(s)`` directions; ``squared`` allows the Gram matrix, which then decides itself."""
    found = gram_compress(M, keep) if squared else None
    return exact_compress(M, keep) if found is None else found


def exact_compress(M: Tensor, keep: Keep) -> Compressed:
    U, s, Gh = exact_svd(M)
    r = keep(s)
    return Compressed(U[:, :r], s[:r], Gh[:r], norm(s[r:]))


def gram_compress(M: Tensor, keep: Keep) -> Compressed | None:
    """The same by eigenvectors V of M* M: M V V*, with M V orthonormalised; None where that is too coarse.

    V is orthonormal to eps, so that the split of M into kept and dropped rows is exact whatever the error of the
    eigenvectors. They are those of M* M in double precision, which resolves values above 1e-7 of the largest; where
    smaller ones are to be kept, and for matrices that are wider than tall or of single precision, the answer is None.
    """
    if M.dtype not in (torch.float64, torch.complex128) or M.shape[1] >= M.shape[0]:
        return None
    return _by_eigenvectors(gram(M), lambda V: across(M, V), keep)


def gram_extend(F: Tensor, s: Tensor, B: Tensor, keep: Keep) -> Compressed | None:
    """``gram_compress`` of [F diag(s), B] for orthonormal F, without forming it."""
    k = len(s)
    if F.dtype not in (torch.float64, torch.complex128) or k + B.shape[1] >= len(F):
        return None
    C = s[:, None] * (F.mH @ B)
    G = torch.cat([torch.cat([torch.diag(s.square()).to(C.dtype), C], 1), torch.cat([C.mH, gram(B)], 1)], 0)
    return _by_eigenvectors(G, lambda V: across(F, s[:, None] * V[:k]) + across(B, V[k:]), keep)


def _by_eigenvectors(G: Tensor, times: Callable[[Tensor], Tensor], keep: Keep) -> Compressed | None:
    """The reduction of M from G = M* M and V -> M V."""
    values, vectors = torch.linalg.eigh(G)
    t = values.flip(0).clamp_min(0).sqrt()
    r = keep(t)
    if not float(t[r - 1]) > _SMALLEST * float(t[0]):
        return None
    V = vectors.flip(1)[:, :r]
    Y = times(V / t[:r])  # orthonormal up to eps / 1e-14
    L, info = torch.linalg.cholesky_ex(Y.mH @ Y)
    if int(info):
        return None
    X, s, Wh = dense_svd(L.mH * t[:r])
    Z = torch.linalg.solve_triangular(L.mH, X, upper=True)
    return Compressed(across(Y, Z), s, Wh @ V.mH, norm(t[r:]))


def norm(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values.double())) if len(values) else 0.0
