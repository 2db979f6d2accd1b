"""Files in each published layout, tiny, written here; damaged ones; and the real ones where they are at hand."""

import contextlib
import os

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from nwidth.backends import Grid, Mesh
from nwidth.data import H5Array, Roles, open_dataset
from nwidth.errors import NWidthError

RNG = np.random.default_rng(0)


def values(*shape: int, dtype: str = "f4") -> np.ndarray:
    return RNG.normal(size=shape).astype(dtype)


def h5(path, attrs=None, **arrays):
    with h5py.File(path, "w") as f:
        for key, v in arrays.items():
            f[key.replace("_coordinate", "-coordinate")] = v
        f.attrs.update(attrs or {})
    return path


def equal(found, expected) -> bool:
    found = found.read() if isinstance(found, H5Array) else found
    return found.shape == expected.shape and np.array_equal(found.numpy(), expected)


# PDEBench


@pytest.mark.parametrize(
    ("name", "attrs", "parameters"),
    [
        ("1D_Advection_Sols_beta0.4.hdf5", {}, {"beta": 0.4}),
        ("1D_Burgers_Sols_Nu0.001.hdf5", {}, {"Nu": 0.001}),
        ("ReacDiff_Nu0.5_Rho1.0.hdf5", {}, {"Nu": 0.5, "Rho": 1.0}),
        ("mine.h5", {"Nu": 0.25}, {"Nu": 0.25}),
        ("Nu0.001.h5", {"Nu": 0.25}, {"Nu": 0.25}),
    ],
)
def test_pdebench_time_dependent(tmp_path, name, attrs, parameters):
    u, x = values(5, 4, 16), (np.arange(16, dtype="f4") + 0.5) / 16
    t = np.linspace(0, 2, 5, dtype="f4")  # one more than there are states
    data = open_dataset(h5(tmp_path / name, attrs, tensor=u, x_coordinate=x, t_coordinate=t))
    assert data.format == "PDEBench" and data.attributes == parameters and data.reads == ("u0",)
    assert equal(data.u0, u[:, 0, None]) and equal(data.u, u[:, 1:, None])  # the first state is the question
    assert data.t0 == 0 and data.t.tolist() == pytest.approx([0.5, 1.0, 1.5])
    axis = data.grid.axes[0]
    assert axis.kind == "periodic" and (axis.lo, axis.length) == pytest.approx((1 / 32, 1.0), rel=1e-5)


def test_pdebench_darcy(tmp_path):
    u, a = values(5, 1, 8, 6), values(5, 8, 6)
    x, y = ((np.arange(n, dtype="f4") + 0.5) / n for n in (8, 6))
    path = h5(tmp_path / "2D_DarcyFlow_beta1.0_Train.hdf5", tensor=u, nu=a, x_coordinate=x, y_coordinate=y)
    data = open_dataset(path)
    assert data.format == "PDEBench Darcy" and data.t is None and data.attributes["beta"] == 1.0
    assert equal(data.u, u) and equal(data.a, a[:, None]) and data.channels("a") == ("coefficient",)
    assert [(ax.kind, ax.n) for ax in data.grid.axes] == [("cell", 8), ("cell", 6)]
    assert [ax.length for ax in data.grid.axes] == pytest.approx([1.0, 1.0], rel=1e-5)


def test_pdebench_two_space_axes_and_another_kind(tmp_path):
    u = values(3, 4, 6, 5)
    path = h5(
        tmp_path / "d.h5",
        tensor=u,
        x_coordinate=np.arange(6.0),
        y_coordinate=np.arange(5.0),
        t_coordinate=np.arange(5.0),
    )
    data = open_dataset(path, Roles(kind="cell"))
    assert data.grid.shape == (6, 5) and data.grid.axes[0].kind == "cell" and equal(data.u, u[:, 1:, None])


def test_roles_overrule_the_conventions(tmp_path):
    u, a = values(5, 1, 8), values(5, 8)
    path = h5(tmp_path / "d.h5", tensor=u, nu=a, x_coordinate=np.arange(8.0))
    data = open_dataset(path, Roles({"u": "nu", "a": "tensor"}, {"u": "nx", "a": "ncx"}))
    assert equal(data.u, a[:, None]) and equal(data.a, u)


# neuraloperator


