"""Files of the FNO paper (MATLAB) and of neuraloperator (PyTorch)."""

import os

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from nwidth.backends import Grid
from nwidth.data import Roles, open_dataset
from nwidth.data.arrays import LazyArray
from nwidth.errors import NWidthError


@pytest.fixture
def write_mat():
    def write(path, version: str, **arrays):
        if version == "v5":
            scipy.io.savemat(path, arrays)
            return path
        with h5py.File(path, "w", userblock_size=512) as f:  # as MATLAB does: axes reversed, complex numbers as pairs
            for key, v in arrays.items():
                v = np.atleast_2d(v).T
                if np.iscomplexobj(v):
                    pairs = np.empty(v.shape, [("real", v.real.dtype), ("imag", v.real.dtype)])
                    pairs["real"], pairs["imag"] = v.real, v.imag
                    v = pairs
                f[key] = v
            f.create_group("#refs#")["a"] = np.zeros(2)
        with open(path, "r+b") as f:
            f.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
        return path

    return write


VERSIONS = pytest.mark.parametrize("version", ["v5", "v7.3"])


@VERSIONS
def test_burgers(tmp_path, values, write_mat, same, version):
    a, u = values(4, 16, dtype="f8"), values(4, 16, dtype="f8")
    data = open_dataset(write_mat(tmp_path / "burgers.mat", version, a=a, u=u))
    assert data.format == "FNO Burgers" and data.grid == Grid.make((16,))
    same(data, lazy=version == "v7.3", a=a[:, None], u=u[:, None])
    assert data.attributes["boundary"] == {"x": "periodic"}


@VERSIONS
def test_burgers_trajectories(tmp_path, values, write_mat, same, version):
    u, t = values(4, 6, 16), np.linspace(0, 1, 6)
    path = write_mat(tmp_path / "burgers_v1000.mat", version, input=u[:, 0], output=u, tspan=t, visc=np.array(0.001))
    data = open_dataset(path)
    same(data, lazy=version == "v7.3", u0=u[:, :1], u=u[:, 1:, None])
    assert data.attributes["parameters"] == {"visc": 0.001} and data.t.tolist() == pytest.approx(
        [0.2, 0.4, 0.6, 0.8, 1]
    )


@VERSIONS
def test_darcy(tmp_path, values, write_mat, same, version):
    a, u = values(4, 5, 7), values(4, 5, 7)
    data = open_dataset(write_mat(tmp_path / "darcy.mat", version, coeff=a, sol=u, Kcoeff=u))
    assert data.format == "FNO Darcy" and data.grid == Grid.make((5, 7), "nodal")
    same(data, lazy=version == "v7.3", a=a[:, None], u=u[:, None])
    assert data.attributes["boundary"] == {"x": "dirichlet", "y": "dirichlet"}


@VERSIONS
def test_navier_stokes(tmp_path, values, write_mat, same, version, bytes_read):
    a, u, t = values(4, 8, 6), values(4, 8, 6, 5), np.arange(1.0, 6.0)
    data = open_dataset(write_mat(tmp_path / "ns_V1e-3_N5000_T50.mat", version, a=a, u=u, t=t))
    assert data.format == "FNO Navier-Stokes" and data.t.tolist() == [1, 2, 3, 4, 5] and data.t0 == 0
    same(data, lazy=version == "v7.3", u0=a[:, None], u=u.transpose(0, 3, 1, 2)[:, :, None])
    assert data.attributes["parameters"] == {"nu": 1e-3}
    if version == "v7.3":
        bytes_read[0] = 0
        data.u.read([2], slice(1, 3))
        assert bytes_read[0] == 2 * 8 * 6 * 4


