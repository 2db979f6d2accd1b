"""Several files as one set: what is joined, what becomes a parameter or a split, and what is refused."""

import os

import numpy as np
import pytest
import torch
from nwidth.backends import Axis, Grid
from nwidth.data import Dataset, concatenate, open_dataset, save_dataset
from nwidth.data.handles import _OPEN_FILES, _handles
from nwidth.errors import NWidthError
from torch.utils.data import DataLoader


def burgers(u, **attrs):
    x, t = (np.arange(u.shape[2], dtype="f4") + 0.5) / u.shape[2], np.linspace(0, 1, u.shape[1] + 1, dtype="f4")
    return {"tensor": u, "x-coordinate": x, "t-coordinate": t, **{f"@{k}": v for k, v in attrs.items()}}


@pytest.fixture
def files(tmp_path, values, write_h5):
    """Files of different lengths and viscosities, and all their values."""

    def make(count: int, n: int = 3):
        us = [values(n + i % 2, 5, 8) + i for i in range(count)]
        for i, u in enumerate(us):
            write_h5(tmp_path / f"1D_Burgers_Sols_Nu{0.1 * (i + 1):.1f}.hdf5", burgers(u))
        return np.concatenate(us), [0.1 * (i + 1) for i, u in enumerate(us) for _ in u]

    return make


@pytest.mark.parametrize("how", ["folder", "pattern", "list", "patterns"])
def test_paths_of_every_kind(tmp_path, files, same, how):
    u, nu = files(4)
    (tmp_path / "README.md").write_text("no data")
    (tmp_path / ".hidden.hdf5").write_text("no data")
    path = {
        "folder": tmp_path,
        "pattern": str(tmp_path / "*.hdf5"),
        "list": sorted(tmp_path.glob("1D*.hdf5")),
        "patterns": [str(tmp_path / "*Nu0.[12].hdf5"), str(tmp_path / "*Nu0.[234].hdf5")],
    }[how]
    data = open_dataset(path)
    same(data, u=u[:, 1:, None], u0=u[:, 0, None], mu=np.array(nu).round(1)[:, None])
    assert data.channels("mu") == ("Nu",) and data.splits == {} and data.attributes["boundary"] == {"x": "periodic"}
    assert data.attributes["parameters"] == {} and len(data.attributes["files"]) == 4


def test_more_files_than_stay_open(files, same, tmp_path):
    u, _ = files(_OPEN_FILES + 5)
    data = open_dataset(tmp_path)
    same(data, u=u[:, 1:, None])
    assert len(_handles) <= _OPEN_FILES


def test_a_read_visits_each_file_once(files, tmp_path, monkeypatch):
    u, _ = files(_OPEN_FILES + 4)
    data = open_dataset(tmp_path)
    from nwidth.data import disk

    opened = []
    find = disk.open_dataset_h5
    monkeypatch.setattr(disk, "open_dataset_h5", lambda path, key: opened.append(path) or find(path, key))
    order = np.random.default_rng(0).permutation(len(u))
    assert np.array_equal(data.u[order].numpy(), u[order, 1:, None])
    assert len(opened) == len(set(opened)) == _OPEN_FILES + 4


@pytest.mark.parametrize("start", ["fork", "forkserver"])
def test_workers_read_what_one_process_reads(
    nwidth, files, tmp_path, start
):  # nwidth: its server has the package loaded
    u, _ = files(3)
    data = open_dataset(tmp_path)
    assert np.array_equal(data.u[:].numpy(), u[:, 1:, None])  # handles of this process are open when the workers start
    order = np.random.default_rng(0).permutation(len(u)).tolist()
    loader = DataLoader(data.u, batch_size=2, sampler=order, num_workers=2, multiprocessing_context=start)
    assert np.array_equal(torch.cat(list(loader)).numpy(), u[order, 1:, None])


def native(tmp_path, name, n=3, **changed):
    t = torch.tensor([0.5, 1.0], dtype=torch.float64)
    given = {"u": torch.rand(n, 2, 1, 8), "u0": torch.rand(n, 1, 8), "t": t, "grid": Grid.make((8,))}
    data = Dataset(**given | changed)
    save_dataset(tmp_path / name, data)
    return data


