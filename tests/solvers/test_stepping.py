import functools
import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.integrate
import torch
from nwidth.errors import NWidthError
from nwidth.solvers import ETDRK4, IMEX, RK4, integrate, integrate_adaptive, phi_dense, phi_diagonal
from nwidth.solvers.stepping import SCHEMES, stepper_of

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


@pytest.mark.parametrize("turn", [1.0, -1.0, 1j, (1 + 1j) / math.sqrt(2)])
def test_phi_functions_where_circle_and_quotient_meet(turn):
    z = turn * torch.linspace(0.9, 1.1, 41, dtype=torch.complex128)
    for k, p in enumerate(phi_diagonal(z)):
        series = sum(z**j / math.factorial(j + k) for j in range(18))
        assert torch.allclose(p, series, rtol=1e-12, atol=0)


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


def _solve(steps, dense=False, scheme="etdrk4"):
    # a stiff linear part with a nonlinear coupling, in its eigenvectors or turned
    linear = torch.tensor([-50.0, -1.0, -0.1], dtype=torch.float64)
    q = torch.linalg.qr(torch.tensor([[2.0, 1, 0], [1, 3, 1], [0, 1, 4]], dtype=torch.float64)).Q

    def nonlinear(u):
        x, y, z = u.unbind(-1)
        return torch.stack([y * z, x - x * z + torch.sin(y), x * y], -1)

    u0 = torch.tensor([[1.0, 0.5, -0.3], [0.2, 1.0, 0.7]], dtype=torch.float64)
    options = {"scheme": scheme, "dense": dense}
    if dense:
        turned = q @ (linear[:, None] * q.T)
        return (
            next(integrate(turned, lambda u: nonlinear(u @ q) @ q.T, u0 @ q.T, 0.0, [2.0], 2.0 / steps, **options)) @ q
        )
    return next(integrate(linear[None], nonlinear, u0, 0.0, [2.0], 2.0 / steps, **options))


@functools.cache
def _exact():
    return _solve(2560)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_order_in_the_time_step_of_a_stiff_system(scheme, dense):
    exact = _exact()
    errors = [float((_solve(n, dense, scheme) - exact).norm()) for n in (80, 160, 320)]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert min(orders) > SCHEMES[scheme].order - 0.3, (errors, orders)


def _riccati(scheme, steps, dtype):
    """u' = (i w - 1) u + u^2, whose solution is (1/s + (1/u0 - 1/s) exp(s t))^(-1) with 1/u linear, s = 1 - i w."""
    w, u0, t = torch.tensor([[0.5, 5.0, 40.0]], dtype=torch.float64), 0.4, 1.5
    s = 1 - 1j * w
    exact = 1 / (1 / s + (1 / u0 - 1 / s) * torch.exp(s * t))
    start = torch.full((1, 3), u0, dtype=dtype)
    state = next(integrate((-s).to(dtype), lambda u: u * u, start, 0.0, [t], t / steps, scheme=scheme))
    assert state.dtype == dtype
    return float((state.to(torch.complex128) - exact).abs().max())


@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_complex_diagonals_have_the_order_too(scheme):
    errors = [_riccati(scheme, n, torch.complex128) for n in (320, 640)]
    assert math.log2(errors[0] / errors[1]) > SCHEMES[scheme].order - 0.3, errors
    assert _riccati(scheme, 640, torch.complex64) < 1e-4


def test_the_implicit_part_damps_whatever_the_step():
    linear = torch.tensor([[-1e8, -1.0]], dtype=torch.float64)
    state = IMEX(linear, 1.0, torch.zeros_like).step(torch.ones(1, 2, dtype=torch.float64))
    assert abs(float(state[0, 0])) < 1e-6 and abs(float(state[0, 1]) - math.exp(-1)) < 1e-3


def test_steps_leave_the_state_as_it_was():
    u = torch.ones(1, 2, dtype=torch.float64)
    for kind in SCHEMES.values():
        kind(torch.tensor([[-1.0, -2.0]]).double(), 0.1, lambda v: v * v).step(u)
        assert bool((u == 1).all())


