"""Splines, maps and their inverses against exact ones; a moving front after morphing."""

import pytest
import torch
from nwidth.backends import Axis, Grid, Mesh
from nwidth.backends.splines import CubicSpline
from nwidth.data import Dataset
from nwidth.data.metrics import relative_l2
from nwidth.errors import NWidthError
from nwidth.gp import GPRegressor
from nwidth.solvers.reduced import RBF, Displacements, MorphingPOD, PODRegression, optimal_morphing
from nwidth.solvers.reduced.morphing import determinant, lost_energy

F64 = torch.float64


@pytest.mark.parametrize("kind", ["nodal", "cell", "periodic"])
def test_splines_are_of_fourth_order(kind):
    points = torch.rand(1, 1, 200, dtype=F64, generator=torch.Generator().manual_seed(0))
    missed = []
    for n in (20, 40, 80):
        grid = Grid.make((n,), kind)
        spline = CubicSpline(torch.sin(2 * torch.pi * grid.coordinates())[None], grid)
        missed.append(float((spline(points) - torch.sin(2 * torch.pi * points)).abs().max()))
    assert missed[0] / missed[1] > 2**3.6 and missed[1] / missed[2] > 2**3.6


def cubic(p):
    return (p[:, 0] ** 3 * p[:, 1] - p[:, -1] ** 2)[:, None]


@pytest.mark.parametrize("d", [2, 3])
def test_splines_in_more_dimensions_and_their_gradient(d):
    grid = Grid(tuple(Axis("nodal", 6 + i, 0, 1 + i, "xyz"[i]) for i in range(d)))
    spline = CubicSpline(cubic(grid.coordinates()[None]).expand(2, 1, *grid.shape), grid)
    points = torch.rand(2, d, 9, dtype=F64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.allclose(spline(points), cubic(points))
    assert torch.autograd.gradcheck(spline, points)


@pytest.mark.parametrize("kinds", [("nodal",), ("periodic",), ("nodal", "periodic"), ("cell", "nodal", "nodal")])
def test_maps_keep_the_box_and_are_inverted(kinds):
    grid = Grid(tuple(Axis(k, 7, 0.0, 2.0, n) for k, n in zip(kinds, "xyz")))
    d = Displacements(grid, 3)
    a = 0.02 * torch.randn(4, d.count, dtype=F64, generator=torch.Generator().manual_seed(0))
    assert float(determinant(d.jacobian(a)).min()) > 0
    x = grid.coordinates().flatten(1)
    y = d.invert(a, x)
    assert torch.allclose(d.map(a, y), x.expand(4, *x.shape), atol=1e-10)
    for i, kind in enumerate(kinds):  # faces go to themselves
        if kind == "nodal":
            assert torch.allclose(d.map(a)[:, i, x[i] == 0], torch.zeros((), dtype=F64), atol=1e-12)
    # the Jacobian against differences
    h = 1e-6
    for j in range(len(kinds)):
        shift = torch.zeros(len(kinds), 1, dtype=F64)
        shift[j] = h
        p = (x * 0.9 + 0.05).expand(4, *x.shape)
        slope = (d.map(a, p + shift) - d.map(a, p - shift)) / (2 * h)
        assert torch.allclose(d.with_slope(a, p)[1][..., j].mT, slope, atol=1e-7)


def test_determinants_and_lost_energy():
    J = torch.randn(5, 3, 3, dtype=F64)
    assert torch.allclose(determinant(J), torch.linalg.det(J))
    u = torch.randn(6, 20, dtype=F64)
    s = torch.linalg.svdvals(u).square()
    assert float(lost_energy(u, 2)) == pytest.approx(float(s[2:].sum() / s.sum()))


def fronts(mu, n=256):
    grid = Grid.make((n,), "nodal")
    return Dataset(grid, u=torch.tanh((grid.coordinates() - mu[:, None]) / 0.02)[:, None], mu=mu[:, None])


def test_a_moving_front():
    train = fronts(torch.linspace(0.25, 0.75, 20, dtype=F64))
    test = fronts(0.27 + 0.46 * torch.rand(20, dtype=F64, generator=torch.Generator().manual_seed(0)))
    surrogate = MorphingPOD(GPRegressor(kernel="rbf"), rank=1, modes=4, steps=60)
    log = surrogate.fit(train, None)
    assert log.selected["lost_energy"] < 1e-8 and log.selected["lost_energy_without"] > 0.3
    assert log.selected["min_jacobian"] > 0
    rival = PODRegression(GPRegressor(kernel="rbf"), rank=1)
    rival.fit(train, None)
    worst = [float(relative_l2(s.predict(test.inputs()).mean, test.u, test.grid).max()) for s in (surrogate, rival)]
    assert worst[0] <= 0.03 and worst[1] > 0.3
    # other grids are answered at their own points
    coarse = fronts(test.mu[:, 0], 100)
    assert float(relative_l2(surrogate.predict(coarse.inputs()).mean, coarse.u, coarse.grid).max()) <= 0.03


def test_fields_that_do_not_move_stay():
    grid = Grid.make((12, 12), "nodal")
    shape = torch.sin(torch.pi * grid.coordinates()).prod(0)
    u = torch.linspace(1, 2, 6, dtype=F64)[:, None, None, None] * shape
    found = optimal_morphing(u, grid, modes=2, steps=20)
    assert float(found.coefficients.abs().max()) < 1e-3 and found.jacobian > 0.99


def test_refusals():
    mesh = Mesh(torch.rand(20, 2))
    with pytest.raises(NWidthError, match="grid"):
        MorphingPOD(RBF()).fit(Dataset(mesh, u=torch.rand(5, 1, 20), mu=torch.rand(5, 1)), None)
    with pytest.raises(NWidthError, match="snapshots"):
        MorphingPOD(RBF(), max_samples=5).fit(fronts(torch.linspace(0.3, 0.7, 8, dtype=F64), 32), None)
    with pytest.raises(NWidthError, match="uniform"):
        CubicSpline(torch.rand(1, 1, 8), Grid.make((8,), "chebyshev"))
