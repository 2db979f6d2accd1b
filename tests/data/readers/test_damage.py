"""Files that are cut short, damaged, or hold what they should not: each is told as what it is."""

import contextlib
import os

import numpy as np
import pytest
import scipy.io
import torch
from nwidth.data import Roles, open_dataset
from nwidth.errors import NWidthError


def content(rng) -> dict[str, dict]:
    """HDF5 files of each layout."""

    def values(*shape):
        return rng.normal(size=shape).astype("f4")

    x, t = np.arange(64.0), np.arange(5.0)
    flags = {"sample_varying": True, "time_varying": True, "dim_varying": [True]}
    return {
        "p.hdf5": {"tensor": values(5, 4, 64), "x-coordinate": x, "t-coordinate": t},
        "flow.hdf5": {k: values(5, 5, 64) for k in ("density", "pressure", "Vx")}
        | {"x-coordinate": x, "t-coordinate": t},
        "groups.h5": {f"{i:04d}": {"data": values(5, 64, 1), "grid": {"x": x, "t": t}} for i in range(4)},
        "ns.h5": {"velocity": values(2, 5, 8, 8, 2), "particles": values(2, 5, 8, 8, 1), "t": np.tile(t, (2, 1))},
        "well.hdf5": {
            "dimensions": {"@spatial_dims": ["x"], "time": t, "x": x},
            "t0_fields": {"@field_names": ["u"], "u": (values(4, 5, 64), flags)},
        },
        "arena.h5": {"train": {"pde_5-64": values(4, 5, 64), "dt": np.ones(4), "dx": np.ones(4)}},
        "plain.h5": {"x": values(50, 8), "y": values(50, 8)},
    }


@pytest.fixture(params=[*content(np.random.default_rng(0)), "d.pt", "d.npz", "d.npy", "v5.mat", "d.dat"])
def file(request, tmp_path, write_h5):
    rng = np.random.default_rng(0)
    path = tmp_path / request.param
    a, u = rng.normal(size=(50, 8)), rng.normal(size=(50, 8))
    if path.name in content(rng):
        return write_h5(path, content(rng)[path.name])
    if path.suffix == ".pt":
        torch.save({"x": torch.from_numpy(a), "y": torch.from_numpy(u)}, path)
    elif path.suffix == ".npz":
        np.savez_compressed(path, u=u, a=a)
    elif path.suffix == ".npy":
        np.save(path, u)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, {"a": a, "u": u})
    else:
        np.savetxt(path, np.concatenate([np.arange(50.0)[:, None], u], 1))
    return path


def test_whole_files_open(file):
    assert len(open_dataset(file).load()) > 0


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.6, 0.97])
def test_truncated(file, keep):
    if file.suffix == ".dat" and keep:
        pytest.skip("the first rows of a table are a table")
    os.truncate(file, int(keep * file.stat().st_size))
    with pytest.raises(NWidthError):
        open_dataset(file).load()


@pytest.mark.parametrize("seed", range(5))
def test_scrambled_files_never_raise_anything_else(file, seed):
    found = bytearray(file.read_bytes())
    rng = np.random.default_rng(seed)
    for i in rng.integers(0, len(found), 40):
        found[i] = rng.integers(256)
    file.write_bytes(found)
    with contextlib.suppress(NWidthError):
        open_dataset(file).load()


def groups(**changed):
    """Three trajectories of PDEBench's layout; the keys of the changes are group__data or group__t."""
    made = {
        f"{i:04d}": {"data": np.zeros((4, 6, 1), "f4"), "grid": {"x": np.arange(6.0), "t": np.arange(4.0)}}
        for i in range(3)
    }
    for key, v in changed.items():
        group, name = key.split("__")
        target = made[f"{int(group[1:]):04d}"]
        (target if name == "data" else target["grid"])[name] = v
    return made


X, T = np.arange(6.0), np.arange(5.0)
U = np.zeros((3, 4, 6), "f4")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        # samples of different shape or type
        (groups(_2__data=np.zeros((4, 8, 1), "f4")), "0002/data: got a sample of shape (4, 8, 1)"),
        (groups(_1__data=np.zeros((3, 6, 1), "f4")), "0001/data: got a sample of shape (3, 6, 1)"),
        (groups(_1__data=np.zeros((4, 6, 1))), "type float64, expected shape (4, 6, 1) and type float32"),
        (
            {"density": U, "pressure": U[:, :, :5], "x-coordinate": X, "t-coordinate": T},
            "'pressure': got shape (3, 4, 5)",
        ),
        # times
        (groups(_0__t=np.array([0.0, 2, 1, 3])), "times that do not increase: 2 at 1, 1 at 2"),
        (groups(_0__t=np.array([0.0, 1, 1, 3])), "times that do not increase: 1 at 1, 1 at 2"),
        (groups(_0__t=np.array([0.0, np.nan, 1, 3])), "time 1 that is not finite (nan)"),
        (groups(_0__t=np.arange(3.0)), "3 times for 4 states"),
        ({"tensor": U, "x-coordinate": X, "t-coordinate": T[::-1]}, "times that do not increase: 4 at 0, 3 at 1"),
        ({"tensor": U, "x-coordinate": X, "t-coordinate": np.arange(7.0)}, "7 times"),
        ({"tensor": U[:, :1], "x-coordinate": X, "t-coordinate": T[:1]}, "a single time"),
        # keys and types
        ({"tensor": U, "x-coordinate": X}, "no key 't-coordinate', expected one of tensor, x-coordinate"),
        (
            {"tensor": np.zeros((3, 4, 6), "S3"), "x-coordinate": X, "t-coordinate": T},
            "values of type |S3, expected numbers",
        ),
        ({"0000": {"data": np.zeros((4, 6, 1), "S3"), "grid": {"x": X, "t": T[:4]}}}, "|S3, expected numbers"),
        ({"0000": {"data": np.zeros((4, 6, 1)), "grid": {"x": X}}}, "no grid/t"),
        (
            {"velocity": np.zeros((2, 3, 4, 4, 2)), "particles": np.zeros((2, 3, 4, 4, 1)), "t": np.zeros((2, 3))},
            "do not increase",
        ),
        ({"q": U, "w": U}, "no roles for the keys q, w"),
        ({"u": np.array([[b"a", b"b"]] * 3)}, "numbers"),
        # coordinates
        ({"tensor": U, "x-coordinate": X[::-1], "t-coordinate": T}, "increasing coordinates"),
        ({"tensor": U, "x-coordinate": X[:5], "t-coordinate": T}, "shape (3, 4, 6) with (5,) coordinates and 5 times"),
    ],
)
def test_what_files_should_not_hold(tmp_path, write_h5, made, words):
    path = write_h5(tmp_path / "a.h5", made)
    with pytest.raises(NWidthError) as error:
        open_dataset(path).load()
    assert words in str(error.value)


