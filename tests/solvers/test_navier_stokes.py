import math
from importlib.resources import files
from itertools import pairwise

import pytest
import torch
from nwidth.backends import Grid
from nwidth.backends.transforms import Fourier
from nwidth.build import build
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import (
    GaussianField,
    MaternField,
    NavierStokes,
    PowerLawField,
    integrate,
    stream,
    streamfunction,
    velocity,
    vorticity,
)
from omegaconf import OmegaConf

TURN = 2 * math.pi


def relative(u, v):
    return float((u.double() - v.double()).norm() / v.double().norm())


def torus(n):
    return Grid.make((n, n), hi=TURN)


def eddies(seed, n=32, modes=6, std=1.0, hi=TURN):
    """A smooth random vorticity of mean zero on [0, hi)^2."""
    return PowerLawField(std=std, slope=2.0, modes=modes).sample([stream(seed, 0)], Grid.make((n, n), hi=hi))


def gradient(w, grid):
    transform = Fourier(2, lengths=[a.length for a in grid.axes])
    return transform.derivative(w, (1, 0)), transform.derivative(w, (0, 1))


# velocity and vorticity


def test_velocity_of_a_random_flow():
    grid = Grid((Grid.make((24,), hi=3.0).axes[0], Grid.make((18,), lo=-1.0).axes[0]))
    w = MaternField(length=0.4, nu=2.5, modes=7).sample([stream(0, i) for i in range(3)], grid)
    u = velocity(w, grid)
    assert u.shape == (3, 2, 24, 18)
    assert torch.allclose(vorticity(u, grid), w - w.mean((-2, -1), keepdim=True), atol=1e-12)
    divergence = gradient(u[:, :1], grid)[0] + gradient(u[:, 1:], grid)[1]
    assert float(divergence.abs().max()) < 1e-12 * float(w.abs().max())
    assert float(u.mean((-2, -1)).abs().max()) < 1e-14


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_streamfunction_of_one_wave(dtype):
    x, y = torus(12).coordinates()
    w = (torch.sin(2 * x - y) + 5).to(dtype)
    psi = streamfunction(w, torus(12))
    assert psi.dtype == dtype and torch.allclose(psi.double(), torch.sin(2 * x - y) / 5, atol=1e-6)


# exact solutions


@pytest.mark.parametrize("flow", [(0.0, 0.0), (0.7, -0.4)])
def test_taylor_green_vortex(flow):
    problem = NavierStokes(nu=0.05, hi=TURN, forcing="none", final_time=2.0, times=2, mean_flow=flow)
    x, y = problem.grid(16).coordinates()

    def exact(t):
        return 2 * torch.cos(x - flow[0] * t) * torch.cos(y - flow[1] * t) * math.exp(-2 * 0.05 * t)

    u = problem.solve(Dataset(problem.grid(16), u0=exact(0)[None, None])).u[0, :, 0]
    assert torch.allclose(u, torch.stack([exact(1.0), exact(2.0)]), atol=1e-12)


def test_kolmogorov_flow_goes_to_its_laminar_state():
    problem = NavierStokes(
        nu=0.5, hi=TURN, forcing="kolmogorov", amplitude=0.2, wave_number=2, drag=0.1, final_time=40.0, times=1
    )
    w = problem.solve(Dataset(problem.grid(16), u0=0.01 * eddies(0, 16, 3))).u[0, 0]
    y = problem.grid(16).coordinates()[1]
    assert torch.allclose(w[0], -0.2 * 2 / (0.5 * 4 + 0.1) * torch.cos(2 * y), atol=1e-7)
    assert torch.allclose(velocity(w, problem.grid(16))[0], 0.2 / 2.1 * torch.sin(2 * y), atol=1e-7)


def test_the_forcing_of_fno_from_rest():
    # one wave does not carry itself: w = f (1 - exp(-nu kappa^2 t)) / (nu kappa^2)
    problem = NavierStokes(nu=1e-2, final_time=3.0, times=3)
    x, y = problem.grid(16).coordinates()
    f = 0.1 * (torch.sin(TURN * (x + y)) + torch.cos(TURN * (x + y)))
    rate = 1e-2 * 2 * TURN**2
    u = problem.solve(Dataset(problem.grid(16), u0=torch.zeros(1, 1, 16, 16, dtype=torch.float64))).u[0, :, 0]
    for t, w in zip((1.0, 2.0, 3.0), u):
        assert torch.allclose(w, f * (1 - math.exp(-rate * t)) / rate, atol=1e-13)


def test_a_forcing_field_is_an_input():
    named = NavierStokes(nu=1e-2, final_time=1.0, times=1)
    problem = NavierStokes(nu=1e-2, final_time=1.0, times=1, forcing=GaussianField(modes=4))
    x, y = problem.grid(32).coordinates()
    f = 0.1 * (torch.sin(TURN * (x + y)) + torch.cos(TURN * (x + y))) + 7  # the mean does nothing
    w0 = eddies(1, hi=1.0)
    given = problem.solve(Dataset(problem.grid(32), u0=w0, a=f[None, None])).u
    assert relative(given, named.solve(Dataset(named.grid(32), u0=w0)).u) < 1e-10
    data = problem.sample([0, 1], 0, problem.grid(6))
    assert data.reads == ("a", "u0") and data.a.shape == (2, 1, 6, 6) and not problem.quadratic


