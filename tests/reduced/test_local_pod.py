"""Partitions of snapshots against brute force, and local bases against one global basis."""

from itertools import combinations, product

import pytest
import torch
from nwidth.backends import Grid
from nwidth.data import Dataset
from nwidth.data.metrics import relative_l2
from nwidth.errors import NWidthError
from nwidth.gp import GPRegressor
from nwidth.solvers.reduced import KNN, MLP, POD, RBF, Interpolation, LocalPOD, PODRegression
from nwidth.solvers.reduced.clustering import cell_widths, k_means, k_medoids, sine_dissimilarity

F64 = torch.float64


def gaussians(count=300, points=400, seed=0):
    """Width 0.05, centres in [0.1, 0.9], amplitudes 10^(+-2)."""
    g = torch.Generator().manual_seed(seed)
    x = torch.linspace(0, 1, points, dtype=F64)
    mu = 0.1 + 0.8 * torch.rand(count, 1, generator=g, dtype=F64)
    amplitude = 10 ** (4 * torch.rand(count, 1, generator=g, dtype=F64) - 2)
    return amplitude * torch.exp(-(((x - mu) / 0.05) ** 2)), mu


def local_errors(x, labels, rank):
    """Relative projection errors on the modes of each cell's normalised snapshots."""
    unit = x / x.norm(dim=1, keepdim=True)
    out = torch.empty(len(x), dtype=F64)
    for k in labels.unique():
        mine = unit[labels == k]
        out[labels == k] = POD(center=False).fit(mine, cap=rank).residual(mine)
    return out


def test_sines_are_projection_errors_on_lines():
    x = torch.randn(6, 5, dtype=F64, generator=torch.Generator().manual_seed(0))
    w = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0], dtype=F64)
    D = sine_dissimilarity(x, weight=w)
    for i in range(6):
        for j in range(6):
            rest = x[i] - (w * x[i] * x[j]).sum() / (w * x[j] ** 2).sum() * x[j]
            assert float(D[i, j]) == pytest.approx(
                float(((w * rest**2).sum() / (w * x[i] ** 2).sum()).sqrt()), abs=1e-7
            )
    assert torch.allclose(sine_dissimilarity(-3 * x, weight=w), D, atol=1e-7)
    x[2] = 0  # in every space, and a space that holds nothing
    D = sine_dissimilarity(x)
    assert D[2].tolist() == [0] * 6 and D[[0, 1, 3], 2].tolist() == [1] * 3


def test_k_medoids_against_all_choices():
    optimal = 0
    for seed, cells in product(range(10), (1, 2, 3)):
        x = torch.randn(14, 2, dtype=F64, generator=torch.Generator().manual_seed(seed))
        D = torch.cdist(x, x) if seed % 2 else sine_dissimilarity(x)
        found = k_medoids(D, cells)
        best = min(float(D[:, list(m)].amin(1).sum()) for m in combinations(range(14), cells))
        assert float(D[:, found.medoids].amin(1).sum()) == pytest.approx(found.cost)
        assert found.cost <= 1.2 * best
        optimal += found.cost <= best * (1 + 1e-9)
        for k in range(cells):  # no exchange helps
            for h in range(14):
                other = found.medoids.clone()
                other[k] = h
                assert float(D[:, other].amin(1).sum()) >= found.cost * (1 - 1e-8)
    assert optimal >= 24  # of 30: a local search
    with pytest.raises(NWidthError, match="15 cells"):
        k_medoids(D, 15)


def test_k_means_against_all_partitions():
    x = torch.randn(8, 2, dtype=F64, generator=torch.Generator().manual_seed(0))

    def cost(labels):
        return sum(float((x[labels == k] - x[labels == k].mean(0)).square().sum()) for k in labels.unique())

    best = min(cost(torch.tensor([*v, 0])) for v in product(range(3), repeat=7) if len({*v, 0}) == 3)
    assert cost(k_means(x, 3)) == pytest.approx(best)


def test_scale_does_not_stop_the_swaps():
    x = torch.randn(40, 3, dtype=F64, generator=torch.Generator().manual_seed(1))
    D = torch.cdist(x, x)
    assert k_medoids(1e-12 * D, 4).medoids.tolist() == k_medoids(D, 4).medoids.tolist()


def test_gaussians_in_four_cells():
    x, _ = gaussians()
    found = k_medoids(sine_dissimilarity(x), 4)
    everywhere = local_errors(x, torch.zeros(300, dtype=torch.long), 6)
    local = local_errors(x, found.labels, 6)
    assert float(everywhere.mean()) > 0.45 and float(local.mean()) <= 0.035
    # amplitudes mislead distances, not angles
    euclid = local_errors(x, k_medoids(torch.cdist(x, x), 4).labels, 6)
    assert float(euclid.mean()) > 8 * float(local.mean())
    rival = local_errors(x, k_means(x / x.norm(dim=1, keepdim=True), 4), 6)
    assert 0.5 < float(local.mean() / rival.mean()) < 2.5  # normalised, means serve as well
    widths = cell_widths(x, found, 6)
    assert torch.allclose(widths[:, 0], torch.ones(4, dtype=F64)) and bool((widths.diff(dim=1) < 1e-12).all())
    assert float(widths[:, 6].max()) == pytest.approx(float(local.max()), rel=1e-6)


def data_of_gaussians(count, seed):
    x, mu = gaussians(count, 200, seed)
    return Dataset(Grid.make((200,), "nodal"), u=(x / x.amax(1, keepdim=True))[:, None], mu=mu)


