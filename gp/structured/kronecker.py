"""Kronecker products of matrices along the axes of a field, and the Gaussian density that they make with noise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...errors import NWidthError


def apply_factors(factors: Sequence[Tensor], x: Tensor) -> Tensor:
    """(F_1 x ... x F_d) x for a field x (..., n_1, .., n_d): factor i (..., m_i, n_i) acts along axis i.

    Batches of factors and fields broadcast. Cost N sum_i m_i for N points, without forming the product.

    >>> a, b, x = torch.rand(3, 3), torch.rand(2, 2), torch.rand(3, 2)
    >>> bool(torch.allclose(apply_factors([a, b], x).flatten(), torch.kron(a, b) @ x.flatten(), atol=1e-6))
    True
    """
    d = len(factors)
    for i, f in enumerate(factors):
        lead, space = x.shape[: x.ndim - d], x.shape[x.ndim - d :]
        if i == d - 1:
            y = x.flatten(-d, -2) @ f.mT if d > 1 else (f @ x[..., None])[..., 0]
        else:
            y = f.unsqueeze(-3) @ x.reshape(*lead, space[:i].numel(), space[i], space[i + 1 :].numel())
        lead = torch.broadcast_shapes(lead, f.shape[:-2])
        x = y.reshape(*lead, *space[:i], f.shape[-2], *space[i + 1 :])
    return x


def outer(vectors: Sequence[Tensor]) -> Tensor:
    """v_1[i_1] ... v_d[i_d], shape (..., n_1, .., n_d), of vectors (..., n_i)."""
    d = len(vectors)
    spread = [v.reshape(*v.shape[:-1], *(-1 if i == j else 1 for j in range(d))) for i, v in enumerate(vectors)]
    return reduce(torch.mul, spread)


class KroneckerEigen:
    """C = K_1 x ... x K_d + noise I = Q D Q', Q = Q_1 x ... x Q_d, K_i = Q_i L_i Q_i', D = L_1 x ... x L_d + noise.

    Negative eigenvalues of round-off are zero. ``noise`` (...) broadcasts with the batch of factors (..., n_i, n_i).
    """

    def __init__(self, factors: Sequence[Tensor], noise: Tensor):
        pairs = [torch.linalg.eigh(finite(f)) for f in factors]
        self.values = [p[0].clamp_min(0) for p in pairs]
        self.vectors = [p[1] for p in pairs]
        self.noise = noise
        self.prior = outer(self.values)
        self.total = self.prior + noise.reshape(*noise.shape, *(1,) * len(factors))

    @property
    def ndim(self) -> int:
        return len(self.values)

    @property
    def space(self) -> tuple[int, ...]:
        return tuple(range(-self.ndim, 0))

    def rotate(self, x: Tensor) -> Tensor:
        """Q' x"""
        return apply_factors([q.mT for q in self.vectors], x)

    def rotate_back(self, c: Tensor) -> Tensor:
        """Q c"""
        return apply_factors(self.vectors, c)

    def solve(self, x: Tensor) -> Tensor:
        """C^-1 x for fields x (..., n_1, .., n_d)."""
        return self.rotate_back(self.rotate(x) / self.total)

    def logdet(self) -> Tensor:
        return self.total.log().sum(self.space)


class _QuadLogdet(torch.autograd.Function):
    """Forward by eigendecomposition; backward without differences of eigenvalues.

    d(y' C^-1 y)/dK_i = -Q_i A_i (rest of L) A_i' Q_i' with A_i the unfolding of D^-1 Q' y along axis i, and
    d log|C|/dK_i = Q_i diag(sum over the other axes of (rest of L) / D) Q_i', rest of L = product of L_j, j != i.
    """

    @staticmethod
    def forward(ctx, y: Tensor, noise: Tensor, *factors: Tensor):
        eigen = KroneckerEigen(factors, noise)
        t = eigen.rotate(y)
        a = t / eigen.total
        ctx.eigen, ctx.shapes = eigen, [y.shape, noise.shape, *(f.shape for f in factors)]
        ctx.save_for_backward(a)
        return (t * a).sum(eigen.space), eigen.logdet()

    @staticmethod
    @once_differentiable
    def backward(ctx, gq: Tensor, gl: Tensor):
        (a,), e, d = ctx.saved_tensors, ctx.eigen, ctx.eigen.ndim
        gq, gl = (g.reshape(*g.shape, *(1,) * d) for g in (gq, gl))
        needs = ctx.needs_input_grad
        grads: list[Tensor | None] = [2 * e.rotate_back(gq * a) if needs[0] else None, None]
        if needs[1]:
            grads[1] = _sum(-gq * a.square(), e.space, ctx.shapes[1]) + _sum(gl / e.total, e.space, ctx.shapes[1])
        for i, (q, shape) in enumerate(zip(e.vectors, ctx.shapes[2:])):
            if not needs[2 + i]:
                grads.append(None)
                continue
            rest = outer([v if j != i else torch.ones_like(v) for j, v in enumerate(e.values)])
            left, right = ((x.movedim(i - d, -d).flatten(1 - d) if d > 1 else x[..., None]) for x in (gq * rest * a, a))
            inner = _reduce(-(left @ right.mT), shape)
            others = tuple(j for j in e.space if j != i - d)
            weight = (gl * rest / e.total).sum(others) if others else gl * rest / e.total
            inner = inner + _reduce(torch.diag_embed(weight), shape)
            grads.append(q @ inner @ q.mT)
        if grads[0] is not None:
            grads[0] = _reduce(grads[0], ctx.shapes[0])
        return tuple(grads)


def _reduce(g: Tensor, shape: torch.Size) -> Tensor:
    """Sum over what was broadcast."""
    return g.sum_to_size(shape) if g.shape != shape else g


def _sum(g: Tensor, space: tuple[int, ...], shape: torch.Size) -> Tensor:
    return _reduce(g.sum(space), shape)


def quad_logdet(y: Tensor, noise: Tensor, factors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """y' C^-1 y (...) for every field and log|C| (batch), C = K_1 x ... x K_d + noise I.

    y (..., n_1, .., n_d), noise (batch), factors (batch, n_i, n_i) symmetric, positive semidefinite; the leading shape
    of y broadcasts with the batch. Differentiable once, in y, noise and the factors; cost N sum n_i + sum n_i^3. The
    gradient has no differences of eigenvalues, so equal ones do no harm.

    >>> k = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    >>> q, l = quad_logdet(torch.ones(2, 2).double(), torch.tensor(1.0).double(), [k, k])  # eigenvalues 10, 4, 4, 2
    >>> round(float(q), 6), round(float(l.exp()), 6)
    (0.4, 320.0)
    """
    batch = torch.broadcast_shapes(noise.shape, *(f.shape[:-2] for f in factors))
    factors = [f.expand(*batch, *f.shape[-2:]) for f in factors]
    return _QuadLogdet.apply(y, noise.expand(batch), *factors)


def finite(f: Tensor) -> Tensor:
    """``f``, or an error where it holds NaN or infinity."""
    if not bool(torch.isfinite(f).all()):
        raise NWidthError(
            "Kronecker factor",
            got="a covariance with NaN or infinite entries",
            expected="finite hyper-parameters and coordinates",
            fix="lower the learning rate, or bound the hyper-parameters",
        )
    return f
