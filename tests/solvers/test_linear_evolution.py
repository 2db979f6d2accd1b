import math

import pytest
import torch
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import Advection, GaussianField, Heat, Wave

SMOOTH = GaussianField(scale=4.0, tau=3.0, alpha=3.0, modes=4)


def wave(grid, *k):
    """A wave of these frequencies that is neither even nor odd."""
    x = grid.coordinates()
    return torch.cos(2 * math.pi * sum(n * (v - a.lo) / a.length for n, v, a in zip(k, x, grid.axes)) + 0.7)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_advection_moves_the_initial_state(ndim):
    velocity = (0.3, -1.1, 0.7)
    problem = Advection(ndim=ndim, cx=0.3, cy=-1.1, cz=0.7, lo=-1.0, hi=2.0, times=3, initial=SMOOTH)
    grid = problem.grid(10)
    data = problem.solve(problem.sample([0, 1], 0, grid))
    for t, u in zip(data.t.tolist(), data.u.unbind(1)):
        exact = data.u0
        for i, axis in enumerate(grid.axes):  # the series of each axis at x - c t
            k = torch.fft.fftfreq(axis.n, 1 / axis.n, dtype=torch.float64)
            shift = torch.exp(-2j * math.pi * k * velocity[i] * t / axis.length).view(-1, *(1,) * (ndim - 1 - i))
            exact = torch.fft.ifft(torch.fft.fft(exact, dim=2 + i) * shift, dim=2 + i).real
        assert torch.allclose(u, exact, atol=1e-12)


@pytest.mark.parametrize("n", [15, 16])
def test_a_whole_turn_is_the_identity_even_for_the_highest_mode(n):
    problem = Advection(cx=1.0, times=1)
    g = torch.Generator().manual_seed(0)
    u0 = torch.randn(2, 1, n, generator=g, dtype=torch.float64)
    assert torch.allclose(problem.solve(Dataset(problem.grid(n), u0=u0)).u[:, 0], u0, atol=1e-12)


@pytest.mark.parametrize("ndim, k", [(1, (3,)), (2, (3, -2)), (3, (1, 2, -3))])
def test_heat_decays_by_mode(ndim, k):
    problem = Heat(ndim=ndim, kappa=0.02, hi=2.0, times=2)
    grid = problem.grid(8)
    u0 = 1.5 + wave(grid, *k)[None, None]
    data = problem.solve(Dataset(grid, u0=u0))
    for t, u in zip((0.5, 1.0), data.u[:, :].unbind(1)):
        factor = math.exp(-0.02 * math.pi**2 * sum(n * n for n in k) * t)
        assert torch.allclose(u, 1.5 + factor * (u0 - 1.5), atol=1e-13)


@pytest.mark.parametrize("ndim, k", [(1, (2,)), (2, (1, -3)), (3, (1, 2, 2))])
def test_travelling_waves_and_the_mean(ndim, k):
    problem = Wave(ndim=ndim, c=0.7, hi=2.0, times=2, final_time=30.0)
    grid = problem.grid(8)
    omega = 0.7 * math.pi * math.sqrt(sum(n * n for n in k))
    x = math.pi * sum(n * v for n, v in zip(k, grid.coordinates()))
    u0 = torch.stack([torch.sin(x), -omega * torch.cos(x) + 0.25])[None]
    data = problem.solve(Dataset(grid, u0=u0, t0=1.0))
    for t, u in zip((15.0, 30.0), data.u[0]):
        exact = torch.stack([torch.sin(x - omega * t) + 0.25 * t, -omega * torch.cos(x - omega * t) + 0.25])
        assert torch.allclose(u, exact, atol=1e-11)


def test_the_energy_of_waves_is_conserved():
    problem = Wave(c=[0.5, 2.0], ndim=2, initial=SMOOTH, velocity=GaussianField(scale=9.0, tau=3.0, modes=4))
    data = problem.simulate(range(3), 0, problem.grid(18))
    grid, speed = data.grid, data.mu[:, :, None, None]

    def energy(state):
        c = torch.fft.fft2(state, norm="forward")
        k = 2 * math.pi * torch.fft.fftfreq(18, 1 / 18, dtype=torch.float64)
        square = k[:, None] ** 2 + k**2
        return ((c[:, 1].abs() ** 2) + speed[:, 0] ** 2 * square * c[:, 0].abs() ** 2).sum((-2, -1)) / 2

    start = energy(data.u0)
    assert grid.shape == (18, 18) and all(torch.allclose(energy(u), start, rtol=1e-12) for u in data.u.unbind(1))


@pytest.mark.parametrize(
    "problem", [Advection(cx=[-1, 1]), Heat(kappa=[0.01, 0.1]), Wave(c=[0.5, 2])], ids=lambda p: type(p).__name__
)
def test_the_solution_satisfies_the_equation(problem):
    grid = problem.grid(132)
    inputs = problem.sample([0, 1, 2], 0, grid)
    h = 1e-5
    steps = problem.solve(
        Dataset(grid, u0=inputs.u0, mu=inputs.mu, t=torch.tensor([1 - h, 1.0, 1 + h], dtype=torch.float64))
    ).u
    rate = problem.tendency(steps[:, 1], inputs)
    assert torch.allclose((steps[:, 2] - steps[:, 0]) / (2 * h), rate, atol=1e-4 * float(rate.abs().max()))


@pytest.mark.parametrize("kind", [Advection, Heat, Wave])
def test_single_precision_and_batches(kind):
    problem = kind(initial=SMOOTH)
    inputs = problem.sample(range(4), 0, problem.grid(16))
    exact = problem.solve(inputs).u
    assert torch.allclose(problem.solve(inputs[[2]]).u, exact[[2]], atol=1e-13)
    single = problem.solve(inputs, dtype=torch.float32)
    assert single.u.dtype == torch.float64 and torch.allclose(single.u, exact, atol=2e-5 * float(exact.abs().max()))


def test_errors():
    with pytest.raises(NWidthError, match="1 or 2 or 3"):
        Heat(ndim=4)
    with pytest.raises(NWidthError, match="kappa"):
        Heat(kappa=-1.0)
    with pytest.raises(NWidthError, match="columns cx, cy"):
        problem = Advection(cx=[0, 1], cy=[0, 1], ndim=2)
        problem.solve(Dataset(problem.grid(8), u0=torch.ones(1, 1, 8, 8), mu=torch.ones(1, 1)))
    with pytest.raises(TypeError, match="scheme"):
        Heat(scheme="rk4")
