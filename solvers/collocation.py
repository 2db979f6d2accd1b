"""The Poisson equation by collocation at Chebyshev points, inverted through the eigenvectors of each axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..backends import Axis
from ..backends.transforms import ChebyshevBasis, FourierBasis, Transform
from .separable import along, times


@dataclass(frozen=True)
class CollocationLine:
    """d^2/dx^2 at the inner points of a Chebyshev axis, its ends eliminated by a condition on u or on du/dn; or at all
    points of a periodic axis.

    With u_b the values at the ends, u_i those inside, and rows B of the conditions, B_b u_b + B_i u_i = g, so
    u_b = ends (g - B_i u_i) and u'' inside = (D2_ii - D2_ib ends B_i) u_i + D2_ib ends g.
    """

    inner: slice
    second: Tensor  # D2_ii - D2_ib ends B_i
    load: Tensor  # D2_ib ends
    ends: Tensor  # B_b^(-1)
    conditions: Tensor  # B_i

    @classmethod
    def make(cls, axis: Axis, lower: str, upper: str) -> CollocationLine:
        eye = torch.eye(axis.n, dtype=torch.float64)
        basis = FourierBasis() if axis.kind == "periodic" else ChebyshevBasis()
        first = Transform([basis], lengths=[axis.length]).derivative(eye, 1).T
        if axis.kind == "periodic":
            second = Transform([basis], lengths=[axis.length]).derivative(eye, 2).T
            none = eye[:0]
            return cls(slice(None), (second + second.T) / 2, none.T, eye[:0, :0], none)
        second = first @ first
        rows = torch.stack(
            [eye[0] if lower == "dirichlet" else -first[0], eye[-1] if upper == "dirichlet" else first[-1]]
        )
        ends = torch.linalg.inv(rows[:, [0, -1]])
        load = second[1:-1][:, [0, -1]] @ ends
        return cls(slice(1, -1), second[1:-1, 1:-1] - load @ rows[:, 1:-1], load, ends, rows[:, 1:-1])

    def eigenvectors(self) -> tuple[Tensor, Tensor, Tensor]:
        """lambda, E, E^(-1) with -second = E diag(lambda) E^(-1)."""
        if torch.equal(self.second, self.second.T):  # a periodic axis, with pairs of equal eigenvalues
            values, vectors = torch.linalg.eigh(-self.second)
            return values, vectors, vectors.T
        values, vectors = torch.linalg.eig(-self.second)
        if float(values.imag.abs().max()) <= 1e-10 * float(values.abs().max()):
            values, vectors = values.real, vectors.real
        return values, vectors, torch.linalg.inv(vectors)


def solve_by_collocation(
    axes: Sequence[Axis], sides: Sequence[tuple[str, str]], f: Tensor, walls: Sequence[Tensor | None]
) -> Tensor:
    """u with -Lap u = f inside and the conditions at the ends: (N, 1, *space) from f (N, 1, *space).

    ``walls``: for each axis the data of its lower and upper side, two entries along that axis; None for zero. Where
    two sides meet the later axis counts. Constants, where they are the null space, are left out. Computed in float64
    (Haidvogel and Zang 1979, J. Comput. Phys. 30).

    >>> axis = Axis("chebyshev", 12)
    >>> x = axis.coordinates()
    >>> f = (torch.pi**2 * torch.sin(torch.pi * x)).view(1, 1, 12)
    >>> u = solve_by_collocation([axis], [("dirichlet", "dirichlet")], f, [None])
    >>> bool((u[0, 0] - torch.sin(torch.pi * x)).abs().max() < 1e-8)
    True
    """
    d, dtype, like = len(axes), f.dtype, f.double()
    lines = [CollocationLine.make(a, *pair) for a, pair in zip(axes, sides)]
    data = [None if w is None else w.double() for w in walls]
    everywhere = (slice(None),) * 2
    right = like[(*everywhere, *(line.inner for line in lines))]
    for i, line in enumerate(lines):
        if (g := data[i]) is not None:
            part = (*everywhere, *(slice(None) if j == i else lines[j].inner for j in range(d)))
            right = right + times(line.load, g[part], i - d)
    values, vectors, inverses = zip(*(line.eigenvectors() for line in lines))
    total = torch.zeros((), dtype=torch.float64)
    for v in values:
        total = total[..., None] + v
    inverse = torch.where(total.abs() <= 1e-9 * total.abs().max(), 0.0, 1 / total).to(right.device)
    u = along(inverse * along(right, inverses), vectors)
    u = u.real if u.is_complex() else u
    for i, (axis, line) in enumerate(zip(axes, lines)):
        if axis.kind == "periodic":
            continue
        known = -times(line.conditions, u, i - d)
        if (g := data[i]) is not None:
            known = known + g[(*everywhere, *(slice(None) if j <= i else lines[j].inner for j in range(d)))]
        ends = times(line.ends, known, i - d)
        u = torch.cat([ends.narrow(i - d, 0, 1), u, ends.narrow(i - d, 1, 1)], i - d)
    return u.to(dtype)
