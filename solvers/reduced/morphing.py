"""Optimal morphing: bijections of the domain after which a few modes hold all snapshots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from ...backends import Axis, Grid, Mesh
from ...backends.splines import CubicSpline
from ...data.progress import steps_bar
from ...errors import NWidthError

CHUNK = 2**22  # entries of the largest temporary array


class Displacements:
    """phi(x) = x + sum_k a_k e_k(x): maps of a box onto itself, for one sample a row of coefficients a (N, K).

    e_k moves one coordinate. Along that direction it is sin(pi j z), z in [0, 1] across the box, which vanishes on
    the two faces; along the others cos(pi j z), so that points slide along the other faces. On a periodic axis both
    are the real Fourier functions of z, the constant among them: a translation. The sum of the j is at most ``modes``,
    and e_k is scaled by the length of the axis over the square of that sum, so that |a|^2 measures bending.

    >>> d = Displacements(Grid.make((11,), "nodal"), 2)
    >>> d.count, bool(d.map(torch.ones(1, 2).double())[0, 0, [0, -1]].sub(torch.tensor([0.0, 1.0])).abs().max() < 1e-12)
    (2, True)
    """

    def __init__(self, grid: Grid, modes: int):
        self.grid, self.modes = grid, modes
        self.terms: list[tuple[int, tuple[int, ...]]] = []  # the coordinate moved, and a function number for each axis
        scales = []
        for moved in range(grid.ndim):
            for numbers in product(range(2 * modes + 1), repeat=grid.ndim):
                degrees = [_degree(a, i == moved, j) for i, (a, j) in enumerate(zip(grid.axes, numbers))]
                total = sum(d for d in degrees if d is not None)
                if None in degrees or total > modes:
                    continue
                self.terms.append((moved, numbers))
                scales.append(grid.axes[moved].length / max(total, 1) ** 2)
        self.scales = torch.tensor(scales, dtype=torch.float64)
        self._points = grid.coordinates().flatten(1)
        self._values, self._slopes = self._tables(self._points[None])

    @property
    def count(self) -> int:
        return len(self.terms)

    def map(self, a: Tensor, points: Tensor | None = None) -> Tensor:
        """phi at ``points`` (N, d, M), on the grid by default."""
        return self._points + self._sum(a, self._values) if points is None else self.with_slope(a, points)[0]

    def jacobian(self, a: Tensor) -> Tensor:
        """d phi_i / d x_j on the grid, (N, M, d, d)."""
        return self._jacobian(a, self._slopes)

    def with_slope(self, a: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """phi and its Jacobian at points (N, d, M) that differ from sample to sample."""
        values, slopes = self._tables(points)
        return points + self._sum(a, values), self._jacobian(a, slopes)

    def _sum(self, a: Tensor, values: Tensor) -> Tensor:
        out = []
        for moved in range(self.grid.ndim):
            rows = [k for k, (m, _) in enumerate(self.terms) if m == moved]
            out.append(_combine(a[:, rows], values[:, rows]))
        return torch.stack(out, 1)

    def _jacobian(self, a: Tensor, slopes: Tensor) -> Tensor:
        d = self.grid.ndim
        columns = [self._sum(a, slopes[:, :, j]) for j in range(d)]
        return torch.stack(columns, -1).permute(0, 2, 1, 3) + torch.eye(d, dtype=a.dtype)

    def _tables(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled e_k (N, K, M) and their gradients (N, K, d, M)."""
        d = self.grid.ndim
        tables = [
            [_functions(a, own, self.modes, points[:, i]) for own in (False, True)]
            for i, a in enumerate(self.grid.axes)
        ]
        values, slopes = [], []
        for (moved, numbers), scale in zip(self.terms, self.scales.tolist()):
            parts = [tables[i][i == moved][j] for i, j in enumerate(numbers)]
            values.append(scale * math.prod((p[0] for p in parts[1:]), start=parts[0][0]))
            slopes.append(torch.stack([scale * math.prod(parts[i][i == j] for i in range(d)) for j in range(d)], 1))
        return torch.stack(values, 1), torch.stack(slopes, 1)

    def invert(self, a: Tensor, x: Tensor, iterations: int = 60) -> Tensor:
        """y (N, d, M) with phi(y) = x (d, M), by Newton's method with steps halved until they help."""
        out = []
        for one in a.split(max(1, CHUNK // (x.shape[1] * self.count * (1 + self.grid.ndim)))):
            out.append(self._invert(one, x, iterations))
        return torch.cat(out)

    def _invert(self, a: Tensor, x: Tensor, iterations: int) -> Tensor:
        y = x.expand(len(a), *x.shape).clone()
        lengths = torch.tensor([ax.length for ax in self.grid.axes], dtype=torch.float64)[:, None]
        image, slope = self.with_slope(a, y)
        left = image - x
        size = (left / lengths).square().sum(1)
        damping = torch.ones_like(size)
        for _ in range(iterations):
            if float(size.max()) < 1e-24:
                break
            step = torch.linalg.solve(slope, left.mT[..., None])[..., 0].mT
            trial = y - damping[:, None] * step
            for i, axis in enumerate(self.grid.axes):
                if axis.kind != "periodic":
                    trial[:, i].clamp_(axis.lo, axis.hi)
            image, trial_slope = self.with_slope(a, trial)
            trial_left = image - x
            trial_size = (trial_left / lengths).square().sum(1)
            better = trial_size < size
            y, left = torch.where(better[:, None], trial, y), torch.where(better[:, None], trial_left, left)
            slope = torch.where(better[..., None, None], trial_slope, slope)
            size = torch.where(better, trial_size, size)
            damping = torch.where(better, (2 * damping).clamp_max(1), damping / 2)
        if float(size.max()) > 1e-16:
            raise NWidthError(
                "morphing",
                got=f"a map whose inverse was found to {float(size.max().sqrt()):.0e} of the domain only",
                expected="1e-8",
                fix="raise min_jacobian or lower modes",
            )
        return y


def _degree(axis: Axis, own: bool, number: int) -> int | None:
    """How often function ``number`` of an axis bends, or None where there is no such function."""
    if axis.kind == "periodic":
        return (number + 1) // 2
    return None if own and number == 0 else number


def _functions(axis: Axis, own: bool, modes: int, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Functions 0 .. 2 modes of an axis and their derivatives, at points x."""
    z = math.pi * (x - axis.lo) / axis.length
    found = []
    for number in range(2 * modes + 1):
        if axis.kind == "periodic":
            w = 2.0 * ((number + 1) // 2)
            sine = number % 2 == 1
        else:
            w, sine = float(number), own
        rate = w * math.pi / axis.length
        s, c = torch.sin(w * z), torch.cos(w * z)
        found.append((s, rate * c) if sine else (c, -rate * s))
    return found


def _combine(a: Tensor, tables: Tensor) -> Tensor:
    """sum_k a_nk f_k(x_m), (N, M); the tables are common to all samples, or one for each."""
    return a @ tables[0] if len(tables) == 1 else torch.bmm(a[:, None], tables)[:, 0]


def determinant(J: Tensor) -> Tensor:
    """det of (..., d, d) by expansion: for one to three dimensions cheaper, and easier to differentiate, than LU."""
    d = J.shape[-1]
    if d == 1:
        return J[..., 0, 0]
    columns = range(d)
    return sum((-1) ** j * J[..., 0, j] * determinant(J[..., 1:, [k for k in columns if k != j]]) for j in columns)


def lost_energy(u: Tensor, rank: int) -> Tensor:
    """sum_{i>rank} s_i^2 / sum_i s_i^2 of snapshots u (N, ...): what the best linear space of that dimension leaves.

    By the eigenvalues of the Gram matrix: differentiable, and exact to 1e-15 of the energy.
    """
    flat = u.flatten(1)
    values = torch.linalg.eigvalsh(flat @ flat.mT)
    return values[: len(values) - rank].clamp_min(0).sum() / values.sum()


@dataclass(frozen=True)
class Morphing:
    """``coefficients`` a (N, K) of the maps, the fields ``pulled`` back u_i(phi_i(x)) (N, C, *shape), the energy
    that ``rank`` modes lose of the fields (``before``) and of the pulled-back ones (``lost``), and the smallest
    determinant of a Jacobian."""

    displacements: Displacements
    coefficients: Tensor
    pulled: Tensor
    before: float
    lost: float
    jacobian: float


def optimal_morphing(
    u: Tensor,
    grid: Grid | Mesh,
    *,
    rank: int = 1,
    modes: int = 6,
    widths: Sequence[float] = (0.2, 0.08, 0.04),
    steps: int = 150,
    min_jacobian: float = 0.02,
    elasticity: float = 4.0,
    bending: float = 1e-4,
) -> Morphing:
    """Maps phi_i that maximise the share of the energy of u_i(phi_i(x)) which ``rank`` POD modes hold.

    min over a of log(lost energy) + ``elasticity`` <log^2 det D phi> + ``bending`` <|a|^2>, means over samples and
    points, by L-BFGS, at most ``steps`` a stage. The elastic term is smooth and grows without bound towards a fold,
    so that the maps depend smoothly on whatever the snapshots depend on, and can be predicted. Below
    ``min_jacobian`` it is replaced by a quadratic penalty. Continuation: in each stage the fields (N, C, *shape) are
    smoothed by a Gaussian of standard deviation ``widths`` (in units of the domain, decreasing), in the last one not
    at all, so that fronts which do not overlap feel one another. Maps start at the identity. Composing all maps with
    one more changes little in the energy: the elastic term picks those near the identity.

    Uniform axes (C: fields are splines). Where a determinant comes out at half of ``min_jacobian`` or less the penalty
    is raised tenfold, thrice at most; then it is an error.

    Source: Kabalan, Casenave, Bordeu, Ehrlacher and Ern, arXiv:2502.11632, for the maximisation of the energy; the
    basis of sines, the elastic energy and the smoothing are this module's.
    """
    if not isinstance(grid, Grid):
        raise NWidthError("morphing", got=grid.describe(), expected="a grid", fix="use pod_gp or local_pod on meshes")
    if u.is_complex():
        raise NWidthError("morphing", got="complex fields", expected="real ones")
    if not 1 <= rank < len(u):
        raise NWidthError("morphing", got=f"rank={rank} for {len(u)} snapshots", expected=f"1 to {len(u) - 1}")
    displacements = Displacements(grid, modes)
    a = torch.zeros(len(u), displacements.count, dtype=u.dtype)
    stages = [*sorted(widths, reverse=True), 0.0]
    weights = _Weights(elasticity, bending, min_jacobian)
    with steps_bar("morphing", len(stages)) as advance:
        for width in stages:
            spline = CubicSpline(_smoothed(u, grid, width), grid)
            a = _maximise(spline, displacements, a, rank, steps, weights)
            advance(1)
    for _ in range(3):
        least = float(determinant(displacements.jacobian(a)).min())
        if least > 0.5 * min_jacobian:
            break
        weights = replace(weights, folds=10 * weights.folds)
        a = _maximise(spline, displacements, a, rank, steps, weights)
    least = float(determinant(displacements.jacobian(a)).min())
    if least <= 0.5 * min_jacobian:
        raise NWidthError(
            "morphing",
            got=f"a map with determinant {least:.2g}",
            expected=f"above {0.5 * min_jacobian:g}",
            fix="raise elasticity or lower modes",
        )
    pulled = spline(displacements.map(a)).reshape(u.shape)
    before, lost = float(lost_energy(u, rank)), float(lost_energy(pulled, rank))
    return Morphing(displacements, a, pulled, before, lost, least)


@dataclass(frozen=True)
class _Weights:
    elasticity: float
    bending: float
    min_jacobian: float
    folds: float = 4000.0


def _maximise(
    spline: CubicSpline, displacements: Displacements, start: Tensor, rank: int, steps: int, weights: _Weights
) -> Tensor:
    a = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [a],
        max_iter=steps,
        history_size=50,
        tolerance_grad=1e-10,
        tolerance_change=1e-13,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        lost = lost_energy(spline(displacements.map(a)), rank)
        det = determinant(displacements.jacobian(a))
        elastic = det.clamp_min(weights.min_jacobian).log().square().mean()
        folded = (weights.min_jacobian - det).clamp_min(0).square().mean()
        loss = (lost + 1e-12).log() + weights.elasticity * elastic + weights.folds * folded
        loss = loss + weights.bending * a.square().sum(1).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return a.detach()


def _smoothed(u: Tensor, grid: Grid, width: float) -> Tensor:
    """Fields averaged with a Gaussian of standard deviation ``width`` times the length of each axis."""
    if width == 0:
        return u
    for i, axis in enumerate(grid.axes):
        x = axis.coordinates() / axis.length
        gap = (x[:, None] - x).abs()
        if axis.kind == "periodic":
            gap = torch.minimum(gap, 1 - gap)
        matrix = torch.exp(-0.5 * (gap / width).square())
        matrix = (matrix / matrix.sum(1, keepdim=True)).to(u.dtype)
        u = (u.movedim(i - grid.ndim, -1) @ matrix.mT).movedim(-1, i - grid.ndim)
    return u
