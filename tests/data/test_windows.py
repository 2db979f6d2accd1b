"""Windows against slices of the same trajectories in memory, and how little they read."""

import pickle
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from nwidth.backends import Grid
from nwidth.data import Dataset, disk, groups, open_dataset, save_dataset
from nwidth.data.disk import H5Array, NpyArray
from nwidth.data.groups import GroupArray
from nwidth.data.views import SamplesJoined
from nwidth.data.windows import Windows
from nwidth.errors import NWidthError
from torch.utils.data import DataLoader

N, T = 5, 9


def make(initial: bool = True, dtype=torch.float32) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    grid = Grid.make((4, 6))
    given = {k: torch.randn(N, c, 4, 6, dtype=dtype, generator=generator) for k, c in (("a", 3), ("u0", 2))}
    u = torch.randn(N, T, 2, 4, 6, dtype=dtype, generator=generator)
    mu = torch.rand(N, 2, dtype=dtype, generator=generator)
    data = Dataset(grid, u=u, mu=mu, t=0.5 * torch.arange(1.0, T + 1), **given)
    return data if initial else replace(data, u0=None)


@pytest.fixture(params=["memory", "disk"])
def stored(request, tmp_path):
    def store(data: Dataset) -> Dataset:
        if request.param == "memory":
            return data
        save_dataset(tmp_path / "d.h5", data)
        return open_dataset(tmp_path / "d.h5")

    return store


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize(("history", "horizon", "stride"), [(1, 1, 1), (3, 2, 1), (2, 4, 3), (1, 8, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_windows_are_slices_of_the_trajectories(stored, initial, history, horizon, stride, dtype):
    data = make(initial, dtype)
    whole = torch.cat([data.u0[:, None], data.u], 1) if initial else data.u
    times = torch.arange(0 if initial else 1, T + 1) * 0.5
    windows = Windows(stored(data), history, horizon, stride)
    starts = range(0, whole.shape[1] - history - horizon + 1, stride)
    expected = [(i, k) for i in range(N) for k in starts]
    assert len(windows) == len(expected) and windows.times.tolist() == times.tolist()
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(1)).tolist()
    batch = windows.batch([*order, order[0]])  # an item may come twice
    for row, item in enumerate([*order, order[0]]):
        i, k = expected[item]
        single = windows[item]
        for got in (single, {key: v[row] for key, v in batch.items()}):
            assert torch.equal(got["past"], whole[i, k : k + history])
            assert torch.equal(got["future"], whole[i, k + history : k + history + horizon])
            assert got["index"].tolist() == list(range(k, k + history + horizon)) and got["sample"] == i
            assert torch.equal(got["a"], data.a[i]) and torch.equal(got["mu"], data.mu[i])
        assert single["past"].dtype == dtype
    assert torch.equal(windows[-1]["future"], windows[len(windows) - 1]["future"])


@pytest.fixture
def watched(monkeypatch):
    """Opens a file, and lists what is read of its arrays: samples and times."""

    def watch(path):
        lazy = open_dataset(path)
        kind, seen = type(lazy.u), []
        read, read_many = kind.read, kind.read_many

        def one(self, samples=slice(None), times=slice(None)):
            seen.append((list(samples), (times.start, times.stop) if times != slice(None) else None))
            return read(self, samples, times)

        def many(self, requests):
            seen.extend(([i], (times.start, times.stop)) for i, times in requests)
            return read_many(self, requests)

        monkeypatch.setattr(kind, "read", one)
        monkeypatch.setattr(kind, "read_many", many)
        return lazy, seen

    return watch


def test_states_that_are_not_asked_for_are_not_read(tmp_path, watched):
    save_dataset(tmp_path / "d.h5", make())
    lazy, seen = watched(tmp_path / "d.h5")
    windows = Windows(lazy, history=1, horizon=2)
    per = windows.per_sample
    windows.batch([3 * per + 5, 1 * per + 3, 3 * per + 4])
    # one read for the two that overlap, then the inputs of the two samples
    assert seen == [([1], (2, 5)), ([3], (3, 7)), ([1, 3], None)]
    seen.clear()
    windows.batch([2 * per])
    assert seen == [([2], None), ([2], (0, 2)), ([2], None)]  # u0, two states of u, a


def test_distant_windows_of_one_trajectory_are_read_apart(tmp_path, watched):
    grid = Grid.make((64, 64))
    data = Dataset(grid, u=torch.randn(1, 40, 1, 64, 64), u0=torch.randn(1, 1, 64, 64), t=torch.arange(1.0, 41))
    save_dataset(tmp_path / "d.h5", data)
    lazy, seen = watched(tmp_path / "d.h5")
    batch = Windows(lazy).batch([37, 2, 3])
    assert seen == [([0], (1, 4)), ([0], (36, 38))]
    assert torch.equal(batch["past"][0, 0], data.u[0, 36]) and torch.equal(batch["future"][2, 0], data.u[0, 3])


@pytest.mark.parametrize("start", ["fork", "forkserver"])
def test_workers_read_what_one_process_reads(nwidth, tmp_path, start):  # nwidth: its server has the package loaded
    data = make()
    save_dataset(tmp_path / "d.h5", data)
    windows = Windows(open_dataset(tmp_path / "d.h5"), history=2)
    windows[0]  # a file is open here before the workers start
    expected = list(DataLoader(windows, batch_size=7))
    loader = DataLoader(windows, batch_size=7, num_workers=2, multiprocessing_context=start)
    for got, own in zip(loader, expected, strict=True):
        assert got.keys() == own.keys() and all(torch.equal(got[k], own[k]) for k in own)
    assert torch.equal(torch.cat([b["past"] for b in expected])[8], windows[8]["past"])
    assert torch.equal(pickle.loads(pickle.dumps(windows))[3]["past"], windows[3]["past"])


@pytest.mark.parametrize(
    ("changed", "options", "said"),
    [
        ({}, {"history": 6, "horizon": 5}, "at most 10 states"),
        ({}, {"stride": 0}, "stride=0"),
        ({"u0": torch.zeros(N, 1, 4, 6)}, {}, "channels of u"),
        ({"t": None, "u0": None, "u": torch.zeros(N, 2, 4, 6)}, {}, "steady"),
        ({"u": None}, {}, "no solution"),
    ],
)
def test_what_has_no_windows_is_told(changed, options, said):
    with pytest.raises(NWidthError, match=said):
        Windows(replace(make(), **changed), **options)


def test_items_out_of_range():
    windows = Windows(make())
    with pytest.raises(IndexError):
        windows[len(windows)]
    with pytest.raises(IndexError):
        windows.batch([0, -len(windows) - 1])


def lazy_arrays(tmp_path):
    """The same field in every place from which arrays are read."""
    u = torch.randn(6, 5, 2, 4, 3)
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["u"], f["turned"] = u.numpy(), u.permute(3, 1, 0, 4, 2).numpy()
        f["p"], f["q"] = u[:, :, 0].numpy(), u[:, :, 1].numpy()
        for i in range(6):
            f[f"{i}/data"] = u[i].permute(0, 2, 3, 1).numpy()
    np.save(tmp_path / "u.npy", u.numpy())
    path = tmp_path / "a.h5"
    arrays = {
        "stored": H5Array(path, "u", "ntcxy"),
        "turned": H5Array(path, "turned", "xtnyc"),
        "keys": H5Array(path, ["p", "q"], "ntxy"),
        "map": NpyArray(tmp_path / "u.npy", "ntcxy"),
        "groups": GroupArray(path, [str(i) for i in range(6)], "data", "txyc"),
    }
    arrays["joined"] = SamplesJoined([arrays["turned"].take([0, 1, 2]), arrays["groups"].take([3, 4, 5])])
    return u, arrays


@pytest.mark.parametrize("kind", ["stored", "turned", "keys", "map", "groups", "joined"])
def test_many_reads_at_once_are_as_many_reads(tmp_path, kind):
    u, arrays = lazy_arrays(tmp_path)
    array = arrays[kind]
    requests = [(4, slice(1, 3)), (0, slice(0, 5, 2)), (4, slice(2, 5)), (5, slice(3, 3)), (2, slice(None))]
    views = {
        "whole": (array, u),
        "samples": (array.take([5, 1, 0, 3, 2, 4]), u[[5, 1, 0, 3, 2, 4]]),
        "thinned": (array.thin(slice(0, None, 2), (2, 1)), u[:, ::2, :, ::2]),
    }
    for name, (view, expected) in views.items():
        for found, (i, times) in zip(view.read_many(requests), requests, strict=True):
            assert torch.equal(found, expected[i, times]) and found.shape == expected[i, times].shape, name
            assert torch.equal(found, view.read([i], times)[0])
            found += 1  # memory of its own, never the file's
    assert torch.equal(array.read(), u)


@pytest.mark.parametrize("kind", ["stored", "turned", "keys", "map", "groups"])
def test_windows_that_follow_one_another_are_read_at_once(tmp_path, monkeypatch, kind):
    u, arrays = lazy_arrays(tmp_path)
    array, reads = arrays[kind], []
    owner, name = {"map": (NpyArray, "_values"), "groups": (groups, "read_h5")}.get(kind, (disk, "read_h5"))
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args: reads.append(args[-1]) or original(*args))
    requests = [
        (3, slice(0, 2)),
        (3, slice(2, 4)),
        (3, slice(4, 5)),
        (4, slice(0, 2)),
        (4, slice(1, 3)),
        (4, slice(2, 2)),
    ]
    found = array.read_many(requests)
    assert len(reads) == 3 * (2 if kind == "keys" else 1)  # sample 3; sample 4 twice, since its windows overlap
    for values, (i, times) in zip(found, requests, strict=True):
        assert torch.equal(values, u[i, times])
