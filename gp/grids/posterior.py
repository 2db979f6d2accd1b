"""The posterior of a Gaussian process on a grid: means, standard deviations and samples, there and elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...backends import Grid, Mesh
from ...data.surrogate import Prediction
from ...errors import NWidthError
from ..structured import KroneckerEigen, ObservedCovariance, apply_factors, outer
from .axes import cross_covariance

if TYPE_CHECKING:
    from .model import GridGP

Where = Grid | Mesh | Tensor | None
CHUNK = 4_000_000  # numbers held at a time
ITERATIVE_POINTS = 4096


class GridPosterior:
    """f | y, made by ``GridGP.condition``.

    ``where`` is None for the grid of the data, another Grid, a Mesh, or points (P, d). Answers have the shape
    (..., *shape of where), with the leading shape of the fields and the batch.
    """

    def __init__(self, model: GridGP, y: Tensor, mask: Tensor | None, dtype: torch.dtype):
        self.model, self.y, self.mask, self.dtype = model, y, mask, dtype
        d = self.d = model.grid.ndim
        self.factors = model.factors()
        self.noise = model.stable_noise(self.factors).expand(model.batch_shape)
        self.level = model.mean.reshape(*model.mean.shape, *(1,) * d)
        self.observed: list[ObservedCovariance] | None = None
        if mask is None:
            self.eigen = KroneckerEigen([f.expand(*model.batch_shape, *f.shape[-2:]) for f in self.factors], self.noise)
        else:
            self.observed = model.observed(self.factors, self.noise, mask)
        self.dual = self._solve(y - self.level)

    def _solve(self, r: Tensor) -> Tensor:
        """C^-1 r for fields (..., n_1, .., n_d), zero where nothing was observed."""
        if self.observed is None or self.mask is None:
            return self.eigen.solve(r)
        space, batch = r.shape[-self.d :], self.model.batch_shape
        lead = torch.broadcast_shapes(r.shape[: -self.d], batch)
        rows = torch.where(self.mask, r, 0).expand(*lead, *space).reshape(-1, batch.numel(), *space)
        return torch.stack([c.solve(rows[:, i]) for i, c in enumerate(self.observed)], 1).reshape(*lead, *space)

    def _coordinates(self, where: Where) -> tuple[list[Tensor], bool]:
        """Coordinates along each axis, and whether they span a grid."""
        if where is None or isinstance(where, Grid):
            grid = where or self.model.grid
            if grid.ndim != self.d:
                raise NWidthError("GridPosterior", got=f"a grid of {grid.ndim} axes", expected=f"{self.d} axes")
            return [a.coordinates().to(self.y.device) for a in grid.axes], True
        points = where.coordinates().T if isinstance(where, Mesh) else where
        if points.ndim != 2 or points.shape[1] != self.d or not bool(torch.isfinite(points).all()):
            raise NWidthError(
                "GridPosterior",
                got=f"points {tuple(points.shape)}",
                expected=f"finite points (P, {self.d}), a Grid or a Mesh",
            )
        return list(points.double().to(self.y.device).T), False

    def _cross(self, coordinates: list[Tensor]) -> list[Tensor]:
        """k_i(where, grid), (batch, m_i, n_i); the first holds the scale."""
        axes = [a.coordinates().to(self.y.device) for a in self.model.grid.axes]
        pairs = zip(self.model.kernels, coordinates, axes)
        first, *rest = (cross_covariance(k, a, b) for k, a, b in pairs)
        return [self.model.scale[..., None, None] * first, *rest]

    def _prior(self, coordinates: list[Tensor], spans: bool) -> Tensor:
        """Variances of f before the data, (batch, *shape of where)."""
        diagonals = [k(c[:, None], diag=True).double() for k, c in zip(self.model.kernels, coordinates)]
        scale = self.model.scale
        if spans:
            return scale.reshape(*scale.shape, *(1,) * self.d) * outer(diagonals)
        return scale[..., None] * torch.stack(torch.broadcast_tensors(*diagonals)).prod(0)

    @torch.no_grad()
    def mean(self, where: Where = None) -> Tensor:
        """E[f | y]"""
        coordinates, spans = self._coordinates(where)
        cross = self._cross(coordinates)
        if spans:
            return (self.level + apply_factors(cross, self.dual)).to(self.dtype)
        level = self.level.flatten(-self.d)
        return (level + _at_points(cross, self.dual)).to(self.dtype)

    @torch.no_grad()
    def std(self, where: Where = None, *, noise: bool = False) -> Tensor:
        """The standard deviation of f, or with ``noise`` of a new observation; (batch, *shape of where).

        Exact. Without missing points as cheap as the mean; with them one solve a point, and above 4096 points an error
        where solves are iterative.
        """
        coordinates, spans = self._coordinates(where)
        if self.observed is None and where is None:
            e = self.eigen  # Q (noise L / (L + noise)) Q': nothing cancels
            kept = self.noise.reshape(*self.noise.shape, *(1,) * self.d) * e.prior / e.total
            variance = apply_factors([q.square() for q in e.vectors], kept)
        else:
            cross = self._cross(coordinates)
            prior = self._prior(coordinates, spans)
            explained = self._explained_whole(cross, spans) if self.observed is None else self._explained(cross, spans)
            variance = (prior - explained).clamp_min(0)
        if noise:
            variance = variance + self.noise.reshape(*self.noise.shape, *(1,) * (self.d if spans else 1))
        return variance.sqrt().to(self.dtype)

    def _explained_whole(self, cross: list[Tensor], spans: bool) -> Tensor:
        squares = [(c @ q).square() for c, q in zip(cross, self.eigen.vectors)]
        inverse = 1 / self.eigen.total
        return apply_factors(squares, inverse) if spans else _at_points(squares, inverse)

    def _explained(self, cross: list[Tensor], spans: bool) -> Tensor:
        """k(x, o) C_oo^-1 k(o, x) for every point, in pieces."""
        assert self.observed is not None and self.mask is not None
        batch = self.model.batch_shape
        shape = tuple(c.shape[-2] for c in cross) if spans else (cross[0].shape[-2],)
        count = torch.Size(shape).numel()
        if self.observed[0].method == "iterative" and count > ITERATIVE_POINTS:
            raise NWidthError(
                "GridPosterior.std",
                got=f"{count} points, each an iterative solve",
                expected=f"at most {ITERATIVE_POINTS} where many points of the grid are missing",
                fix="ask for fewer points, or take the spread of sample(count=100)",
            )
        out = self.y.new_zeros(batch.numel(), count)
        size = max(1, CHUNK // self.mask.numel())
        for b, c in enumerate(self.observed):
            own = [f.expand(*batch, *f.shape[-2:]).reshape(-1, *f.shape[-2:])[b] for f in cross]
            for part in torch.arange(count, device=self.y.device).split(size):
                index = torch.unravel_index(part, shape) if spans else [part] * self.d
                k = torch.where(self.mask, outer([f[i] for f, i in zip(own, index)]), 0)
                out[b, part] = (k * c.solve(k)).flatten(1).sum(1)
        return out.reshape(*batch, *shape)

    def predict(self, where: Where = None, *, noise: bool = False) -> Prediction:
        """Mean and standard deviation, of one shape."""
        mean, std = self.mean(where), self.std(where, noise=noise)
        return Prediction(mean, std.expand(mean.shape))

    @torch.no_grad()
    def sample(self, count: int, grid: Grid | None = None, *, seed: int = 0) -> Tensor:
        """``count`` draws of f | y on a grid (that of the data by default), shape (count, ..., *grid.shape).

        Matheron's rule: g(x) + k(x, o) C_oo^-1 (y - g(o) - e) with g, e from the prior, exact. g is drawn on the
        products of the points of both grids along each axis.

        Source: Wilson et al., Pathwise conditioning of Gaussian processes, JMLR 22 (2021).
        """
        if grid is not None and not isinstance(grid, Grid):
            raise NWidthError("GridPosterior.sample", got=type(grid).__name__, expected="a Grid")
        model, device = self.model, self.y.device
        new, _ = self._coordinates(grid)
        old = [a.coordinates().to(device) for a in model.grid.axes]
        both = old if grid is None else [torch.cat(pair) for pair in zip(old, new)]
        roots = []
        for k, x in zip(model.kernels, both):
            K = cross_covariance(k, x, x)
            values, vectors = torch.linalg.eigh((K + K.mT) / 2)
            roots.append(vectors * values.clamp_min(0).sqrt()[..., None, :])
        roots[0] = model.scale.sqrt()[..., None, None] * roots[0]
        lead = torch.broadcast_shapes(self.y.shape[: -self.d], model.batch_shape)
        g = torch.Generator(device).manual_seed(seed)
        like: dict[str, Any] = {"dtype": torch.float64, "device": device, "generator": g}
        prior = apply_factors(roots, torch.randn(count, *lead, *(len(x) for x in both), **like))
        at_old = at_new = prior
        for i, n in enumerate(model.grid.shape) if grid is not None else ():
            at_old, at_new = at_old.narrow(i - self.d, 0, n), at_new.narrow(i - self.d, n, at_new.shape[i - self.d] - n)
        noise = self.noise.sqrt().reshape(*self.noise.shape, *(1,) * self.d)
        error = noise * torch.randn(at_old.shape, **like)
        dual = self._solve(self.y - self.level - at_old - error)
        return (self.level + at_new + apply_factors(self._cross(new), dual)).to(self.dtype)


def _at_points(factors: list[Tensor], field: Tensor) -> Tensor:
    """sum_i F_1[p, i_1] ... F_d[p, i_d] field[i], (..., P), for factors (batch, P, n_i), in pieces of points."""
    d = len(factors)
    space = field.shape[field.ndim - d :]
    lead = torch.broadcast_shapes(field.shape[: field.ndim - d], *(f.shape[:-2] for f in factors))
    size = max(1, CHUNK // (lead.numel() * max(1, space[1:].numel())))
    parts = []
    for pieces in zip(*(f.split(size, -2) for f in factors)):
        x = pieces[0] @ field.flatten(1 - d) if d > 1 else (pieces[0] @ field[..., None])
        for i, f in enumerate(pieces[1:], 1):
            x = x.reshape(*x.shape[:-1], space[i], -1)
            x = (f[..., None] * x).sum(-2)
        parts.append(x[..., 0])
    return torch.cat(parts, -1)
