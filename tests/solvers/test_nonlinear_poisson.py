"""Nonlinear Poisson: second order, the exact discrete equation, samples that do not depend on each other."""

from dataclasses import replace

import pytest
import torch
from nwidth.build import build
from nwidth.data import Dataset
from nwidth.data.metrics import relative_l2
from nwidth.errors import NWidthError
from nwidth.solvers import GaussianField, NonlinearPoisson

FIELD = GaussianField(scale=50.0, tau=5.0, alpha=2.0, modes=8)
LAWS = ["exponential", "sinh", "cubic"]


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("law", LAWS)
def test_second_order_on_a_manufactured_solution(law, ndim):
    """u = sin(pi x_1) .. sin(pi x_d) e^(x_1), with the f that makes it one."""
    problem = NonlinearPoisson(ndim=ndim, reaction_law=law, mu1=(1.0, 4.0), mu2=(1.0, 3.0), forcing=FIELD)
    mu = torch.tensor([[1.5, 2.5], [4.0, 1.0]]).double()
    errors = []
    for n in (9, 17, 33):
        grid = problem.grid(n)
        x = torch.stack(list(grid.coordinates())).double()
        s, c, e = torch.sin(torch.pi * x), torch.cos(torch.pi * x), torch.exp(x[0])
        rest = s[1:].prod(0)
        u = (s[0] * e * rest)[None, None].expand(2, -1, *grid.shape)
        second = e * rest * (s[0] * (1 - torch.pi**2) + 2 * torch.pi * c[0]) - (ndim - 1) * torch.pi**2 * u[0, 0]
        f = -second + problem.reaction(u, Dataset(grid, a=u, mu=mu))
        solved = problem.solve(Dataset(grid, a=f, mu=mu)).u
        errors.append(float(relative_l2(solved, u, grid).max()))
    orders = [torch.log2(torch.tensor(a / b)) for a, b in zip(errors, errors[1:])]
    assert all(1.9 < o < 2.1 for o in orders) and errors[-1] < 3e-3, errors


@pytest.mark.parametrize("law", LAWS)
def test_slope_and_potential_belong_to_the_reaction(law):
    problem = NonlinearPoisson(reaction_law=law)
    u = torch.linspace(-1, 1, 9, dtype=torch.float64)[None, None].requires_grad_()
    inputs = Dataset(problem.grid(4), mu=torch.tensor([[0.7, 3.0]]).double())
    g = problem.reaction(u, inputs)
    (potential,) = torch.autograd.grad(problem.potential(u, inputs).sum(), u)
    (slope,) = torch.autograd.grad(g.sum(), u)
    assert torch.allclose(potential, g) and torch.allclose(slope, problem.slope(u, inputs))
    assert not bool(problem.potential(0 * u, inputs).any())


def test_the_whole_range_of_parameters_converges_and_agrees_with_scipy():
    from scipy.optimize import fsolve

    problem = NonlinearPoisson(mu1=[0.01, 10.0], mu2=[0.01, 10.0])
    grid = problem.grid(9)
    axis = torch.tensor([0.01, 1.0, 10.0]).double()
    data = problem.solve(Dataset(grid, mu=torch.cartesian_prod(axis, axis)))
    assert float(problem.residual(data.u, data.inputs()).abs().max()) < 1e-7
    worst = data[[8]]

    def residual(v):
        u = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
        u[0, 0, 1:-1, 1:-1] = torch.from_numpy(v).view(7, 7)
        return problem.residual(u, worst.inputs())[0, 0, 1:-1, 1:-1].flatten().numpy()

    other = fsolve(residual, 0.1 * worst.u[0, 0, 1:-1, 1:-1].flatten().numpy(), xtol=1e-12)
    assert torch.allclose(torch.from_numpy(other).view(7, 7), worst.u[0, 0, 1:-1, 1:-1], atol=1e-8)


def test_small_parameters_leave_a_linear_equation():
    """mu1 = 1e-6: nearly -u'' = 100 sin(2 pi x)."""
    problem = NonlinearPoisson(ndim=1, mu1=(1e-6, 1.0), mu2=1.0)
    data = problem.solve(Dataset(problem.grid(257), mu=torch.tensor([[1e-6]]).double()))
    x = problem.grid(257).coordinates()[0].double()
    assert torch.allclose(data.u[0, 0], 100 / (4 * torch.pi**2) * torch.sin(2 * torch.pi * x), atol=2e-4)


def test_samples_alone_and_together_and_in_single_precision():
    problem = NonlinearPoisson()
    data = problem.simulate(range(6), 0, problem.grid(17))
    assert torch.allclose(problem.solve(data[[4]].inputs()).u[0], data.u[4], atol=1e-9)
    assert torch.equal(problem.sample([4], 0, problem.grid(9)).mu[0], data.mu[4])
    single = problem.solve(data.inputs().to(dtype=torch.float32), dtype=torch.float32)
    assert single.u.dtype == torch.float32 and float(relative_l2(single.u.double(), data.u, data.grid).max()) < 1e-4


def test_a_random_forcing_and_the_config():
    problem = NonlinearPoisson(forcing=FIELD, mu1=1.0, mu2=2.0, reaction_law="sinh")
    data = problem.simulate(range(3), 0, problem.grid(17))
    assert problem.reads == ("a",) and float(problem.residual(data.u, data.inputs()).abs().max()) < 1e-6
    assert build(problem.config()) == problem and build(NonlinearPoisson().config()) == NonlinearPoisson()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reaction_law": "quartic"}, "exponential, sinh, cubic"),
        ({"mu1": [0.0, 1.0]}, "mu1"),
        ({"mu1": 1.0, "mu2": 1.0}, "for one of them"),
        ({"ndim": 4}, "ndim from 1 to 3"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(NWidthError, match=words):
        NonlinearPoisson(**options)


def test_wrong_inputs():
    problem = NonlinearPoisson()
    good = problem.sample([0], 0, problem.grid(9))
    with pytest.raises(NWidthError, match="inputs mu"):
        problem.solve(replace(good, mu=None, a=torch.zeros(1, 1, 9, 9)))
    with pytest.raises(NWidthError, match="mu1 positive"):
        problem.solve(replace(good, mu=-good.mu))
    with pytest.raises(NWidthError, match="nodal points"):
        problem.solve(replace(good, grid=replace(problem, hi=2.0).grid(9)))
    with pytest.raises(NWidthError, match="1 Newton steps"):
        replace(problem, iterations=1).solve(good)
