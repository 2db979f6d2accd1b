"""Learning from the equation alone."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from nwidth import NWidthError
from nwidth.data import FitLog
from nwidth.data.files import load_state, save_state
from nwidth.data.metrics import relative_l2
from nwidth.operators import FNO, NSM, T1
from nwidth.solvers import Darcy, FisherKPP, MaternField, Poisson
from nwidth.solvers.forms import form_of
from nwidth.training import OneCycle, PointwiseLoss, SelfSupervised, SpectralLoss, TrainingSettings

LAW = MaternField(std=1.0, length=0.4, nu=4.5, modes=8)


def settings(**options):
    plain = {"batch_size": 8, "tensorboard": False, "progress": False, "device": "cpu", "val_every": 100}
    return TrainingSettings(**(plain | options))


def surrogate(loss=None, network=None, lr=5e-3, **options):
    network = network or partial(NSM, modes=9, width=8, depth=1)
    optimizer = partial(torch.optim.Adam, lr=lr)
    return SelfSupervised(network, optimizer, loss or SpectralLoss(9), OneCycle(), settings(**options))


def error(s, data):
    return float(relative_l2(s.predict(data.inputs()).mean.double(), data.u.double(), data.grid).mean())


@pytest.fixture(scope="module")
def poisson():
    return Poisson(forcing=LAW).simulate(range(24), 7, Poisson().grid(16)).to(dtype=torch.float32)


def test_poisson_is_learned_without_solutions(poisson, tmp_path):
    s = surrogate(steps=190, lr=1e-2)
    log = s.fit(poisson[:8], poisson[8:16], seed=0)
    assert isinstance(log, FitLog) and error(s, poisson[16:]) < 0.05
    save_state(tmp_path / "s.safetensors", s.state_dict())
    again = surrogate()
    again.load_state_dict(load_state(tmp_path / "s.safetensors"))
    assert torch.equal(again.predict(poisson.inputs()).mean, s.predict(poisson.inputs()).mean)
    fine = Poisson(forcing=LAW).simulate(range(4), 9, Poisson().grid(40))
    assert error(s, fine) < 0.06  # another resolution


def test_a_pointwise_loss_and_another_network_learn_it_too(poisson):
    s = surrogate(PointwiseLoss(12), partial(FNO, modes=6, width=8, layers=1, activation="tanh"), steps=60, lr=1e-2)
    s.problem = Poisson(forcing=LAW, scheme="difference")
    s.fit(poisson[:8], poisson[8:16], seed=0)
    assert error(s, poisson[16:]) < 0.9  # 1 without training


def test_no_training_solution_is_read(poisson):
    means = []
    for u in (poisson.u, torch.randn_like(poisson.u)):
        s = surrogate(steps=3)
        s.fit(replace(poisson, u=u)[:8], None, seed=0)
        means.append(s.predict(poisson.inputs()).mean)
    assert torch.equal(*means)


def test_a_killed_run_goes_on_to_the_same_end(poisson, tmp_path, monkeypatch):
    from nwidth.training import engine

    whole = surrogate(steps=12)
    whole.fit(poisson[:8], poisson[8:16], seed=3, folder=tmp_path / "a")

    class Killed(Exception):
        pass

    saved = engine.Keeper.save

    def kill(self, trainer):
        saved(self, trainer)
        if trainer.global_step == 5:
            raise Killed

    with monkeypatch.context() as m:
        m.setattr(engine.Keeper, "save", kill)
        m.setattr(engine.Keeper, "_due", lambda self, trainer, step, now: True)
        (tmp_path / "b").mkdir()
        with pytest.raises(Killed):
            surrogate(steps=12).fit(poisson[:8], poisson[8:16], seed=3, folder=tmp_path / "b")
    rest = surrogate(steps=12)
    rest.fit(poisson[:8], poisson[8:16], seed=3, folder=tmp_path / "b")
    assert torch.equal(rest.predict(poisson.inputs()).mean, whole.predict(poisson.inputs()).mean)


def test_the_weighted_norm_counts_a_wave_by_its_frequency():
    """Residuals of one wave of 3 periods along each axis, periodic by Dirichlet: (1 + |k|^2)^-1 times the square."""
    form = form_of(Poisson(), 16)
    x, y = form.grid.coordinates()
    wave = torch.sin(6 * torch.pi * x) * torch.cos(4 * torch.pi * y)
    u, zero = wave[None, None] / (4 * torch.pi**2 * 13), torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    plain, weighted = (SpectralLoss(16, norm)(form, u, zero) for norm in ("l2", "h-1"))
    assert torch.allclose(plain, wave.square().mean()) and torch.allclose(weighted, plain / 14)
    form = form_of(FisherKPP(), (5, 16))  # time has no weight, and constants in space have weight 1
    raw = torch.zeros(1, 1, 5, 16, dtype=torch.float64)
    t = form.grid.coordinates()[0][None, None]
    losses = [SpectralLoss((5, 16), norm)(form, t, raw) for norm in ("l2", "h-1")]
    assert torch.allclose(*losses) and losses[0] > 0.1
    form = form_of(Poisson(sides="dirichlet", points="chebyshev"), 33)
    x, y = form.grid.coordinates()
    raw = (torch.sin(3 * torch.pi * x) * torch.sin(4 * torch.pi * y))[None, None]  # 3 and 4 half waves
    plain, weighted = (SpectralLoss(33, norm)(form, 0 * raw, raw) for norm in ("l2", "h-1"))
    assert torch.allclose(weighted, plain / (1 + 1.5**2 + 2**2), rtol=1e-3)
    k = torch.arange(1, 66, 2, dtype=torch.float64)[:, None]  # the sine series of 1, which does not vanish at the ends
    expected = ((16 / torch.pi**2 / (k * k.T)).square() / 4 / (1 + (k**2 + k.T**2) / 4)).sum()
    assert torch.allclose(SpectralLoss(33, "h-1")(form, 0 * raw, torch.ones_like(raw)), expected, rtol=1e-2)


def test_trajectories_start_at_the_initial_state_and_improve():
    problem = FisherKPP(nu=0.02, rho=1.0, final_time=0.5, times=4, initial=LAW)
    data = problem.simulate(range(16), 0, problem.grid(24)).to(dtype=torch.float32)
    errors = []
    for steps in (1, 80):
        s = surrogate(SpectralLoss((7, 15)), partial(NSM, modes=(5, 9), width=8, depth=1), steps=steps)
        s.fit(data[:8], data[8:12], seed=0)
        errors.append(error(s, data[12:]))
    assert errors[1] < 0.5 * errors[0]
    start = replace(data, u=None, t=torch.tensor([1e-9], dtype=torch.float64))
    assert torch.allclose(s.predict(start).mean[:, 0], data.u0, atol=1e-2)


def test_errors(poisson):
    with pytest.raises(NWidthError, match="prepares itself"):
        surrogate(network=partial(T1, modes=5, width=4, layers=1)).fit(poisson, None)
    with pytest.raises(NWidthError, match="symmetries"):
        surrogate(symmetries="auto").fit(poisson, None)
    with pytest.raises(NWidthError, match="SpectralLoss or PointwiseLoss"):
        SelfSupervised(NSM, torch.optim.Adam, torch.nn.MSELoss())
    with pytest.raises(NWidthError, match="data of FisherKPP"):
        s = surrogate(SpectralLoss((5, 9)))
        s.problem = FisherKPP()
        s.fit(poisson, None)
    with pytest.raises(NWidthError, match="l2, h-1"):
        SpectralLoss(9, "h1")
    with pytest.raises(NWidthError, match="scale=0"):
        SelfSupervised(NSM, torch.optim.Adam, scale=0)
    s = surrogate(steps=1)
    s.fit(poisson[:8], None)
    darcy = Darcy().simulate(range(2), 0, Darcy().grid(8))
    with pytest.raises(NWidthError, match="data of Poisson"):
        s.predict(replace(darcy.inputs(), a=None, mu=torch.rand(2, 1)))