@VERSIONS
@pytest.mark.parametrize("names", [("usol", "t"), ("uu", "tt")])
@pytest.mark.parametrize("kind", ["periodic", "nodal"])
def test_one_trajectory_by_its_sizes(tmp_path, values, write_mat, same, version, names, kind):
    u = values(8, 5, dtype="f8") + 1j * values(8, 5, dtype="f8")
    x = np.linspace(-2, 2, 9)[:8] if kind == "periodic" else np.linspace(-2, 2, 8)
    path = write_mat(tmp_path / "a.mat", version, **{names[0]: u, names[1]: np.arange(5.0), "x": x[:, None]})
    data = open_dataset(path)
    same(data, lazy=version == "v7.3", u0=u[None, None, :, 0], u=u.T[None, 1:, None])
    assert data.u.dtype == torch.complex128 and data.grid == Grid.make((8,), kind, -2, 2)
    assert data.attributes == ({"boundary": {"x": "periodic"}} if kind == "periodic" else {})
    told = open_dataset(path, Roles(kind="cell"))
    assert told.grid.axes[0].kind == "cell" and told.attributes == {}


def test_sizes_that_decide_nothing_ask(tmp_path, values, write_mat):
    square = {"usol": values(5, 5), "t": np.arange(5.0), "x": np.arange(5.0)}
    with pytest.raises(NWidthError, match="cannot be guessed"):
        open_dataset(write_mat(tmp_path / "a.mat", "v5", **square))
    with pytest.raises(NWidthError, match=r"keys q, x, expected"):
        open_dataset(write_mat(tmp_path / "b.mat", "v5", q=values(3, 4), x=np.arange(3.0)))


