import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
import torch
from nwidth.build import build
from nwidth.errors import NWidthError
from nwidth.solvers import Graetz, Parabolic, ThermalBlock

BLOCK = ThermalBlock()


@pytest.mark.parametrize("scheme, order", [("implicit_euler", 1), ("crank_nicolson", 2), ("bdf2", 2)])
def test_order_in_time_against_the_matrix_exponential(scheme, order):
    grid = BLOCK.grid(6)
    system = BLOCK.system(grid)
    errors = []
    for steps in (20, 40, 80):
        problem = Parabolic(steady=BLOCK, times=2, steps=steps, scheme=scheme, final_time=0.2)
        data = problem.simulate([0, 1], 0, grid)
        (a, f), mass = system.assemble(data.mu[1]), system.masses[0].toarray()
        steady = np.linalg.solve(a.toarray(), f)
        exact = steady - scipy.linalg.expm(-0.2 * np.linalg.solve(mass, a.toarray())) @ steady
        found = system.restrict(data.u[1:, -1], data.mu[1:])[0].numpy()
        errors.append(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    assert min(math.log2(a / b) for a, b in pairwise(errors)) > order - 0.1, errors


@pytest.mark.parametrize("steady", [BLOCK, Graetz()], ids=["block", "graetz"])
def test_it_tends_to_the_steady_solution(steady):
    grid = steady.grid(6)
    problem = Parabolic(steady=steady, final_time=100.0, times=2, steps=200, initial=0.3)
    data = problem.simulate(range(2), 0, grid)
    rest = steady.solve(replace(data, t=None, u=None)).u
    assert torch.allclose(data.u[:, -1], rest, atol=1e-8)


def test_the_length_of_the_channel_scales_its_mass():
    """The mean of u over the heated part grows as in the physical channel: M(mu) is the mass there."""
    steady = Graetz()
    mesh = steady.grid(6)
    system = steady.system(mesh)
    mu = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    physical = steady.space(steady.deform(mesh, mu[0])).mass()[system.free][:, system.free]
    mapped = sum(float(t) * m for t, m in zip(steady.theta_mass(mu)[0], system.masses))
    assert abs(physical - mapped).max() < 1e-14


def test_initial_fields_times_and_configs():
    problem = Parabolic(steady=BLOCK, times=4, steps=8)
    data = problem.simulate(range(2), 0, problem.grid(6))
    assert build(problem.config()) == problem and build(data.problem) == problem
    later = replace(data, t=data.t[2:], t0=float(data.t[1]), u0=data.u[:, 1], u=None)
    restarted = Parabolic(steady=BLOCK, times=4, steps=8, scheme="implicit_euler")
    whole = restarted.solve(data.inputs()).u
    again = restarted.solve(replace(later, u0=whole[:, 1])).u
    assert torch.allclose(again, whole[:, 2:], rtol=1e-11)
    assert torch.allclose(problem.simulate([1], 0, data.grid).u[0], data.u[1], rtol=1e-11)


@pytest.mark.parametrize(
    "change, match",
    [
        ({"t": None}, "without times"),
        ({"t": torch.tensor([0.1, 0.2, 0.5])}, "equally spaced"),
        ({"t0": 0.2}, "equally spaced"),
        ({"mu": None, "a": torch.ones(1, 1, 85)}, "expected inputs mu"),
    ],
)
def test_bad_input(change, match):
    problem = Parabolic(steady=BLOCK)
    inputs = problem.sample([0], 0, problem.grid(6))
    with pytest.raises(NWidthError, match=match):
        problem.solve(replace(inputs, **change))
