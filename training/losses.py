"""Losses for neural surrogates: relative norms, mean over samples.

A loss is any module that is called as loss(p, u, grid) with prediction and target (N, C, *space) on ``grid``, in the
solution's units. One with ``reads_inputs`` gets a fourth argument: the prediction as a data set, with its inputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..backends import Axis, Grid, Mesh
from ..data import Dataset
from ..data.metrics import gradient
from ..errors import NWidthError

DERIVATIVES = ("auto", "difference")


class RelativeL2(nn.Module):
    """mean_n |p_n - u_n| / |u_n|, |v|^2 = sum over channels and points of w |v|^2, w the grid's norm weights.

    ``floor`` keeps a vanishing solution from dividing by zero: |u_n| is at least ``floor`` times the batch's largest.

    >>> loss = RelativeL2()
    >>> u = torch.ones(2, 1, 4)
    >>> round(float(loss(1.5 * u, u, Grid.make((4,)))), 6)
    0.5
    """

    def __init__(self, floor: float = 1e-6):
        super().__init__()
        self.floor = floor

    def forward(self, p: Tensor, u: Tensor, grid: Grid | Mesh) -> Tensor:
        return _relative(self._norm2(p - u, grid), self._norm2(u, grid), self.floor)

    def _norm2(self, v: Tensor, grid: Grid | Mesh) -> Tensor:
        return _norm2(v, grid)


class RelativeH1(RelativeL2):
    """The same with |v|^2 + weight |L grad v|^2, L the length of each axis: derivatives count as well.

    ``derivatives``: ``auto``, of the trigonometric interpolant on periodic axes, of the polynomial on Chebyshev axes,
    second-order differences elsewhere; ``difference``, those on every axis: blind to the highest frequency, less
    sensitive to noise in the data.

    Source of its use: Czarnecki et al. (2017), Sobolev training; He et al. (2024), MgNO, section 5.
    """

    def __init__(self, weight: float = 0.01, floor: float = 1e-6, derivatives: str = "auto"):
        super().__init__(floor)
        if not weight >= 0 or derivatives not in DERIVATIVES:
            raise NWidthError(
                "RelativeH1",
                got=f"weight={weight}, derivatives={derivatives!r}",
                expected="weight >= 0 and derivatives of " + ", ".join(DERIVATIVES),
            )
        self.weight, self.derivatives = weight, derivatives

    def _norm2(self, v: Tensor, grid: Grid | Mesh) -> Tensor:
        if not isinstance(grid, Grid):
            raise NWidthError("RelativeH1", got=grid.describe(), expected="a grid", fix="use loss=l2")
        slopes = gradient(v, grid) if self.derivatives == "auto" else _differences(v, grid)
        squares = sum(a.length**2 * _norm2(g, grid) for a, g in zip(grid.axes, slopes))
        return _norm2(v, grid) + self.weight * squares


class RelativeLp(nn.Module):
    """mean_n |p_n - u_n|_p / |u_n|_p, |v|_p = (sum over channels and points of w |v|^p)^(1/p); ``p`` inf: the largest.

    p = 1 forgives outliers, large p pursues the worst point. ``floor`` as in ``RelativeL2``.

    >>> u = torch.ones(1, 1, 4)
    >>> p = u + torch.tensor([0.4, 0.0, 0.0, 0.0])
    >>> [round(float(RelativeLp(q)(p, u, Grid.make((4,)))), 4) for q in (1, 2, float("inf"))]
    [0.1, 0.2, 0.4]
    """

    def __init__(self, p: float = 1.0, floor: float = 1e-6):
        super().__init__()
        if isinstance(p, str) or not p >= 1:
            raise NWidthError("RelativeLp", got=f"p={p}", expected="a number from 1, or inf")
        self.p, self.floor = float(p), floor

    def forward(self, p: Tensor, u: Tensor, grid: Grid | Mesh) -> Tensor:
        norm = self._norm(u, grid)
        return (self._norm(p - u, grid) / _above(norm, self.floor)).mean()

    def _norm(self, v: Tensor, grid: Grid | Mesh) -> Tensor:
        if self.p == float("inf"):
            return v.abs().flatten(1).amax(1)
        size = v.abs().flatten(1).amax(1).clamp_min(torch.finfo(v.dtype).tiny)  # powers neither over- nor underflow
        w = grid.norm_weights().to(device=v.device, dtype=v.dtype)
        scaled = v.abs() / size.detach().view(-1, *(1,) * (v.ndim - 1))
        power = (scaled**self.p * w).flatten(1).sum(1)
        return size.detach() * _root(power, 1 / self.p)


class BoundaryTraces(nn.Module):
    """mean_n |B p_n - B u_n| / scale_n, B the traces on the sides of the axes that are not periodic.

    ``order`` 0: the values at the walls, scaled by the root mean square of u, since traces may vanish; 1: the normal
    slopes times the length of the axis, scaled by that of the fluctuation of u. On nodal, Chebyshev and listed axes
    the traces are those of the end points, on cell axes extrapolated from the two (slopes: three) outermost cells. The
    norm is the root mean square over the points of all sides.

    >>> grid = Grid.make((5,), "nodal")
    >>> u = torch.ones(1, 1, 5)
    >>> p = u + torch.tensor([0.5, 9.0, 9.0, 9.0, 0.5])
    >>> float(BoundaryTraces()(p, u, grid))
    0.5
    """

    def __init__(self, order: int = 0, floor: float = 1e-6):
        super().__init__()
        if order not in (0, 1):
            raise NWidthError("BoundaryTraces", got=f"order={order!r}", expected="0 (values) or 1 (normal slopes)")
        self.order, self.floor = order, floor

    def forward(self, p: Tensor, u: Tensor, grid: Grid | Mesh) -> Tensor:
        axes = grid.axes if isinstance(grid, Grid) else ()
        walls = [(i, a) for i, a in enumerate(axes) if a.kind != "periodic"]
        least = 3 if self.order else 2
        if not walls or any(a.n < least for _, a in walls):
            raise NWidthError(
                "BoundaryTraces",
                got=grid.describe(),
                expected=f"an axis that is not periodic, of {least} points or more",
                fix="leave this loss out",
            )
        e = p - u
        traces = [self._trace(e, i - grid.ndim, a, end).flatten(1) for i, a in walls for end in (0, 1)]
        size2 = (u - u.flatten(1).mean(1).view(-1, *(1,) * (u.ndim - 1)) if self.order else u).square()
        return _relative(torch.cat(traces, 1).square().mean(1), size2.flatten(1).mean(1), self.floor)

    def _trace(self, v: Tensor, dim: int, axis: Axis, end: int) -> Tensor:
        """The value, or length times slope, at one end of an axis: by Lagrange polynomials on the outermost points."""
        x = axis.coordinates()
        x = (x if end == 0 else x.flip(0))[: 2 + self.order]
        wall = (axis.lo, axis.hi)[end]
        near = v if end == 0 else v.flip(dim)
        if self.order == 0 and axis.kind != "cell":
            return near.narrow(dim, 0, 1)
        powers = (x - wall)[None] ** torch.arange(len(x), dtype=x.dtype)[:, None]
        wanted = torch.zeros(len(x), dtype=x.dtype)
        wanted[self.order] = axis.length**self.order
        c = torch.linalg.solve(powers, wanted).to(v)
        return torch.tensordot(near.narrow(dim, 0, len(x)).movedim(dim, -1), c, dims=1)


class Mixture(nn.Module):
    """sum_i w_i loss_i: ``terms`` by name, ``weights`` by the same names.

    >>> loss = Mixture({"values": RelativeL2(), "mean": RelativeLp(1)}, {"values": 1.0, "mean": 0.5})
    >>> u = torch.ones(1, 1, 4)
    >>> round(float(loss(1.5 * u, u, Grid.make((4,)))), 6)
    0.75
    """

    def __init__(self, terms: Mapping[str, nn.Module], weights: Mapping[str, float]):
        super().__init__()
        if not terms or set(terms) != set(weights) or not all(w >= 0 for w in weights.values()):
            raise NWidthError(
                "Mixture",
                got=f"terms {sorted(terms)}, weights {dict(weights)}",
                expected="a weight >= 0 for each term, by its name",
            )
        self.terms = nn.ModuleList(terms.values())  # a ModuleDict would refuse names such as values
        self.weights = [float(weights[k]) for k in terms]

    @property
    def reads_inputs(self) -> bool:
        return any(getattr(term, "reads_inputs", False) for term in self.terms)

    def forward(self, p: Tensor, u: Tensor, grid: Grid | Mesh, predicted: Dataset | None = None) -> Tensor:
        parts = [w * evaluate(term, p, u, grid, predicted) for w, term in zip(self.weights, self.terms)]
        return torch.stack(parts).sum()


def evaluate(loss: nn.Module, p: Tensor, u: Tensor, grid: Grid | Mesh | None, predicted: Dataset | None) -> Tensor:
    """The loss, with the prediction as a data set where it wants that."""
    if not getattr(loss, "reads_inputs", False):
        return loss(p, u, grid)
    if predicted is None:
        raise NWidthError(type(loss).__name__, got="no inputs", expected="the prediction as a data set")
    return loss(p, u, grid, predicted)


def _differences(v: Tensor, grid: Grid) -> list[Tensor]:
    """Second-order difference quotients along each axis, across the ends of periodic ones."""
    found = []
    for i, axis in enumerate(grid.axes):
        dim = i - grid.ndim
        if axis.kind == "periodic":
            found.append((v.roll(-1, dim) - v.roll(1, dim)) / (2 * axis.spacing))
        elif axis.n == 1:
            found.append(torch.zeros_like(v))
        else:
            x = axis.coordinates().to(v)
            found.append(torch.gradient(v, spacing=(x,), dim=dim, edge_order=2 if axis.n > 2 else 1)[0])
    return found


def _norm2(v: Tensor, grid: Grid | Mesh) -> Tensor:
    if isinstance(grid, Grid) and all(a.uniform for a in grid.axes):
        return v.square().flatten(1).mean(1)
    w = grid.norm_weights().to(device=v.device, dtype=v.dtype)
    return (v.square() * w).flatten(1).sum(1)


def _relative(error2: Tensor, norm2: Tensor, floor: float) -> Tensor:
    return (_root(error2, 0.5) / _above(norm2.sqrt(), floor)).mean()


def _root(power: Tensor, exponent: float) -> Tensor:
    """The root is not differentiable at zero: a perfect prediction has error 0 and gradient 0."""
    return torch.where(power > 0, power, torch.ones_like(power)) ** exponent * (power > 0)


def _above(norm: Tensor, floor: float) -> Tensor:
    return norm.clamp_min(floor * norm.max().clamp_min(1e-30))
