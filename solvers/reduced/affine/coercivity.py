"""Lower bounds of coercivity constants: successive constraints, and the constant itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import linprog
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from ....backends.svd import InnerProduct
from ....data.progress import bytes_bar
from ....errors import NWidthError
from ...affine_system import AffineSystem
from ...sparse import SparseSum

SMALL = 64  # unknowns up to which eigenvalues are found densely
MARGIN = 1e-8  # relative, for the tolerance of Lanczos
CHUNK = 2**23  # entries of a temporary tensor

Operator = Callable[[np.ndarray], np.ndarray]


class Eigenproblem:
    """Extreme eigenvalues of S_q and of S(mu) = sum_q theta_q(mu) S_q in the product X, S the symmetric parts."""

    def __init__(self, system: AffineSystem, product: InnerProduct):
        self.system, self.product = system, product
        self.parts = [((m + m.T) / 2).tocsr() for m in system.operators.matrices]
        self._sum = SparseSum(self.parts)
        self.n = self._sum.n

    def range(self, q: int) -> tuple[float, float]:
        """The least and largest eigenvalue of S_q, with a margin outwards; 0 for the least of a positive term."""
        part = self.parts[q]

        def act(x: np.ndarray) -> np.ndarray:
            return self._dual(part @ self._unroot(x))

        hi = _extreme(act, self.n, "LA")[0]
        lo = 0.0 if self.system.positive[q] else _extreme(act, self.n, "SA")[0]
        margin = MARGIN * max(abs(lo), abs(hi))
        return (0.0 if self.system.positive[q] else lo - margin), hi + margin

    def coercivity(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """alpha = min S(v, v) / |v|_X^2 for one theta (Q,), and the values S_q(v, v) / |v|_X^2 at its minimiser.

        By Lanczos on the inverse. NWidthError where S(theta) is not positive definite.
        """
        solve = self._sum.factor(theta)

        def act(x: np.ndarray) -> np.ndarray:
            y = torch.from_numpy(self._unroot(x).reshape(self.n, -1))
            return self.product.root(torch.from_numpy(solve(self.product.times(y).numpy()))).numpy().reshape(x.shape)

        low = _extreme(act, self.n, "SA")[0]
        high, vector = _extreme(act, self.n, "LA")
        if not low > 0 or not np.isfinite(high):
            raise NWidthError(
                f"{type(self.system.problem).__name__}: coercivity",
                got=f"an operator that is not coercive at factors {np.array2string(theta, precision=4)}",
                expected="a symmetric part that is positive definite",
                fix="narrow the ranges of the parameters, or use coercivity=none: residuals without an error bound",
            )
        v = self._unroot(vector)
        v = v / np.sqrt(float(v @ self.product.times(torch.from_numpy(v)[:, None]).numpy()[:, 0]))
        return (1 - MARGIN) / high, np.array([v @ (m @ v) for m in self.parts])

    def _unroot(self, x: np.ndarray) -> np.ndarray:
        return self.product.unroot(torch.from_numpy(x.reshape(self.n, -1))).numpy().reshape(x.shape)

    def _dual(self, x: np.ndarray) -> np.ndarray:
        return self.product.dual(torch.from_numpy(x.reshape(self.n, -1))).numpy().reshape(x.shape)


def _extreme(act: Operator, n: int, which: str) -> tuple[float, np.ndarray]:
    """The largest (LA) or least (SA) eigenvalue of a symmetric operator, and its vector."""
    if n <= SMALL:
        dense = act(np.eye(n))
        values, vectors = np.linalg.eigh((dense + dense.T) / 2)
        i = -1 if which == "LA" else 0
        return float(values[i]), vectors[:, i]
    operator = LinearOperator((n, n), matvec=act, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(n)
    values, vectors = eigsh(operator, k=1, which=which, v0=start, ncv=min(n, 40), tol=MARGIN / 10)
    return float(values[0]), vectors[:, 0]


def largest(product: InnerProduct, diagonal: np.ndarray) -> float:
    """max v' D v / |v|_X^2 for a diagonal D, with a margin upwards."""
    weights = torch.from_numpy(diagonal)[:, None]

    def act(x: np.ndarray) -> np.ndarray:
        y = torch.from_numpy(x.reshape(len(diagonal), -1))
        return product.dual(weights * product.unroot(y)).numpy().reshape(x.shape)

    return _extreme(act, len(diagonal), "LA")[0] * (1 + MARGIN)


