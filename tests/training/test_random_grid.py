"""Random-grid neural processes against exact quadrature: errors, random grids, coverage; inverse; observations."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from nwidth import NWidthError
from nwidth.data.files import load_state, save_state
from nwidth.data.metrics import relative_l2
from nwidth.gp.process import GridInvariantNet
from nwidth.solvers import Burgers, Darcy, GaussianField, LogNormal
from nwidth.training import OneCycle, RandomGridProcess, TrainingSettings
from nwidth.training.scattered import Scattered

F64 = torch.float64
FIELD = GaussianField(scale=6.0, tau=3.0, alpha=2.0, modes=1)  # a constant and one cosine: two parameters
LAW = Darcy(ndim=1, points="nodal", a=LogNormal(field=FIELD))


def surrogate(steps=200, batch_size=12, **options):
    settings = TrainingSettings(steps=steps, batch_size=batch_size, progress=False, tensorboard=False, device="cpu")
    network, optimizer = partial(GridInvariantNet), partial(torch.optim.Adam, lr=5e-3)
    return RandomGridProcess(network, optimizer, OneCycle(), settings, **options)


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


class Truth:
    """kappa = exp(z_0 + z_1 cos(pi x)) with new z of the law's deviations; u by quadrature of (C - x) / kappa."""

    def __init__(self, count, seed):
        generator = torch.Generator().manual_seed(seed)
        sizes = torch.tensor([6 / 9, 2**0.5 * 6 / (torch.pi**2 + 9)], dtype=F64)
        self.z = sizes * torch.randn(count, 2, generator=generator, dtype=F64)
        self.x = torch.linspace(0, 1, 4001, dtype=F64)
        kappa = self.kappa(self.x)[:, 0]

        def integral(g):
            return torch.cat([torch.zeros(count, 1, dtype=F64), torch.cumulative_trapezoid(g, self.x)], 1)

        one, first = integral(1 / kappa), integral(self.x / kappa)
        self.u = first[:, -1:] / one[:, -1:] * one - first

    def kappa(self, x):
        return torch.exp(self.z[:, :1] + self.z[:, 1:] * torch.cos(torch.pi * x))[:, None]


@pytest.fixture(scope="module")
def trained():
    s = surrogate()
    return s, s.fit(LAW.simulate(range(24), 0, LAW.grid(41)), None, seed=0)


@pytest.fixture(scope="module")
def truth():
    return Truth(200, seed=11)


def answers(s, truth):
    """Means and deviations at every 40th point of the truth, from three random grids of different sizes."""
    query, found = truth.x[::40, None], []
    for seed, count in enumerate((30, 45, 60)):
        points = random(count, 1, seed=seed)
        found.append(s.at(points, truth.kappa(points[:, 0]), query))
    return [torch.stack(v).double() for v in zip(*found)]


