import math

import pytest
import scipy.special
import torch
from nwidth.backends import Grid, Mesh
from nwidth.backends.transforms import Fourier
from nwidth.build import build
from nwidth.errors import NWidthError
from nwidth.solvers import Burgers, Darcy, GaussianField, MaternField, PowerLawField, config_of, stream

PROBLEMS = [Burgers(nu=0.1, times=2), Burgers(nu=[0.05, 0.2], times=2), Darcy(), Darcy(ndim=1), Darcy(ndim=3)]


def test_the_field_has_the_covariance_that_it_names():
    field = GaussianField(scale=25.0, tau=5.0, alpha=2.0, modes=16, mean=2.0)
    grid = Grid.make((32,))
    g = field.sample([stream(1, i) for i in range(20000)], grid)[:, 0]
    x = 2 * torch.pi * grid.coordinates()[0]
    k = torch.arange(1, 17, dtype=torch.float64)
    wanted = 1 + 2 * (625 * ((2 * torch.pi * k) ** 2 + 25) ** -2 * torch.cos(k * x[:, None])).sum(1)
    found = ((g - 2) * (g[:, :1] - 2)).mean(0)
    assert torch.allclose(found, wanted, atol=0.05)
    assert abs(float(wanted[0]) - field.variance(grid)) < 1e-12


def test_cosine_fields_have_no_flux_at_the_ends():
    grid = Grid.make((2001, 3), kind="nodal")
    g = GaussianField(scale=1.0, tau=3.0, alpha=2.0, modes=8).sample([stream(0, 0)], grid)[0, 0]
    assert float((g[1] - g[0]).abs().max()) < 1e-3 * float(g.diff(dim=0).abs().max() * 100)


@pytest.mark.parametrize("kind, ndim", [("periodic", 1), ("periodic", 2), ("nodal", 2), ("cell", 3)])
def test_one_function_at_every_resolution(kind, ndim):
    field = GaussianField(scale=2.0, tau=2.0, alpha=2.0, modes=6)
    points = {"periodic": (8, 16), "nodal": (9, 17), "cell": (5, 15)}[kind]
    coarse, fine = (Grid.make((n,) * ndim, kind) for n in points)
    a, b = (field.sample([stream(0, 4)], g)[0, 0] for g in (coarse, fine))
    skip, start = (3, 1) if kind == "cell" else (2, 0)
    assert torch.allclose(a, b[(slice(start, None, skip),) * ndim], atol=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS, ids=range(len(PROBLEMS)))
def test_samples_do_not_depend_on_batch_or_order(problem):
    grid = problem.grid(8)
    together = problem.sample([3, 0, 7], 5, grid)
    alone = problem.sample([7], 5, grid)
    for name in problem.reads:
        assert torch.allclose(getattr(together, name)[2:], getattr(alone, name), rtol=1e-12)
    other = problem.sample([7], 6, grid)
    assert not torch.equal(getattr(other, problem.reads[0]), getattr(alone, problem.reads[0]))


def test_a_rough_field_is_refused():
    with pytest.raises(NWidthError, match="alpha > d/2"):
        GaussianField(alpha=1.0).sample([stream(0, 0)], Grid.make((4, 4)))
    with pytest.raises(NWidthError, match="tau > 0"):
        GaussianField(tau=0.0)
    with pytest.raises(NWidthError, match="from 0 up"):
        stream(-1, 0)


# Matern and power-law fields


class Unit:
    """A generator whose k-th normal number is 1 and all others 0: the field is sqrt(lambda_k) phi_k."""

    def __init__(self, k):
        self.k = k

    def standard_normal(self, shape):
        draws = torch.zeros(math.prod(shape), dtype=torch.float64)
        draws[self.k] = 1
        return draws.view(shape).numpy()


def covariance(field, grid):
    """Of all pairs of points, exactly: the sum of lambda_k phi_k(x) phi_k(y)."""
    count = field.eigenvalues(grid).numel()
    f = field.sample([Unit(k) for k in range(count)], grid).flatten(1) - field.mean
    return f.T @ f


def matern(r, std, length, nu):
    s = (math.sqrt(2 * nu) * r / length).clamp_min(1e-9).numpy()
    return torch.from_numpy(std**2 * 2 ** (1 - nu) / scipy.special.gamma(nu) * s**nu * scipy.special.kv(nu, s))


@pytest.mark.parametrize(
    "nu, length, modes, bound", [(2.5, 0.1, 150, 1e-6), (1.5, 0.3, 150, 1e-5), (0.5, 0.5, 600, 2e-3)]
)
def test_periodic_matern_covariance_is_the_sum_over_all_periods(nu, length, modes, bound):
    grid = Grid.make((16,), lo=-1.0, hi=1.0)
    found = covariance(MaternField(std=1.5, length=length, nu=nu, modes=modes, mean=3.0), grid)
    x = grid.coordinates()[0]
    images = sum(matern((x[:, None] - x + 2 * m).abs(), 1.5, length, nu) for m in range(-6, 7))
    assert torch.allclose(found.diagonal(), torch.full((16,), 2.25, dtype=torch.float64))
    wanted = images * 2.25 / images[0, 0]  # the variance is the stated one, images and cut included
    assert float((found - wanted).abs().max()) < bound


