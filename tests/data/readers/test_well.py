"""The Well's HDF5 specification: every flag, component and boundary."""

import h5py
import numpy as np
import pytest
import torch
from nwidth.data import open_dataset
from nwidth.data.handles import close_h5
from nwidth.errors import NWidthError

N, T, SPACE = 4, 5, (6, 3)


def flags(sample=True, time=True, dims=None, **more):
    return {"sample_varying": sample, "time_varying": time, **more} | ({} if dims is None else {"dim_varying": dims})


def condition(kind, dims, mask, **more):
    attrs = {"@bc_type": kind, "@associated_dims": dims, "@associated_fields": [], **more}
    return {**attrs, "@sample_varying": False, "@time_varying": False, "mask": np.array(mask)}


def well(values, **changed):
    """All that the specification has, in two dimensions."""
    space = SPACE
    content = {
        "@dataset_name": "made_up",
        "@grid_type": "cartesian",
        "@n_spatial_dims": 2,
        "@n_trajectories": N,
        "@simulation_parameters": ["alpha", "nu"],
        "@alpha": -1.0,
        "@nu": 0.5,
        "dimensions": {
            "@spatial_dims": ["x", "y"],
            "time": (np.linspace(0, 2, T, dtype="f4"), flags(False, True)),
            "x": (np.arange(6, dtype="f4") / 6, flags(False, False)),
            "y": (np.linspace(0, 2, 3, dtype="f4"), flags(False, False)),
        },
        "boundary_conditions": {
            "x_periodic": condition("PERIODIC", ["x"], [False] * 6),
            "y_wall": condition("wall", ["y"], [True, False, False]),
        },
        "scalars": {
            "@field_names": ["alpha", "nu", "omega", "drive"],
            "alpha": (np.array(-1.0), flags(False, False)),
            "nu": (np.array([0.5]), flags(False, False)),
            "omega": (values(N), flags(True, False)),
            "drive": (values(T), flags(False, True)),
        },
        "t0_fields": {
            "@field_names": ["density", "column", "mask", "profile"],
            "density": (values(N, T, *space), flags(dims=[True, True])),
            "column": (values(T, space[0]), flags(False, dims=[True, False])),
            "mask": (values(*space), flags(False, False, dims=[True, True])),
            "profile": (values(N, space[1]), flags(True, False, dims=[False, True])),
        },
        "t1_fields": {
            "@field_names": ["velocity"],
            "velocity": (values(N, T, *space, 2), flags(dims=[True, True])),
        },
        "t2_fields": {
            "@field_names": ["D"],
            "D": (values(N, T, *space, 2, 2), flags(dims=[True, True], symmetric=False, antisymmetric=False)),
        },
    }
    for key, v in changed.items():
        group, _, name = key.partition("/")
        if name:
            content[group][name] = v
        else:
            content[group] = v
    return content


def solution(content) -> np.ndarray:
    column = np.broadcast_to(content["t0_fields"]["column"][0][None, :, :, None], (N, T, *SPACE))
    density, velocity = content["t0_fields"]["density"][0], content["t1_fields"]["velocity"][0]
    tensor = content["t2_fields"]["D"][0].reshape(N, T, *SPACE, 4)
    return np.concatenate([np.stack([density, column], 2), *(np.moveaxis(v, -1, 2) for v in (velocity, tensor))], 2)


@pytest.mark.parametrize("flat", [False, True])
def test_everything_in_one_file(tmp_path, values, write_h5, same, flat):
    content = well(values)
    u = solution(content)
    if flat:  # the components of a tensor in one axis
        d, attrs = content["t2_fields"]["D"]
        content["t2_fields"]["D"] = (d.reshape(N, T, *SPACE, 4), attrs)
    data = open_dataset(write_h5(tmp_path / "data" / "train" / "a.hdf5", content))
    assert data.format == "The Well" and data.reads == ("a", "u0", "mu")
    mask = np.broadcast_to(content["t0_fields"]["mask"][0], (N, *SPACE))
    profile = np.broadcast_to(content["t0_fields"]["profile"][0][:, None, :], (N, *SPACE))
    same(data, u=u[:, 1:], u0=u[:, 0], a=np.stack([mask, profile], 1))
    same(data, mu=content["scalars"]["omega"][0][:, None].astype("f8"))
    moving = ("density", "column", "velocity_x", "velocity_y", "D_xx", "D_xy", "D_yx", "D_yy")
    assert data.channels("u") == data.channels("u0") == moving
    assert data.channels("a") == ("mask", "profile") and data.channels("mu") == ("omega",)
    assert data.t.tolist() == [0.5, 1.0, 1.5, 2.0] and data.t0 == 0
    assert [(a.name, a.kind) for a in data.grid.axes] == [("x", "periodic"), ("y", "nodal")]
    assert data.grid.axes[0].length == pytest.approx(1) and data.grid.axes[1].hi == 2
    assert data.attributes["boundary"] == {"x": "periodic", "y": "wall/open"}
    assert data.attributes["parameters"] == {"alpha": -1.0, "nu": 0.5} and "alpha" not in data.attributes
    assert data.attributes["time_scalars"]["drive"] == pytest.approx(content["scalars"]["drive"][0].tolist())
    assert data.attributes["dataset_name"] == "made_up" and data.attributes["grid_type"] == "cartesian"
    assert not {"n_spatial_dims", "n_trajectories"} & set(data.attributes)


def test_windows_and_constant_fields_read_no_more_than_they_hold(tmp_path, values, write_h5, bytes_read):
    content = well(values)
    data = open_dataset(write_h5(tmp_path / "a.hdf5", content))
    state = 6 * 3 * 4
    bytes_read[0] = 0
    data.u.read([2, 1], slice(1, 3))
    assert bytes_read[0] == 2 * 2 * (state + 2 * state + 4 * state) + 2 * 6 * 4  # the column is read once
    bytes_read[0] = 0
    data.a[[0, 2, 1]]
    assert bytes_read[0] == state + 3 * 3 * 4


