"""Recipes of whole data sets, and every problem's config: they build, sample and solve."""

import inspect
from functools import cache
from pathlib import Path

import nwidth
import pytest
import torch
from hydra import compose, initialize_config_module
from nwidth.build import build
from nwidth.gp.pde import Equation
from nwidth.solvers import Problem
from omegaconf import OmegaConf

CONF = Path(nwidth.__file__).parent / "conf"
RECIPES = sorted(p.stem for p in (CONF / "recipe").glob("*.yaml"))
ALL = sorted((CONF / "problem").glob("*.yaml"))
EQUATIONS = [p.stem for p in ALL if "nwidth.gp.pde." in p.read_text()]  # of nwidth solve
PROBLEMS = [p.stem for p in ALL if p.stem not in EQUATIONS]


def config_of(*overrides):
    with initialize_config_module("nwidth.conf", version_base="1.3"):
        return OmegaConf.to_container(compose("generate", overrides=list(overrides)), resolve=True)


@cache
def every_problem():
    """The configs of all problems, each as problem=NAME gives it: composed side by side, which is much faster."""
    return config_of("problem=burgers", *(f"+problem@every.{p.stem}={p.stem}" for p in ALL))["every"]


def test_a_problem_is_chosen_by_its_name():
    assert config_of("problem=darcy")["problem"] == every_problem()["darcy"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_problem_with_splits_of_its_samples(name):
    config = config_of(f"recipe={name}")
    assert isinstance(build(config["problem"]), Problem)
    assert set(config["splits"]) == {"train", "val", "test"} and sum(config["splits"].values()) == config["n"]


@pytest.mark.parametrize("name", [n for n in RECIPES if n.endswith("_small")])
def test_a_small_recipe_makes_finite_samples(name):
    end = "0.05" if "sharp" in name else "0.2" if "navier" in name else None
    short = [f"problem.final_time={end}", "problem.times=2"] if end else []
    config = config_of(f"recipe={name}", *short)
    problem = build(config["problem"])
    data = problem.simulate([0, 1], 0, problem.grid(config["resolution"]))
    assert len(data) == 2 and bool(torch.isfinite(data.u).all()) and float(data.u.std()) > 0
    assert not torch.equal(data.u[0], data.u[1])


def test_every_large_recipe_has_a_small_one():
    assert {n for n in RECIPES if not n.endswith("_small")} == {n[:-6] for n in RECIPES if n.endswith("_small")}


@pytest.mark.parametrize("name", [*PROBLEMS, *EQUATIONS])
def test_a_problem_config_lists_every_option_and_writes_itself_down(name):
    config = every_problem()[name]

    def check(node):
        if isinstance(node, dict):
            if "_target_" in node:
                module, _, cls = node["_target_"].rpartition(".")
                given = set(inspect.signature(getattr(__import__(module, fromlist=[cls]), cls)).parameters)
                assert given <= set(node), f"{node['_target_']}: {sorted(given - set(node))} are not in {name}.yaml"
            for value in node.values():
                check(value)
        elif isinstance(node, list):
            for value in node:
                check(value)

    check(config)
    problem = build(config)
    if name in EQUATIONS:
        assert isinstance(problem, Equation)
    else:
        assert isinstance(problem, Problem) and build(problem.config()) == problem
