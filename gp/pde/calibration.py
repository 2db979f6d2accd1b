"""How much wider standard deviations must be, from answers that used other points: chosen without the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .equation import Order, product
from .evidence import Posterior
from .features import FourierFeatures
from .newton import Newton, State
from .system import Collocation, Rows, unseen_points

SHARE = 0.97  # of the differences that 95 % intervals are made to hold: the second answer has errors of its own
CREDIT = 0.25  # given to the convergence that fewer points promise
CONCENTRATED = 100.0  # times the median residual: where more points or a singular function are needed


def factors(
    differences: Mapping[Order, tuple[Tensor, Tensor]], least: float = 1.0, share: float = SHARE
) -> dict[Order | None, float]:
    """For each order with its (difference, std): the smallest factor z >= ``least`` by which |difference| <=
    1.96 z std at ``share`` of the places. None, all other orders: the largest of these.

    The difference of two answers to one equation shows errors that residuals hide: those that the inverse of the
    operator enlarges, round-off and the factorisation's among them.

    >>> d = torch.linspace(-3.92, 3.92, 101, dtype=torch.float64)
    >>> factors({(0,): (d, torch.ones(101).double())}, share=1.0)
    {(0,): 2.0, None: 2.0}
    """
    found: dict[Order | None, float] = {}
    for order, (difference, std) in differences.items():
        ratio = difference.abs() / (1.96 * std).clamp_min(1e-300)
        found[order] = max(least, float(torch.quantile(ratio, share)))
    found[None] = max(found.values())
    return found


def value_and_slopes(d: int) -> list[Order]:
    return [(0,) * d, *(tuple(int(i == j) for j in range(d)) for i in range(d))]


def shifted(axes: Sequence[Tensor], share: float = 0.618) -> list[Tensor]:
    """Coordinates between those of each axis, and its two ends."""
    return [torch.cat([a[:1], a[:-1] + share * a.diff(), a[-1:]]) for a in axes]


@dataclass(frozen=True)
class Checked:
    """What points that the answer has not used say of it."""

    unseen: float  # residual there, relative to the source
    wider: Mapping[Order | None, float]  # factors of the standard deviations of u, its slopes, and (None) all else
    worst: tuple[float, ...] | None  # where the equation is much worse resolved than elsewhere


def check(
    collocation: Collocation, features: FourierFeatures, density: Tensor, state: State, iterations: int
) -> Checked:
    """Other nodes between those of a grid, where the source is a function; for points that are given, answers from
    three quarters of them and from half, extrapolated to all, and the residual at the others."""
    return (_between if collocation.is_grid else _left_out)(collocation, features, density, state, iterations)


def _between(
    collocation: Collocation, features: FourierFeatures, density: Tensor, state: State, iterations: int
) -> Checked:
    equation, posterior = collocation.equation, state.posterior
    axes = equation.axes()
    unseen = Collocation(equation, product(unseen_points(axes, 200 if equation.ndim == 1 else 20)))
    rows = unseen.matrices(features)
    J, by_p, r = rows.linearise(rows.values(state.weights), state.p)
    std = posterior.std(torch.cat([J, by_p], 1))
    rounding = torch.finfo(torch.float64).eps * float(unseen.f.abs().max())
    size = max(float(unseen.f.square().mean().sqrt()), float(collocation.f.square().mean().sqrt())) or 1.0
    off = float(r.square().mean().sqrt())
    z = float((r / (std + rounding).clamp_min(1e-300)).square().mean().sqrt())
    other = Collocation(equation, product(shifted(axes)), observations=collocation.observations)
    again = Newton(other, other.matrices(features), iterations).run(density, state.p, state.weights, state.scales)
    # two answers to noisy data differ by the errors of both; where the residual lies between the nodes, by one's
    at_nodes = float(
        ((state.y - state.A @ posterior.mean)[: len(collocation.f)] * state.scales.equation).square().mean()
    )
    both = (1 + min(1.0, at_nodes / max(off**2, 1e-300))) ** 0.5
    found = _differences(features, posterior, again, unseen.interior)
    return Checked(off / size, factors({o: (d, both * s) for o, (d, s) in found.items()}, max(1.0, z)), None)


def _left_out(
    collocation: Collocation, features: FourierFeatures, density: Tensor, state: State, iterations: int
) -> Checked:
    n, places = len(collocation.interior), collocation.interior[:: -(-len(collocation.interior) // 500)]
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    residuals, where = [], []

    def pooled(parts: int) -> dict[Order, tuple[Tensor, Tensor]]:
        """Differences of the answers that miss one of so many parts of the points."""
        pairs: dict[Order, list[tuple[Tensor, Tensor]]] = {}
        for number in range(parts):
            left = order % parts == number
            part = collocation.without(left, number, parts)
            again = Newton(part, part.matrices(features), iterations).run(density, state.p, state.weights, state.scales)
            for o, pair in _differences(features, state.posterior, again, places).items():
                pairs.setdefault(o, []).append(pair)
            if parts == 4:
                rows = Rows(collocation.only(left), features)
                residuals.append(rows.linearise(rows.values(again.weights), again.p)[2].abs())
                where.append(rows.of.interior)
        return {o: (torch.cat([d for d, _ in found]), torch.cat([s for _, s in found])) for o, found in pairs.items()}

    fewer, few = pooled(4), pooled(2)
    r, x = torch.cat(residuals), torch.cat(where)
    size = float(collocation.f.square().mean().sqrt()) or 1.0
    near = torch.cdist(x, x).topk(min(3, len(x)), largest=False).indices
    local = r[near].square().mean(1).sqrt()
    unseen = float(r.square().mean().sqrt()) / size
    odd = unseen > 1e-3 and float(local.max()) > CONCENTRATED * float(r.median())
    worst = tuple(x[int(local.argmax())].tolist()) if odd else None
    d = collocation.equation.ndim
    wanted = {o: (v * extrapolation(rms(v), rms(few[o][0]), d), s) for o, (v, s) in fewer.items()}
    return Checked(unseen, factors(wanted), worst)


def extrapolation(three_quarters: float, half: float, d: int) -> float:
    """What the error of three quarters of the points is multiplied by to be that of all: a share of the fall in log
    error that the step from half to three quarters promises, if it is linear in the number of points a side. Such rates
    are uncertain, errors vary in place, and too narrow an interval is worse than too wide a one.

    >>> error = lambda n: 10.0 ** -(n**0.5)
    >>> round(extrapolation(error(300), error(200), 2) / (error(400) / error(300)) ** CREDIT, 6)
    1.0
    """
    sides = [share ** (1 / d) for share in (0.5, 0.75, 1.0)]
    if not 0 < three_quarters < half:
        return 1.0
    return (three_quarters / half) ** (CREDIT * (sides[2] - sides[1]) / (sides[1] - sides[0]))


def rms(v: Tensor) -> float:
    return float(v.square().mean().sqrt())


def _differences(
    features: FourierFeatures, posterior: Posterior, again: State, places: Tensor
) -> dict[Order, tuple[Tensor, Tensor]]:
    """(difference, standard deviation) of u and of each of its slopes."""
    found, off = {}, (again.posterior.mean - posterior.mean)[: features.size]
    more = places.new_zeros(len(places), len(posterior.mean) - features.size)
    for order in value_and_slopes(places.shape[1]):
        phi = features(places, order)
        found[order] = phi @ off, posterior.std(torch.cat([phi, more], 1))
    return found
