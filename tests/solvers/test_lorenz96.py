import math
from importlib.resources import files

import numpy as np
import pytest
import torch
from nwidth.backends import Grid
from nwidth.build import build
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import Lorenz96, Lorenz96TwoScale
from nwidth.solvers.problems.lorenz96 import advection
from omegaconf import OmegaConf
from scipy.integrate import solve_ivp

D = torch.float64


def one_scale(t, x, F):
    """The equation site by site."""
    K = len(x)
    return np.array([(x[(k + 1) % K] - x[k - 2]) * x[k - 1] - x[k] + F for k in range(K)])


def two_scale(t, z, K, J, F, h, c, b):
    x, y = z[:K], z[K:]  # y[J k + j]
    n = J * K
    dx = [(x[(k + 1) % K] - x[k - 2]) * x[k - 1] - x[k] + F - h * c / b * y[J * k : J * k + J].sum() for k in range(K)]
    dy = [-c * b * y[(i + 1) % n] * (y[(i + 2) % n] - y[i - 1]) - c * y[i] + h * c / b * x[i // J] for i in range(n)]
    return np.array(dx + dy)


def tight(f, start, times, *args):
    return solve_ivp(f, (0, times[-1]), start, "DOP853", times, rtol=1e-12, atol=1e-12, args=args)


def test_agrees_with_a_tight_solution():
    problem = Lorenz96(forcing=[7.0, 9.0], spinup=2.0, final_time=2.0, times=2)
    data = problem.simulate(range(3), 0, problem.grid(12))
    for i in range(3):
        F = float(data.mu[i, 0])
        exact = tight(one_scale, data.u0[i, 0].numpy(), [1.0, 2.0], F)
        assert np.abs(data.u[i, :, 0].numpy() - exact.y.T).max() < 2e-7


def test_two_scales_agree_with_a_tight_solution():
    K, J = 5, 3
    problem = Lorenz96TwoScale(
        fast=J,
        forcing=9.0,
        coupling=[0.5, 1.0],
        time_ratio=4.0,
        size_ratio=[6.0, 8.0],
        spinup=0.5,
        final_time=0.5,
        times=1,
    )
    data = problem.simulate([0, 1], 0, problem.grid(K))
    assert data.names["mu"] == ("coupling", "size_ratio")
    for i in range(2):
        h, b = data.mu[i].tolist()
        start = np.concatenate([data.u0[i, 0].numpy(), data.u0[i, 1:].T.flatten().numpy()])
        exact = tight(two_scale, start, [0.5], K, J, 9.0, h, 4.0, b).y[:, -1]
        assert np.abs(data.u[i, 0, 0].numpy() - exact[:K]).max() < 1e-7
        assert np.abs(data.u[i, 0, 1:].T.flatten().numpy() - exact[K:]).max() < 1e-7


def test_the_quadratic_terms_conserve_energy():
    x = torch.randn(3, 1, 40, dtype=D, generator=torch.Generator().manual_seed(0))
    assert float((x * advection(x)).sum(-1).abs().max()) < 1e-12
    problem = Lorenz96TwoScale(forcing=0.0, fast=5)
    u = torch.randn(3, 6, 8, dtype=D, generator=torch.Generator().manual_seed(1))
    inputs = Dataset(problem.grid(8), u0=u)
    # without forcing energy is lost by damping alone: the exchange between the scales adds nothing
    gain = (u * problem.tendency(u, inputs)).sum((1, 2))
    damping = u[:, 0].square().sum(1) + 10 * u[:, 1:].square().sum((1, 2))
    assert torch.allclose(gain, -damping, rtol=1e-12)


def test_energy_balance_of_a_solution():
    problem = Lorenz96(spinup=0.0, final_time=1.0, times=400)
    data = problem.simulate([0], 0, problem.grid(40))
    x = torch.cat([data.u0[:, None], data.u], 1)[0, :, 0]
    energy, power = x.square().sum(1) / 2, (8 * x - x.square()).sum(1)
    weights = torch.ones(401, dtype=D)
    weights[1:-1:2], weights[2:-1:2] = 4, 2  # Simpson's rule
    assert abs(float(energy[-1] - energy[0] - (weights * power).sum() / 1200)) < 1e-5


@pytest.mark.parametrize("problem", [Lorenz96(spinup=0.0), Lorenz96TwoScale(fast=3, spinup=0.0)])
def test_shifts_of_the_ring(problem):
    u = torch.randn(2, len(problem.fields), 9, dtype=D, generator=torch.Generator().manual_seed(0))
    inputs = Dataset(problem.grid(9), u0=u, t=torch.tensor([0.1]))
    moved = Dataset(problem.grid(9), u0=u.roll(4, -1), t=torch.tensor([0.1]))
    assert torch.allclose(problem.solve(moved).u, problem.solve(inputs).u.roll(4, -1), atol=1e-10)


def test_the_largest_lyapunov_exponent():
    # about 1.68 for K = 40, F = 8; growth of small differences, averaged over samples and time
    problem = Lorenz96(spinup=8.0, final_time=1.0, times=1, rtol=1e-7)
    grid = problem.grid(40)
    x = problem.sample(range(48), 0, grid).u0
    y = x + 1e-5 * torch.randn(x.shape, dtype=D, generator=torch.Generator().manual_seed(0))
    growth = []
    for _ in range(12):
        both = problem.solve(Dataset(grid, u0=torch.cat([x, y]))).u[:, 0]
        x, y = both[:48], both[48:]
        size = (y - x).norm(dim=-1, keepdim=True)
        growth.append(float(size.log().mean()) - math.log(1e-5))
        y = x + (y - x) * (1e-5 / size)
    assert 1.55 < sum(growth[4:]) / 8 < 1.8, growth


def test_the_spin_up_leads_to_the_attractor():
    problem = Lorenz96(times=1, rtol=1e-6)
    x = problem.sample(range(64), 0, problem.grid(40)).u0
    # the mean and the standard deviation of x on the attractor for F = 8 are 2.3 and 3.6; <x> F = <x^2>
    assert 2.2 < float(x.mean()) < 2.5 and 3.5 < float(x.std()) < 3.8
    assert float(x.square().mean() / (8 * x.mean())) == pytest.approx(1.0, abs=0.05)


def test_a_sample_does_not_depend_on_its_batch():
    problem = Lorenz96(forcing=[6.0, 10.0], spinup=1.0, times=2, final_time=0.5)
    grid = problem.grid(20)
    together = problem.simulate(range(5), 3, grid)
    alone = problem.simulate([3], 3, grid)
    assert torch.equal(alone.mu[0], together.mu[3])
    assert torch.allclose(alone.u[0], together.u[3], atol=1e-9)


def test_float32():
    problem = Lorenz96(spinup=1.0, final_time=0.5, times=1)
    start = problem.sample([0], 0, problem.grid(20))
    exact = problem.solve(start).u
    single = problem.solve(start.to(dtype=torch.float32), dtype=torch.float32).u
    assert single.dtype == torch.float32 and float((single - exact).abs().max()) < 1e-3


@pytest.mark.parametrize("name, default", [("lorenz96", Lorenz96()), ("lorenz96_two_scale", Lorenz96TwoScale())])
def test_the_packaged_config_is_the_default(name, default):
    config = OmegaConf.create((files("nwidth.conf") / "problem" / f"{name}.yaml").read_text())
    assert build(config) == default and OmegaConf.to_container(config) == default.config()


@pytest.mark.parametrize("problem", [Lorenz96(forcing=[6.0, 9.0]), Lorenz96TwoScale(coupling=[0.0, 1.0], fast=3)])
def test_config_makes_the_problem_again(problem):
    assert build(problem.config()) == problem


@pytest.mark.parametrize(
    "bad, match",
    [
        (lambda: Lorenz96(rtol=0.0), "rtol"),
        (lambda: Lorenz96(forcing=[9.0, 8.0]), "forcing"),
        (lambda: Lorenz96TwoScale(fast=0), "fast"),
        (lambda: Lorenz96TwoScale(time_ratio=-1.0), "time_ratio"),
        (lambda: Lorenz96().grid(3), "4 points or more"),
        (lambda: Lorenz96().solve(Dataset(Grid.make((8,), "cell"), u0=torch.ones(1, 1, 8))), "periodic"),
        (lambda: Lorenz96(forcing=[7.0, 8.0]).solve(Dataset(Grid.make((8,)), u0=torch.ones(1, 1, 8))), "mu"),
        (lambda: Lorenz96().solve(Dataset(Grid.make((8,)), u0=torch.full((1, 1, 8), torch.nan))), "finite"),
    ],
)
def test_bad_input(bad, match):
    with pytest.raises(NWidthError, match=match):
        bad()
