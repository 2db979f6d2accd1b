"""Files that others made, as they lie: roles, grids and known values."""

import numpy as np
import pytest
import torch
from nwidth.backends import Mesh
from nwidth.data import Roles, open_dataset
from nwidth.data.arrays import loaded


def test_neuralop(realdata):
    data = open_dataset(realdata / "neuralop" / "darcy_train_16.pt")
    assert tuple(data.u.shape) == tuple(data.a.shape) == (1000, 1, 16, 16) and data.a.unique().tolist() == [0, 1]
    assert int((data.u < -1e-3).flatten(1).any(1).sum()) == 8  # of another sign than the solutions of the equation
    data = open_dataset(realdata / "neuralop" / "burgers_train_16.pt")
    assert tuple(data.u.shape) == (800, 16, 1, 16) and data.u.dtype == torch.float64 and data.t0 == 0
    assert torch.allclose(data.t, 0.06 * torch.arange(1, 17, dtype=torch.float64))
    assert data.attributes["parameters"] == {"visc": 0.01} and data.grid.axes[0].kind == "periodic"


@pytest.mark.parametrize(
    ("name", "times", "points", "kind", "lo", "length", "initial"),
    [
        ("pinns/burgers_shock.mat", 99, 256, "nodal", -1, 2, lambda x: -torch.sin(torch.pi * x)),
        ("pinns/AC.mat", 200, 512, "periodic", -1, 2, lambda x: x**2 * torch.cos(torch.pi * x)),
        ("pinns/NLS.mat", 200, 256, "periodic", -5, 10, lambda x: 2 / torch.cosh(x)),
        ("deephpms/burgers.mat", 100, 256, "periodic", -8, 16, lambda x: torch.exp(-((x + 2) ** 2))),
    ],
)
def test_one_trajectory(realdata, name, times, points, kind, lo, length, initial):
    data = open_dataset(realdata / name)
    axis = data.grid.axes[0]
    assert tuple(data.u.shape) == (1, times, 1, points) and axis.kind == kind
    assert (axis.lo, axis.length) == pytest.approx((lo, length), abs=1e-6)
    assert torch.allclose(data.u0[0, 0].real, initial(data.grid.coordinates()[0]), atol=1e-6)
    named = {"u": "usol" if "burgers" in name else "uu", "t": "t" if "burgers" in name else "tt"}
    again = open_dataset(realdata / name, Roles(named, {"u": "xt"}, {"x": "x"}, kind=kind))
    assert torch.equal(again.u, data.u) and again.grid == data.grid


def test_thermal_block(realdata):
    data = open_dataset(realdata / "thermal_block")
    u = np.load(realdata / "thermal_block" / "snapshots.npy")
    assert np.array_equal(loaded(data.u).numpy()[:, 0], u) and tuple(data.mu.shape) == (8, 2) and data.t is None
    assert isinstance(data.grid, Mesh) and data.grid.ndim == 2
    assert float(data.grid.weights().sum()) == pytest.approx(4)


def test_channel_startup(realdata):
    data = open_dataset(realdata / "channel_startup")
    assert tuple(data.u.shape) == (1, 58, 2, 3067) and data.channels("u") == ("vx", "vy") and data.grid.ndim == 2
    v = np.load(realdata / "channel_startup" / "snapshots_vy.npy")
    assert np.array_equal(data.u.read([0], slice(10, 12)).numpy()[0, :, 1], v[11:13])
    assert np.array_equal(loaded(data.u0)[0, 1].numpy(), v[0])


def test_graetz(realdata):
    data = open_dataset(realdata / "graetz" / "graetz_50.npz")
    assert tuple(data.u.shape) == (50, 1, 5160) and tuple(data.mu.shape) == (50, 2) and data.grid.ndim == 2
    length = data.attributes["reference_length"]  # the square and a rectangle beside it
    assert float(data.grid.weights().sum()) == pytest.approx(1 + length, rel=1e-6)


def test_advection(realdata):
    """The output is the input half a unit to the left or right, so that the shapes of the profiles agree."""
    data = open_dataset(realdata / "advection", Roles(lo=0.0, hi=2.0))
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 100, "test": 1000}
    assert tuple(data.u.shape) == tuple(data.a.shape) == (1100, 1, 100)
    assert float((data.u.amax(-1) - data.a.amax(-1)).abs().median()) < 0.05 * float(data.a.amax(-1).median())


def test_comsol_table(realdata):
    data = open_dataset(realdata / "burgers_comsol" / "burgers1d.dat")
    assert tuple(data.u.shape) == (1, 10, 1, 101) and data.t.tolist() == pytest.approx(np.arange(0.1, 1.05, 0.1))
    x = data.grid.coordinates()[0]
    assert torch.allclose(data.u0[0, 0], -torch.sin(torch.pi * x), atol=1e-3)
    assert "Model:              burgers1d.mph" in data.attributes["header"]
