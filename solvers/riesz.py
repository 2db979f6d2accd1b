"""The Riesz fractional derivative on an interval, by collocation of B-splines: matrices that are nearly Toeplitz."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.interpolate import BSpline
from scipy.special import gamma, roots_jacobi, zeta
from torch import Tensor

from ..backends.transforms import SineBasis, Transform, convolve
from ..errors import NWidthError
from .elliptic import conjugate_gradients

NODES = 40  # of Gauss rules on one knot interval


def left_derivative(knots: np.ndarray, x: np.ndarray, alpha: float) -> np.ndarray:
    """The left Riemann-Liouville derivative of order alpha in (1, 2) at x of the B-spline B with these p + 2 knots.

    The first knot is 0, of multiplicity p at most, and neighbours are 0 or 1 apart. Two equal forms, by Gauss rules
    on each knot interval. Up to one interval beyond the support

        D B(x) = B'(0) x^(1-alpha) / Gamma(2-alpha) + (1/Gamma(2-alpha)) int_0^x B''(s) (x-s)^(1-alpha) ds

    where a Gauss-Jacobi rule, exact for the polynomial B'', takes the interval that ends at x. Farther away

        D B(x) = (1/Gamma(-alpha)) int B(s) (x-s)^(-1-alpha) ds

    whose integrand has one sign: sums of truncated powers, the closed form, lose a factor x^(p+1) there.
    """
    p = len(knots) - 2
    spline = BSpline.basis_element(knots, extrapolate=False)
    ends = np.unique(knots)
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    jacobi_nodes, jacobi_weights = roots_jacobi(p // 2 + 1, 1 - alpha, 0)
    slope = float(spline(0.0, nu=1)) if np.count_nonzero(knots == 0) == p else 0.0
    out = np.zeros(len(x))
    far = x >= ends[-1] + 1
    s = ((ends[:-1, None] + ends[1:, None]) / 2 + np.diff(ends)[:, None] / 2 * nodes).ravel()
    w = (np.diff(ends)[:, None] / 2 * weights).ravel() * spline(s)
    out[far] = (x[far, None] - s) ** (-1 - alpha) @ w / gamma(-alpha)
    for i in np.flatnonzero((x > 0) & ~far):
        total = slope * x[i] ** (1 - alpha)
        for lo, hi in zip(ends[:-1], np.minimum(ends[1:], x[i])):
            if lo >= hi:
                break
            half = (hi - lo) / 2
            if hi == x[i]:
                total += half ** (2 - alpha) * jacobi_weights @ spline(lo + half * (1 + jacobi_nodes), nu=2)
            else:
                s = lo + half * (1 + nodes)
                total += half * weights @ (spline(s, nu=2) * (x[i] - s) ** (1 - alpha))
        out[i] = total / gamma(2 - alpha)
    return out


def symbol(theta: np.ndarray, degree: int, alpha: float) -> np.ndarray:
    """The function on (0, pi] whose Fourier coefficients are the diagonals of the Toeplitz part, for unit spacing:

        f(theta) = sum_l |theta + 2 pi l|^alpha sinc((theta + 2 pi l)/2)^(p+1),   sinc(x) = sin(x)/x,

    summed by Hurwitz zeta functions. Positive, with a zero of order alpha at 0 (Mazza, Donatelli, Manni and
    Speleers 2023, Numer. Linear Algebra Appl. 30, e2462).
    """
    s, q = degree + 1 - alpha, theta / (2 * math.pi)
    if degree % 2:
        total = zeta(s, q) + zeta(s, 1 - q)
    else:
        total = 2**-s * (zeta(s, q / 2) - zeta(s, (q + 1) / 2) + zeta(s, (1 - q) / 2) - zeta(s, 1 - q / 2))
    return (2 * np.sin(theta / 2)) ** (degree + 1) * total / (2 * math.pi) ** s


class RieszCollocation:
    """-d^alpha/d|x|^alpha on (0, 1), u = 0 outside, on the B-splines of degree p on n equal intervals:

        A_ij = -D B_j(x_i),   D = -(D_left + D_right) / (2 cos(pi alpha/2)),

    at the Greville points x_i, the means of p successive knots; knots at 0 and 1 are repeated p + 1 times and the
    two functions that do not vanish there are left out, so i, j = 1 .. n + p - 2. Between cardinal B-splines and
    points of equal distance A is Toeplitz and symmetric; the 2(p - 1) columns of the others and the 2(p - 2) rows
    of the points near the ends differ:

        A = T + U V^T,   of rank 4p - 6 at most.

    ``apply`` multiplies by FFT in O(n log n). ``solve`` takes T by conjugate gradients, preconditioned by the sine
    transform with the symbol of T, and the rest by the Woodbury formula. For smooth u that vanish at the ends to
    high order the error is O(h^(p+2-alpha)) for even and O(h^(p+1-alpha)) for odd p, as Mazza et al. (2023) found
    in numerical studies; for others it is that of their singularities (see ``FractionalDiffusion``).

    >>> operator = RieszCollocation(64, 3, 1.5)
    >>> f = torch.ones(1, operator.size, dtype=torch.float64)
    >>> bool(torch.allclose(operator.apply(operator.solve(f)), f, atol=1e-8))
    True
    """

    def __init__(self, intervals: int, degree: int, alpha: float):
        if not (1 < alpha < 2 and degree >= 2 and intervals >= 2 * degree + 2):
            raise NWidthError(
                "RieszCollocation",
                got=f"alpha={alpha}, degree={degree} on {intervals} intervals",
                expected="1 < alpha < 2, degree >= 2 and 2 degree + 2 intervals or more",
            )
        n, p = intervals, degree
        self.intervals, self.degree, self.alpha, self.size = n, p, alpha, n + p - 2
        knots = np.concatenate([np.zeros(p), np.arange(n + 1.0), np.full(p, float(n))])
        every = np.array([knots[j + 1 : j + p + 1].mean() for j in range(n + p)])
        x = every[1:-1]
        self.knots = knots / n
        self.greville = torch.from_numpy(every / n)  # with both ends
        scale = -(float(n) ** alpha) / (2 * abs(math.cos(math.pi * alpha / 2)))
        cardinal = np.arange(p + 2.0)

        def psi(offset: np.ndarray) -> np.ndarray:
            flat, where = np.unique(offset.ravel().round(9), return_inverse=True)
            return left_derivative(cardinal, flat, alpha)[where].reshape(offset.shape)

        shifts = np.arange(self.size)
        t = scale * (psi(shifts + (p + 1) / 2) + psi((p + 1) / 2 - shifts))
        toeplitz = t[np.abs(np.subtract.outer(shifts, np.r_[: p - 1, : p - 2]))]

        def column(j: int) -> np.ndarray:
            """The left derivative of B_j."""
            first = knots[j]
            return left_derivative(knots[j : j + p + 2] - first, x - first, alpha)

        columns = [scale * (column(j) + column(n + p - 1 - j)[::-1]) for j in range(1, p)]
        starts = np.arange(n - p, dtype=float)  # of the supports of the cardinal functions
        low, high = x[: p - 2, None] - starts, x[::-1][: p - 2, None] - starts
        rows = scale * (psi(low) + psi(high)[:, ::-1])
        left = np.stack(columns, 1) - toeplitz[:, : p - 1]
        below = np.zeros((p - 2, self.size))
        below[:, p - 1 : self.size - p + 1] = rows - toeplitz[p - 1 : self.size - p + 1, p - 1 :].T
        unit = np.eye(self.size)
        self.u = torch.from_numpy(
            np.concatenate([left, left[::-1], unit[:, : p - 2], unit[:, ::-1][:, : p - 2]], 1).copy()
        )
        self.v = torch.from_numpy(
            np.concatenate([unit[:, : p - 1], unit[:, ::-1][:, : p - 1], below.T, below.T[::-1]], 1).copy()
        )
        self.diagonals = torch.from_numpy(t)
        angles = math.pi * np.arange(1, self.size + 1) / (self.size + 1)
        self.eigenvalues = torch.from_numpy(float(n) ** alpha * symbol(angles, p, alpha))

    def toeplitz(self, c: Tensor) -> Tensor:
        """T c for coefficients c (B, size)."""
        m, t = self.size, self.diagonals.to(c)
        length = 2 ** math.ceil(math.log2(2 * m))
        gap = t.new_zeros(length - 2 * m + 1)
        kernel = torch.cat([t, gap, t[1:].flip(0)])
        padded = torch.cat([c, c.new_zeros(len(c), length - m)], 1)
        return convolve(kernel[None], padded, 1)[:, :m]

    def apply(self, c: Tensor) -> Tensor:
        """A c: -d^alpha u/d|x|^alpha at the inner Greville points from the coefficients of u, both (B, size)."""
        return self.toeplitz(c) + (c @ self.v.to(c)) @ self.u.to(c).T

    def solve(self, f: Tensor, rtol: float = 1e-12, iterations: int = 200) -> Tensor:
        """Coefficients c with A c = f, both (B, size).

        The residual relative to f is at most rtol, or what round-off allows: 100 eps n^alpha. Raises NWidthError
        where it is not.
        """
        transform = Transform([SineBasis("interior")])
        inverse = (1 / self.eigenvalues).to(f)
        u, v = self.u.to(f), self.v.to(f)
        eps = torch.finfo(f.dtype).eps

        def precondition(r: Tensor) -> Tensor:
            return transform.inverse(inverse * transform.forward(r), (self.size,))

        def inner(g: Tensor) -> Tensor:
            return conjugate_gradients(self.toeplitz, g, precondition, max(1e-2 * rtol, 10 * eps), iterations)[0]

        spread = inner(u.T.contiguous())  # T^(-1) U, by rows
        capacity = torch.eye(u.shape[1], dtype=f.dtype, device=f.device) + spread @ v
        c, rest = torch.zeros_like(f), f
        size = f.norm(dim=1).clamp_min(torch.finfo(f.dtype).tiny)
        allowed = max(rtol, 100 * eps * self.intervals**self.alpha)
        worst = math.inf
        for _ in range(4):
            y = inner(rest)
            c = c + y - torch.linalg.solve(capacity.T, (y @ v).T).T @ spread
            rest = f - self.apply(c)
            worst = float((rest.norm(dim=1) / size).max())
            if worst <= allowed:
                return c
        raise NWidthError(
            "RieszCollocation.solve",
            got=f"a relative residual of {worst:.1e} for degree {self.degree} on {self.intervals} intervals",
            expected=f"{allowed:.1e}",
            fix="raise iterations or rtol, or lower degree",
        )

    def matrix(self) -> Tensor:
        """A as a dense matrix (size, size), float64."""
        return self.apply(torch.eye(self.size, dtype=torch.float64)).T

    def evaluate(self, c: Tensor, x: Tensor) -> Tensor:
        """The spline with coefficients c (B, size) at points x (m,) of [0, 1]: (B, m)."""
        table = BSpline.design_matrix(x.double().cpu().numpy(), self.knots, self.degree).tocsr()
        index = torch.from_numpy(table.indices.astype(np.int64)).view(len(x), -1).to(c.device)
        weight = torch.from_numpy(table.data).view(len(x), -1).to(c)
        zero = c.new_zeros(len(c), 1)
        return (torch.cat([zero, c, zero], 1)[:, index] * weight).sum(-1)
