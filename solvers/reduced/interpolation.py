"""Empirical interpolation: functions from their values at a few points that data choose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...backends.pivoting import pivoted_qr
from ...backends.svd import singular_values, svd
from ...errors import NWidthError
from .greedy import greedy

METHODS = ("deim", "qdeim")


class EmpiricalInterpolation:
    """I g = sum_k c_k q_k with the c that fit g at the points x_l:

        min_c sum_l |g(x_l) - sum_k c_k q_k(x_l)|^2,

    which is interpolation, I g(x_l) = g(x_l), where there are as many points as functions q_k, and least squares
    (gappy POD) where there are more. Exact on span{q_k}.

    Functions are rows of values (..., N, n); leading dimensions are a batch of independent interpolations, each with
    points of its own. Real or complex, in the dtype and on the device of what it is made from.

    - ``eim`` : from snapshots, functions and points by one greedy search (Barrault, Maday, Nguyen and Patera 2004,
      C. R. Math. 339; Maday et al. 2009, Commun. Pure Appl. Anal. 8).
    - ``pod`` : from the POD of snapshots; ``from_basis`` : from given functions; points by DEIM or Q-DEIM.

    Attributes: ``basis`` (..., d, n); ``points`` (..., m); from ``eim`` also ``selected`` (..., d), the numbers of
    the snapshots that were taken, ``errors`` (..., d + 1), the largest residual before each step and at the end, and
    ``probe`` (...), the point of the largest residual that is left.

    >>> mu = torch.linspace(1, 2, 40, dtype=torch.float64)[:, None]
    >>> x = torch.linspace(0, 1, 300, dtype=torch.float64)
    >>> I = EmpiricalInterpolation.eim(1 / (x + mu), rank=8)
    >>> g = 1 / (x + 1.2345)
    >>> float((I.extend(g[I.points]) - g).abs().max()) < 1e-7
    True
    """

    def __init__(
        self,
        basis: Tensor,
        points: Tensor,
        *,
        selected: Tensor | None = None,
        errors: Tensor | None = None,
        probe: Tensor | None = None,
        chosen: Tensor | None = None,
    ):
        d, n = basis.shape[-2:]
        m = points.shape[-1]
        if not d <= m <= n or points.shape[:-1] != basis.shape[:-2]:
            raise NWidthError(
                "EmpiricalInterpolation",
                got=f"points {tuple(points.shape)} for functions {tuple(basis.shape)}",
                expected=f"{d} to {n} points, one set for each of the batch",
            )
        self.basis, self.points = basis, points
        self.selected, self.errors, self.probe = selected, errors, probe
        self._chosen = chosen  # values of the selected snapshots at the points, (..., d, m)
        self._q, self._r = torch.linalg.qr(self.at(basis).mT)
        pivots = torch.diagonal(self._r, dim1=-2, dim2=-1).abs()
        if bool((pivots.amin(-1) <= torch.finfo(basis.dtype).eps * d * pivots.amax(-1)).any()):
            raise NWidthError(
                "EmpiricalInterpolation",
                got="functions that are dependent at the points",
                expected=f"{d} independent functions",
                fix="lower rank or take other points",
            )

    @classmethod
    def eim(
        cls,
        snapshots: Tensor,
        *,
        rank: int | None = None,
        rtol: float | None = None,
        norm: str = "max",
        weight: Tensor | None = None,
    ) -> EmpiricalInterpolation:
        """The greedy of EIM on snapshots (..., N, n): repeat

            i = argmax_i ||R_i||,  x = argmax_x |R_i(x)|,  q = R_i / R_i(x),  R <- R - R(x) q,

        one update of rank one a step for all snapshots at once.

        rank, rtol : stop at so many functions, or once the largest residual is below rtol times the largest snapshot;
            with neither at round-off. Of both the first holds. Over a batch the slowest member decides.
        norm : ``max`` over the points, or ``l2`` with the positive ``weight`` (n,), in which residuals are compared.

        Raises NWidthError for values that are not finite, and where snapshots are dependent before ``rank``.
        """
        found = greedy(snapshots, rank=rank, rtol=rtol, norm=norm, weight=weight)
        taken = snapshots.gather(-2, found.selected[..., None].expand(*found.selected.shape, snapshots.shape[-1]))
        chosen = _at(taken, found.points)
        return cls(
            found.basis, found.points, selected=found.selected, errors=found.errors, probe=found.probe, chosen=chosen
        )

    @classmethod
    def from_basis(cls, basis: Tensor, *, method: str = "qdeim", points: int | None = None) -> EmpiricalInterpolation:
        """For given functions (..., d, n), best orthonormal.

        method : ``deim``, each point where the next function differs most from its interpolant (Chaturantabut and
            Sorensen 2010, SIAM J. Sci. Comput. 32, algorithm 1): the pivots of an LU factorisation with partial
            pivoting (which sizes complex numbers as |Re| + |Im|). ``qdeim``, the pivots of QR with column pivoting
            (Drmac and Gugercin 2016, SIAM J. Sci. Comput. 38).
        points : more than d of them, by ``oversampled``.
        """
        if method not in METHODS:
            raise NWidthError(
                "EmpiricalInterpolation", got=f"method={method!r}", expected="one of " + ", ".join(METHODS)
            )
        _finite(basis)
        d, n = basis.shape[-2:]
        if d > n:
            raise NWidthError("EmpiricalInterpolation", got=f"{d} functions on {n} points", expected=f"{n} or fewer")
        found = cls(basis, _lu_pivots(basis) if method == "deim" else pivoted_qr(basis).pivots)
        return found if points is None else found.oversampled(points)

    @classmethod
    def pod(
        cls,
        snapshots: Tensor,
        *,
        rank: int | None = None,
        rtol: float | None = None,
        method: str = "qdeim",
        points: int | None = None,
    ) -> EmpiricalInterpolation:
        """For the POD modes of snapshots (..., N, n), with the rank rules of ``truncation_rank``."""
        modes = svd(snapshots.mT, rank=rank, rtol=rtol, method="exact").U.mT
        return cls.from_basis(modes.contiguous(), method=method, points=points)

    @property
    def rank(self) -> int:
        return self.basis.shape[-2]

    def at(self, g: Tensor) -> Tensor:
        """g(x_l), (..., N, m), of functions (..., N, n)."""
        return _at(g, self.points)

    def coefficients(self, values: Tensor) -> Tensor:
        """c (..., N, d), or (d,), from values at the points (..., N, m), or (m,)."""
        single = values.ndim == 1
        right = self._q.mH @ (values[None] if single else values).to(self._q.dtype).mT
        c = torch.linalg.solve_triangular(self._r, right, upper=True).mT
        return c[0] if single else c

    def extend(self, values: Tensor) -> Tensor:
        """I g at all points, (..., N, n), or (n,), from values at the points (..., N, m), or (m,)."""
        return self.coefficients(values) @ self.basis

    def __call__(self, g: Tensor) -> Tensor:
        """I g for functions (..., N, n)."""
        return self.extend(self.at(g))

    def weights(self, values: Tensor) -> Tensor:
        """lambda (..., N, d) with I g = sum_m lambda_m g_m over the selected snapshots: lambda = F^(-1) g(x_.),
        F_lm = g_m(x_l) (Casenave, Ern and Lelievre 2014, arXiv:1401.3684)."""
        if self._chosen is None:
            raise NWidthError(
                "EmpiricalInterpolation.weights", got="functions that are no snapshots", expected="a result of eim"
            )
        own = self.coefficients(self._chosen)  # the snapshots in the basis: lower triangular for eim
        c = self.coefficients(values[None] if values.ndim == 1 else values)
        w = torch.linalg.solve_triangular(own.tril(), c, upper=False, left=False)
        return w[0] if values.ndim == 1 else w

    def estimate(self, values: Tensor, probe: Tensor) -> Tensor:
        """|g - I g| at the one point ``probe``, (..., N): the estimator of Barrault et al. (2004), exact where g is in
        the span of one more function. ``values`` (..., N, m), ``probe`` (..., N): g at ``points`` and at ``probe``."""
        if self.probe is None:
            raise NWidthError(
                "EmpiricalInterpolation.estimate", got="no point that is held back", expected="a result of eim"
            )
        there = _at(self.basis, self.probe[..., None])
        return (probe - (self.coefficients(values) @ there)[..., 0]).abs()

    @property
    def cardinal(self) -> Tensor:
        """l_l (..., m, n): I g = sum_l g(x_l) l_l."""
        eye = torch.eye(self.points.shape[-1], dtype=self.basis.dtype, device=self.basis.device)
        return self.extend(eye.expand(*self.points.shape[:-1], *eye.shape))

    @property
    def lebesgue(self) -> Tensor:
        """Lambda = max_x sum_l |l_l(x)|, (...): |g - I g|_max <= (1 + Lambda) min_q |g - q|_max."""
        return self.cardinal.abs().sum(-2).amax(-1)

    @property
    def stability(self) -> Tensor:
        """|(P* U)^+|_2 for an orthonormal basis U of the span, (...): |g - I g|_2 <= that times min_q |g - q|_2
        (Chaturantabut and Sorensen 2010, lemma 3.2)."""
        return 1 / singular_values(self.at(_orthonormal(self.basis)))[..., self.rank - 1]

    def oversampled(self, points: int) -> EmpiricalInterpolation:
        """The same functions with so many points: least squares, less sensitive to noise and to what is outside the
        span.

        Each further point is the one that raises a lower bound of the smallest singular value of the functions at the
        points most (GappyPOD+E: Peherstorfer, Drmac and Gugercin 2020, SIAM J. Sci. Comput. 42).
        """
        n = self.basis.shape[-1]
        if not self.points.shape[-1] <= points <= n:
            raise NWidthError(
                "EmpiricalInterpolation.oversampled",
                got=f"points={points}",
                expected=f"{self.points.shape[-1]} to {n}",
            )
        u, at = _orthonormal(self.basis), self.points
        size = u.abs().square().sum(-2)
        while at.shape[-1] < points:
            here = _at(u, at)
            squares, vectors = torch.linalg.eigh(here @ here.mH)  # of the singular values, the smallest first
            least = (vectors[..., :1].mH @ u)[..., 0, :].abs().square()
            gap = (squares[..., min(1, self.rank - 1)] - squares[..., 0])[..., None]
            total = gap + size
            gain = total - (total**2 - 4 * gap * least).clamp_min(0).sqrt() if self.rank > 1 else size
            gain = gain.scatter(-1, at, -1.0)
            at = torch.cat([at, gain.argmax(-1, keepdim=True)], -1)
        chosen = None if self._chosen is None else self.coefficients(self._chosen) @ _at(self.basis, at)
        return EmpiricalInterpolation(
            self.basis, at, selected=self.selected, errors=self.errors, probe=self.probe, chosen=chosen
        )

    def state_dict(self) -> dict[str, Any]:
        names = ("basis", "points", "selected", "errors", "probe")
        return {**{k: getattr(self, k) for k in names}, "chosen": self._chosen}

    def to(self, device: torch.device) -> EmpiricalInterpolation:
        """The same on another device."""
        if self.basis.device == device:
            return self
        moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in self.state_dict().items()}
        return self.from_state(moved)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> EmpiricalInterpolation:
        return cls(**state)


def default_points(rank: int, oversampling: float, n: int) -> int:
    """ceil(oversampling * rank), at most n. NWidthError below one point a function."""
    if not oversampling >= 1:
        raise NWidthError("oversampling", got=f"{oversampling}", expected="1 or more points a function")
    return min(n, math.ceil(oversampling * rank))


def _at(g: Tensor, points: Tensor) -> Tensor:
    return torch.take_along_dim(g, points[..., None, :], -1)


def _orthonormal(basis: Tensor) -> Tensor:
    return torch.linalg.qr(basis.mT).Q.mT


def _lu_pivots(basis: Tensor) -> Tensor:
    """The rows that LU with partial pivoting of basis^T moves to the top, (..., d)."""
    swaps = torch.linalg.lu_factor_ex(basis.mT)[1].long() - 1
    order = torch.arange(basis.shape[-1], device=basis.device).expand(*swaps.shape[:-1], -1).contiguous()
    for k in range(swaps.shape[-1]):
        here, there = order[..., k : k + 1].clone(), order.gather(-1, swaps[..., k : k + 1])
        order.scatter_(-1, swaps[..., k : k + 1], here)
        order[..., k : k + 1] = there
    return order[..., : swaps.shape[-1]].contiguous()


def _finite(values: Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise NWidthError("EmpiricalInterpolation", got="NaN or infinite values", expected="finite functions")
