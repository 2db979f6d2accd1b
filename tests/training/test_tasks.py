import math

import pytest
import torch
from nwidth.backends import Axis, Grid, Mesh
from nwidth.data import Dataset, save_dataset
from nwidth.data.native import load_native
from nwidth.errors import NWidthError
from nwidth.training.tasks import load_task, make_task


def wave(n=6, points=16, times=8, extra=False, dtype=torch.float64):
    """u(t, x) = sin(2 pi (x - s - t)) for random s: one step is a shift."""
    grid = Grid.make((points,))
    x, t = grid.coordinates()[0], torch.arange(1, times + 1, dtype=torch.float64) / times
    s = torch.rand(n, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u0 = torch.sin(2 * math.pi * (x - s))[:, None]
    u = torch.sin(2 * math.pi * (x - s[:, None] - t[:, None]))[:, :, None]
    a = torch.rand(n, 2, points, dtype=dtype) if extra else None
    return Dataset(grid, u=u.to(dtype), u0=u0.to(dtype), a=a, t=t, mu=s if extra else None)


def steady(n=5, shape=(6, 7), channels=2):
    return Dataset(Grid.make(shape, "cell"), u=torch.randn(n, channels, *shape) * 3 + 1, a=torch.randn(n, 1, *shape))


@pytest.mark.parametrize("time", ["channels", "axis", "rollout"])
@pytest.mark.parametrize("extra", [False, True])
def test_a_network_that_returns_the_normalised_target_is_predicted_exactly(time, extra):
    """Pair, decode and predict agree: feeding the true answer as the network's output gives back the solution."""
    data = wave(extra=extra)
    task = make_task(data, time, "channel", "channel", torch.float64).fit(data)
    x, y = task.pair(data, torch.arange(task.items(data)))
    assert x.shape[1] == task.in_channels and y.shape[1] == task.out_channels and x.shape[2:] == y.shape[2:]
    key = "step" if time == "rollout" else "u"
    shift, scale = task.normalizers[key].shift, task.normalizers[key].scale

    def network(x):
        if time == "rollout":  # the exact increment: u(x - dt) - u(x) of a sine wave, from the state itself
            state = task.normalizers["u"].inverse(x[:, -2:-1] if extra else x[:, :1])
            return (torch.roll(state, 2, -1) - state - shift) / scale
        u = data.u.flatten(1, 2) if time == "channels" else data.u
        out = (u - shift) / scale
        return out if time == "channels" else out.transpose(1, 2)

    if time == "rollout":
        assert task.reads.index("u0") == (1 if extra else 0)
    predicted = task.predict(network, data.inputs())
    assert predicted.shape == data.u.shape
    assert torch.allclose(predicted, data.u, atol=1e-10)


def test_steady_pairs_are_normalised_by_training_statistics():
    data = steady()
    task = make_task(data, "auto", "channel", "channel", torch.float32).fit(data)
    x, y = task.pair(data, torch.tensor([3, 1]))
    assert torch.equal(y, data.u[[3, 1]])
    mean, std = data.a.mean(), data.a.std(correction=0)
    assert torch.allclose(x, (data.a[[3, 1]] - mean) / std, atol=1e-5)


def test_rollout_goes_further_in_time_than_training_and_hits_times_between():
    data = wave()
    task = make_task(data, "rollout", "channel", "channel", torch.float64).fit(data)
    n = task.normalizers["step"]
    shift = lambda x: (torch.roll(s := task.normalizers["u"].inverse(x), 2, -1) - s - n.shift) / n.scale  # noqa: E731
    long = Dataset(data.grid, u0=data.u0, t=torch.tensor([0.5, 1.25, 2.0], dtype=torch.float64))
    predicted = task.predict(shift, long)
    x = data.grid.coordinates()[0]
    s = torch.rand(6, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = torch.sin(2 * math.pi * (x - s[:, None] - long.t[:, None]))[:, :, None]
    assert torch.allclose(predicted, exact, atol=1e-9)
    between = Dataset(data.grid, u0=data.u0, t=torch.tensor([0.05, 0.55], dtype=torch.float64))
    exact = torch.sin(2 * math.pi * (x - s[:, None] - between.t[:, None]))[:, :, None]
    assert float((task.predict(shift, between) - exact).abs().max()) < 0.03  # cubic in steps of 1/8 of a period


def test_pairs_read_from_disk_equal_those_in_memory(tmp_path):
    data = wave(extra=True)
    save_dataset(tmp_path / "w.h5", data)
    lazy = load_native(tmp_path / "w.h5")
    for time in ("channels", "axis", "rollout"):
        a, b = (make_task(d, time, "channel", "channel", torch.float32).fit(d) for d in (data, lazy))
        items = torch.tensor([4, 0, 3])
        for p, q in zip(a.pair(data, items), b.pair(lazy, items)):
            assert torch.equal(p, q)


@pytest.mark.parametrize("time", ["channels", "axis", "rollout"])
def test_state_round_trip(time):
    data = wave(extra=True)
    task = make_task(data, time, "channel", "channel", torch.float64).fit(data)
    again = load_task(task.state_dict(), torch.float64)
    assert torch.equal(task.encode(data), again.encode(data))
    assert (again.in_channels, again.out_channels, again.grid) == (task.in_channels, task.out_channels, task.grid)


def test_auto_takes_channels_for_few_outputs_and_rollout_for_many():
    assert make_task(wave(times=8), "auto", "channel", "channel", torch.float32).kind == "channels"
    assert make_task(wave(times=80), "auto", "channel", "channel", torch.float32).kind == "rollout"


def test_what_cannot_be_learned_is_said():
    data = wave()
    with pytest.raises(NWidthError, match="one of auto, channels"):
        make_task(data, "sideways", "channel", "channel", torch.float32)
    uneven = Dataset(data.grid, u=data.u[:, :3], u0=data.u0, t=torch.tensor([0.1, 0.2, 0.4], dtype=torch.float64))
    with pytest.raises(NWidthError, match="equally spaced"):
        make_task(uneven, "rollout", "channel", "channel", torch.float32).fit(uneven)
    mesh = Dataset(Mesh(torch.rand(5, 2)), u=torch.rand(4, 1, 5), mu=torch.rand(4, 1))
    with pytest.raises(NWidthError, match="pod_gp"):
        make_task(mesh, "auto", "channel", "channel", torch.float32).fit(mesh)
    task = make_task(data, "channels", "channel", "channel", torch.float32).fit(data)
    with pytest.raises(NWidthError, match="inputs without 'u0'"):
        task.encode(Dataset(data.grid, a=torch.rand(2, 1, 16)))


def test_point_normalisation_refuses_another_resolution():
    data = steady(shape=(6, 6), channels=1)
    task = make_task(data, "auto", "point", "channel", torch.float32).fit(data)
    other = Dataset(Grid((Axis("cell", 12, name="x"), Axis("cell", 12, name="y"))), a=torch.randn(2, 1, 12, 12))
    with pytest.raises(NWidthError, match="normalize=channel"):
        task.encode(other)
