"""Steady problems with a symmetric positive definite operator: batched preconditioned conjugate gradients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from ..backends import Grid
from ..data import Dataset
from ..errors import NWidthError
from .problem import Problem, lead

BATCH = 2**17  # unknowns that are solved for together, where samples are small
SAMPLES = 8  # the fewest samples that are solved for together, unless they exceed
LARGE = 2**22  # this many unknowns


@dataclass(frozen=True, kw_only=True)
class EllipticProblem(Problem):
    """A(a) u = f on a grid, with A(a) = G^T diag(theta(a)) G symmetric positive definite.

    A subclass gives ``theta`` (one non-negative weight a face, from the inputs), ``differences`` (G: u to
    face values), ``adjoint`` (G^T), ``source`` (f) and ``precondition``. G does not depend on the sample, so
    A is affine in theta: reduced models assemble V^T A(a) V = sum_f theta_f(a) (G V)_f^T (G V)_f for all
    samples by one matrix product.

    Face values are lists of tensors, one an axis. ``rtol``: the residual relative to f at which iterations
    stop (at least 10 times the round-off of the dtype); ``iterations``: the most that are allowed.
    """

    ndim: int = 2
    rtol: float = 1e-10
    iterations: int = 500

    def __post_init__(self):
        if not (1 <= self.ndim <= 4 and 0 < self.rtol < 1 and self.iterations >= 1):
            raise NWidthError(
                type(self).__name__,
                expected="ndim from 1 to 4, 0 < rtol < 1, iterations >= 1",
                got=f"ndim={self.ndim}, rtol={self.rtol}, iterations={self.iterations}",
            )

    @abstractmethod
    def theta(self, inputs: Dataset) -> list[Tensor]:
        """Weights of the faces, (N or 1, 1, *faces) each, in the dtype of the inputs."""

    @abstractmethod
    def differences(self, u: Tensor, grid: Grid) -> list[Tensor]:
        """G u: (..., *faces) for each axis from (..., *space)."""

    @abstractmethod
    def adjoint(self, faces: Sequence[Tensor], grid: Grid) -> Tensor:
        """G^T applied to face values."""

    @abstractmethod
    def source(self, inputs: Dataset) -> Tensor:
        """f, (N or 1, 1, *space)."""

    @abstractmethod
    def precondition(self, inputs: Dataset) -> Callable[[Tensor], Tensor]:
        """r -> P^(-1) r, with P symmetric positive definite and near to A(a)."""

    def complete(self, u: Tensor, inputs: Dataset) -> Tensor:
        """u with the values that the boundary data prescribe at points, where there are such."""
        return u

    def apply(self, theta: Sequence[Tensor], u: Tensor, grid: Grid) -> Tensor:
        """A u."""
        return self.adjoint([w * d for w, d in zip(theta, self.differences(u, grid))], grid)

    def residual(self, u: Tensor, inputs: Dataset) -> Tensor:
        """A(a) u - f, shaped like u; differentiable in u and in the inputs."""
        return self.apply(self.theta(inputs), u, inputs.grid) - self.source(inputs)  # type: ignore[arg-type]

    def dual_norm2(self, r: Tensor, inputs: Dataset) -> Tensor:
        """r . P^(-1) r of residuals, (N,): the squared energy norm of the error, up to constants of the problem."""
        return (r * self.precondition(inputs)(r)).flatten(1).sum(1)

    def solve(self, inputs: Dataset, *, dtype: torch.dtype = torch.float64) -> Dataset:
        """``inputs`` with the solution u (N, 1, *space).

        Raises NWidthError for missing or unusable inputs, and where the iterations do not converge.
        """
        self.need(inputs)
        inputs = inputs.load()
        points = prod(inputs.grid.shape)
        size = max(1, BATCH // points, min(SAMPLES, LARGE // points))
        parts = [self._solve(inputs[i : i + size].to(dtype=dtype)) for i in range(0, len(inputs), size)]
        return replace(inputs, u=torch.cat(parts).to(lead(inputs).dtype), problem=self.config())

    def _solve(self, inputs: Dataset) -> Tensor:
        theta, f = self.theta(inputs), self.source(inputs)
        f = f.expand(len(inputs), *f.shape[1:])
        grid = inputs.grid
        assert isinstance(grid, Grid)
        u, residual, _ = conjugate_gradients(
            lambda v: self.apply(theta, v, grid),
            f,
            self.precondition(inputs),
            self.tolerance(f),
            self.iterations,
        )
        self._converged(residual, self.tolerance(f))
        return u

    def tolerance(self, f: Tensor) -> float:
        """The relative residual that can be asked for in the dtype of f."""
        return max(self.rtol, 10 * torch.finfo(f.dtype).eps)

    def _converged(self, residual: Tensor, rtol: float) -> None:
        worst = float(residual.max())
        if not worst <= rtol:
            raise NWidthError(
                f"{type(self).__name__}.solve",
                got=f"a relative residual of {worst:.1e} after {self.iterations} iterations",
                expected=f"rtol={rtol:.1e}",
                fix="raise iterations or rtol, or use a smoother coefficient",
            )


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    f: Tensor,
    precondition: Callable[[Tensor], Tensor],
    rtol: float,
    most: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Preconditioned conjugate gradients for a batch of systems A u = f, (N, ...).

    Each sample stops by itself when |r| <= rtol |f|, so it does not depend on the others. Returns u, the
    relative residuals (N,) and the iterations that each sample took (N,). Saad (2003), Iterative Methods,
    algorithm 9.1. Tensors keep the order of f in memory.

    >>> d = torch.tensor([[1.0, 2.0, 4.0]])
    >>> u, residual, count = conjugate_gradients(lambda v: d * v, torch.ones(2, 3), lambda r: r, 1e-6, 10)
    >>> bool(torch.allclose(d * u, torch.ones(2, 3))), count.tolist()
    (True, [3, 3])
    """
    values = tuple(range(1, f.ndim))

    def dot(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum(values)

    def spread(s: Tensor) -> Tensor:
        return s.view(-1, *(1,) * (f.ndim - 1))

    u, r = torch.zeros_like(f), f.clone()
    p = z = precondition(r)
    rz = dot(r, z)
    scale = dot(f, f).sqrt()
    residual = torch.where(scale > 0, 1.0, 0.0).to(f)
    count = torch.zeros(len(f), dtype=torch.long, device=f.device)
    for _ in range(most):
        active = residual > rtol
        if not bool(active.any()):
            break
        q = apply(p)
        alpha = spread(torch.where(active, rz / dot(p, q), 0.0))
        u = u + alpha * p
        r = r - alpha * q
        residual = torch.where(active, dot(r, r).sqrt() / scale, residual)
        count += active
        z = precondition(r)
        new = dot(r, z)
        p = z + spread(torch.where(active, new / rz, 0.0)) * p
        rz = new
    return u, residual, count
