"""nwidth solve as a user meets it: packaged equations, one's own, clouds, observations, mistakes."""

import json
import math
import os

import numpy as np
import pytest


@pytest.fixture
def solve(nwidth):
    def run(*words, cwd, **environment):
        return nwidth("solve", *words, "threads=1", "hydra.run.dir=run", cwd=cwd, check=False, **environment)

    return run


def report(folder):
    return json.loads((folder / "run" / "solution.json").read_text())


def test_a_packaged_equation(solve, tmp_path):
    done = solve("problem=poisson_sin100", "out=u.npz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "error against the exact solution" in done.stdout and "95 % interval" in done.stdout
    found = report(tmp_path)
    assert found["relative_l2"] < 1e-7 and (tmp_path / "run" / "solution.png").stat().st_size > 5000
    with np.load(tmp_path / "u.npz") as file:
        assert np.abs(file["mean"] - np.sin(100 * file["points"][:, 0])).max() < 1e-7 and (file["std"] > 0).all()


def test_errors_are_measured_at_points_in_step_with_no_wave(solve, tmp_path):
    """sin 200x vanishes at 401 equispaced points of its interval, and at the 101 of a user's own choice."""
    done = solve("problem=poisson_x_sin200", "out=u.npz", "resolution=101", "plot=false", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert report(tmp_path)["relative_l2"] < 1e-7 and 0.9 < report(tmp_path)["coverage_95"] < 0.995
    with np.load(tmp_path / "u.npz") as file:
        assert len(file["mean"]) == 101 and np.abs(file["mean"]).max() < 1e-7


@pytest.mark.parametrize("solver", ["gp_kronecker", "chebyshev", "reference"])
def test_other_solvers(solve, solver, tmp_path):
    few = ["solver.steps=3", "solver.components=2"] if solver == "gp_kronecker" else []
    words = ["problem=poisson_2d_sum", "problem.points=40", 'problem.solution="sin(6*x)*cos(2*y)"', "plot=false"]
    done = solve(*words, f"solver={solver}", *few, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert few or report(tmp_path)["relative_l2"] < 1e-8
    assert "95 % interval" not in done.stdout


OWN = '''
from dataclasses import dataclass
import torch
from nwidth.gp.pde import Condition, Equation

@dataclass(frozen=True, kw_only=True)
class Reaction(Equation):
    """u'' - k u + u^2 = f with u = cos(9 x); k is inferred."""

    has_exact = True
    nonlinear_in = ((0,),)
    unknown = {"k": 1.0}

    def terms(self, x, p):
        return {(2,): 1.0, (0,): -p["k"]}

    def nonlinear(self, u, x, p):
        return u[(0,)] ** 2

    def exact(self, x):
        return torch.cos(9 * x[:, 0])

    def source(self, x):
        return -84 * self.exact(x) + self.exact(x) ** 2

    def conditions(self):
        return [Condition(0, end, self.exact) for end in (0, 1)]
'''


def test_an_equation_of_ones_own_with_observations(solve, tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "conf" / "problem").mkdir(parents=True)
    config = "_target_: mine.Reaction\nlower: [0]\nupper: [1]\npoints: 40\njitter: 0.0\nseed: 0\n"
    (tmp_path / "conf" / "problem" / "reaction.yaml").write_text(config)
    x = np.linspace(0.05, 0.9, 12)[:, None]
    np.savez(tmp_path / "seen.npz", points=x, values=np.cos(9 * x[:, 0]), std=np.array(1e-4))
    words = ["--config-dir", "conf", "problem=reaction", "observations=seen.npz"]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = solve(*words, cwd=tmp_path, PYTHONPATH=path)
    assert done.returncode == 2 and "NWIDTH_TRUST" in done.stderr
    done = solve(*words, cwd=tmp_path, PYTHONPATH=path, NWIDTH_TRUST="mine")
    assert done.returncode == 0, done.stderr
    found = report(tmp_path)
    value, spread = found["parameters"]["k"]
    assert abs(value - 3) < max(4 * spread, 1e-4) and found["relative_l2"] < 1e-4
    assert "k = " in done.stdout


def test_an_irregular_domain_from_a_file(solve, tmp_path):
    a = 2 * math.pi * np.arange(80) / 80
    edge = np.stack([np.cos(a), np.sin(a)], 1)
    inner = np.random.default_rng(0).uniform(-1, 1, (500, 2))
    inner = inner[(inner**2).sum(1) < 0.98]
    np.savez(tmp_path / "disc.npz", interior=inner, boundary=edge, values=np.zeros(80))
    done = solve("problem=poisson_force", "cloud=disc.npz", "out=u.npz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "u.npz") as file:
        exact = (1 - (file["points"] ** 2).sum(1)) / 4
        assert np.abs(file["mean"] - exact).max() < 1e-5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "problem=NAME"),
        (["problem=burgers"], "nwidth generate"),
        (["problem=poisson_force", "cloud=none.npz"], "no file"),
        (["problem=poisson_force", "solver=chebyshev", "cloud=bad.npz"], "boundary"),
        (["problem=poisson_sin100", 'problem.solution="open(1)"'], "open(1)"),
        (["problem=poisson_sin100", "solver=none"], "none"),
        (["problem=poisson_sin100", "out=u.txt"], ".npz"),
        (["problem=poisson_sin100", "observations=text.npz"], "another kind of file"),
        (["problem=poisson_sin100", "observations=beyond.npz"], "1 of 2 outside the domain, such as 50"),
        (["problem=poisson_sin100", "observations=exact.npz"], "std=0.0"),
    ],
)
def test_mistakes_are_told_in_one_line(solve, words, said, tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "beyond.npz", points=np.array([[1.0], [50.0]]), values=np.zeros(2), std=1e-3)
    np.savez(tmp_path / "exact.npz", points=np.array([[1.0]]), values=np.zeros(1), std=0.0)
    np.savez(tmp_path / "bad.npz", interior=np.zeros((3, 2)))
    done = solve(*words, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
