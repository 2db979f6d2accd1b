import math

import pytest
import torch
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import KdV, SpectralSpace, integrate


def relative(u, v):
    return float((u - v).norm() / v.norm())


def soliton(problem, n, k=1.0, t=0.0, start=-10.0):
    """12 beta k^2/alpha sech^2(k (x - x0 - 4 beta k^2 t)), continued periodically."""
    x = problem.grid(n).coordinates()[0]
    length = problem.hi - problem.lo
    y = torch.remainder(x - start - 4 * problem.beta * k**2 * t + length / 2, length) - length / 2
    return 12 * problem.beta * k**2 / problem.alpha / torch.cosh(k * y) ** 2


@pytest.mark.parametrize("alpha, beta", [(6.0, 1.0), (1.0, 0.5), (-3.0, 0.4), (2.0, -0.5)])
def test_a_soliton_keeps_its_shape(alpha, beta):
    problem = KdV(alpha=alpha, beta=beta, lo=-20.0, hi=20.0, final_time=1.0, times=2)
    u0 = soliton(problem, 256)[None, None]
    data = problem.solve(Dataset(problem.grid(256), u0=u0))
    for t, u in zip((0.5, 1.0), data.u[0, :, 0]):
        assert relative(u, soliton(problem, 256, t=t)) < 1e-6


def test_two_solitons_pass_through_each_other():
    problem = KdV(alpha=6.0, beta=1.0, lo=-25.0, hi=25.0, final_time=8.0, times=1)
    fast, slow = 0.8, 0.4

    def pair(t):
        """The exact two-soliton solution, 2 (log F)_xx, by automatic differentiation."""
        x = problem.grid(192).coordinates()[0].requires_grad_()
        p, q = 2 * fast * (x + 9 - 4 * fast**2 * t), 2 * slow * (x + 0 - 4 * slow**2 * t)
        ratio = ((fast - slow) / (fast + slow)) ** 2
        log = torch.logsumexp(torch.stack([torch.zeros_like(x), p, q, p + q + math.log(ratio)]), 0)
        first = torch.autograd.grad(log.sum(), x, create_graph=True)[0]
        return 2 * torch.autograd.grad(first.sum(), x)[0]

    data = problem.solve(Dataset(problem.grid(192), u0=pair(0.0)[None, None]))
    assert relative(data.u[0, 0, 0], pair(8.0)) < 1e-6


def test_fourth_order_in_time():
    problem = KdV(alpha=6.0, beta=1.0, lo=-20.0, hi=20.0)
    grid = problem.grid(256)
    inputs = Dataset(grid, u0=soliton(problem, 256)[None, None])
    space = SpectralSpace(grid, (768,))
    exact = soliton(problem, 256, t=1.0)

    def error(scheme, steps):
        states = integrate(
            problem.linear(space, inputs),
            lambda c: problem.nonlinear(c, space, inputs),
            space.coefficients(inputs.u0),
            0.0,
            [1.0],
            1 / steps,
            scheme=scheme,
        )
        return relative(space.at(next(states), (256,))[0, 0], exact)

    for scheme in ("etdrk4", "imex"):
        errors = [error(scheme, n) for n in (100, 200, 400)]
        assert math.log2(errors[0] / errors[2]) / 2 > 3.7, (scheme, errors)


def test_mass_momentum_and_energy_are_conserved():
    problem = KdV(alpha=[0.5, 1.5], beta=[0.002, 0.01], final_time=0.2, times=2)
    data = problem.simulate(range(3), 0, problem.grid(256))
    alpha, beta = data.mu.unbind(1)

    def integrals(u):
        c = torch.fft.fft(u[:, 0], norm="forward")
        k = math.pi * torch.fft.fftfreq(256, 1 / 256, dtype=torch.float64)
        slope = torch.fft.ifft(1j * k * c, norm="forward").real
        energy = alpha * u[:, 0].pow(3).mean(-1) / 3 - beta * slope.square().mean(-1)
        return torch.stack([u[:, 0].mean(-1), u[:, 0].square().mean(-1), energy])

    start = integrals(data.u0)
    for u in data.u.unbind(1):
        assert torch.allclose(integrals(u), start, rtol=1e-5, atol=1e-7)
        assert torch.allclose(integrals(u)[0], start[0], atol=1e-12)
    alone = problem.simulate([2], 0, problem.grid(256))
    assert torch.allclose(alone.u, data.u[[2]], rtol=0, atol=1e-10)


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"beta": [-1.0, 1.0]}, {"tolerance": 0.0}, {"ndim": 2}])
def test_bad_input(wrong):
    with pytest.raises(NWidthError, match=next(iter(wrong))):
        KdV(**wrong)
