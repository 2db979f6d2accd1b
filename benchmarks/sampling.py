"""Least squares from few points: Runge's function on m = 20 Legendre polynomials from n = 2m points.

usage: python benchmarks/sampling.py [draws, 2000]

Printed for independent points, volume sampling and repeated determinantal processes: the root mean square of the error
over that of the best approximation, its standard error, the range of the same over sets of 100 draws, and the median.
"""

import sys

import numpy as np
import torch
from nwidth.solvers.reduced import (
    leverage_sampling,
    orthonormal_functions,
    repeated_dpp,
    volume_sampling,
    weighted_least_squares,
)


def main() -> None:
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    n, m = 2001, 20
    x = torch.cos(torch.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n)
    weights = (1 - x**2).sqrt() / (1 - x**2).sqrt().sum()
    phi = orthonormal_functions(torch.from_numpy(np.polynomial.legendre.legvander(x.numpy(), m - 1)), weights)
    f = 1 / (1 + 25 * x**2)
    best = float((weights * (f - phi @ (phi.mT @ (weights * f))).square()).sum())
    g = torch.Generator().manual_seed(0)
    for draw in (leverage_sampling, volume_sampling, repeated_dpp):
        square = np.empty(draws)
        for i in range(draws):
            at = draw(phi, weights, 2 * m, g)
            left = f - phi @ weighted_least_squares(phi, at, f[at])
            square[i] = float((weights * left.square()).sum()) / best
        rms = square.mean() ** 0.5
        hundreds = np.sqrt(square[: draws // 100 * 100].reshape(-1, 100).mean(1)) if draws >= 100 else [rms]
        print(
            f"{draw.__name__:18s} rms/best {rms:.3g} +- {square.std() / draws**0.5 / (2 * rms):.2g}, of 100 draws "
            f"{min(hundreds):.3g} to {max(hundreds):.3g}; median {np.median(square) ** 0.5:.3g}"
        )


if __name__ == "__main__":
    main()
