import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.io
import scipy.special
import torch
from nwidth.backends import Grid
from nwidth.build import build
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import Burgers, SpectralSpace, integrate


def cole_hopf(x, t, nu):
    """The solution on [0, 1) from u0 = sin(2 pi x): u = -2 nu phi_x / phi, phi_t = nu phi_xx."""
    k = np.arange(1, 400)
    z = 1 / (4 * np.pi * nu)
    c = scipy.special.ive(k, z) * np.exp(-nu * (2 * np.pi * k) ** 2 * t)
    phase = 2 * np.pi * np.outer(x, k)
    phi = scipy.special.ive(0, z) + 2 * np.cos(phase) @ c
    return torch.from_numpy(2 * nu * (2 * np.sin(phase) @ (c * 2 * np.pi * k)) / phi)


def start(problem, n, dtype=torch.float64):
    grid = problem.grid(n)
    return Dataset(grid, u0=torch.sin(2 * torch.pi * grid.coordinates()[0]).to(dtype)[None, None])


def relative(u, v):
    return float((u.double() - v.double()).norm() / v.double().norm())


@pytest.mark.parametrize("nu", [0.1, 0.02, 0.01])
def test_cole_hopf(nu):
    problem = Burgers(nu=nu, times=4)
    data = problem.solve(start(problem, 32))
    x = data.grid.coordinates()[0].numpy()
    for t, u in zip(data.t.tolist(), data.u[0, :, 0]):
        assert relative(u, cole_hopf(x, t, nu)) < 1e-6


def test_fourth_order_in_time_and_spectral_in_space():
    exact = cole_hopf(np.arange(32) / 32, 0.5, 0.02)
    problem = Burgers(nu=0.02)
    inputs = start(problem, 32)

    def error(points, steps):
        space = SpectralSpace(problem.grid(32), (points,))
        c = next(
            integrate(
                problem.linear(space, inputs),
                lambda c: problem.nonlinear(c, space, inputs),
                space.coefficients(inputs.u0),
                0.0,
                [0.5],
                0.5 / steps,
            )
        )
        return relative(space.at(c, (32,))[0, 0], exact)

    errors = [error(256, n) for n in (32, 64, 128)]
    assert min(math.log2(a / b) for a, b in pairwise(errors)) > 3.6, errors
    assert error(96, 500) < 1e-2 and error(192, 500) < 1e-5 and error(384, 500) < 1e-10


def test_mean_is_conserved_and_the_range_shrinks():
    problem = Burgers(nu=0.02, times=3, final_time=0.4)
    data = problem.simulate(range(4), 0, problem.grid(128))
    assert torch.allclose(data.u.mean(-1), data.u0.mean(-1)[:, None].expand(-1, 3, -1), atol=1e-12)
    assert bool((data.u.amax(-1) <= data.u0.amax(-1)[:, None] + 1e-6).all())


def test_a_sample_does_not_depend_on_its_batch():
    problem = Burgers(nu=[0.02, 0.2], times=2, final_time=0.3)
    grid = problem.grid(48)
    together = problem.simulate(range(4), 3, grid).u
    for i in (0, 3):
        assert torch.allclose(problem.simulate([i], 3, grid).u[0], together[i], rtol=0, atol=1e-12)


