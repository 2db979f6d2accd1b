"""The command line as a user meets it: help, errors in one line with exit code 2, commands end to end."""

import json
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
from nwidth.commands.help import TEXTS, text
from nwidth.data import load_native
from nwidth.training.report import load_report


@pytest.fixture(scope="module")
def place(nwidth, tmp_path_factory):
    """A folder with a small Burgers file at two resolutions and a fitted run."""
    folder = tmp_path_factory.mktemp("place")
    small = ["problem=burgers", "problem.nu=0.1", "problem.times=3", "problem.final_time=0.2"]
    nwidth(
        "generate",
        *small,
        "n=40",
        "resolution=16",
        "out=b.h5",
        "splits.train=24",
        "splits.val=8",
        "splits.test=8",
        cwd=folder,
    )
    nwidth("generate", *small, "n=6", "resolution=32", "seed=1", "out=b32.h5", cwd=folder)
    nwidth(
        "train",
        "surrogate=fno",
        "data.path=b.h5",
        "training.epochs=2",
        "surrogate.network.width=8",
        "hydra.run.dir=run",
        cwd=folder,
    )
    return folder


@pytest.mark.parametrize("arguments", [["--help"], *[[c, "--help"] for c in TEXTS]])
def test_help_fits_one_screen(nwidth, arguments, tmp_path):
    done = nwidth(*arguments, cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert 5 < len(lines) <= 24 and max(map(len, lines)) <= 120


def test_help_names_the_configs_of_a_users_folder(tmp_path):
    (tmp_path / "surrogate").mkdir()
    (tmp_path / "surrogate" / "mine.yaml").write_text("a: 1\n")
    assert "mine" in text("train", [str(tmp_path)]) and "mine" not in text("train", [])


def test_version_and_unknown_command(nwidth, tmp_path):
    assert re.match(r"nwidth \d", nwidth("--version", cwd=tmp_path).stdout)
    done = nwidth("trian", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "train" in done.stderr


@pytest.fixture(scope="module")
def bad_files(place):
    with h5py.File(place / "odd.h5", "w") as f:
        f["alpha"], f["beta"] = np.zeros((4, 8)), np.zeros((4, 9))
    (place / "cut.h5").write_bytes((place / "b.h5").read_bytes()[:3000])
    with h5py.File(place / "nan.h5", "w") as f:
        f["x"], f["y"] = np.zeros((20, 8)), np.where(np.eye(20, 8), np.nan, 1.0)
    return place


CASES = {
    "missing file": (["data.path=none.h5"], "no such file"),
    "no path": ([], "data.path"),
    "wrong key": (["data.path=odd.h5", "data.fields.u=gamma", "data.fields.a=alpha"], "one of alpha, beta"),
    "no roles": (["data.path=odd.h5"], "data.fields.u=KEY"),
    "shapes": (["data.path=odd.h5", "data.fields.u=beta", "data.fields.a=alpha"], "shape"),
    "truncated": (["data.path=cut.h5"], "truncated"),
    "NaN": (["data.path=nan.h5"], "NaN or infinite values in u"),
    "empty split": (["data.path=b.h5", "split.stored=false", "split.val=0", "split.test=40"], "training samples"),
    "unknown surrogate": (["data.path=b.h5", "surrogate=fnord"], "pod_gp"),
    "unknown override": (["data.path=b.h5", "surrogate.network.widht=3"], "widht"),
    "unknown key": (["data.path=b.h5", "epochs=3"], "epochs"),
    "modes": (["data.path=b.h5", "surrogate.network.modes=40"], "expected 1 to 16"),
    "rank": (
        ["data.path=b.h5", "surrogate=pod_rbf", "surrogate.rank=400", "surrogate.rtol=null"],
        "the rank of the data",
    ),
    "activation": (["data.path=b.h5", "surrogate.network.activation=gleu"], "one of"),
    "value": (["data.path=b.h5", "training.epochs=-1"], "positive"),
    "time": (["data.path=b.h5", "training.time=tomorrow"], "rollout"),
    "seed type": (["data.path=b.h5", "seed=x"], "seed"),
    "code": (["data.path=b.h5", "surrogate._target_=os.system"], "NWIDTH_TRUST"),
    "folder in use": (["data.path=b.h5", "hydra.run.dir=run"], "another hydra.run.dir"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_exit_code_2(nwidth, case, bad_files):
    overrides, expected = CASES[case]
    done = nwidth("train", *overrides, cwd=bad_files, check=False)
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_tracebacks_are_shown_when_asked(nwidth, place):
    done = nwidth("train", "data.path=none.h5", cwd=place, check=False, NWIDTH_TRACEBACK="1")
    assert done.returncode == 2 and "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["predict", "run=run"], "out"),
        (["evaluate"], "run=DIR"),
        (["evaluate", "run=nowhere"], "config.yaml"),
        (["generate", "n=3", "out=x.h5"], "problem"),
        (["generate", "problem=burgers", "n=0", "out=x.h5"], "n: got 0"),
        (["generate", "problem=burgers", "n=2", "out=/proc/nowhere/x.h5"], "folder"),
        (["compare", "data.path=b.h5", "surrogates=[]"], "surrogates"),
        (["compare", "runs=nowhere"], "folder"),
    ],
)
def test_other_commands_refuse_alike(nwidth, command, expected, place):
    done = nwidth(*command, cwd=place, check=False)
    assert done.returncode == 2 and expected in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_info_prints_what_the_file_holds(nwidth, place):
    out = nwidth("info", "b.h5", "out=facts.json", "plot=true", "hydra.run.dir=pictures", cwd=place).stdout
    assert "n-width of 40 samples" in out and "initial state" in out and "train 24" in out
    facts = json.loads((place / "facts.json").read_text())
    assert facts["samples"] == 40 and facts["n_width"]["ranks"]["0.1"] >= 1
    assert (place / "pictures" / "n_width.png").stat().st_size > 5000


def test_a_run_holds_all_it_needs(place):
    held = {p.name for p in (place / "run").iterdir()}
    assert {"config.yaml", "model.safetensors", "fit.json", "split.safetensors", "report.json", "history.csv"} <= held
    report = load_report(place / "run")
    assert {r["split"] for r in report["rows"]} == {"val", "test"}
    needed = {
        "surrogate",
        "seed",
        "split",
        "resolution",
        "rel_l2",
        "fit_seconds",
        "fit_cpu_seconds",
        "predict_seconds",
        "peak_memory_mb",
        "parameters",
        "rank",
        "train_samples",
        "config_hash",
    }
    assert all(needed <= set(r) for r in report["rows"])


def test_evaluate_and_predict_agree_at_another_resolution(nwidth, place):
    nwidth("evaluate", "run=run", "data.path=b32.h5", "hydra.run.dir=evaluated", cwd=place)
    row = load_report(place / "evaluated")["rows"][0]
    assert row["resolution"] == [32]
    nwidth("predict", "run=run", "data.path=b32.h5", "out=p.h5", cwd=place)
    truth, predicted = load_native(place / "b32.h5").load(), load_native(place / "p.h5").load()
    assert torch.equal(truth.u0, predicted.u0)
    e, n = (predicted.u - truth.u).double(), truth.u.double()
    assert row["rel_l2"]["mean"] == pytest.approx(
        float((e.flatten(1).norm(dim=1) / n.flatten(1).norm(dim=1)).mean()), 1e-5
    )
    refused = nwidth("predict", "run=run", "data.path=b32.h5", "out=p.h5", cwd=place, check=False)
    assert refused.returncode == 2 and "overwrite" in refused.stderr


def test_evaluate_without_data_repeats_the_runs_own_test(nwidth, place):
    nwidth("evaluate", "run=run", "hydra.run.dir=again", cwd=place)
    own = next(r for r in load_report(place / "run")["rows"] if r["split"] == "test")
    assert load_report(place / "again")["rows"][0]["rel_l2"] == own["rel_l2"]


def test_compare_writes_one_report_and_goes_on_where_it_stopped(nwidth, place):
    command = [
        "compare",
        "data.path=b.h5",
        "surrogates=[mean,linear,fno]",
        "seeds=[0,1]",
        "training.epochs=1",
        "training.tensorboard=false",
        "+options.fno.network.width=8",
        "hydra.run.dir=compared",
    ]
    first = nwidth(*command, cwd=place)
    report = load_report(place / "compared")
    seeds = {e["surrogate"]: e["seeds"] for e in report["summary"] if e["split"] == "test"}
    assert seeds["fno"] == [0, 1] and seeds["mean"] == [0]
    # rows whose final fit learned from the validation samples claim no error there
    assert {e["surrogate"] for e in report["summary"] if e["split"] == "val"} == {"mean", "fno"}
    assert report["n_width"]["states"]["error"][0] == 1.0 and report["findings"] and not report["failures"]
    assert (place / "compared" / "report.html").stat().st_size > 50_000
    assert "Pareto" in first.stdout
    before = (place / "compared" / "fno" / "seed1" / "model.safetensors").stat().st_mtime_ns
    nwidth(*command, cwd=place)
    assert (place / "compared" / "fno" / "seed1" / "model.safetensors").stat().st_mtime_ns == before
    again = load_report(place / "compared")
    errors = [[(e["surrogate"], e["rel_l2"]["mean"]) for e in r["summary"]] for r in (report, again)]
    assert errors[0] == errors[1]


def test_a_surrogate_that_fails_is_reported_and_the_others_stand(nwidth, place):
    with h5py.File(place / "plain.h5", "w") as f:
        f["x"], f["y"] = np.random.default_rng(0).normal(size=(2, 30, 8))
    done = nwidth("compare", "data.path=plain.h5", "surrogates=[mean,reduced_basis]", "hydra.run.dir=failed", cwd=place)
    report = load_report(place / "failed")
    assert report["failures"][0]["surrogate"] == "reduced_basis" and "problem" in report["failures"][0]["error"]
    assert "failed" in done.stdout and [e["surrogate"] for e in report["summary"] if e["split"] == "test"] == ["mean"]


SWEEP = ["train", "-m", "surrogate=mean", "seed=0,1", "data.path=b.h5,none.h5"]


def test_a_sweep_survives_a_failed_job_and_is_compared(nwidth, place):
    done = nwidth(*SWEEP, "hydra.sweep.dir=sweep", cwd=place, check=False)
    assert done.returncode == 1 and "2 of 4 jobs done" in done.stderr and "no such file" in done.stderr
    nwidth("compare", "runs=sweep", "hydra.run.dir=swept", cwd=place)
    report = load_report(place / "swept")
    assert len(report["failures"]) == 2 and report["n_width"] is not None
    assert {tuple(e["seeds"]) for e in report["summary"]} == {(0, 1)}


def test_a_sweep_of_two_processes_survives_a_failed_job(place):
    jobs = ["surrogate=mean,fno", "data.path=b.h5,none.h5", "training.steps=1", "threads=1"]
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=spread"]
    # from a fresh interpreter, whose common end is the end of joblib's processes as well
    command = [sys.executable, "-m", "nwidth.cli", "train", "-m", *jobs, *words]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=280)
    assert done.returncode == 1 and "2 of 4 jobs done" in done.stderr and "no such file" in done.stderr
    assert {p.name for p in (place / "spread").iterdir() if (p / "report.json").is_file()} == {"0", "2"}


def test_a_users_own_config_folder_adds_and_overrides(nwidth, place):
    own = place / "own" / "surrogate"
    own.mkdir(parents=True)
    (own / "tiny.yaml").write_text("defaults: [fno]\nnetwork: {width: 4, layers: 1}\n")
    nwidth(
        "train",
        "--config-dir",
        "own",
        "surrogate=tiny",
        "data.path=b.h5",
        "training.steps=1",
        "hydra.run.dir=tiny",
        cwd=place,
    )
    row = load_report(place / "tiny")["rows"][0]
    assert row["surrogate"] == "tiny" and row["parameters"] < 2000


def test_a_users_config_wins_over_a_packaged_one_of_the_same_name(nwidth, place):
    own = place / "over" / "surrogate"
    own.mkdir(parents=True)
    (own / "fno.yaml").write_text("_target_: nwidth.solvers.reduced.Mean\n")
    shown = nwidth("train", "--config-dir", "over", "surrogate=fno", "data.path=b.h5", "--cfg", "job", cwd=place)
    assert "nwidth.solvers.reduced.Mean" in shown.stdout and "operators.FNO" not in shown.stdout


def test_unwritable_disk_is_said(nwidth, place):
    done = nwidth("train", "surrogate=mean", "data.path=b.h5", "hydra.run.dir=/proc/none", cwd=place, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
