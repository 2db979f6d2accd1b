"""Finite features of a kernel: Nystroem on randomly pivoted landmarks, and random Fourier features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import NWidthError
from .gram import cholesky, gram, gram_diagonal

KINDS = ("nystroem", "fourier")


def pivots(
    columns: Callable[[Tensor], Tensor], diagonal: Tensor, count: int, generator: torch.Generator, block: int = 64
) -> Tensor:
    """Indices of at most ``count`` landmarks by randomly pivoted Cholesky of an (n, n) positive semidefinite matrix.

    Each pivot is drawn with probability proportional to the diagonal of what the pivots so far leave; ``block`` are
    proposed at a time and those refused that the block's earlier ones explain, which draws from the same law with
    products of matrices. Stops early where nothing is left. ``columns(indices)`` are columns of the matrix, (n, b).

    Source: Chen, Epperly, Tropp and Webber, Comm. Pure Appl. Math. 78 (2025); blocks with refusal:
    Epperly, Tropp and Webber, arXiv:2410.03969.

    >>> F = torch.eye(5, dtype=torch.float64)[:, :2]  # rank 2: two pivots suffice
    >>> sorted(pivots(lambda i: F @ F[i].mT, F.square().sum(1), 4, torch.Generator().manual_seed(0)).tolist())
    [0, 1]
    """
    n, total = len(diagonal), float(diagonal.sum())
    left, F = diagonal.clone(), diagonal.new_zeros(n, min(count, n))
    chosen: list[int] = []
    while len(chosen) < F.shape[1] and float(left.sum()) > 1e-14 * total:
        k = len(chosen)
        proposed = torch.multinomial(left.cpu(), block, replacement=True, generator=generator)
        uniform = torch.rand(block, generator=generator, dtype=torch.float64)
        residual = columns(proposed.to(F.device)) - F[:, :k] @ F[proposed, :k].mT
        small = residual[proposed].cpu()
        law, accepted = small.diagonal().clone(), []
        for i in range(block):
            if float(small[i, i]) > float(uniform[i] * law[i]) and float(small[i, i]) > 1e-14 * float(diagonal.max()):
                accepted.append(i)
                column = small[:, i] / small[i, i].sqrt()
                small = small - torch.outer(column, column)
                if k + len(accepted) == F.shape[1]:
                    break
        if not accepted:
            break  # round-off: the residual is below what double precision resolves
        L, _ = cholesky(residual[proposed[accepted]][:, accepted])
        new = torch.linalg.solve_triangular(L, residual[:, accepted].mT, upper=False).mT
        F[:, k : k + len(accepted)] = new
        chosen += proposed[accepted].tolist()
        left = (left - new.square().sum(1)).clamp_min(0)
        left[chosen] = 0
    return torch.tensor(chosen, device=diagonal.device)


def frequencies(kernel: str, dims: int, count: int, generator: torch.Generator) -> Tensor:
    """Draws from the spectral density of a kernel of unit length, (dims, count): each is a scale mixture of Gaussians.

    omega = sqrt(tau) z with z ~ N(0, I); tau = 1 for rbf, 2 nu / chi^2(2 nu) for Matern nu, Exp(1) for
    rational_quadratic.
    """
    z = torch.randn(dims, count, generator=generator, dtype=torch.float64)
    if kernel == "rbf":
        return z
    if kernel == "rational_quadratic":
        u = torch.rand(count, generator=generator, dtype=torch.float64)
        return z * (-torch.log1p(-u)).sqrt()
    if kernel.startswith("matern"):
        freedom = {"matern12": 1, "matern32": 3, "matern52": 5}[kernel]
        chi2 = torch.randn(freedom, count, generator=generator, dtype=torch.float64).square().sum(0)
        return z * (freedom / chi2).sqrt()
    raise NWidthError("fourier features", got=f"kernel {kernel!r}", expected="a stationary kernel", fix="use nystroem")


class KernelFeatures:
    """phi(x) (n, m) with phi(x) . phi(x') ~ k(x, x') for scaled inputs.

    nystroem: phi(x) = L^-1 k(Z, x), L L' = k(Z, Z), Z landmarks among the inputs; k - phi . phi is positive
    semidefinite. fourier: cosines and sines of random frequencies, m = 2 (m // 2); unbiased, error O(m^-1/2).

    Source: Williams and Seeger, NIPS 2000; Rahimi and Recht, NIPS 2007.

    >>> x = torch.rand(50, 1, dtype=torch.float64)
    >>> phi = KernelFeatures("rbf", "nystroem", x, 10, seed=0)(x)
    >>> bool((phi @ phi.mT - gram("rbf", x, x)).abs().max() < 1e-8)
    True
    """

    def __init__(self, kernel: str, kind: str, x: Tensor, count: int, *, seed: int):
        if kind not in KINDS:
            raise NWidthError("KernelFeatures", got=f"kind {kind!r}", expected="one of " + ", ".join(KINDS))
        self.kernel, self.kind = kernel, kind
        generator = torch.Generator().manual_seed(seed)
        self.factor: Tensor | None = None
        if kind == "fourier":
            self.points = frequencies(kernel, x.shape[1], max(count // 2, 1), generator).to(x)
            return
        index = pivots(lambda i: gram(kernel, x, x[i]), gram_diagonal(kernel, x), count, generator)
        self.points = x[index]
        self.factor, _ = cholesky(gram(kernel, self.points, self.points))

    def __call__(self, x: Tensor) -> Tensor:
        if self.factor is None:
            phase = x @ self.points
            return torch.cat([phase.cos(), phase.sin()], 1) / self.points.shape[1] ** 0.5
        return torch.linalg.solve_triangular(self.factor, gram(self.kernel, self.points, x), upper=False).mT

    def missed(self, x: Tensor, phi: Tensor) -> Tensor:
        """k(x, x) - |phi(x)|^2 >= 0, what landmarks leave of the prior variance; Fourier features leave none."""
        return (gram_diagonal(self.kernel, x) - phi.square().sum(1)).clamp_min(0)

    def state_dict(self) -> dict[str, Any]:
        return {"kernel": self.kernel, "kind": self.kind, "points": self.points, "factor": self.factor}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> KernelFeatures:
        new = cls.__new__(cls)
        new.kernel, new.kind, new.points, new.factor = (state[k] for k in ("kernel", "kind", "points", "factor"))
        return new
