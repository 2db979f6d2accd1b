"""Preconditioned conjugate gradients on many fields at once, and the Lanczos matrices that come with them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...errors import NWidthError


@torch.no_grad()
def conjugate_gradients(
    matmul: Callable[[Tensor], Tensor],
    b: Tensor,
    precondition: Callable[[Tensor], Tensor] | None = None,
    tolerance: float = 1e-8,
    limit: int = 2000,
) -> tuple[Tensor, Tensor, Tensor]:
    """x with A x = b for fields b (R, ...) and A symmetric positive definite; and the step lengths (steps, R).

    Each right-hand side goes on until its residual is below ``tolerance`` times its norm; then its steps are zero.
    An error where ``limit`` steps do not suffice.

    >>> x, a, _ = conjugate_gradients(lambda v: 2 * v, torch.ones(3, 4))
    >>> x[0].tolist(), len(a)
    ([0.5, 0.5, 0.5, 0.5], 1)
    """
    space = tuple(range(1, b.ndim))
    spread = (len(b), *(1,) * len(space))
    apply = precondition or (lambda v: v)
    x, r = torch.zeros_like(b), b
    z = apply(r)
    p, rz = z, (r * z).sum(space)
    target = tolerance * b.square().sum(space).sqrt()
    alphas: list[Tensor] = []
    betas: list[Tensor] = []
    active = r.square().sum(space).sqrt() > target
    while bool(active.any()):
        if len(alphas) == limit:
            raise NWidthError(
                "conjugate_gradients",
                got=f"{int(active.sum())} of {len(b)} right-hand sides that did not converge in {limit} steps",
                expected=f"a relative residual of {tolerance:g}",
                fix="raise the noise or the rank of the preconditioner",
            )
        Ap = matmul(p)
        alpha = torch.where(active, rz / (p * Ap).sum(space), 0)
        x += alpha.view(spread) * p
        r = r - alpha.view(spread) * Ap
        z = apply(r)
        new = (r * z).sum(space)
        beta = torch.where(active, new / rz, 0)
        p, rz = z + beta.view(spread) * p, torch.where(active, new, rz)
        alphas.append(alpha)
        betas.append(beta)
        active &= r.square().sum(space).sqrt() > target
    empty = b.new_zeros(0, len(b))
    return x, torch.stack(alphas) if alphas else empty, torch.stack(betas) if betas else empty


def log_quadrature(alphas: Tensor, betas: Tensor) -> Tensor:
    """e_1' log(T) e_1 (R,) for the Lanczos matrices T of the steps alphas, betas (steps, R).

    T_jj = 1/alpha_j + beta_{j-1}/alpha_{j-1}, T_j,j+1 = sqrt(beta_j)/alpha_j (Golub and Van Loan, Matrix computations);
    where a right-hand side had ended, T goes on with the identity.
    """
    live = alphas > 0
    inverse = torch.where(live, 1 / alphas, 1)
    main = inverse.clone()
    main[1:] += torch.where(live[1:], betas[:-1] * inverse[:-1], 0)
    off = torch.where(live[1:], betas[:-1].sqrt() * inverse[:-1], 0)
    T = torch.diag_embed(main.T) + torch.diag_embed(off.T, 1) + torch.diag_embed(off.T, -1)
    values, vectors = torch.linalg.eigh(T)
    return (vectors[:, 0].square() * values.clamp_min(torch.finfo(values.dtype).tiny).log()).sum(-1)