# order, balances, convergence


def advance(problem, w0, steps, time, points=64):
    inputs = Dataset(torus(w0.shape[-1]), u0=w0)
    space = problem.space(problem.grid(w0.shape[-1]), [points] * 2, w0)
    c = space.coefficients(w0)
    linear = problem.linear(space, inputs)
    return space, next(integrate(linear, lambda v: problem.nonlinear(v, space, inputs), c, 0.0, [time], time / steps))


def test_fourth_order_in_time():
    problem = NavierStokes(nu=1e-3, hi=TURN, forcing="kolmogorov", amplitude=1.0, wave_number=3)
    exact = advance(problem, eddies(0), 200, 1.0)[1]
    errors = [float((advance(problem, eddies(0), n, 1.0)[1] - exact).abs().max()) for n in (20, 40, 80)]
    assert min(math.log2(a / b) for a, b in pairwise(errors)) > 3.7, errors


def test_galerkin_products_keep_mean_energy_and_enstrophy():
    # nu -> 0: the semidiscrete equations keep all three for any degree, resolved or not
    problem = NavierStokes(nu=1e-15, hi=TURN, forcing="none")
    space, c = advance(problem, eddies(3, 24, 10), 400, 1.0, points=31)
    start = space.coefficients(eddies(3, 24, 10))

    def integrals(c):
        w = space.at(c, space.shape)
        u = velocity(w, space.grid)
        return torch.stack([u.square().sum(1).mean(), w.square().mean()])

    assert torch.allclose(integrals(c), integrals(start), rtol=1e-8)
    assert abs(complex(c[0, 0, space.degree[0], 0] - start[0, 0, space.degree[0], 0])) < 1e-15
    assert relative(torch.view_as_real(c), torch.view_as_real(start)) > 0.1  # and yet it moves


@pytest.mark.parametrize("forcing", ["none", "fno", "kolmogorov"])
def test_the_balance_of_energy_and_enstrophy(forcing):
    # dE/dt = -2 nu Z - 2 drag E + <u, F>, dZ/dt = -nu |grad w|^2 - 2 drag Z + <w, f>; E = |u|^2/2, Z = w^2/2
    problem = NavierStokes(nu=0.03, drag=0.2, hi=TURN, forcing=forcing, amplitude=1.3, wave_number=2)
    grid, w = torus(32), eddies(5)
    rate = problem.tendency(w, Dataset(grid, u0=w))
    x, y = grid.coordinates()
    f = {
        "none": 0 * x,
        "fno": 1.3 * (torch.sin(2 * (x + y)) + torch.cos(2 * (x + y))),
        "kolmogorov": -1.3 * 2 * torch.cos(2 * y),
    }[forcing]
    psi, source = streamfunction(w, grid), f[None, None]
    u = velocity(w, grid)
    energy, enstrophy = u.square().sum(1).mean() / 2, w.square().mean() / 2
    slope = sum(part.square() for part in gradient(w, grid))
    assert float((psi * rate).mean()) == pytest.approx(
        float(-2 * 0.03 * enstrophy - 2 * 0.2 * energy + (psi * source).mean()), abs=1e-9
    )
    assert float((w * rate).mean()) == pytest.approx(
        float(-0.03 * slope.mean() - 2 * 0.2 * enstrophy + (w * source).mean()), abs=1e-9
    )


def test_the_tendency_is_the_equation():
    grid = torus(24)
    x, y = grid.coordinates()
    w = torch.sin(x) * torch.cos(2 * y) + torch.cos(3 * x + y)
    psi = torch.sin(x) * torch.cos(2 * y) / 5 + torch.cos(3 * x + y) / 10
    u = -2 * torch.sin(x) * torch.sin(2 * y) / 5 - torch.sin(3 * x + y) / 10
    v = -torch.cos(x) * torch.cos(2 * y) / 5 + 3 * torch.sin(3 * x + y) / 10
    w_x = torch.cos(x) * torch.cos(2 * y) - 3 * torch.sin(3 * x + y)
    w_y = -2 * torch.sin(x) * torch.sin(2 * y) - torch.sin(3 * x + y)
    lap = -5 * torch.sin(x) * torch.cos(2 * y) - 10 * torch.cos(3 * x + y)
    problem = NavierStokes(nu=0.1, hi=TURN, forcing="none", drag=0.3, mean_flow=(0.5, 2.0))
    wanted = -(u + 0.5) * w_x - (v + 2.0) * w_y + 0.1 * lap - 0.3 * w
    inputs = Dataset(grid, u0=w[None, None])
    assert torch.allclose(problem.tendency(w[None, None], inputs)[0, 0], wanted, atol=1e-12)
    assert torch.allclose(streamfunction(w, grid), psi, atol=1e-13)


