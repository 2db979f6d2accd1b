"""Operator inference: the polynomial equation of the POD coefficients, by regularised least squares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ...data import Dataset, FitLog
from ...errors import NWidthError
from ..stepping import integrate
from .dynamics import StateSurrogate, equal_step, require_trajectories, step_through

FORMS = ("discrete", "continuous")
ORDER = 6  # points of the quadrature in time
SUBSTEPS = 4  # steps of ETDRK4 in one step of the data


def products(x: Tensor) -> Tensor:
    """x_j x_k for j <= k, (..., r) -> (..., r (r + 1) / 2).

    >>> products(torch.tensor([2.0, 3.0])).tolist()
    [4.0, 6.0, 9.0]
    """
    j, k = torch.triu_indices(x.shape[-1], x.shape[-1], device=x.device)
    return x[..., j] * x[..., k]


def integration_matrix(t: Tensor, order: int = ORDER) -> Tensor:
    """Q (T, T + 1) with (Q f)_k the integral of f from t_k to t_{k+1}, f given at the times t.

    The polynomial through the ``order`` times nearest to the interval is integrated: exact for degrees below
    ``order`` (or T + 1, where there are fewer times).

    >>> t = torch.tensor([0.0, 0.1, 0.3, 0.4, 0.7], dtype=torch.float64)
    >>> torch.allclose(integration_matrix(t) @ t**4, (t**5).diff() / 5)
    True
    """
    n = len(t)
    order = min(order, n)
    out = torch.zeros(n - 1, n, dtype=torch.float64)
    powers = torch.arange(order, dtype=torch.float64)
    for k in range(n - 1):
        first = min(max(k + 1 - order // 2, 0), n - order)
        size = float(t[first + order - 1] - t[first])
        z = (t[first : first + order] - t[k]) / size
        end = (t[k + 1] - t[k]) / size
        moments = end ** (powers + 1) / (powers + 1)
        out[k, first : first + order] = size * torch.linalg.solve((z[:, None] ** powers).mT, moments)
    return out


class Tikhonov:
    """min_O |D O - Y|^2 + sum_j g_j |O_j|^2 for many weights g (one a column of D): one QR of D serves all.

    Solved by QR of the stacked [R; sqrt(g)], which does not square the condition of D; where all weights vanish, the
    solution of least norm.

    >>> D = torch.randn(20, 3, dtype=torch.float64); O = torch.ones(3, 2, dtype=torch.float64)
    >>> torch.allclose(Tikhonov(D, D @ O).solve(torch.zeros(3, dtype=torch.float64)), O)
    True
    """

    def __init__(self, D: Tensor, Y: Tensor):
        q, self.R = torch.linalg.qr(D)
        self.rhs = q.mT @ Y
        self.size = float(torch.linalg.matrix_norm(self.R, 2))

    def solve(self, weights: Tensor) -> Tensor:
        """O (columns of D, columns of Y)."""
        if not bool((weights > 0).all()):
            damped = torch.cat([self.R, torch.diag(weights.sqrt())])
            rhs = torch.cat([self.rhs, self.rhs.new_zeros(len(weights), self.rhs.shape[1])])
            return torch.linalg.lstsq(damped.cpu(), rhs.cpu(), driver="gelsd").solution.to(self.rhs.device)
        q, r = torch.linalg.qr(torch.cat([self.R, torch.diag(weights.sqrt())]))
        return torch.linalg.solve_triangular(r, q[: len(self.R)].mT @ self.rhs, upper=True)


class OperatorInference(StateSurrogate):
    """c' = sum_q theta_q(mu) (a_q + A_q c + H_q (c * c)), theta = (1, mu_1, .., mu_p): operators learned from states.

    c * c are the products c_j c_k, j <= k. Two ``forms``, which may both be tried:

    - continuous: the equation integrated over each step of the data, c(t_{k+1}) - c(t_k) = the integral of the right
      side by a quadrature of sixth order through neighbouring times. No derivative is estimated, so noise is not
      amplified, and times may be unequal. Solved in time by ETDRK4.
    - discrete: c_{k+1} itself is the right side, for equal steps. Exact for linear equations at any step.

    The least squares is regularised by w s_1^2, s_1 the largest singular value of its matrix, with one w for
    constant and linear terms (``linear_weights``) and one for quadratic ones (``quadratic_weights``): the pair, the
    form and the rank are those whose rollouts from u0 do best on validation; unstable ones count as infinitely bad.
    ``quadratic: false`` leaves H out. Combinations with more than ``max_columns`` unknowns a coefficient are passed
    over. ``mu`` is standardised; input fields a are not read.

    Source: Peherstorfer and Willcox, CMAME 306 (2016); McQuarrie, Huang and Willcox, J. R. Soc. N. Z. 51 (2021), for
    the regularisation by rollouts; McQuarrie, Khodabakhshi and Willcox, SIAM J. Sci. Comput. 45 (2023), for affine
    parameters.
    """

    def __init__(
        self,
        *,
        ranks: list[int] | None = None,
        forms: list[str] | None = None,
        quadratic: bool = True,
        linear_weights: list[float] | None = None,
        quadratic_weights: list[float] | None = None,
        max_columns: int = 1200,
    ):
        super().__init__(ranks)
        self.forms = list(forms or FORMS)
        for form in self.forms:
            if form not in FORMS:
                raise NWidthError("OperatorInference", got=f"form {form!r}", expected="some of " + ", ".join(FORMS))
        self.quadratic = quadratic
        self.linear_weights = list(linear_weights or [0.0, 1e-8, 1e-5])
        self.quadratic_weights = list(quadratic_weights or [0.0, 1e-8, 1e-6, 1e-4, 1e-2])
        self.max_columns = max_columns

    def check(self, train: Dataset) -> tuple[str, ...]:
        reads = super().check(train)
        require_trajectories("OperatorInference", train)
        for name in ("u", "u0"):
            if getattr(train, name).dtype.is_complex:
                raise NWidthError(
                    "OperatorInference.fit", got=f"a complex {name}", expected="real states", fix="use dmd"
                )
        return reads

    def _candidates(
        self, c: Tensor, t: Tensor, mu: Tensor | None, rank: int, log: FitLog, seed: int
    ) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        size = float(c[..., 0].square().mean().sqrt()) or 1.0  # so that linear and quadratic columns compare
        x = c[..., :rank] / size
        theta = _theta(mu, len(x), x)
        degree = rank * (rank + 1) // 2 if self.quadratic else 0
        columns = theta.shape[1] * (1 + rank + degree)
        if columns > self.max_columns:
            log.notes.append(f"rank {rank} passed over: {columns} unknowns a coefficient")
            return
        features = self._features(x, theta)
        step = equal_step(t)
        second = torch.arange(columns) >= theta.shape[1] * (1 + rank)
        for form in self.forms:
            if form == "discrete":
                if step is None:
                    log.notes.append("the discrete form needs equal steps in time: passed over")
                    continue
                D, Y = features[:, :-1], x[:, 1:]
            else:
                matrix = integration_matrix(t)
                D, Y = torch.einsum("kt,ntf->nkf", matrix, features), x.diff(dim=1)
            solver = Tikhonov(D.flatten(0, 1), Y.flatten(0, 1))
            for linear in self.linear_weights:
                for square in self.quadratic_weights if self.quadratic else [0.0]:
                    weights = torch.where(second, square, linear).double() * solver.size**2
                    model = _operators(solver.solve(weights), theta.shape[1], rank, size)
                    model |= {"form": form, "step": step if form == "discrete" else float(t.diff().mean())}
                    yield {"form": form, "linear_weight": linear, "quadratic_weight": square}, model

    def _features(self, x: Tensor, theta: Tensor) -> Tensor:
        """theta x (1, x, x * x): (N, T, columns), in blocks of constant, linear and quadratic terms."""
        blocks = [torch.ones_like(x[..., :1]), x] + ([products(x)] if self.quadratic else [])
        return torch.cat([torch.einsum("nq,ntf->ntqf", theta, b).flatten(2) for b in blocks], -1)

    def _roll(self, model: Mapping[str, Any], start: Tensor, t0: float, times: Tensor, mu: Tensor | None) -> Tensor:
        rank = model["linear"].shape[-1]
        x = start[:, :rank]
        theta = _theta(mu, len(x), x)
        alike = theta.shape[1] == 1  # one operator for all samples
        constant, linear, square = (
            model[k][0] if alike else torch.einsum("nq,q...->n...", theta, model[k])
            for k in ("constant", "linear", "quadratic")
        )

        def rest(x: Tensor) -> Tensor:
            if not square.shape[-2]:
                return constant.expand_as(x)
            return constant + _times(products(x), square)

        if model["form"] == "discrete":
            return step_through(x, t0, times, model["step"], lambda x: _times(x, linear) + rest(x))
        step = model["step"] / SUBSTEPS
        states = integrate(linear.mT, rest, x, t0, times.tolist(), step, dense=True)
        return torch.stack(list(states), 1)


def _times(x: Tensor, matrix: Tensor) -> Tensor:
    """Rows x (N, f) times one matrix (f, r), or each times its own (N, f, r)."""
    return x @ matrix if matrix.ndim == 2 else torch.bmm(x[:, None], matrix)[:, 0]


def _theta(mu: Tensor | None, n: int, like: Tensor) -> Tensor:
    """(1, mu), (N, 1 + p)."""
    one = like.new_ones(n, 1)
    return one if mu is None else torch.cat([one, mu], 1)


def _operators(O: Tensor, terms: int, rank: int, size: float) -> dict[str, Any]:
    """constant (Q, r), linear (Q, r, r) and quadratic (Q, r (r + 1) / 2, r) of unscaled coefficients."""
    constant, linear, square = O.split([terms, terms * rank, len(O) - terms * (1 + rank)])
    return {
        "constant": constant * size,
        "linear": linear.reshape(terms, rank, rank),
        "quadratic": square.reshape(terms, -1, rank) / size,
    }
