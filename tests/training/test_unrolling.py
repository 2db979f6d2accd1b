"""Unrolled and pushforward losses against their definitions; one-step errors."""

import pytest
import torch
from nwidth import NWidthError
from nwidth.data.metrics import relative_l2
from nwidth.solvers import Burgers
from nwidth.training import NeuralSurrogate, TrainingSettings
from nwidth.training.coarsening import Coarsening
from nwidth.training.engine import Steps
from nwidth.training.schedules import Constant
from nwidth.training.tasks import make_task


@pytest.fixture(scope="module")
def data():
    problem = Burgers(nu=[0.05, 0.1], times=5, final_time=0.5)
    return problem.simulate(range(8), 0, problem.grid(16))


class Scale(torch.nn.Module):
    """The increment is w times the state."""

    def __init__(self, w=0.3):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(w, dtype=torch.float64))

    def forward(self, x):
        return self.w * x[:, :1]


def loss(p, u, grid):
    return (p - u).square().mean()


def steps(data, w, unroll, pushforward):
    task = make_task(data, "rollout", "none", "none", torch.float64, unroll, pushforward).fit(data)
    net = Scale(w)
    x, y = task.pair(data, torch.arange(task.items(data)))
    module = Steps(net, task, loss, None, Constant(), Coarsening((1,), "staged", 0), 1, None)
    return net, module.training_step((x, y), 0)


def windows(data, k):
    states = torch.cat([data.u0[:, None], data.u], 1)
    starts = range(states.shape[1] - k)
    return torch.cat([states[:, s : s + k + 1] for s in starts]) if k else states


@pytest.mark.parametrize("unroll", [1, 2, 3])
def test_an_unrolled_loss_is_that_of_repeated_steps(data, unroll):
    net, value = steps(data, 0.3, unroll, False)
    value.backward()
    w = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    v = windows(data, unroll)
    by_hand = sum(loss((1 + w) ** j * v[:, 0], v[:, j], None) for j in range(1, unroll + 1)) / unroll
    by_hand.backward()
    assert torch.allclose(value, by_hand) and torch.allclose(net.w.grad, w.grad)


def test_pushforward_differentiates_the_last_step_alone(data):
    net, value = steps(data, 0.3, 3, True)
    value.backward()
    w = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    v = windows(data, 3)
    by_hand = loss((1 + w) * 1.3**2 * v[:, 0], v[:, 3], None)
    by_hand.backward()
    assert torch.allclose(value, by_hand) and torch.allclose(net.w.grad, w.grad)
    unrolled, other = steps(data, 0.3, 3, False)
    other.backward()
    assert not torch.allclose(unrolled.w.grad, net.w.grad)


def test_items_are_the_windows_that_fit(data):
    task = make_task(data, "rollout", "none", "none", torch.float64, 3).fit(data)
    assert task.items(data) == 8 * 3
    with pytest.raises(NWidthError, match="1 to 5"):
        make_task(data, "rollout", "none", "none", torch.float64, 6).fit(data)
    with pytest.raises(NWidthError, match=r"training\.time=rollout"):
        make_task(data, "channels", "none", "none", torch.float64, 2)
    with pytest.raises(NWidthError, match="unroll=2"):
        TrainingSettings(pushforward=True)


def test_the_history_tells_errors_of_single_steps_and_of_rollouts(data):
    settings = TrainingSettings(epochs=2, time="rollout", unroll=2, progress=False, tensorboard=False, device="cpu")
    surrogate = NeuralSurrogate(
        lambda in_channels, out_channels, grid: Scale().float(),
        lambda p: torch.optim.SGD(p, lr=1e-6),
        training=settings,
    )
    train = data.to(dtype=torch.float32)
    log = surrogate.fit(train[:6], train[6:], seed=0)
    state = windows(train[6:], 1)
    task, net = surrogate.task, surrogate.network
    assert all(0 < h["val_one_step"] < h["val_rel_l2"] for h in log.history)
    x = torch.cat([task.encode(train[6:].inputs(), s) for s in state[:, 0].split(2)])
    p = task.decode(net(x), x).detach().double()
    expected = float(relative_l2(p, state[:, 1].double(), data.grid).mean())
    assert log.selected["val_one_step"] == pytest.approx(expected, rel=1e-4)
