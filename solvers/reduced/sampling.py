"""Where to evaluate a function that is to be projected on a given space: determinantal and volume sampling."""

from __future__ import annotations

import torch
from torch import Tensor

from ...backends.svd import svd
from ...errors import NWidthError


def orthonormal_functions(values: Tensor, weights: Tensor) -> Tensor:
    """The same span, orthonormal in <f, g> = sum_i w_i f(x_i) g(x_i); values (N, m) at the points x_i, weights (N,).

    >>> x = torch.linspace(-1, 1, 50, dtype=torch.float64); w = torch.full((50,), 0.02, dtype=torch.float64)
    >>> phi = orthonormal_functions(x[:, None] ** torch.arange(4), w)
    >>> torch.allclose(phi.mT @ (w[:, None] * phi), torch.eye(4, dtype=torch.float64))
    True
    """
    if bool((weights <= 0).any()):
        raise NWidthError("orthonormal_functions", got="weights that are not positive", expected="w > 0")
    U, s, _ = svd(values, weight=weights, method="exact")
    if U.shape[1] < values.shape[1] or float(s[-1]) < 1e-12 * float(s[0]):
        raise NWidthError("orthonormal_functions", got=f"{values.shape[1]} dependent functions", expected="a basis")
    return U


def projection_dpp(phi: Tensor, weights: Tensor, generator: torch.Generator) -> Tensor:
    """m indices of points from the projection determinantal process of m orthonormal functions phi (N, m).

    P(x_1 .. x_m) is proportional to det[phi(x_i)]^2 prod w(x_i): points repel one another as far as the functions
    can tell. Drawn one by one: with P the projection on what the chosen points see, x_k is drawn with probability
    w |phi(x) - P phi(x)|^2 / (m - k). O(N m^2).

    Source: Hough, Krishnapur, Peres and Virag, Probab. Surv. 3 (2006), algorithm 18; Nouy and Michel,
    arXiv:2312.14057, section 3.
    """
    v = _rooted(phi, weights)
    n, m = v.shape
    left = v.square().sum(1)
    seen = v.new_zeros(n, m)
    chosen: list[int] = []
    for k in range(m):
        i = int(torch.multinomial(left.clamp_min(0), 1, generator=generator))
        column = (v @ v[i] - seen[:, :k] @ seen[i, :k]) / left[i].sqrt()
        seen[:, k] = column
        left = left - column.square()
        chosen.append(i)
        left[chosen] = 0
    return torch.tensor(chosen)


def leverage_sampling(phi: Tensor, weights: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n independent indices with probabilities w |phi|^2 / m: the optimal ones for independent points.

    Source: Cohen and Migliorati, SMAI J. Comput. Math. 3 (2017), section 2.
    """
    return torch.multinomial(_rooted(phi, weights).square().sum(1), n, replacement=True, generator=generator)


def volume_sampling(phi: Tensor, weights: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n >= m indices with density det(Gram of the points) times that of independent leverage sampling.

    One draw of ``projection_dpp`` and n - m of ``leverage_sampling`` have this law. The least-squares projection on
    such points, with ``least_squares_weights``, is unbiased, and stable from n = m on.

    Source: Derezinski, Warmuth and Hsu, JMLR 23 (2022), theorem 2.4; Nouy and Michel, arXiv:2312.14057, section 4.
    """
    m = phi.shape[1]
    if n < m:
        raise NWidthError("volume_sampling", got=f"n={n} for {m} functions", expected=f"n >= {m}")
    more = [leverage_sampling(phi, weights, n - m, generator)] if n > m else []
    return torch.cat([projection_dpp(phi, weights, generator), *more])


def repeated_dpp(phi: Tensor, weights: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n indices, a multiple of m, from n / m independent draws of ``projection_dpp``."""
    m = phi.shape[1]
    if n < m or n % m:
        raise NWidthError("repeated_dpp", got=f"n={n} for {m} functions", expected=f"a multiple of {m}")
    return torch.cat([projection_dpp(phi, weights, generator) for _ in range(n // m)])


def least_squares_weights(phi: Tensor, chosen: Tensor) -> Tensor:
    """m / |phi(x)|^2 at chosen points: the density of the measure over that of the samples."""
    return phi.shape[1] / phi[chosen].square().sum(1)


def weighted_least_squares(phi: Tensor, chosen: Tensor, values: Tensor) -> Tensor:
    """c (m,) or (m, k) minimising sum_i w_i |values_i - phi(x_i) c|^2 over the chosen points.

    >>> x = torch.linspace(-1, 1, 101, dtype=torch.float64); w = torch.full((101,), 1 / 101, dtype=torch.float64)
    >>> phi = orthonormal_functions(x[:, None] ** torch.arange(5), w)
    >>> at = volume_sampling(phi, w, 5, torch.Generator().manual_seed(0))
    >>> torch.allclose(phi @ weighted_least_squares(phi, at, x[at] ** 4), x**4)
    True
    """
    root = least_squares_weights(phi, chosen).sqrt()[:, None]
    rhs = values if values.ndim == 2 else values[:, None]
    c = torch.linalg.lstsq(root * phi[chosen], root * rhs).solution
    return c if values.ndim == 2 else c[:, 0]


def _rooted(phi: Tensor, weights: Tensor) -> Tensor:
    v = phi * weights.sqrt()[:, None]
    gap = (v.mT @ v - torch.eye(phi.shape[1], dtype=phi.dtype)).abs().max()
    if float(gap) > 1e-6:
        raise NWidthError(
            "sampling",
            got=f"functions that are orthonormal to {float(gap):.0e}",
            expected="1e-6",
            fix="pass them through orthonormal_functions",
        )
    return v