def test_error_change_between_random_grids_and_coverage(trained, truth):
    s, log = trained
    (mean, std), u = answers(s, truth), truth.u[:, ::40]
    error = (mean - u).norm(dim=-1) / u.norm(dim=-1)
    assert error.mean() < 0.03
    changes = [(mean[i] - mean[j]).norm(dim=-1) / u.norm(dim=-1) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert torch.stack(changes).mean(1).max() < 0.01
    inside = ((mean - u).abs() < 1.96 * std)[..., 1:-1].double().mean()
    assert 0.9 < inside < 0.99
    wide = std.mean(-1) > std.mean(-1).median()
    assert error[wide].mean() > 2 * error[~wide].mean()  # deviations tell the hard parameters
    assert log.parameters > 0 and 0.2 < log.selected["deviation_scale"] < 5


def test_data_sets_of_any_resolution_and_a_saved_process(trained, tmp_path):
    s, _ = trained
    data = LAW.simulate(range(100, 160), 0, LAW.grid(81))
    prediction = s.predict(data.inputs())
    assert relative_l2(prediction.mean.double(), data.u, data.grid).mean() < 0.03 and not prediction.notes
    save_state(tmp_path / "s.safetensors", s.state_dict())
    again = surrogate()
    again.load_state_dict(load_state(tmp_path / "s.safetensors"))
    same = again.predict(data.inputs())
    assert torch.equal(same.mean, prediction.mean) and torch.equal(same.std, prediction.std)
    again.max_context = 64
    some = again.predict(data.inputs())
    assert "64 of 81" in some.notes[0]
    assert relative_l2(some.mean, prediction.mean, data.grid).mean() < 0.01


def test_the_inverse_finds_the_field_from_noisy_values(trained, truth):
    s, _ = trained
    infer = s.inverse(partial(GridInvariantNet, nugget=1e-2), noise=0.005, steps=200, batch_size=12, lr=2e-2)
    points, x = random(40, 1, seed=5), truth.x[::40]
    at = (points[:, 0] * 4000).round().long()
    y = truth.u[:, at] + 0.005 * torch.randn(200, 40, generator=torch.Generator().manual_seed(6), dtype=F64)
    mean, std = infer(truth.x[at, None], y, x[:, None])
    field = truth.kappa(x)[:, 0].log()
    error = (mean - field).square().mean().sqrt()
    assert error < 0.5 * field.std() and std.mean() < 0.5 * field.std()  # a short training; the prior has field.std()
    assert ((mean - field).abs() < 1.96 * std).double().mean() > 0.88


def test_no_solution_is_read_but_as_observations():
    data = LAW.simulate(range(24), 0, LAW.grid(41))
    other = replace(data, u=2 * data.u)
    blind, again = (surrogate(steps=3) for _ in range(2))
    for s, d in ((blind, data), (again, other)):
        s.fit(d, None, seed=0)
    assert torch.equal(blind.predict(data).mean, again.predict(data).mean)
    means = []
    for d in (data, other):
        s = surrogate(steps=40, batch_size=8, observed_noise=0.003)
        s.fit(d, None, seed=0)
        means.append(s.predict(data).mean.double())
    assert means[1].mean() > 1.15 * means[0].mean()  # twice as large observations are followed


def test_collocation_holds_the_fields_and_the_units():
    """2D: values and gradients of kappa at scattered points. 1D on [0, 2]: least squares there gives the parabola."""
    law = Scattered(Darcy(), 17, 4, None)
    x, y = law.form.grid.coordinates()
    kappa = torch.exp(x - 0.5 * y)[None, None]
    p = random(30, 2)
    at = law.collocate(kappa, p)
    exact = torch.exp(p[:, 0] - 0.5 * p[:, 1])
    assert torch.allclose(at.kappa[0], exact) and torch.allclose(
        at.slope[0], exact[:, None] * torch.tensor([1.0, -0.5])
    )
    line = Darcy(ndim=1, lo=0.0, hi=2.0, forcing=3.0, points="nodal", a=LogNormal(field=FIELD))
    law = Scattered(line, 9, 40, None)
    law.standardise(law.form.sample(range(50), 0))
    at = law.collocate(torch.full((1, 1, 9), 2.0, dtype=F64), random(400, 1))
    v = torch.linalg.lstsq(at.rows(law.waves)[0], at.force[0, :, None]).solution[:, 0]
    where = torch.linspace(0, 2, 21, dtype=F64)[:, None]
    u = law.solution_unit * law.waves.values(law.places(where)) @ v
    assert torch.allclose(u, 3 / 4 * where[:, 0] * (2 - where[:, 0]), atol=2e-3)


def test_what_it_cannot_do_is_an_error(trained, truth):
    s, _ = trained
    data = LAW.simulate(range(4), 0, LAW.grid(21))
    wave = Burgers(nu=0.1, times=2).simulate(range(4), 0, Burgers().grid(16))
    for problem, bad, match in (
        (Burgers(), wave, "Burgers"),
        (replace(LAW, sides=("dirichlet", "neumann")), data, "all sides"),
        (replace(LAW, boundary=1.0), data, "u = 0"),
        (Darcy(), data, "channels of a"),
    ):
        with pytest.raises(NWidthError, match=match):
            surrogate(problem=problem).fit(bad, None)
    with pytest.raises(NWidthError, match="positive"):
        s.predict(replace(data, a=-data.a))
    with pytest.raises(NWidthError, match="within"):
        s.at(torch.tensor([[1.5]]), torch.ones(1, 1, 1), truth.x[:3, None])
    with pytest.raises(NWidthError, match="collocation"):
        surrogate(collocation=10).fit(data, None)
    for options in ({"context": (1, 9)}, {"observed_noise": 0.0}, {"max_context": 10}):
        with pytest.raises(NWidthError, match="expected"):
            surrogate(**options)
    with pytest.raises(NWidthError, match="noise"):
        s.inverse(partial(GridInvariantNet), noise=0.0)
    with pytest.raises(NWidthError, match="not fitted"):
        surrogate().predict(data)
