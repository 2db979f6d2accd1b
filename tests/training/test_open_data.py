"""What the keys of the data group do to the data that a command opens."""

import h5py
import numpy as np
import pytest
import torch
from nwidth.backends import Grid
from nwidth.data import Dataset, save_dataset
from nwidth.data.arrays import LazyArray, loaded
from nwidth.data.handles import close_h5
from nwidth.errors import NWidthError
from nwidth.training.session import open_data

NOTHING = {
    "path": None,
    "test_path": None,
    "val_path": None,
    "format": "auto",
    "fields": {},
    "axes": {},
    "coordinates": {},
    "kind": None,
    "lo": 0.0,
    "hi": 1.0,
    "n": None,
    "resolution": None,
    "times": None,
    "complex": "keep",
    "stride": 1,
    "time_stride": 1,
    "dtype": None,
}


@pytest.fixture(autouse=True)
def closed():
    yield
    close_h5()


@pytest.fixture
def folder(tmp_path):
    """A file for each split, with another time step and twice the points in one of them."""
    for name, n, points, dt in (("train", 6, 8, 0.5), ("val", 2, 8, 0.5), ("test", 3, 16, 0.25)):
        x = Grid.make((points,)).coordinates()[0]
        u = torch.sin(2 * torch.pi * x) * torch.arange(1.0, 4.0).reshape(3, 1, 1) * torch.ones(n, 1, 1, 1)
        data = Dataset(
            Grid.make((points,)),
            u=u[:, 1:] + 1j * u[:, 1:],
            u0=u[:, 0] + 0j,
            t=dt * torch.arange(1, 3, dtype=torch.float64),
        )
        save_dataset(tmp_path / f"{name}.h5", data)
    return tmp_path


def test_a_folder_of_splits_steps_and_resolutions(folder):
    with pytest.raises(NWidthError, match=r"data\.resolution"):
        open_data({**NOTHING, "path": str(folder)})
    with pytest.raises(NWidthError, match=r"data\.times=steps"):
        open_data({**NOTHING, "path": str(folder), "resolution": 8})
    data = open_data({**NOTHING, "path": str(folder), "resolution": 8, "times": "steps", "complex": "channels"})
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 6, "val": 2, "test": 3} and len(data) == 11
    assert data.channels("mu") == ("dt",) and data.channels("u") == ("u_re", "u_im") and isinstance(data.u, LazyArray)
    x = data.grid.coordinates()[0]
    expected = (torch.sin(2 * torch.pi * x) * torch.tensor([2.0, 3.0])[:, None]).double()
    assert torch.allclose(loaded(data.u)[:, :, 1], expected.expand(11, 2, 8), atol=1e-5)


def test_several_paths(folder):
    data = open_data({**NOTHING, "path": [str(folder / "train.h5"), str(folder / "val.h5")]})
    assert len(data) == 8 and {k: len(v) for k, v in data.splits.items()} == {"train": 6, "val": 2}


def test_the_first_samples_keep_their_splits(folder):
    data = open_data({**NOTHING, "path": [str(folder / "train.h5"), str(folder / "val.h5")], "n": 7})
    assert {k: v.tolist() for k, v in data.splits.items()} == {"train": [0, 1, 2, 3, 4, 5], "val": [6]}
    data = open_data({**NOTHING, "path": [str(folder / "train.h5"), str(folder / "val.h5")], "n": 3})
    assert {k: v.tolist() for k, v in data.splits.items()} == {"train": [0, 1, 2]}


def test_a_precision_reads_nothing(folder):
    data = open_data({**NOTHING, "path": str(folder / "train.h5"), "dtype": "float64", "stride": 2, "time_stride": 2})
    assert isinstance(data.u, LazyArray) and data.u.dtype == torch.complex128 and data.u.shape == (6, 1, 1, 4)
    with h5py.File(folder / "train.h5", "r") as f:
        assert np.array_equal(loaded(data.u).numpy(), f["u"][:, 1::2, :, ::2].astype("c16"))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"path": None}, "data.path"),
        ({"complex": "both"}, "data.complex: got 'both'"),
        ({"times": "seconds"}, "data.times='seconds'"),
        ({"dtype": "half"}, "data.dtype"),
        ({"n": 99}, "data.n: got 99"),
        ({"complex": "real"}, "imaginary parts"),
    ],
)
def test_errors_name_the_key(folder, changed, words):
    with pytest.raises(NWidthError) as error:
        open_data({**NOTHING, "path": str(folder / "train.h5"), **changed}).load()
    assert words in str(error.value)
