"""The shallow water equations, with dam breaks and over a bottom that is not flat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...backends import Grid
from ...data import Dataset
from ...errors import NWidthError
from ..fluid import FluidProblem
from ..random_fields import GaussianField
from ..random_states import PiecewiseConstant, RadialDamBreak, SmoothStates


@dataclass(frozen=True, kw_only=True)
class ShallowWater(FluidProblem):
    """Depth h and mean velocity v of water over a bottom of height b, on [lo, hi]^d:

        h_t + div(h v) = 0
        (h v)_t + div(h v v^T + g h^2/2 I) = -g h grad b

    The data hold depth and velocity (one channel an axis), from the cell averages of h and h v, and b, if any, as
    the input field a. The depth must stay positive (C: no dry ground).

    Parameters
    ----------
    gravity : g.
    initial : ``RadialDamBreak``, ``PiecewiseConstant`` with the intervals of the level and the velocity, or
        ``SmoothStates`` with the laws of the log level and the velocity. The level is h + b, the depth where the
        bottom is flat.
    bottom : the law of b, or None where it is flat.
    lo, hi, ndim, final_time, times, boundary, limiter, riemann, cfl, refine : see ``FiniteVolumeProblem``. The
        defaults are the radial dam break of PDEBench (there 128 x 128 cells and 101 stored times: the initial
        state and the 100 after it).

    Over a bottom the scheme is that of Audusse et al. (2004, SIAM J. Sci. Comput. 25): the level is reconstructed
    besides the depth, depths at a face count from the higher of its two bottoms, and a lake at rest stays at rest.

    >>> problem = ShallowWater(final_time=0.1, times=2)
    >>> data = problem.simulate([0], seed=0, grid=problem.grid(32))
    >>> tuple(data.u.shape), data.channels("u"), float(data.u0[:, 0].max())
    ((1, 2, 3, 32, 32), ('depth', 'velocity_x', 'velocity_y'), 2.0)
    """

    ndim: int = 2
    lo: float = -2.5
    hi: float = 2.5
    times: int = 100
    gravity: float = 1.0
    initial: RadialDamBreak | PiecewiseConstant | SmoothStates = field(default_factory=RadialDamBreak)
    bottom: GaussianField | None = None

    def __post_init__(self):
        super().__post_init__()
        if not (self.gravity > 0 and math.isfinite(self.gravity)):
            raise NWidthError("ShallowWater", got=f"gravity={self.gravity}", expected="gravity > 0")

    @property
    def fields(self) -> tuple[str, ...]:
        velocity = ("velocity",) if self.ndim == 1 else tuple(f"velocity_{x}" for x in "xyz"[: self.ndim])
        return ("depth", *velocity)

    @property
    def reads(self) -> tuple[str, ...]:
        return ("u0",) if self.bottom is None else ("a", "u0")

    def draw(self, streams: Sequence[np.random.Generator], grid: Grid) -> Dataset:
        b = None if self.bottom is None else self.bottom.sample(streams, grid)
        components = (1, self.ndim)
        if isinstance(self.initial, SmoothStates):
            w = self.initial.sample(streams, grid, components, (True, False))
        elif isinstance(self.initial, RadialDamBreak):
            w = self.initial.sample(streams, grid)
        else:
            w = self.initial.sample(streams, grid, components)
        names = {"u0": self.fields, "u": self.fields}
        if b is not None:
            w = torch.cat([w[:, :1] - b, w[:, 1:]], 1)
            names["a"] = ("bottom",)
        if not bool((w[:, 0] > 0).all()):
            raise NWidthError(
                "ShallowWater",
                got=f"a depth of {float(w[:, 0].min()):.2g}",
                expected="a bottom below the water's level everywhere",
                fix="raise the level of initial, or lower bottom.scale or bottom.mean",
            )
        return Dataset(grid, u0=w, a=b, names=names, problem=self.config())

    # states w = (h, v, h + b) and q = (h, h v, b), the last ones only over a bottom

    def states(self, inputs: Dataset) -> Tensor:
        w: Tensor = inputs.u0  # type: ignore[assignment]
        if self.bottom is None:
            return w
        b: Tensor = inputs.a  # type: ignore[assignment]
        return torch.cat([w, w[:, :1] + b], 1)

    def inputs_of(self, w: Tensor) -> dict[str, Any]:
        fluid = w[:, : 1 + self.ndim]
        return {"u0": fluid} if self.bottom is None else {"u0": fluid, "a": w[:, -1:] - w[:, :1]}

    def conserved(self, w: Tensor, mu: Tensor) -> Tensor:
        d, h = self.ndim, w[:, :1]
        return torch.cat([h, h * w[:, 1 : 1 + d], w[:, 1 + d :] - h], 1)

    def primitive(self, q: Tensor, mu: Tensor) -> Tensor:
        d, h = self.ndim, q[:, :1]
        return torch.cat([h, q[:, 1 : 1 + d] / h, q[:, 1 + d :] + h], 1)

    def pressure(self, w: Tensor, mu: Tensor) -> Tensor:
        return 0.5 * self.gravity * w[:, :1].square()

    def sound(self, w: Tensor, mu: Tensor) -> Tensor:
        return self.gravity * w[:, :1]

    def admissible(self, w: Tensor, mu: Tensor) -> Tensor:
        return torch.isfinite(w).all(1, keepdim=True) & (w[:, :1] > 0)

    def face_fluxes(self, left: Tensor, right: Tensor, axis: int, mu: Tensor) -> tuple[Tensor, Tensor]:
        if self.bottom is None:
            return super().face_fluxes(left, right, axis, mu)
        d = self.ndim
        ground = torch.maximum(left[:, -1:] - left[:, :1], right[:, -1:] - right[:, :1])
        sides = []
        for w in (left, right):
            depth = (w[:, -1:] - ground).clamp_min(1e-12)
            sides.append(torch.cat([depth, w[:, 1 : 1 + d]], 1))
        f, _ = super().face_fluxes(sides[0], sides[1], axis, mu)
        both = []
        for w, side in zip((left, right), sides):
            lifted = self.pressure(w, mu) - self.pressure(side, mu)
            both.append(torch.cat([f + self.push(lifted, lifted, axis, side), torch.zeros_like(lifted)], 1))
        return both[0], both[1]

    def source(self, low: Tensor, high: Tensor, axis: int, mu: Tensor) -> Tensor | None:
        """-g h b_x, with the mean depth and the difference of the bottom within the cell."""
        if self.bottom is None:
            return None
        rise = (high[:, -1:] - high[:, :1]) - (low[:, -1:] - low[:, :1])
        force = -0.5 * self.gravity * (low[:, :1] + high[:, :1]) * rise
        return self.push(force, force, axis, low)


def dam_break(left: float, right: float, xi: Tensor, gravity: float = 1.0) -> Tensor:
    """Stoker's solution at xi = x/t of water at rest, of depths ``left`` > ``right`` > 0 beside a dam at x = 0.

    Returns depth and velocity, (2, n): a rarefaction, a constant state and a bore (Stoker 1957, Water Waves,
    section 10.8).

    >>> h, u = dam_break(2.0, 1.0, torch.tensor([-2.0, 0.0, 2.0], dtype=torch.float64))
    >>> [round(v, 4) for v in h.tolist()]
    [2.0, 1.4538, 1.0]
    """
    if not left > right > 0:
        raise NWidthError("dam_break", got=f"depths {left} and {right}", expected="left > right > 0")
    cl = math.sqrt(gravity * left)

    def excess(h: float) -> float:
        bore = (h - right) * math.sqrt(gravity / 2 * (h + right) / (h * right))
        return bore - 2 * (cl - math.sqrt(gravity * h))

    low, high = right, left
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    h = (low + high) / 2
    u = 2 * (cl - math.sqrt(gravity * h))
    bore = h * u / (h - right)
    xi = xi.double()
    fan_depth, fan_speed = (2 * cl - xi).square() / (9 * gravity), 2 * (cl + xi) / 3
    fan, middle_state = xi < u - math.sqrt(gravity * h), xi < bore
    depth = torch.where(xi < -cl, left, torch.where(fan, fan_depth, torch.where(middle_state, h, right)))
    speed = torch.where(xi < -cl, 0.0, torch.where(fan, fan_speed, torch.where(middle_state, u, 0.0)))
    return torch.stack([depth, speed])
