"""Random media: positive coefficients of elliptic problems, as functions of random fields or in closed form."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..backends import Grid
from ..errors import NWidthError
from .random_fields import GaussianField, RandomField


class Medium(ABC):
    """The law of a positive coefficient. Sample i is one function of space, evaluated on the grid asked for."""

    @abstractmethod
    def sample(self, streams: Sequence[np.random.Generator], grid: Grid) -> Tensor:
        """One coefficient a stream, float64, (len(streams), 1, *grid.shape)."""


@dataclass(frozen=True, kw_only=True)
class LogNormal(Medium):
    """a = exp(g) with a Gaussian field g.

    The default is the law of Li et al. (2021, arXiv:2010.08895, A.3) times 6, without their threshold: standard
    deviation 0.9 of log a on the unit square. Log-normal data for operator learning: Bhattacharya et al. (2021,
    SMAI J. Comput. Math. 7, section 4).
    """

    field: RandomField = dataclasses.field(default_factory=lambda: GaussianField(scale=6.0, tau=3.0, alpha=2.0))

    def sample(self, streams: Sequence[np.random.Generator], grid: Grid) -> Tensor:
        return self.field.sample(streams, grid).exp()


@dataclass(frozen=True, kw_only=True)
class TwoPhase(Medium):
    """a = ``high`` where g(x) >= ``level`` and ``low`` elsewhere, with a Gaussian field g.

    The defaults are the data of Li et al. (2021, arXiv:2010.08895, A.3): 12 and 3, the sign of
    N(0, (-Lap + 9 I)^(-2)). The interface has details down to the field's highest mode.

    >>> from nwidth.solvers.random_fields import stream
    >>> sorted(set(TwoPhase().sample([stream(0, 0)], Grid.make((32, 32), "nodal")).flatten().tolist()))
    [3.0, 12.0]
    """

    field: RandomField = dataclasses.field(
        default_factory=lambda: GaussianField(scale=1.0, tau=3.0, alpha=2.0, modes=128)
    )
    high: float = 12.0
    low: float = 3.0
    level: float = 0.0

    def __post_init__(self):
        _positive("TwoPhase", high=self.high, low=self.low)

    def sample(self, streams: Sequence[np.random.Generator], grid: Grid) -> Tensor:
        return torch.where(self.field.sample(streams, grid) >= self.level, self.high, self.low).double()


@dataclass(frozen=True, kw_only=True)
class BoundedField(Medium):
    """a = mean + amplitude tanh(g) with a Gaussian field g, within (mean - amplitude, mean + amplitude).

    The defaults are the wave speed of de Hoop et al. (2022, arXiv:2203.13181, section 4): 20 + tanh(g),
    g ~ N(0, (-Lap + 9 I)^(-2)) on the unit square.
    """

    field: RandomField = dataclasses.field(default_factory=lambda: GaussianField(scale=1.0, tau=3.0, alpha=2.0))
    mean: float = 20.0
    amplitude: float = 1.0

    def __post_init__(self):
        _positive("BoundedField", mean=self.mean, least=self.mean - abs(self.amplitude))

    def sample(self, streams: Sequence[np.random.Generator], grid: Grid) -> Tensor:
        return self.mean + self.amplitude * self.field.sample(streams, grid).tanh()


@dataclass(frozen=True, kw_only=True)
class TrigonometricProduct(Medium):
    """Oscillations of many lengths in the plane (``terms`` = 6),

        a(x, y) = prod_{k=1}^{terms} (1 + 1/2 cos(s_k pi (x + y))) (1 + 1/2 sin(s_k pi (y - 3 x))),

    with s_k uniform on [2^(k-1), spread 2^(k-1)], one draw for each factor k.

    The product is that of Owhadi (2017, SIAM Review 59, section 5.1), there with s_k = 2^k on the unit square
    (``spread=1`` on a box of side 2 has as many oscillations). Its random version,
    spread 1.5 on [-1, 1]^2, makes the multiscale data of Liu, Xu, Cao and Zhang (2022, arXiv:2210.10890).

    >>> from nwidth.solvers.random_fields import stream
    >>> a = TrigonometricProduct(spread=1.0).sample([stream(0, 0)], Grid.make((3, 3), "nodal", -1.0, 1.0))
    >>> round(float(a[0, 0, 1, 1]), 6)  # (3/2)^6 at the origin
    11.390625
    """

    terms: int = 6
    spread: float = 1.5

    def __post_init__(self):
        if self.terms < 1 or self.spread < 1:
            raise NWidthError(
                "TrigonometricProduct",
                got=f"terms={self.terms}, spread={self.spread}",
                expected="terms >= 1 and spread >= 1",
            )

    def sample(self, streams: Sequence[np.random.Generator], grid: Grid) -> Tensor:
        _plane("TrigonometricProduct", grid)
        x, y = (axis.coordinates() for axis in grid.axes)
        out = torch.ones(len(streams), 1, *grid.shape, dtype=torch.float64)
        for row, s in zip(out, streams):
            for k, factor in enumerate(s.uniform(1.0, self.spread, self.terms)):
                wave = math.pi * 2.0**k * factor
                both = torch.polar(torch.ones_like(x), wave * x).outer(torch.polar(torch.ones_like(y), wave * y))
                slant = torch.polar(torch.ones_like(x), -3 * wave * x).outer(torch.polar(torch.ones_like(y), wave * y))
                row *= (1 + 0.5 * both.real) * (1 + 0.5 * slant.imag)
        return out


@dataclass(frozen=True, kw_only=True)
class TrigonometricQuotients(Medium):
    """Five scales without separation in the plane,

        a(x, y) = 1/6 (q(sx_1, sy_1) + q(sy_2, cx_2) + q(cx_3, sy_3) + q(sy_4, cx_4) + q(cx_5, sy_5)
                       + sin(4 x^2 y^2) + 1),   q(p, r) = (1.1 + p) / (1.1 + r),

    with sx_i = sin(2 pi x / e_i), cx_i = cos(2 pi x / e_i) and so on, e = 1/5, 1/13, 1/17, 1/31, 1/65.

    The coefficient of Ming and Yue (2006, J. Comput. Phys. 214) and of Owhadi and Zhang (2007, Comm. Pure Appl.
    Math. 60). With ``shift`` each sample moves every term by a random part of its period, the same function
    otherwise; without it all samples are equal.
    """

    shift: bool = True

    def sample(self, streams: Sequence[np.random.Generator], grid: Grid) -> Tensor:
        x, y = _plane("TrigonometricQuotients", grid)
        parts = []
        for s in streams:
            moved = s.uniform(0, 1, (5, 2)) if self.shift else np.zeros((5, 2))
            total = torch.sin(4 * x**2 * y**2) + 1
            for i, (waves, (dx, dy)) in enumerate(zip((5, 13, 17, 31, 65), moved)):
                turn_x, turn_y = 2 * math.pi * (waves * x + dx), 2 * math.pi * (waves * y + dy)
                in_x = torch.sin(turn_x) if i == 0 else torch.cos(turn_x)
                top, bottom = (in_x, torch.sin(turn_y)) if i % 2 == 0 else (torch.sin(turn_y), in_x)
                total = total + (1.1 + top) / (1.1 + bottom)
            parts.append(total / 6)
        return torch.stack(parts)[:, None]


def _plane(where: str, grid: Grid) -> Tensor:
    if not isinstance(grid, Grid) or grid.ndim != 2:
        raise NWidthError(where, got=grid.describe(), expected="a grid of two axes", fix="set problem.ndim=2")
    return grid.coordinates()


def _positive(where: str, **values: float) -> None:
    if not all(v > 0 and math.isfinite(v) for v in values.values()):
        raise NWidthError(where, got=", ".join(f"{k}={v}" for k, v in values.items()), expected="positive numbers")
