"""What a config may name, and what it may not."""

import sys
import types

import pytest
import torch
from nwidth.build import build, check_targets
from nwidth.data import RandomSplit
from nwidth.errors import NWidthError
from omegaconf import OmegaConf


def test_values_nested_objects_and_added_arguments():
    made = build(
        {
            "_target_": "nwidth.solvers.reduced.PODRegression",
            "rank": 3,
            "regressor": {"_target_": "nwidth.solvers.reduced.Ridge", "alphas": [0.1, 0.2]},
        },
        refit=False,
    )
    assert made.rank == 3 and made.regressor.alphas == [0.1, 0.2] and made.refit is False
    assert type(made.regressor.alphas) is list


def test_factories():
    factory = build({"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.5})
    optimizer = factory([torch.nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, torch.optim.Adam) and optimizer.defaults["lr"] == 0.5
    assert isinstance(build({"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}), torch.nn.Linear)


def test_resolved_hydra_configs():
    config = OmegaConf.create({"s": 7, "split": {"_target_": "nwidth.data.RandomSplit", "seed": "${s}"}})
    assert build(config.split) == RandomSplit(seed=7)


HOSTILE = [
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.open",
    "shutil.rmtree",
    "pathlib.Path",
    "torch.load",
    "torch.hub.load",
    "torch.jit.load",
    "torch.utils.cpp_extension.load",
    "nwidthx.Evil",
    "nwidth",
    "torch.nn",
    "",
    ".",
    "nwidth.",
    "os",
    "hydra.utils.get_method",
    # reached through a module of the package
    "nwidth.data.files.os.system",
    "nwidth.cli.os.system",
    "nwidth.data.arrays.h5py.File",
    "nwidth.data.files.Path",
    "nwidth.data.native.H5Array.__init__",
    "nwidth.data.files.shutil",
    "nwidth.data.arrays.OrderedDict",
    "torch.nn.modules.module.OrderedDict",
    "torch.optim.optimizer.functools.partial",
    # functions, which may do anything
    "nwidth.build.build",
    "nwidth.data.files.write_text",
    "nwidth.cli.main",
    "torch.nn.init.normal_",
    "torch.nn.utils.clip_grad_norm_",
]


@pytest.mark.parametrize("target", [*HOSTILE, 3, ["os.system"], {"a": 1}], ids=str)
@pytest.mark.parametrize("place", ["top", "nested", "list", "deep", "partial"])
def test_other_targets_are_refused(target, place):
    evil = {"_target_": target}
    safe = {"_target_": "nwidth.data.RandomSplit"}
    config = {
        "top": evil,
        "nested": {**safe, "test": evil},
        "list": {**safe, "test": [1, [evil]]},
        "deep": {**safe, "test": {"a": {"b": evil}}},
        "partial": {**evil, "_partial_": True},
    }[place]
    with pytest.raises(NWidthError, match="_target_"):
        build(config)


EVIL = "${oc.create:{_target_: shutil.rmtree, path: /nowhere}}"


@pytest.mark.parametrize("value", [EVIL, [EVIL], {"a": {"b": EVIL}}, "${oc.env:HOME}"], ids=str)
def test_interpolations_bring_nothing_in_after_the_check(value):
    with pytest.raises(NWidthError, match="plain values"):
        build({"_target_": "nwidth.data.RandomSplit", "seed": value})


@pytest.mark.parametrize("value", [EVIL, [EVIL], "\\" + EVIL, {"a": {"b": "\\" + EVIL}}], ids=str)
def test_interpolations_of_hydra_configs_are_resolved_before_the_check(value):
    with pytest.raises(NWidthError, match=r"_target_|plain values"):
        build(OmegaConf.create({"_target_": "nwidth.data.RandomSplit", "seed": value}))


@pytest.mark.parametrize("key", ["_args_", "_convert_", "_recursive_", "_anything_"])
def test_other_special_keys_are_refused(key):
    with pytest.raises(NWidthError, match=key):
        check_targets({"_target_": "nwidth.data.RandomSplit", "x": [{key: []}]})


@pytest.mark.parametrize("config", [None, {}, {"test": 1}, [], "nwidth.data.RandomSplit", {"_target_": None}])
def test_configs_without_a_target(config):
    with pytest.raises(NWidthError, match="a mapping with a _target_"):
        build(config)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"_target_": "nwidth.data.RandomSplitt"}, "does not exist"),
        ({"_target_": "nwidth.nothing.RandomSplit"}, "does not exist"),
        ({"_target_": "nwidth.data.RandomSplit", "tset": 3}, "'tset'"),
        ({"_target_": "torch.nn.Linear", "in_features": 3}, "out_features"),
        ({"_target_": "nwidth.solvers.reduced.RBF", "kernel": "cube"}, "kernel='cube'"),
    ],
)
def test_mistakes_are_told_in_one_line(config, words):
    with pytest.raises(NWidthError) as error:
        build(config)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_other_errors_of_a_constructor_pass_as_they_are():
    with pytest.raises(RuntimeError, match="negative"):
        build({"_target_": "torch.nn.Linear", "in_features": -3, "out_features": 2})


@pytest.fixture
def my_module(monkeypatch):
    module = types.ModuleType("my_models")
    exec("class Mine:\n    def __init__(self, size=1):\n        self.size = size\ndef f(): pass\n", module.__dict__)
    module.Path = __import__("pathlib").Path
    monkeypatch.setitem(sys.modules, "my_models", module)
    monkeypatch.delenv("NWIDTH_TRUST", raising=False)


def test_trust_is_given_by_the_environment_alone(my_module, monkeypatch):
    mine = {"_target_": "my_models.Mine", "size": 4}
    with pytest.raises(NWidthError, match="NWIDTH_TRUST"):
        build(mine)
    monkeypatch.setenv("NWIDTH_TRUST", "other, my_models ,")
    assert build(mine).size == 4
    for target in ("my_models.Path", "my_models.f", "my_models.sys.exit", "my_modelsx.Mine", "os.system"):
        with pytest.raises(NWidthError):
            build({"_target_": target})
    monkeypatch.setenv("NWIDTH_TRUST", "")
    with pytest.raises(NWidthError):
        build(mine)
