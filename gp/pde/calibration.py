"""How wide standard deviations must be, from a second answer to the same equation: chosen without the truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from .equation import Cloud, Order, evenly, product
from .features import FourierFeatures
from .newton import State
from .system import Collocation, unseen_points

SHARE = 0.96  # of the errors that a second answer shows, held by 95 % intervals
SCATTERED = 0.97  # likewise in a cloud, whose boundary values are known at its points alone
MARGIN = 1.02  # where errors are much alike everywhere, little decides whether intervals hold them
STRETCH = 1.05  # period of the second answer's waves over that of the first's: what they cannot express differs
MANY = 1000  # nodes of a second answer with two in each gap, beyond which it has one
FEW = 200  # scattered points, below which a second answer has more than twice as many
NOISELESS = 1e-9  # residual at other points, relative to the source, below which it is round-off, not noise
CONCENTRATED = 100.0  # times the median residual: where more points or a singular function are needed

Answered = tuple[FourierFeatures, State]
Again = Callable[[Collocation, float], Answered]  # answers with so many times the features


@dataclass(frozen=True)
class Checked:
    """What points that the answer has not used say of it."""

    unseen: float  # residual there, relative to the source
    factor: Callable[[Order], float]  # of the standard deviations of a derivative; the first call solves again
    worst: tuple[float, ...] | None  # where the equation is much worse resolved than elsewhere


def check(collocation: Collocation, first: Answered, again: Again) -> Checked:
    """A second answer: on a grid from nodes between the first's; among scattered points from more of them, those of
    the first included, so that what it leaves open is in the first as well."""
    return (_between if collocation.is_grid else _among)(collocation, first, again)


def factor_of_independent(difference: Tensor, std: Tensor, ratio: float, *, least: float = 0.0) -> float:
    """z by which errors of the first of two answers lie within 1.96 z std. The second's are independent and ``ratio``
    times as large, as the residuals at other points are: differences are then wider by sqrt(1 + ratio^2), up to
    sqrt(2), and fewer are to be held.

    >>> d = torch.linspace(-3.92, 3.92, 101, dtype=torch.float64)
    >>> round(factor_of_independent(d, torch.ones(101).double(), 0.0) / (2 * SHARE * MARGIN), 6)
    1.0
    """
    wanted = math.sqrt(2) * float(torch.erfinv(torch.tensor(SHARE, dtype=torch.float64)))
    share = math.erf(wanted / math.sqrt(2 * (1 + min(ratio, 1.0) ** 2)))
    return max(MARGIN * float(torch.quantile(difference.abs() / (1.96 * std).clamp_min(1e-300), share)), least, 1e-12)


def factor_of_better(difference: Tensor, std: Tensor, own: Tensor) -> float:
    """z by which 1.96 z std holds a share ``SCATTERED`` of errors N(difference, own^2): the second answer knows all
    that the first knows, so that its standard deviation ``own`` adds. It is as overconfident as the first, hence grows
    with z; two points for one halve the variance of noise at best.

    >>> g = torch.Generator().manual_seed(0)  # noise: the first is right, the second has half its variance
    >>> s = torch.ones(20000, dtype=torch.float64)
    >>> d = torch.randn(20000, generator=g, dtype=torch.float64) / 2**0.5
    >>> bool(1.0 < factor_of_better(d, s, s / 2**0.5) / MARGIN < 1.3)
    True
    """

    def held(z: float) -> float:
        wide, open_ = 1.96 * z * std, torch.minimum(own * max(z, 1.0), std * z * 0.5**0.5).clamp_min(1e-300)
        upper, lower = ((wide * side + difference) / open_ for side in (1.0, -1.0))
        return float((torch.special.ndtr(upper) - torch.special.ndtr(lower)).mean())

    low, high = -30.0, 30.0  # of log z
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if held(math.exp(middle)) < SCATTERED else (low, middle)
    return MARGIN * math.exp(high)


def least(unseen: float, ratio: float) -> float:
    """1 where a residual at other points that the second answer does not lower may be noise: the first's standard
    deviations are then right, and a difference has too few degrees of freedom to say that they are too wide."""
    return 1.0 if unseen > NOISELESS and ratio > 0.5 else 0.0


def between(axes: Sequence[Tensor], each: int) -> list[Tensor]:
    """``each`` (1 or 2) coordinates in every gap of an axis, and its two ends."""
    shares = torch.tensor([0.618] if each == 1 else [0.29, 0.71], dtype=torch.float64)
    return [torch.cat([a[:1], (a[:-1, None] + shares * a.diff()[:, None]).reshape(-1), a[-1:]]) for a in axes]


def _between(collocation: Collocation, first: Answered, again: Again) -> Checked:
    equation = collocation.equation
    axes = equation.axes()
    elsewhere = Collocation(equation, product(unseen_points(axes, 200 if equation.ndim == 1 else 20)))
    unseen, _ = residual(elsewhere, first)
    places = product(evenly(equation.box, 500 if equation.ndim == 1 else 30))
    each = 2 if 2**equation.ndim * len(collocation.interior) <= MANY else 1

    @cache
    def second() -> tuple[Answered, float]:
        other = Collocation(equation, product(between(axes, each)), observations=collocation.observations)
        found = again(other, 1.25 if each == 2 else 1.0)
        return found, residual(elsewhere, found)[0] / max(unseen, 1e-300)

    @cache
    def factor(order: Order) -> float:
        answered, ratio = second()
        difference, std, own = compared(first, answered, places, order)
        # noise is in the residuals of both, a wrong spectrum in the standard deviations
        both = min(ratio, rms(own) / max(rms(std), 1e-300))
        found = factor_of_independent(difference, std, both, least=least(unseen, ratio))
        # both answers have seen the same observations, whose noise no difference shows
        return found if collocation.observations is None else max(found, 1.0)

    return Checked(unseen, factor, None)


def _among(collocation: Collocation, first: Answered, again: Again) -> Checked:
    new = points_among(collocation)
    if not len(new):  # a source that is defined at the given points alone
        return Checked(first[1].residual, lambda order: 1.0, None)
    more = with_points(collocation, torch.cat([collocation.interior, new]))
    unseen, r = residual(with_points(collocation, new), first)
    near = torch.cdist(new, new).topk(min(3, len(new)), largest=False).indices
    local = r[near].square().mean(1).sqrt()
    odd = unseen > 1e-3 and float(local.max()) > CONCENTRATED * float(r.abs().median())
    worst = tuple(new[int(local.argmax())].tolist()) if odd else None
    places = more.interior[:: -(-len(more.interior) // 1000)]

    @cache
    def second() -> Answered:
        return again(more, 0.8 * len(more.interior) / len(collocation.interior))

    @cache
    def factor(order: Order) -> float:
        found = factor_of_better(*compared(first, second(), places, order))
        return found if collocation.observations is None else max(found, 1.0)

    return Checked(unseen, factor, worst)


def with_points(collocation: Collocation, interior: Tensor) -> Collocation:
    """The equation at other inner points, all else as it is."""
    if collocation.cloud is None:
        return Collocation(collocation.equation, interior, None, collocation.observations)
    cloud = collocation.cloud
    moved = Cloud(interior, cloud.boundary, cloud.values, cloud.corners)
    return Collocation(collocation.equation, None, moved, collocation.observations)


def points_among(collocation: Collocation) -> Tensor:
    """As many points again, and at least ``FEW``, far from each other and from those there are, half-way between
    neighbours: inner points with no point of the boundary in the ball between them, and each and the boundary point
    nearest to it."""
    x, edges = collocation.interior, [b.points for b in collocation.blocks]
    edge = torch.cat(edges) if edges else x[:0]
    near = torch.cdist(x, x).fill_diagonal_(math.inf).topk(min(6, len(x) - 1), largest=False)
    found = ((x[:, None] + x[near.indices]) / 2).reshape(-1, x.shape[1])
    if len(edge):
        clear = torch.cdist(found, edge).amin(1) > near.values.reshape(-1) / 2
        found = torch.cat([found[clear], (x + edge[torch.cdist(x, edge).argmin(1)]) / 2])
    found = found[torch.isfinite(collocation.equation.source(found))]
    distance = torch.cdist(found, torch.cat([x, edge])).amin(1)
    chosen: list[int] = []
    while len(chosen) < max(len(x), FEW) and float(distance.max()) > 1e-9:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (found - found[chosen[-1]]).norm(dim=1))
    return found[chosen]


def residual(at: Collocation, answered: Answered) -> tuple[float, Tensor]:
    """The equation's residual, root mean square relative to the source and in place."""
    features, state = answered
    rows = at.matrices(features)
    r = rows.linearise(rows.values(state.weights), state.p)[2]
    size = rms(at.f) or 1.0
    return rms(r) / size, r


def compared(first: Answered, second: Answered, places: Tensor, order: Order) -> tuple[Tensor, Tensor, Tensor]:
    """Difference of a derivative in two answers, and its standard deviation in each."""
    means, stds = [], []
    for features, state in (first, second):
        phi = features(places, order)
        more = phi.new_zeros(len(phi), len(state.posterior.mean) - features.size)
        means.append(phi @ state.posterior.mean[: features.size])
        stds.append(state.posterior.std(torch.cat([phi, more], 1)))
    return means[1] - means[0], stds[0], stds[1]


def rms(v: Tensor) -> float:
    return float(v.square().mean().sqrt())
