"""Arrays seen in other ways, against the same in memory; values in another precision, and complex ones as real."""

import pickle

import h5py
import numpy as np
import pytest
import torch
from nwidth.backends import Grid
from nwidth.data import Dataset, H5Array, open_dataset, save_dataset
from nwidth.data.arrays import LazyArray, at_index, block, blocks, loaded, rows, thinned
from nwidth.data.disk import NpyArray
from nwidth.data.handles import close_h5
from nwidth.data.values import cast, complex_as
from nwidth.data.views import ChannelsJoined, Flipped, SamplesJoined, Tiled
from nwidth.errors import NWidthError

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def closed():
    yield
    close_h5()


@pytest.fixture
def stored(tmp_path):
    """An array in a file of its own."""
    count = [0]

    def store(values: np.ndarray, axes: str) -> H5Array:
        count[0] += 1
        path = tmp_path / f"{count[0]}.h5"
        with h5py.File(path, "w") as f:
            f["v"] = values
        return H5Array(path, "v", axes)

    return store


def agree(array: LazyArray, expected: np.ndarray) -> None:
    """In every way to read, and as views of views."""
    expected = np.ascontiguousarray(expected)
    n, timed = len(expected), array.has_time
    assert array.shape == expected.shape and array.ndim == expected.ndim and len(array) == n
    assert array.nbytes == expected.nbytes and str(array.dtype).removeprefix("torch.") == expected.dtype.name
    for a in (array, pickle.loads(pickle.dumps(array))):
        assert np.array_equal(a.read().numpy(), expected) and a[[0]].is_contiguous()
    mask = np.arange(n) % 2 == 0
    for pick in (slice(1, None), slice(None, None, 2), RNG.permutation(n), [n - 1, 0, 0], [-1], [], mask):
        assert np.array_equal(array[pick].numpy(), expected[pick])
    assert np.array_equal(array[n - 1].numpy(), expected[-1])
    d = expected.ndim - 2 - timed
    cut = (..., *(slice(None, None, s) for s in (2, 3, 1)[:d]))
    assert np.array_equal(array.thin(strides=(2, 3, 1)[:d])[[n - 1, 0]].numpy(), expected[[n - 1, 0]][cut])
    if timed:
        for times in (slice(1, 3), slice(None, None, 2), slice(-1, None), slice(2, 2)):
            assert np.array_equal(array.read([n - 1, 0], times).numpy(), expected[[n - 1, 0]][:, times])
        view = array.take([n - 1, 0, 1]).thin(slice(1, None)).take([2, 0])
        assert np.array_equal(view.read([1, 0], slice(0, 1)).numpy(), expected[[n - 1, 1]][:, 1:2])
        assert np.array_equal(array.at(-1)[[n - 1, 0]].numpy(), expected[[n - 1, 0], -1])
        assert np.array_equal(array.thin(strides=(2, 3, 1)[:d]).at(1).read().numpy(), expected[:, 1][cut])


def normal(*shape: int, dtype: str = "f4") -> np.ndarray:
    return RNG.normal(size=shape).astype(dtype)


@pytest.mark.parametrize("space", [(5,), (5, 4), (4, 5, 3)])
@pytest.mark.parametrize("timed", [True, False])
def test_samples_after_each_other(stored, space, timed):
    parts = [normal(n, *(6,) * timed, 2, *space) for n in (3, 1, 4)]
    axes = "n" + "t" * timed + "c" + "xyz"[: len(space)]
    agree(SamplesJoined([stored(p, axes) for p in parts]), np.concatenate(parts))


def test_samples_of_two_precisions_and_of_two_shapes(stored):
    a, b = normal(3, 1, 5), normal(2, 1, 5, dtype="f8")
    agree(SamplesJoined([stored(a, "ncx"), stored(b, "ncx")]), np.concatenate([a, b]))
    with pytest.raises(NWidthError, match=r"samples of shape \(1, 4\).*\(1, 5\)"):
        SamplesJoined([stored(a, "ncx"), stored(normal(3, 1, 4), "ncx")])


@pytest.mark.parametrize("timed", [True, False])
def test_channels_of_several_arrays(stored, timed):
    time = (6,) * timed
    a, b, c = normal(4, *time, 5, 3), normal(4, *time, 2, 5, 3), normal(4, *time, 5, 3, 2, 2)
    t = "t" * timed
    arrays = [stored(a, f"n{t}xy"), stored(b, f"n{t}cxy"), stored(c, f"n{t}xycd")]
    flat = np.moveaxis(c.reshape(*c.shape[:-2], 4), -1, 1 + timed)
    agree(ChannelsJoined(arrays), np.concatenate([np.expand_dims(a, 1 + timed), b, flat], 1 + timed))
    with pytest.raises(NWidthError, match="differ in the channels alone"):
        ChannelsJoined([arrays[0], stored(normal(4, *time, 5, 4), f"n{t}xy")])


@pytest.mark.parametrize("samples", [True, False])
@pytest.mark.parametrize("times", [True, False])
@pytest.mark.parametrize("space", [(True, True), (True, False), (False, True), (False, False)])
def test_axes_that_are_not_stored(stored, samples, times, space):
    """A field that lacks samples, times or points is repeated along them."""
    full = (4, 3, 5, 6)
    axes = "n" * samples + "t" * times + "x" * space[0] + "y" * space[1]
    values = normal(*(full["ntxy".index(a)] for a in axes))
    wide = values.reshape([full["ntxy".index(a)] if a in axes else 1 for a in "ntxy"])
    array = stored(values, axes)
    tiled = Tiled(array, None if samples else 4, None if times else 3, (5, 6), [not s for s in space])
    agree(tiled, np.broadcast_to(wide, full)[:, :, None])


