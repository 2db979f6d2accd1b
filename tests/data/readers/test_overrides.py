"""What a config may change about a known format, and what it may not."""

import numpy as np
import pytest
import torch
from nwidth.backends import Axis, Grid
from nwidth.data import Dataset, Roles, open_dataset, save_dataset
from nwidth.errors import NWidthError

FLAGS = {"sample_varying": True, "time_varying": True, "dim_varying": [True]}
X, T = (np.arange(8) + 0.5) / 8, np.arange(4.0)
U = np.random.default_rng(0).normal(size=(3, 4, 8))


def layouts() -> dict[str, dict]:
    return {
        "pdebench.hdf5": {"tensor": U, "x-coordinate": X, "t-coordinate": T},
        "groups.h5": {f"{i:04d}": {"data": u[..., None], "grid": {"x": X, "t": T}} for i, u in enumerate(U)},
        "well.hdf5": {
            "dimensions": {"@spatial_dims": ["x"], "time": T, "x": X},
            "t0_fields": {"u": (U, FLAGS)},
        },
    }


@pytest.fixture(params=[*layouts(), "native.h5"])
def file(request, tmp_path, write_h5):
    path = tmp_path / request.param
    if path.name in layouts():
        return write_h5(path, layouts()[path.name])
    u = torch.from_numpy(U)[:, :, None]
    grid = Grid([Axis.from_coordinates(X, "x", kind="periodic")])
    save_dataset(path, Dataset(grid, u=u[:, 1:], u0=u[:, 0], t=torch.from_numpy(T)[1:], t0=0.0))
    return path


@pytest.mark.parametrize("kind", ["cell", "nodal", "periodic", ["cell"]])
def test_the_kind_of_axis(file, kind):
    data = open_dataset(file, Roles(kind=kind))
    assert data.grid.axes[0].kind == (kind if isinstance(kind, str) else kind[0])
    assert np.allclose(data.grid.coordinates()[0], X) and "boundary" not in data.attributes
    assert np.array_equal(data.load().u.numpy(), U[:, 1:, None])


@pytest.mark.parametrize("named", [{"axes": {"u": "ntx"}}, {"coordinates": {"x": "x"}}])
def test_axes_without_fields_are_not_passed_over(file, named):
    with pytest.raises(NWidthError, match=r"without data\.fields"):
        open_dataset(file, Roles(**named))


def test_too_many_kinds(file):
    with pytest.raises(NWidthError):
        open_dataset(file, Roles(kind=["cell", "nodal"]))


def test_the_domain_where_no_coordinates_are_stored(tmp_path):
    torch.save({"x": torch.rand(3, 8), "y": torch.rand(3, 8)}, tmp_path / "a.pt")
    axis = open_dataset(tmp_path / "a.pt", Roles(lo=-1.0, hi=2.0)).grid.axes[0]
    assert (axis.lo, axis.hi) == (-1, 2)
    torch.save({"x": torch.rand(3, 8), "y": torch.rand(3, 5, 8)}, tmp_path / "b.pt")
    axis = open_dataset(tmp_path / "b.pt", Roles(hi=6.0)).grid.axes[0]
    assert (axis.kind, axis.length) == ("periodic", 6)


def test_zarr_is_told(tmp_path):
    (tmp_path / "train.zarr").mkdir()
    (tmp_path / "train.zarr" / ".zgroup").write_text("{}")
    with pytest.raises(NWidthError, match="a Zarr store"):
        open_dataset(tmp_path / "train.zarr")