@pytest.mark.parametrize("space", [(8,), (8, 6), (4, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.float64])
def test_neuralop_steady(tmp_path, space, dtype):
    x, y = torch.rand(5, *space).round().to(dtype), torch.rand(5, *space)
    torch.save({"x": x, "y": y}, tmp_path / "darcy_train_8.pt")
    data = open_dataset(tmp_path / "darcy_train_8.pt")
    assert data.format == "neuraloperator" and data.reads == ("a",)
    assert data.a.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert equal(data.u, y[:, None].numpy()) and equal(data.a, x[:, None].to(data.a.dtype).numpy())
    for axis in data.grid.axes:  # points j / n; the edge at 1 is not stored
        assert np.allclose(axis.coordinates(), np.arange(axis.n) / axis.n) and axis.kind == "nodal"


@pytest.mark.parametrize("with_first", [True, False])
def test_neuralop_time_dependent(tmp_path, with_first):
    u = torch.rand(5, 4, 8, dtype=torch.float64)
    y = u if with_first else u[:, 1:]
    torch.save({"x": u[:, 0], "y": y, "t": torch.linspace(0, 3, 4)[4 - y.shape[1] :], "visc": 0.01}, tmp_path / "b.pt")
    data = open_dataset(tmp_path / "b.pt")
    assert data.grid == Grid.make((8,)) and data.attributes["visc"] == 0.01
    assert equal(data.u0, u[:, 0, None].numpy()) and equal(data.u, u[:, 1:, None].numpy())
    assert data.t.tolist() == [1, 2, 3] and data.t0 == 0


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


# MATLAB


def write_mat(path, version: str, **arrays):
    if version == "v5":
        scipy.io.savemat(path, arrays)
        return path
    with h5py.File(path, "w", userblock_size=512) as f:  # as MATLAB does: axes reversed, complex numbers as pairs
        for key, v in arrays.items():
            v = np.atleast_2d(v).T
            if np.iscomplexobj(v):
                pairs = np.empty(v.shape, [("real", v.real.dtype), ("imag", v.real.dtype)])
                pairs["real"], pairs["imag"], v = v.real, v.imag, None
                f[key] = pairs
            else:
                f[key] = v
        f.create_group("#refs#")["a"] = np.zeros(2)
    with open(path, "r+b") as f:
        f.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return path


@pytest.mark.parametrize("version", ["v5", "v7.3"])
def test_fno_files(tmp_path, version):
    a, u = values(4, 16, dtype="f8"), values(4, 16, dtype="f8")
    data = open_dataset(write_mat(tmp_path / "burgers.mat", version, a=a, u=u))
    assert data.format == "FNO Burgers" and data.grid == Grid.make((16,))
    assert equal(data.a, a[:, None]) and equal(data.u, u[:, None])

    a, u = values(4, 5, 7), values(4, 5, 7)
    data = open_dataset(write_mat(tmp_path / "darcy.mat", version, coeff=a, sol=u, Kcoeff=u))
    assert data.format == "FNO Darcy" and data.grid == Grid.make((5, 7), "nodal")
    assert equal(data.a, a[:, None]) and equal(data.u, u[:, None])

    a, u, t = values(4, 8, 6), values(4, 8, 6, 3), np.array([1.0, 2.0, 3.0])
    data = open_dataset(write_mat(tmp_path / "ns.mat", version, a=a, u=u, t=t))
    assert data.format == "FNO Navier-Stokes" and data.t.tolist() == [1, 2, 3] and data.t0 == 0
    assert equal(data.u0, a[:, None]) and equal(data.u, u.transpose(0, 3, 1, 2)[:, :, None])


@pytest.mark.parametrize("version", ["v5", "v7.3"])
def test_one_complex_trajectory(tmp_path, version):
    u = values(8, 5, dtype="f8") + 1j * values(8, 5, dtype="f8")
    path = write_mat(tmp_path / "nls.mat", version, uu=u, tt=np.arange(5.0), x=np.arange(8.0)[:, None])
    data = open_dataset(path, Roles({"u": "uu", "t": "tt"}, {"u": "xt"}, {"x": "x"}, kind="periodic"))
    assert data.u.dtype == torch.complex128 and equal(data.u0, u[None, None, :, 0])
    assert equal(data.u, u.T[None, 1:, None]) and data.grid == Grid.make((8,), hi=8.0)


def test_unknown_mat_files_ask(tmp_path):
    with pytest.raises(NWidthError, match=r"keys usol, x; set e\.g\.|keys usol, x, expected"):
        open_dataset(write_mat(tmp_path / "a.mat", "v5", usol=values(3, 4), x=np.arange(3.0)))


# NumPy and plain HDF5


def test_npz_with_fields_parameters_and_mesh(tmp_path):
    u, mu, points = values(5, 9), values(5, 2), values(9, 2)
    np.savez(tmp_path / "d.npz", snapshots=u.astype(">f8"), params=mu, coords=points, cells=[[0, 1, 2]], note="by us")
    data = open_dataset(
        tmp_path / "d.npz",
        Roles({"u": "snapshots", "mu": "params"}, {"u": "nm"}, {"points": "coords", "cells": "cells"}),
    )
    assert equal(data.u, u[:, None].astype("f8")) and equal(data.mu, mu) and data.format == "NumPy"
    assert isinstance(data.grid, Mesh) and equal(data.grid.points, points.astype("f8"))


def test_npy_is_called_u(tmp_path):
    u = values(5, 9)
    np.save(tmp_path / "d.npy", u)
    assert equal(open_dataset(tmp_path / "d.npy", Roles({"u": "u"}, {"u": "nx"})).u, u[:, None])


def test_object_arrays_are_refused_and_do_not_run(tmp_path):
    np.save(tmp_path / "d.npy", np.array([Bomb(tmp_path / "ran")], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "d.npz", u=np.array([Bomb(tmp_path / "ran")], dtype=object))
    for name in ("d.npy", "d.npz"):
        with pytest.raises(NWidthError, match="without pickle"):
            open_dataset(tmp_path / name, Roles({"u": "u"}))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["h5", "npz"])
def test_roles_axes_and_coordinates(tmp_path, kind):
    arrays = {
        "g/vx": values(6, 5, 4, 7),
        "g/vy": values(6, 5, 4, 7),
        "start": values(6, 5, 2, 4),
        "nu": values(7),
        "rho": values(7, 1),
        "time": np.array([0.5, 1.0, 1.5, 2.0]),
        "x": np.linspace(0, 1, 5),
        "y": np.array([0, 0.1, 0.3, 0.5, 0.8, 1.0]),
    }
    arrays["start"] = values(7, 2, 6, 5)
    path = tmp_path / f"d.{kind}"
    h5(path, **arrays) if kind == "h5" else np.savez(path, **arrays)
    roles = Roles(
        {"u": ["g/vx", "g/vy"], "u0": "start", "mu": ["nu", "rho"], "t": "time"},
        {"u": "yxtn", "u0": "ncyx"},
        {"x": "x", "y": "y"},
        kind=["periodic", "cell"],
    )
    data = open_dataset(path, roles)
    u = np.stack([arrays["g/vx"], arrays["g/vy"]]).transpose(4, 3, 0, 2, 1)
    assert equal(data.u, u) and equal(data.u0, arrays["start"].transpose(0, 1, 3, 2))
    assert equal(data.mu, np.stack([arrays["nu"], arrays["rho"][:, 0]], 1))
    assert [(a.kind, a.n) for a in data.grid.axes] == [("periodic", 5), ("listed", 6)]
    assert data.t.tolist() == [0.5, 1.0, 1.5, 2.0] and data.t0 == 0


@pytest.mark.parametrize("spaces", [1, 2])
def test_x_and_y_are_guessed(tmp_path, spaces):
    a, u = values(5, *(6, 4)[:spaces]), values(5, *(6, 4)[:spaces])
    data = open_dataset(h5(tmp_path / "d.h5", x=a, y=u))
    assert equal(data.a, a[:, None]) and equal(data.u, u[:, None]) and data.format == "HDF5"


def test_a_repeated_first_state_is_not_a_prediction(tmp_path):
    u = values(5, 4, 8)
    roles = Roles({"u": "u", "u0": "v", "t": "t"}, {"u": "ntx", "u0": "nx"})
    data = open_dataset(h5(tmp_path / "a.h5", u=u, v=u[:, 0], t=np.arange(4.0)), roles)
    assert data.t.tolist() == [1, 2, 3] and equal(data.u, u[:, 1:, None])
    data = open_dataset(h5(tmp_path / "b.h5", u=u, v=u[:, 0] + 1, t=np.arange(4.0)), roles)
    assert data.t.tolist() == [0, 1, 2, 3] and data.t0 == -1 and equal(data.u, u[:, :, None])


# damage


FILES = {
    "d.pt": lambda p: torch.save({"x": torch.rand(50, 8), "y": torch.rand(50, 8)}, p),
    "d.npz": lambda p: np.savez_compressed(p, u=values(50, 8), a=values(50, 8)),
    "d.npy": lambda p: np.save(p, values(50, 8)),
    "v5.mat": lambda p: write_mat(p, "v5", a=values(50, 8), u=values(50, 8)),
    "v73.mat": lambda p: write_mat(p, "v7.3", a=values(50, 8), u=values(50, 8)),
    "p.hdf5": lambda p: h5(p, tensor=values(5, 4, 64), x_coordinate=np.arange(64.0), t_coordinate=np.arange(5.0)),
    "plain.h5": lambda p: h5(p, x=values(50, 8), y=values(50, 8)),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.6, 0.97])