def test_the_surrogate_beats_one_basis_of_the_same_rank():
    train, val, test = data_of_gaussians(160, 0), data_of_gaussians(40, 1), data_of_gaussians(40, 2)
    local = LocalPOD(RBF(), KNN(), cells=[1, 4, 8], max_rank=6)
    log = local.fit(train, val)
    globally = PODRegression(RBF(), rank=6)
    globally.fit(train, val)
    errors = [float(relative_l2(s.predict(test.inputs()).mean, test.u, test.grid).mean()) for s in (local, globally)]
    assert errors[0] < 0.1 * errors[1] and log.selected["cells"] > 1 and log.rank == 6
    tried = {(h["cells"], h["clustering"]): h for h in log.history if "criterion" in h}
    assert {(1, "sine"), (4, "sine"), (4, "kmeans")} <= set(tried)
    h = tried[log.selected["cells"], log.selected["clustering"]]
    assert h["criterion"] == pytest.approx(h["accuracy"] * h["e_in"] + (1 - h["accuracy"]) * h["e_wrong"])
    assert h["criterion"] == min(t["criterion"] for t in tried.values())


def test_one_cell_is_pod_regression_of_normalised_snapshots():
    train, test = data_of_gaussians(60, 0), data_of_gaussians(10, 1)
    one = LocalPOD(RBF(smoothing=[0.0]), KNN(), cells=[1], rtol=None, refit=False)
    one.fit(train, train[:10])
    plain = PODRegression(RBF(smoothing=[0.0]), refit=False)
    plain.fit(train, train[:10])
    a, b = (s.predict(test.inputs()).mean for s in (one, plain))
    assert torch.allclose(a, b, atol=1e-6)


def test_standard_deviations_and_refusals():
    train = data_of_gaussians(60, 0)
    surrogate = LocalPOD(GPRegressor(steps=5), KNN(), cells=[2], max_rank=3, select="validation")
    surrogate.fit(train[:50], train[50:])
    assert bool((surrogate.predict(train[:5].inputs()).std > 0).all())
    with pytest.raises(NWidthError, match="cells"):
        LocalPOD(RBF(), KNN(), cells=[30]).fit(train, None)
    with pytest.raises(NWidthError, match="clustering"):
        LocalPOD(RBF(), KNN(), clustering="cosine")
    with pytest.raises(NWidthError, match="stay empty"):
        k_means(torch.ones(6, 2, dtype=F64), 3)


# regressors


def test_nearest_neighbours_by_brute_force():
    g = torch.Generator().manual_seed(0)
    x, y, z = (torch.randn(20, n, generator=g, dtype=F64) for n in (3, 2, 3))
    knn = KNN([3], [2.0])
    knn.fit(x, y, None, seed=0)
    for row, p in zip(z, knn.predict(z)[0]):
        distance = (x - row).norm(dim=1)
        near = distance.argsort()[:3]
        weight = distance[near] ** -2
        assert torch.allclose(p, (weight[:, None] * y[near]).sum(0) / weight.sum())
    assert torch.allclose(knn.predict(x)[0], y)
    told = knn.fit(x, y, None, seed=0)[0]["loo_rel_l2"]
    left = []
    for i in range(20):
        keep = torch.arange(20) != i
        knn.refit(x[keep], y[keep])
        left.append(knn.predict(x[i : i + 1])[0][0] - y[i])
    assert told == pytest.approx(float(torch.stack(left).norm() / y.norm()))


def test_perceptron_learns_a_smooth_map_and_is_reproducible():
    g = torch.Generator().manual_seed(0)
    x = torch.rand(200, 2, generator=g, dtype=F64)
    y = torch.stack([torch.sin(3 * x[:, 0]) * x[:, 1], x[:, 0] * x[:, 1]], 1)
    first, again = MLP(width=24, steps=200, weight_decays=[1e-6]), MLP(width=24, weight_decays=[1e-6])
    first.fit(x[:150], y[:150], None, seed=1)
    assert float((first.predict(x[150:])[0] - y[150:]).norm() / y[150:].norm()) < 5e-3
    again.load_state_dict(first.state_dict())
    assert torch.equal(again.predict(x)[0], first.predict(x)[0])


def test_interpolation_is_exact_where_it_must_be():
    g = torch.Generator().manual_seed(0)
    x = torch.rand(40, 2, generator=g, dtype=F64)
    y = 1 + x @ torch.tensor([[2.0], [-1.0]], dtype=F64)
    inside = 0.5 + 0.1 * torch.rand(10, 2, generator=g, dtype=F64)
    for method in ("linear", "rbf"):
        f = Interpolation([method])
        f.fit(x, y, None, seed=0)
        assert torch.allclose(f.predict(inside)[0], 1 + inside @ torch.tensor([[2.0], [-1.0]], dtype=F64), atol=1e-8)
        assert torch.allclose(f.predict(x)[0], y, atol=1e-8)
    f = Interpolation(["linear"])
    f.fit(x[:, :1], y, None, seed=0)
    order = x[:, 0].argsort()
    middle = (x[order[3], :1] + x[order[4], :1]) / 2
    assert torch.allclose(f.predict(middle[None])[0], (y[order[3]] + y[order[4]]) / 2)
    with pytest.raises(NWidthError, match="features"):
        Interpolation(["linear"]).fit(torch.rand(40, 6, dtype=F64), y, None, seed=0)