def test_one_solution_at_every_resolution():
    problem = Burgers(nu=0.03, times=2, final_time=0.3)
    fine = problem.simulate(range(2), 0, problem.grid(120))
    for n in (8, 30):
        coarse = problem.simulate(range(2), 0, problem.grid(n))
        assert relative(coarse.u0, fine.u0[..., :: 120 // n]) < 1e-12
        assert relative(coarse.u, fine.u[..., :: 120 // n]) < 1e-7


def test_float32_follows_the_inputs():
    problem = Burgers(nu=0.02, times=2)
    inputs = start(problem, 32)
    exact = problem.solve(inputs).u
    single = problem.solve(inputs.to(dtype=torch.float32))
    assert single.u.dtype == torch.float32 and relative(single.u, exact) < 1e-6
    computed = problem.solve(inputs, dtype=torch.float32)
    assert computed.u.dtype == torch.float64 and relative(computed.u, exact) < 1e-4


def test_tendency_is_the_right_hand_side():
    problem = Burgers(nu=0.05)
    grid = problem.grid(16)
    x = 2 * torch.pi * grid.coordinates()[0]
    u = torch.sin(x)[None, None]
    wanted = -0.05 * (2 * torch.pi) ** 2 * torch.sin(x) - 2 * torch.pi * torch.sin(x) * torch.cos(x)
    assert torch.allclose(problem.tendency(u, Dataset(grid, u0=u))[0, 0], wanted, atol=1e-12)


def test_config_makes_the_problem_again():
    problem = Burgers(nu=[0.1, 0.5], lo=-1.0, times=3, final_time=0.1)
    data = problem.simulate([0], 0, problem.grid(16))
    assert build(data.problem) == problem
    assert data.reads == ("u0", "mu") and 0.1 <= float(data.mu) <= 0.5


def test_zero_constant_and_closed_grids():
    problem = Burgers(nu=0.1, times=2)
    inputs = Dataset(problem.grid(8), u0=torch.tensor([0.0, 3.0]).double()[:, None, None].expand(2, 1, 8))
    assert torch.allclose(problem.solve(inputs).u, inputs.u0[:, None].expand(2, 2, 1, 8), atol=1e-12)
    x = torch.linspace(0, 1, 33, dtype=torch.float64)
    u = problem.solve(Dataset(Grid.make((33,), "nodal"), u0=torch.sin(2 * torch.pi * x)[None, None])).u
    assert relative(u[..., :-1], problem.solve(start(problem, 32)).u) < 1e-12
    assert torch.equal(u[..., 0], u[..., -1])


@pytest.mark.parametrize(
    "bad, match",
    [
        (lambda: Burgers(nu=-1.0), "above 0"),
        (lambda: Burgers(nu=[0.1, 0.01]), "least, most"),
        (lambda: Burgers(times=0), "times >= 1"),
        (lambda: Burgers().grid(2), "4 points or more"),
        (lambda: Burgers().solve(Dataset(Grid.make((8,), "cell"), u0=torch.ones(1, 1, 8))), "periodic axes"),
        (lambda: Burgers().solve(Dataset(Grid.make((8,)), a=torch.ones(1, 1, 8))), "inputs u0"),
        (lambda: Burgers(nu=[0.1, 1.0]).solve(start(Burgers(), 8)), "mu"),
        (lambda: Burgers(nu=1e9).solve(Dataset(Grid.make((8,)), u0=1e8 * start(Burgers(), 8).u0)), "million"),
        (lambda: Burgers(nu=1e-7).solve(start(Burgers(), 8)), "raise the viscosity"),
        (lambda: Burgers().solve(Dataset(Grid.make((8,)), u0=torch.full((1, 1, 8), torch.nan))), "finite inputs"),
    ],
)
def test_bad_input(bad, match):
    with pytest.raises(NWidthError, match=match):
        bad()


# data made by others


def test_solves_the_shock_of_raissi(realdata):
    file = scipy.io.loadmat(realdata / "pinns/burgers_shock.mat")
    u = torch.from_numpy(file["usol"].T.copy())
    problem = Burgers(nu=0.01 / math.pi, lo=-1.0, hi=1.0)
    grid = Grid.make((256,), "nodal", -1.0, 1.0)
    inputs = Dataset(grid, u0=u[None, :1], t=torch.from_numpy(file["t"][1:, 0]))
    assert relative(problem.solve(inputs).u[0, :, 0], u[1:]) < 1e-8


def test_solves_the_burgers_data_of_raissi(realdata):
    file = scipy.io.loadmat(realdata / "deephpms/burgers.mat")
    u = torch.from_numpy(file["usol"].real.T.copy())
    for cfl, tolerance, bound in ((0.75, 1e-8, 1e-6), (0.2, 1e-9, 1e-8)):
        problem = Burgers(nu=0.1, lo=-8.0, hi=8.0, cfl=cfl, tolerance=tolerance)
        inputs = Dataset(problem.grid(256), u0=u[None, :1], t=torch.from_numpy(file["t"][1:, 0]))
        assert relative(problem.solve(inputs).u[0, :, 0], u[1:]) < bound


def test_solves_the_burgers_data_of_neuraloperator(realdata):
    file = torch.load(realdata / "neuralop/burgers_train_16.pt", weights_only=True)
    problem = Burgers(nu=0.01)
    inputs = Dataset(problem.grid(16), u0=file["x"][:64, None], t=file["t"][1:])
    assert relative(problem.solve(inputs).u[:, :, 0], file["y"][:64, 1:]) < 1e-3
