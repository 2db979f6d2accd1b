"""Re-entrant corners of a cloud's boundary, and the singular functions that live there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .equation import Order
from .expressions import derivative
from .features import FourierFeatures

Corner = tuple[float, float, float, float]  # x, y, angle of the first edge, interior angle anticlockwise from it


def find_corners(interior: Tensor, boundary: Tensor, sharp: float = 1.2) -> list[Corner]:
    """Corners with an interior angle of more than ``sharp`` pi, from unordered points of straight or curved edges.

    Neighbours along the boundary: the line through each and the point before meets the line through the other and the
    point behind; a corner is where they meet nearby at an angle, so that it need not be one of the points. It is
    re-entrant where inner points avoid the smaller wedge. The tip of a slit is a point with neighbours in one direction
    and inner points all around. Wedges cut out of the domain that are narrower than 45 degrees have neighbours across,
    and are not found.

    >>> t = torch.arange(1, 11).double() / 10 - 0.05
    >>> edge = torch.cat([torch.stack([t, 0 * t], 1), torch.stack([0 * t, -t], 1)])
    >>> x = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    >>> [tuple(round(v, 3) + 0.0 for v in c) for c in find_corners(x[(x[:, 0] < 0) | (x[:, 1] > 0)], edge)]
    [(0.0, 0.0, 0.0, 4.712)]
    """
    if len(boundary) < 8 or len(interior) < 12:
        return []
    chain, found = Chain(boundary), []
    inner = torch.cdist(boundary, interior)
    for i in range(len(boundary)):
        near = interior[inner[i].topk(12, largest=False).indices]
        first = chain.nearest(i)
        second = chain.beyond(i, first)
        if second is None:
            found.append(_tip(boundary[i], boundary[first] - boundary[i], near))
            continue
        for j in (first, second):
            before, behind = chain.beyond(i, j), chain.beyond(j, i)
            if before is None or behind is None or before == behind:
                continue
            u, v = boundary[i] - boundary[before], boundary[j] - boundary[behind]
            place = _meet(boundary[i], u, boundary[j], v)
            if place is not None and _turn(u, -v) > 3 * max(chain.turn(before, i), chain.turn(behind, j)):
                found.append(_wedge(place, -u, -v, near, sharp))
    kept: list[Corner] = []
    for corner in sorted((c for c in found if c is not None), key=lambda c: -c[3]):
        if all(math.dist(c[:2], corner[:2]) > 2 * chain.gap for c in kept):
            kept.append(corner)
    return kept


def _turn(u: Tensor, v: Tensor) -> float:
    """Angle between two directions."""
    return float(torch.atan2((u[0] * v[1] - u[1] * v[0]).abs(), u @ v))


class Chain:
    """Which points follow each other on curves that are given as points in no order."""

    def __init__(self, points: Tensor):
        self.points = points
        self.distance = torch.cdist(points, points).fill_diagonal_(math.inf)
        self.order = self.distance.argsort(1)[:, : min(len(points) - 1, 16)]
        self.gap = math.inf
        gaps = [self._gap(i) for i in range(len(points))]
        self.gap = sum(gaps) / len(gaps)

    def _gap(self, i: int) -> float:
        beyond = self.beyond(i, self.nearest(i))
        return float(self.distance[i, self.nearest(i) if beyond is None else beyond])

    def nearest(self, i: int) -> int:
        return int(self.order[i, 0])

    def beyond(self, i: int, j: int) -> int | None:
        """The next point after i, coming from j, no further than four usual gaps: the nearest one ahead, or else the
        nearest one that is not on j's side."""
        steps = self.points[self.order[i]] - self.points[i]
        towards = self.points[j] - self.points[i]
        cosine = steps @ towards / (steps.norm(dim=1) * towards.norm())
        close = self.distance[i, self.order[i]] < 4 * self.gap
        for most in (-0.5, 0.75):
            here = torch.nonzero((cosine < most) & close).reshape(-1)
            if len(here):
                return int(self.order[i, here[0]])
        return None

    def turn(self, i: int, j: int) -> float:
        """By how much the curve turns at i, coming from j."""
        k = self.beyond(i, j)
        return 0.0 if k is None else _turn(self.points[i] - self.points[j], self.points[k] - self.points[i])


