"""Arrays on disk against the same arrays in memory, sample by sample, in one process and in several."""

import os
import pickle

import h5py
import numpy as np
import pytest
import torch
from nwidth.data import H5Array
from nwidth.data.handles import _OPEN_FILES, _handles, close_h5, open_h5
from nwidth.errors import NWidthError
from torch.utils.data import DataLoader

SIZES = {"n": 9, "t": 5, "c": 2, "x": 6, "y": 4, "z": 3}


@pytest.fixture(autouse=True)
def closed():
    yield
    close_h5()


def write(path, values: np.ndarray, key: str = "u", **options) -> str:
    with h5py.File(path, "a") as f:
        f.create_dataset(key, data=values, **options)
    return str(path)


def array_of(axes: str, dtype: str = "f8", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=[SIZES[a] for a in axes]) * 50
    return (values + 1j * rng.normal(size=values.shape)).astype(dtype) if dtype[-2] == "c" else values.astype(dtype)


def in_order(values: np.ndarray, axes: str) -> np.ndarray:
    """(n, [t,] c, space...) by brute force."""
    for letter in "nc":
        if letter not in axes:
            values, axes = values[..., None], axes + letter
    return values.transpose([axes.index(a) for a in "ntcxyz" if a in axes])


LAYOUTS = ["nx", "ncx", "nxy", "ncxy", "ncxyz", "ntx", "ntcxy", "txn", "yxcn", "xtcn", "xt", "cxy", "tnyx"]


@pytest.mark.parametrize("axes", LAYOUTS)
@pytest.mark.parametrize("chunks", [None, True])
def test_every_layout_and_selection(tmp_path, axes, chunks):
    values = array_of(axes)
    array = H5Array(write(tmp_path / "a.h5", values, chunks=chunks), "u", axes)
    expected = in_order(values, axes)
    n = len(expected)
    assert array.shape == expected.shape and len(array) == n and array.ndim == expected.ndim
    assert array.nbytes == expected.nbytes
    picks = [
        slice(None),
        slice(1, 7, 2),
        slice(5, None),
        [0],
        [n - 1, 0],
        [0, 0, n // 2],
        [-1],
        np.random.default_rng(1).permutation(n),
        np.array([], int),
        np.arange(n) % 2 == 0,
    ]
    for pick in picks:
        found = array[pick]
        assert np.array_equal(found.numpy(), expected[pick]), pick
        assert found.is_contiguous()
    assert np.array_equal(array[n - 1].numpy(), expected[n - 1])
    if "t" in axes:
        for times in (slice(2, 4), slice(None, None, 2), slice(1, None, 3), slice(-2, None), slice(4, 2)):
            assert np.array_equal(array.read([n - 1, 0], times).numpy(), expected[[n - 1, 0]][:, times])


@pytest.mark.parametrize(
    ("dtype", "becomes"),
    [
        ("f8", "float64"),
        ("f4", "float32"),
        ("f2", "float32"),
        (">f8", "float64"),
        (">f4", "float32"),
        ("i4", "float32"),
        ("u1", "float32"),
        (">i2", "float32"),
        ("bool", "float32"),
        ("c16", "complex128"),
        ("c8", "complex64"),
    ],
)
def test_numbers_of_every_kind(tmp_path, dtype, becomes):
    values = array_of("nx", "f8") > 0 if dtype == "bool" else array_of("nx", dtype.replace("u1", "i1").rjust(3, "<"))
    values = np.abs(values).astype("u1") if dtype == "u1" else values
    array = H5Array(write(tmp_path / "a.h5", values), "u", "nx")
    assert str(array.dtype) == f"torch.{becomes}" and array[[4, 2]].dtype == array.dtype
    assert np.array_equal(array[:].numpy()[:, 0], values.astype(becomes))
    assert np.array_equal(array[[4, 2]].numpy()[:, 0], values[[4, 2]].astype(becomes))


@pytest.mark.parametrize("keys", [("u", "v"), ("u", "v", "w")])
@pytest.mark.parametrize("axes", ["nx", "ncx", "ntx", "ntcx"])
def test_keys_are_joined_along_channels(tmp_path, keys, axes):
    path, parts = tmp_path / "a.h5", []
    for i, key in enumerate(keys):
        values = array_of(axes, "<f4" if i else "<f8", seed=i)
        write(path, values, key)
        parts.append(in_order(values, axes))
    array = H5Array(path, keys, axes)
    expected = np.concatenate(parts, 2 if "t" in axes else 1)
    assert array.shape == expected.shape and array.dtype == torch.float64
    assert np.array_equal(array[[7, 2, 3]].numpy(), expected[[7, 2, 3]])
    assert np.array_equal(array[:].numpy(), expected)


def test_views_compose_and_read_nothing(tmp_path, monkeypatch):
    values = array_of("ntxy")
    array = H5Array(write(tmp_path / "a.h5", values), "u", "ntxy")
    with monkeypatch.context() as m:
        m.setattr(h5py.Dataset, "__getitem__", lambda *a: pytest.fail("a view read the file"))
        view = array.take([8, 3, 5, 1]).thin(slice(1, None), (2, 1)).take([2, 0]).thin(slice(None, None, 2), (1, 2))
        nested = array.thin(slice(1, 5)).thin(slice(1, 3))
    expected = values[[5, 8]][:, 1::2, ::2, ::2][:, :, None]
    assert view.shape == expected.shape
    assert np.array_equal(view[:].numpy(), expected)
    assert np.array_equal(view.read([1], slice(1, 2)).numpy(), expected[[1], 1:2])
    assert np.array_equal(nested[:].numpy(), values[:, 2:4, None])


@pytest.mark.parametrize("axes", ["ntcx", "tncx", "xtn", "ntx", "tx"])
def test_one_time_drops_its_axis(tmp_path, axes):
    values = array_of(axes)
    expected = in_order(values, axes)[:, 3]
    array = H5Array(write(tmp_path / "a.h5", values), "u", axes).at(3)
    n = len(expected)
    assert not array.has_time and array.shape == expected.shape
    for pick in (slice(None), [n - 1, 0], [0]):
        assert np.array_equal(array[pick].numpy(), expected[pick])
    assert np.array_equal(array.thin(strides=(2,))[:].numpy(), expected[..., ::2])


def test_matlab_writes_complex_numbers_as_pairs(tmp_path):
    z = array_of("nx", "<c16")
    pairs = np.empty(z.shape, [("real", "f8"), ("imag", "f8")])
    pairs["real"], pairs["imag"] = z.real, z.imag
    array = H5Array(write(tmp_path / "a.h5", pairs), "u", "nx")
    assert array.dtype == torch.complex128 and np.array_equal(array[[5, 0]].numpy()[:, 0], z[[5, 0]])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: H5Array(p, "v", "nx"), "no dataset 'v', expected one of text, u, w"),
        (lambda p: H5Array(p, "u", "nxy"), "axes='nxy'"),
        (lambda p: H5Array(p, "u", "nn"), "axes='nn'"),
        (lambda p: H5Array(p, "u", "nq"), "axes='nq'"),
        (lambda p: H5Array(p, ("u", "w"), "nx"), "'w': got shape (3,)"),
        (lambda p: H5Array(p, "text", "n"), "numbers"),
        (lambda p: H5Array(p, "u", "nx")[[9]], "indices below 9"),
        (lambda p: H5Array(p, "u", "nx")[[-10]], "indices below 9"),
        (lambda p: H5Array(p, "u", "nx")[[0.5]], "0.5"),
        (lambda p: H5Array(p, "u", "nx").take([9]), "indices below 9"),
        (lambda p: H5Array(p, "u", "tx").read(times=slice(None, None, -1)), "negative step"),
        (lambda p: H5Array(str(p) + "x", "u", "nx"), "no such file"),
        (lambda p: H5Array(str(p) + "/a.h5", "u", "nx"), "not a directory"),
    ],
)
def test_errors_name_what_arrived(tmp_path, make, words):
    path = write(tmp_path / "a.h5", array_of("nx"))
    write(path, np.zeros(3), "w")
    write(path, np.array([b"a", b"b"]), "text")
    with pytest.raises(NWidthError) as error:
        make(path)
    assert words in str(error.value)