def test_three_dimensions_one_sample_and_empty_groups(tmp_path, values, write_h5, same):
    x = {d: (np.arange(n, dtype="f4"), flags(False, False)) for d, n in zip("xyz", (4, 3, 2))}
    v = values(1, 3, 4, 3, 2, 3)
    content = {
        "@n_trajectories": 1,
        "dimensions": {"@spatial_dims": [b"x", b"y", b"z"], "time": np.arange(3.0), **x},
        "t0_fields": {"@field_names": np.zeros(0)},
        "t1_fields": {"@field_names": ["v"], "v": (v, flags(dims=[True] * 3))},
        "t2_fields": {},
    }
    data = open_dataset(write_h5(tmp_path / "a.hdf5", content))
    u = np.moveaxis(v, -1, 2)
    same(data, u=u[:, 1:], u0=u[:, 0])
    assert data.channels("u") == ("v_x", "v_y", "v_z") and data.attributes["boundary"] == dict.fromkeys("xyz", "open")


def test_times_of_each_sample(tmp_path, values, write_h5):
    t = np.linspace(0, 1, T)[None] * np.array([[1.0], [2.0], [1.0], [4.0]])
    content = well(values, **{"dimensions/time": (np.tile(t[:1], (N, 1)), flags(True))})
    assert open_dataset(write_h5(tmp_path / "equal.hdf5", content)).t.tolist() == [0.25, 0.5, 0.75, 1.0]
    content = well(values, **{"dimensions/time": (t, flags(True))})
    data = open_dataset(write_h5(tmp_path / "own.hdf5", content))
    assert data.t.tolist() == [1, 2, 3, 4] and data.units == {"t": "steps"}
    assert data.channels("mu") == ("omega", "dt") and data.mu[:, 1].tolist() == [0.25, 0.5, 0.25, 1.0]
    content = well(values, **{"dimensions/time": (t**2, flags(True))})
    with pytest.raises(NWidthError, match="differ between samples"):
        open_dataset(write_h5(tmp_path / "unequal.hdf5", content))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dimensions/time": np.array([0.0, 1, 1, 2, 3])}, "times that do not increase: 1 at 1, 1 at 2"),
        ({"dimensions/time": np.arange(4.0)}, "t0_fields/density: got shape (4, 5, 6, 3), expected (4, 4, 6, 3)"),
        ({"dimensions/x": np.arange(5.0)}, "got shape (4, 5, 6, 3), expected (4, 5, 5, 3)"),
        ({"@n_trajectories": 3}, "3 samples in n_trajectories and 4 in"),
        ({"scalars/omega": (np.zeros(3), flags(True, False))}, "4 samples in n_trajectories and 3 in scalars/omega"),
        ({"boundary_conditions/y": condition("sticky", ["y"], [True] * 3)}, "bc_type='sticky'"),
        ({"dimensions": {"@spatial_dims": ["x", "y"], "time": np.arange(5.0), "x": np.arange(6.0)}}, "'dimensions/y'"),
        ({"dimensions": {"@spatial_dims": [], "time": np.arange(5.0)}}, "spatial_dims=[]"),
        ({"dimensions": {"@spatial_dims": ["x"], "x": np.arange(5.0)}}, "no 'dimensions/time'"),
        ({"t0_fields": {}, "t1_fields": {}, "t2_fields": {}}, "no field that varies in time"),
        ({"dimensions/x": np.stack([np.arange(6.0), np.arange(6.0) + 1])}, "coordinates that differ between samples"),
    ],
)
def test_files_that_contradict_themselves(tmp_path, values, write_h5, changed, words):
    path = write_h5(tmp_path / "a.hdf5", well(values, **changed))
    with pytest.raises(NWidthError) as error:
        open_dataset(path)
    assert words in str(error.value)


def test_several_files_a_split(tmp_path, values, write_h5, same):
    """data/{train,valid,test}/*.hdf5 with stats.yaml beside: splits, and parameters that differ become columns."""
    u, alphas = [], []
    for split in ("test", "train", "valid"):  # as the folders are sorted
        for i, alpha in enumerate((-1.0, -2.0)):
            content = well(values, **{"@alpha": alpha})
            content["scalars"]["alpha"] = (np.array(alpha), flags(False, False))
            u.append(solution(content))
            alphas += [alpha] * N
            write_h5(tmp_path / "data" / split / f"a_{i}.hdf5", content)
    (tmp_path / "stats.yaml").write_text("mean: 0")
    data = open_dataset(tmp_path)
    u = np.concatenate(u)
    same(data, u=u[:, 1:], u0=u[:, 0])
    assert {k: v.tolist() for k, v in data.splits.items()} == {
        "test": list(range(8)),
        "train": list(range(8, 16)),
        "val": list(range(16, 24)),
    }
    assert data.channels("mu") == ("omega", "alpha") and data.mu[:, 1].tolist() == alphas
    assert data.attributes["parameters"] == {"nu": 0.5} and len(data.attributes["files"]) == 6
    assert torch.equal(open_dataset(tmp_path / "data" / "train").load().u, data[list(range(8, 16))].load().u)
    close_h5()
    with h5py.File(tmp_path / "data" / "test" / "a_1.hdf5", "a") as f:
        f["t0_fields"].attrs["field_names"] = ["density", "mask", "profile"]
    with pytest.raises(NWidthError, match=r"a_0\.hdf5 and .*a_1\.hdf5 together: got channels of u"):
        open_dataset(tmp_path)
