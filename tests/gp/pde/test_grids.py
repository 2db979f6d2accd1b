"""Grids of several axes, the classical solver, and the published formulation."""

import math
from dataclasses import dataclass

import pytest
import torch
from nwidth.errors import NWidthError
from nwidth.gp.pde import (
    GP,
    AdvectionEquation,
    AllenCahnEquation,
    Chebyshev,
    Condition,
    Equation,
    GPKronecker,
    PoissonEquation,
    Reference,
)
from nwidth.gp.pde.chebyshev import ChebyshevCardinals
from nwidth.gp.pde.equation import product
from nwidth.gp.pde.published import KERNELS, Components, mixture_kernel, toeplitz
from nwidth.gp.pde.sylvester import KroneckerSum

D = torch.float64


def mesh(box, n=23):
    return product([torch.linspace(a, b, n, dtype=D) for a, b in box])


@pytest.mark.parametrize("sizes", [(6,), (5, 7), (4, 3, 5)])
def test_sylvester_solves_equal_dense_kronecker_ones(sizes):
    g = torch.Generator().manual_seed(0)
    A = [torch.randn(n, n, generator=g, dtype=D) + 3 * torch.eye(n, dtype=D) for n in sizes]
    F = torch.randn(*sizes, generator=g, dtype=D)
    dense = 0.7 * torch.eye(F.numel(), dtype=D)
    for i, a in enumerate(A):
        parts = [a if j == i else torch.eye(n, dtype=D) for j, n in enumerate(sizes)]
        whole = parts[0]
        for p in parts[1:]:
            whole = torch.kron(whole, p)
        dense = dense + whole
    assert (KroneckerSum(A, 0.7).solve(F).reshape(-1) - torch.linalg.solve(dense, F.reshape(-1))).abs().max() < 1e-10


@dataclass(frozen=True, kw_only=True)
class Mixed(Equation):
    """u_xx + (2 + x y) u_yy + u_xy + u_x u = f, u_x given at x = 1: variable, mixed, nonlinear, Neumann."""

    lower: tuple = (0.0, 0.0)
    upper: tuple = (1.0, 2.0)
    has_exact = True
    nonlinear_in = ((0, 0), (1, 0))

    def terms(self, x, p):
        return {(2, 0): 1.0, (0, 2): lambda x: 2 + x[:, 0] * x[:, 1], (1, 1): 1.0}

    def nonlinear(self, u, x, p):
        return u[(0, 0)] * u[(1, 0)]

    def exact(self, x):
        return torch.sin(3 * x[:, 0]) * torch.cos(2 * x[:, 1])

    def source(self, x):
        s, c, S, C = (f(k * x[:, i]) for i, k in ((0, 3), (1, 2)) for f in (torch.sin, torch.cos))
        return -9 * s * C - 4 * (2 + x[:, 0] * x[:, 1]) * s * C - 6 * c * S + s * C * 3 * c * C

    def conditions(self):
        slope = Condition(0, 1, lambda x: 3 * torch.cos(3 * x[:, 0]) * torch.cos(2 * x[:, 1]), {(1, 0): 1.0})
        return [Condition(0, 0, self.exact), slope, Condition(1, 0, self.exact), Condition(1, 1, self.exact)]


CASES = [
    (PoissonEquation(solution="sin(30*x)*sin(20*y)", lower=[0, 0], upper=[1, 1], points=64), 1e-7),
    (AllenCahnEquation(solution="sin(9*x)*cos(7*y)", lower=[0, 0], upper=[1, 2], points=[48, 56]), 1e-7),
    (AdvectionEquation(solution="sin(x - 20*t)", speed=20.0, lower=[0, 0], upper=[1, 1], points=48), 1e-6),
    (Mixed(points=30), 1e-6),
    (PoissonEquation(solution="sin(5*x)*cos(4*y)*exp(z)", lower=[0] * 3, upper=[1] * 3, points=32), 5e-6),
]


@pytest.mark.parametrize(("equation", "goal"), CASES, ids=lambda v: type(v).__name__)
def test_grids(equation, goal):
    x = mesh(equation.box, 23 if equation.ndim == 2 else 9)
    found = GP().solve(equation)
    assert found.error(x) < goal and not found.notes
    mean, std = found.predict(x[:50])  # points that are no grid
    again, same = found.predict(x)
    assert torch.allclose(mean, again[:50], atol=1e-12) and torch.allclose(std, same[:50], rtol=1e-3, atol=1e-12)
    error = (again - equation.exact(x)).abs()
    assert float((error < 1.96 * same).double().mean()) > 0.9
    assert 0.2 < float((error / same).square().mean().sqrt()) < 4  # advection: few large errors, most are tiny
    assert Chebyshev().solve(equation).error(x) < goal