def test_handles_are_reused_bounded_and_follow_a_replaced_file(tmp_path):
    paths = [write(tmp_path / f"{i}.h5", np.full((3, 4), float(i))) for i in range(_OPEN_FILES + 4)]
    arrays = [H5Array(p, "u", "nx") for p in paths]
    assert open_h5(paths[-1]) is open_h5(paths[-1])
    for _ in range(2):
        assert [float(a[0][0, 0]) for a in arrays] == list(range(len(paths)))
        assert len(_handles) <= _OPEN_FILES
    write(tmp_path / "new.h5", np.full((3, 4), -1.0))
    os.replace(tmp_path / "new.h5", paths[-1])  # its handle is open
    assert float(arrays[-1][0][0, 0]) == -1.0
    close_h5()
    assert not _handles and float(arrays[3][0][0, 0]) == 3.0


def test_pickles_hold_no_handle(tmp_path):
    array = H5Array(write(tmp_path / "a.h5", array_of("nx")), "u", "nx").take([4, 2])
    array[:]
    close_h5()
    again = pickle.loads(pickle.dumps(array))
    assert len(pickle.dumps(array)) < 2000 and torch.equal(again[:], array[:])


@pytest.mark.parametrize(("start", "count"), [("fork", 2), ("spawn", 1)])
def test_workers_read_what_one_process_reads(tmp_path, start, count):
    values = array_of("ntcx")
    array = H5Array(write(tmp_path / "a.h5", values, chunks=(1, 2, 2, 6), fletcher32=True), "u", "ntcx")
    assert np.array_equal(array[:].numpy(), values)  # the handle of this process is open when the workers start
    order = np.random.default_rng(0).permutation(9).tolist()
    loader = DataLoader(array, batch_size=2, sampler=order, num_workers=count, multiprocessing_context=start)
    assert np.array_equal(torch.cat(list(loader)).numpy(), values[order])
    assert np.array_equal(array[:].numpy(), values)