def test_nan_opens_and_training_refuses(tmp_path, write_h5):
    from nwidth.training.session import check_finite

    u = U.copy()
    u[1, 2, 3] = np.nan
    data = open_dataset(write_h5(tmp_path / "a.h5", {"tensor": u, "x-coordinate": X, "t-coordinate": T}))
    assert int(torch.isnan(data.load().u).sum()) == 1
    with pytest.raises(NWidthError, match=r"NaN or infinite values in u of 1 train samples \(first: 1\)"):
        check_finite({"train": data})


V = np.random.default_rng(0).normal(size=(3, 4)).astype("f4")


@pytest.mark.parametrize(
    ("arrays", "roles", "words"),
    [
        ({"u": V}, {"fields": {"u": "w"}}, "no key 'w', expected one of u"),
        ({"u": V}, {"fields": {"u": "u", "b": "u"}}, "['b']"),
        ({"u": V}, {"fields": {"u": "u"}, "axes": {"b": "nx"}}, "['b']"),
        ({"u": V}, {"fields": {"u": "u"}, "coordinates": {"t": "u"}}, "['t']"),
        ({"u": V}, {"fields": {"u": "u"}, "axes": {"u": "nxy"}}, "axes='nxy'"),
        ({"u": V}, {"fields": {"u": "u"}, "kind": "nodel"}, "kind='nodel'"),
        ({"u": V, "a": V[:, :3]}, {"fields": {"u": "u", "a": "a"}}, "space (4,)"),
        ({"u": V, "a": V[:2]}, {"fields": {"u": "u", "a": "a"}}, "different sample counts"),
        ({"u": V, "v": V[:, :3]}, {"fields": {"u": ["u", "v"]}}, "'v': got shape (3, 3)"),
        ({"u": V, "m": V[0, :2]}, {"fields": {"u": "u", "mu": "m"}}, "different sample counts"),
        ({"u": V, "m": np.float64(2)}, {"fields": {"u": "u", "mu": "m"}}, "different sample counts"),
        ({"u": V, "m": V[:, 0], "q": V[0, :2]}, {"fields": {"u": "u", "mu": ["m", "q"]}}, "[3, 2] values"),
        ({"u": V, "m": [b"a", b"b", b"c"]}, {"fields": {"u": "u", "mu": "m"}}, "numbers"),
        ({"u": V, "x": np.arange(5.0)}, {"fields": {"u": "u"}, "coordinates": {"x": "x"}}, "5 coordinates"),
        ({"u": V, "x": -np.arange(4.0)}, {"fields": {"u": "u"}, "coordinates": {"x": "x"}}, "increasing"),
        ({"u": U, "t": np.array([0.0, 2.0, 1.0, 3.0])}, {"fields": {"u": "u", "t": "t"}}, "2 at 1, 1 at 2"),
        ({"u": U, "t": np.arange(3.0)}, {"fields": {"u": "u", "t": "t"}}, "3 times for 4 states"),
        ({"u": U, "t": np.arange(5.0)}, {"fields": {"u": "u", "t": "t"}}, "5 times for 4 states"),
        ({"u": U, "t": np.arange(4.0) * T[1:4, None]}, {"fields": {"u": "u", "t": "t"}}, "times that differ between"),
        ({"u": U[:, :1], "t": np.arange(1.0)}, {"fields": {"u": "u", "t": "t"}}, "a single time"),
        ({"u": V[:, 0]}, {"fields": {"u": "u"}}, "cannot be guessed"),
        ({"m": V}, {"fields": {"mu": "m"}}, "parameters alone"),
        ({"u": V}, {"fields": {"u": "u"}, "lo": [0.0, 0.0]}, "2 lo"),
    ],
)
def test_roles_that_do_not_fit(tmp_path, write_h5, arrays, roles, words):
    with pytest.raises(NWidthError) as error:
        open_dataset(write_h5(tmp_path / "d.h5", arrays), Roles(**roles))
    assert words in str(error.value)


def test_formats_are_checked(tmp_path):
    (tmp_path / "d.csv").write_text("1,2")
    (tmp_path / "d.h5").write_text("not HDF5")
    for path, format, words in (
        (tmp_path / "d.csv", "auto", "'.csv' that no reader"),
        (tmp_path / "d.csv", "csv", "data.format='csv'"),
        (tmp_path / "d.h5", "auto", "cannot read"),
        (tmp_path / "no.h5", "auto", "no such file"),
    ):
        with pytest.raises(NWidthError) as error:
            open_dataset(path, format=format)
        assert words in str(error.value)
