"""Exact Gaussian process regression of fields on tensor grids, one kernel an axis."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from gpytorch.kernels import Kernel
from torch import Tensor, nn

from ...backends import Grid
from ...errors import NWidthError
from ..structured import ObservedCovariance, quad_logdet
from .axes import axis_covariance
from .posterior import GridPosterior

FLOOR = 1e-13  # noise below this fraction of the largest eigenvalue is round-off: variances would be wrong


class GridGP(nn.Module):
    """u = mean + f + e, f ~ GP(0, scale k_1(x_1, x_1') ... k_d(x_d, x_d')), e ~ N(0, noise), on a tensor grid.

    Exact: with N points n_1 ... n_d the log marginal likelihood and its gradient cost N sum n_i + sum n_i^3, by the
    eigendecompositions of the covariances of the axes. Kernels are gpytorch kernels of one input; their batch shape,
    and ``batch_shape`` of mean, scale and noise, make a batch of models. Fields are (..., n_1, .., n_d), the leading
    shape broadcasts with the batch, and values at points where ``mask`` (n_1, .., n_d) is false are not read: see
    ``ObservedCovariance`` for what is done then (a mask is shared by all fields).

    ``noise`` and ``scale`` are variances, kept as logarithms; ``mean`` is "constant" (learned) or "zero". All is
    computed in double precision and answered in that of the field. Where noise is below 1e-13 of (a bound of) the
    largest eigenvalue, it is raised to that: a warning says so, and ``jitter`` how much.

    Source: Saatci, Scalable inference for structured Gaussian process models (2012).

    >>> from gpytorch.kernels import RBFKernel
    >>> grid = Grid.make((20, 15), kind="nodal")
    >>> x, y = grid.coordinates()
    >>> clean = torch.sin(6 * x) * torch.cos(4 * y)
    >>> noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    >>> gp = GridGP(grid, [RBFKernel(), RBFKernel()]); _ = gp.fit(noisy)
    >>> bool((gp.condition(noisy).mean() - clean).square().mean().sqrt() < 0.05), 0.08 < gp.noise.item() ** 0.5 < 0.12
    (True, True)
    """

    def __init__(
        self,
        grid: Grid,
        kernels: Sequence[Kernel],
        *,
        noise: float = 1e-2,
        scale: float = 1.0,
        mean: str = "constant",
        batch_shape: Sequence[int] = (),
        method: str = "auto",
        rank: int = 400,
        probes: int = 16,
        seed: int = 0,
    ):
        super().__init__()
        if not isinstance(grid, Grid):
            raise NWidthError(
                "GridGP", got=type(grid).__name__, expected="a Grid", fix="use gpytorch for scattered data"
            )
        if len(kernels) != grid.ndim:
            raise NWidthError("GridGP", got=f"{len(kernels)} kernels", expected=f"one for each of {grid.ndim} axes")
        if mean not in ("constant", "zero"):
            raise NWidthError("GridGP", got=f"mean={mean!r}", expected="one of constant, zero")
        if not (noise > 0 and scale > 0):
            raise NWidthError("GridGP", got=f"noise={noise}, scale={scale}", expected="positive variances")
        self.grid = grid
        self.kernels = nn.ModuleList([copy.deepcopy(k) for k in kernels]).double()
        shape = torch.Size(batch_shape)
        self.log_noise = nn.Parameter(torch.full(shape, math.log(noise), dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.full(shape, math.log(scale), dtype=torch.float64))
        self.mean = nn.Parameter(torch.zeros(shape, dtype=torch.float64), requires_grad=mean == "constant")
        self.options: dict[str, Any] = {"method": method, "rank": rank, "probes": probes, "seed": seed}
        self.jitter = 0.0

    @property
    def noise(self) -> Tensor:
        return self.log_noise.exp()

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp()

    @property
    def batch_shape(self) -> torch.Size:
        return torch.broadcast_shapes(self.log_noise.shape, *(k.batch_shape for k in self.kernels))

    def factors(self) -> list[Tensor]:
        """Covariances (batch, n_i, n_i) of the axes; the first holds the scale."""
        first, *rest = (axis_covariance(k, a) for k, a in zip(self.kernels, self.grid.axes))
        return [self.scale[..., None, None] * first, *rest]

    def stable_noise(self, factors: Sequence[Tensor]) -> Tensor:
        """The noise, raised where factorisations could not tell it from zero; ``jitter`` is by how much."""
        with torch.no_grad():
            bound = torch.ones((), dtype=torch.float64, device=self.log_noise.device)
            for f in factors:
                bound = bound * f.abs().sum(-1).amax(-1)
            missing = (FLOOR * bound - self.noise).clamp_min(0)
        jitter = float(missing.max())
        if jitter > 0 and not self.jitter:
            warnings.warn(
                f"GridGP: noise {float(self.noise.min()):.1e} is below round-off of K; raised by {jitter:.1e}",
                stacklevel=3,
            )
        self.jitter = jitter
        return self.noise + missing

    def log_likelihood(self, field: Tensor, mask: Tensor | None = None) -> Tensor:
        """log p(field), shape (...) of the leading shape and the batch; differentiable once in all parameters."""
        y, mask = self.read(field, mask)
        y = y - self.mean.reshape(*self.mean.shape, *(1,) * self.grid.ndim)
        factors = self.factors()
        noise = self.stable_noise(factors)
        if mask is None:
            quad, logdet = quad_logdet(y, noise, factors)
            count = y[(0,) * (y.ndim - self.grid.ndim)].numel()
        else:
            quad, logdet = self._masked(y, noise, factors, mask)
            count = int(mask.sum())
        return -0.5 * (quad + logdet + count * math.log(2 * math.pi))

    def _masked(self, y: Tensor, noise: Tensor, factors: Sequence[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        d, batch = self.grid.ndim, self.batch_shape
        lead = torch.broadcast_shapes(y.shape[:-d], batch)
        rows = y.expand(*lead, *y.shape[-d:]).reshape(-1, batch.numel(), *y.shape[-d:])
        pairs = [c.quad_logdet(rows[:, i]) for i, c in enumerate(self.observed(factors, noise, mask))]
        quad = torch.stack([q for q, _ in pairs], 1).reshape(lead)
        return quad, torch.stack([log for _, log in pairs]).reshape(batch)

    def observed(self, factors: Sequence[Tensor], noise: Tensor, mask: Tensor) -> list[ObservedCovariance]:
        """The covariance of the observed points, one for each member of the batch."""
        batch = self.batch_shape
        flat = [f.expand(*batch, *f.shape[-2:]).reshape(-1, *f.shape[-2:]) for f in factors]
        noises = noise.expand(batch).reshape(-1)
        return [ObservedCovariance([f[i] for f in flat], noises[i], mask, **self.options) for i in range(batch.numel())]

    def read(self, field: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The field in double precision and the mask, None where nothing is missing; errors for what cannot be used."""
        space = self.grid.shape
        if field.ndim < len(space) or tuple(field.shape[-len(space) :]) != space or not field.is_floating_point():
            raise NWidthError(
                "GridGP", got=f"a field {tuple(field.shape)} of {field.dtype}", expected=f"real numbers (..., *{space})"
            )
        try:
            torch.broadcast_shapes(field.shape[: -len(space)], self.batch_shape)
        except RuntimeError:
            raise NWidthError(
                "GridGP",
                got=f"fields {tuple(field.shape)} for a batch {tuple(self.batch_shape)}",
                expected="shapes that broadcast",
            ) from None
        if mask is not None:
            if mask.dtype != torch.bool or tuple(mask.shape) != space or not bool(mask.any()):
                raise NWidthError(
                    "GridGP",
                    got=f"a mask {tuple(mask.shape)} of {mask.dtype} with {int(mask.sum())} points",
                    expected=f"booleans {space}, true where a value was observed",
                )
            mask = mask.to(field.device)
            field = torch.where(mask, field, 0)
            mask = None if bool(mask.all()) else mask
        if not bool(torch.isfinite(field).all()):
            raise NWidthError(
                "GridGP",
                got="a field with NaN or infinity",
                expected="finite values",
                fix="give mask=torch.isfinite(field)",
            )
        return field.double(), mask

    def fit(
        self, field: Tensor, mask: Tensor | None = None, *, steps: int = 100, initialize: bool = True
    ) -> list[float]:
        """Maximise the log marginal likelihood, summed over fields, by L-BFGS; its values a point, one a step.

        ``initialize`` sets mean, scale and noise from the mean and the variance of the field first.
        """
        y, seen = self.read(field, mask)
        values = y if seen is None else y[..., seen]
        if initialize:
            variance = max(float(values.var()), 1e-30) if values.numel() > 1 else 1.0
            with torch.no_grad():
                if self.mean.requires_grad:
                    self.mean.fill_(float(values.mean()))
                self.log_scale.fill_(math.log(variance))
                self.log_noise.fill_(math.log(0.01 * variance))
        history: list[float] = []
        parameters = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.LBFGS(
            parameters,
            lr=1.0,
            max_iter=steps,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-6,
            tolerance_change=1e-10,
        )
        best: tuple[float, list[Tensor]] = (-math.inf, [])

        def closure() -> Tensor:
            nonlocal best
            optimizer.zero_grad()
            loss = -self.log_likelihood(y, seen).sum() / values.numel()
            loss.backward()
            history.append(-float(loss.detach()))
            if history[-1] > best[0]:
                best = (history[-1], [p.detach().clone() for p in parameters])
            return loss

        optimizer.step(closure)
        with torch.no_grad():
            for p, b in zip(parameters, best[1]):
                p.copy_(b)
        return history

    @torch.no_grad()
    def condition(self, field: Tensor, mask: Tensor | None = None) -> GridPosterior:
        """The posterior given a field: means, standard deviations and samples on grids and at scattered points."""
        y, seen = self.read(field, mask)
        return GridPosterior(self, y, seen, field.dtype)
