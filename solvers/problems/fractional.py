"""Steady fractional diffusion on an interval: the Riesz derivative, or fractional Laplacian, in one dimension."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from scipy.interpolate import make_interp_spline
from scipy.special import eval_jacobi, gammaln, roots_jacobi
from torch import Tensor

from ...backends import Axis, Grid
from ...data import Dataset
from ...errors import NWidthError
from ..intervals import interval
from ..parameters import Range, check_parameters, draw_parameters, parameter, varying
from ..problem import Problem, lead, sizes
from ..random_fields import GaussianField, stream
from ..riesz import RieszCollocation

METHODS = ("jacobi", "bspline")


@dataclass(frozen=True, kw_only=True)
class FractionalDiffusion(Problem):
    """-kappa d^alpha u/d|x|^alpha = f on (0, 1), u = 0 outside, 1 < alpha < 2; equally kappa (-Lap)^(alpha/2) u = f.

    Parameters
    ----------
    alpha, kappa : the order and the diffusivity, one for all samples, or pairs [least, most]: then each sample has
        its own, log-uniform between them, in columns of mu.
    forcing : the law of f, the input field a.
    method : ``jacobi`` or ``bspline``. The solution for a smooth f behaves like dist^(alpha/2) at the ends.
        ``jacobi`` has this factor built in: u = (1 - y^2)^(alpha/2) sum_n u_n P_n(y), y = 2x - 1, with Jacobi
        polynomials P_n^(alpha/2, alpha/2), for which the operator is diagonal with 2^alpha Gamma(n+1+alpha)/n! (Mao,
        Chen and Shen 2016, Appl. Numer. Math. 106); it converges faster than any power of 1/modes for smooth f.
        ``bspline`` is the collocation of ``RieszCollocation``, with fast products: of the orders given there for
        smooth u, but of order one for u with the factor.
    modes : number of polynomials of ``jacobi``.
    degree, cells : degree of the splines and number of intervals of ``bspline``, 2 degree + 2 or more.

    f and u are values on a nodal grid, ends included. The discretisation does not depend on that grid: ``simulate``
    evaluates f where it is needed, and ``solve`` reads a as its interpolating spline of degree five.

    >>> problem = FractionalDiffusion(alpha=[1.2, 1.8])
    >>> data = problem.simulate([0, 1], seed=0, grid=problem.grid(17))
    >>> tuple(data.a.shape), tuple(data.u.shape), data.names["mu"]
    ((2, 1, 17), (2, 1, 17), ('alpha',))
    """

    ranges: ClassVar[Mapping[str, str]] = {"alpha": "positive", "kappa": "positive"}

    alpha: Range = 1.5
    kappa: Range = 1.0
    forcing: GaussianField = field(default_factory=lambda: GaussianField(scale=20.0, tau=3.0, alpha=2.0, modes=32))
    method: str = "jacobi"
    modes: int = 128
    degree: int = 3
    cells: int = 1024

    def __post_init__(self):
        check_parameters(self, self.ranges)
        interval("FractionalDiffusion", "alpha", self.alpha, 1.0, 2.0)
        if self.method not in METHODS:
            raise NWidthError("FractionalDiffusion", got=f"method={self.method!r}", expected=" or ".join(METHODS))
        if not (self.modes >= 2 and self.degree >= 2 and self.cells >= 2 * self.degree + 2):
            raise NWidthError(
                "FractionalDiffusion",
                got=f"modes={self.modes}, degree={self.degree}, cells={self.cells}",
                expected="modes >= 2, degree >= 2, cells >= 2 degree + 2",
            )

    @property
    def reads(self) -> tuple[str, ...]:
        return ("a", "mu") if varying(self, tuple(self.ranges)) else ("a",)

    def grid(self, resolution: int | Sequence[int]) -> Grid:
        return Grid.make(sizes(resolution, 1, 6, "FractionalDiffusion"), "nodal")

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        streams = [stream(seed, i) for i in indices]
        mu = draw_parameters(self, tuple(self.ranges), streams)
        names: dict[str, tuple[str, ...]] = {"a": ("f",), "u": ("u",)}
        if mu is not None:
            names["mu"] = varying(self, tuple(self.ranges))
        f = self.forcing.sample(streams, grid)
        return Dataset(grid, a=f, mu=mu, names=names, problem=self.config())

    def simulate(self, indices: Sequence[int], seed: int, grid: Grid, *, device: str = "cpu") -> Dataset:
        inputs = self.sample(indices, seed, grid).to(device)

        def forcing(rows: list[int], x: np.ndarray) -> Tensor:
            axis = Axis("listed", len(x) + 2, points=(0.0, *x.tolist(), 1.0))
            return self.sample([indices[i] for i in rows], seed, Grid((axis,))).a[:, 0, 1:-1]  # type: ignore[index]

        return self._solve(inputs, forcing, torch.float64)

    def solve(self, inputs: Dataset, *, dtype: torch.dtype = torch.float64) -> Dataset:
        """``inputs`` with u (N, 1, n). Raises NWidthError for missing or unusable inputs."""
        self.need(inputs)
        inputs = inputs.load()
        grid, a = inputs.grid, inputs.a
        assert isinstance(a, Tensor)
        line = isinstance(grid, Grid) and grid.ndim == 1 and grid.shape[0] >= 6
        ends = grid.coordinates()[0, [0, -1]].tolist()
        if not line or a.shape[1] != 1 or max(abs(ends[0]), abs(ends[1] - 1)) > 1e-6:
            raise NWidthError(
                "FractionalDiffusion",
                got=f"{a.shape[1]} channels on {grid.describe()}",
                expected="one forcing at 6 points or more of [0, 1], both ends among them",
                fix="set data.kind=nodal",
            )
        if not bool(torch.isfinite(a).all()):
            raise NWidthError("FractionalDiffusion.solve", got="NaN or infinite values in a", expected="finite values")
        x = np.clip(grid.coordinates()[0].numpy(), 0.0, 1.0)

        def forcing(rows: list[int], nodes: np.ndarray) -> Tensor:
            given = a[rows, 0].double().cpu().numpy()
            return torch.from_numpy(make_interp_spline(x, given, k=5, axis=1)(nodes))

        return self._solve(inputs, forcing, dtype)

    def orders(self, inputs: Dataset) -> Tensor:
        """alpha of each sample, float64 (N,); NWidthError where one is not between 1 and 2."""
        alpha = torch.as_tensor(parameter(self, self.ranges, "alpha", inputs), dtype=torch.float64).cpu()
        if not bool(((alpha > 1) & (alpha < 2)).all()):
            raise NWidthError("FractionalDiffusion", got="alpha outside (1, 2) in mu", expected="1 < alpha < 2")
        return alpha.expand(len(inputs))

    def _solve(self, inputs: Dataset, forcing, dtype: torch.dtype) -> Dataset:
        a, grid = lead(inputs), inputs.grid
        x = grid.coordinates()[0].clamp(0.0, 1.0)
        alphas = self.orders(inputs)
        u = a.new_empty(len(inputs), 1, *grid.shape, dtype=dtype)
        for alpha in alphas.unique().tolist():
            rows = (alphas == alpha).nonzero()[:, 0].tolist()
            if self.method == "jacobi":
                nodes, matrix = jacobi_solution(alpha, self.modes, x)
                f = forcing(rows, nodes).to(device=a.device, dtype=dtype)
                u[rows, 0] = f @ matrix.to(f).T
            else:
                operator = _collocation(self.cells, self.degree, alpha)
                f = forcing(rows, operator.greville[1:-1].numpy()).to(device=a.device, dtype=dtype)
                u[rows, 0] = operator.evaluate(operator.solve(f), x)
        kappa = parameter(self, self.ranges, "kappa", inputs)
        u = u / (kappa.to(u)[:, None, None] if isinstance(kappa, Tensor) else kappa)
        return replace(inputs, u=u.to(a.dtype), problem=self.config())


@lru_cache(maxsize=4)
def _collocation(cells: int, degree: int, alpha: float) -> RieszCollocation:
    return RieszCollocation(cells, degree, alpha)


def jacobi_solution(alpha: float, modes: int, x: Tensor) -> tuple[np.ndarray, Tensor]:
    """Points in (0, 1), and the matrix (len(x), modes) from values of f there to those of u at x, kappa = 1.

    f is projected on the first polynomials by a Gauss-Jacobi rule of ``modes`` points.

    >>> nodes, matrix = jacobi_solution(1.5, 8, torch.tensor([0.5], dtype=torch.float64))
    >>> round(float(matrix.sum()), 6)  # f = 1: u = (x - x^2)^(3/4) / Gamma(5/2)
    0.265962
    """
    half = alpha / 2
    y, weights = roots_jacobi(modes, half, half)
    n = np.arange(modes)[:, None]
    at_nodes = eval_jacobi(n, half, half, y)
    squares = at_nodes**2 @ weights
    eigenvalues = np.exp(alpha * math.log(2) + gammaln(n[:, 0] + 1 + alpha) - gammaln(n[:, 0] + 1))
    z = 2 * x.numpy() - 1
    at_x = (1 - z**2) ** half * eval_jacobi(n, half, half, z)
    return (1 + y) / 2, torch.from_numpy((at_x / (squares * eigenvalues)[:, None]).T @ (at_nodes * weights))