class SuccessiveConstraints:
    """A lower bound of alpha(mu) = min_v a(v, v; mu) / |v|_X^2 for terms and factors of any sign:

        alpha(mu) = min {theta(mu) . y : y in Y},   Y = {(a_q(v, v) / |v|_X^2)_q}
                 >= min {theta(mu) . y : y in the box of the extreme eigenvalues, theta(mu_k) . y >= alpha(mu_k)},

    with alpha(mu_k) from sparse eigenproblems at a few mu_k, chosen greedily in ``training`` (N, P) where the gap to
    the upper bound min_k theta(mu) . y_k is widest, until (upper - lower) / upper <= ``gap`` everywhere (Huynh, Rozza,
    Sen and Patera 2007, C. R. Math. 345, 473-478; all constraints are used instead of the nearest).

    Calls answer for thousands of parameters at once, on their device, with no linear programme: any multipliers
    l >= 0 give a valid lower bound by duality,

        sum_k l_k alpha(mu_k) + sum_q min {d_q s : s in box_q},   d = theta(mu) - sum_k l_k theta(mu_k).

    Tried are the multipliers of the programmes solved in training, and the best single multiple of each constraint:
    with positive terms that is min-theta from every mu_k, the reference among them. Rounding and tolerances of the
    programmes cannot make the bound wrong; it rests on Lanczos finding the extreme eigenvalues.
    """

    def __init__(
        self, system: AffineSystem, product: InnerProduct, training: Tensor, *, gap: float = 0.5, constraints: int = 60
    ):
        if not 0 < gap < 1 or constraints < 1 or not len(training):
            raise NWidthError(
                "SuccessiveConstraints",
                got=f"gap={gap}, constraints={constraints}, {len(training)} training parameters",
                expected="0 < gap < 1, constraints >= 1, and parameters",
            )
        self.system = system
        problem = system.problem
        eigen = Eigenproblem(system, product)
        box = np.array([eigen.range(q) for q in range(len(eigen.parts))])
        self.box = torch.from_numpy(box)
        self.theta = self.alpha = self.multipliers = torch.zeros(0, dtype=torch.float64)
        self.theta, self.multipliers = self.theta.view(0, len(box)), self.multipliers.view(0, 0)
        theta = problem.theta(training.double().cpu())
        reference = problem.theta(problem.reference[None])[0]
        upper = torch.full((len(theta),), torch.inf, dtype=torch.float64)
        nearest = int((theta - reference).norm(dim=1).argmin())
        lower = upper.clone()

        def add(point: Tensor) -> None:
            value, y = eigen.coercivity(point.numpy())
            self.theta = torch.cat([self.theta, point[None]])
            self.alpha = torch.cat([self.alpha, torch.tensor([value], dtype=torch.float64)])
            self.multipliers = torch.nn.functional.pad(self.multipliers, (0, 1))
            upper.copy_(torch.minimum(upper, theta @ torch.from_numpy(y)))

        try:
            add(reference)
        except NWidthError:  # the middle of the ranges need not be a parameter of interest
            add(theta[nearest])
        lower = self._bound(theta)
        solved: set[int] = set()
        with bytes_bar("successive constraints", constraints) as advance:
            while True:
                self.gap = float((1 - lower / upper).max())
                worst = int((1 - lower / upper).argmax())
                if self.gap <= gap or bool((upper <= 0).any()):
                    break
                if worst not in solved:
                    solved.add(worst)
                    found = self._programme(theta[worst].numpy())
                    if found is not None:
                        self.multipliers = torch.cat([self.multipliers, found[None]])
                        lower = torch.maximum(lower, self._dual_values(theta, found[None]))
                    continue
                if len(self.alpha) >= constraints:
                    break
                add(theta[worst])
                advance(1)
                solved.clear()
                lower = torch.maximum(lower, self._single(theta, len(self.alpha) - 1))
        if bool((upper <= 0).any()):
            bad = training[int(upper.argmin())].tolist()
            raise NWidthError(
                f"{type(problem).__name__}: coercivity",
                got=f"an operator that is not coercive at mu={bad}",
                expected="a coercive problem in the whole box",
                fix="narrow the ranges of the parameters, or use coercivity=none: residuals without an error bound",
            )

    def __call__(self, mu: Tensor) -> Tensor:
        """(N,) for mu (N, P). NWidthError where the bound is not positive."""
        bound = self._bound(self.system.problem.theta(mu.double()))
        return positive(bound, mu, "raise constraints, or lower gap")

    def _bound(self, theta: Tensor) -> Tensor:
        single = [self._single(theta, k) for k in range(len(self.alpha))]
        best = torch.stack(single).amax(0)
        if len(self.multipliers):
            size = max(1, CHUNK // (len(self.multipliers) * theta.shape[1]))
            table = self.multipliers.to(theta)
            best = torch.maximum(best, torch.cat([self._dual_values(t, table) for t in theta.split(size)]))
        return best

    def _dual_values(self, theta: Tensor, multipliers: Tensor) -> Tensor:
        """The best of the dual bounds of these multipliers (D, K), (N,)."""
        d = theta[:, None] - multipliers @ self.theta.to(theta)
        return (multipliers @ self.alpha.to(theta) + self._least(d)).amax(1)

    def _single(self, theta: Tensor, k: int) -> Tensor:
        """The best dual bound with a multiple s of constraint k: concave and piecewise linear in s."""
        own = self.theta[k].to(theta)
        s = torch.nan_to_num(theta / own, nan=0.0, posinf=0.0, neginf=0.0).clamp_min(0.0)
        s = torch.cat([s, torch.zeros_like(s[:, :1])], 1)
        values = s * float(self.alpha[k]) + self._least(theta[:, None] - s[..., None] * own)
        return values.amax(1)

    def _least(self, d: Tensor) -> Tensor:
        box = self.box.to(d)
        return torch.minimum(d * box[:, 0], d * box[:, 1]).sum(-1)

    def _programme(self, theta: np.ndarray) -> Tensor | None:
        """The multipliers of the linear programme at one theta."""
        found = linprog(
            theta, A_ub=-self.theta.numpy(), b_ub=-self.alpha.numpy(), bounds=self.box.numpy(), method="highs"
        )
        if found.status != 0:
            return None
        return torch.from_numpy(np.maximum(-found.ineqlin.marginals, 0.0))

    def state_dict(self) -> dict[str, Tensor]:
        return {k: getattr(self, k) for k in ("box", "theta", "alpha", "multipliers")}

    @classmethod
    def restored(cls, system: AffineSystem, state: dict[str, Tensor]) -> SuccessiveConstraints:
        new = cls.__new__(cls)
        new.system = system
        for k in ("box", "theta", "alpha", "multipliers"):
            setattr(new, k, state[k].double())
        return new


class ExactCoercivity:
    """alpha(mu) itself, by an eigenproblem for each parameter: for tests, and for few parameters."""

    def __init__(self, system: AffineSystem, product: InnerProduct):
        self._eigen = Eigenproblem(system, product)

    def __call__(self, mu: Tensor) -> Tensor:
        theta = self._eigen.system.problem.theta(mu.double().cpu()).numpy()
        return torch.tensor([self._eigen.coercivity(t)[0] for t in theta], dtype=torch.float64, device=mu.device)


def positive(bound: Tensor, mu: Tensor, fix: str) -> Tensor:
    """``bound`` (N,); NWidthError where it is not positive."""
    bad = ~(bound > 0)
    if bool(bad.any()):
        raise NWidthError(
            "coercivity",
            got=f"a lower bound of {float(bound[bad][0]):.2e} at mu={mu[bad][0].tolist()}",
            expected="a positive one: no error bound holds without it",
            fix=fix,
        )
    return bound
