"""The compressible Euler equations of an ideal gas, with shocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...backends import Grid
from ...data import Dataset
from ...errors import NWidthError
from ..fluid import FluidProblem
from ..intervals import interval
from ..parameters import draw_parameters, parameter, varying
from ..problem import lead
from ..random_states import PiecewiseConstant, SmoothStates


@dataclass(frozen=True, kw_only=True)
class Euler(FluidProblem):
    """Conservation of mass, momentum and energy of an ideal gas, on [lo, hi]^d:

        rho_t + div(rho v) = 0
        (rho v)_t + div(rho v v^T + p I) = 0
        E_t + div((E + p) v) = 0,     E = p/(gamma - 1) + rho |v|^2/2

    The data hold the primitive fields density, velocity (one channel an axis) and pressure, from the cell
    averages of the conserved ones, which are what is conserved.

    Parameters
    ----------
    gamma : the ratio of specific heats, one for all samples, or a pair [least, most]: then each sample has its
        own, log-uniform between them, which is the parameter mu.
    initial : ``PiecewiseConstant`` with the intervals of density, velocity and pressure (by default a Riemann
        problem), or ``SmoothStates`` with the laws of log density, velocity and log pressure.
    lo, hi, ndim, final_time, times, boundary, limiter, riemann, cfl, refine : see ``FiniteVolumeProblem``.

    >>> problem = Euler(times=2)
    >>> data = problem.simulate([0, 1], seed=0, grid=problem.grid(32))
    >>> tuple(data.u.shape), data.channels("u")
    ((2, 2, 3, 32), ('density', 'velocity', 'pressure'))
    """

    final_time: float = 0.2
    gamma: float | Sequence[float] = 1.4
    initial: PiecewiseConstant | SmoothStates = field(
        default_factory=lambda: PiecewiseConstant(ranges=[[0.125, 1.0], [-0.5, 0.5], [0.1, 1.0]])
    )

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "gamma", interval("Euler", "gamma", self.gamma, least=1.0))

    @property
    def fields(self) -> tuple[str, ...]:
        velocity = ("velocity",) if self.ndim == 1 else tuple(f"velocity_{x}" for x in "xyz"[: self.ndim])
        return ("density", *velocity, "pressure")

    @property
    def reads(self) -> tuple[str, ...]:
        return ("u0", "mu") if varying(self, ("gamma",)) else ("u0",)

    def draw(self, streams: Sequence[np.random.Generator], grid: Grid) -> Dataset:
        mu = draw_parameters(self, ("gamma",), streams)
        components = (1, self.ndim, 1)
        if isinstance(self.initial, SmoothStates):
            w = self.initial.sample(streams, grid, components, (True, False, True))
        else:
            w = self.initial.sample(streams, grid, components)
        names = {"u0": self.fields, "u": self.fields}
        if mu is not None:
            names["mu"] = varying(self, ("gamma",))
        return Dataset(grid, u0=w, mu=mu, names=names, problem=self.config())

    def parameters(self, inputs: Dataset) -> Tensor:
        gamma = torch.as_tensor(parameter(self, {"gamma": "positive"}, "gamma", inputs)).to(lead(inputs))
        if not bool((gamma > 1).all()):
            raise NWidthError("Euler", got=f"gamma={float(gamma.min()):g} in mu", expected="gamma above 1")
        return gamma.expand(len(inputs))[:, None]

    def conserved(self, w: Tensor, mu: Tensor) -> Tensor:
        rho, v, p = w[:, :1], w[:, 1:-1], w[:, -1:]
        momentum = rho * v
        energy = p / (mu[:, :1] - 1) + (momentum * v).sum(1, keepdim=True) / 2
        return torch.cat([rho, momentum, energy], 1)

    def primitive(self, q: Tensor, mu: Tensor) -> Tensor:
        rho, momentum, energy = q[:, :1], q[:, 1:-1], q[:, -1:]
        v = momentum / rho
        p = (mu[:, :1] - 1) * (energy - (momentum * v).sum(1, keepdim=True) / 2)
        return torch.cat([rho, v, p], 1)

    def pressure(self, w: Tensor, mu: Tensor) -> Tensor:
        return w[:, -1:]

    def sound(self, w: Tensor, mu: Tensor) -> Tensor:
        return mu[:, :1] * w[:, -1:] / w[:, :1]

    def push(self, p: Tensor, u: Tensor, axis: int, like: Tensor) -> Tensor:
        out = super().push(p, u, axis, like)
        out[:, -1:] = p * u
        return out

    def admissible(self, w: Tensor, mu: Tensor) -> Tensor:
        return torch.isfinite(w).all(1, keepdim=True) & (w[:, :1] > 0) & (w[:, -1:] > 0)


def euler_riemann(left: Tensor, right: Tensor, xi: Tensor, gamma: float = 1.4) -> Tensor:
    """The exact solution at xi = x/t of the Riemann problem of states (density, velocity, pressure) at x = 0.

    ``left`` and ``right`` (3,), ``xi`` (n,); returns (3, n). The pressure between the outer waves is the root of
    f_L(p) + f_R(p) + u_R - u_L, by Newton's method (Toro 2009, Riemann Solvers and Numerical Methods for Fluid
    Dynamics, sections 4.2 to 4.5). Raises NWidthError where the states part so fast that a vacuum opens.

    >>> one = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    >>> two = torch.tensor([0.125, 0.0, 0.1], dtype=torch.float64)
    >>> [round(v, 5) for v in euler_riemann(one, two, torch.zeros(1, dtype=torch.float64))[:, 0].tolist()]
    [0.42632, 0.92745, 0.30313]
    """
    states = [tuple(float(v) for v in s) for s in (left, right)]
    sounds = [math.sqrt(gamma * p / rho) for rho, _, p in states]
    (rl, ul, pl), (rr, ur, pr) = states
    if ur - ul >= 2 * sum(sounds) / (gamma - 1):
        raise NWidthError(
            "euler_riemann", got="states that open a vacuum", expected="u_R - u_L < 2 (c_L + c_R)/(gamma - 1)"
        )

    def wave(p: float, rho: float, at: float, c: float) -> tuple[float, float]:
        if p > at:
            a, b = 2 / ((gamma + 1) * rho), (gamma - 1) / (gamma + 1) * at
            root = math.sqrt(a / (p + b))
            return (p - at) * root, root * (1 - (p - at) / (2 * (p + b)))
        ratio = p / at
        return (
            2 * c / (gamma - 1) * (ratio ** ((gamma - 1) / (2 * gamma)) - 1),
            ratio ** (-(gamma + 1) / (2 * gamma)) / (rho * c),
        )

    # two rarefactions: a lower bound of the root, from which Newton's method rises to it
    z = (gamma - 1) / (2 * gamma)
    star = ((sum(sounds) - (gamma - 1) / 2 * (ur - ul)) / sum(c / p**z for c, (_, _, p) in zip(sounds, states))) ** (
        1 / z
    )
    for _ in range(100):
        values = [wave(star, rho, p, c) for (rho, _, p), c in zip(states, sounds)]
        step = (values[0][0] + values[1][0] + ur - ul) / (values[0][1] + values[1][1])
        star = max(star - step, 1e-3 * star)
        if abs(step) <= 1e-15 * star:
            break
    u_star = (ul + ur + wave(star, rr, pr, sounds[1])[0] - wave(star, rl, pl, sounds[0])[0]) / 2
    out = torch.empty(3, len(xi), dtype=torch.float64)
    for (rho, u, p), c, sign, side in (
        (states[0], sounds[0], 1.0, xi < u_star),
        (states[1], sounds[1], -1.0, xi >= u_star),
    ):
        # mirrored, so that the outer wave goes to the left
        s, v, v_star = sign * xi[side].double(), sign * u, sign * u_star
        g = (gamma - 1) / (gamma + 1)
        if star > p:
            speed = v - c * math.sqrt((gamma + 1) / (2 * gamma) * star / p + (gamma - 1) / (2 * gamma))
            inner = torch.tensor([rho * (star / p + g) / (g * star / p + 1), v_star, star], dtype=torch.float64)
            inside = s > speed
            fan = torch.zeros_like(inside)
        else:
            inner = torch.tensor([rho * (star / p) ** (1 / gamma), v_star, star], dtype=torch.float64)
            tail = v_star - c * (star / p) ** ((gamma - 1) / (2 * gamma))
            inside = s >= tail
            fan = (s > v - c) & ~inside
        outer = torch.tensor([rho, v, p], dtype=torch.float64)
        w = torch.where(inside, inner[:, None], outer[:, None])
        k = 2 / (gamma + 1) + g / c * (v - s)
        inside_fan = torch.stack(
            [
                rho * k.clamp_min(0) ** (2 / (gamma - 1)),
                2 / (gamma + 1) * (c + (gamma - 1) / 2 * v + s),
                p * k.clamp_min(0) ** (2 * gamma / (gamma - 1)),
            ]
        )
        w = torch.where(fan, inside_fan, w)
        w[1] = sign * w[1]
        out[:, side] = w
    return out
