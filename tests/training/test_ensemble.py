"""Ensembles: mean and spread of their members."""

from functools import partial

import pytest
import torch
from nwidth import NWidthError
from nwidth.data.files import load_state, save_state
from nwidth.gp import GPRegressor
from nwidth.operators import FNO
from nwidth.solvers import Darcy
from nwidth.solvers.reduced import Mean, PODRegression
from nwidth.training import Ensemble, NeuralSurrogate, TrainingSettings


@pytest.fixture(scope="module")
def data():
    problem = Darcy()
    return problem.simulate(range(40), 0, problem.grid(8))


def network():
    settings = TrainingSettings(steps=4, batch_size=8, progress=False, tensorboard=False, device="cpu")
    return NeuralSurrogate(
        partial(FNO, modes=4, width=6, layers=1), partial(torch.optim.Adam, lr=1e-2), training=settings
    )


def test_mean_and_spread_are_those_of_the_members(data, tmp_path):
    ensemble = Ensemble(network(), members=3)
    log = ensemble.fit(data[:30], data[30:35], seed=4)
    test = data[35:].inputs()
    means = []
    for i in range(3):
        one = network()
        one.fit(data[:30], data[30:35], seed=4000 + i)
        means.append(one.predict(test).mean)
    found = ensemble.predict(test)
    assert torch.allclose(found.mean, sum(means) / 3, atol=1e-6)
    assert torch.allclose(found.std, torch.stack(means).std(0), atol=1e-6) and float(found.std.min()) > 0
    assert log.parameters == 3 * sum(p.numel() for p in one.network.parameters())
    assert [h["member"] for h in log.history] == [0, 1, 2] and len(log.selected["members_val_rel_l2"]) == 3
    save_state(tmp_path / "s.safetensors", ensemble.state_dict())
    again = Ensemble(network(), members=3)
    again.load_state_dict(load_state(tmp_path / "s.safetensors"))
    assert torch.equal(again.predict(test).std, found.std)
    with pytest.raises(NWidthError, match="3 members"):
        Ensemble(network(), members=2).load_state_dict(load_state(tmp_path / "s.safetensors"))


def test_the_members_own_variance_is_added(data):
    ensemble = Ensemble(PODRegression(GPRegressor(steps=3), rtol=0.1), members=2, bootstrap=True)
    ensemble.fit(data[:30], data[30:35])
    test = data[35:].inputs()
    own = [m.predict(test) for m in ensemble.fits]
    assert not torch.equal(own[0].mean, own[1].mean)  # bootstrap samples differ
    spread = torch.stack([p.mean for p in own]).var(0)
    within = torch.stack([p.std for p in own]).square().mean(0)
    assert torch.allclose(ensemble.predict(test).std, (spread + within).sqrt())


def test_members_that_could_not_differ_are_refused():
    with pytest.raises(NWidthError, match="bootstrap=true"):
        Ensemble(Mean())
    with pytest.raises(NWidthError, match="2 members"):
        Ensemble(network(), members=1)
