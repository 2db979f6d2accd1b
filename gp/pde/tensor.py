"""Equations on tensor grids of two or three axes: factors an axis, Sylvester equations, Newton-GMRES where needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, gmres
from torch import Tensor

from ...backends.svd import svd
from ...errors import NWidthError
from .equation import Condition, Equation, Order, coefficient, product
from .evidence import learn
from .features import EXTENSION, FourierFeatures
from .solution import Solution
from .spectrum import Mixture
from .sylvester import KroneckerSum
from .system import unseen_points
from .weight_space import OVERSAMPLING


def along(A: Tensor, X: Tensor, axis: int) -> Tensor:
    return torch.movedim(torch.tensordot(A, X, dims=([1], [axis])), 0, axis)


def all_along(matrices: Sequence[Tensor], X: Tensor) -> Tensor:
    for i, A in enumerate(matrices):
        X = along(A, X, i)
    return X


class Basis(Protocol):
    """Functions of each axis: their values and derivatives at any of its coordinates, (n, size)."""

    cardinal: bool  # one at a node of their own, zero at all others

    @property
    def sizes(self) -> tuple[int, ...]: ...

    def line(self, axis: int, x: Tensor, order: int = 0) -> Tensor: ...


@dataclass(frozen=True)
class Line:
    """One axis: orthonormal functions of the nodes, U = Phi W, that carry the prior's principal directions.

    Phi D = U diag(s) V', cut where s < cut s_1; W = D V / s turns coefficients of U into weights of the features.
    ``b`` are the conditions at the ends as functionals of the coefficients, ``lift`` functions with b lift = I,
    ``Z`` an
    orthonormal basis of those with b Z = 0.
    """

    x: Tensor
    D: Tensor  # prior standard deviations of the features
    W: Tensor
    U: Tensor
    derivatives: Mapping[int, Tensor]  # order: values at the nodes of each function's derivative
    b: Tensor
    lift: Tensor
    Z: Tensor


class Space:
    """The functions of one choice of frequencies, priors and cut, with the equation's operators on them."""

    def __init__(
        self,
        equation: Equation,
        features: Basis,
        priors: Sequence[Tensor],
        cut: float,
        conditions: Sequence[Condition],
        axes: Sequence[Tensor],
    ):
        self.equation, self.features, self.cut = equation, features, cut
        self.axes, self.conditions = axes, conditions
        orders = list(equation.terms(product([a[:1] for a in axes]), {})) + list(equation.nonlinear_in)
        self.lines = [self._line(i, prior, {o[i] for o in orders} | {0}) for i, prior in enumerate(priors)]

    def _line(self, axis: int, D: Tensor, orders: set[int]) -> Line:
        x = self.axes[axis]
        if self.features.cardinal:
            U = W = torch.eye(len(x), dtype=torch.float64)
        else:
            U, s, Vh = svd(self.features.line(axis, x) * D, method="exact")
            keep = s > self.cut * s[0]
            U, W = U[:, keep], D[:, None] * Vh[keep].T / s[keep]
        derivatives = {o: U if o == 0 else self.features.line(axis, x, o) @ W for o in orders}
        rows = [functional(self.features, axis, self.equation, c) @ W for c in self.conditions if c.axis == axis]
        b = torch.stack(rows) if rows else U[:0]
        if not len(b):
            return Line(x, D, W, U, derivatives, b, U.new_zeros(U.shape[1], 0), torch.eye(U.shape[1], dtype=U.dtype))
        Q, R = torch.linalg.qr(b.T, mode="complete")
        k = len(b)
        lift = Q[:, :k] @ torch.linalg.inv(R[:k]).T
        return Line(x, D, W, U, derivatives, b, lift, Q[:, k:])

    def lifted(self, data: Sequence[Tensor]) -> Tensor:
        """Coefficients with the values of all conditions, by blending of one axis after the other (Coons 1967)."""
        C = torch.zeros([line.U.shape[1] for line in self.lines], dtype=torch.float64)
        for i, line in enumerate(self.lines):
            mine = [(c, g) for c, g in zip(self.conditions, data) if c.axis == i]
            if not mine:
                continue
            given = []
            for _, g in mine:
                others = [other for j, other in enumerate(self.lines) if j != i]
                given.append(all_along([other.U.T for other in others], g))
            G = torch.movedim(torch.stack(given), 0, i)
            C = C + along(line.lift, G - along(line.b, C, i), i)
        return C

    def at_nodes(self, C: Tensor, order: Order) -> Tensor:
        return all_along([line.derivatives[o] for line, o in zip(self.lines, order)], C)

    def project(self, F: Tensor) -> Tensor:
        """Nodal values onto the functions with zero conditions."""
        return all_along([(line.U @ line.Z).T for line in self.lines], F)

    def embed(self, Y: Tensor) -> Tensor:
        return all_along([line.Z for line in self.lines], Y)

    def weights(self, C: Tensor) -> Tensor:
        return all_along([line.W for line in self.lines], C)

    def inverse(self, terms: Mapping[Order, float]) -> KroneckerSum:
        """The part of the operator that is a sum over axes, inverted."""
        d, sums, shift = len(self.lines), [], 0.0
        for i, line in enumerate(self.lines):
            A = torch.zeros(line.Z.shape[1], line.Z.shape[1], dtype=torch.float64)
            for order, c in terms.items():
                if order[i] and sum(o > 0 for o in order) == 1:
                    A = A + c * line.Z.T @ (line.U.T @ (line.derivatives[order[i]] @ line.Z))
            sums.append(A)
        shift = sum(c for order, c in terms.items() if order == (0,) * d)
        return KroneckerSum(sums, shift)


