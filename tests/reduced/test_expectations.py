"""What the defaults must reach, or refuse, on data of the kinds that users bring."""

from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from nwidth.backends import Axis, Grid, Mesh
from nwidth.data import Dataset, open_dataset
from nwidth.data.metrics import relative_l2
from nwidth.errors import NWidthError
from nwidth.gp import GPRegressor
from nwidth.solvers import ThermalBlock
from nwidth.solvers.reduced import POD, RBF, CertifiedReducedBasis, Interpolation, MorphingPOD, PODRegression
from nwidth.solvers.reduced.affine import AffineReductor, greedy
from scipy.spatial import Delaunay

F64 = torch.float64


def error(surrogate, train, test):
    surrogate.fit(train, None)
    return float(relative_l2(surrogate.predict(test.inputs()).mean, test.u, test.grid).mean())


def profile(mu):
    """A smooth suction peak that ends in a shock, which moves with the one parameter, over a wall-normal decay."""
    grid = Grid((Axis("nodal", 65, 0, 1, "x"), Axis("nodal", 9, 0, 1, "y")))
    x, y = grid.coordinates()
    m = mu[:, :, None]
    height = (1 + m) * (x + 0.05).sqrt() * (1 - x)
    shock = 0.5 * (1 - torch.tanh((x - 0.35 - 0.5 * m * (1 - 0.3 * y)) / 0.015))
    return Dataset(grid, u=((0.4 + height * shock) * torch.exp(-y))[:, None], mu=mu)


def column(lo, hi, n):
    return torch.linspace(lo, hi, n, dtype=F64)[:, None]


def test_a_moving_shock_is_interpolated_in_the_parameter():
    train, test = profile(column(0, 0.8, 60)), profile(column(0.03, 0.77, 23))
    interpolated = error(PODRegression(Interpolation()), train, test)
    linear = [error(PODRegression(r, rank=10), train, test) for r in (GPRegressor(), RBF())]
    assert interpolated < 0.5 * min(linear) and interpolated < 0.02
    pod = POD(center=True).fit(train.u, train.grid.norm_weights(), rank=10)
    assert interpolated < float(pod.residual(test.u).mean())  # better than any regression on ten modes can be


def test_one_parameter_and_smooth_is_for_processes():
    """As a steady flow over a range of viscosities."""
    grid = Grid((Axis("nodal", 33, 0, 2, "x"), Axis("nodal", 17, 0, 1, "y")))
    x, y = grid.coordinates()

    def flow(mu):
        m = mu[:, :, None]
        u = y * (1 - y) * (1 + torch.exp(-x / m)) + 0.2 * torch.sin(torch.pi * x * y) / (1 + m)
        return Dataset(grid, u=torch.stack([u, y * (1 - y) * torch.exp(-x / m) / m], 1), mu=mu)

    train, test = flow(column(0.3, 1.5, 30)), flow(column(0.32, 1.47, 17))
    assert error(PODRegression(GPRegressor(), rtol=1e-5), train, test) < 1e-4


def test_morphing_on_a_front_that_was_not_used_for_its_weights():
    """A pulse: two fronts of unequal steepness that move together, in another direction and domain."""
    grid = Grid((Axis("nodal", 100, -1.0, 2.0, "x"),))
    x = grid.coordinates()

    def pulse(mu):
        m = mu[:, :, None]
        return Dataset(grid, u=torch.tanh((x - m) / 0.05) - torch.tanh((x - m - 0.6) / 0.15), mu=mu)

    train, test = pulse(column(-0.3, 0.6, 16)), pulse(column(-0.27, 0.57, 9))
    aligned = error(MorphingPOD(GPRegressor(kernel="rbf"), rank=2, steps=60), train, test)  # the default: 150 at most
    plain = error(PODRegression(GPRegressor(kernel="rbf"), rank=2), train, test)
    assert aligned < 0.02 and aligned < 0.1 * plain


def test_a_hole_that_moves(tmp_path):
    """Points of their own for each sample: learned on the mean mesh, with the displacement or without."""
    rng = np.random.default_rng(0)
    base = rng.random((60, 2))
    mu = rng.uniform(-1, 1, (40, 1))
    points = base + 0.1 * mu[:, :, None] * np.exp(-8 * ((base - 0.5) ** 2).sum(1))[:, None]
    u = np.sin(3 * points[:, :, 0]) * (1 + points[:, :, 1])
    cells = Delaunay(base).simplices
    np.savez(tmp_path / "hole.npz", points=points, cells=cells, mu=mu, u=u)
    data = open_dataset(tmp_path / "hole.npz").load()
    assert data.reads == ("a", "mu") and data.channels("a") == ("displacement_x", "displacement_y")
    for reads in (data, replace(data, a=None, names={})):
        train, test = reads[:30], reads[30:]
        surrogate = PODRegression(GPRegressor(kernel="rbf"), rank=4)
        surrogate.fit(train, None, seed=0)
        assert float(relative_l2(surrogate.predict(test.inputs()).mean, test.u, test.grid).mean()) < 1e-3
    with pytest.raises(NWidthError, match=r"a mesh for each sample.*one reference mesh"):
        Mesh(torch.from_numpy(points))


@pytest.fixture(scope="module")
def model():
    problem = ThermalBlock()
    system = problem.system(problem.grid(8))
    return greedy(AffineReductor(system), problem.sample(range(60), 0, system.mesh).mu, rank=12)[0]


def test_a_hundred_thousand_parameters_in_one_call(model, monkeypatch):
    problem = model.system.problem
    mu = 0.1 + 0.9 * torch.rand(100_000, 4, dtype=F64, generator=torch.Generator().manual_seed(0))
    largest = 0
    lift = model.system.lift

    def watched(m):
        nonlocal largest
        largest = max(largest, len(m) * len(model.system.functionals["integral"]))
        return lift(m)

    monkeypatch.setattr(model.system, "lift", watched)
    c = model.solve(mu)
    bound, relative = model.error_bound(mu, c), model.error_bound(mu, c, relative=True)
    value, _ = model.outputs(mu, c)["integral"]
    assert 0 < largest <= 2**23
    few = slice(99_990, None)
    alone = model.solve(mu[few])
    assert torch.allclose(c[few], alone, rtol=1e-10) and problem is not None
    assert torch.allclose(bound[few], model.error_bound(mu[few], alone), rtol=1e-8)
    assert torch.allclose(relative[few], model.error_bound(mu[few], alone, relative=True), rtol=1e-8)
    assert torch.allclose(value[few], model.outputs(mu[few], alone)["integral"][0])


def test_too_little_memory_is_said_before_it_is_used(monkeypatch):
    problem = ThermalBlock(blocks=[2, 1])
    data = problem.simulate(range(6), 0, problem.grid(6))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1000})())
    with pytest.raises(NWidthError, match="GiB that are free"):
        CertifiedReducedBasis().fit(data, None)
