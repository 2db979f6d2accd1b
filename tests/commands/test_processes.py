"""Work in processes of their own: killed at any moment it goes on to the same result, and two train as one."""

import json
import signal
import time

import pytest
import torch
from nwidth.data import open_dataset
from nwidth.solvers import Burgers, Darcy, generate
from nwidth.training.runs import MODEL

KILLED = """
import importlib, os, signal
g = importlib.import_module("nwidth.solvers.generate")
import nwidth.data.files as files
from nwidth.solvers import Darcy
calls = []
def die(*a, **k):
    os.kill(os.getpid(), signal.SIGKILL)
def after(count, function):
    def wrapped(*a, **k):
        calls.append(1)
        return die() if len(calls) > count else function(*a, **k)
    return wrapped
if point == "in a block":
    g.save_state = lambda path, s, f=g.save_state: (
        setattr(files.os, "replace", die) if path.name.endswith("1.safetensors") else None, f(path, s))
if point == "while assembling":
    g._load_block = after(2, g._load_block)
if point == "before cleaning up":
    g.shutil.rmtree = die
g.generate(Darcy(ndim=1), 11, 16, 3, out, block=4, dtype="float64")
"""


def test_a_killed_generation_continues_and_gives_the_same_values(tmp_path, nwidth):
    out = tmp_path / "x.h5"
    left = {}
    for point in ("in a block", "while assembling", "before cleaning up"):
        process = nwidth.parent.Process(target=exec, args=(KILLED, {"point": point, "out": str(out)}))
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL
        left[point] = sorted(p.name for p in (tmp_path / "x.h5.parts").glob("block-*.safetensors"))
        assert out.exists() == (point == "before cleaning up")
    assert [len(v) for v in left.values()] == [1, 3, 3]
    generate(Darcy(ndim=1), 11, 16, 3, out, block=4, dtype="float64")
    assert [p.name for p in tmp_path.iterdir()] == ["x.h5"]
    generate(Darcy(ndim=1), 11, 16, 3, tmp_path / "y.h5", block=4, dtype="float64")
    killed, whole = (open_dataset(tmp_path / name).load() for name in ("x.h5", "y.h5"))
    assert torch.equal(killed.a, whole.a) and torch.equal(killed.u, whole.u)


@pytest.fixture(scope="module")
def whole_training(nwidth, tmp_path_factory):
    """The words of a command line that trains, and the folder of its undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    path = generate(Burgers(nu=0.1, times=2, final_time=0.1), 40, 16, 0, folder / "b.h5")
    words = [
        "train", "surrogate=fno", f"data.path={path}", "training.epochs=40", "training.checkpoint_seconds=0.05",
        "training.batch_size=8", "threads=1", "training.tensorboard=false", "surrogate.network.width=8",
        "surrogate.network.dropout=0.1", "split.test=8", "split.val=8",
    ]  # fmt: skip
    nwidth(*words, "hydra.run.dir=run", cwd=folder)
    return words, folder / "run"


@pytest.mark.parametrize("after", [0.0, 0.7])
def test_a_killed_training_resumes_to_the_same_result(nwidth, whole_training, tmp_path, after):
    """SIGKILL at two points of the training, at whatever step it is; then the same command again."""
    words, whole = whole_training
    killed = tmp_path / "killed"
    process = nwidth.start(*words, "hydra.run.dir=killed", cwd=tmp_path)
    checkpoint, deadline = killed / "checkpoint.ckpt", time.time() + 120
    while not checkpoint.is_file() and time.time() < deadline and process.exitcode is None:
        time.sleep(0.01)
    time.sleep(after)
    finished = process.exitcode is not None
    process.kill()
    process.join()
    assert finished or not (killed / MODEL).is_file()
    nwidth(*words, "hydra.run.dir=killed", cwd=tmp_path)
    assert (whole / MODEL).read_bytes() == (killed / MODEL).read_bytes()
    histories = [json.loads((f / "fit.json").read_text())["history"] for f in (whole, killed)]
    assert [(h["step"], h["train_loss"], h["val_rel_l2"]) for h in histories[0]] == [
        (h["step"], h["train_loss"], h["val_rel_l2"]) for h in histories[1]]  # fmt: skip


def test_two_processes_train_as_one(nwidth, tmp_path):
    path = generate(Burgers(nu=0.1, times=2, final_time=0.1), 40, 16, 0, tmp_path / "b.h5")
    histories = []
    for devices in (1, 2):
        folder = tmp_path / f"run{devices}"
        command = [
            "train", "surrogate=fno", f"data.path={path}", "training.epochs=2",
            "training.batch_size=8", "threads=1", "training.tensorboard=false", "surrogate.network.width=8",
            "split.test=8", "split.val=8", "training.device=cpu", f"training.devices={devices}",
            f"hydra.run.dir={folder}",
        ]  # fmt: skip
        done = nwidth(*command, cwd=tmp_path)
        assert done.stdout.count("run: ") == 1  # only the first process speaks
        histories.append([h["val_rel_l2"] for h in json.loads((folder / "fit.json").read_text())["history"]])
    assert histories[0] == pytest.approx(histories[1], rel=1e-4)
