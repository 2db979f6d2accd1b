from importlib.resources import files

import pytest
from nwidth.build import build
from nwidth.errors import NWidthError
from nwidth.solvers import Burgers, Darcy, GaussianField, LogNormal, Problem
from omegaconf import OmegaConf


@pytest.mark.parametrize("name, default", [("burgers", Burgers()), ("darcy", Darcy())])
def test_the_packaged_configs_are_the_defaults(name, default):
    config = OmegaConf.create((files("nwidth.conf") / "problem" / f"{name}.yaml").read_text())
    problem = build(config)
    assert isinstance(problem, Problem) and problem == default
    assert OmegaConf.to_container(config) == problem.config()


@pytest.mark.parametrize(
    "problem",
    [
        Burgers(nu=[0.1, 0.2], initial=GaussianField(modes=8)),
        Darcy(ndim=3, forcing=2.0, a=LogNormal(field=GaussianField(tau=1.0))),
    ],
    ids=["burgers", "darcy"],
)
def test_a_config_makes_the_problem_again(problem):
    assert build(problem.config()) == problem


def test_a_misspelt_option_is_an_error():
    with pytest.raises(NWidthError, match="viscosity"):
        build({"_target_": "nwidth.solvers.Burgers", "viscosity": 0.1})
