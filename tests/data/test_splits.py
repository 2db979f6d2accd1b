"""Splits are disjoint, reproducible, and take what they promise."""

import pytest
import torch
from nwidth.backends import Grid
from nwidth.data import (
    Dataset,
    OrderedSplit,
    ParameterSplit,
    RandomSplit,
    TimeSplit,
    apply_split,
    open_dataset,
    save_dataset,
)
from nwidth.errors import NWidthError


def data(n: int = 40, times: int = 0) -> Dataset:
    mu = torch.stack([torch.arange(n) % 7, torch.arange(n)], 1).double()
    t = 0.1 * torch.arange(1, times + 1) if times else None
    return Dataset(Grid.make((4,)), u=torch.rand(n, *([times] if times else []), 1, 4), mu=mu, t=t)


SPLITS = [RandomSplit, OrderedSplit, ParameterSplit, TimeSplit]


@pytest.mark.parametrize("kind", SPLITS)
@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ({}, (32, 4, 4)),
        ({"test": 5, "val": 0.2}, (27, 8, 5)),
        ({"test": 10, "val": 3, "train": 7}, (7, 3, 10)),
        ({"train": 0.5}, (20, 4, 4)),
        ({"val": 0}, (36, 0, 4)),
        ({"test": 0, "val": 0}, (40, 0, 0)),
    ],
)
def test_parts_are_disjoint_and_of_the_size_asked(kind, sizes, counts):
    parts = kind(**sizes).indices(data())
    assert {k: len(v) for k, v in parts.items()} == {k: c for k, c in zip(("train", "val", "test"), counts) if c}
    joined = torch.cat(list(parts.values()))
    assert len(joined.unique()) == len(joined) and int(joined.min()) >= 0 and int(joined.max()) < 40
    assert all(torch.equal(v, v.sort().values) for v in parts.values())


@pytest.mark.parametrize("kind", SPLITS)
def test_the_test_part_does_not_depend_on_the_training_size(kind):
    few, many = (kind(train=n, test=6, val=4).indices(data()) for n in (3, 30))
    assert torch.equal(few["test"], many["test"]) and torch.equal(few["val"], many["val"])
    assert set(few["train"].tolist()) < set(many["train"].tolist())


def test_random_splits_follow_their_seed():
    one, same, other = (RandomSplit(seed=s).indices(data())["test"].tolist() for s in (1, 1, 2))
    assert one == same != other
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert one == sorted(order[:4].tolist())


def test_ordered_splits_take_the_end():
    parts = OrderedSplit(test=3, val=2).indices(data(10))
    assert {k: v.tolist() for k, v in parts.items()} == {"train": [0, 1, 2, 3, 4], "val": [5, 6], "test": [7, 8, 9]}


@pytest.mark.parametrize("parameter", [0, 1])
def test_parameter_splits_extrapolate(parameter):
    d = data()
    parts = ParameterSplit(parameter=parameter).indices(d)
    train, val, test = (d.mu[parts[k], parameter] for k in ("train", "val", "test"))
    assert train.max() <= val.min() and val.max() <= test.min()


@pytest.mark.parametrize("lazy", [False, True])
def test_time_splits_hide_the_future_from_training(tmp_path, lazy):
    d = data(20, times=6)  # times in single precision: 0.3 is not 0.3
    if lazy:
        save_dataset(tmp_path / "d.h5", d)
        d = open_dataset(tmp_path / "d.h5")
    parts, indices = apply_split(d, TimeSplit(until=0.3))
    assert {k: v.solution.shape[1] for k, v in parts.items()} == {"train": 3, "val": 3, "test": 6}
    assert {k: len(v.t) for k, v in parts.items()} == {"train": 3, "val": 3, "test": 6}
    assert torch.equal(parts["train"].load().u, d.load().u[indices["train"]][:, :3])


def test_stored_indices_are_used_as_they_are():
    d, stored = data(), {"train": torch.tensor([5, 6]), "test": torch.tensor([9])}
    parts, indices = apply_split(d, RandomSplit(), stored)
    assert indices == stored and torch.equal(parts["train"].mu, d.mu[[5, 6]]) and set(parts) == {"train", "test"}


@pytest.mark.parametrize(
    ("split", "words"),
    [
        (RandomSplit(test=39), "test=39 of 40"),
        (RandomSplit(test=20, val=20), "train=0"),
        (RandomSplit(train=39), "train=39"),
        (RandomSplit(test=0.001), "test=0 of 40"),
        (RandomSplit(test=-1), "got -1"),
        (RandomSplit(train=1), "train=1"),
        (ParameterSplit(parameter=2), "parameter 2 of data with 2"),
        (ParameterSplit(parameter=-1), "parameter -1"),
        (TimeSplit(until=0.05), "before the first time 0.1"),
    ],
)
def test_errors_name_what_arrived(split, words):
    with pytest.raises(NWidthError) as error:
        apply_split(data(times=3), split)
    assert words in str(error.value)


def test_a_time_split_needs_times():
    with pytest.raises(NWidthError, match="without times"):
        apply_split(data(), TimeSplit(until=1.0))
