import math

import pytest
import torch
from nwidth.backends import Grid
from nwidth.errors import NWidthError
from nwidth.solvers import SpectralSpace
from nwidth.solvers.spectral import bandwidth, good_size


def field(grid, degree, real, seed=0):
    """A random polynomial of this degree on a grid of the unit box, and the function that evaluates it."""
    g = torch.Generator().manual_seed(seed)
    k = torch.cartesian_prod(*[torch.arange(-degree, degree + 1)] * grid.ndim).view(-1, grid.ndim).double()
    weights = torch.randn(len(k), 2, generator=g, dtype=torch.float64)
    phase = torch.exp(2j * math.pi * torch.einsum("kd,d...->k...", k, grid.coordinates()))
    u = torch.tensordot(torch.view_as_complex(weights), phase, dims=1)
    return u.real if real else u


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_round_trip_at_every_shape(ndim, real):
    grid = Grid.make((8,) * ndim)
    space = SpectralSpace(grid, (12,) * ndim, factors=2, real=real)
    u = field(grid, 3, real)[None, None]
    c = space.coefficients(u)
    assert space.degree == (3,) * ndim and tuple(c.shape[2:]) == space.counts
    for n in (5, 8, 12, 20):
        exact = field(Grid.make((n,) * ndim), 3, real)
        assert torch.allclose(space.at(c, (n,) * ndim)[0, 0], exact, atol=1e-12)
    assert torch.allclose(space.values(c)[0, 0], field(space.grid, 3, real), atol=1e-12)


@pytest.mark.parametrize("real", [True, False])
def test_products_are_free_of_aliases_where_asked(real):
    degree = 10
    grid, fine = Grid.make((40,)), Grid.make((128,))
    spectrum = torch.fft.fft(field(fine, degree, real) ** 3, norm="forward")
    kept = (torch.fft.fftfreq(128) * 128).abs() <= degree
    exact = torch.fft.ifft(torch.where(kept, spectrum, 0), norm="forward")
    space = SpectralSpace(grid, (4 * degree + 1,), factors=3, real=real)
    cube = space.coefficients(space.values(space.coefficients(field(grid, degree, real))) ** 3)
    assert space.degree == (degree,)
    assert torch.allclose(space.at(cube, (128,)).to(exact.dtype), exact, atol=1e-10 * float(exact.abs().max()))
    aliased = SpectralSpace(grid, (4 * degree - 2,), dealias=False, real=real)
    cube = aliased.coefficients(aliased.values(aliased.coefficients(field(grid, degree, real))) ** 3)
    assert not torch.allclose(aliased.at(cube, (128,)).to(exact.dtype), exact, atol=1e-3)


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("n", [9, 10])
def test_collocation_keeps_every_mode_of_its_points(n, real):
    g = torch.Generator().manual_seed(0)
    u = torch.randn(2, 1, n, generator=g, dtype=torch.float64 if real else torch.complex128)
    space = SpectralSpace(Grid.make((n,)), (n,), dealias=False, real=real)
    c = space.coefficients(u)
    assert torch.allclose(space.values(c), u, atol=1e-13) and torch.allclose(space.at(c, (n,)), u, atol=1e-13)


@pytest.mark.parametrize("dealias", [True, False])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_derivatives_of_waves_and_of_the_highest_mode(order, dealias):
    grid = Grid.make((12, 12), lo=-1.0, hi=2.0)
    space = SpectralSpace(grid, (12, 12), factors=1, dealias=dealias)
    k = 2 * math.pi / 3
    x, y = grid.coordinates()
    u = torch.sin(2 * k * x) * torch.cos(k * y)
    shifted = torch.sin(2 * k * x + order * math.pi / 2) * torch.cos(k * y) * (2 * k) ** order
    assert torch.allclose(space.values(space.derivative(space.coefficients(u), 0, order)), shifted, atol=1e-9)
    if not dealias and order % 2:
        sawtooth = torch.cos(6 * k * (x - grid.axes[0].lo))
        assert float(space.values(space.derivative(space.coefficients(sawtooth), 0, order)).abs().max()) < 1e-9


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("ndim", [1, 2])
def test_energies_are_those_of_parseval(ndim, real):
    grid = Grid.make((16,) * ndim)
    u = field(grid, 4, real)[None, None]
    space = SpectralSpace(grid, (16,) * ndim, factors=2, real=real)
    c = space.coefficients(u)
    assert torch.allclose(space.energies(c).sum(), u.abs().square().mean(), rtol=1e-12)


def test_edge_is_the_share_of_the_outermost_modes():
    space = SpectralSpace(Grid.make((64,)), (64,), factors=1)
    x = 2 * math.pi * space.grid.coordinates()[0]
    u = torch.stack([torch.cos(x) + 1e-3 * torch.sin(30 * x), torch.cos(3 * x), torch.zeros_like(x)])[:, None]
    edge = space.edge(space.coefficients(u))
    assert torch.allclose(edge, torch.tensor([1e-3, 0.0, 0.0]).double(), rtol=1e-5, atol=1e-12)


def test_bandwidth_counts_the_modes_of_each_row():
    grid = Grid.make((32, 32))
    x, y = 2 * math.pi * grid.coordinates()
    u = torch.stack(
        [torch.cos(3 * x) + torch.sin(5 * y), torch.ones_like(x), torch.cos(2 * x) + 1e-9 * torch.cos(9 * y)]
    )
    assert bandwidth(u[:, None], 2, 1e-6).tolist() == [5, 0, 2]
    assert bandwidth((1j * u)[:, None], 2, 1e-12).tolist() == [5, 0, 9]


def test_sizes_are_fast_and_other_grids_refused():
    assert all(n <= good_size(n) < 1.5 * n + 3 and good_size(n) % 2 == 0 for n in range(4, 3000))
    with pytest.raises(NWidthError, match="periodic axes"):
        SpectralSpace(Grid.make((8,), "cell"), (8,))
