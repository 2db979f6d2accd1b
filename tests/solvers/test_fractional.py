import math
from importlib.resources import files
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import torch
from nwidth.backends import Grid
from nwidth.build import build
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import FractionalDiffusion, GaussianField, RieszCollocation
from nwidth.solvers.riesz import left_derivative, symbol
from omegaconf import OmegaConf
from scipy.integrate import quad
from scipy.interpolate import BSpline, PPoly
from scipy.special import comb, gamma

D = torch.float64


def power_solution(m, alpha):
    """u = (x (1 - x))^m, and f = -d^alpha u/d|x|^alpha from the derivatives of powers."""

    def u(x):
        return (x * (1 - x)) ** m

    def f(x):
        terms = (
            (-1) ** k
            * comb(m, k)
            * gamma(m + k + 1)
            / gamma(m + k + 1 - alpha)
            * (x ** (m + k - alpha) + (1 - x) ** (m + k - alpha))
            for k in range(m + 1)
        )
        return sum(terms) / (2 * math.cos(math.pi * alpha / 2))

    return u, f


@pytest.mark.parametrize("alpha", [1.1, 1.5, 1.9])
@pytest.mark.parametrize("degree", [2, 3, 6])
def test_derivatives_of_cardinal_splines(degree, alpha):
    # the closed form, a sum of truncated powers, needs many digits far from the support
    x = np.concatenate([np.linspace(-1, degree + 3, 41), [50.5, 1000.0, 30000.0]])
    with mpmath.workdps(60):
        exact = [
            float(
                mpmath.fsum(
                    (-1) ** k * mpmath.binomial(degree + 1, k) * mpmath.power(mpmath.mpf(float(v)) - k, degree - alpha)
                    for k in range(degree + 2)
                    if v > k
                )
                / mpmath.gamma(degree + 1 - mpmath.mpf(alpha))
            )
            for v in x
        ]
    assert np.allclose(left_derivative(np.arange(degree + 2.0), x, alpha), exact, rtol=1e-9, atol=1e-12 * max(exact))


def test_a_derivative_by_numerical_integration():
    # D^alpha B = d^2/dx^2 of the integral of order 2 - alpha, for a spline with a triple knot at 0
    alpha, knots = 1.4, np.array([0.0, 0.0, 0.0, 1.0, 2.0])
    spline = BSpline.basis_element(knots, extrapolate=False)

    def integral(x):
        ends = [v for v in (0.0, 1.0, 2.0) if v < x] + [min(x, 2.0)]
        parts = 0.0
        for lo, hi in pairwise(ends):
            if hi == x:
                parts += quad(lambda s: float(spline(s)), lo, hi, weight="alg", wvar=(0, 1 - alpha))[0]
            else:
                parts += quad(lambda s: float(spline(s)) * (x - s) ** (1 - alpha), lo, hi)[0]
        return parts / gamma(2 - alpha)

    h = 1e-3
    for x in (0.4, 1.3, 2.6, 3.5):
        second = (integral(x - h) - 2 * integral(x) + integral(x + h)) / h**2
        assert float(left_derivative(knots, np.array([x]), alpha)[0]) == pytest.approx(second, rel=1e-4)


def dense(n, p, alpha):
    """The matrix function by function, from the jumps of the derivatives of each B-spline at its knots."""
    knots = np.concatenate([np.zeros(p + 1), np.arange(1.0, n), np.full(p + 1, float(n))])
    x = np.array([knots[j + 1 : j + p + 1].mean() for j in range(1, n + p - 1)])
    left = np.zeros((n + p - 2, n + p - 2))
    for j in range(1, n + p - 1):
        pieces = PPoly.from_spline(BSpline(knots, np.eye(n + p)[j], p))
        for m in range(1, p + 1):
            before = 0.0
            for k in range(p, n + p):  # the interval that starts at knots[k]
                after = math.factorial(m) * pieces.c[p - m, k]
                reached = x > knots[k]
                if k > p:
                    step = knots[k] - knots[k - 1]
                    before = sum(
                        math.factorial(q) / math.factorial(q - m) * pieces.c[p - q, k - 1] * step ** (q - m)
                        for q in range(m, p + 1)
                    )
                jump = after - before
                left[reached, j - 1] += jump * (x[reached] - knots[k]) ** (m - alpha) / gamma(m + 1 - alpha)
    return (left + left[::-1, ::-1]) * n**alpha / (2 * math.cos(math.pi * alpha / 2))


