"""Geometric multigrid with interpolation from the operator, for a batch of elliptic systems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from .stencils import Offset, Stencil, samples_first, samples_last, shifted

COARSEST = 48  # unknowns that are solved for by a dense inverse
COUPLED = 0.25  # part of the diagonal that the entries along an axis must reach to give its weights
SAME = 1.5  # spacings within this factor of the smallest are coarsened together


class Multigrid:
    """One V-cycle for A u = f on a tensor-product grid, where (A u)_p is the sum over neighbours q of c_pq (u_p - u_q)
    with c >= 0: a preconditioner for conjugate gradients, symmetric positive definite like A.

    The couplings may jump by orders of magnitude from point to point. Interpolation follows them: along each axis a
    point between two coarse ones takes their values weighted by what couples it to them. The coarse operators are
    P^T A P, one axis after the other, so that every level has a nearest-neighbour stencil; couplings for the next
    interpolation are added in series along the axis and in parallel across it. This is black-box multigrid (Alcouffe,
    Brandt, Dendy and Painter 1981, SIAM J. Sci. Stat. Comput. 2; Dendy 1982, J. Comput. Phys. 48) with a product
    interpolation, in any dimension. One Gauss-Seidel sweep before and one after, over the 2^d classes of even and odd
    indices in opposite orders. Axes may have any number of points; those with wider spacing are coarsened later.

    Parameters
    ----------
    couplings, periodic : see ``Stencil.from_couplings``, which makes ``stencil``, A on the finest grid.
    spacing : distance of the points on each axis.
    singular : whether constants are the null space of A; then the result is defined up to them.

    Values are (N, 1, *space), best stored with samples last (``samples_first(samples_last(f))``).

    >>> c = torch.ones(101, 1, dtype=torch.float64)
    >>> cycle = Multigrid([c], [False], [1.0])
    >>> f = torch.rand(1, 1, 100, dtype=torch.float64)
    >>> u = cycle(f)  # exact in one dimension
    >>> bool(torch.allclose(cycle.stencil.apply(samples_last(u)), samples_last(f)))
    True
    """

    def __init__(
        self, couplings: Sequence[Tensor], periodic: Sequence[bool], spacing: Sequence[float], singular: bool = False
    ):
        self.stencil = stencil = Stencil.from_couplings(couplings, periodic)
        self.levels: list[_Level] = []
        h, couplings = list(spacing), list(couplings)
        while math.prod(stencil.shape) > COARSEST:
            least = min(d for d, n in zip(h, stencil.shape) if n > 1)
            steps: list[_Step] = []
            level = _Level(stencil, steps)
            for axis in range(len(h)):
                if stencil.shape[axis] > 1 and h[axis] < SAME * least:
                    step = _Step.make(stencil, couplings[axis], axis)
                    stencil = _coarsen(stencil, step)
                    couplings = [_coarse_couplings(c, i, step) for i, c in enumerate(couplings)]
                    steps.append(step)
                    h[axis] *= 2
            self.levels.append(level)
        self.coarsest = _inverse(stencil, singular)

    def __call__(self, r: Tensor) -> Tensor:
        """An approximation of A^(-1) r, for r (N, 1, *space)."""
        return samples_first(self._cycle(samples_last(r), 0))

    def _cycle(self, f: Tensor, k: int) -> Tensor:
        if k == len(self.levels):
            flat = f.flatten(0, -2).T[..., None]
            return (self.coarsest @ flat)[..., 0].T.reshape(f.shape)
        level = self.levels[k]
        u = level.start(f)
        r = level.residual(f, u)
        for step in level.steps:
            r = step.restrict(r)
        e = self._cycle(r, k + 1)
        for step in reversed(level.steps):
            e = step.prolong(e)
        return level.finish(f, u, e)


@dataclass(frozen=True, eq=False)
class _Step:
    """P along one axis: coarse points are 0, 2, 4, ..; point 2k+1 has left[k] u_k + right[k] u_(k+1)."""

    axis: int
    n: int
    periodic: bool
    left: Tensor
    right: Tensor

    @classmethod
    def make(cls, stencil: Stencil, c: Tensor, axis: int) -> _Step:
        """Weights in proportion to the entries of A towards both sides, summed over the other axes; where these are
        no couplings (walls of other axes distort them), and at the last point, to the couplings c."""
        n, periodic = stencil.shape[axis], stencil.periodic[axis]
        left, right = (x.clone() for x in _split(c.narrow(axis, 1, n), axis))
        zero, sums = torch.zeros_like(left), {}
        for o in (-1, 0, 1):
            sums[o] = sum((_split(a, axis)[1] for k, a in stencil.coefficients.items() if k[axis] == o), zero)
        low, high = -sums[-1].clamp_max(0), -sums[1].clamp_max(0)
        usable = low + high > COUPLED * sums[0].abs()
        last = usable.shape[axis] - 1
        usable.narrow(axis, last, 1).logical_and_(torch.tensor(periodic and n % 2 == 0, device=usable.device))
        left, right = torch.where(usable, low, left), torch.where(usable, high, right)
        whole = left + right
        if n % 2:  # the last entry stands for no point; or, on a periodic axis, for the first one
            for x, value in ((left, 0.0), (right, float(periodic)), (whole, 1.0)):
                x.narrow(axis, last, 1).fill_(value)
        right = right / whole
        if n % 2 == 0 and not periodic:  # the last point has a wall, no right neighbour
            right.narrow(axis, last, 1).zero_()
        return cls(axis, n, periodic, left / whole, right)

    def prolong(self, e: Tensor) -> Tensor:
        between = self.left * e + self.right * shifted(e, (1,), (self.axis,), (self.periodic,))
        return torch.stack([e, between], self.axis + 1).flatten(self.axis, self.axis + 1).narrow(self.axis, 0, self.n)

    def restrict(self, r: Tensor) -> Tensor:
        even, odd = _split(r, self.axis)
        return even + self.left * odd + shifted(self.right * odd, (-1,), (self.axis,), (self.periodic,))


class _Level:
    """The operator of one grid with its smoother; ``steps`` lead to the next grid."""

    def __init__(self, stencil: Stencil, steps: list[_Step]):
        self.stencil, self.steps = stencil, steps
        self.inverse = stencil.diagonal.reciprocal()
        self.colours = [c for c in product((0, 1), repeat=stencil.ndim) if all(k < n for k, n in zip(c, stencil.shape))]
        self.inner = stencil.window((0,) * stencil.ndim)

    def start(self, f: Tensor) -> Tensor:
        """One sweep from zero; padded."""
        u = f.new_zeros(*(n + 2 for n in self.stencil.shape), f.shape[-1])
        for i, colour in enumerate(self.colours):
            self._relax(f, u, colour, self.colours[:i])
        return u

    def finish(self, f: Tensor, u: Tensor, correction: Tensor) -> Tensor:
        """u + correction, then one sweep in the opposite order; without padding."""
        u[self.inner] += correction
        self.stencil.wrap(u)
        for colour in reversed(self.colours):
            self._relax(f, u, colour, self.colours)
        return u[self.inner].contiguous()

    def residual(self, f: Tensor, u: Tensor) -> Tensor:
        out = f.clone()
        for offset, c in self.stencil.coefficients.items():
            out.addcmul_(c, u[self.stencil.window(offset)], value=-1)
        return out

    def _relax(self, f: Tensor, u: Tensor, colour: Offset, known: Sequence[Offset]) -> None:
        """Solve the equations of one colour for their own unknowns; colours that are not ``known`` are zero."""
        part = tuple(slice(k, None, 2) for k in colour)
        r = f[part].clone()
        for offset, c in self.stencil.coefficients.items():
            neighbour = tuple((k + o) % 2 for k, o in zip(colour, offset))
            if any(offset) and (neighbour in known or any(self.stencil.periodic)):
                r.addcmul_(c[part], u[self.stencil.window(offset, colour, 2)], value=-1)
        u[self.stencil.window((0,) * len(colour), colour, 2)] = r.mul_(self.inverse[part])
        self.stencil.wrap(u)


def _split(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Points 0, 2, .. and 1, 3, .. of an axis, as many of each: a missing last one is zero."""
    here = (slice(None),) * axis
    even, odd = x[(*here, slice(0, None, 2))], x[(*here, slice(1, None, 2))]
    if odd.shape[axis] < even.shape[axis]:
        odd = torch.cat([odd, torch.zeros_like(even.narrow(axis, 0, 1))], axis)
    return even, odd


