"""nwidth's own files: what h5py alone sees in them, round trips, and damage that must not pass."""

import json
import os

import h5py
import numpy as np
import pytest
import torch
from nwidth.backends import Axis, Grid, Mesh, same_grid
from nwidth.data import Dataset, H5Array, load_native, open_dataset, save_dataset
from nwidth.data.handles import close_h5
from nwidth.data.native import blocks_of
from nwidth.errors import NWidthError


def make(n: int = 6, dtype: torch.dtype = torch.float32, grid=None, **changed) -> Dataset:
    grid = grid or Grid([Axis("periodic", 8, -1.0, 1.0, "x"), Axis("chebyshev", 5, name="y")])
    t = torch.tensor([0.25, 0.5, 1.0], dtype=torch.float64)
    given = {
        "u": torch.randn(n, 3, 2, *grid.shape, dtype=dtype),
        "u0": torch.randn(n, 2, *grid.shape, dtype=dtype),
        "a": torch.randn(n, 1, *grid.shape, dtype=dtype),
        "mu": torch.randn(n, 2, dtype=torch.float64),
        "t": t,
        "t0": 0.125,
        "names": {"u": ("p", "q")},
        "units": {"u": "m/s"},
        "problem": {"_target_": "x.Burgers"},
        "splits": {"train": torch.tensor([0, 2, 3]), "test": torch.tensor([5])},
        "attributes": {"seed": 3, "by": "us"},
    }
    return Dataset(grid, **given | changed)


