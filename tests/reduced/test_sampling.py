"""Determinantal and volume sampling against their exact laws; active subspaces of a ridge function."""

from itertools import combinations

import numpy as np
import pytest
import torch
from nwidth.errors import NWidthError
from nwidth.solvers.reduced import (
    GaussianRBFNetwork,
    leverage_sampling,
    orthonormal_functions,
    projection_dpp,
    repeated_dpp,
    volume_sampling,
    weighted_least_squares,
)

F64 = torch.float64


def test_the_process_has_its_determinantal_law():
    g = torch.Generator().manual_seed(0)
    weights = torch.tensor([0.1, 0.3, 0.2, 0.25, 0.15], dtype=F64)
    phi = orthonormal_functions(torch.randn(5, 2, generator=g, dtype=F64), weights)
    v = phi * weights.sqrt()[:, None]
    exact = {s: float(torch.linalg.det(v[list(s)]) ** 2) for s in combinations(range(5), 2)}
    assert sum(exact.values()) == pytest.approx(1)  # Cauchy-Binet
    draws = 4000
    count = dict.fromkeys(exact, 0)
    for _ in range(draws):
        count[tuple(sorted(projection_dpp(phi, weights, g).tolist()))] += 1
    for s, p in exact.items():
        assert abs(count[s] / draws - p) < 4.5 * (p * (1 - p) / draws) ** 0.5 + 1e-12


def test_runge_by_least_squares():
    n, m = 4001, 20
    x = torch.cos(torch.pi * (torch.arange(n, dtype=F64) + 0.5) / n)
    weights = (1 - x**2).sqrt() / (1 - x**2).sqrt().sum()
    phi = orthonormal_functions(torch.from_numpy(np.polynomial.legendre.legvander(x.numpy(), m - 1)), weights)
    f = 1 / (1 + 25 * x**2)
    best = float((weights * (f - phi @ (phi.mT @ (weights * f))).square()).sum())
    g = torch.Generator().manual_seed(0)
    ratio = {}
    for draw in (leverage_sampling, volume_sampling, repeated_dpp):
        errors = []
        for _ in range(100):
            at = draw(phi, weights, 2 * m, g)
            left = f - phi @ weighted_least_squares(phi, at, f[at])
            errors.append(float((weights * left.square()).sum()))
        ratio[draw.__name__] = (np.mean(errors) / best) ** 0.5
    assert ratio["repeated_dpp"] <= 1.7 and ratio["volume_sampling"] <= 2.4
    assert ratio["leverage_sampling"] > 4 * ratio["volume_sampling"]


def test_sampling_refuses():
    weights = torch.full((10,), 0.1, dtype=F64)
    with pytest.raises(NWidthError, match="orthonormal"):
        projection_dpp(torch.rand(10, 3, dtype=F64), weights, torch.Generator())
    with pytest.raises(NWidthError, match="dependent"):
        orthonormal_functions(torch.ones(10, 2, dtype=F64), weights)


def test_a_ridge_function_has_one_active_direction():
    g = torch.Generator().manual_seed(0)
    a = torch.zeros(10, dtype=F64)
    a[:3] = torch.tensor([2.0, 1.0, -1.0]) / 6**0.5
    x = 2 * torch.rand(1000, 10, generator=g, dtype=F64) - 1
    network = GaussianRBFNetwork().fit(x, torch.sin(4 * x @ a))
    found = network.active_subspace()
    assert float((found.directions[:, 0] @ a).abs()) > 0.999
    assert float(found.eigenvalues[1] / found.eigenvalues[0]) < 0.01
    z = 2 * torch.rand(300, 10, generator=g, dtype=F64) - 1
    assert float((network.predict(z)[:, 0] - torch.sin(4 * z @ a)).norm() / torch.sin(4 * z @ a).norm()) < 0.02
    assert found.importance.argsort(descending=True)[0] == 0 and float(found.importance[3:].max()) < 0.02
