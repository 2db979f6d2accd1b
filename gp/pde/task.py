"""One equation on a tensor grid, solved in one space: a Sylvester equation, or Newton steps by GMRES."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, gmres
from torch import Tensor

from ...errors import NWidthError
from .basis import Basis, all_along
from .equation import Equation, Order, coefficient, product
from .factors import Space
from .sylvester import KroneckerSum
from .system import UNRESOLVED, unseen_points


def terms_of(equation: Equation, x: Tensor) -> dict[Order, float | Tensor]:
    return {o: coefficient(c, x) for o, c in equation.terms(x, {}).items()}


@dataclass(frozen=True)
class Answer:
    space: Space
    C: Tensor
    weights: Tensor
    residual: float
    between: float
    converged: bool
    steps: int

    def record(self) -> dict[str, float]:
        return {
            "features": math.prod(self.space.features.sizes),
            "points": math.prod(line.U.shape[0] for line in self.space.lines),
            "rank": max(line.U.shape[1] for line in self.space.lines),
            "cut": self.space.cut,
            "steps": self.steps,
            "residual": self.residual,
            "held_out": self.between,
        }

    def notes(self) -> list[str]:
        """What a reader has to know of an answer that is not to be trusted."""
        found = []
        if not self.between <= UNRESOLVED:
            found.append(
                f"the equation is not resolved (its residual between the points is {self.between:.1g}): raise points"
            )
        if not self.converged:
            found.append(f"Newton's method stopped at a residual of {self.residual:.1g}: raise iterations")
        return found


class Task:
    """The equation at the nodes and between them, its boundary data, and the solve in one space."""

    def __init__(self, equation: Equation, iterations: int, axes: Sequence[Tensor] | None = None):
        self.equation, self.iterations = equation, iterations
        self.axes = axes = list(equation.axes() if axes is None else axes)
        self.grid, self.shape = product(axes), tuple(len(a) for a in axes)
        self.f = self._finite(equation.source(self.grid)).reshape(self.shape)
        self.conditions = list(equation.conditions())
        self.data = []
        for c in self.conditions:
            side = equation.side(c, axes)
            self.data.append(self._finite(c.value(side)).reshape([n for i, n in enumerate(self.shape) if i != c.axis]))
        if not self.conditions:
            raise NWidthError(type(equation).__name__, got="no conditions", expected="values or derivatives on sides")
        self.terms = terms_of(equation, self.grid)
        self.constant = {o: float(c.mean()) if isinstance(c, Tensor) else float(c) for o, c in self.terms.items()}
        self.simple = not equation.nonlinear_in and all(
            not isinstance(c, Tensor) and sum(k > 0 for k in o) <= 1 for o, c in self.terms.items()
        )
        # points between the nodes, at most 40 a side
        self.between = unseen_points(axes, 40)
        points = product(self.between)
        self.f_between, self.terms_between = equation.source(points), terms_of(equation, points)
        sides = [equation.side(c, self.between) for c in self.conditions]
        self.walls_between = torch.cat([c.value(x) for c, x in zip(self.conditions, sides)])
        self.points_between = points

    def _finite(self, values: Tensor) -> Tensor:
        if not bool(torch.isfinite(values).all()):
            raise NWidthError(
                type(self.equation).__name__, got="NaN or infinite sources or boundary values", expected="finite ones"
            )
        return values.double()

    def left(self, space: Space, C: Tensor) -> Tensor:
        return self._left(lambda o: space.at_nodes(C, o).reshape(-1), self.grid, self.terms).reshape(self.shape)

    def _left(self, u: Callable[[Order], Tensor], x: Tensor, terms: Mapping[Order, float | Tensor]) -> Tensor:
        total = torch.zeros(len(x), dtype=torch.float64)
        for o, c in terms.items():
            total = total + c * u(o)
        if self.equation.nonlinear_in:
            total = total + self.equation.nonlinear({o: u(o) for o in self.equation.nonlinear_in}, x, {})
        return total

    def slopes(self, space: Space, C: Tensor) -> dict[Order, Tensor]:
        """dN / d(derivative of u) at the nodes."""
        found = self.slopes_at(lambda o: space.at_nodes(C, o).reshape(-1), self.grid)
        return {o: g.reshape(self.shape) for o, g in found.items()}

    def slopes_at(self, u: Callable[[Order], Tensor], x: Tensor) -> dict[Order, Tensor]:
        with torch.enable_grad():
            read = {o: u(o).requires_grad_() for o in self.equation.nonlinear_in}
            if not read:
                return {}
            N = self.equation.nonlinear(read, x, {})
            found = torch.autograd.grad(N.sum(), list(read.values()), allow_unused=True)
        return {o: g for o, g in zip(read, found) if g is not None}

    def tangent(self, space: Space, C: Tensor, slopes: Mapping[Order, Tensor]) -> Tensor:
        total = torch.zeros(self.shape, dtype=torch.float64)
        for o, c in self.terms.items():
            total = total + (c.reshape(self.shape) if isinstance(c, Tensor) else c) * space.at_nodes(C, o)
        for o, g in slopes.items():
            total = total + g * space.at_nodes(C, o)
        return total

    def answer(self, space: Space) -> Answer:
        C, inverse = space.lifted(self.data), space.inverse(self.constant)
        scale = float(space.project(self.f).norm()) or 1.0
        before, converged, steps = math.inf, False, 0
        while steps < self.iterations:
            steps += 1
            R = space.project(self.f - self.left(space, C))
            size = float(R.norm())
            if size < 1e-14 * scale or (size > 0.5 * before and size < 1e-9 * scale):
                converged = True
                break
            step = inverse.solve(R) if self.simple else self.newton_step(space, C, R, inverse)
            length, wide = 1.0, space.embed(step)
            if not self.simple:
                while (
                    length > 1e-3 and float(space.project(self.f - self.left(space, C + length * wide)).norm()) > size
                ):
                    length /= 2
                if length <= 1e-3:
                    converged = size < 1e-8 * scale
                    break
            C, before = C + length * wide, size
        misfit = self.f - self.left(space, C)
        weights = space.weights(C)

        def u(o: Order) -> Tensor:
            return self.values_between(weights, space.features, o)

        off = self.f_between - self._left(u, self.points_between, self.terms_between)
        size = float(self.f.square().mean().sqrt()) or 1.0
        between = float(off.square().mean().sqrt()) / size
        residual = float(misfit.square().mean().sqrt()) / size
        return Answer(space, C, weights, residual, between, converged, steps)

    def values_between(self, weights: Tensor, features: Basis, o: Order) -> Tensor:
        """d^o u at ``points_between``."""
        return all_along([features.line(i, a, k) for i, (a, k) in enumerate(zip(self.between, o))], weights).reshape(-1)

    def newton_step(self, space: Space, C: Tensor, R: Tensor, inverse: KroneckerSum, tolerance: float = 1e-4) -> Tensor:
        """(tangent at C) step = R on the space, by GMRES with the sum over axes as its preconditioner."""
        slopes, shape = self.slopes(space, C), R.shape

        def apply(y: np.ndarray) -> np.ndarray:
            Y = inverse.solve(torch.from_numpy(y.reshape(shape)))
            return space.project(self.tangent(space, space.embed(Y), slopes)).reshape(-1).numpy()

        n = R.numel()
        y, _ = gmres(
            LinearOperator((n, n), apply, dtype=np.float64),
            R.reshape(-1).numpy(),
            rtol=tolerance,
            restart=40,
            maxiter=5,
        )
        return inverse.solve(torch.from_numpy(y.reshape(shape)))
