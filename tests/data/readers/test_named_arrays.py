"""NumPy files, folders of arrays, tables and plain HDF5: roles from the config, or from names and sizes."""

import os

import numpy as np
import pytest
import torch
from nwidth.backends import Mesh
from nwidth.data import Roles, open_dataset
from nwidth.errors import NWidthError


@pytest.fixture(params=["h5", "npz", "folder"])
def write(request, tmp_path, write_h5):
    """The same named arrays as an HDF5 file, an archive, and a folder of .npy files; whether fields stay on disk."""

    def make(**arrays):
        if request.param == "h5":
            return write_h5(tmp_path / "d.h5", arrays), True
        if request.param == "npz":
            np.savez(tmp_path / "d.npz", **arrays)
            return tmp_path / "d.npz", False
        (tmp_path / "d").mkdir(exist_ok=True)
        for key, v in arrays.items():
            np.save(tmp_path / "d" / f"{key}.npy", v)
        return tmp_path / "d", True

    return make


def test_roles_axes_and_coordinates(write, values, same):
    arrays = {
        "vx": values(6, 5, 4, 7),
        "vy": values(6, 5, 4, 7),
        "start": values(7, 2, 6, 5),
        "nu": values(7),
        "rho": values(7, 1),
        "time": np.array([0.5, 1.0, 1.5, 2.0]),
        "x": np.linspace(0, 1, 5),
        "y": np.array([0, 0.1, 0.3, 0.5, 0.8, 1.0]),
    }
    path, lazy = write(**arrays)
    roles = Roles(
        {"u": ["vx", "vy"], "u0": "start", "mu": ["nu", "rho"], "t": "time"},
        {"u": "yxtn", "u0": "ncyx"},
        {"x": "x", "y": "y"},
        kind=["periodic", "cell"],
    )
    data = open_dataset(path, roles)
    u = np.stack([arrays["vx"], arrays["vy"]]).transpose(4, 3, 0, 2, 1)
    same(data, lazy=lazy, u=u, u0=arrays["start"].transpose(0, 1, 3, 2))
    same(data, mu=np.stack([arrays["nu"], arrays["rho"][:, 0]], 1))
    assert data.channels("mu") == ("nu", "rho")
    assert [(a.kind, a.n) for a in data.grid.axes] == [("periodic", 5), ("listed", 6)]
    assert data.t.tolist() == [0.5, 1.0, 1.5, 2.0] and data.t0 == 0


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("depth", [2, 3])
def test_snapshots_on_a_mesh(write, values, same, across, depth):
    """params, coords, triangles; coordinates as rows or columns, a plane in space or not."""
    u, mu, points = values(5, 9), values(5, 2), values(9, depth)
    if depth == 3:
        points[:, 2] = 0.0
    path, lazy = write(snapshots=u, params=mu, coords=points.T if across else points, triangles=[[0, 1, 2], [3, 4, 8]])
    data = open_dataset(path)
    same(data, lazy=lazy, u=u[:, None], mu=mu)
    assert isinstance(data.grid, Mesh) and np.array_equal(data.grid.points.numpy(), points[:, :2].astype("f8"))
    assert data.grid.cells.tolist() == [[0, 1, 2], [3, 4, 8]] and data.t is None


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("heat", [True, False])
def test_a_mesh_that_moves_from_sample_to_sample(write, values, same, across, heat):
    """Points of their own for each sample: the mean mesh, and their displacement among the inputs."""
    u, mu, points, f = values(5, 9), values(5, 2), values(5, 9, 2), values(5, 9)
    coords = points.transpose(0, 2, 1) if across else points
    path, lazy = write(snapshots=u, params=mu, coords=coords, triangles=[[0, 1, 2], [3, 4, 8]], source=f)
    fields, coordinates = {"u": "snapshots", "mu": "params", "a": "source"}, {"points": "coords", "cells": "triangles"}
    data = open_dataset(path, Roles(fields=fields, coordinates=coordinates) if heat else None)
    moved = (points - points.mean(0)).transpose(0, 2, 1)
    assert isinstance(data.grid, Mesh) and np.allclose(data.grid.points.numpy(), points.mean(0), atol=1e-6)
    same(data, lazy=lazy, u=u[:, None], mu=mu)
    assert data.a.shape == (5, 3 if heat else 2, 9)
    assert np.allclose(data.a[:, -2:].numpy(), moved, atol=1e-6) and data.channels("a")[-1] == "displacement_y"
    if heat:
        assert np.allclose(data.a[:, 0].numpy(), f)


