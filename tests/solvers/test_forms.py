"""Equations at collocation points: solutions leave round-off, conditions hold, Parseval is quadrature."""

import math
from dataclasses import replace

import pytest
import torch
from nwidth import NWidthError
from nwidth.solvers import Darcy, FisherKPP, Helmholtz, MaternField, NavierStokes, Poisson
from nwidth.solvers.forms import form_of

SMOOTH = MaternField(std=1.0, length=0.3, nu=8.0, modes=6)
PROBLEMS = {
    "poisson": (Poisson(forcing=SMOOTH), 17),
    "dirichlet": (Poisson(sides="dirichlet", points="chebyshev", forcing=SMOOTH), 16),
    "mixed": (Poisson(sides=["dirichlet", "dirichlet", "periodic", "periodic"], forcing=SMOOTH), (12, 9)),
    "darcy": (Darcy(), 9),
    "fisher": (FisherKPP(nu=[0.01, 0.02], final_time=0.5), (9, 16)),
    "navier_stokes": (NavierStokes(final_time=1.0), (5, 8, 8)),
}


def test_a_poisson_solution_leaves_round_off():
    form = form_of(Poisson(forcing=SMOOTH), 32)
    raw = form.sample(range(3), 0)
    u = form.problem.solve(form.inputs(raw)).u
    assert raw.std() > 0.5 and form.residual(u, raw).abs().max() < 1e-11
    assert torch.allclose(form.residual(u + torch.randn(3, 1, 1, 1), raw), form.residual(u, raw), atol=1e-8)


@pytest.mark.parametrize("n", [12, 11])
@pytest.mark.parametrize("sides", ["periodic", ["dirichlet", "dirichlet", "periodic", "periodic"]])
def test_exact_data_leave_round_off_with_the_highest_wave_of_an_even_axis(n, sides):
    """Rough data on 12 points: their highest wave has a second derivative, but no slope at the points."""
    law = MaternField(std=1.0, length=0.05, nu=1.5, modes=6)
    form = form_of(Poisson(forcing=law, sides=sides, points="nodal" if sides == "periodic" else "chebyshev"), n)
    raw = form.sample(range(3), 0)
    u = form.problem.solve(form.inputs(raw)).u
    r, own = form.residual(u, raw), form.problem.residual(u, form.inputs(raw))
    if sides != "periodic":  # walls have the condition in place of the equation
        r, own = r[:, :, 1:-1], own[:, :, 1:-1]
    highest = raw[..., ::2].mean(-1) - raw[..., 1::2].mean(-1)
    assert n % 2 or highest.abs().mean() > 0.05  # it is there
    assert r.abs().max() < 1e-9 * raw.abs().max() and own.abs().max() < 1e-9 * raw.abs().max()


def test_the_highest_wave_feels_the_mean_of_a_varying_coefficient():
    """-(a u')' of u = cos(8 pi x) on 8 points, where |u| = 1, tested with u: (8 pi)^2 <a>."""
    form = form_of(Darcy(ndim=1, sides="periodic", points="nodal", forcing=MaternField(modes=3)), 8)
    raw = form.sample([0], 0)
    (x,) = form.grid.coordinates()
    u = torch.cos(8 * math.pi * x)[None, None]
    left = form.residual(u, raw) - form.residual(0 * u, raw)
    a = form.box.coefficient(form.inputs(raw))
    assert torch.allclose((left * u).mean(), 64 * math.pi**2 * a.mean(), rtol=1e-12)


def test_darcy_and_dirichlet_by_a_manufactured_solution():
    """-div(a grad u) of u = sin(pi x) sin(2 pi y) and a = exp(x y), by hand."""
    form = form_of(Darcy(points="nodal"), 25)
    x, y = form.grid.coordinates()
    a = torch.exp(x * y)
    sx, cx = torch.sin(math.pi * x), torch.cos(math.pi * x)
    sy, cy = torch.sin(2 * math.pi * y), torch.cos(2 * math.pi * y)
    u = (sx * sy)[None, None]
    flux = a * (y * math.pi * cx * sy + x * 2 * math.pi * sx * cy - 5 * math.pi**2 * sx * sy)
    names = list(form.box.laws())
    raw = form.sample([0], 0)
    raw[:, names.index("a")] = a
    f = form.box.forces(form.inputs(raw))
    assert torch.allclose(form.residual(u, raw), -flux[None, None] - f, atol=1e-7)


