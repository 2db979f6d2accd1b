"""The time budget by either clock: how many steps fit into it, and where the schedule then stands."""

from functools import partial

import pytest
import torch
from nwidth import Dataset, Grid, NWidthError
from nwidth.operators import FNO
from nwidth.training import NeuralSurrogate, OneCycle, TrainingSettings, engine


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
