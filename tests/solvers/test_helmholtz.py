import math
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
import torch
from nwidth.backends import Axis, Grid
from nwidth.build import build
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import BoundedField, GaussianField, Helmholtz, Window
from nwidth.solvers.lagrange import LagrangeAxis, LagrangeSpace
from omegaconf import OmegaConf

PI = math.pi
FIELD = GaussianField(scale=30.0, tau=5.0, alpha=3.0, modes=4)
SPEED = BoundedField(mean=1.0, amplitude=0.2)


def relative(u, v):
    return float((u - v).norm() / v.norm())


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("side", ["neumann", "dirichlet"])
def test_order_degree_plus_one_with_a_variable_speed(ndim, side, degree):
    """u = prod cos(pi k x) or sin(pi k x), f = -Lap u - (omega / c)^2 u."""
    wave = torch.cos if side == "neumann" else torch.sin
    problem = Helmholtz(ndim=ndim, omega=7.3, c=SPEED, sides=side, boundary=0.0, forcing=FIELD, degree=degree)
    errors = []
    for elements in {1: (16, 32, 64), 2: (8, 16, 32), 3: (6, 12), 4: (4, 8)}[degree]:
        grid = problem.grid(elements * degree + 1)
        x = grid.coordinates()
        c = 1 + 0.2 * torch.sin(2 * x[0] + x[-1])
        u = math.prod(wave((i + 2) * PI * x[i]) for i in range(ndim))
        f = sum(((i + 2) * PI) ** 2 for i in range(ndim)) * u - (7.3 / c) ** 2 * u
        solved = problem.solve(Dataset(grid, a=torch.stack([c, f])[None])).u[0, 0]
        errors.append(relative(solved, u))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert errors[-1] < 0.05 and orders[-1] > degree + 0.4, (errors, orders)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_boundary_data(ndim):
    """A profile along the last axis, u = cos(k (1 - z)): no flux at 1, the flux or the value at 0 given."""
    k, free = 5.0, ["neumann"] * (2 * ndim - 2)
    degree, bound = (4, 3e-3) if ndim == 3 else (6, 2e-5)
    for side, value in (("neumann", -k * math.sin(k)), ("dirichlet", math.cos(k))):
        problem = Helmholtz(
            ndim=ndim,
            omega=2 * k,
            c=BoundedField(mean=2.0, amplitude=0.0),
            sides=[*free, side, "neumann"],
            boundary=[*[0.0] * (2 * ndim - 2), value, 0.0],
            degree=degree,
        )
        data = problem.simulate([0], 0, problem.grid([degree + 1] * (ndim - 1) + [2 * degree + 1]))
        z = data.grid.coordinates()[-1]
        assert relative(data.u[0, 0], torch.cos(k * (1 - z))) < bound


def test_dirichlet_data_from_a_field_and_a_plane_wave():
    k, direction = 12.0, (math.cos(0.4), math.sin(0.4))
    problem = Helmholtz(omega=k, c=BoundedField(mean=1.0, amplitude=0.0), sides="dirichlet", boundary=FIELD, degree=5)
    errors = []
    for n in (11, 21, 41):
        grid = problem.grid(n)
        x, y = grid.coordinates()
        u = torch.cos(k * (direction[0] * x + direction[1] * y))
        solved = problem.solve(Dataset(grid, a=torch.stack([torch.ones_like(u), u])[None])).u[0, 0]
        errors.append(relative(solved, u))
    assert errors[-1] < 1e-5 and math.log2(errors[1] / errors[2]) > 5.5, errors


@pytest.mark.parametrize("ndim", [1, 2])
def test_waves_leave_through_impedance_sides(ndim):
    """1 = du/dn - i k u at x = 0 and 0 at x = 1: the wave exp(i k x) i/(2k) goes out."""
    k, walls = 20.0, ["neumann", "neumann"] * (ndim - 1)
    problem = Helmholtz(
        ndim=ndim,
        omega=k,
        c=BoundedField(mean=1.0, amplitude=0.0),
        sides=["impedance", "impedance", *walls],
        boundary=[1.0] + [0.0] * (2 * ndim - 1),
        degree=4,
    )
    data = problem.simulate([0], 0, problem.grid([81, 21][:ndim]))
    x = data.grid.coordinates()[0]
    exact = torch.exp(1j * k * x) * 1j / (2 * k)
    assert data.names["u"] == ("re", "im") and data.u.shape[1] == 2
    assert relative(torch.complex(*data.u[0]), exact) < 2e-5