def test_a_vigorous_flow_converges_to_the_tolerance():
    w0 = eddies(7, 16, 4, std=8.0, hi=1.0)
    inputs = Dataset(Grid.make((16, 16)), u0=w0)
    options = {"nu": 5e-3, "final_time": 0.5, "times": 2}
    fine = NavierStokes(**options, tolerance=1e-8).solve(inputs).u
    errors = [relative(NavierStokes(**options, tolerance=e).solve(inputs).u, fine) for e in (1e-3, 1e-6)]
    assert errors[1] < 1e-5 < errors[0] < 3e-2, errors


# data


def test_samples_have_the_stated_law_and_no_mean():
    problem = NavierStokes(nu=[1e-4, 1e-2])
    data = problem.sample(range(400), 0, problem.grid(65))
    assert float(data.u0.mean((-2, -1)).abs().max()) < 1e-14
    k = torch.arange(-32, 33, dtype=torch.float64)
    lam = 7**1.5 * (TURN**2 * (k[:, None] ** 2 + k**2) + 49) ** -2.5
    lam[32, 32] = 0
    assert float(data.u0.square().mean()) == pytest.approx(float(lam.sum()), rel=0.05)
    assert data.names["mu"] == ("nu",) and float(data.mu.min()) > 1e-4
    coarse = problem.sample([5], 0, problem.grid(13))
    assert torch.allclose(coarse.u0, data.u0[5:6, :, ::5, ::5], atol=1e-14)


def test_a_sample_does_not_depend_on_batch_or_resolution():
    problem = NavierStokes(nu=[5e-3, 2e-2], amplitude=[0.1, 0.2], final_time=2.0, times=2)
    data = problem.simulate(range(3), 1, problem.grid(36))
    assert data.reads == ("u0", "mu") and data.mu.shape == (3, 2)
    alone = problem.simulate([2], 1, problem.grid(12))
    assert relative(alone.u[0], data.u[2, ..., ::3, ::3]) < 1e-9


def test_float32():
    problem = NavierStokes(nu=1e-2, final_time=1.0, times=1)
    inputs = problem.sample([0], 0, problem.grid(72))
    exact = problem.solve(inputs).u
    single = problem.solve(inputs, dtype=torch.float32)
    assert single.u.dtype == torch.float64 and relative(single.u, exact) < 1e-5
    assert problem.solve(inputs.to(dtype=torch.float32)).u.dtype == torch.float32


def test_points_reproduce_a_collocation_method():
    problem = NavierStokes(nu=1e-2, final_time=1.0, times=1, points=24)
    inputs = Dataset(problem.grid(24), u0=0.1 * eddies(2, 24, 4, hi=1.0))
    free = NavierStokes(nu=1e-2, final_time=1.0, times=1).solve(inputs)
    assert relative(problem.solve(inputs).u, free.u) < 1e-6


def test_the_packaged_configs():
    text = (files("nwidth.conf") / "problem" / "navier_stokes.yaml").read_text()
    assert OmegaConf.to_container(OmegaConf.create(text)) == NavierStokes().config()
    flow = OmegaConf.create((files("nwidth.conf") / "problem" / "kolmogorov_flow.yaml").read_text())
    assert build(flow).forcing == "kolmogorov" and set(flow) == set(NavierStokes().config())


def test_config_makes_the_problem_again():
    for problem in (NavierStokes(nu=[1e-3, 1e-2], mean_flow=[1, 0]), NavierStokes(forcing=MaternField())):
        assert build(problem.config()) == problem


@pytest.mark.parametrize(
    "bad, match",
    [
        (lambda: NavierStokes(forcing="wind"), "fno, kolmogorov, none"),
        (lambda: NavierStokes(wave_number=0), "wave_number >= 1"),
        (lambda: NavierStokes(nu=0.0), "nu"),
        (lambda: NavierStokes(ndim=3), "ndim=3"),
        (lambda: NavierStokes(mean_flow=(1.0,)), "two components"),
        (lambda: NavierStokes(tolerance=0.0), "tolerance"),
        (lambda: NavierStokes(points=8, wave_number=5).simulate([0], 0, NavierStokes().grid(8)), "wave_number 5"),
        (lambda: NavierStokes(forcing=MaternField()).solve(NavierStokes().sample([0], 0, torus(8))), "inputs a, u0"),
        (lambda: velocity(torch.zeros(4, 4), torus(4)), r"\(\.\.\., 1, n, m\)"),
        (lambda: vorticity(torch.zeros(1, 4, 4), torus(4)), "two periodic axes"),
        (lambda: streamfunction(torch.zeros(4, 4), Grid.make((4, 4), "cell")), "periodic axes"),
    ],
)
def test_bad_input(bad, match):
    with pytest.raises(NWidthError, match=match):
        bad()
