"""Conformal intervals: wrong standard deviations made right, none made one, whatever the surrogate."""

import pytest
import torch
from nwidth import Dataset, Grid, NWidthError, Prediction, Surrogate
from nwidth.data import FitLog
from nwidth.data.metrics import coverage
from nwidth.training import Conformal


class Noisy(Surrogate):
    """Predicts the mean a, with a standard deviation that is wrong by a factor in each channel, or none."""

    uses_seed = False

    def __init__(self, wrong=None):
        self.wrong, self.seen = wrong, None

    def fit(self, train, val, *, seed=0, folder=None):
        self.seen = train
        return FitLog()

    def predict(self, inputs):
        if inputs.t is None:
            mean = inputs.a[:, :2]
        else:
            mean = inputs.a[:, None, :2].expand(-1, len(inputs.t), -1, *inputs.grid.shape).clone()
        if self.wrong is None:
            return Prediction(mean)
        std = inputs.a[:, 2:].abs() * torch.tensor(self.wrong, dtype=mean.dtype)[:, None]
        return Prediction(mean, std if inputs.t is None else std[:, None].expand_as(mean))

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        self.seen = True


def made(n=400, points=16, seed=0, times=None, tails=False):
    """u = a[:2] + noise of standard deviation |a[2:]|, times the time."""
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(n, 4, points, generator=g, dtype=torch.float64)
    shape = (n, 2, points) if times is None else (n, len(times), 2, points)
    noise = torch.randn(shape, generator=g, dtype=torch.float64)
    if tails:
        noise = noise**3
    if times is None:
        return Dataset(Grid.make((points,)), a=a, u=a[:, :2] + noise * a[:, 2:].abs())
    t = torch.tensor(times, dtype=torch.float64)
    return Dataset(Grid.make((points,)), a=a, u=a[:, None, :2] + noise * t.view(-1, 1, 1), t=t)


@pytest.mark.parametrize("tails", [False, True])
@pytest.mark.parametrize("wrong", [None, (0.1, 30.0)])
def test_intervals_hold_95_percent_of_the_points_of_each_channel(wrong, tails):
    surrogate = Conformal(Noisy(wrong))
    log = surrogate.fit(made(300, tails=tails), made(50, seed=1), seed=0)
    test = made(500, seed=2, tails=tails)
    p = surrogate.predict(test.inputs())
    for c in (0, 1):
        assert 0.93 < float(coverage(p.mean[:, c], p.std[:, c], test.u[:, c]).mean()) < 0.98
    if wrong and not tails:
        assert log.selected["interval_factor"] == pytest.approx([10.0, 1 / 30], rel=0.1)
    assert log.selected["calibration_samples"] == 60 and not log.notes


def test_the_calibration_samples_are_not_learned_from():
    base, train = Noisy(), made(50)
    Conformal(base, calibration=20).fit(train, None, seed=0)
    assert len(base.seen) == 30
    other = Noisy()
    Conformal(other, calibration=20).fit(train, None, seed=1)
    assert not torch.equal(base.seen.a, other.seen.a)


def test_whole_fields_are_held_where_asked():
    surrogate = Conformal(Noisy((0.1, 30.0)), calibration=200, holds="fields")
    surrogate.fit(made(300), None)
    test = made(1000, seed=2)
    p = surrogate.predict(test.inputs())
    inside = (test.u - p.mean).abs() <= 1.959964 * p.std
    for c in (0, 1):
        assert 0.91 < float(inside[:, c].all(-1).double().mean()) < 0.99


def test_widths_follow_the_times_and_lie_between_them():
    surrogate = Conformal(Noisy())
    surrogate.fit(made(300, times=[1.0, 2.0, 4.0]), made(100, seed=1, times=[1.0, 2.0, 4.0]))
    test = made(300, seed=2, times=[0.5, 1.0, 3.0, 4.0])
    std = surrogate.predict(test.inputs()).std[0, :, 0, 0]
    assert torch.allclose(std, torch.tensor([1.0, 1.0, 3.0, 4.0], dtype=std.dtype), rtol=0.1)
    steady = Conformal(Noisy())
    steady.fit(made(100), None)  # no validation samples: one constant a channel
    assert steady.predict(made(3).inputs()).std.flatten().unique().numel() == 2


def test_few_samples_are_noted_and_wrong_options_refused():
    log = Conformal(Noisy((1.0, 1.0)), calibration=10).fit(made(50), None)
    assert any("19" in note for note in log.notes)
    with pytest.raises(NWidthError, match="2 left"):
        Conformal(Noisy(), calibration=49).fit(made(50), None)
    with pytest.raises(NWidthError, match="points, fields"):
        Conformal(Noisy(), holds="all")


def test_another_resolution_and_a_constant_zero():
    surrogate = Conformal(Noisy((0.0, 1.0)))
    surrogate.fit(made(100), None)
    std = surrogate.predict(made(3, points=32, seed=3).inputs()).std
    assert std.shape == (3, 2, 32) and bool(torch.isfinite(std).all()) and float(std.min()) > 0