def _coarse_couplings(c: Tensor, i: int, step: _Step) -> Tensor:
    """Those across axis i: in series along the axis of the step, in parallel along others."""
    axis, n = step.axis, step.n
    if i != axis:
        even, odd = _split(c, axis)
        if n % 2 == 0 and not step.periodic:  # the last point has its left neighbour only
            odd = odd.clone()
            odd.narrow(axis, odd.shape[axis] - 1, 1).mul_(2)
        return even + odd / 2 + shifted(odd / 2, (-1,), (axis,), (step.periodic and n % 2 == 0,))
    a, b = c.narrow(axis, 1, n - n % 2).unflatten(axis, (-1, 2)).unbind(axis + 1)
    series = a * b / (a + b)
    last = c.narrow(axis, n, 1) if n % 2 else series.narrow(axis, series.shape[axis] - 1, 1)
    first = last if step.periodic else c.narrow(axis, 0, 1)
    return torch.cat([first, series, last] if n % 2 else [first, series], axis)


def _coarsen(stencil: Stencil, step: _Step) -> Stencil:
    """P^T A P."""
    axis, n, wraps, left, right = step.axis, step.n, step.periodic, step.left, step.right
    others = [i for i in range(stencil.ndim) if i != axis]
    other_wraps = [stencil.periodic[i] for i in others]
    even: dict[Offset, Tensor] = {}
    odd: dict[Offset, Tensor] = {}
    for offset, c in stencil.coefficients.items():
        even[offset], odd[offset] = _split(c, axis)
    zero = torch.zeros_like(left)

    def before(x: Tensor, at_start: float) -> Tensor:
        """x_(k-1); ``at_start`` stands where an odd periodic axis has no point between its last and its first."""
        y = shifted(x, (-1,), (axis,), (wraps,))
        if wraps and n % 2:
            y.narrow(axis, 0, 1).fill_(at_start)
        return y

    def total(*terms: Tensor | None) -> Tensor:
        return sum((t for t in terms if t is not None), zero)

    coarse: dict[Offset, Tensor] = {}
    for aside in sorted({tuple(o[i] for i in others) for o in stencil.coefficients}):
        l, r = shifted(left, aside, others, other_wraps), shifted(right, aside, others, other_wraps)

        def key(o: int, aside: Offset = aside) -> Offset:
            return (*aside[:axis], o, *aside[axis:])

        e, o = ([part.get(key(i)) for i in (-1, 0, 1)] for part in (even, odd))
        to_left = total(_times(o[1], l), o[0])  # rows of A P at the points between
        to_right = total(_times(o[1], r), o[2])
        coarse[key(0)] = total(
            e[1], _times(e[2], l), _times(e[0], before(r, 0.0)), left * to_left, before(right * to_right, 0.0)
        )
        coarse[key(1)] = total(_times(e[2], r), left * to_right)
        coarse[key(-1)] = total(_times(e[0], before(l, 1.0)), before(right * to_left, 0.0))
    return Stencil(coarse, stencil.periodic)


def _times(a: Tensor | None, b: Tensor) -> Tensor | None:
    return None if a is None else a * b


def _inverse(stencil: Stencil, singular: bool) -> Tensor:
    """A^(-1) of every sample, (N, m, m); with constants added where they are the null space."""
    m, samples = math.prod(stencil.shape), stencil.samples
    eye = torch.eye(m, dtype=stencil.diagonal.dtype, device=stencil.diagonal.device)
    columns = [stencil.apply(e.view(*stencil.shape, 1).expand(*stencil.shape, samples)).flatten(0, -2) for e in eye]
    a = torch.stack(columns, 1).movedim(-1, 0)
    a = (a + a.mT) / 2
    if singular:
        a = a + a.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] / m
    return torch.linalg.inv(a)