def test_a_window_is_integrated_exactly():
    """Testing with v = 1: the mean of k^2 u balances the flux, width times height of the window."""
    problem = Helmholtz(omega=100.0, boundary=[0.0, 0.0, 0.0, Window(0.313, 0.641, 2.0)], degree=4)
    data = problem.simulate(range(2), 0, problem.grid(41))
    line = LagrangeAxis(Axis("nodal", 41), 4)
    weights = torch.from_numpy(np.multiply.outer(line.load(0, 1), line.load(0, 1)))
    k2 = (100.0 / data.a) ** 2
    assert torch.allclose((weights * k2 * data.u).sum((1, 2, 3)), torch.tensor(-0.656).double(), rtol=1e-4)
    whole = replace(problem, boundary=[0.0, 0.0, 0.0, Window(-1.0, 2.0, 3.0)]).solve(data.inputs()).u
    number = replace(problem, boundary=[0.0, 0.0, 0.0, 3.0]).solve(data.inputs()).u
    assert torch.allclose(whole, number, atol=1e-9)
    given = replace(problem, sides=["neumann"] * 3 + ["dirichlet"]).solve(data.inputs()).u
    x = data.grid.axes[1].coordinates()
    assert torch.equal(given[0, 0, :, -1], torch.where((x >= 0.313) & (x <= 0.641), 2.0, 0.0).double())


def test_mass_and_stiffness_of_products():
    """Against quadrature on one line: the element matrices summed are those of scipy's piecewise polynomials."""
    axes = [LagrangeAxis(Axis("nodal", 7, 0.0, 2.0), 3), LagrangeAxis(Axis("nodal", 5), 2)]
    space = LagrangeSpace(axes)
    total = np.zeros((35, 35))
    for nodes, local in zip(space.nodes, space.mass(np.ones((len(space.nodes), len(space.weights))))):
        total[np.ix_(nodes, nodes)] += local.reshape(len(nodes), -1)
    assert total.sum() == pytest.approx(2.0) and np.allclose(total, total.T)
    x, y = Grid((axes[0].axis, axes[1].axis)).coordinates().numpy().reshape(2, -1)
    p, q = x**3 - x * y, y**2 + x**2 * y
    # int over [0, 2] x [0, 1] of (x^3 - x y)(y^2 + x^2 y)
    assert p @ total @ q == pytest.approx(4 / 3 + 16 / 3 - 1 / 2 - 4 / 3)


def test_accuracy_of_the_packaged_problem():
    problem = Helmholtz()
    u = problem.simulate(range(2), 0, problem.grid(101)).u
    fine = problem.simulate(range(2), 0, problem.grid(201)).u[..., ::2, ::2]
    assert max(relative(a, b) for a, b in zip(u, fine)) < 1e-3
    config = OmegaConf.create((files("nwidth.conf") / "problem" / "helmholtz.yaml").read_text())
    assert build(config) == problem and OmegaConf.to_container(config) == problem.config()


def test_samples_do_not_depend_on_the_batch_and_dtypes():
    problem = Helmholtz(omega=200.0)
    data = problem.simulate(range(3), 0, problem.grid(31))
    alone = problem.simulate([2], 0, problem.grid(31))
    assert torch.equal(alone.u[0], data.u[2])
    single = problem.solve(replace(data.inputs(), a=data.a.float())).u
    assert single.dtype == torch.float32 and relative(single.double(), data.u) < 1e-4


def test_a_resonance_is_an_error():
    """At an eigenvalue of the discrete operator there is no solution."""
    problem = Helmholtz(ndim=1, omega=10.0, c=BoundedField(mean=1.0, amplitude=0.0), boundary=[1.0, 0.0], degree=2)
    grid = problem.grid(21)
    space = LagrangeSpace([LagrangeAxis(grid.axes[0], 2)])
    k, m = np.zeros((21, 21)), np.zeros((21, 21))
    for nodes in space.nodes:
        k[np.ix_(nodes, nodes)] += space.stiffness
        m[np.ix_(nodes, nodes)] += space.axes[0].mass
    omega = math.sqrt(scipy.linalg.eigh(k, m, eigvals_only=True)[3])
    assert omega == pytest.approx(3 * PI, rel=1e-3)
    with pytest.raises(NWidthError, match="resonance"):
        replace(problem, omega=omega).simulate([0], 0, grid)
    assert bool(problem.simulate([0], 0, grid).u.isfinite().all())


@pytest.mark.parametrize(
    "bad, match",
    [
        (lambda: Helmholtz(omega=0.0), "omega > 0"),
        (lambda: Helmholtz(sides="robin"), "sides=robin"),
        (lambda: Helmholtz(boundary=[1.0]), "one or 4"),
        (lambda: Helmholtz(ndim=1), "one or 2"),
        (lambda: Helmholtz().grid(100), "a degree that divides 99"),
        (lambda: Helmholtz(omega=1000.0).simulate([0], 0, Helmholtz().grid(21)), "points per wavelength"),
        (lambda: Helmholtz().solve(Dataset(Grid.make((31, 31), "cell"), a=torch.ones(1, 1, 31, 31))), "nodal points"),
        (lambda: Helmholtz().solve(Dataset(Helmholtz().grid(31), a=torch.zeros(1, 1, 31, 31))), "c > 0"),
        (lambda: Window(0.5, 0.5), "lo < hi"),
    ],
)
def test_bad_input(bad, match):
    with pytest.raises(NWidthError, match=match):
        bad()