def test_native_files_with_their_problems_and_splits(tmp_path):
    def problem(nu):
        return {"_target_": "nwidth.solvers.Burgers", "nu": nu, "times": 2}

    a = native(
        tmp_path, "a.h5", problem=problem(0.1), splits={"train": torch.tensor([0, 2]), "test": torch.tensor([1])}
    )
    b = native(
        tmp_path, "b.h5", problem=problem(0.2), splits={"train": torch.tensor([1]), "test": torch.tensor([0, 2])}
    )
    data = open_dataset(tmp_path)
    assert torch.equal(data.load().u, torch.cat([a.u, b.u])) and data.problem is None
    assert data.channels("mu") == ("nu",) and data.mu[:, 0].tolist() == [0.1] * 3 + [0.2] * 3
    assert {k: v.tolist() for k, v in data.splits.items()} == {"train": [0, 2, 4], "test": [1, 3, 5]}
    save_dataset(tmp_path / "joined.h5", data)
    assert torch.equal(open_dataset(tmp_path / "joined.h5").load().u, data.load().u)


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Train", "validation", "Testing")])
@pytest.mark.parametrize("as_folders", [True, False])
def test_splits_by_the_names_of_files_and_folders(tmp_path, names, as_folders):
    for name in names:
        path = tmp_path / name / "a.h5" if as_folders else tmp_path / f"ns_{name}_32.h5"
        path.parent.mkdir(exist_ok=True)
        native(path.parent, path.name)
    data = open_dataset(tmp_path)
    assert set(data.splits) == {"train", "val", "test"} and all(len(v) == 3 for v in data.splits.values())
    assert sorted(torch.cat(list(data.splits.values())).tolist()) == list(range(9))


def test_fields_in_memory_and_on_disk_join(tmp_path):
    a = native(tmp_path, "a.h5")
    joined = concatenate([open_dataset(tmp_path / "a.h5"), a])
    assert torch.equal(joined.u, torch.cat([a.u, a.u]))


def test_times_that_differ_in_their_step(tmp_path):
    a = native(tmp_path, "a.h5")
    b = native(tmp_path, "b.h5", t=torch.tensor([0.25, 0.5], dtype=torch.float64))
    with pytest.raises(
        NWidthError, match=r"times 0, 0\.5 \.\. 1 \(2\) and 0, 0\.25 \.\. 0\.5 \(2\).*data\.times=steps"
    ):
        open_dataset(tmp_path)
    data = open_dataset(tmp_path, times="steps")
    assert data.t.tolist() == [1, 2] and data.t0 == 0 and data.units == {"t": "steps"}
    assert data.channels("mu") == ("dt",) and data.mu[:, 0].tolist() == [0.5] * 3 + [0.25] * 3
    assert torch.equal(data.load().u, torch.cat([a.u, b.u]))


MU = torch.rand(3, 1, dtype=torch.float64)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"grid": Grid.make((6,)), "u": torch.rand(3, 2, 1, 6), "u0": torch.rand(3, 1, 6)}, "resolutions [8] and [6]"),
        ({"grid": Grid([Axis("cell", 8, 1 / 16 - 1 / 16, 1.0)])}, "grids x: 8 periodic on [0, 1] and x: 8 cell"),
        ({"grid": Grid([Axis("cell", 8, -1 / 16, 15 / 16)])}, "grids x: 8 periodic"),  # the same points
        ({"grid": Grid.make((8, 1)), "u": torch.rand(3, 2, 1, 8, 1), "u0": torch.rand(3, 1, 8, 1)}, "grids"),
        ({"t": torch.tensor([0.5, 1.0, 1.5]), "u": torch.rand(3, 3, 1, 8)}, "times 0, 0.5 .. 1 (2) and"),
        ({"t0": 0.25}, "times 0, 0.5 .. 1 (2) and 0.25"),
        ({"u0": None, "mu": MU}, "u0: shape (3, 1, 8) and none"),
        ({"mu": MU}, "mu: none and shape (3, 1)"),
        ({"u": torch.rand(3, 2, 2, 8), "u0": torch.rand(3, 2, 8)}, "channels of u ['u'] and ['u0', 'u1']"),
        ({"names": {"u": ("vorticity",)}}, "channels of u ['u'] and ['vorticity']"),
        ({"units": {"u": "m/s"}}, "units {} and {'u': 'm/s'}"),
        ({"attributes": {"parameters": {"nu": 1.0}}}, "no parameter 'nu'"),
    ],
)
def test_files_of_two_kinds(tmp_path, changed, words):
    native(tmp_path, "a.h5")
    native(tmp_path, "b.h5", **changed)
    with pytest.raises(NWidthError) as error:
        open_dataset(tmp_path)
    assert words in str(error.value) and "a.h5" in str(error.value)
    assert "parameter" in words or "b.h5" in str(error.value)


