"""Every conf/surrogate/*.yaml: build, a short fit, save, load, equal prediction. New ones are found by themselves."""

import inspect
from copy import deepcopy
from functools import cache
from pathlib import Path

import nwidth
import pytest
import torch
from hydra import compose, initialize_config_module
from nwidth.build import build
from nwidth.data import Surrogate
from nwidth.data.files import load_state, save_state
from nwidth.solvers import Burgers, Darcy, Parabolic, ThermalBlock
from omegaconf import OmegaConf

CONF = Path(nwidth.__file__).parent / "conf"
NAMES = sorted(p.stem for p in (CONF / "surrogate").glob("*.yaml"))
FITS = {  # surrogates that are for some data only, and which of ``data`` those are
    "certified_rb": ("block", "heating"),
    "deim_galerkin": ("burgers",),
    "nonintrusive_rb": ("darcy",),
    "random_grid": ("darcy",),
    **dict.fromkeys(["autoregressive", "dmd", "operator_inference", "persistence"], ("burgers",)),
}
QUICK = {  # what makes a long fit short
    "ensemble": ["surrogate.members=2"],
    "fno_pinn": ["surrogate.network.layers=2"],
    "morphing_pod": ["surrogate.steps=3", "surrogate.widths=[0.2,0.08]", "surrogate.regressor.steps=10"],
    "operator_inference": ["surrogate.ranks=[2,4]"],
    "pod_mlp": ["surrogate.regressor.steps=10", "surrogate.max_rank=4"],
    "random_grid": ["surrogate.network.nodes=8", "surrogate.modes=6", "surrogate.points=17"],
}
KINDS = ("darcy", "burgers")
SHORT = ["training.steps=2", "training.tensorboard=false", "training.device=cpu"]


def kinds(name):
    return FITS.get(name, KINDS)


@cache
def composed():
    """The configs of all surrogates, each as surrogate=NAME gives it: composed side by side, which is much faster."""
    chosen = [f"+surrogate@every.{name}={name}" for name in NAMES]
    quick = [f"every.{name}.{o.removeprefix('surrogate.')}" for name, options in QUICK.items() for o in options]
    with initialize_config_module("nwidth.conf", version_base="1.3"):
        cfg = compose("train", overrides=[*SHORT, *chosen, *quick])
    return OmegaConf.to_container(cfg, resolve=True)["every"]


def config_of(name):
    return deepcopy(composed()[name])


@pytest.fixture(scope="module")
def data():
    darcy, burgers = Darcy(), Burgers(nu=0.1, times=4, final_time=0.2)
    block = ThermalBlock(blocks=[2, 1])
    heating = Parabolic(steady=block, times=4, steps=8)
    return {
        "block": block.simulate(range(24), 0, block.grid(8)),
        "heating": heating.simulate(range(24), 0, heating.grid(8)),
        "darcy": darcy.simulate(range(24), 0, darcy.grid(16)),
        "burgers": burgers.simulate(range(24), 0, burgers.grid(16)),
    }


@pytest.mark.parametrize("name, kind", [(name, kind) for name in NAMES for kind in kinds(name)])
def test_build_fit_save_load_predict(name, kind, data, tmp_path):
    """Also, on the first kind of data, that the same seed gives the same fit."""
    full = data[kind]
    train, val, test = full[:16], full[16:20], full[20:]
    surrogate = build(config_of(name))
    assert isinstance(surrogate, Surrogate)
    log = surrogate.fit(train, val, seed=3, folder=tmp_path)
    assert log.parameters >= 0
    before = surrogate.predict(test.inputs())
    assert before.mean.shape == test.u.shape and bool(torch.isfinite(before.mean).all())
    save_state(tmp_path / "state.safetensors", surrogate.state_dict())
    again = build(config_of(name))
    again.load_state_dict(load_state(tmp_path / "state.safetensors"))
    after = again.predict(test.inputs())
    assert torch.allclose(before.mean.double(), after.mean.double(), rtol=1e-6, atol=1e-7)
    assert (before.std is None) == (after.std is None)
    if before.std is not None:
        assert bool((before.std >= 0).all()) and torch.allclose(before.std, after.std, rtol=1e-5, atol=1e-8)
    if kind == kinds(name)[0]:
        second = build(config_of(name))
        second.fit(train, val, seed=3)
        assert torch.equal(second.predict(test.inputs()).mean, before.mean)


@pytest.mark.parametrize("name, kind", [(name, kind) for name in FITS for kind in KINDS if kind not in kinds(name)])
def test_data_of_another_kind_are_refused(name, kind, data):
    with pytest.raises(nwidth.NWidthError, match="expected"):
        build(config_of(name)).fit(data[kind][:16], data[kind][16:20], seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_config_lists_every_option_so_that_overrides_need_no_plus(name):
    """A surrogate's YAML names all its constructor's arguments, for each class in it, but those that a fit gives."""

    def check(node):
        if isinstance(node, dict):
            if "_target_" in node:
                module, _, cls = node["_target_"].rpartition(".")
                target = getattr(__import__(module, fromlist=[cls]), cls)
                if target.__module__.startswith("nwidth"):
                    given = {"in_channels", "out_channels", "grid", "params"}
                    missing = set(inspect.signature(target).parameters) - given - set(node)
                    assert not missing, f"{node['_target_']} has options that {name}.yaml does not list: {missing}"
            for value in node.values():
                check(value)

    check(config_of(name))


def test_an_unfitted_surrogate_says_so(data):
    for name in NAMES:
        with pytest.raises(nwidth.NWidthError, match="not fitted"):
            build(config_of(name)).predict(data[kinds(name)[0]].inputs())


def test_inputs_are_checked_before_the_fit(data):
    blind = nwidth.Dataset(data["darcy"].grid, u=data["darcy"].u)
    for name in NAMES:
        with pytest.raises(nwidth.NWidthError, match="inputs"):
            build(config_of(name)).fit(blind, None)
