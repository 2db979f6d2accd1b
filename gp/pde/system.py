"""The rows of a collocation system in the weights of features: the equation, its conditions, observations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import NWidthError
from .equation import Cloud, Condition, Equation, Observations, Order, coefficient
from .features import FourierFeatures

UNRESOLVED = 0.1  # error of unseen rows, relative to their size, at which the reader is warned


@dataclass(frozen=True)
class Block:
    """Points where one linear functional of u is given: sum_o c_o d^o u = values."""

    points: Tensor
    terms: Mapping[Order, float | Tensor]
    values: Tensor

    def rows(self, features: FourierFeatures) -> Tensor:
        total = torch.zeros(len(self.points), features.size, dtype=torch.float64)
        for order, c in self.terms.items():
            part = features(self.points, order)
            total = total + (c[:, None] * part if isinstance(c, Tensor) else c * part)
        return total


def zero_order(d: int) -> Order:
    return (0,) * d


def condition_block(equation: Equation, condition: Condition, points: Tensor) -> Block:
    terms = condition.terms or {zero_order(equation.ndim): 1.0}
    values = condition.value(points).double()
    return Block(points, {o: coefficient(c, points) for o, c in terms.items()}, values)


class Collocation:
    """Everything that is known of u, at scattered points: inner points, blocks of conditions, observations.

    Raises NWidthError for points given twice, NaN, single precision, observations outside the domain or of no noise.
    """

    def __init__(
        self,
        equation: Equation,
        interior: Tensor | None = None,
        cloud: Cloud | None = None,
        observations: Observations | None = None,
    ):
        self.equation, self.cloud = equation, cloud
        self.is_grid = cloud is None and interior is None
        if cloud is not None:
            self.interior = checked(cloud.interior, equation.ndim, "interior points")
            edge = checked(cloud.boundary, equation.ndim, "boundary points")
            values = torch.as_tensor(cloud.values).double()
            if values.shape != (len(edge),):
                raise NWidthError("Cloud", got=f"values {tuple(values.shape)}", expected=f"({len(edge)},), one a point")
            self.blocks = [Block(edge, {zero_order(equation.ndim): 1.0}, values)]
        else:
            self.interior = checked(equation.grid() if interior is None else interior, equation.ndim, "points")
            self.blocks = [condition_block(equation, c, equation.side(c)) for c in equation.conditions()]
        self.box = equation.box
        if cloud is not None or interior is not None:  # the points say where the domain is
            every = torch.cat([self.interior, *(b.points for b in self.blocks)])
            self.box = tuple(zip(every.amin(0).tolist(), every.amax(0).tolist()))
        self.f = equation.source(self.interior).double()
        self.observations = observations
        if observations is not None:
            points = checked(observations.points, equation.ndim, "observations")
            values = torch.as_tensor(observations.values).double()
            if values.shape != (len(points),):
                raise NWidthError("Observations", got=f"values {tuple(values.shape)}", expected=f"({len(points)},)")
            self._inside(points)
            std = observations.std
            if std is not None and not (math.isfinite(std) and std > 0):
                raise NWidthError(
                    "Observations",
                    got=f"std={std}",
                    expected="a positive number, or None",
                    fix="leave std out to have the noise learned, or give what the instrument promises",
                )
            self.data = Block(points, {zero_order(equation.ndim): 1.0}, values)
        given = [self.f, *(b.values for b in self.blocks), *([self.data.values] if observations is not None else [])]
        if not all(bool(torch.isfinite(v).all()) for v in given):
            raise NWidthError(type(equation).__name__, got="NaN or infinite sources or values", expected="finite ones")
        self.guess = {k: float(v) for k, v in equation.unknown.items()}

    def _inside(self, points: Tensor) -> None:
        for i, (lower, upper) in enumerate(self.box):
            x, room = points[:, i], 1e-9 * (upper - lower)
            beyond = (x < lower - room) | (x > upper + room)
            if bool(beyond.any()):
                raise NWidthError(
                    "observations",
                    got=f"{int(beyond.sum())} of {len(x)} outside the domain, such as {float(x[beyond][0]):.6g}",
                    expected=f"coordinate {i} in [{lower:.6g}, {upper:.6g}]",
                    fix="the solution is not known beyond the domain: leave them out, or enlarge it",
                )

    def matrices(self, features: FourierFeatures) -> Rows:
        return Rows(self, features)


class Rows:
    """The system for one dictionary: residual and linearisation at weights w and parameters p."""

    def __init__(self, collocation: Collocation, features: FourierFeatures):
        self.of, self.features = collocation, features
        equation, x = collocation.equation, collocation.interior
        orders = set(equation.terms(x, self.parameters([]))) | set(equation.nonlinear_in)
        self.phi = {o: features(x, o) for o in orders}
        self.edges = [b.rows(features) for b in collocation.blocks]
        self.seen = collocation.data.rows(features) if collocation.observations is not None else None

    def parameters(self, values: Sequence[float] | Tensor) -> dict[str, Tensor]:
        """Their values by name; the first guesses where there are none yet."""
        chosen = list(values) if len(values) else list(self.of.guess.values())
        return {k: torch.as_tensor(v, dtype=torch.float64) for k, v in zip(self.of.guess, chosen)}

    def values(self, w: Tensor) -> dict[Order, Tensor]:
        """The derivatives of u that the equation reads, at its points."""
        return {o: phi @ w for o, phi in self.phi.items()}

    def linearise(self, u: Mapping[Order, Tensor], p: Sequence[float] | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(J, dR/dp, r) of the equation at u: its residual r = f - L u - N(u), J the derivative of L u + N(u) by w."""
        equation, x = self.of.equation, self.of.interior
        names = list(self.of.guess)
        with torch.enable_grad():
            moving = self.parameters(p)
            for v in moving.values():
                v.requires_grad_()
            linear = dict(equation.terms(x, moving))
            value = torch.zeros(len(x), dtype=torch.float64)
            for o, c in linear.items():
                value = value + coefficient(c, x) * u[o]
            read = {o: u[o].detach().requires_grad_() for o in equation.nonlinear_in}
            slopes: dict[Order, Tensor] = {}
            if read:
                N = equation.nonlinear(read, x, moving)
                found = torch.autograd.grad(N.sum(), list(read.values()), retain_graph=True, allow_unused=True)
                slopes = {o: g for o, g in zip(read, found) if g is not None}
                value = value + N
            by_p = _columns(value, [moving[k] for k in names])
        J = torch.zeros(len(x), self.features.size, dtype=torch.float64)
        for o, phi in self.phi.items():
            total: float | Tensor = 0.0
            if o in linear:
                value_of = coefficient(linear[o], x)
                total = value_of.detach() if isinstance(value_of, Tensor) else value_of
            if o in slopes:
                total = total + slopes[o]
            if isinstance(total, Tensor) and total.ndim:
                J += total[:, None] * phi
            elif float(total):
                J += float(total) * phi
        return J, by_p, self.of.f - value.detach()


