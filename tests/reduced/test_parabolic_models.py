"""Reduced models of parabolic problems: their states, their bounds and POD-greedy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from nwidth.errors import NWidthError
from nwidth.solvers import Graetz, Parabolic, ThermalBlock
from nwidth.solvers.reduced.affine import ParabolicReductor, pod_greedy

BLOCK = Parabolic(steady=ThermalBlock(blocks=[2, 1]), times=4, steps=20, initial=0.1)
GRAETZ = Parabolic(
    steady=Graetz(velocity="exact", diffusion=[0.1, 1.0], length=[0.5, 2.0]), times=4, steps=20, final_time=0.5
)
SCHEMES = ("implicit_euler", "crank_nicolson", "bdf2")


def setting(problem, n=6):
    system = problem.steady.system(problem.grid(n))
    return system, ParabolicReductor(problem, system)


def errors(reductor, model, mu):
    """sqrt(|e^K|_M^2 + dt sum a(e^k, e^k)) at the stored times, from full vectors of every step."""
    problem, system = reductor.problem, reductor.system
    every = Parabolic(**{**vars_of(problem), "times": problem.steps})
    fine = replace_problem(model, every)
    out = []
    for m in mu.split(1):
        states = reductor.trajectory(m)
        c, _, _ = fine.solve(m)
        reduced = torch.cat([states[:1], c[0] @ model.basis])
        e = (states - reduced).numpy()
        a = system.assemble(m[0])[0]
        mass = sum(w * p for w, p in zip(problem.steady.theta_mass(m)[0].numpy(), system.masses))
        total, found = 0.0, []
        for k in range(1, len(e)):
            x = (e[k] + e[k - 1]) / 2 if problem.scheme == "crank_nicolson" else e[k]
            total += model.step * (x @ (a @ x))
            if k % (problem.steps // problem.times) == 0:
                found.append(np.sqrt(total + e[k] @ (mass @ e[k])))
        out.append(found)
    return torch.tensor(np.array(out))


def vars_of(problem):
    return {k: getattr(problem, k) for k in ("steady", "final_time", "times", "steps", "scheme", "initial")}


def replace_problem(model, problem):
    return type(model)(problem, model.steady, model.masses, model.start)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("problem", [BLOCK, GRAETZ], ids=["block", "graetz"])
def test_a_full_basis_is_the_full_order_model(problem, scheme):
    problem = replace(problem, scheme=scheme)
    system, reductor = setting(problem, 4)
    reductor.extend(torch.eye(len(system.free), dtype=torch.float64))
    assert reductor.rank == len(system.free)
    data = problem.solve(problem.sample(range(3), 0, system.mesh))
    model = reductor.reduced()
    c, bound, relative = model.solve(data.mu)
    assert torch.allclose(model.reconstruct(c, data.mu), data.u, rtol=1e-8, atol=1e-10)
    assert float(relative.max()) < 1e-9 and bound.shape == (3, 4)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("problem", [BLOCK, GRAETZ], ids=["block", "graetz"])
def test_the_bound_holds_at_every_time(problem, scheme):
    problem = replace(problem, scheme=scheme)
    system, reductor = setting(problem)
    training, mu = (problem.sample(range(n), s, system.mesh).mu for n, s in ((30, 0), (6, 1)))
    model, log = pod_greedy(reductor, training, rank=12)
    assert model.rank == 12 and log.history[-1]["weak_max"] < 0.1 * log.history[2]["weak_max"]
    _, bound, relative = model.solve(mu)
    error = errors(reductor, model, mu)
    assert bool((bound >= error).all()), (bound / error).min()
    assert float((bound / error).max()) < 30
    assert bool((bound[:, 1:] >= bound[:, :-1]).all()) and bool((relative > 0).all())


def test_pod_greedy_reaches_its_tolerance_for_new_parameters():
    system, reductor = setting(BLOCK)
    training = BLOCK.sample(range(50), 0, system.mesh).mu
    model, log = pod_greedy(reductor, training, rtol=1e-4, modes=2)
    assert log.history[-1]["weak_rel"] <= 1e-4
    data = BLOCK.solve(BLOCK.sample(range(10), 4, system.mesh))
    c, _, relative = model.solve(data.mu)
    u = model.reconstruct(c, data.mu)
    assert float((u - data.u).norm() / data.u.norm()) < 1e-4 and float(relative[:, -1].max()) < 5e-4
    first = model.solve(data.mu[:2])[0]
    assert torch.allclose(first, c[:2])


def test_bad_input_is_an_error():
    system, reductor = setting(BLOCK)
    mu = BLOCK.sample(range(3), 0, system.mesh).mu
    with pytest.raises(NWidthError, match="rank or rtol"):
        pod_greedy(reductor, mu)
    with pytest.raises(NWidthError, match="finite parameters"):
        reductor.reduced().solve(mu[:, :1])
    with pytest.raises(NWidthError, match="not finite"):
        reductor.extend(torch.full((1, len(system.free)), torch.nan))