def test_truncated_files(tmp_path, name, keep):
    path = tmp_path / name
    FILES[name](path)
    os.truncate(path, int(keep * path.stat().st_size))
    with pytest.raises(NWidthError):
        open_dataset(path, Roles({"u": "u"}) if name[-3:] in ("npz", "npy") else None).load()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("seed", range(6))
def test_scrambled_files_never_raise_anything_else(tmp_path, name, seed):
    path = tmp_path / name
    FILES[name](path)
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for i in rng.integers(0, len(content), 40):
        content[i] = rng.integers(256)
    path.write_bytes(content)
    with contextlib.suppress(NWidthError):
        open_dataset(path, Roles({"u": "u"}) if name[-3:] in ("npz", "npy") else None).load()


def plain(**arrays):
    return lambda p: (h5(p / "d.h5", **arrays), p / "d.h5")[1]


def write_text(p):
    (p / "d.h5").write_text("not HDF5")
    return p / "d.h5"


@pytest.mark.parametrize(
    ("make", "roles", "words"),
    [
        (lambda p: p / "no.h5", {}, "no such file"),
        (lambda p: p, {}, "no such file"),
        (write_text, {}, "cannot read"),
        (plain(u=values(3, 4)), {}, "no roles for the keys u"),
        (plain(u=values(3, 4)), {"fields": {"u": "w"}}, "no key 'w', expected one of u"),
        (plain(u=values(3, 4)), {"fields": {"u": "u", "b": "u"}}, "['b']"),
        (plain(u=values(3, 4)), {"fields": {"u": "u"}, "axes": {"b": "nx"}}, "['b']"),
        (plain(u=values(3, 4)), {"fields": {"u": "u"}, "coordinates": {"t": "u"}}, "['t']"),
        (plain(u=values(3, 4)), {"fields": {"u": "u"}, "axes": {"u": "nxy"}}, "axes='nxy'"),
        (plain(u=values(3, 4)), {"fields": {"u": "u"}, "kind": "nodel"}, "kind='nodel'"),
        (plain(u=values(3, 4), a=values(3, 5)), {"fields": {"u": "u", "a": "a"}}, "space (4,)"),
        (plain(u=values(3, 4), a=values(2, 4)), {"fields": {"u": "u", "a": "a"}}, "different sample counts"),
        (plain(u=values(3, 4), v=values(3, 5)), {"fields": {"u": ["u", "v"]}}, "one shape"),
        (plain(u=values(3, 4), m=values(2)), {"fields": {"u": "u", "mu": "m"}}, "different sample counts"),
        (plain(u=values(3, 4), m=np.float64(2)), {"fields": {"u": "u", "mu": "m"}}, "different sample counts"),
        (plain(u=values(3, 4), m=values(3), q=values(2)), {"fields": {"u": "u", "mu": ["m", "q"]}}, "[3, 2] values"),
        (plain(u=values(3, 4), m=[b"a", b"b", b"c"]), {"fields": {"u": "u", "mu": "m"}}, "numbers"),
        (plain(u=values(3, 4), x=np.arange(5.0)), {"fields": {"u": "u"}, "coordinates": {"x": "x"}}, "5 coordinates"),
        (plain(u=values(3, 4), x=-np.arange(4.0)), {"fields": {"u": "u"}, "coordinates": {"x": "x"}}, "increasing"),
        (
            plain(u=values(3, 4, 5), t=np.array([0.0, 2.0, 1.0, 3.0])),
            {"fields": {"u": "u", "t": "t"}},
            "increasing times",
        ),
        (plain(u=values(3, 4, 5), t=np.arange(3.0)), {"fields": {"u": "u", "t": "t"}}, "3 times for 4 states"),
        (plain(u=values(3, 1, 5), t=np.arange(1.0)), {"fields": {"u": "u", "t": "t"}}, "a single time"),
        (plain(u=values(3)), {"fields": {"u": "u"}}, "cannot be guessed"),
        (plain(m=values(3, 2)), {"fields": {"mu": "m"}}, "parameters alone"),
        (plain(u=values(3, 4)), {"fields": {"u": "u"}, "lo": [0.0, 0.0]}, "2 lo"),
        (plain(tensor=values(3, 4, 5), **{"x_coordinate": np.arange(5.0)}), {}, "no key 't-coordinate'"),
    ],
)
def test_errors_name_what_arrived(tmp_path, make, roles, words):
    with pytest.raises(NWidthError) as error:
        open_dataset(make(tmp_path), Roles(**roles))
    assert words in str(error.value)


