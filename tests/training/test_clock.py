"""The time budget by either clock: how many steps fit into it, and where the schedule then stands."""

from functools import partial

import pytest
import torch
from nwidth import Dataset, Grid, NWidthError
from nwidth.operators import FNO
from nwidth.solvers.reduced import Mean
from nwidth.training import Conformal, Ensemble, NeuralSurrogate, OneCycle, TrainingSettings, engine, measure


class Ticks:
    """Every look at a clock takes four seconds by the wall, one of the processor."""

    wall = processor = 0.0

    def perf_counter(self) -> float:
        self.wall += 4.0
        return self.wall

    def process_time(self) -> float:
        self.processor += 1.0
        return self.processor


@pytest.mark.parametrize(("clock", "steps"), [("wall", 2), ("processor", 8)])
def test_the_budget_counts_seconds_of_its_clock(monkeypatch, clock, steps):
    monkeypatch.setattr(engine, "time", Ticks())
    grid = Grid.make((8,))
    data = Dataset(grid, a=torch.rand(8, 1, 8), u=torch.rand(8, 1, 8))
    settings = TrainingSettings(
        epochs=100, val_every=1000, batch_size=4, time_budget=8.0, clock=clock,
        progress=False, tensorboard=False, device="cpu",
    )  # fmt: skip
    network = partial(FNO, modes=4, width=4, layers=1)
    surrogate = NeuralSurrogate(network, partial(torch.optim.Adam, lr=1e-3), schedule=OneCycle(), training=settings)
    log = surrogate.fit(data, None)
    assert [h["step"] for h in log.history] == [steps]
    assert log.history[-1]["lr"] == pytest.approx(1e-3 * OneCycle().factor(1 - 1 / steps))  # of the last step


def test_an_unknown_clock():
    with pytest.raises(NWidthError, match="wall or processor"):
        TrainingSettings(clock="sundial")


class Slow(Mean):
    """Loads for an hour, then fits for a minute, by a clock of its own."""

    now, uses_seed = 0.0, True

    def warm_up(self):
        Slow.now += 3600.0

    def fit(self, train, val, *, seed=0, folder=None):
        Slow.now += 60.0
        return super().fit(train, val, seed=seed, folder=folder)


@pytest.mark.parametrize("wrapped", [lambda s: s, lambda s: Ensemble(s, members=2), Conformal])
def test_what_a_fit_loads_is_not_its_cost(monkeypatch, wrapped):
    monkeypatch.setattr(measure, "cpu_seconds", lambda: Slow.now)
    data = Dataset(Grid.make((8,)), a=torch.rand(60, 1, 8), u=torch.rand(60, 1, 8))
    surrogate = wrapped(Slow())
    before = Slow.now
    _, cost = measure.fit_and_time(surrogate, data[:50], data[50:], seed=0, folder=None)
    fits = round((Slow.now - before - 3600.0) / 60.0)
    assert fits >= 1 and cost["fit_cpu_seconds"] == 60.0 * fits