@pytest.mark.parametrize("n", [10, 16, 30])
def test_intervals_on_grids_are_neither_too_narrow_nor_too_wide(n):
    """Errors of drawn equations alone are four to ten times too wide on few points."""
    equation = PoissonEquation(solution="sin(5*x)*cos(4*y)", lower=[-1, -1], upper=[1, 1], points=n)
    x = torch.rand(1500, 2, generator=torch.Generator().manual_seed(0), dtype=D) * 2 - 1
    found = GP().solve(equation)
    mean, std = found.predict(x)
    z = (equation.exact(x) - mean) / std
    assert 0.9 < float((z.abs() < 1.96).double().mean()) < 0.995
    assert 0.4 < float(z.square().mean().sqrt()) < 1.3


def test_a_grid_that_cannot_resolve_says_so():
    equation = PoissonEquation(solution="sin(95*x)*sin(87*y)", lower=[0, 0], upper=[1, 1], points=20)
    assert any("not resolved" in n for n in GP().solve(equation).notes)


def test_chebyshev_cardinals_and_the_reference():
    basis = ChebyshevCardinals(((0.0, 2.0),), (12,))
    x, nodes = torch.linspace(0, 2, 7, dtype=D), basis.nodes(0)
    assert torch.allclose(basis.line(0, x, 2) @ nodes**7, 42 * x**5, atol=1e-8)
    assert torch.equal(basis.line(0, nodes), torch.eye(12, dtype=D))
    equation = PoissonEquation(solution="sin(40*x)", points=20)  # far too few points: it must refine
    found = Reference().solve(equation)
    assert found.error(mesh(equation.box, 301)) < 1e-9 and len(found.history) > 2


@pytest.mark.parametrize("kernel", KERNELS)
def test_published_derivatives_equal_the_dense_kernel_and_automatic_ones(kernel):
    g = torch.Generator().manual_seed(0)
    hyper = Components(*torch.randn(2, 3, generator=g, dtype=D), torch.rand(3, generator=g, dtype=D))
    x = torch.linspace(0, 1, 12, dtype=D)
    r = x[:, None] - x

    def k(r):
        a, w = hyper[1].exp(), hyper[0].exp()
        d = r[..., None]
        s = math.sqrt(5) * a * d.abs()
        shape = torch.exp(-a * d**2) if kernel == "gm" else (1 + s + s**2 / 3) * torch.exp(-s)
        return (w * shape * torch.cos(2 * math.pi * hyper[2] * d)).sum(-1)

    row = (x[1] - x[0]) * torch.arange(-11, 12, dtype=D)
    assert torch.allclose(toeplitz(mixture_kernel(row, hyper, kernel)), k(r), atol=1e-12)
    moved = (r + 0.01).requires_grad_()
    (first,) = torch.autograd.grad(k(moved).sum(), moved, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), moved)
    assert torch.allclose(mixture_kernel(moved.detach(), hyper, kernel, 1), first.detach(), atol=1e-9)
    assert torch.allclose(mixture_kernel(moved.detach(), hyper, kernel, 2), second, atol=1e-8)


def test_the_published_derivative_is_the_dense_formula():
    solver, g = GPKronecker(components=3, frequency=2.0), torch.Generator().manual_seed(0)
    n, hyper = 9, Components(torch.zeros(3, dtype=D), torch.ones(3, dtype=D), torch.arange(3, dtype=D))
    row = torch.arange(1 - n, n, dtype=D) / (n - 1)
    K, K2 = (toeplitz(mixture_kernel(row, hyper, "stm", o)) for o in (0, 2))
    u = torch.randn(n, n, generator=g, dtype=D)
    inverse = torch.linalg.inv(K + 1e-6 * torch.eye(n, dtype=D))
    seen = solver._derivative(u, inverse @ u @ inverse.T, (2, 0), [row, row], [hyper, hyper])
    dense = torch.kron(K2, K) @ torch.linalg.inv(torch.kron(K + 1e-6 * torch.eye(n), K + 1e-6 * torch.eye(n)))
    assert torch.allclose(seen.reshape(-1), dense @ u.reshape(-1), rtol=1e-5, atol=1e-5)


def test_the_published_method_solves_an_easy_case():
    equation = PoissonEquation(solution="sin(3*x)", upper=[3.0], points=10)
    found = GPKronecker(frequency=1.0, components=2, steps=400, lr=0.05).solve(equation)
    assert found.error(mesh(equation.box, 101)) < 0.05
    assert found.history[-1]["residual"] < 0.1 * found.history[0]["residual"]


def test_what_grid_solvers_do_not_take():
    jittered = PoissonEquation(solution="sin(x)", jitter=0.5)
    with pytest.raises(NWidthError, match="equally spaced"):
        GPKronecker().solve(jittered)
    with pytest.raises(NWidthError, match="kernel"):
        GPKronecker(kernel="rbf")


def test_intervals_hold_the_solution_on_the_faces_of_a_box():
    """Errors between the nodes of the sides, where draws of the prior have next to none."""
    equation = PoissonEquation(solution="sin(5*x + y)*cos(4*z)", lower=[-1] * 3, upper=[1] * 3, points=24)
    x = torch.rand(600, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    side = torch.arange(600)
    x[side, side % 3] = 1.0 - 2.0 * (side % 2).double()
    assert GP().solve(equation).coverage(x) > 0.9