def test_formats_do_not_mix(tmp_path):
    native(tmp_path, "a.h5")
    torch.save({"x": torch.rand(3, 8), "y": torch.rand(3, 8)}, tmp_path / "b.pt")
    with pytest.raises(NWidthError, match="formats nwidth HDF5 and neuraloperator"):
        open_dataset(tmp_path)


def test_attributes_that_differ_are_kept(tmp_path):
    native(tmp_path, "a.h5", attributes={"seed": 1, "by": "us"})
    native(tmp_path, "b.h5", attributes={"seed": 2, "by": "us"})
    found = open_dataset(tmp_path).attributes
    assert found["by"] == "us" and found["differs"] == {"seed": [1, 2]}
    assert [os.path.basename(f) for f in found["files"]] == ["a.h5", "b.h5"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (lambda p: p / "none", "no such file"),
        (lambda p: str(p / "*.h5"), "a pattern that no data file fits"),
        (lambda p: p, "a folder without data files"),
        (lambda p: [], "an empty list"),
        (lambda p: [p / "none"], "no such file"),
    ],
)
def test_paths_that_lead_nowhere(tmp_path, path, words):
    (tmp_path / "notes.txt").write_text("no data")
    with pytest.raises(NWidthError, match=words):
        open_dataset(path(tmp_path))


@pytest.mark.parametrize("kind", ["periodic", "cell", "nodal"])
@pytest.mark.parametrize("lazy", [True, False])
def test_another_resolution_as_it_is_read(tmp_path, kind, lazy):
    """Every kind of axis, by its own interpolation, for fields that it reproduces."""
    grid, target = Grid.make((16, 12), kind), Grid.make((24, 20), kind)

    def field(g):
        x, y = g.coordinates()
        return torch.sin(2 * torch.pi * (x - y)) if kind == "periodic" else x**3 - x * y**2

    u = field(grid)[None, None, None] * torch.arange(1.0, 7.0)[:, None, None, None, None] * torch.ones(1, 2, 1, 1, 1)
    t = torch.tensor([0.5, 1.0], dtype=torch.float64)
    data = Dataset(grid, u=u.double(), u0=u[:, 0].double(), t=t)
    save_dataset(tmp_path / "a.h5", data)
    if lazy:
        found = open_dataset(tmp_path / "a.h5", resolution=[24, 20])
    else:
        from nwidth.data.resampling import at_resolution

        found = at_resolution(data, [24, 20])
    assert found.grid == target and tuple(found.u.shape) == (6, 2, 1, 24, 20)
    exact = field(target) * torch.arange(1.0, 7.0, dtype=torch.float64)[:, None, None, None, None]
    picked = [4, 0]
    assert torch.allclose(found[picked].load().u, exact[picked].expand(2, 2, 1, 24, 20), atol=1e-10)
    assert torch.allclose(found.load().u0, exact[:, 0], atol=1e-10)
    assert torch.allclose(
        found.thin(2)[picked].load().u, exact[picked][..., ::2, ::2].expand(2, 2, 1, 12, 10), atol=1e-10
    )


@pytest.mark.parametrize("resolution", [1, [4, 4], "8", True, [8.5]])
def test_resolutions_that_make_no_grid(tmp_path, resolution):
    native(tmp_path, "a.h5")
    with pytest.raises(NWidthError, match=r"data\.resolution"):
        open_dataset(tmp_path / "a.h5", resolution=resolution)