def _columns(value: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """d value / d parameters, (n, parameters), by forward differences of the graph: two backward passes."""
    if not parameters:
        return value.new_zeros(len(value), 0).detach()
    probe = torch.zeros_like(value, requires_grad=True)
    grads = torch.autograd.grad(value, parameters, probe, create_graph=True, allow_unused=True)
    columns = [
        torch.zeros_like(value)
        if g is None or not g.requires_grad
        else torch.autograd.grad(g, probe, retain_graph=True)[0]
        for g in grads
    ]
    return torch.stack(columns, 1).detach()


def unseen_points(axes: Sequence[Tensor], most: int) -> list[Tensor]:
    """Points between those of each axis, at most ``most``; not half-way, where an alias has the size of the wave, and
    elsewhere on every axis, so that signs of aliases do not cancel."""
    shares = (0.382, 0.441, 0.327)
    return [(a[:-1] + s * a.diff())[:: -(-(len(a) - 1) // most)] for a, s in zip(axes, shares)]


def checked(points: Tensor, d: int, what: str) -> Tensor:
    x = torch.as_tensor(points)
    if x.ndim == 1 and d == 1:
        x = x[:, None]
    if x.ndim != 2 or x.shape[1] != d or not len(x):
        raise NWidthError(what, got=f"shape {tuple(x.shape)}", expected=f"(n, {d})")
    if x.dtype != torch.float64:
        raise NWidthError(
            what,
            got=str(x.dtype),
            expected="float64",
            fix="single precision loses the answer in the derivatives: .double()",
        )
    if not bool(torch.isfinite(x).all()):
        raise NWidthError(what, got="NaN or infinite coordinates", expected="finite ones")
    if len(torch.unique(x, dim=0)) < len(x):
        raise NWidthError(what, got=f"{len(x) - len(torch.unique(x, dim=0))} points twice", expected="distinct points")
    return x
