"""PDEArena's generated files."""

import numpy as np
import pytest
from nwidth.data import open_dataset
from nwidth.errors import NWidthError


def smoke(values, n=3, t=None, **more):
    t = np.tile(np.linspace(18, 102, 5), (n, 1)) if t is None else t
    return {
        **{k: values(n, 5, 6, 4, dtype="f8") for k in ("u", "vx", "vy")},
        "t": t,
        "x": np.tile(np.linspace(0, 32, 6), (n, 1)),
        "y": np.tile(np.linspace(0, 32, 4), (n, 1)),
        **{"dt": np.full(n, 1.5), "dx": np.full(n, 6.4), "dy": np.full(n, 32 / 3), "buo_y": values(n, dtype="f8")},
        **more,
    }


def stacked(group) -> np.ndarray:
    return np.stack([group[k] for k in ("u", "vx", "vy")], 2)


@pytest.mark.parametrize("mode", ["train", "valid", "test"])
def test_smoke(tmp_path, values, write_h5, same, bytes_read, mode):
    group = smoke(values)
    data = open_dataset(write_h5(tmp_path / f"NavierStokes2D_{mode}_42_0.50000.h5", {mode: group}))
    u = stacked(group)
    same(data, u=u[:, 1:], u0=u[:, 0], mu=group["buo_y"][:, None])
    assert data.format == "PDEArena" and data.channels("u") == ("u", "vx", "vy") and data.channels("mu") == ("buo_y",)
    assert data.t0 == 18 and data.t.tolist() == [39, 60, 81, 102] and data.splits == {}
    assert [(a.kind, a.n, a.hi) for a in data.grid.axes] == [("nodal", 6, 32), ("nodal", 4, 32)]
    assert data.attributes["boundary"] == {"x": "wall", "y": "wall"}
    bytes_read[0] = 0
    data.u.read([1], slice(0, 1))
    assert bytes_read[0] == 3 * 6 * 4 * 8


def test_groups_are_splits(tmp_path, values, write_h5, same):
    parts = {m: smoke(values, n) for m, n in (("train", 4), ("valid", 2), ("test", 3))}
    data = open_dataset(write_h5(tmp_path / "a.h5", parts))
    u = np.concatenate([stacked(g) for g in parts.values()])
    same(data, u=u[:, 1:], u0=u[:, 0])
    assert {k: v.tolist() for k, v in data.splits.items()} == {"train": [0, 1, 2, 3], "val": [4, 5], "test": [6, 7, 8]}
    assert data.source == str(tmp_path / "a.h5") and "files" not in data.attributes


def test_a_folder_of_files_of_each_split(tmp_path, values, write_h5):
    for mode, n in (("train", 4), ("valid", 2), ("test", 3)):
        for seed in (1, 2):
            write_h5(tmp_path / f"NavierStokes2D_{mode}_{seed}_0.50000.h5", {mode: smoke(values, n)})
    data = open_dataset(tmp_path)
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 8, "val": 4, "test": 6} and len(data) == 18


@pytest.mark.parametrize("with_v", [True, False])
def test_sivashinsky_counts_its_own_steps(tmp_path, values, write_h5, same, with_v):
    u = values(3, 5, 8)
    group = {"pde_5-8": u, "dt": values(3, dtype="f8"), "dx": values(3, dtype="f8")}
    group |= {"v": values(3, dtype="f8")} if with_v else {}
    data = open_dataset(write_h5(tmp_path / "KS_train_3.h5", {"train": group}))
    same(data, u=u[:, 1:, None], u0=u[:, :1])
    names = ("dt", "dx", "v")[: 2 + with_v]
    same(data, mu=np.stack([group[k] for k in names], 1))
    assert data.channels("mu") == names and data.t.tolist() == [1, 2, 3, 4] and data.units["t"] == "steps"
    assert data.grid.axes[0].kind == "periodic" and data.grid.axes[0].length == 8


def test_maxwell(tmp_path, values, write_h5, same):
    d, h = values(2, 3, 4, 4, 4, 3, dtype="f8"), values(2, 3, 4, 4, 4, 3, dtype="f8")
    data = open_dataset(write_h5(tmp_path / "Maxwell3D_test_1.h5", {"test": {"d_field": d, "h_field": h}}))
    u = np.moveaxis(np.concatenate([d, h], -1), -1, 2)
    same(data, u=u[:, 1:], u0=u[:, 0])
    assert data.channels("u") == ("d_x", "d_y", "d_z", "h_x", "h_y", "h_z") and all(data.grid.periodic)


def test_weather_with_falling_latitudes(tmp_path, values, write_h5, same):
    """netCDF-4 is HDF5; the trajectories of a folder are samples."""
    expected = []
    for run in range(3):
        content = {
            "u": (values(5, 1, 4, 6), {"units": "m/s"}),
            "v": (values(5, 1, 4, 6), {"units": "m/s"}),
            "pres": (values(5, 4, 6), {"units": "hPa"}),
            "lat": np.array([60.0, 30.0, -30.0, -60.0]),
            "lon": np.arange(6) * 60.0,
            "time": (np.arange(5.0) * 6, {"units": "hours"}),
            "lev": np.array([1.0]),
        }
        write_h5(tmp_path / "train" / "seed=1" / f"run{run:04d}" / "output.nc", content)
        fields = np.stack([content["pres"][0], content["u"][0][:, 0], content["v"][0][:, 0]], 1)
        expected.append(fields.transpose(0, 1, 3, 2)[..., ::-1])
    data = open_dataset(tmp_path)
    u = np.stack(expected)
    same(data, u=u[:, 1:], u0=u[:, 0])
    lon, lat = data.grid.axes
    assert (lon.kind, lon.length) == ("periodic", 360) and lat.coordinates().tolist() == [-60, -30, 30, 60]
    assert data.channels("u") == ("pres", "u", "v") and data.attributes["boundary"] == {"lon": "periodic"}
    assert data.units == {"u": "pres in hPa, u in m/s, v in m/s", "t": "hours"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: g.update(t=np.tile([0.0, 1, 1, 2, 3], (3, 1))), "times that do not increase"),
        (lambda g: g.update(t=np.tile(np.arange(4.0), (3, 1))), "4 times for 5 states"),
        (lambda g: g.update(vx=np.zeros((3, 5, 6, 5))), "shape (3, 5, 6, 5)"),
        (lambda g: g.update(buo_y=np.zeros(2)), "'buo_y': got 2 values, expected 3"),
        (lambda g: g.update(x=np.arange(18.0).reshape(3, 6)), "'x': got coordinates"),
    ],
)
def test_files_that_contradict_themselves(tmp_path, values, write_h5, change, words):
    group = smoke(values)
    change(group)
    with pytest.raises(NWidthError) as error:
        open_dataset(write_h5(tmp_path / "a.h5", {"train": group}))
    assert words in str(error.value)
