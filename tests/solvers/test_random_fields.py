import pytest
import torch
from nwidth.backends import Grid
from nwidth.errors import NWidthError
from nwidth.solvers import Burgers, Darcy, GaussianField, stream

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
