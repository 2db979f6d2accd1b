"""The loss on coefficients is the loss of the fields, and training on them is training."""

from functools import partial

import pytest
import torch
from nwidth import Dataset, Grid
from nwidth.backends.grid import Axis
from nwidth.operators import FNO, T1
from nwidth.training import NeuralSurrogate, RelativeH1, RelativeL2, TrainingSettings
from nwidth.training.batches import Pairs
from nwidth.training.coefficients import CoefficientPairs, arrange
from nwidth.training.tasks import make_task

GRIDS = {
    "periodic": Grid.make((24,)),
    "nodal": Grid.make((14, 13), kind="nodal"),
    "chebyshev": Grid((Axis("chebyshev", 12), Axis("periodic", 16))),
}


def dataset(grid, timed, seed=0, count=10):
    g = torch.Generator().manual_seed(seed)
    times = 3 if timed else 1
    u = torch.randn(count, times, 2, *grid.shape, generator=g).cumsum(1) * 3 + 5
    u0 = torch.randn(count, 2, *grid.shape, generator=g)
    t = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64) if timed else None
    return Dataset(grid, u=u if timed else u[:, 0], u0=u0, t=t)


@pytest.mark.parametrize("time", ["steady", "channels", "axis", "rollout"])
@pytest.mark.parametrize("normalize", ["channel", "none"])
@pytest.mark.parametrize("kind", GRIDS)
def test_loss_on_coefficients_is_the_loss_of_the_fields(kind, time, normalize):
    data = dataset(GRIDS[kind], time != "steady")
    task = make_task(data, "auto" if time == "steady" else time, normalize, normalize, torch.float64).fit(data)
    pairs = Pairs(task, [data], 2**30)
    torch.manual_seed(0)
    net = T1(task.in_channels, task.out_channels, task.grid, modes=3, width=4, layers=1).double()
    with torch.no_grad():
        net.project.weight.normal_()
    x, u = pairs.__getitems__([3, 7])
    expected = RelativeL2()(task.decode(net(x), x), u, task.loss_grid(tuple(u.shape[2:])))
    found = arrange(net, pairs, RelativeL2(), TrainingSettings())
    assert isinstance(found.pairs, CoefficientPairs) and not pairs.kept  # the fields are not kept twice
    c, y = found.pairs.__getitems__([3, 7])
    loss = found.loss(found.task.decode(found.network(c), c), y, None)
    assert torch.allclose(loss, expected, rtol=1e-9)
    gradients = [torch.autograd.grad(v, net.parameters()) for v in (loss, expected)]
    for a, b in zip(*gradients):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-9)


def test_other_losses_networks_and_large_data_go_their_way():
    data = dataset(GRIDS["periodic"], False)
    task = make_task(data, "auto", "channel", "channel", torch.float32).fit(data)
    pairs = Pairs(task, [data], 2**30)
    net = T1(2, 2, data.grid, modes=5, width=4, layers=1)
    assert arrange(net, pairs, RelativeH1(), TrainingSettings()).network is net
    for own in (TrainingSettings(unroll=2), TrainingSettings(coarsening=[2, 1])):
        assert arrange(net, pairs, RelativeL2(), own).pairs is pairs
    fno = FNO(2, 2, data.grid, width=4, layers=1)
    assert arrange(fno, pairs, RelativeL2(), TrainingSettings()).pairs is pairs
    disk = Pairs(task, [data], 0)
    lazy, eager = (arrange(net, p, RelativeL2(), TrainingSettings()).pairs for p in (disk, Pairs(task, [data], 2**30)))
    assert lazy.kept is None and eager.kept is not None
    for a, b in zip(lazy.__getitems__([4, 1, 8]), eager.__getitems__([4, 1, 8])):
        assert torch.allclose(a, b, atol=1e-5)


def test_training_on_coefficients_equals_training_on_fields(tmp_path, monkeypatch):
    """Same seed, same steps: with and without the arrangement the weights agree to round-off."""
    data = dataset(GRIDS["periodic"], False, count=12)
    settings = TrainingSettings(steps=4, batch_size=5, tensorboard=False, progress=False, device="cpu", precision="64")
    means = []
    for plain in (False, True):
        if plain:
            from nwidth.training import coefficients

            monkeypatch.setattr(coefficients, "_scale", lambda pairs: None)
        make = partial(T1, modes=9, width=8, layers=2, truncation=None)
        surrogate = NeuralSurrogate(make, partial(torch.optim.SGD, lr=1e-2), training=settings)
        log = surrogate.fit(data[:10], data[10:], seed=1)
        means.append(surrogate.predict(data.inputs()).mean)
        assert log.history[-1]["val_rel_l2"] < 1.5
    assert torch.allclose(*means, rtol=1e-8)
