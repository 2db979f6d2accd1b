"""Inverse and log-determinant of affine matrices from their values at a few parameters."""

import itertools

import pytest
import torch
from nwidth.errors import NWidthError
from nwidth.solvers.reduced import PowerInterpolation

F64 = torch.float64
AXIS = torch.linspace(0, 1, 25, dtype=F64)
TRAIN = torch.cartesian_prod(AXIS, AXIS)


@pytest.fixture(scope="module")
def spd():
    """A_0 + theta_1 A_1 + theta_2 A_2, symmetric positive definite, n = 100."""
    g = torch.Generator().manual_seed(0)

    def part():
        x = torch.randn(100, 100, dtype=F64, generator=g)
        return x @ x.T / 100

    first = 2 * torch.eye(100, dtype=F64) + 0.5 * part()
    terms = torch.stack([0.6 * part(), 0.6 * part()])
    return lambda theta: first + torch.tensordot(theta, terms, dims=1), terms


def test_the_figures_and_the_bound(spd, capsys):
    """Asked for: d = 28 about 1e-4, d = 66 below 1e-6, for new parameters; the bound holds and is printed."""
    matrix, terms = spd
    new = torch.rand(60, 2, dtype=F64, generator=torch.Generator().manual_seed(1))
    inverse, logarithm = torch.linalg.inv(matrix(new)), torch.logdet(matrix(new))
    root = torch.linalg.cholesky(matrix(torch.full((2,), 0.5, dtype=F64)))
    inner = torch.linalg.solve_triangular(root, terms / 2, upper=False)
    inner = torch.linalg.solve_triangular(root, inner.mT, upper=False)
    sizes = torch.linalg.matrix_norm(inner, 2)
    found = {}
    for d in (6, 28, 66):
        powers = PowerInterpolation(TRAIN, rank=d)
        at = matrix(powers.parameters)
        miss = powers.combine(new, torch.linalg.inv(at)) - inverse
        relative = torch.linalg.matrix_norm(miss, 2) / torch.linalg.matrix_norm(inverse, 2)
        energy = torch.linalg.matrix_norm(root.T @ miss @ root, 2)
        wrong = (powers.combine(new, torch.logdet(at)) - logarithm).abs()
        bounds = [powers.bound(new, sizes, k, traces=100) for k in ("inverse", "log_determinant")]
        assert bool((energy <= bounds[0]).all()) and bool((wrong <= bounds[1]).all())
        found[d] = float(relative.max()), float(wrong.max())
        with capsys.disabled():
            print(
                f"\nd={d}: inverse {found[d][0]:.1e}, in the energy norm {float(energy.max()):.1e} "
                f"(bound {float(bounds[0].max()):.1e}); log-determinant {found[d][1]:.1e} "
                f"(bound {float(bounds[1].max()):.1e})",
                end="",
            )
    assert max(found[28]) < 5e-4 and max(found[66]) < 1e-6 and min(found[6]) > 1e-3, found
    assert bounds[0].max() < 1e-2


@pytest.mark.parametrize(("count", "degree"), [(1, 7), (2, 5), (3, 4)])
def test_all_monomials_of_a_degree(count, degree):
    powers = PowerInterpolation(torch.rand(50, count, dtype=F64), degree=degree, rank=1)
    every = {a for a in itertools.product(range(degree + 1), repeat=count) if sum(a) <= degree}
    assert {tuple(a) for a in powers.exponents.tolist()} == every and len(powers.exponents) == len(every)


def test_exact_for_polynomials():
    """With as many terms as monomials of degree 3 there is no error in A^3, and none in their sums."""
    train = torch.cartesian_prod(AXIS[::3], AXIS[::3])
    powers = PowerInterpolation(train, degree=3, rank=10)
    g = torch.Generator().manual_seed(0)
    parts = torch.randn(3, 5, 5, dtype=F64, generator=g)
    matrix = lambda t: parts[0] + torch.tensordot(t, parts[1:], dims=1)  # noqa: E731
    new = torch.rand(6, 2, dtype=F64, generator=g)
    polynomial = lambda a: a @ a @ a - 2 * a + torch.eye(5, dtype=F64)  # noqa: E731
    approx = powers.combine(new, polynomial(matrix(powers.parameters)))
    assert torch.allclose(approx, polynomial(matrix(new)), atol=1e-8)


def test_errors():
    with pytest.raises(NWidthError, match="degree=0"):
        PowerInterpolation(TRAIN, degree=0)
    with pytest.raises(NWidthError, match="million"):
        PowerInterpolation(torch.rand(10, 12, dtype=F64), degree=25)
    powers = PowerInterpolation(TRAIN, rank=6)
    with pytest.raises(NWidthError, match="inverse, log_determinant"):
        powers.bound(TRAIN, [0.1, 0.1], "exponential")
    with pytest.raises(NWidthError, match="below 1"):
        powers.bound(TRAIN, [0.6, 0.6], "inverse")
