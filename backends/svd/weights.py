"""Inner products <x, y>_W = y* W x on the rows of matrices: diagonal, dense, sparse, one per matrix, or by blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.linalg import splu
from torch import Tensor

from ...errors import NWidthError

# a tensor, a torch or scipy sparse matrix, or a sequence of these: the blocks of a block-diagonal W
Weight = Any


class InnerProduct(ABC):
    """W = C* C: ``root`` multiplies by C, so that |root(x)| = |x|_W, ``unroot`` solves with it, ``times`` is W x.

    ``dual`` solves with C*: |dual(f)| is the norm of the functional y -> f* y, sup |f* y| / |y|_W.
    """

    @abstractmethod
    def root(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def unroot(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def dual(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def times(self, x: Tensor) -> Tensor: ...


def inner_product(weight: Weight, shape: Sequence[int], like: Tensor, call: str = "svd") -> InnerProduct:
    """The inner product on the rows of matrices of this shape (..., m, n), with the dtype and device of ``like``.

    ==========================  ==============================================================================
    weight                      meaning
    ==========================  ==============================================================================
    None                        the Euclidean product
    (m,)                        positive diagonal, quadrature weights
    (m, m)                      symmetric (Hermitian) positive definite
    (..., m) and (..., m, m)    the same with one for each matrix of the batch
    sparse (m, m)               scipy sparse or torch sparse, a mass matrix of finite elements. Factored once as
                                P C*C P' by SuperLU with symmetric ordering and no pivoting, which is Cholesky; as
                                accurate as the dense one. Runs on the CPU; data on another device make the trip
    sequence of the above       the diagonal blocks of W for consecutive rows, one for each physical field
    ==========================  ==============================================================================

    Raises NWidthError for another shape, a weight that is not symmetric or not positive definite.

    >>> W = scipy.sparse.diags_array([1.0, 4.0]).tocsc()
    >>> x = torch.ones(2, 1, dtype=torch.float64)
    >>> inner_product(W, x.shape, x).root(x).tolist()
    [[1.0], [2.0]]
    """
    m = shape[-2]
    lead = tuple(shape[:-2])
    if weight is None:
        return _Euclidean()
    if isinstance(weight, list | tuple):
        sizes = [b.shape[-1] for b in weight]
        if sum(sizes) != m:
            raise NWidthError(call, got=f"weights for {sizes} rows", expected=f"blocks for {m} rows in all")
        return _Blocks([inner_product(b, (*lead, b.shape[-1], shape[-1]), like, call) for b in weight], sizes)
    if _is_sparse(weight):
        if tuple(weight.shape) != (m, m):
            raise NWidthError(call, got=f"weight of shape {tuple(weight.shape)}", expected=f"({m}, {m})")
        return _Sparse(weight, like, call)
    weight = torch.as_tensor(weight).to(like.device)
    weight = weight.to(torch.promote_types(weight.dtype, like.dtype.to_real()))
    if not bool(torch.isfinite(weight).all()):
        raise NWidthError(call, got="NaN or infinite weights", expected="finite numbers")
    given = tuple(weight.shape)
    if lead == (m,) and given == (m, m):
        raise NWidthError(
            call,
            got=f"weight of shape {given} for matrices {tuple(shape)}: one product for all, or a diagonal for each?",
            expected="an unambiguous shape",
            fix="expand it to (m, m, m), or give torch.diag_embed of the diagonals",
        )
    if given in ((m,), (*lead, m)):
        return _Diagonal(weight, like, call)
    if given in ((m, m), (*lead, m, m)):
        return _Dense(weight, like, call)
    also = f", {(*lead, m)} or {(*lead, m, m)}" if lead else ""
    raise NWidthError(call, got=f"weight of shape {given}", expected=f"({m},) or ({m}, {m}){also}")


def _is_sparse(weight: Weight) -> bool:
    return scipy.sparse.issparse(weight) or (isinstance(weight, Tensor) and weight.layout != torch.strided)


class _Euclidean(InnerProduct):
    def root(self, x: Tensor) -> Tensor:
        return x

    unroot = dual = times = root


class _Diagonal(InnerProduct):
    def __init__(self, weight: Tensor, like: Tensor, call: str):
        if weight.is_complex() or not bool((weight > 0).all()):
            raise NWidthError(call, got="weights that are zero or negative", expected="positive quadrature weights")
        self.w = weight.to(like.dtype)[..., None]
        self.c = weight.sqrt().to(like.dtype)[..., None]

    def root(self, x: Tensor) -> Tensor:
        return x * self.c

    def unroot(self, x: Tensor) -> Tensor:
        return x / self.c

    dual = unroot

    def times(self, x: Tensor) -> Tensor:
        return x * self.w


class _Dense(InnerProduct):
    def __init__(self, weight: Tensor, like: Tensor, call: str):
        _real_for_real(weight.is_complex(), like, call)
        asymmetry = (weight - weight.mH).abs().amax((-2, -1))
        if bool((asymmetry > _slack(weight.dtype) * weight.abs().amax((-2, -1))).any()):
            raise NWidthError(call, got="an inner product that is not symmetric", expected="W equal to its adjoint")
        L, info = torch.linalg.cholesky_ex(weight)
        if bool((info != 0).any()):
            raise _not_definite(call)
        self.w, self.C = weight.to(like.dtype), L.mH.to(like.dtype)

    def root(self, x: Tensor) -> Tensor:
        return self.C @ x

    def unroot(self, x: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.C.expand(*x.shape[:-2], *self.C.shape[-2:]), x, upper=True)

    def dual(self, x: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.C.mH.expand(*x.shape[:-2], *self.C.shape[-2:]), x, upper=False)

    def times(self, x: Tensor) -> Tensor:
        return self.w @ x


class _Sparse(InnerProduct):
    def __init__(self, weight: Weight, like: Tensor, call: str):
        W = to_scipy(weight).tocsc()
        W.sum_duplicates()
        if not np.isfinite(W.data).all():
            raise NWidthError(call, got="NaN or infinite weights", expected="finite numbers")
        _real_for_real(np.iscomplexobj(W.data), like, call)
        wide = np.complex128 if np.iscomplexobj(W.data) else np.float64
        slack = _slack(torch.float32 if W.dtype.itemsize <= 4 else torch.float64)
        asymmetry = abs(W - W.conj().T)
        if asymmetry.nnz and asymmetry.max() > slack * abs(W).max():
            raise NWidthError(call, got="an inner product that is not symmetric", expected="W equal to its adjoint")
        W = W.astype(wide)
        try:
            lu = splu(W, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        except RuntimeError:  # an exact zero on the diagonal
            raise _not_definite(call) from None
        pivots = lu.U.diagonal()
        if not (lu.perm_r == lu.perm_c).all() or not (pivots.real > 0).all():
            raise _not_definite(call)
        # W = P L U P' with U = D L*, hence C = D^(-1/2) U P'
        self.C = (scipy.sparse.diags_array(pivots.real**-0.5) @ lu.U).tocsr()
        self.w, self.order, self.inverse = W.tocsr(), np.argsort(lu.perm_c), lu.perm_c
        # C* is lower triangular: its factors without pivots are itself and a diagonal, of no further fill
        self._triangle = splu(
            self.C.conj().T.tocsc(), permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )

    def _solve(self, y: np.ndarray, form: str) -> np.ndarray:
        """C^(-1) y (``form`` H) or C^(-*) y (N), up to the order; the factor takes numbers of its own kind only."""
        if np.iscomplexobj(self.C.data):
            return self._triangle.solve(y.astype(np.complex128), form)
        if np.iscomplexobj(y):
            return self._solve(y.real, form) + 1j * self._solve(y.imag, form)
        return self._triangle.solve(y.astype(np.float64), form)

    def root(self, x: Tensor) -> Tensor:
        return self._on_columns(x, lambda y: self.C @ y[self.order])

    def unroot(self, x: Tensor) -> Tensor:
        return self._on_columns(x, lambda y: self._solve(y, "H")[self.inverse])

    def dual(self, x: Tensor) -> Tensor:
        return self._on_columns(x, lambda y: self._solve(y[self.order], "N"))

    def times(self, x: Tensor) -> Tensor:
        return self._on_columns(x, lambda y: self.w @ y)

    def _on_columns(self, x: Tensor, act: Any) -> Tensor:
        """One call for a whole batch: its matrices side by side."""
        m, n = x.shape[-2:]
        flat = x.detach().movedim(-2, 0).reshape(m, -1).cpu().resolve_conj().numpy()
        found = torch.from_numpy(np.ascontiguousarray(act(flat))).to(dtype=x.dtype, device=x.device)
        return found.reshape(m, *x.shape[:-2], n).movedim(0, -2)


class _Blocks(InnerProduct):
    def __init__(self, parts: list[InnerProduct], sizes: list[int]):
        self.parts, self.sizes = parts, sizes

    def root(self, x: Tensor) -> Tensor:
        return torch.cat([p.root(b) for p, b in zip(self.parts, x.split(self.sizes, -2))], -2)

    def unroot(self, x: Tensor) -> Tensor:
        return torch.cat([p.unroot(b) for p, b in zip(self.parts, x.split(self.sizes, -2))], -2)

    def dual(self, x: Tensor) -> Tensor:
        return torch.cat([p.dual(b) for p, b in zip(self.parts, x.split(self.sizes, -2))], -2)

    def times(self, x: Tensor) -> Tensor:
        return torch.cat([p.times(b) for p, b in zip(self.parts, x.split(self.sizes, -2))], -2)


def to_scipy(matrix: Any) -> Any:
    """A scipy sparse matrix from one of scipy's or torch's."""
    if not isinstance(matrix, Tensor):
        return matrix
    coo = matrix.detach().cpu().to_sparse_coo().coalesce()
    return scipy.sparse.coo_array((coo.values().numpy(), tuple(coo.indices().numpy())), shape=tuple(coo.shape)).tocsr()


def _slack(dtype: torch.dtype) -> float:
    return 1e-5 if dtype in (torch.float32, torch.complex64) else 1e-10


def _real_for_real(complex_weight: bool, like: Tensor, call: str) -> None:
    if complex_weight and not like.is_complex():
        raise NWidthError(
            call, got="a complex weight for real data", expected="a real one", fix="make the data complex"
        )


def _not_definite(call: str) -> NWidthError:
    return NWidthError(
        call,
        got="an inner product that is not positive definite",
        expected="a symmetric positive definite matrix",
        fix="add the missing boundary terms",
    )
