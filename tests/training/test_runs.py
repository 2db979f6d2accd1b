"""A run's folder: whole, refused when hostile, and read by no other config."""

import os

import pytest
import torch
from nwidth.data import FitLog
from nwidth.data.files import load_state, save_state
from nwidth.errors import NWidthError
from nwidth.training.runs import CONFIG, MODEL, load_config, load_fitted, save_config, save_fitted
from nwidth.training.session import build_surrogate

LINEAR = {"_target_": "nwidth.solvers.reduced.PODRegression", "regressor": {"_target_": "nwidth.solvers.reduced.Ridge"}}


def fitted(folder):
    from nwidth.backends import Grid
    from nwidth.data import Dataset

    x = torch.randn(20, 1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    data = Dataset(Grid.make((8,)), a=x, u=2 * x)
    surrogate = build_surrogate(LINEAR)
    surrogate.fit(data[:15], data[15:])
    folder.mkdir(exist_ok=True)
    save_config(folder, {"name": "linear", "seed": 0, "surrogate": LINEAR})
    save_fitted(folder, surrogate, FitLog(), {"fit_seconds": 1.0}, {"train": torch.arange(15)}, {})
    return data, surrogate


def test_round_trip(tmp_path):
    data, surrogate = fitted(tmp_path / "run")
    again, config, fit = load_fitted(tmp_path / "run")
    assert torch.equal(again.predict(data.inputs()).mean, surrogate.predict(data.inputs()).mean)
    assert config["name"] == "linear" and fit["cost"] == {"fit_seconds": 1.0}
    assert torch.equal(load_state(tmp_path / "run" / "split.safetensors")["train"], torch.arange(15))


@pytest.mark.parametrize(
    "text",
    [
        "surrogate: {_target_: os.system, command: 'touch HACKED'}",
        "surrogate: {_target_: nwidth.data.files.write_text, path: HACKED, text: x}",
        "surrogate: {_target_: nwidth.solvers.reduced.PODRegression, regressor: {_target_: subprocess.Popen}}",
        "surrogate: !!python/object/apply:os.system ['touch HACKED']",
        "surrogate: {_target_: builtins.exec}",
        "surrogate: {_target_: torch.load, f: x}",
        "surrogate: {_target_: nwidth.data.Dataset, _args_: [1]}",
        "[1, 2",
        "just text",
    ],
)
def test_hostile_or_broken_configs_are_refused(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fitted(tmp_path / "run")
    (tmp_path / "run" / CONFIG).write_text(text)
    with pytest.raises(NWidthError):
        load_fitted(tmp_path / "run")
    assert not (tmp_path / "HACKED").exists() and not (tmp_path / "run" / "HACKED").exists()


def test_a_config_that_is_no_surrogate_is_refused(tmp_path):
    fitted(tmp_path / "run")
    (tmp_path / "run" / CONFIG).write_text("name: x\nsurrogate: {_target_: nwidth.data.RandomSplit}\n")
    with pytest.raises(NWidthError, match="a Surrogate"):
        load_fitted(tmp_path / "run")


def test_a_model_that_is_not_ours_is_refused(tmp_path):
    fitted(tmp_path / "run")
    torch.save({"x": torch.ones(2)}, tmp_path / "run" / MODEL)
    with pytest.raises(NWidthError, match="did not write"):
        load_fitted(tmp_path / "run")
    save_state(tmp_path / "run" / MODEL, {"other": 1})
    with pytest.raises(NWidthError, match="does not fit"):
        load_fitted(tmp_path / "run")
    os.truncate(tmp_path / "run" / MODEL, 20)
    with pytest.raises(NWidthError):
        load_fitted(tmp_path / "run")


def test_two_configs_never_share_a_folder(tmp_path):
    fitted(tmp_path / "run")
    with pytest.raises(NWidthError, match=r"another config.*seed"):
        save_config(tmp_path / "run", {"name": "linear", "seed": 1, "surrogate": LINEAR})
    assert load_config(tmp_path / "run")["seed"] == 0


def test_an_unfinished_run_is_not_loaded(tmp_path):
    fitted(tmp_path / "run")
    (tmp_path / "run" / MODEL).unlink()
    with pytest.raises(NWidthError, match="did not finish"):
        load_fitted(tmp_path / "run")
