"""A network's ``prepare`` gets training inputs and the outputs that it should have."""

import copy
from functools import partial

import pytest
import torch
from nwidth import Dataset, Grid
from nwidth.operators import ChannelLinear, PODDeepONet
from nwidth.training import NeuralSurrogate, TrainingSettings, neural


class Witness(ChannelLinear):
    """Keeps what it was given, and whether that was before the first step."""

    def __init__(self, in_channels, out_channels, grid, seen):
        super().__init__(in_channels, out_channels)
        self.seen, self.start = seen, self.weight.detach().clone()

    def prepare(self, x, y):
        self.seen.append((x, y, torch.equal(self.start, self.weight)))


@pytest.fixture(scope="module")
def data():
    g = torch.Generator().manual_seed(0)
    u0 = torch.randn(8, 1, 16, generator=g) + 50
    u = torch.stack([u0 * (1 + 0.1 * j) for j in range(1, 4)], 1)
    return Dataset(Grid.make((16,)), u=u, u0=u0, t=torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64))


def fitted(network, data, **options):
    settings = TrainingSettings(steps=2, tensorboard=False, progress=False, device="cpu", **options)
    surrogate = NeuralSurrogate(network, partial(torch.optim.Adam, lr=1e-2), training=settings)
    surrogate.fit(data, None, seed=4)
    return surrogate


@pytest.mark.parametrize("normalize", ["channel", "point", "none"])
@pytest.mark.parametrize("time", ["channels", "axis", "rollout"])
def test_targets_decode_to_the_solution(data, time, normalize):
    seen = []
    surrogate = fitted(partial(Witness, seen=seen), data, time=time, normalize_output=normalize)
    ((x, y, before),) = seen
    assert before and len(x) == len(y) == surrogate.task.items(data)
    found = surrogate.task.decode(y, x.double())
    x0, expected = surrogate.task.pair(data, torch.arange(len(x)))
    at = torch.cdist(x.flatten(1).double(), x0.flatten(1).double()).argmin(1)  # they come in random order
    assert sorted(at.tolist()) == list(range(len(x)))
    assert torch.allclose(found, expected[at].double(), rtol=1e-6)


def test_the_sample_is_bounded_and_follows_the_seed(data, monkeypatch):
    monkeypatch.setattr(neural, "PREPARING", 5)
    seen = []
    for _ in range(2):
        fitted(partial(Witness, seen=seen), data, time="rollout")
    assert seen[0][0].shape == (5, 1, 16) and torch.equal(seen[0][1], seen[1][1])
    monkeypatch.setattr(neural, "NUMBERS", 16 * 3)
    fitted(partial(Witness, seen=seen), data, time="rollout")
    assert seen[2][0].shape == (3, 1, 16)


def test_images_by_symmetries_take_part(data):
    seen = []
    steady = Dataset(data.grid, u=data.u[:, 0], a=data.u0)
    fitted(partial(Witness, seen=seen), steady, symmetries=["reflect x"])
    assert len(seen[0][0]) == 16


def test_the_basis_does_not_train_and_travels_with_the_run(data):
    make = partial(PODDeepONet, modes=3, branch_width=8)
    surrogate = fitted(make, data, time="channels", normalize_output="none")
    before = surrogate.network.basis.clone()
    expected = make(1, 3, data.grid)
    expected.prepare(data.u0, data.u.flatten(1, 2))
    assert torch.allclose(before, expected.basis, atol=1e-4) and float(before.std()) > 0.1
    again = copy.copy(surrogate)
    again.network = None
    again.load_state_dict(surrogate.state_dict())
    assert torch.equal(again.network.basis, before) and bool(before.any())
    assert torch.equal(again.predict(data.inputs()).mean, surrogate.predict(data.inputs()).mean)
