import math

import pytest
import scipy.io
import torch
from nwidth.backends import Grid
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import GaussianField, Schroedinger, levels

FEW = GaussianField(scale=0.5, tau=1.0, alpha=3.0, modes=3)


def relative(u, v):
    return float((u - v).abs().square().sum().sqrt() / v.abs().square().sum().sqrt())


def soliton(problem, n, t, a=1.2, speed=0.6):
    """A bright soliton that moves: a sech(a s (x - 2 d w t)) exp(i (w x + d (a^2 s^2 - w^2) t)), s^2 = g / (2 d)."""
    s, w = math.sqrt(problem.g / (2 * problem.d)), 2 * math.pi / (problem.hi - problem.lo)
    x = problem.grid(n).coordinates()[0]
    y = torch.remainder(x - 2 * problem.d * w * t - problem.lo, problem.hi - problem.lo) + problem.lo
    phase = w * x + problem.d * (a**2 * s**2 - w**2) * t
    return a / torch.cosh(a * s * y) * torch.exp(1j * phase)


@pytest.mark.parametrize("d, g", [(0.5, 1.0), (1.0, 2.5)])
def test_a_bright_soliton(d, g):
    problem = Schroedinger(d=d, g=g, lo=-20.0, hi=20.0, final_time=3.0, times=2)
    data = problem.solve(Dataset(problem.grid(256), u0=soliton(problem, 256, 0.0)[None, None]))
    assert data.u.is_complex()
    for t, u in zip((1.5, 3.0), data.u[0, :, 0]):
        assert relative(u, soliton(problem, 256, t)) < 1e-6


@pytest.mark.parametrize("ndim, k", [(1, (3,)), (2, (1, -2)), (3, (1, 0, 2))])
@pytest.mark.parametrize("g", [1.0, -2.0])
def test_plane_waves(ndim, k, g):
    """A exp(i (k x - w t)) with w = d k^2 - g A^2, on any number of axes."""
    problem = Schroedinger(d=0.3, g=g, ndim=ndim, lo=0.0, hi=2 * math.pi, tolerance=1e-7, final_time=1.0, times=2)
    grid = problem.grid(8)
    x = sum(n * v for n, v in zip(k, grid.coordinates()))
    omega = 0.3 * sum(n * n for n in k) - g * 0.16
    data = problem.solve(Dataset(grid, u0=0.4 * torch.exp(1j * x)[None, None]))
    for t, u in zip((0.5, 1.0), data.u[0, :, 0]):
        assert relative(u, 0.4 * torch.exp(1j * (x - omega * t))) < 1e-5


def test_mass_and_energy_are_conserved_and_a_sample_is_its_own():
    problem = Schroedinger(d=[0.3, 0.6], g=[-1.0, 1.0], final_time=0.6, times=3)
    data = problem.simulate(range(4), 0, problem.grid(128))
    assert data.u.shape == (4, 3, 2, 128) and not data.u.is_complex() and data.channels("u0") == ("re", "im")
    d, g = data.mu.unbind(1)

    def integrals(u):
        h = torch.complex(u[:, 0], u[:, 1])
        k = 2 * math.pi / 10 * torch.fft.fftfreq(128, 1 / 128, dtype=torch.float64)
        bend = (torch.fft.fft(h, norm="forward").abs() * k).square().sum(-1)
        return torch.stack([h.abs().square().mean(-1), d * bend - g / 2 * h.abs().pow(4).mean(-1)])

    start = integrals(data.u0)
    for u in data.u.unbind(1):
        assert torch.allclose(integrals(u), start, rtol=1e-5, atol=1e-6)
    alone = problem.simulate([3], 0, problem.grid(128))
    assert torch.allclose(alone.u, data.u[[3]], rtol=0, atol=1e-9)


def test_complex_fields_and_pairs_of_channels_are_the_same():
    problem = Schroedinger(ndim=2, final_time=0.04, times=1, initial=FEW, tolerance=1e-6)
    inputs = problem.sample([0, 1], 0, problem.grid(16))
    pair = problem.solve(inputs)
    h = Dataset(inputs.grid, u0=torch.complex(inputs.u0[:, :1], inputs.u0[:, 1:]))
    whole = problem.solve(h)
    assert torch.allclose(pair.u, torch.cat([whole.u.real, whole.u.imag], 2), atol=1e-12)
    rates = problem.tendency(inputs.u0, inputs), problem.tendency(h.u0, h)
    assert torch.allclose(rates[0], torch.cat([rates[1].real, rates[1].imag], 1), atol=1e-10)
    single = problem.solve(h.to(dtype=torch.complex64), dtype=torch.float32)
    assert single.u.dtype == torch.complex64 and relative(single.u.to(torch.complex128), whole.u) < 1e-4


def test_single_precision_computes():
    problem = Schroedinger(final_time=0.2, times=1, initial=FEW)
    inputs = problem.sample([0], 0, problem.grid(32))
    computed = problem.solve(inputs, dtype=torch.float32).u
    assert computed.dtype == torch.float64 and relative(computed, problem.solve(inputs).u) < 1e-4


def test_errors():
    problem = Schroedinger()
    with pytest.raises(NWidthError, match="real, imaginary"):
        problem.solve(Dataset(problem.grid(8), u0=torch.ones(1, 1, 8)))
    with pytest.raises(NWidthError, match="tolerance"):
        Schroedinger(tolerance=-1.0)


def test_a_collapse_is_an_error(monkeypatch):
    monkeypatch.setattr(levels, "MOST_VALUES", 2**14)
    problem = Schroedinger(ndim=2, d=1.0, g=1.0, lo=-4.0, hi=4.0, final_time=2.0, times=2, tolerance=1e-4)
    x, y = problem.grid(16).coordinates()
    h = 4.0 * torch.exp(-(x**2 + y**2)) * torch.ones((), dtype=torch.complex128)
    with pytest.raises(NWidthError, match=r"resolved|million|edge of the spectrum"):
        problem.solve(Dataset(problem.grid(16), u0=h[None, None]))


def test_solves_the_data_of_raissi(realdata):
    """2 sech x has kinks at the ends of the period. The shipped values are those of collocation on the file's 256
    points; the solution from their interpolant is 4e-6 away from them.
    """
    file = scipy.io.loadmat(realdata / "pinns" / "NLS.mat")
    h = torch.from_numpy(file["uu"].T.copy())[:21]
    t = torch.from_numpy(file["tt"][0, 1:21])
    inputs = Dataset(Grid.make((256,), lo=-5.0, hi=5.0), u0=h[None, :1], t=t)
    assert relative(Schroedinger(points=256).solve(inputs).u[0, :, 0], h[1:]) < 1e-6
