"""Writers of tiny files, and the comparison that every reader must pass."""

import pickle

import h5py
import numpy as np
import pytest
from nwidth.backends import Grid
from nwidth.data import Dataset
from nwidth.data.arrays import LazyArray, loaded
from nwidth.data.handles import close_h5


@pytest.fixture(autouse=True)
def closed():
    yield
    close_h5()


@pytest.fixture
def values():
    """Normal numbers of a shape, single precision unless told."""
    rng = np.random.default_rng(0)
    return lambda *shape, dtype="f4": rng.normal(size=shape).astype(dtype)


@pytest.fixture
def write_h5():
    """A file from nested dicts: dicts are groups, "@name" are attributes; an array may come with its own attributes."""

    def fill(group, content):
        for key, v in content.items():
            if key.startswith("@"):
                group.attrs[key[1:]] = v
            elif isinstance(v, dict):
                fill(group.create_group(key), v)
            elif isinstance(v, tuple):
                group[key] = v[0]
                group[key].attrs.update(v[1])
            else:
                group[key] = v

    def write(path, content):
        close_h5()
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as f:
            fill(f, content)
        return path

    return write


@pytest.fixture
def same():
    """Whether fields equal arrays in every value: whole, shuffled, repeated, sliced, sub-sampled in space and time, in
    windows of times, and after a trip between processes."""

    def check(data: Dataset, lazy: bool = True, **expected) -> None:
        for name, e in expected.items():
            v, e = getattr(data, name), np.asarray(e)
            assert tuple(v.shape) == e.shape, name
            assert np.array_equal(loaded(v).numpy(), e, equal_nan=True), name
            n = len(e)
            order = np.random.default_rng(1).permutation(n).tolist()
            for picked in (order, [n - 1, 0, n - 1], order[: n // 2]):
                assert np.array_equal(loaded(getattr(data[picked], name)).numpy(), e[picked], equal_nan=True), name
            if name == "mu":
                continue
            assert isinstance(v, LazyArray) == lazy, name
            timed = name == "u" and data.t is not None
            every = 2 if timed and len(data.t) > 1 else 1
            stride = 2 if isinstance(data.grid, Grid) and min(data.grid.shape) > 2 else 1
            times = (slice(every - 1, None, every),) if timed else ()
            cut = e[(slice(None), *times, slice(None), *(slice(None, None, stride),) * len(data.grid.shape))]
            part = getattr(data.thin(stride, every)[order], name)
            assert np.array_equal(loaded(part).numpy(), cut[order], equal_nan=True), name
            if lazy:
                again = pickle.loads(pickle.dumps(v))
                assert len(pickle.dumps(v)) < 12_000 and np.array_equal(again[order].numpy(), e[order], equal_nan=True)
                if timed:
                    for times in (slice(1, 3), slice(0, 1), slice(None, None, 2), slice(-2, None)):
                        window = v.read([n - 1, 0], times).numpy()
                        assert np.array_equal(window, e[[n - 1, 0]][:, times], equal_nan=True), times

    return check


@pytest.fixture
def bytes_read(monkeypatch):
    """Counts the bytes that HDF5 hands out."""
    from nwidth.data import disk, groups, handles

    count = [0]
    read = handles.read_h5

    def counted(d, where=()):
        found = read(d, where)
        count[0] += found.nbytes
        return found

    monkeypatch.setattr(disk, "read_h5", counted)
    monkeypatch.setattr(groups, "read_h5", counted)
    return count