def terms_of(equation: Equation, x: Tensor) -> dict[Order, float | Tensor]:
    return {o: coefficient(c, x) for o, c in equation.terms(x, {}).items()}


def functional(features: Basis, axis: int, equation: Equation, c: Condition) -> Tensor:
    end = torch.tensor([equation.box[axis][c.end]], dtype=torch.float64)
    total = torch.zeros(features.sizes[axis], dtype=torch.float64)
    for order, value in (c.terms or {(0,) * equation.ndim: 1.0}).items():
        if callable(value) or isinstance(value, Tensor) or any(o for i, o in enumerate(order) if i != axis):
            raise NWidthError(
                "Condition", got=f"{dict(c.terms or {})}", expected="numbers times normal derivatives on grids"
            )
        total = total + value * features.line(axis, end, order[axis])[0]
    return total


class TensorSpace:
    """u = sum of products of regular Fourier features, one family an axis, with the equation at the nodes of a grid.

    Each axis is factored once (``Line``); conditions are met exactly by blending; the equation is projected on the
    functions that vanish in the conditions, where a sum of one-axis operators is a Sylvester equation. Nonlinear terms,
    mixed derivatives and variable coefficients: Newton's method, its steps by GMRES with that Sylvester solve as the
    preconditioner. The spectrum of each axis is learned from the weights, in ``passes``; the cut of small singular
    values and the pass are chosen by the equation's residual between the nodes, which no solve has seen.

    Standard deviations are those of the solver's own answers to ``draws`` equations made from the learned prior
    (Matheron's
    rule: what the factors cut away counts as an error), scaled to the residual that was observed between the nodes.
    """

    def __init__(
        self,
        extension: float = EXTENSION,
        cuts: Sequence[float] = (1e-8, 1e-10, 1e-12),
        passes: int = 2,
        shape: str = "gaussian",
        updates: int = 12,
        iterations: int = 30,
        draws: int = 16,
        seed: int = 0,
    ):
        if not extension > 1 or not cuts or passes < 0 or draws < 2:
            raise NWidthError(
                "TensorSpace",
                got=f"extension={extension}, cuts={cuts}, passes={passes}, draws={draws}",
                expected="extension > 1, cuts, passes >= 0, draws >= 2",
            )
        self.extension, self.cuts, self.passes, self.shape = extension, tuple(cuts), passes, shape
        self.updates, self.iterations, self.draws, self.seed = updates, iterations, draws, seed

    def solve(self, equation: Equation) -> Solution:
        if equation.unknown or not 2 <= equation.ndim <= 3:
            raise NWidthError(
                "TensorSpace.solve",
                got=f"{equation.ndim} axes, unknown parameters {list(equation.unknown)}",
                expected="two or three axes, none unknown",
                fix="use solver=gp, which takes scattered points",
            )
        task = Task(equation, self.iterations)
        features = FourierFeatures.regular(
            equation.box, [max(2, int(n / OVERSAMPLING) // 2) for n in equation.shape], self.extension
        )
        priors = [torch.ones(n, dtype=torch.float64) for n in features.sizes]
        found: list[Answer] = []
        for number in range(self.passes + 1):
            mine = [
                task.answer(Space(equation, features, priors, cut, task.conditions, task.axes)) for cut in self.cuts
            ]
            best = min(mine, key=lambda a: a.between)
            found.append(best)
            if number and best.between > found[-2].between:
                break
            if number < self.passes:
                priors = self._priors(best)
        best = min(found, key=lambda a: a.between)
        return self._solution(task, best, found)

    def _priors(self, answer: Answer) -> list[Tensor]:
        """Standard deviations of each axis' features: the marginal likelihood of the nodal values along that axis, in
        ``outputs`` random combinations of the lines of the grid that share a prior."""
        space, priors = answer.space, []
        generator = torch.Generator().manual_seed(self.seed)
        for i, line in enumerate(space.lines):
            C = torch.movedim(answer.C, i, 0).reshape(line.U.shape[1], -1)
            mix = torch.randn(C.shape[1], 8, generator=generator, dtype=torch.float64)
            w = space.features.line_frequencies(i)
            start = torch.ones_like(w) / len(w)
            mixture = Mixture.over(w, float(space.features.frequencies[i][1]), start, shape=self.shape)
            A = space.features.line(i, line.x)
            mixture, _ = learn(A, line.U @ (C @ mix), mixture, w[:0], self.updates)
            priors.append(mixture.density().sqrt())
        return priors

    def _solution(self, task: Task, best: Answer, found: Sequence[Answer]) -> Solution:
        equation, features = task.equation, best.space.features
        notes = []
        if best.between > 0.1:
            notes.append(
                f"the equation is not resolved (its residual between the points is {best.between:.1g}): raise points"
            )
        if not best.converged:
            notes.append(f"Newton's method stopped at a residual of {best.residual:.1g}: raise iterations")
        errors: list[Tensor] = []

        def predictor(x: Tensor, order: Order) -> tuple[Tensor, Tensor]:
            if not errors:
                errors.extend(task.draws(best, self._priors(best), self.draws, self.seed))
            mean = evaluate(features, best.weights, x, order)
            square = torch.stack([evaluate(features, e, x, order).square() for e in errors]).mean(0)
            # the quantile of Student's t that 16 draws call for, as a normal one
            return mean, square.sqrt() * (1 + 1.25 / self.draws)

        spectrum = [
            (features.frequencies[i], line.D[: len(features.frequencies[i])].square())
            for i, line in enumerate(best.space.lines)
        ]
        return Solution(
            equation, "gp", predictor, best.residual, {}, [a.record() for a in found], best.record(), spectrum, notes
        )


def as_grid(x: Tensor) -> list[Tensor] | None:
    """The axes of points that are a tensor grid in the order of ``product``; None otherwise."""
    axes = [torch.unique(x[:, i]) for i in range(x.shape[1])]
    if math.prod(len(a) for a in axes) != len(x):
        return None
    return axes if torch.equal(product(axes), x) else None


def evaluate(basis: Basis, weights: Tensor, x: Tensor, order: Order) -> Tensor:
    """sum_k weights_k d^order phi_k at points (n, d); all at once where they are a tensor grid."""
    grid = as_grid(x)
    if grid is not None:
        return all_along([basis.line(i, a, o) for i, (a, o) in enumerate(zip(grid, order))], weights).reshape(-1)
    found = []
    for part in x.split(2**11):
        lines = [basis.line(i, part[:, i], o) for i, o in enumerate(order)]
        rest = torch.tensordot(lines[0], weights, dims=([1], [0]))
        for line in lines[1:]:
            rest = torch.einsum("nk,nk...->n...", line, rest)
        found.append(rest)
    return torch.cat(found)


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
        self.f_between = equation.source(points)
        sides = [equation.side(c, self.between) for c in self.conditions]
        self.walls_between = torch.cat([c.value(x) for c, x in zip(self.conditions, sides)])
        self.points_between = points

    def _finite(self, values: Tensor) -> Tensor:
        if not bool(torch.isfinite(values).all()):
            raise NWidthError(
                type(self.equation).__name__, got="NaN or infinite sources or boundary values", expected="finite ones"
            )
        return values.double()

    def left(self, space: Space, C: Tensor, x: Tensor | None = None) -> Tensor:
        return self._left(lambda o: space.at_nodes(C, o).reshape(-1), self.grid, self.terms).reshape(self.shape)

    def _left(self, u, x: Tensor, terms: Mapping[Order, float | Tensor]) -> Tensor:
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
            return self._between(weights, space.features, o)

        off = self.f_between - self._left(u, self.points_between, terms_of(self.equation, self.points_between))
        size = float(self.f.square().mean().sqrt()) or 1.0
        between = float(off.square().mean().sqrt()) / size
        residual = float(misfit.square().mean().sqrt()) / size
        return Answer(space, C, weights, residual, between, converged, steps)

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

    def draws(self, best: Answer, priors: Sequence[Tensor], count: int, seed: int) -> list[Tensor]:
        """Errors, as weights, of the linearised solve for solutions drawn from the prior."""
        space, features, generator = best.space, best.space.features, torch.Generator().manual_seed(seed)
        white = best.weights
        # the amplitude that gives the draws the size of the solution's own weights
        shape = [D.square().sum() for D in priors]
        s = float(white.norm()) / math.sqrt(math.prod(float(v) for v in shape))
        inverse, slopes = space.inverse(self.constant), self.slopes(space, best.C)
        linear = not slopes and self.simple
        errors = []
        orders = {*self.terms, *slopes}
        nodes = [{k: features.line(i, a, k) for k in {o[i] for o in orders}} for i, a in enumerate(self.axes)]
        for _ in range(count):
            w = s * torch.randn(best.weights.shape, generator=generator, dtype=torch.float64)
            for i, D in enumerate(priors):
                w = along(torch.diag(D), w, i)
            f = torch.zeros(self.shape, dtype=torch.float64)
            for o in orders:
                c = self.terms.get(o, 0.0)
                c = c.reshape(self.shape) if isinstance(c, Tensor) else c
                c = c + slopes[o] if o in slopes else c
                f = f + c * all_along([n[k] for n, k in zip(nodes, o)], w)
            data = []
            for c in self.conditions:
                row = functional(features, c.axis, self.equation, c)
                flat = torch.tensordot(row, w, dims=([0], [c.axis]))
                data.append(all_along([features.line(i, a) for i, a in enumerate(self.axes) if i != c.axis], flat))
            C = space.lifted(data)
            for _ in range(2 if linear else 4):
                R = space.project(f - self.tangent(space, C, slopes))
                C = C + space.embed(inverse.solve(R) if linear else self.newton_step(space, best.C, R, inverse))
            errors.append(w - space.weights(C))
        return [e * self._size(best, errors) for e in errors]

    def _size(self, best: Answer, errors: Sequence[Tensor]) -> float:
        """The factor that gives errors the size seen between the nodes: of the equation's residual, or of the
        conditions'
        misfit where that asks for more."""
        features, points = best.space.features, self.points_between
        terms = terms_of(self.equation, points)
        slopes = self.slopes_at(lambda o: self._between(best.weights, features, o), points)

        def residual(e: Tensor) -> Tensor:
            parts = [c * self._between(e, features, o) for o, c in [*terms.items(), *slopes.items()]]
            return torch.stack(parts).sum(0)

        observed = best.between * (float(self.f.square().mean().sqrt()) or 1.0)
        predicted = math.sqrt(sum(float(residual(e).square().mean()) for e in errors) / len(errors))
        walls = [self._walls(best.weights, features) - self.walls_between, *(self._walls(e, features) for e in errors)]
        size = [float(w.square().mean().sqrt()) for w in walls]
        wall = math.sqrt(sum(v**2 for v in size[1:]) / len(errors))
        return max(observed / max(predicted, 1e-300), size[0] / max(wall, 1e-300))

    def _between(self, weights: Tensor, features: Basis, o: Order) -> Tensor:
        return all_along([features.line(i, a, k) for i, (a, k) in enumerate(zip(self.between, o))], weights).reshape(-1)

    def _walls(self, weights: Tensor, features: Basis) -> Tensor:
        """What the conditions see of u between the nodes of their sides."""
        found = []
        for c in self.conditions:
            flat = torch.tensordot(functional(features, c.axis, self.equation, c), weights, dims=([0], [c.axis]))
            others = [features.line(i, a) for i, a in enumerate(self.between) if i != c.axis]
            found.append(all_along(others, flat).reshape(-1))
        return torch.cat(found)