GRIDS = {
    "1d": Grid.make((7,), "cell"),
    "2d": None,
    "3d": Grid.make((3, 4, 2), "nodal", -1.0, 2.0),
    "listed": Grid([Axis("listed", 4, name="x", points=(0.0, 0.1, 0.5, 0.7))]),
    "mesh": Mesh(torch.rand(6, 2, dtype=torch.float64), torch.tensor([[0, 1, 2], [3, 4, 5]])),
    "points": Mesh(torch.rand(6, 3, dtype=torch.float64), None, torch.rand(6, dtype=torch.float64)),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_round_trip(tmp_path, grid, dtype, compression):
    data = make(dtype=dtype, grid=GRIDS[grid])
    save_dataset(tmp_path / "d.h5", data, compression=compression)
    again = open_dataset(tmp_path / "d.h5")
    assert isinstance(again.u, H5Array) and again.format == "nwidth HDF5" and again.source == str(tmp_path / "d.h5")
    assert same_grid(data.grid, again.grid) and torch.equal(data.grid.weights(), again.grid.weights())
    assert data.grid == again.grid or isinstance(data.grid, Mesh)
    loaded = again.load()
    for name in ("u", "u0", "a", "mu", "t"):
        assert torch.equal(getattr(loaded, name), getattr(data, name)), name
        assert getattr(loaded, name).dtype == getattr(data, name).dtype
    assert again.t0 == 0.125 and again.names == data.names and again.units == data.units
    assert again.problem == data.problem and again.attributes == data.attributes
    assert {k: v.tolist() for k, v in again.splits.items()} == {"train": [0, 2, 3], "test": [5]}
    assert [p.name for p in tmp_path.iterdir()] == ["d.h5"]


def test_h5py_alone_reads_the_layout_that_is_documented(tmp_path):
    data = make()
    save_dataset(tmp_path / "d.h5", data)
    with h5py.File(tmp_path / "d.h5", "r") as f:
        assert f.attrs["format"] == "nwidth-dataset" and f.attrs["version"] == 1 and f.attrs["t0"] == 0.125
        assert json.loads(f.attrs["names"]) == {"u": ["p", "q"]}
        assert np.array_equal(f["u"][()], data.u.numpy()) and f["u"].attrs["dims"] == "ntcxy"
        assert f["u0"].attrs["dims"] == f["a"].attrs["dims"] == "ncxy" and f["mu"].attrs["dims"] == "np"
        assert np.array_equal(f["t"][()], data.t.numpy())
        assert np.allclose(f["grid/x"][()], -1 + 0.25 * np.arange(8)) and f["grid/y"].shape == (5,)
        assert f["splits/train"][()].tolist() == [0, 2, 3]
        assert all(f[k].fletcher32 for k in ("u", "u0", "a", "mu"))


def test_a_steady_problem_without_extras(tmp_path):
    data = Dataset(Grid.make((4,)), u=torch.rand(3, 1, 4), mu=torch.rand(3, 1))
    save_dataset(tmp_path / "d.h5", data)
    again = load_native(tmp_path / "d.h5")
    assert again.t is None and again.problem is None and again.splits == {} and again.reads == ("mu",)
    assert torch.equal(again.load().u, data.u)


@pytest.mark.parametrize(
    ("shape", "timed", "expected"),
    [
        ((100, 1, 16), False, (100, 1, 16)),  # 64 bytes a sample: all within 16 KiB
        ((1000, 1, 256), False, (16, 1, 256)),
        ((1000, 1, 64, 64), False, (1, 1, 64, 64)),
        ((10, 20, 1, 32, 32), True, (1, 20, 1, 32, 32)),
        ((2, 100, 1, 128, 128), True, (1, 4, 1, 128, 128)),  # windows of 256 KiB
        ((2, 1, 1024, 1024), False, (1, 1, 1024, 1024)),  # space is never cut
    ],
)
def test_chunks_hold_whole_samples_or_windows_of_times(tmp_path, shape, timed, expected):
    space = shape[3:] if timed else shape[2:]
    t = torch.arange(1.0, shape[1] + 1) if timed else None
    save_dataset(tmp_path / "d.h5", Dataset(Grid.make(space), u=torch.zeros(shape), t=t))
    with h5py.File(tmp_path / "d.h5", "r") as f:
        assert f["u"].chunks == expected


def test_blocks_are_written_in_order_and_told(tmp_path):
    data, done = make(7), []
    save_dataset(tmp_path / "d.h5", data[:1], blocks=blocks_of(data, 3), total=7, on_block=done.append)
    assert done == [3, 6, 7] and torch.equal(open_dataset(tmp_path / "d.h5").load().u, data.u)


@pytest.mark.parametrize("total", [5, 9])
def test_a_wrong_count_leaves_the_old_file(tmp_path, total):
    old = make(2)
    save_dataset(tmp_path / "d.h5", old)
    with pytest.raises((NWidthError, TypeError, ValueError)):
        save_dataset(tmp_path / "d.h5", make(7), blocks=blocks_of(make(7), 3), total=total)
    assert [p.name for p in tmp_path.iterdir()] == ["d.h5"] and len(open_dataset(tmp_path / "d.h5")) == 2


def test_a_copy_of_a_lazy_part_over_the_file_itself(tmp_path):
    data = make()
    save_dataset(tmp_path / "d.h5", data)
    lazy = open_dataset(tmp_path / "d.h5")
    save_dataset(tmp_path / "d.h5", lazy[[4, 1]].thin(1, 3))
    again = open_dataset(tmp_path / "d.h5").load()
    assert torch.equal(again.u, data.u[[4, 1], 2:]) and again.splits == {}


def flip(path, key: str, byte: int) -> None:
    """Damage one byte within the first chunk of a dataset, as it lies on disk."""
    close_h5()
    with h5py.File(path, "r") as f:
        where = f[key].id.get_chunk_info(0).byte_offset + byte
    with open(path, "r+b") as f:
        f.seek(where)
        old = f.read(1)[0]
        f.seek(where)
        f.write(bytes([old ^ 0x10]))


@pytest.mark.parametrize("key", ["u", "a", "u0", "mu"])
@pytest.mark.parametrize("byte", [0, 41])
def test_a_flipped_bit_is_an_error(tmp_path, key, byte):
    save_dataset(tmp_path / "d.h5", make(dtype=torch.float64))
    flip(tmp_path / "d.h5", key, byte)
    with pytest.raises(NWidthError, match="checksum"):
        open_dataset(tmp_path / "d.h5").load()


def test_other_chunks_of_a_damaged_file_can_be_read(tmp_path):
    data = make(4, grid=Grid.make((64, 64)))
    save_dataset(tmp_path / "d.h5", data)
    flip(tmp_path / "d.h5", "u", 1000)
    lazy = open_dataset(tmp_path / "d.h5")
    assert torch.equal(lazy.u[[3, 1]], data.u[[3, 1]])
    with pytest.raises(NWidthError, match=r"d\.h5: '/u': got a chunk that cannot be read"):
        lazy.u[[1, 0]]


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.98])
def test_a_truncated_file_is_an_error(tmp_path, keep):
    path = tmp_path / "d.h5"
    save_dataset(path, make(40))
    os.truncate(path, int(keep * path.stat().st_size))
    with pytest.raises(NWidthError):
        open_dataset(path).load()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.attrs.modify("version", 2), "version 2"),
        (lambda f: f.attrs.__delitem__("grid"), "damaged header"),
        (lambda f: f.attrs.modify("names", "{oh"), "damaged header"),
        (lambda f: f.__delitem__("t"), "u of shape"),
        (lambda f: f["u"].attrs.modify("dims", "ntcyxz"), "axes="),
    ],
)
def test_a_damaged_header_is_an_error(tmp_path, change, words):
    save_dataset(tmp_path / "d.h5", make())
    close_h5()
    with h5py.File(tmp_path / "d.h5", "a") as f:
        change(f)
    with pytest.raises(NWidthError) as error:
        open_dataset(tmp_path / "d.h5")
    assert words in str(error.value)


def test_roles_overrule_the_layout(tmp_path):
    from nwidth.data import Roles

    data = make()
    save_dataset(tmp_path / "d.h5", data)
    swapped = open_dataset(tmp_path / "d.h5", Roles({"u": "a", "a": "u0"}, {"u": "ncxy", "a": "ncxy"})).load()
    assert torch.equal(swapped.u, data.a) and torch.equal(swapped.a, data.u0)