@pytest.mark.parametrize("axes", [[0], [1], [0, 1], []])
@pytest.mark.parametrize("timed", [True, False])
def test_axes_turned_round(stored, axes, timed):
    values = normal(4, *(3,) * timed, 2, 5, 6)
    agree(Flipped(stored(values, "n" + "t" * timed + "cxy"), axes), np.flip(values, [2 + timed + a for a in axes]))


@pytest.mark.parametrize(("axes", "shape"), [("ntx", (4, 3, 5)), ("xtn", (5, 3, 4)), ("ncxy", (4, 2, 5, 6))])
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f8", "i4", "c16"])
def test_mapped_files(tmp_path, axes, shape, dtype):
    values = (100 * RNG.normal(size=shape)).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    expected, order = values, axes
    if "c" not in axes:
        expected, order = values[..., None], axes + "c"
    expected = expected.transpose([order.index(a) for a in "ntcxy" if a in order])
    agree(NpyArray(tmp_path / "a.npy", axes), expected.astype({"i4": "f4", ">f8": "f8"}.get(dtype, dtype)))


def test_several_mapped_files_are_channels(tmp_path):
    a, b = normal(4, 5), normal(4, 5)
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", b)
    agree(NpyArray([tmp_path / "a.npy", tmp_path / "b.npy"], "nx"), np.stack([a, b], 1))


@pytest.mark.parametrize("lazy", [True, False])
def test_helpers_treat_both_kinds_alike(stored, lazy):
    values = normal(5, 4, 2, 6)
    array = stored(values, "ntcx") if lazy else torch.from_numpy(values)
    assert np.array_equal(loaded(array).numpy(), values)
    assert np.array_equal(block(array, [3, 0]).numpy(), values[[3, 0]])
    assert np.array_equal(block(array, slice(1, 3), slice(0, 2)).numpy(), values[1:3, :2])
    assert np.array_equal(block(array, np.array([3, 0]), slice(1, 3)).numpy(), values[[3, 0], 1:3])
    assert np.array_equal(loaded(rows(array, [4, 1])).numpy(), values[[4, 1]])
    assert np.array_equal(loaded(thinned(array, slice(1, None), (2,))).numpy(), values[:, 1:, :, ::2])
    assert np.array_equal(loaded(at_index(array, 2)).numpy(), values[:, 2])


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("size", [1, 100, 192, 500, 10**9])
def test_blocks_cover_everything_once(stored, lazy, size):
    values = normal(5, 4, 2, 6)
    array = stored(values, "ntcx") if lazy else torch.from_numpy(values)
    seen = np.zeros_like(values)
    for samples, times, x in blocks(array, True, size):
        assert np.array_equal(x.numpy(), values[samples, times]) and (x.nbytes <= size or x.shape[:2] == (1, 1))
        seen[samples, times] += 1
    assert (seen == 1).all()
    assert sum(len(x) for _, _, x in blocks(array, False, size)) == 5


@pytest.fixture(params=["memory", "file"])
def complex_data(request, tmp_path):
    def make(u) -> Dataset:
        t = torch.tensor([0.5, 1.0], dtype=torch.float64)
        data = Dataset(Grid.make((6,)), u=u, u0=u[:, 0], a=torch.rand(4, 1, 6), t=t, names={"u": ("p", "q")})
        if request.param == "memory":
            return data
        save_dataset(tmp_path / "d.h5", data)
        return open_dataset(tmp_path / "d.h5")

    return make


def test_complex_fields_as_channels(complex_data):
    u = torch.randn(4, 2, 2, 6, dtype=torch.complex128)
    data = complex_data(u)
    assert complex_as(data, "keep") is data
    found = complex_as(data, "channels")
    assert found.channels("u") == ("p_re", "p_im", "q_re", "q_im") and found.channels("a") == ("a",)
    expected = torch.view_as_real(u).permute(0, 1, 2, 4, 3).flatten(2, 3)
    assert torch.equal(found[[3, 1]].load().u, expected[[3, 1]]) and torch.equal(found.load().u0, expected[:, 0])
    assert torch.equal(found.thin(2, 2).load().u, expected[:, 1::2, :, ::2])
    assert found.u.dtype == torch.float64 and found.a.dtype == torch.float32
    assert isinstance(found.u, LazyArray) == isinstance(data.u, LazyArray)


def test_complex_fields_that_are_real(complex_data):
    u = torch.randn(4, 2, 2, 6, dtype=torch.float64)
    found = complex_as(complex_data(u + 1e-9j * torch.randn_like(u)), "real")
    assert torch.equal(found.load().u, u) and torch.equal(found.load().u0, u[:, 0])
    with pytest.raises(NWidthError, match=r"imaginary parts up to .* in u.*data\.complex=channels"):
        complex_as(complex_data(u + 1e-3j * u), "real").load()
    with pytest.raises(NWidthError, match="'parts'"):
        complex_as(complex_data(u + 0j), "parts")


def test_precision_as_it_is_read(complex_data):
    u = torch.randn(4, 2, 2, 6, dtype=torch.complex128)
    data = complex_data(u)
    found = cast(data, torch.float32)
    assert found.u.dtype == torch.complex64 and found.a.dtype == torch.float32
    assert torch.equal(found[[2, 0]].load().u, u[[2, 0]].to(torch.complex64)) and found.t.dtype == torch.float64
    assert isinstance(found.u, LazyArray) == isinstance(data.u, LazyArray)
    assert cast(data, torch.float64).u is data.u