@pytest.mark.parametrize("kind", ["fisher", "navier_stokes"])
def test_trajectories_leave_what_the_solver_leaves(kind):
    problem, _ = PROBLEMS[kind]
    points = (13, 32) if kind == "fisher" else (7, 32, 32)
    form = form_of(problem, points)
    raw = form.sample([0, 1], 0)
    at = form.grid.axes[0].coordinates()
    inputs = form.inputs(raw[:, :, 0])
    later = problem.solve(replace(inputs, t=at[1:]))
    u = torch.cat([inputs.u0[:, None], later.u], 1).transpose(1, 2)
    scale = form.transform.derivative(u, [1, *[0] * form.space.ndim]).square().mean().sqrt()
    left = form.residual(u, raw).square().mean().sqrt()
    assert left < 0.02 * scale
    wrong = form.residual(raw[:, : u.shape[1]].expand_as(u), raw).square().mean().sqrt()
    assert wrong > 0.3 * scale  # a state that stays what it was is no solution


@pytest.mark.parametrize("kind", PROBLEMS)
def test_constrained_answers_satisfy_the_conditions(kind):
    problem, points = PROBLEMS[kind]
    form = form_of(problem, points)
    raw = form.sample([0, 1], 0)
    v = torch.randn(2, form.out_channels, *form.grid.shape, dtype=torch.float64)
    u = form.constrain(v, raw, 0.5)
    assert u.std() > 0.01
    if form.grid.ndim > form.space.ndim:
        assert torch.equal(u[:, :, 0], raw[:, : form.out_channels, 0])
        assert torch.allclose(u[:, :, -1], raw[:, : form.out_channels, 0] + 0.5 * v[:, :, -1])
        return
    for i, pair in enumerate(problem.side_pairs):
        for end, side in zip((0, -1), pair):
            if side == "dirichlet":
                assert u.select(2 + i, end).abs().max() < 1e-15
    if problem.singular:
        assert u.mean((2, 3)).abs().max() < 1e-14


@pytest.mark.parametrize("kind", ["poisson", "dirichlet", "mixed", "fisher"])
def test_the_spectral_norm_is_the_quadrature_of_the_square(kind):
    """For residuals of half the points' degree, whose square the quadrature integrates exactly."""
    problem, points = PROBLEMS[kind]
    form = form_of(problem, points)
    shape = form.grid.shape
    r = torch.randn(3, 2, *(n // 2 for n in shape), dtype=torch.float64)
    r = form.transform.resize(r, shape)
    w = form.grid.weights() / form.grid.weights().sum()
    assert torch.allclose(form.square(form.coefficients(r)), (r.square() * w).flatten(2).sum(2).sum(1), rtol=1e-10)


def test_differences_converge_to_the_spectral_residual():
    errors = []
    for n in (16, 32):
        form = form_of(Poisson(forcing=SMOOTH, scheme="difference"), n, "difference")
        raw = form.sample([0], 0)
        u = Poisson(forcing=SMOOTH).solve(form.inputs(raw)).u
        errors.append(float(form.residual(u, raw).square().mean().sqrt()))
    assert 3.5 < errors[0] / errors[1] < 4.5
    form = form_of(FisherKPP(), (9, 16), "difference")
    raw = form.sample([0], 0)
    assert form.grid.axes[0].kind == "nodal" and form.residual(raw, raw).shape == (1, 1, 9, 16)


def test_errors():
    with pytest.raises(NWidthError, match="periodic sides, or u = 0"):
        form_of(Poisson(sides="neumann"), 8)
    with pytest.raises(NWidthError, match="a Helmholtz"):
        form_of(Helmholtz(), 8)
    with pytest.raises(NWidthError, match="time first"):
        form_of(FisherKPP(), (8, 8, 8))
    with pytest.raises(NWidthError, match="spectral, difference"):
        form_of(Poisson(), 8, "exact")
    with pytest.raises(NWidthError, match="periodic axes"):
        form_of(FisherKPP(boundary="neumann"), (8, 8))
