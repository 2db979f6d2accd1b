"""nwidth convert: every readable format, opened before and after, is the same data; files come whole or not at all."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from hydra import compose, initialize_config_module
from nwidth.backends import Grid, Mesh, same_grid
from nwidth.data import Dataset, open_dataset, save_dataset
from nwidth.data.convert import convert
from nwidth.errors import NWidthError
from omegaconf import OmegaConf

FIELDS = ("u", "a", "u0", "mu")


def composed(command, overrides):
    with initialize_config_module("nwidth.conf", version_base="1.3"):
        return OmegaConf.to_container(compose(command, overrides=list(overrides)), resolve=True)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*overrides):
        module = importlib.import_module("nwidth.commands.convert")
        module.run(composed("convert", ["threads=1", *overrides]), tmp_path)
        return capsys.readouterr().out

    return call


def opened(*overrides):
    return importlib.import_module("nwidth.training.session").open_data(composed("info", overrides)["data"])


def assert_same(a: Dataset, b: Dataset, exact: bool = True):
    for name in FIELDS:
        x, y = getattr(a.load(), name), getattr(b.load(), name)
        assert (x is None) == (y is None), name
        if x is not None:
            assert x.shape == y.shape and (x.dtype == y.dtype or not exact), name
            assert torch.equal(x, y) if exact else torch.allclose(x.to(y.dtype), y), name
            assert a.channels(name) == b.channels(name)
    assert same_grid(a.grid, b.grid) and a.grid.describe() == b.grid.describe()
    assert (a.t is None) == (b.t is None) and a.t0 == b.t0
    assert a.t is None or torch.equal(a.t.double(), b.t)
    assert dict(a.units) == dict(b.units) and json.dumps(dict(a.attributes)) == json.dumps(dict(b.attributes))
    assert {k: v.tolist() for k, v in a.splits.items()} == {k: v.tolist() for k, v in b.splits.items()}


def rng():
    return np.random.default_rng(0)


def pdebench_1d():
    with h5py.File("1D_Burgers_Sols_Nu0.01.hdf5", "w") as f:
        f["tensor"] = rng().normal(size=(5, 4, 8)).astype("f4")
        f["x-coordinate"] = (np.arange(8) + 0.5) / 8
        f["t-coordinate"] = np.arange(5) * 0.25
    return ["data.path=1D_Burgers_Sols_Nu0.01.hdf5"]


def pdebench_darcy():
    with h5py.File("2D_DarcyFlow_beta1.0_Train.hdf5", "w") as f:
        f["nu"], f["tensor"] = rng().random((4, 6, 6), "f4"), rng().random((4, 1, 6, 6), "f4")
        for c in "xy":
            f[f"{c}-coordinate"] = (np.arange(6) + 0.5) / 6
        f.attrs["beta"] = 1.0
    return ["data.path=2D_DarcyFlow_beta1.0_Train.hdf5"]


def pdebench_groups():
    with h5py.File("2D_rdb_NA_NA.h5", "w") as f:
        for i in range(3):
            f[f"{i:04}/data"] = rng().random((5, 6, 6, 1), "f4") + i
            f[f"{i:04}/grid/x"] = f[f"{i:04}/grid/y"] = (np.arange(6) + 0.5) / 6
            f[f"{i:04}/grid/t"] = np.linspace(0, 1, 5)
    return ["data.path=2D_rdb_NA_NA.h5"]


def neuralop_steady():
    x = torch.from_numpy(rng().random((6, 8, 8)) > 0.5)
    torch.save({"x": x, "y": torch.rand(6, 8, 8)}, "darcy_train_8.pt")
    return ["data.path=darcy_train_8.pt"]


def neuralop_in_time():
    y = torch.rand(6, 5, 8, dtype=torch.float64)
    torch.save({"x": y[:, 0].clone(), "y": y, "visc": 0.01}, "burgers_train_8.pt")
    return ["data.path=burgers_train_8.pt"]


def fno_mat():
    scipy.io.savemat("ns.mat", {"a": rng().random((4, 6, 6)), "u": rng().random((4, 6, 6, 3)), "t": [1.0, 2.0, 3.0]})
    return ["data.path=ns.mat"]


def complex_mat():
    h = rng().random((8, 5)) + 1j * rng().random((8, 5))
    scipy.io.savemat("NLS.mat", {"uu": h, "x": np.linspace(-1, 1, 8)[None], "tt": np.linspace(0, 1, 5)[None]})
    return [
        "data.path=NLS.mat",
        "data.fields.u=uu",
        "data.axes.u=xt",
        "data.fields.t=tt",
        "data.coordinates.x=x",
    ]


def npz_mesh():
    np.savez(
        "mesh.npz", u=rng().random((5, 7)), k=rng().random((5, 2)), p=rng().random((7, 2)), c=[[0, 1, 2], [3, 4, 5]]
    )
    return [
        "data.path=mesh.npz",
        "data.fields.u=u",
        "data.fields.mu=k",
        "data.axes.u=nm",
        "data.coordinates.points=p",
        "data.coordinates.cells=c",
    ]


def plain_channels_last():
    with h5py.File("mine.h5", "w") as f:
        f["states"], f["k"] = rng().random((3, 4, 6, 5, 2)), rng().random((3, 2))
    return ["data.path=mine.h5", "data.fields.u=states", "data.axes.u=ntxyc", "data.fields.mu=k"]


def several_files():
    for i in range(3):
        save_dataset(f"part{i}.h5", Dataset(Grid.make((8,)), u=torch.rand(4, 1, 8), a=torch.rand(4, 1, 8)))
    return ["data.path=[part0.h5,part1.h5,part2.h5]"]


def native():
    mesh = Mesh(torch.rand(9, 2, dtype=torch.float64), point_weights=torch.rand(9, dtype=torch.float64))
    data = Dataset(
        mesh,
        u=torch.rand(6, 3, 2, 9),
        u0=torch.rand(6, 2, 9),
        t=torch.tensor([0.5, 1, 4.0], dtype=torch.float64),
        t0=0.25,
        names={"u": ("p", "q")},
        units={"u": "Pa"},
        problem={"_target_": "nwidth.solvers.Burgers", "nu": 0.1},
        splits={"train": torch.arange(4), "test": torch.tensor([5, 4])},
        attributes={"boundary": {"x": "wall"}, "parameters": {"rho": 2.0}},
    )
    save_dataset("native.h5", data)
    return ["data.path=native.h5"]


MAKERS = (
    pdebench_1d,
    pdebench_darcy,
    pdebench_groups,
    neuralop_steady,
    neuralop_in_time,
    fno_mat,
    complex_mat,
    npz_mesh,
    plain_channels_last,
    several_files,
    native,
)


@pytest.mark.parametrize("maker", MAKERS, ids=lambda m: m.__name__)
@pytest.mark.parametrize("compression", ["null", "lzf", "gzip"])
def test_every_format_survives_the_round_trip(run, maker, compression):
    where = maker()
    before = opened(*where)
    said = run(*where, "out=out/y.h5", f"compression={compression}")
    assert f"{len(before)} samples" in said and "out/y.h5" in said
    after = open_dataset("out/y.h5")
    assert after.format == "nwidth HDF5"
    assert_same(before, after)
    assert after.problem == before.problem
    with h5py.File("out/y.h5") as f:  # h5py alone is enough
        for name in FIELDS:
            value = getattr(before.load(), name)
            if value is not None:
                assert np.array_equal(f[name][()], value.numpy()) and f[name].fletcher32
                assert f[name].compression == (None if compression == "null" else compression)
        assert "grid/points" in f or "grid/x" in f
    assert [p.name for p in Path("out").iterdir()] == ["y.h5"]


REAL = (
    "neuralop/darcy_train_16.pt",
    "neuralop/burgers_train_16.pt",
    "pinns/burgers_shock.mat",
    "pinns/NLS.mat",
    "deephpms/burgers.mat",
    "graetz/graetz_50.npz",
    "burgers_comsol/burgers1d.dat",
    "thermal_block",
    "channel_startup",
    "advection",
)


@pytest.mark.parametrize("name", REAL)
def test_data_made_by_others(run, realdata, name):
    where = f"data.path={realdata / name}"
    run(where, "out=y.h5")
    assert_same(opened(where), open_dataset("y.h5"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("maker", [neuralop_in_time, complex_mat, npz_mesh], ids=lambda m: m.__name__)
def test_precision(run, maker, dtype):
    where = maker()
    run(*where, "out=y.h5", f"dtype={dtype}")
    before, after = opened(*where), open_dataset("y.h5")
    wanted = getattr(torch, dtype)
    assert after.u.dtype == (wanted.to_complex() if before.u.dtype.is_complex else wanted)
    assert before.mu is None or after.mu.dtype == before.mu.dtype
    assert_same(before, after, exact=False)


def test_a_part_of_the_data(run):
    where = fno_mat()
    run(*where, "data.n=2", "data.stride=2", "out=y.h5")
    after = open_dataset("y.h5")
    assert after.u.shape == (2, 3, 1, 3, 3)
    assert_same(opened(*where, "data.n=2", "data.stride=2"), after)


def test_separate_files_become_splits(run):
    for name, n in (("train", 5), ("val", 2), ("test", 3)):
        save_dataset(f"{name}.h5", Dataset(Grid.make((8,)), u=torch.rand(n, 1, 8), mu=torch.rand(n, 1)))
    run("data.path=train.h5", "data.val_path=val.h5", "data.test_path=test.h5", "out=all.h5")
    whole = open_dataset("all.h5")
    assert {k: len(v) for k, v in whole.splits.items()} == {"train": 5, "val": 2, "test": 3}
    for name in ("train", "val", "test"):
        assert_same(replace(whole[whole.splits[name]], splits={}), open_dataset(f"{name}.h5"))
    save_dataset("test.h5", Dataset(Grid.make((16,)), u=torch.rand(3, 1, 16), mu=torch.rand(3, 1)))
    with pytest.raises(NWidthError, match="as in the first file"):
        run("data.path=train.h5", "data.test_path=test.h5", "out=other.h5")
    assert not Path("other.h5").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["out=there.h5"], "overwrite=true"),
        ([], "no out"),
        (["out=y.nc"], r"\.h5"),
        (["out=y.h5", "compression=zip"], "lzf"),
        (["out=y.h5", "dtype=float16"], "float32"),
        (["out=y.h5", "data.path=none.h5"], "none.h5"),
    ],
)
def test_what_cannot_be_converted_is_told(run, overrides, said):
    Path("there.h5").write_text("kept")
    where = native()
    with pytest.raises(NWidthError, match=said):
        run(*where, *overrides)
    assert Path("there.h5").read_text() == "kept" and not Path("y.h5").exists()


def test_overwrite(run):
    Path("there.h5").write_text("old")
    run(*native(), "out=there.h5", "overwrite=true")
    assert len(open_dataset("there.h5")) == 6


def test_values_beyond_single_precision_are_refused(tmp_path):
    data = Dataset(Grid.make((4,)), u=torch.tensor([[[1.0, 2, 3, 1e300]]], dtype=torch.float64))
    with pytest.raises(NWidthError, match="1e\\+300"):
        convert(data, tmp_path / "y.h5", dtype=torch.float32)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("No space left on device")])
def test_an_interruption_leaves_no_file(tmp_path, error):
    data = Dataset(Grid.make((8,)), u=torch.rand(6, 1, 8), a=torch.rand(6, 1, 8))
    calls = []

    def stop(n):
        calls.append(n)
        if len(calls) == 2:
            raise error

    with pytest.raises((KeyboardInterrupt, NWidthError)):
        convert(data, tmp_path / "y.h5", on_bytes=stop)
    assert not list(tmp_path.iterdir())


def test_large_samples_are_copied_in_windows_of_time(tmp_path, monkeypatch):
    u = torch.randn(2, 50, 1, 64, 64)
    data = Dataset(Grid.make((64, 64)), u=u, u0=torch.randn(2, 1, 64, 64), t=torch.arange(1.0, 51))
    save_dataset(tmp_path / "x.h5", data)
    from nwidth.data import arrays
    from nwidth.data import convert as module

    monkeypatch.setattr(module, "blocks", lambda v, timed: arrays.blocks(v, timed, size=2**17))
    sizes = []
    convert(open_dataset(tmp_path / "x.h5"), tmp_path / "y.h5", on_bytes=sizes.append)
    assert max(sizes) <= 2**17 and sum(sizes) == u.nbytes + data.u0.nbytes
    assert_same(data, open_dataset(tmp_path / "y.h5"))