def test_rk4_is_the_exponential_to_fifth_order():
    u = RK4(torch.tensor([[1j]], dtype=torch.complex128), 0.01, torch.zeros_like).step(
        torch.ones(1, 1).to(torch.complex128)
    )
    assert abs(complex(u) - complex(math.cos(0.01), math.sin(0.01))) < 1e-12


def test_an_unknown_scheme():
    with pytest.raises(NWidthError, match="etdrk4, etdrk2, rk4, imex"):
        stepper_of("euler")


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


# adaptive steps


def _pendulum(t, u):
    return torch.stack([u[:, 1], -torch.sin(u[:, 0]) + 0.3 * torch.cos(t[:, 0])], 1)


@pytest.mark.parametrize("rtol", [1e-5, 1e-8, 1e-11])
def test_adaptive_steps_follow_the_tolerance(rtol):
    u0 = torch.tensor([[1.0, 0.0], [3.0, 0.5]], dtype=torch.float64)
    states = torch.stack(list(integrate_adaptive(_pendulum, u0, 0.5, [1.0, 2.5, 8.0], rtol, rtol)), 1)
    for u, start in zip(states, u0):
        exact = scipy.integrate.solve_ivp(
            lambda t, v: [v[1], -np.sin(v[0]) + 0.3 * np.cos(t)],
            (0.5, 8.0),
            start.numpy(),
            method="DOP853",
            t_eval=[1.0, 2.5, 8.0],
            rtol=1e-13,
            atol=1e-13,
        ).y.T
        assert float((u - torch.from_numpy(exact)).abs().max()) < 300 * rtol


def test_adaptive_steps_have_order_five():
    evaluations = []

    def f(t, u):
        evaluations[-1] += 1
        return 1j * u

    for rtol in (1e-5, 1e-10):
        evaluations.append(0)
        state = next(integrate_adaptive(f, torch.ones(1, 1, dtype=torch.complex128), 0.0, [20.0], rtol, 0.0))
        assert abs(complex(state) - complex(math.cos(20), math.sin(20))) < 100 * rtol
    assert 7 < evaluations[1] / evaluations[0] < 14  # 10^(5/5) with the fifth root of the tolerance


def test_each_sample_has_its_own_steps():
    rate = torch.tensor([[1.0], [100.0]], dtype=torch.float64)
    u0 = torch.ones(2, 1, dtype=torch.float64)
    together = next(integrate_adaptive(lambda t, u: -rate * (u - torch.cos(t)), u0, 0.0, [1.5]))
    for i in range(2):
        r = rate[i]
        alone = next(integrate_adaptive(lambda t, u, r=r: -r * (u - torch.cos(t)), u0[:1], 0.0, [1.5]))
        assert torch.equal(together[i : i + 1], alone)


def test_adaptive_in_single_precision():
    state = next(integrate_adaptive(lambda t, u: -u, torch.ones(3, 2), 1.0, [2.0], 1e-5, 1e-7))
    assert state.dtype == torch.float32 and torch.allclose(state, torch.full((3, 2), math.exp(-1)), rtol=1e-5)


@pytest.mark.parametrize(
    "options, match",
    [
        ({"times": [1.5]}, "smooth to the last time"),  # 1/(1 - t)
        ({"times": [0.5, 0.5]}, "times that increase"),
        ({"times": [0.5], "rtol": 0.0}, "rtol > 0"),
        ({"times": [0.9], "rtol": 1e-12, "most_steps": 10}, "10 steps before"),
        ({"times": [0.5], "u": torch.full((1, 1), math.nan)}, "finite values"),
    ],
)
def test_adaptive_errors(options, match):
    u = options.pop("u", torch.ones(1, 1, dtype=torch.float64))
    with pytest.raises(NWidthError, match=match):
        list(integrate_adaptive(lambda t, u: u * u, u, 0.0, **options))
