"""A training that stops in the middle goes on to the result of one that did not, whatever its options."""

from functools import partial

import pytest
import torch
from nwidth.operators import FNO
from nwidth.solvers import Burgers
from nwidth.training import Ensemble, Muon, NeuralSurrogate, OneCycle, Plateau, RelativeL2, TrainingSettings


class Stop(Exception):
    pass


class Fragile(RelativeL2):
    """Raises at one of its evaluations."""

    def __init__(self, at=None):
        super().__init__()
        self.at, self.seen = at, 0

    def forward(self, p, u, grid):
        self.seen += 1
        if self.seen == self.at:
            raise Stop
        return super().forward(p, u, grid)


@pytest.fixture(scope="module")
def data():
    problem = Burgers(nu=0.05, times=4, final_time=0.2)
    return problem.simulate(range(24), 0, problem.grid(16)).to(dtype=torch.float32)


def surrogate(optimizer, schedule, at=None, **settings):
    options = {"epochs": 6, "batch_size": 6, "progress": False, "tensorboard": False, "device": "cpu"}
    training = TrainingSettings(**{**options, "checkpoint_seconds": 1e-6, **settings})
    network = partial(FNO, modes=8, width=6, layers=2, dropout=0.1)
    return NeuralSurrogate(network, optimizer, Fragile(at), schedule, training)


LBFGS = partial(torch.optim.LBFGS, max_iter=4, history_size=5, line_search_fn="strong_wolfe")
ADAM = partial(torch.optim.AdamW, lr=1e-2)


@pytest.mark.parametrize(
    ("optimizer", "schedule", "settings"),
    [
        (partial(Muon, lr=1e-2), OneCycle(), {"epochs": 3}),
        (LBFGS, None, {"epochs": 3}),
        (ADAM, Plateau(gamma=0.5, patience=1, threshold=0.5), {"epochs": 4}),
        (ADAM, None, {"coarsening": [4, 2, 1]}),
        (ADAM, None, {"coarsening": [2, 1], "coarsening_order": "mixed", "epochs": 4}),
        (ADAM, None, {"grow_modes": 2, "grow_explained": 0.999}),
        (ADAM, None, {"time": "rollout", "unroll": 2, "pushforward": True, "epochs": 2}),
    ],
    ids=["muon", "lbfgs", "plateau", "staged", "mixed", "growth", "pushforward"],
)
def test_the_result_does_not_depend_on_an_interruption(optimizer, schedule, settings, data, tmp_path):
    train, val = data[:18], data[18:]
    whole = surrogate(optimizer, schedule, **settings)
    log = whole.fit(train, val, seed=0)
    count = whole.loss.seen
    with pytest.raises(Stop):
        surrogate(optimizer, schedule, at=count * 2 // 3, **settings).fit(train, val, seed=0, folder=tmp_path)
    assert (tmp_path / "checkpoint.ckpt").is_file()
    again = surrogate(optimizer, schedule, **settings)
    rest = again.fit(train, val, seed=0, folder=tmp_path)
    assert 0 < again.loss.seen < count
    for k, v in whole.network.state_dict().items():
        assert torch.equal(v, again.network.state_dict()[k]), k
    keys = ("step", "train_loss", "val_rel_l2", "lr")
    assert [[h[k] for k in keys] for h in log.history] == [[h[k] for k in keys] for h in rest.history]


def test_an_interrupted_ensemble_goes_on_with_the_next_member(data, tmp_path):
    train, val = data[:18], data[18:]
    whole = Ensemble(surrogate(ADAM, None), members=2)
    whole.fit(train, val, seed=0)
    broken = Ensemble(surrogate(ADAM, None), members=2)
    broken.base.loss = once = Fragile(at=25)

    class Shared(RelativeL2):  # one count for all members
        def __deepcopy__(self, memo):
            return self

        def forward(self, p, u, grid):
            return once(p, u, grid)

    broken.base.loss = Shared()
    with pytest.raises(Stop):
        broken.fit(train, val, seed=0, folder=tmp_path)
    assert (tmp_path / "member0" / "state.safetensors").is_file()
    seen = once.seen
    log = broken.fit(train, val, seed=0, folder=tmp_path)
    assert once.seen - seen <= 18 and len(log.history) == 12
    a, b = whole.predict(val.inputs()), broken.predict(val.inputs())
    assert torch.equal(a.mean, b.mean) and torch.equal(a.std, b.std)
