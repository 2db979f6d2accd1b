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


def find_corners(interior: Tensor, boundary: Tensor, sharp: float = 1.25) -> list[Corner]:
    """Corners with an interior angle of more than ``sharp`` pi, where a boundary point lies in the corner itself.

    At each boundary point: its nearest neighbour, and the nearest one on the other side; the edge turns there where the
    two directions are not opposite, and the corner is re-entrant where inner points nearby avoid the smaller wedge.

    >>> t = torch.arange(1, 11).double() / 10
    >>> edge = torch.cat([torch.stack([t, 0 * t], 1), torch.stack([0 * t, -t], 1), torch.zeros(1, 2).double()])
    >>> x = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    >>> [tuple(round(v, 3) for v in c) for c in find_corners(x[(x[:, 0] < 0) | (x[:, 1] > 0)], edge)]
    [(0.0, 0.0, 0.0, 4.712)]
    """
    found: list[Corner] = []
    if len(boundary) < 8:
        return found
    distance = torch.cdist(boundary, boundary)
    near = distance.fill_diagonal_(math.inf).sort(1)
    typical = float(near.values[:, 0].median())
    inner = torch.cdist(boundary, interior)
    for i, b in enumerate(boundary):
        steps = boundary[near.indices[i, :8]] - b
        directions = steps / steps.norm(dim=1, keepdim=True)
        cosine = directions @ directions[0]
        other = torch.nonzero(cosine < 0.75).reshape(-1)
        if not len(other) or float(near.values[i, int(other[0])]) > 3 * typical:
            continue
        angles = [float(torch.atan2(d[1], d[0])) for d in (directions[0], directions[int(other[0])])]
        opening = (angles[1] - angles[0]) % (2 * math.pi)
        if min(opening, 2 * math.pi - opening) > (2 - sharp) * math.pi:
            continue  # close to straight
        around = interior[inner[i] < max(6 * typical, float(inner[i].sort().values[min(11, len(interior) - 1)]))] - b
        theta = (torch.atan2(around[:, 1], around[:, 0]) - angles[0]) % (2 * math.pi)
        in_first = float((theta < opening).double().mean())
        start, width = (angles[0], opening) if in_first > 0.5 else (angles[1], 2 * math.pi - opening)
        if width > sharp * math.pi and max(in_first, 1 - in_first) > 0.9:
            found.append((float(b[0]), float(b[1]), start, width))
    return found


@dataclass(frozen=True)
class CornerFeatures(FourierFeatures):
    """Fourier features and, last, r^(k pi / angle) sin(k pi theta / angle) at each corner: what solutions of
    second-order
    equations with smooth data are made of there, beside smooth functions (Grisvard 1985, chapter 4)."""

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
