"""PDEBench, each family, as its generation scripts and its published files lie."""

import numpy as np
import pytest
from nwidth.data import Roles, open_dataset
from nwidth.errors import NWidthError


def centres(n: int, lo: float = 0.0, hi: float = 1.0) -> np.ndarray:
    return (lo + (hi - lo) * (np.arange(n) + 0.5) / n).astype("f4")


def coordinates(**sizes: int) -> dict[str, np.ndarray]:
    return {f"{k}-coordinate": centres(n) for k, n in sizes.items()}


@pytest.mark.parametrize(
    ("name", "attrs", "parameters"),
    [
        ("1D_Advection_Sols_beta0.4.hdf5", {}, {"beta": 0.4}),
        ("1D_Burgers_Sols_Nu0.001.hdf5", {}, {"Nu": 0.001}),
        ("ReacDiff_Nu0.5_Rho1.0.hdf5", {}, {"Nu": 0.5, "rho": 1.0}),
        ("ReacDiff_Nu0.5_Rho1.0.hdf5", {"Nu": 0.5, "rho": 1.0}, {"Nu": 0.5, "rho": 1.0}),
        ("mine.h5", {"Nu": 0.25}, {"Nu": 0.25}),
        ("Nu0.001.h5", {"Nu": np.float32(0.25)}, {"Nu": 0.25}),
    ],
)
@pytest.mark.parametrize("spare", [0, 1])
def test_one_dimensional(tmp_path, values, write_h5, same, name, attrs, parameters, spare):
    u, t = values(5, 4, 16), np.linspace(0, 0.5 * (3 + spare), 4 + spare, dtype="f4")
    content = {"tensor": u, "t-coordinate": t, **coordinates(x=16), **{f"@{k}": v for k, v in attrs.items()}}
    data = open_dataset(write_h5(tmp_path / name, content))
    assert data.format == "PDEBench" and data.reads == ("u0",)
    assert data.attributes == {"parameters": parameters, "boundary": {"x": "periodic"}}
    same(data, u=u[:, 1:, None], u0=u[:, 0, None])  # the first state is the question
    assert data.t0 == 0 and data.t.tolist() == pytest.approx([0.5, 1.0, 1.5])
    axis = data.grid.axes[0]
    assert axis.kind == "periodic" and (axis.lo, axis.length) == pytest.approx((1 / 32, 1.0), rel=1e-5)


@pytest.mark.parametrize("lead", [True, False])
def test_one_axis_more_than_documented(tmp_path, values, write_h5, same, lead):
    u = values(5, 4, 16)
    stored = u[None] if lead else np.stack([u, 2 * u], -1)
    path = write_h5(tmp_path / "a.hdf5", {"tensor": stored, "t-coordinate": np.arange(5.0), **coordinates(x=16)})
    expected = u[:, :, None] if lead else np.stack([u, 2 * u], 2)
    same(open_dataset(path), u=expected[:, 1:], u0=expected[:, 0])


