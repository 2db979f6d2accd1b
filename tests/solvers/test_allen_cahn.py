import math

import pytest
import scipy.io
import scipy.optimize
import scipy.special
import torch
from nwidth.backends import Grid
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import AllenCahn, GaussianField

FEW = GaussianField(scale=4.0, tau=3.0, alpha=3.0, modes=4)


def relative(u, v):
    return float((u.double() - v.double()).norm() / v.double().norm())


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_constant_states_follow_the_ordinary_equation(ndim):
    problem = AllenCahn(eps=20.0, r=[1.0, 4.0], ndim=ndim, final_time=0.1, times=2)
    start = torch.tensor([0.3, -0.8, 1.6, 0.0], dtype=torch.float64)
    r = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    u0 = start.view(-1, *(1,) * (ndim + 1)).expand(4, 1, *(4,) * ndim)
    data = problem.solve(Dataset(problem.grid(4), u0=u0, mu=r[:, None]))
    for t, u in zip(data.t.tolist(), data.u.unbind(1)):
        exact = start * torch.exp(r * t) / (1 + start**2 * (torch.exp(2 * r * t) - 1)).sqrt()
        assert torch.allclose(u.flatten(1), exact[:, None].expand(4, 4**ndim), rtol=1e-6)


def test_a_row_of_interfaces_stands_still():
    """A sn(b x; m) with b^2 (1 + m) = r/eps and A^2 = 2 m/(1 + m) is a steady state."""
    problem = AllenCahn(eps=0.01, r=1.0, lo=0.0, hi=2.0, final_time=2.0, times=2)
    m = scipy.optimize.brentq(lambda m: math.sqrt(100 / (1 + m)) * 2.0 - 4 * scipy.special.ellipk(m), 0.1, 1 - 1e-9)
    x = problem.grid(64).coordinates()[0]
    u0 = math.sqrt(2 * m / (1 + m)) * scipy.special.ellipj(math.sqrt(100 / (1 + m)) * x.numpy(), m)[0]
    u0 = torch.from_numpy(u0)[None, None]
    data = problem.solve(Dataset(problem.grid(64), u0=u0))
    assert relative(data.u[:, 0], u0) < 1e-6 and relative(data.u[:, 1], u0) < 1e-6
    assert float(problem.tendency(u0, Dataset(problem.grid(64), u0=u0)).abs().max()) < 1e-7


@pytest.mark.parametrize("ndim", [1, 2])
def test_the_energy_falls_and_values_stay_in_range(ndim):
    problem = AllenCahn(eps=0.02, r=5.0, ndim=ndim, times=4, final_time=0.4, initial=FEW)
    data = problem.simulate(range(2), 1, problem.grid(32))

    def energy(u):
        c = torch.fft.fftn(u, dim=tuple(range(-ndim, 0)), norm="forward").abs() ** 2
        k = math.pi * torch.fft.fftfreq(32, 1 / 32, dtype=torch.float64)
        square = sum(k.view(-1, *(1,) * i) ** 2 for i in range(ndim))
        potential = (1 - u**2).square().flatten(1).mean(1) / 4
        return 0.02 / 2 * (c * square).flatten(1).sum(1) + 5 * potential

    levels = torch.stack([energy(data.u0), *(energy(u) for u in data.u.unbind(1))])
    assert bool((levels.diff(dim=0) < 0).all())
    assert float(data.u.abs().max()) <= max(1.0, float(data.u0.abs().max())) + 1e-6


def test_every_scheme_gives_the_same_solution():
    inputs = None
    for scheme, bound in (("etdrk4", 1e-6), ("imex", 1e-5), ("rk4", 1e-5), ("etdrk2", 1e-5)):
        problem = AllenCahn(eps=0.01, scheme=scheme, final_time=0.2, times=2, initial=FEW)
        inputs = problem.sample([0, 1], 0, problem.grid(32)) if inputs is None else inputs
        strict = AllenCahn(eps=0.01, final_time=0.2, times=2, tolerance=1e-11).solve(inputs).u
        assert relative(problem.solve(inputs).u, strict) < bound, scheme


def test_bad_input():
    with pytest.raises(NWidthError, match="tolerance"):
        AllenCahn(tolerance=2.0)
    with pytest.raises(NWidthError, match="eps"):
        AllenCahn(eps=[0.0, 1.0])


def test_solves_the_data_of_raissi(realdata):
    """u0 = x^2 cos(pi x) has a kink at the ends of the period; the shipped values are those of collocation on
    the file's 512 points, and the exact solution from their interpolant is 3e-8 away.
    """
    file = scipy.io.loadmat(realdata / "pinns" / "AC.mat")
    u = torch.from_numpy(file["uu"].T.copy())[:81]
    inputs = Dataset(Grid.make((512,), lo=-1.0, hi=1.0), u0=u[None, :1], t=torch.from_numpy(file["tt"][0, 1:81]))
    for options, bound in (({}, 1e-7), ({"points": 512}, 2e-8), ({"points": 512, "tolerance": 1e-10}, 1e-9)):
        assert relative(AllenCahn(**options).solve(inputs).u[0, :, 0], u[1:]) < bound
