"""Determinantal and volume sampling against their exact laws; active subspaces of a ridge function."""

from itertools import combinations, product

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
    draws = 2000
    count = dict.fromkeys(exact, 0)
    for _ in range(draws):
        count[tuple(sorted(projection_dpp(phi, weights, g).tolist()))] += 1
    for s, p in exact.items():
        assert abs(count[s] / draws - p) < 4.5 * (p * (1 - p) / draws) ** 0.5 + 1e-12


def test_volume_sampling_is_unbiased_and_has_the_law_of_its_draws():
    """E c = exact projection, by the sum over all triples; one DPP and an independent point have this law."""
    g = torch.Generator().manual_seed(1)
    weights = torch.tensor([0.1, 0.3, 0.2, 0.4], dtype=F64)
    phi = orthonormal_functions(torch.randn(4, 2, generator=g, dtype=F64), weights)
    f = torch.randn(4, generator=g, dtype=F64)
    leverage = weights * phi.square().sum(1) / 2
    law, mean = {}, torch.zeros(2, dtype=F64)
    for at in product(range(4), repeat=3):
        rows = torch.tensor(at)
        gram = (phi[rows].mT * (2 / phi[rows].square().sum(1))) @ phi[rows] / 3
        p = float(torch.linalg.det(gram) * leverage[rows].prod())
        if p > 1e-14:
            law[at] = p
            mean += p * weighted_least_squares(phi, rows, f[rows])
    total = sum(law.values())
    assert torch.allclose(mean / total, phi.mT @ (weights * f), atol=1e-10)
    draws, count = 1500, {}
    for _ in range(draws):
        key = tuple(sorted(volume_sampling(phi, weights, 3, g).tolist()))
        count[key] = count.get(key, 0) + 1
    exact = {}
    for at, p in law.items():
        exact[tuple(sorted(at))] = exact.get(tuple(sorted(at)), 0) + p / total
    assert set(count) <= set(exact)
    for key, p in exact.items():
        assert abs(count.get(key, 0) / draws - p) < 4.5 * (p * (1 - p) / draws) ** 0.5 + 1e-12


def test_runge_by_least_squares():
    n, m, draws = 801, 20, 100  # benchmarks/sampling.py: the same over 2000 draws
    x = torch.cos(torch.pi * (torch.arange(n, dtype=F64) + 0.5) / n)
    weights = (1 - x**2).sqrt() / (1 - x**2).sqrt().sum()
    phi = orthonormal_functions(torch.from_numpy(np.polynomial.legendre.legvander(x.numpy(), m - 1)), weights)
    f = 1 / (1 + 25 * x**2)
    best = float((weights * (f - phi @ (phi.mT @ (weights * f))).square()).sum())
    g = torch.Generator().manual_seed(0)
    ratio = {}
    for draw in (leverage_sampling, volume_sampling, repeated_dpp):
        errors = []
        for _ in range(draws):
            at = draw(phi, weights, 2 * m, g)
            left = f - phi @ weighted_least_squares(phi, at, f[at])
            errors.append(float((weights * left.square()).sum()) / best)
        ratio[draw.__name__] = np.mean(errors) ** 0.5, np.median(errors) ** 0.5
    assert ratio["repeated_dpp"][0] <= 1.5 and ratio["repeated_dpp"][1] <= 1.3
    assert ratio["volume_sampling"][0] <= 2.3 and ratio["volume_sampling"][1] <= 1.6
    assert ratio["leverage_sampling"][0] > 3 * ratio["volume_sampling"][0]
    assert ratio["leverage_sampling"][1] > 1.5 * ratio["volume_sampling"][1]


def test_sampling_refuses():
    weights = torch.full((10,), 0.1, dtype=F64)
    with pytest.raises(NWidthError, match="orthonormal"):
        projection_dpp(torch.rand(10, 3, dtype=F64), weights, torch.Generator())
    with pytest.raises(NWidthError, match="dependent"):
        orthonormal_functions(torch.ones(10, 2, dtype=F64), weights)


@pytest.mark.parametrize(("p", "seed"), [(10, 0), (6, 1)])
def test_a_ridge_function_has_one_active_direction(p, seed):
    """sin(4 a.x); the second direction and dimension played no part in the choice of the defaults."""
    g = torch.Generator().manual_seed(seed)
    a = torch.zeros(p, dtype=F64)
    a[:3] = torch.tensor([2.0, 1.0, -1.0]) / 6**0.5
    if seed:
        a = torch.nn.functional.normalize(torch.randn(p, generator=g, dtype=F64), dim=0)
    x = 2 * torch.rand(60 * p, p, generator=g, dtype=F64) - 1
    network = GaussianRBFNetwork(centers=100).fit(x, torch.sin(4 * x @ a))
    found = network.active_subspace()
    assert float((found.directions[:, 0] @ a).abs()) > 0.999
    assert float(found.eigenvalues[1] / found.eigenvalues[0]) < 0.01
    z = 2 * torch.rand(300, p, generator=g, dtype=F64) - 1
    assert float((network.predict(z)[:, 0] - torch.sin(4 * z @ a)).norm() / torch.sin(4 * z @ a).norm()) < 0.02
    assert int(found.importance.argmax()) == int(a.abs().argmax())