@pytest.mark.parametrize("kind", ["nodal", "cell", "chebyshev"])
def test_matern_covariance_between_walls_is_the_sum_over_all_reflections(kind):
    grid = Grid.make((12,), kind, 0.0, 2.0)
    found = covariance(MaternField(std=0.7, length=0.2, nu=2.5, modes=120), grid)
    x, y = grid.coordinates()[0][:, None], grid.coordinates()[0][None]
    wanted = sum(matern((a + 4 * m).abs(), 0.7, 0.2, 2.5) for m in range(-2, 3) for a in (x - y, x + y))
    assert float((found - wanted).abs().max()) < 1e-6
    middle = int((grid.coordinates()[0] - 1).abs().argmin())
    assert float(found[middle, middle]) == pytest.approx(0.49, rel=1e-4)


@pytest.mark.parametrize("lengths", [(0.3, 0.3), (0.4, 0.25)])
def test_matern_covariance_in_two_dimensions(lengths):
    grid = Grid.make((5, 4), lo=0.0, hi=1.5)
    length = lengths[0] if lengths[0] == lengths[1] else list(lengths)
    field = MaternField(length=length, nu=3.5, modes=12)
    x = grid.coordinates().flatten(1)
    steps = [x[i][:, None] - x[i] for i in range(2)]
    r = [[(d + 1.5 * m) / a for m in range(-3, 4)] for d, a in zip(steps, lengths)]
    images = sum(matern((p**2 + q**2).sqrt(), 1.0, 1.0, 3.5) for p in r[0] for q in r[1])
    assert float((covariance(field, grid) - images / images[0, 0]).abs().max()) < 1e-4


@pytest.mark.parametrize("ndim, count", [(1, 8000), (2, 2000), (3, 800)])
@pytest.mark.parametrize(
    "field",
    [MaternField(std=2.0, length=0.2, nu=1.0, modes=6, mean=1.0), PowerLawField(std=2.0, slope=2.0, modes=6, mean=1.0)],
)
def test_samples_have_the_stated_moments(field, ndim, count):
    grid = Grid.make((8,) * ndim)
    g = field.sample([stream(2, i) for i in range(count)], grid)
    assert g.shape == (count, 1, *grid.shape) and g.dtype == torch.float64
    assert float(g.mean()) == pytest.approx(1.0, abs=0.06)
    assert float((g - 1).square().mean().sqrt()) == pytest.approx(2.0, rel=0.03)
    assert float(((g - 1) / 2)[:, 0].flatten(1)[:, 0].pow(4).mean()) == pytest.approx(3.0, rel=0.25)  # normal
    assert field.variance(grid) == pytest.approx(4.0)


def test_the_sampled_spectrum_has_the_slope():
    field = PowerLawField(std=1.0, slope=3.0, low=2.0, modes=20)
    grid = Grid.make((64, 64), hi=3.0)
    g = field.sample([stream(0, i) for i in range(200)], grid)[:, 0]
    power = Fourier(2, real=False).forward(g.to(torch.complex128)).abs().square().mean(0)
    k = torch.arange(-32, 32, dtype=torch.float64)
    k = (k[:, None] ** 2 + k**2).sqrt()
    inside = (k >= 2) & (k <= 20)
    assert float(power[~inside].max()) < 1e-25
    x, y = k[inside].log(), power[inside].log()
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())
    assert slope == pytest.approx(-3.0, abs=0.05)


@pytest.mark.parametrize("law", [MaternField(length=0.05, nu=0.5, modes=256), PowerLawField(slope=1.5, modes=256)])
@pytest.mark.parametrize(
    "kind, points, skip", [("periodic", (8, 2048), 256), ("nodal", (9, 2049), 256), ("cell", (7, 1029), 147)]
)
def test_fast_transforms_give_the_function_of_the_series(law, kind, points, skip, monkeypatch):
    def values(n):
        return law.sample([stream(0, 1), stream(5, 2)], Grid.make((n,), kind))[:, 0]

    coarse, fine = map(values, points)
    start = skip // 2 if kind == "cell" else 0
    assert torch.allclose(coarse, fine[:, start::skip], rtol=0, atol=1e-11)
    monkeypatch.setattr("nwidth.solvers.random_fields.MATMUL_WINS", math.inf)
    by_matrices = values(points[1])
    assert torch.allclose(by_matrices, fine, rtol=0, atol=1e-11) and not torch.equal(by_matrices, fine)


@pytest.mark.parametrize("kind", ["periodic", "nodal", "cell"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_matern_fields_at_every_resolution(kind, ndim):
    field = MaternField(length=0.2, nu=1.0, modes=6)
    points = {"periodic": (8, 16), "nodal": (9, 17), "cell": (5, 15)}[kind]
    coarse, fine = (Grid.make((n,) * ndim, kind) for n in points)
    a = field.sample([stream(0, 4)], coarse)[0, 0]
    b = field.sample([stream(0, 3), stream(0, 4)], fine)[1, 0]
    skip, start = (3, 1) if kind == "cell" else (2, 0)
    assert torch.allclose(a, b[(slice(start, None, skip),) * ndim], atol=1e-12)


@pytest.mark.parametrize("field", [MaternField(length=[0.1, 0.2]), PowerLawField(low=2), GaussianField()])
def test_configs_make_fields_again(field):
    assert build(config_of(field)) == field


@pytest.mark.parametrize(
    "bad, match",
    [
        (lambda: MaternField(length=0.0), "length > 0"),
        (lambda: MaternField(nu=math.inf), "finite nu"),
        (lambda: MaternField(length=[0.1, 0.2]).variance(Grid.make((8,))), "one for each axis"),
        (lambda: PowerLawField(low=0.0), "0 < low"),
        (lambda: PowerLawField(low=2.1, modes=2), "low <= modes"),
        (lambda: PowerLawField().variance(Mesh(torch.rand(5, 2))), "tensor-product grid"),
    ],
)
def test_bad_laws(bad, match):
    with pytest.raises(NWidthError, match=match):
        bad()