@pytest.mark.parametrize("alpha", [1.2, 1.7])
@pytest.mark.parametrize("degree, n", [(2, 6), (2, 13), (3, 8), (3, 20), (4, 17), (5, 14), (6, 14)])
def test_the_fast_product_is_the_dense_matrix(degree, n, alpha):
    operator = RieszCollocation(n, degree, alpha)
    exact = dense(n, degree, alpha)
    assert np.abs(operator.matrix().numpy() - exact).max() < 1e-9 * np.abs(exact).max()
    c = torch.randn(3, operator.size, dtype=D, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(operator.apply(c), c @ torch.from_numpy(exact).T, rtol=1e-7, atol=1e-6)
    f = torch.randn(2, operator.size, dtype=D, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(operator.solve(f), torch.linalg.solve(operator.matrix(), f.T).T, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("alpha", [1.2, 1.8])
@pytest.mark.parametrize("degree", [2, 3, 4, 5])
def test_the_symbol(degree, alpha):
    # its Fourier coefficients are the diagonals of the Toeplitz matrix
    n = 64
    t = RieszCollocation(n, degree, alpha).diagonals.numpy() / float(n) ** alpha
    for k in (0, 1, 2, 7):
        value = quad(lambda s, k=k: float(symbol(np.array([s]), degree, alpha)[0]) * math.cos(k * s), 1e-9, math.pi)[0]
        assert value / math.pi == pytest.approx(t[k], rel=1e-6, abs=1e-8)
    theta = np.array([1e-3, 2e-3])
    assert math.log2(np.divide(*symbol(theta, degree, alpha)[::-1])) == pytest.approx(alpha, abs=1e-3)
    assert bool((symbol(np.linspace(0.01, math.pi, 100), degree, alpha) > 0).all())


@pytest.mark.parametrize("alpha", [1.2, 1.5, 1.8])
@pytest.mark.parametrize("degree", [2, 3, 4, 5])
def test_orders_of_smooth_solutions(degree, alpha):
    u, f = power_solution(6, alpha)
    x = torch.linspace(0, 1, 777, dtype=D)
    errors = []
    for n in (32, 64, 128):
        operator = RieszCollocation(n, degree, alpha)
        c = operator.solve(f(operator.greville[1:-1])[None])
        errors.append(float((operator.evaluate(c, x)[0] - u(x)).abs().max() / u(x).max()))
    expected = degree + (2 if degree % 2 == 0 else 1) - alpha
    assert math.log2(errors[1] / errors[2]) == pytest.approx(expected, abs=0.15), errors


def test_the_constant_forcing():
    # f = 1 has the solution (x - x^2)^(alpha/2) / Gamma(alpha + 1)
    x = Grid.make((33,), "nodal")
    exact = (x.coordinates()[0] * (1 - x.coordinates()[0])) ** 0.7 / gamma(2.4)
    inputs = Dataset(x, a=torch.ones(1, 1, 33, dtype=D))
    spectral = FractionalDiffusion(alpha=1.4).solve(inputs).u[0, 0]
    assert torch.allclose(spectral, exact, atol=1e-13)
    errors = []
    for cells in (128, 512):
        splines = FractionalDiffusion(alpha=1.4, method="bspline", cells=cells).solve(inputs).u[0, 0]
        errors.append(float((splines - exact).abs().max()))
    assert errors[1] < 1e-3 and math.log2(errors[0] / errors[1]) / 2 > 0.85, errors


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_both_methods_agree(degree):
    options = {"alpha": [1.2, 1.8], "kappa": [0.5, 2.0], "degree": degree, "cells": 512}
    spectral, splines = (FractionalDiffusion(method=m, **options) for m in ("jacobi", "bspline"))
    grid = spectral.grid(33)
    a, b = spectral.simulate(range(3), 0, grid), splines.simulate(range(3), 0, grid)
    assert torch.equal(a.a, b.a) and torch.equal(a.mu, b.mu)
    assert float((a.u - b.u).norm() / a.u.norm()) < 1e-3


def test_a_smooth_solution_through_the_problem():
    u, f = power_solution(6, 1.6)
    grid = Grid.make((201,), "nodal")
    x = grid.coordinates()[0]
    inputs = Dataset(grid, a=3.0 * f(x)[None, None])
    for options, bound in (({}, 1e-7), ({"method": "bspline", "degree": 5, "cells": 256}, 1e-7)):
        found = FractionalDiffusion(alpha=1.6, kappa=3.0, **options).solve(inputs).u[0, 0]
        assert float((found - u(x)).abs().max() / u(x).max()) < bound


def test_spectral_accuracy():
    finest = FractionalDiffusion(modes=160)
    grid = finest.grid(65)
    exact = finest.simulate([0, 1], 0, grid).u
    errors = [
        float((FractionalDiffusion(modes=m).simulate([0, 1], 0, grid).u - exact).norm() / exact.norm())
        for m in (32, 64, 96)
    ]
    assert errors[0] < 1e-3 and errors[1] < 1e-7 and errors[2] < 1e-13, errors


@pytest.mark.parametrize("method", ["jacobi", "bspline"])
def test_one_solution_at_every_resolution_and_in_every_batch(method):
    problem = FractionalDiffusion(alpha=[1.2, 1.8], method=method, cells=64)
    fine = problem.simulate(range(4), 3, problem.grid(65))
    coarse = problem.simulate([2], 3, problem.grid(17))
    assert torch.allclose(coarse.a[0], fine.a[2, :, ::4], atol=1e-12)
    assert torch.allclose(coarse.u[0], fine.u[2, :, ::4], atol=1e-10)
    assert torch.equal(fine.u[..., [0, -1]], torch.zeros(4, 1, 2, dtype=D))


@pytest.mark.parametrize("method, bound", [("jacobi", 1e-5), ("bspline", 1e-2)])
def test_float32(method, bound):
    problem = FractionalDiffusion(method=method, cells=64)
    start = problem.sample([0], 0, problem.grid(33))
    exact = problem.solve(start).u
    single = problem.solve(start.to(dtype=torch.float32), dtype=torch.float32).u
    assert single.dtype == torch.float32 and float((single - exact).norm() / exact.norm()) < bound


@pytest.mark.parametrize("name, default", [("fractional_diffusion", FractionalDiffusion())])
def test_the_packaged_config_is_the_default(name, default):
    config = OmegaConf.create((files("nwidth.conf") / "problem" / f"{name}.yaml").read_text())
    assert build(config) == default and OmegaConf.to_container(config) == default.config()


@pytest.mark.parametrize(
    "problem", [FractionalDiffusion(alpha=[1.1, 1.9]), FractionalDiffusion(forcing=GaussianField(modes=3), degree=4)]
)
def test_config_makes_the_problem_again(problem):
    assert build(problem.config()) == problem


@pytest.mark.parametrize(
    "bad, match",
    [
        (lambda: RieszCollocation(64, 1, 1.5), "degree >= 2"),
        (lambda: RieszCollocation(5, 2, 1.5), "intervals or more"),
        (lambda: RieszCollocation(64, 3, 2.0), "alpha < 2"),
        (lambda: RieszCollocation(512, 3, 1.5).solve(torch.ones(1, 513, dtype=D), iterations=1), "residual"),
        (lambda: FractionalDiffusion(alpha=2.5), "alpha"),
        (lambda: FractionalDiffusion(alpha=[0.5, 1.5]), "alpha"),
        (lambda: FractionalDiffusion(method="galerkin"), "jacobi or bspline"),
        (lambda: FractionalDiffusion(degree=1), "degree"),
        (lambda: FractionalDiffusion(kappa=-1.0), "kappa"),
        (lambda: FractionalDiffusion().solve(Dataset(Grid.make((9,)), a=torch.ones(1, 1, 9))), "both ends"),
        (lambda: FractionalDiffusion().solve(Dataset(Grid.make((9,), "nodal"), u0=torch.ones(1, 1, 9))), "inputs a"),
        (
            lambda: FractionalDiffusion().solve(Dataset(Grid.make((9,), "nodal"), a=torch.full((1, 1, 9), torch.nan))),
            "finite",
        ),
        (
            lambda: FractionalDiffusion(alpha=[1.2, 1.8]).solve(
                Dataset(Grid.make((9,), "nodal"), a=torch.ones(1, 1, 9), mu=torch.full((1, 1), 2.5))
            ),
            "alpha",
        ),
    ],
)
def test_bad_input(bad, match):
    with pytest.raises(NWidthError, match=match):
        bad()