@pytest.mark.parametrize("sizes", [{"x": 6}, {"x": 6, "y": 5}, {"x": 6, "y": 5, "z": 4}])
@pytest.mark.parametrize(
    ("name", "kinds", "boundary", "parameters"),
    [
        ("CFD_Rand_Eta1.e-8_Zeta1.e-8_periodic_Train", "ppp", "ppp", {"eta": 1e-8, "zeta": 1e-8}),
        ("CFD_Rand_Eta1.e-8_Zeta1.e-8_trans_Train", "ccc", "ooo", {"eta": 1e-8, "zeta": 1e-8}),
        ("2D_CFD_Rand_M0.1_Eta0.01_Zeta0.01_periodic_128_Train", "ppp", "ppp", {"M": 0.1, "eta": 0.01, "zeta": 0.01}),
        ("Sod3", "ccc", "ooo", {}),
        ("KH_M01_dk10_Re1e3", "pcc", "poo", {"M": 0.1}),
        ("Turb_M1", "ppp", "ppp", {"M": 1.0}),
        ("BlastWave", "ccc", "ooo", {}),
        ("mine", "ccc", "", {}),
    ],
)
def test_compressible_flow(tmp_path, values, write_h5, same, sizes, name, kinds, boundary, parameters):
    keys = ["density", "pressure", "Vx", "Vy", "Vz"][: 2 + len(sizes)]
    arrays = {k: values(3, 4, *sizes.values()) for k in keys}
    path = write_h5(tmp_path / f"{name}.hdf5", {**arrays, "t-coordinate": np.arange(5.0), **coordinates(**sizes)})
    data = open_dataset(path)
    u = np.stack([arrays[k] for k in keys], 2)
    same(data, u=u[:, 1:], u0=u[:, 0])
    assert data.channels("u") == data.channels("u0") == tuple(keys) and data.format == "PDEBench compressible flow"
    words = {"p": "periodic", "c": "cell", "o": "open"}
    assert [a.kind for a in data.grid.axes] == [words[k] for k in kinds[: len(sizes)]]
    said = {c: words[b] for c, b in zip(sizes, boundary)}
    assert data.attributes == {"parameters": parameters} | ({"boundary": said} if said else {})


def test_darcy(tmp_path, values, write_h5, same):
    u, a = values(5, 1, 8, 6), values(5, 8, 6)
    content = {"tensor": u, "nu": a, **coordinates(x=8, y=6), "@beta": 1.0}
    data = open_dataset(write_h5(tmp_path / "2D_DarcyFlow_beta1.0_Train.hdf5", content))
    assert data.format == "PDEBench Darcy" and data.t is None and data.channels("a") == ("coefficient",)
    same(data, u=u, a=a[:, None])
    assert data.attributes == {"parameters": {"beta": 1.0}, "boundary": {"x": "dirichlet", "y": "dirichlet"}}
    assert [(ax.kind, ax.n) for ax in data.grid.axes] == [("cell", 8), ("cell", 6)]
    assert [ax.length for ax in data.grid.axes] == pytest.approx([1.0, 1.0], rel=1e-5)


def group(u, t, seed=0, **config) -> dict:
    text = "name: 2d_diff-react\nsim:\n  seed: " + str(seed) + "\n  xdim: 6\n"
    text += "".join(f"  {k}: {v}\n" for k, v in config.items()) + "plot:\n  dim: 2\n"
    grid = {"t": t, **{c: centres(n, -1) for c, n in zip("xyz", u.shape[1:-1])}}
    return {"data": u, "grid": grid, "@config": text}


@pytest.mark.parametrize(
    ("name", "shape", "channels", "boundary"),
    [
        ("2D_diff-react_NA_NA.h5", (4, 6, 5, 2), ("activator", "inhibitor"), {"x": "neumann", "y": "neumann"}),
        ("2D_rdb_NA_NA.h5", (4, 6, 5, 1), ("height",), {"x": "open", "y": "open"}),
        ("1D_diff-sorp_NA_NA.h5", (4, 6, 1), ("concentration",), {"x": "dirichlet/robin"}),
    ],
)
def test_a_group_for_each_trajectory(tmp_path, values, write_h5, same, bytes_read, name, shape, channels, boundary):
    u, t = values(7, *shape), np.linspace(0, 3, 4, dtype="f4")
    content = {f"{i:04d}": group(u[i], t, i, Du="1E-3", k=5e-3) for i in range(7)}
    if "react" not in name:
        content = {k: {**v, "@config": v["@config"].replace("2d_diff-react", "other")} for k, v in content.items()}
    path = write_h5(tmp_path / name, content)
    data = open_dataset(path)
    expected = np.moveaxis(u, -1, 2)
    same(data, u=expected[:, 1:], u0=expected[:, 0])
    assert data.channels("u") == channels and data.t.tolist() == [1, 2, 3] and data.t0 == 0 and data.mu is None
    assert data.attributes == {"parameters": {"Du": 1e-3, "k": 5e-3}, "boundary": boundary}
    assert all(a.kind == "cell" and a.lo == pytest.approx(-1, abs=1e-5) for a in data.grid.axes)
    bytes_read[0] = 0
    data.u.read([3, 5], slice(1, 2))
    assert bytes_read[0] == 2 * u[0, 0].nbytes  # two states of two samples, no trajectory