def test_formats_are_checked(tmp_path):
    (tmp_path / "d.csv").write_text("1,2")
    with pytest.raises(NWidthError, match=r"'\.csv' that no reader"):
        open_dataset(tmp_path / "d.csv")
    with pytest.raises(NWidthError, match=r"data\.format='csv'"):
        open_dataset(tmp_path / "d.csv", format="csv")
    torch.save(torch.rand(3, 4), tmp_path / "d.pt")
    assert equal(open_dataset(tmp_path / "d.pt", Roles({"u": "u"})).u, torch.load(tmp_path / "d.pt")[:, None].numpy())
    torch.save([1], tmp_path / "e.pt")
    with pytest.raises(NWidthError, match="a list"):
        open_dataset(tmp_path / "e.pt")


# the real ones


def test_real_neuralop_files(realdata):
    data = open_dataset(realdata / "neuralop" / "darcy_train_16.pt")
    assert tuple(data.u.shape) == tuple(data.a.shape) == (1000, 1, 16, 16) and data.a.unique().tolist() == [0, 1]
    assert int((data.u < -1e-3).flatten(1).any(1).sum()) == 8  # of another sign than the solutions of the equation
    data = open_dataset(realdata / "neuralop" / "burgers_train_16.pt")
    assert tuple(data.u.shape) == (800, 16, 1, 16) and data.u.dtype == torch.float64 and data.t0 == 0
    assert torch.allclose(data.t, 0.06 * torch.arange(1, 17, dtype=torch.float64))