def _meet(a: Tensor, u: Tensor, b: Tensor, v: Tensor) -> Tensor | None:
    """Where the line from a along u meets that from b along v: ahead of both, and near them."""
    w = b - a
    cross, gap = float(u[0] * v[1] - u[1] * v[0]), float(w.norm())
    if abs(cross) < 0.3 * float(u.norm() * v.norm()):
        return None
    s, t = float(w[0] * v[1] - w[1] * v[0]) / cross, float(w[0] * u[1] - w[1] * u[0]) / cross
    near = all(-1e-6 * gap <= k * float(d.norm()) <= 2 * gap for k, d in ((s, u), (t, v)))
    return a + s * u if near else None


def _wedge(place: Tensor, first: Tensor, second: Tensor, near: Tensor, sharp: float) -> Corner | None:
    """The corner between two directions, on the side where the inner points are."""
    angles = [float(torch.atan2(d[1], d[0])) for d in (first, second)]
    opening = (angles[1] - angles[0]) % (2 * math.pi)
    around = near - place
    theta = (torch.atan2(around[:, 1], around[:, 0]) - angles[0]) % (2 * math.pi)
    inside = float((theta < opening).double().mean())
    start, width = (angles[0], opening) if inside > 0.5 else (angles[1], 2 * math.pi - opening)
    if width < sharp * math.pi or max(inside, 1 - inside) < 0.9:
        return None
    return float(place[0]), float(place[1]), start, width


def _tip(place: Tensor, towards: Tensor, near: Tensor) -> Corner | None:
    """The end of a slit, where inner points lie all around."""
    around = near - place
    start = float(torch.atan2(towards[1], towards[0]))
    theta = ((torch.atan2(around[:, 1], around[:, 0]) - start) % (2 * math.pi)).sort().values
    gaps = torch.cat([theta[:1], theta.diff(), 2 * math.pi - theta[-1:]])
    return (float(place[0]), float(place[1]), start, 2 * math.pi) if float(gaps.max()) < 2 else None


@dataclass(frozen=True)
class CornerFeatures(FourierFeatures):
    """Fourier features and, last, r^(k pi / angle) sin(k pi theta / angle) at each corner: what solutions of
    second-order equations with smooth data are made of there, beside smooth functions.

    Source: Grisvard, Elliptic problems in nonsmooth domains (1985).
    """

    corners: Sequence[Corner] = ()
    count: int = 6

    @classmethod
    def beside(cls, features: FourierFeatures, corners: Sequence[Corner]) -> CornerFeatures:
        return cls(features.centre, features.frequencies, tuple(corners))

    def _exponents(self) -> list[tuple[Corner, float]]:
        powers = [(c, k * math.pi / c[3]) for c in self.corners for k in range(1, self.count + 1)]
        return [(c, p) for c, p in powers if abs(p - round(p)) > 1e-3]

    @property
    def size(self) -> int:
        return super().size + len(self._exponents())

    def __call__(self, x: Tensor, order: Order | None = None) -> Tensor:
        parts = [super().__call__(x, order)]
        for (a, b, start, width), power in self._exponents():

            def function(x: Tensor, a=a, b=b, middle=start + width / 2, half=width / 2, power=power) -> Tensor:
                z, y = x[:, 0] - a, x[:, 1] - b
                # measured from the middle of the domain's wedge, so that the cut lies outside
                turned = torch.atan2(
                    -math.sin(middle) * z + math.cos(middle) * y, math.cos(middle) * z + math.sin(middle) * y
                )
                theta = turned + half
                square = z * z + y * y
                return torch.where(square > 0, square, 1.0) ** (power / 2) * torch.sin(power * theta) * (square > 0)

            parts.append((function(x) if order is None or not any(order) else derivative(function, x, order))[:, None])
        return torch.cat(parts, 1)

    def all_frequencies(self) -> Tensor:
        regular = super().all_frequencies()
        return torch.cat([regular, regular.new_zeros(len(self._exponents()), regular.shape[1])])