def test_parameters_that_differ_between_groups(tmp_path, values, write_h5, same):
    u, radius = values(5, 4, 6, 1), [0.3, 0.45, 0.3, 0.7, 0.5]
    content = {f"{i:04d}": group(u[i], np.arange(4.0), i, dam_radius=r, gravity=1.0) for i, r in enumerate(radius)}
    data = open_dataset(write_h5(tmp_path / "a_rdb.h5", content))
    assert data.channels("mu") == ("dam_radius",) and data.attributes["parameters"] == {"gravity": 1.0}
    same(data, mu=np.array(radius)[:, None], u=np.moveaxis(u, -1, 2)[:, 1:])


def test_a_config_is_not_code(tmp_path, values, write_h5):
    content = {"0000": group(values(4, 6, 1), np.arange(4.0)) | {"@config": "!!python/object/apply:os.mkdir [ran]"}}
    with pytest.raises(NWidthError, match="not YAML"):
        open_dataset(write_h5(tmp_path / "a.h5", content))


def test_incompressible_flow(tmp_path, values, write_h5, same, bytes_read):
    v, p, force = values(3, 5, 6, 4, 2), values(3, 5, 6, 4, 1), values(3, 6, 4, 2)
    t = np.tile(np.linspace(0, 2, 5, dtype="f4"), (3, 1))
    config = "NU: 0.01\nDT: 5e-5\nseed: 3\ndomain_size:\n- 2\n- 1\nsim_name: ns_sim_2d\n"
    content = {"velocity": v, "particles": p, "force": force, "t": t, "@config": config, "@latestIndex": 4}
    path = write_h5(tmp_path / "ns_incom_inhom_2d_512-0.h5", content)
    data = open_dataset(path)
    u = np.moveaxis(np.concatenate([v, p], -1), -1, 2)
    same(data, u=u[:, 1:], u0=u[:, 0], a=np.moveaxis(force, -1, 1))
    assert data.channels("u") == ("velocity_x", "velocity_y", "particles") and data.reads == ("a", "u0")
    assert data.channels("a") == ("force_x", "force_y") and data.t.tolist() == [0.5, 1.0, 1.5, 2.0]
    assert data.attributes["parameters"] == {"NU": 0.01} and data.attributes["boundary"] == {"x": "wall", "y": "wall"}
    assert [(a.kind, a.lo, a.hi) for a in data.grid.axes] == [("cell", 0, 2), ("cell", 0, 1)]
    bytes_read[0] = 0
    data.u.read([2], slice(1, 3))
    assert bytes_read[0] == 2 * (v[0, 0].nbytes + p[0, 0].nbytes)


def test_another_kind_of_axis(tmp_path, values, write_h5):
    content = {"tensor": values(3, 4, 6, 5), "t-coordinate": np.arange(5.0), **coordinates(x=6, y=5)}
    data = open_dataset(write_h5(tmp_path / "d.h5", content), Roles(kind="cell"))
    assert data.grid.shape == (6, 5) and data.grid.axes[0].kind == "cell" and "boundary" not in data.attributes


def test_roles_overrule_the_conventions(tmp_path, values, write_h5, same):
    u, a = values(5, 1, 8), values(5, 8)
    path = write_h5(tmp_path / "d.h5", {"tensor": u, "nu": a, **coordinates(x=8)})
    data = open_dataset(path, Roles({"u": "nu", "a": "tensor"}, {"u": "nx", "a": "ncx"}))
    same(data, u=a[:, None], a=u)