def test_real_mat_files(realdata):
    roles = Roles({"u": "usol", "t": "t"}, {"u": "xt"}, {"x": "x"})
    data = open_dataset(realdata / "pinns" / "burgers_shock.mat", roles)
    x = data.grid.coordinates()[0]
    assert tuple(data.u.shape) == (1, 99, 1, 256) and (float(x[0]), float(x[-1])) == pytest.approx((-1, 1))
    assert torch.allclose(data.u0[0, 0], -torch.sin(torch.pi * x), atol=1e-6)
    nls = open_dataset(
        realdata / "pinns" / "NLS.mat", Roles({"u": "uu", "t": "tt"}, {"u": "xt"}, {"x": "x"}, kind="periodic")
    )
    assert nls.u.dtype == torch.complex128 and nls.grid.axes[0].length == pytest.approx(10)
    assert torch.allclose(nls.u0[0, 0].real, 2 / torch.cosh(nls.grid.coordinates()[0]), atol=1e-6)


def test_real_numpy_files(realdata):
    path = realdata / "graetz" / "graetz_50.npz"
    roles = Roles({"u": "snapshots", "mu": "params"}, {"u": "nm"}, {"points": "coords_reference", "cells": "triangles"})
    data = open_dataset(path, roles)
    assert tuple(data.u.shape) == (50, 1, 5160) and tuple(data.mu.shape) == (50, 2) and data.grid.ndim == 2
    with np.load(path) as f:  # the square and a rectangle beside it
        assert float(data.grid.weights().sum()) == pytest.approx(1 + float(f["reference_length"]), rel=1e-6)
