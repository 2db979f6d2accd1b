import math

import numpy as np
import pytest
import scipy.integrate
import torch
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import GaussianField, KuramotoSivashinsky

FEW = GaussianField(scale=0.3, tau=1.0, alpha=3.0, modes=3)


def relative(u, v):
    return float((u - v).norm() / v.norm())


@pytest.mark.parametrize("nu", [(1.0, 1.0, 1.0), (5.0, 0.5, 0.3), (2.0, -0.4, 0.1)])
def test_against_an_implicit_solver_of_another_kind(nu):
    """Collocation on 64 points with the Radau solver of scipy."""
    problem = KuramotoSivashinsky(nu1=nu[0], nu2=nu[1], nu4=nu[2], lo=-8.0, hi=8.0, final_time=4.0, times=2)
    x = problem.grid(64).coordinates()[0]
    u0 = torch.sin(math.pi * x / 8) + 0.5 * torch.cos(math.pi * x / 4)
    wave = 2j * math.pi / 16 * np.fft.fftfreq(64, 1 / 64)
    wave[32] = 0
    operator = lambda p: np.fft.ifft(np.fft.fft(np.eye(64), axis=0) * (wave**p)[:, None], axis=0).real  # noqa: E731
    first, linear = operator(1), -nu[1] * operator(2) - nu[2] * operator(4)
    exact = scipy.integrate.solve_ivp(
        lambda t, u: linear @ u - nu[0] / 2 * (first @ (u * u)),
        (0, 4),
        u0.numpy(),
        method="Radau",
        t_eval=[2.0, 4.0],
        rtol=1e-8,
        atol=1e-9,
        jac=lambda t, u: linear - nu[0] * first * u,
    ).y
    data = problem.solve(Dataset(problem.grid(64), u0=u0[None, None]))
    assert relative(data.u[0, :, 0], torch.from_numpy(exact.T)) < 2e-6


@pytest.mark.parametrize("ndim", [1, 2])
def test_the_slope_of_one_form_is_the_other(ndim):
    options = {"lo": 0.0, "hi": 20.0, "final_time": 4.0, "times": 2, "nu1": 1.5}
    slope = KuramotoSivashinsky(**options)
    height = KuramotoSivashinsky(form="gradient", ndim=ndim, **options)
    x = slope.grid(32).coordinates()[0] * math.pi / 10
    h0, u0 = torch.sin(x) - torch.cos(2 * x) + 3.0, math.pi / 10 * (torch.cos(x) + 2 * torch.sin(2 * x))
    u = slope.solve(Dataset(slope.grid(32), u0=u0[None, None])).u[0, :, 0]
    along = (1,) * (ndim - 1)
    h = height.solve(Dataset(height.grid(32), u0=h0.view(1, 1, 32, *along).expand(1, 1, *(32,) * ndim))).u[0, :, 0]
    if ndim == 2:
        assert torch.allclose(h, h[..., :1].expand_as(h), atol=1e-10)
        h = h[..., 0]
    k = 2j * math.pi / 20 * torch.fft.fftfreq(32, 1 / 32, dtype=torch.float64)
    assert relative(torch.fft.ifft(k * torch.fft.fft(h)).real, u) < 1e-5


def test_two_axes_are_treated_alike():
    problem = KuramotoSivashinsky(ndim=2, form="gradient", lo=0.0, hi=16.0, final_time=2.0, times=1, initial=FEW)
    inputs = problem.sample([0], 0, problem.grid(24))
    turned = Dataset(inputs.grid, u0=inputs.u0.mT)
    assert torch.allclose(problem.solve(turned).u, problem.solve(inputs).u.mT, atol=1e-10)


def test_balance_of_energy_and_the_mean():
    problem = KuramotoSivashinsky(nu2=[0.5, 1.5], lo=0.0, hi=30.0)
    grid = problem.grid(128)
    inputs = problem.sample(range(3), 0, grid)
    u, rate = inputs.u0, problem.tendency(inputs.u0, inputs)
    c = torch.fft.fft(u[:, 0], norm="forward").abs() ** 2
    k = 2 * math.pi / 30 * torch.fft.fftfreq(128, 1 / 128, dtype=torch.float64)
    fed = (c * (inputs.mu * k**2 - k**4)).sum(-1)
    assert torch.allclose((u * rate).mean((1, 2)), fed, rtol=1e-9, atol=1e-9 * float(c.sum()))
    assert torch.allclose(rate.mean(-1), torch.zeros(3, 1).double(), atol=1e-12)


def test_default_settings_reach_the_accuracy_that_they_promise():
    """Chaos from cos(x/16)(1 + sin(x/16)) on [0, 32 pi), Kassam and Trefethen (2005), against a stricter run."""
    options = {"lo": 0.0, "hi": 32 * math.pi, "final_time": 10.0, "times": 2}
    problem = KuramotoSivashinsky(**options)
    x = problem.grid(128).coordinates()[0] / 16
    inputs = Dataset(problem.grid(128), u0=(torch.cos(x) * (1 + torch.sin(x)))[None, None])
    strict = KuramotoSivashinsky(tolerance=1e-10, **options).solve(inputs).u
    assert relative(problem.solve(inputs).u, strict) < 1e-7


@pytest.mark.parametrize("wrong, match", [({"form": "other"}, "other"), ({"ndim": 2}, "ndim=2"), ({"nu4": 0.0}, "nu4")])
def test_bad_input(wrong, match):
    with pytest.raises(NWidthError, match=match):
        KuramotoSivashinsky(**wrong)