@pytest.mark.parametrize("space", [(8,), (8, 6), (4, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.float64])
def test_neuralop_steady(tmp_path, same, space, dtype):
    x, y = torch.rand(5, *space).round().to(dtype), torch.rand(5, *space)
    torch.save({"x": x, "y": y}, tmp_path / "darcy_train_8.pt")
    data = open_dataset(tmp_path / "darcy_train_8.pt")
    assert data.format == "neuraloperator" and data.reads == ("a",)
    assert data.a.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    same(data, lazy=False, u=y[:, None].numpy(), a=x[:, None].to(data.a.dtype).numpy())
    for axis in data.grid.axes:  # points j / n; the edge at 1 is not stored
        assert np.allclose(axis.coordinates(), np.arange(axis.n) / axis.n) and axis.kind == "nodal"
    assert data.attributes["boundary"] == dict.fromkeys("xyz"[: len(space)], "dirichlet")


def test_neuralop_flow_is_periodic(tmp_path, same):
    x, y = torch.rand(5, 1, 8, 8), torch.rand(5, 1, 8, 8)
    torch.save({"x": x, "y": y}, tmp_path / "nsforcing_train_128.pt")
    data = open_dataset(tmp_path / "nsforcing_train_128.pt")
    same(data, lazy=False, u=y.numpy(), a=x.numpy())
    assert data.grid == Grid.make((8, 8)) and data.attributes["boundary"] == {"x": "periodic", "y": "periodic"}


@pytest.mark.parametrize("with_first", [True, False])
def test_neuralop_time_dependent(tmp_path, same, with_first):
    u = torch.rand(5, 4, 8, dtype=torch.float64)
    y = u if with_first else u[:, 1:]
    torch.save({"x": u[:, 0], "y": y, "t": torch.linspace(0, 3, 4)[4 - y.shape[1] :], "visc": 0.01}, tmp_path / "b.pt")
    data = open_dataset(tmp_path / "b.pt")
    assert data.grid == Grid.make((8,)) and data.attributes["parameters"] == {"visc": 0.01}
    same(data, lazy=False, u0=u[:, 0, None].numpy(), u=u[:, 1:, None].numpy())
    assert data.t.tolist() == [1, 2, 3] and data.t0 == 0


def test_neuralop_hdf5(tmp_path, values, write_h5, same):
    a, u = values(5, 8, 8), values(5, 8, 8)
    data = open_dataset(write_h5(tmp_path / "d.h5", {"x": a, "y": u}))
    same(data, a=a[:, None], u=u[:, None])


def test_neuralop_folder_of_splits_and_resolutions(tmp_path):
    for split, n in (("train", 6), ("test", 3)):
        torch.save({"x": torch.rand(n, 8, 8), "y": torch.rand(n, 8, 8)}, tmp_path / f"darcy_{split}_8.pt")
    data = open_dataset(tmp_path)
    assert {k: v.tolist() for k, v in data.splits.items()} == {"test": [0, 1, 2], "train": [3, 4, 5, 6, 7, 8]}
    fine = torch.linspace(0, 1, 17)[:16]
    x = (fine[:, None] ** 2 * fine).expand(3, 16, 16).clone()
    torch.save({"x": x, "y": 2 * x}, tmp_path / "darcy_test_16.pt")
    with pytest.raises(NWidthError, match=r"darcy_test_16\.pt and .*darcy_test_8\.pt.*set data\.resolution=\[16,16\]"):
        open_dataset(tmp_path)
    data = open_dataset(tmp_path, resolution=8)
    assert data.grid.shape == (8, 8) and {k: len(v) for k, v in data.splits.items()} == {"test": 6, "train": 6}
    assert torch.allclose(data.a[:3, 0], x[:, ::2, ::2], atol=1e-5)  # points j / 8 are every other of j / 16
    coarse = torch.linspace(0, 1, 9)[:8]
    torch.save({"x": (coarse[:, None] ** 2 * coarse)[None], "y": torch.zeros(1, 8, 8)}, tmp_path / "darcy_train_8.pt")
    data = open_dataset([tmp_path / "darcy_test_16.pt", tmp_path / "darcy_train_8.pt"], resolution=[16, 16])
    assert torch.allclose(data.a[3, 0], x[0], atol=1e-5)  # a cubic, to the point beyond the coarse grid's last


def test_tensors_keep_no_storage_of_others(tmp_path):
    big = torch.rand(1000, 8)
    torch.save({"x": big[:3], "y": big[3:6]}, tmp_path / "v.pt")
    assert open_dataset(tmp_path / "v.pt").u.untyped_storage().nbytes() == 3 * 8 * 4


class Bomb:
    """Runs code where it is unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_object_is_refused_and_does_not_run(tmp_path, zipped):
    torch.save(
        {"x": torch.rand(2, 4), "y": Bomb(tmp_path / "ran")},
        tmp_path / "bomb.pt",
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(NWidthError, match="weights_only"):
        open_dataset(tmp_path / "bomb.pt")
    assert not (tmp_path / "ran").exists()
    with pytest.raises(FileExistsError):  # the bomb does work
        os.mkdir(tmp_path / "ran") or torch.load(tmp_path / "bomb.pt", weights_only=False)


def test_big_mat_files_stay_on_disk(tmp_path, values, write_mat):
    path = write_mat(tmp_path / "a.mat", "v7.3", a=values(4, 16), u=values(4, 16))
    assert isinstance(open_dataset(path).u, LazyArray)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1], "a list"),
        ({"x": torch.rand(3, 4)}, "keys x, expected x and y"),
        ({"x": torch.rand(3, 4), "y": torch.rand(3, 5, 6, 7)}, "x (3, 4) and y (3, 5, 6, 7)"),
        ({"x": torch.rand(3, 8), "y": torch.rand(3, 4, 8), "t": torch.tensor([1.0, 2, 2, 3])}, "2 at 1, 2 at 2"),
    ],
)
def test_errors_name_what_arrived(tmp_path, content, words):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(NWidthError) as error:
        open_dataset(tmp_path / "a.pt")
    assert words in str(error.value)


def test_neuralop_hdf5_is_read_as_its_pt(tmp_path):
    x = np.random.default_rng(0).random((4, 8, 8)).astype("f2")
    for name in ("nsforcing_8_train.hdf5", "mine.hdf5"):
        with h5py.File(tmp_path / name, "w") as f:
            f["x"], f["y"] = x, 2 * x
    torch.save({"x": torch.from_numpy(x), "y": torch.from_numpy(2 * x)}, tmp_path / "nsforcing_8_train.pt")
    lazy, whole = (open_dataset(tmp_path / f"nsforcing_8_train.{e}") for e in ("hdf5", "pt"))
    assert lazy.format == whole.format == "neuraloperator" and lazy.grid == whole.grid
    assert lazy.grid.periodic == (True, True) and open_dataset(tmp_path / "mine.hdf5").format == "HDF5"
    assert whole.u.dtype == torch.float32  # not the half precision in which the file stores it
    assert torch.equal(lazy.u[:], whole.u) and torch.equal(lazy.a[:], whole.a)
