import importlib

import pytest
import torch
from nwidth.build import build
from nwidth.data import open_dataset
from nwidth.errors import NWidthError
from nwidth.solvers import Burgers, Darcy, ElasticityBlock, generate

PROBLEM = Darcy(ndim=1)


def make(out, **changed):
    options = {"problem": PROBLEM, "n": 11, "resolution": 16, "seed": 3, "block": 4, "dtype": "float64"}
    return generate(out=out, **{**options, **changed})


def test_the_file_says_what_made_it(tmp_path):
    problem = Burgers(nu=[0.1, 0.2], times=3, final_time=0.1)
    out = tmp_path / "new folder" / "b.h5"
    assert generate(problem, 5, 16, 7, out, block=2, splits={"train": 3, "test": 2}) == out
    data = open_dataset(out)
    assert build(data.problem) == problem
    assert data.attributes["seed"] == 7 and data.attributes["nwidth"]
    assert data.u.shape == (5, 3, 1, 16) and data.u.dtype == torch.float32 and data.reads == ("u0", "mu")
    assert data.splits["test"].tolist() == [3, 4]
    assert [p.name for p in out.parent.iterdir()] == ["b.h5"]
    direct = problem.simulate(range(5), 7, problem.grid(16))
    assert torch.allclose(data.load().u, direct.u.float(), atol=1e-6)


def test_a_problem_on_a_mesh(tmp_path):
    problem = ElasticityBlock()
    out = generate(problem, 5, 3, 7, tmp_path / "e.h5", block=2, dtype="float64")
    data, direct = open_dataset(out).load(), problem.simulate(range(5), 7, problem.grid(3))
    assert torch.allclose(data.u, direct.u, rtol=1e-10) and torch.equal(data.mu, direct.mu)
    assert torch.equal(data.grid.points, direct.grid.points) and torch.equal(data.grid.cells, direct.grid.cells)
    assert data.channels("u") == ("u_x", "u_y") and data.channels("mu")[:2] == ("E_0", "E_1")
    assert build(data.problem) == problem
    assert torch.allclose(problem.solve(data.inputs()).u, data.u, rtol=1e-10)  # on the mesh that was read
    stamp = out.stat().st_mtime_ns
    assert generate(problem, 5, 3, 7, out, block=2, dtype="float64") == out and out.stat().st_mtime_ns == stamp
    with pytest.raises(NWidthError, match="another grid"):
        generate(problem, 5, 6, 7, out, block=2, dtype="float64")


def test_samples_do_not_depend_on_block_or_count(tmp_path):
    few = open_dataset(make(tmp_path / "few.h5", n=3)).load()
    many = open_dataset(make(tmp_path / "many.h5", block=11)).load()
    assert torch.allclose(few.u, many.u[:3], rtol=1e-12) and torch.allclose(few.a, many.a[:3], rtol=1e-12)


def test_a_finished_file_is_left_alone(tmp_path, capsys):
    out = make(tmp_path / "x.h5")
    stamp = out.stat().st_mtime_ns
    assert make(out, block=5) == out and out.stat().st_mtime_ns == stamp
    assert "nothing to do" in capsys.readouterr().err
    with pytest.raises(NWidthError, match="seed=3 not 4"):
        make(out, seed=4)
    with pytest.raises(NWidthError, match="another problem"):
        make(out, problem=Darcy(ndim=1, forcing=2.0))
    make(out, seed=4, overwrite=True)
    assert open_dataset(out).attributes["seed"] == 4


def test_parts_of_another_data_set_are_refused(tmp_path, monkeypatch):
    module = importlib.import_module("nwidth.solvers.generate")

    def stop(*args, **options):
        raise KeyboardInterrupt

    out = tmp_path / "x.h5"
    with monkeypatch.context() as m:
        m.setattr(module, "save_dataset", stop)
        with pytest.raises(KeyboardInterrupt):
            make(out)
    with pytest.raises(NWidthError, match=r"unfinished parts of another data set .*n=11 not 12"):
        make(out, n=12)
    assert len(open_dataset(make(out, n=12, overwrite=True))) == 12


@pytest.mark.parametrize(
    "changed, match",
    [
        ({"n": 0}, "n=0"),
        ({"seed": -1}, "seed=-1"),
        ({"resolution": 1}, "resolution"),
        ({"block": 0}, "block=0"),
        ({"dtype": "int8"}, "float32 or"),
        ({"splits": {"train": 12}}, "within n"),
    ],
)
def test_bad_input(tmp_path, changed, match):
    with pytest.raises(NWidthError, match=match):
        make(tmp_path / "x.h5", **changed)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NWidthError, match="cannot be written"):
        make(tmp_path / "file" / "x.h5")


def test_a_foreign_file_is_not_overwritten(tmp_path):
    (tmp_path / "x.h5").write_text("notes")
    with pytest.raises(NWidthError, match="not written by this command"):
        make(tmp_path / "x.h5")