def test_points_of_another_count_of_samples(write, values):
    path, _ = write(snapshots=values(5, 9), params=values(5, 2), coords=values(4, 9, 2))
    with pytest.raises(NWidthError, match="points of 4 samples"):
        open_dataset(path)


def test_a_trajectory_on_a_mesh(write, values, same):
    vx, vy = values(6, 9), values(6, 9)
    path, lazy = write(
        snapshots_vx=vx, snapshots_vy=vy, time=np.arange(6)[:, None], pts=values(9, 2), cells=[[0, 1, 2]]
    )
    data = open_dataset(path)
    same(data, lazy=lazy, u=np.stack([vx, vy], 1)[None, 1:], u0=np.stack([vx[0], vy[0]])[None])
    assert data.channels("u") == data.channels("u0") == ("vx", "vy") and data.t.tolist() == [1, 2, 3, 4, 5]


def test_a_grid_by_its_sizes(write, values, same):
    """(y, x, t, n): every size occurs once."""
    u = values(6, 5, 4, 7)
    path, lazy = write(solution=u, time=np.arange(4.0), x=np.arange(5.0), y=np.arange(6.0), mu=values(7, 2))
    data = open_dataset(path)
    same(data, lazy=lazy, u=u.transpose(3, 2, 1, 0)[:, 1:, None])
    assert data.grid.shape == (5, 6)


@pytest.mark.parametrize("spaces", [1, 2])
def test_input_and_solution_by_name(write, values, same, spaces):
    a, u = values(5, *(6, 4)[:spaces]), values(5, *(6, 4)[:spaces])
    path, lazy = write(inputs=a, outputs=u)
    same(open_dataset(path), lazy=lazy, a=a[:, None], u=u[:, None])


def test_one_channel_at_the_end(write, values, same):
    a, u = values(5, 6, 1), values(5, 6, 1)
    path, lazy = write(input=a, output=u)
    same(open_dataset(path), lazy=lazy, a=a.transpose(0, 2, 1), u=u.transpose(0, 2, 1))


def test_names_that_tell_nothing_ask(write, values):
    path, _ = write(q=values(3, 4), w=values(3, 4))
    with pytest.raises(NWidthError, match="no roles for the keys q, w"):
        open_dataset(path)
    path, _ = write(u=values(3, 4), solution=values(3, 4))
    with pytest.raises(NWidthError, match="no roles for the keys"):
        open_dataset(path)


def test_npy_is_called_u_and_stays_on_disk(tmp_path, values, same):
    u = values(5, 9)
    np.save(tmp_path / "d.npy", u)
    same(open_dataset(tmp_path / "d.npy"), u=u[:, None])
    same(open_dataset(tmp_path / "d.npy", Roles({"u": "u"}, {"u": "xn"})), u=u.T[:, None])
    np.save(tmp_path / "e.npy", np.asfortranarray(values(4, 5, 6) + 1j))
    data = open_dataset(tmp_path / "e.npy", Roles({"u": "u"}, {"u": "ntx"}))
    same(data, u=(np.load(tmp_path / "e.npy"))[:, 1:, None])


def test_single_numbers_are_attributes(tmp_path, values):
    np.savez(tmp_path / "d.npz", u=values(5, 9), length=2.5, note="by us")
    assert open_dataset(tmp_path / "d.npz").attributes == {"length": 2.5}


