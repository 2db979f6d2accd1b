import math
from itertools import pairwise

import pytest
import torch
from nwidth.solvers import ETDRK4, integrate, phi_dense, phi_diagonal

TYPES = [torch.float64, torch.complex128]


@pytest.mark.parametrize("dtype", TYPES)
def test_phi_functions_are_their_series_and_their_quotients(dtype):
    small = torch.tensor([0.0, 1e-9, 1e-3, -1e-2], dtype=dtype)
    large = torch.tensor([-1e4, -50.0, -3.0, 2.0], dtype=dtype) * (1j if dtype.is_complex else 1.0)
    for k, p in enumerate(phi_diagonal(small)):
        series = sum(small**j / math.factorial(j + k) for j in range(6))
        assert torch.allclose(p, series, rtol=1e-12)
    _, p1, p2, p3 = phi_diagonal(large)
    exp = torch.exp(large)
    tails = (exp - 1, exp - 1 - large, exp - 1 - large - large**2 / 2)
    for k, p, value in zip((1, 2, 3), (p1, p2, p3), tails):
        assert torch.allclose(p, value / large**k, rtol=1e-10)


@pytest.mark.parametrize("size", [1e-6, 1.0, 300.0])
def test_dense_functions_equal_those_of_the_eigenvalues(size):
    g = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(3, 6, 6, generator=g, dtype=torch.float64)).Q
    d = -size * torch.rand(3, 6, generator=g, dtype=torch.float64)
    for dense, diagonal in zip(phi_dense(q @ (d[..., None] * q.mT)), phi_diagonal(d)):
        assert torch.allclose(dense, q @ (diagonal[..., None] * q.mT), atol=1e-12)


def test_dense_functions_of_a_rotation():
    turn = torch.tensor([[0.0, 7.0], [-7.0, 0.0]], dtype=torch.float64)
    wanted = torch.tensor([[math.cos(7), math.sin(7)], [-math.sin(7), math.cos(7)]], dtype=torch.float64)
    assert torch.allclose(phi_dense(turn)[0], wanted, atol=1e-12)


def _solve(steps, dense):
    # a stiff linear part with a nonlinear coupling, in its eigenvectors or turned
    linear = torch.tensor([-50.0, -1.0, -0.1], dtype=torch.float64)
    q = torch.linalg.qr(torch.tensor([[2.0, 1, 0], [1, 3, 1], [0, 1, 4]], dtype=torch.float64)).Q

    def nonlinear(u):
        x, y, z = u.unbind(-1)
        return torch.stack([y * z, x - x * z + torch.sin(y), x * y], -1)

    u0 = torch.tensor([[1.0, 0.5, -0.3], [0.2, 1.0, 0.7]], dtype=torch.float64)
    if dense:
        turned = q @ (linear[:, None] * q.T)
        states = integrate(turned, lambda u: nonlinear(u @ q) @ q.T, u0 @ q.T, 0.0, [2.0], 2.0 / steps, dense=True)
        return next(states) @ q
    return next(integrate(linear[None], nonlinear, u0, 0.0, [2.0], 2.0 / steps))


@pytest.mark.parametrize("dense", [False, True])
def test_fourth_order_in_the_time_step(dense):
    exact = _solve(2560, False)
    errors = [float((_solve(n, dense) - exact).norm()) for n in (80, 160, 320)]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert min(orders) > 3.7, (errors, orders)


def test_dense_matrices_by_sample():
    linear = torch.tensor([[[-1.0, 0.5], [0.0, -2.0]], [[-3.0, 0.0], [1.0, -4.0]]], dtype=torch.float64)
    u = torch.ones(2, 2, dtype=torch.float64)

    def square(v):
        return -v * v

    together = ETDRK4(linear, 0.1, square, dense=True).step(u)
    for i in range(2):
        alone = ETDRK4(linear[i], 0.1, square, dense=True).step(u[i : i + 1])
        assert torch.allclose(together[i : i + 1], alone, atol=1e-14)


def test_uneven_times_and_float32():
    linear = torch.tensor([[-2.0]], dtype=torch.float32)
    states = list(integrate(linear, torch.zeros_like, torch.ones(1, 1), 0.5, [0.7, 1.0, 3.0], 0.15))
    wanted = [math.exp(-2 * (t - 0.5)) for t in (0.7, 1.0, 3.0)]
    assert [float(s) for s in states] == pytest.approx(wanted, rel=1e-6)
    assert states[0].dtype == torch.float32