class Bomb:
    """Runs code where it is unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_object_arrays_are_refused_and_do_not_run(tmp_path):
    np.save(tmp_path / "d.npy", np.array([Bomb(tmp_path / "ran")], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "d.npz", u=np.array([Bomb(tmp_path / "ran")], dtype=object))
    for name in ("d.npy", "d.npz"):
        with pytest.raises(NWidthError, match="without pickle"):
            open_dataset(tmp_path / name, Roles({"u": "u"}))
    assert not (tmp_path / "ran").exists()


def test_a_folder_of_tensors_with_splits(tmp_path, same):
    """advection_input_training.pt and so on."""
    arrays = {f"advection_{k}_{s}": torch.rand(n, 6, 1) for k in ("input", "output") for s, n in SIZES.items()}
    for name, v in arrays.items():
        torch.save(v, tmp_path / f"{name}.pt")
    data = open_dataset(tmp_path, Roles(lo=0.0, hi=2.0))
    a, u = (torch.cat([arrays[f"advection_{k}_{s}"] for s in sorted(SIZES)]) for k in ("input", "output"))
    same(data, lazy=False, a=a.transpose(1, 2).numpy(), u=u.transpose(1, 2).numpy())
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 5, "test": 3} and data.grid.axes[0].hi == 2
    picked = Roles({"u": "advection_output_testing", "a": "advection_input_testing"}, {"u": "nxc", "a": "nxc"})
    same(open_dataset(tmp_path, picked), lazy=False, u=arrays["advection_output_testing"].transpose(1, 2).numpy())


SIZES = {"training": 5, "testing": 3}


def test_a_folder_of_npy_files_with_splits(tmp_path, values, same):
    u = {s: values(n, 6) for s, n in SIZES.items()}
    for s, v in u.items():
        np.save(tmp_path / f"snapshots_{s}.npy", v)
        np.save(tmp_path / f"params_{s}.npy", v[:, :2])
    np.save(tmp_path / "pts.npy", values(6, 2))
    data = open_dataset(tmp_path)
    both = np.concatenate([u["testing"], u["training"]])
    same(data, u=both[:, None], mu=both[:, :2])
    assert {k: v.tolist() for k, v in data.splits.items()} == {"test": [0, 1, 2], "train": [3, 4, 5, 6, 7]}


def test_tables(tmp_path, same):
    (tmp_path / "a.dat").write_text(
        "% Model: a\n% X   u (1) @ t=0  u (1) @ t=0.5  u (1) @ t=1\n0 1 2 3\n1 4 5 6\n2 7 8 9\n"
    )
    data = open_dataset(tmp_path / "a.dat")
    same(data, lazy=False, u0=[[[1.0, 4, 7]]], u=[[[[2.0, 5, 8]], [[3, 6, 9]]]])
    assert data.t.tolist() == [0.5, 1] and data.grid.axes[0].hi == 2 and data.attributes == {"header": ["Model: a"]}
    (tmp_path / "b.txt").write_text("0 1\n1 4\n3 7\n")
    data = open_dataset(tmp_path / "b.txt")
    same(data, lazy=False, u=[[[1.0, 4, 7]]])
    assert data.grid.axes[0].kind == "listed" and data.t is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello world\n", "no table of numbers"),
        ("0 1 2\n1 2\n", "row 1 has 2 columns, row 0 has 3"),
        ("1\n2\n", "fewer than two columns"),
        ("", "no table"),
        ("% x u @ t=0 u @ t=1\n0 1\n1 2\n", "2 times for 1 columns"),
        ("1 1\n0 2\n", "increasing"),
    ],
)
def test_texts_that_are_no_tables(tmp_path, text, words):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(NWidthError) as error:
        open_dataset(tmp_path / "a.txt")
    assert words in str(error.value)


def test_equal_rows_of_times(tmp_path, values, write_h5, same):
    u = values(5, 4, 8)
    data = open_dataset(write_h5(tmp_path / "a.h5", {"u": u, "t": np.tile(np.arange(4.0), (5, 1))}))
    assert data.t.tolist() == [1, 2, 3]
    same(data, u=u[:, 1:, None], u0=u[:, :1])


def test_a_repeated_first_state_is_not_a_prediction(tmp_path, values, write_h5, same):
    u = values(5, 4, 8)
    u[0, 0, 3] = np.nan
    roles = Roles({"u": "u", "u0": "v", "t": "t"}, {"u": "ntx", "u0": "nx"})
    data = open_dataset(write_h5(tmp_path / "a.h5", {"u": u, "v": u[:, 0], "t": np.arange(4.0)}), roles)
    assert data.t.tolist() == [1, 2, 3]
    same(data, u=u[:, 1:, None])
    data = open_dataset(write_h5(tmp_path / "b.h5", {"u": u, "v": u[:, 0] + 1, "t": np.arange(4.0)}), roles)
    assert data.t.tolist() == [0, 1, 2, 3] and data.t0 == -1
    same(data, u=u[:, :, None])
