"""Resampling: exactness on the functions it promises, declared orders, scipy's interpolants."""

import math

import numpy as np
import pytest
import scipy.interpolate
import torch
from nwidth.backends import Axis, Grid, Mesh
from nwidth.backends.resample import interpolation_matrix, resample
from nwidth.errors import NWidthError

F64 = torch.float64


def wave(grid: Grid, modes: int) -> torch.Tensor:
    """A band-limited function of period 1 in each direction."""
    u = torch.ones((), dtype=F64)
    for i, x in enumerate(grid.coordinates()):
        u = u * (1 + 0.3 * sum(torch.cos(2 * torch.pi * k * x + k + i) for k in range(1, modes + 1)))
    return u


@pytest.mark.parametrize(
    ("source", "target"), [((12,), (31,)), ((9,), (8,)), ((9, 12), (16, 7)), ((7, 8, 9), (8, 8, 8))]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_periodic_band_limited_fields_are_exact(source, target, dtype):
    a, b = Grid.make(source), Grid.make(target)
    u, v = wave(a, 3), wave(b, 3)
    if dtype.is_complex:
        u, v = u * (1 + 2j), v * (1 + 2j)
    batch = torch.stack([u, -2 * u])[:, None].to(dtype)
    found = resample(batch, a, b)
    assert found.dtype == dtype and found.shape == (2, 1, *target)
    tol = 1e-12 if dtype in (torch.float64, torch.complex128) else 1e-5
    assert torch.allclose(found, torch.stack([v, -2 * v])[:, None].to(dtype), rtol=0, atol=tol * float(v.abs().max()))


def test_a_periodic_source_is_evaluated_anywhere_and_shifted():
    a = Grid([Axis("periodic", 16, 0.0, 1.0)])
    for target in (Axis("cell", 9), Axis("nodal", 9), Axis("chebyshev", 9), Axis("periodic", 16, 0.13, 1.13)):
        b = Grid([target])
        assert torch.allclose(resample(wave(a, 4), a, b), wave(b, 4), atol=1e-12)


def test_nyquist_mode_is_its_cosine():
    a, b = Grid.make((8,)), Grid.make((16,))
    assert torch.allclose(
        resample(torch.cos(8 * torch.pi * a.coordinates()[0]), a, b),
        torch.cos(8 * torch.pi * b.coordinates()[0]),
        atol=1e-13,
    )


@pytest.mark.parametrize("kind", ["nodal", "cell", "chebyshev"])
def test_chebyshev_source_is_exact_for_its_polynomials(kind):
    a, b = Grid.make((9,), "chebyshev", -1.0, 2.0), Grid.make((14,), kind, -1.0, 2.0)
    f = lambda x: x**8 - 3 * x**5 + 1  # noqa: E731
    v = f(b.coordinates()[0])
    assert torch.allclose(resample(f(a.coordinates()[0]), a, b), v, atol=1e-12 * float(v.abs().max()))


def test_chebyshev_points_that_coincide_are_copied():
    a, b = Axis("chebyshev", 9), Axis("chebyshev", 17)
    matrix = interpolation_matrix(a, b)
    assert torch.allclose(matrix[::2], torch.eye(9, dtype=F64), atol=1e-14)
    reference = scipy.interpolate.BarycentricInterpolator(a.coordinates().numpy(), np.eye(9))(b.coordinates().numpy())
    assert np.allclose(matrix.numpy(), reference, atol=1e-12)


@pytest.mark.parametrize(
    "source",
    [Axis("nodal", 11), Axis("cell", 11), Axis("listed", 6, points=(0, 0.1, 0.15, 0.5, 0.8, 1))],
    ids=lambda a: a.kind,
)
@pytest.mark.parametrize("target", [Axis("nodal", 21), Axis("cell", 8), Axis("chebyshev", 7)], ids=lambda a: a.kind)
def test_cubics_are_exact_also_slightly_outside(source, target):
    f = lambda x: 2 * x**3 - x**2 + 0.5  # noqa: E731
    found = interpolation_matrix(source, target) @ f(source.coordinates())
    assert torch.allclose(found, f(target.coordinates()), atol=1e-12)


def test_lagrange_interpolation_has_order_four():
    target = Axis("cell", 301)
    errors = []
    for n in (21, 41, 81):
        source = Axis("nodal", n)
        found = interpolation_matrix(source, target) @ torch.sin(7 * source.coordinates())
        errors.append(float((found - torch.sin(7 * target.coordinates())).abs().max()))
    assert [math.log2(a / b) for a, b in zip(errors, errors[1:])] == pytest.approx([4, 4], abs=0.35)


@pytest.mark.parametrize("source", [Axis("nodal", 12), Axis("cell", 9)], ids=lambda a: a.kind)
def test_only_the_four_nearest_points_count(source):
    target = Axis("cell", 31, 0.2, 0.8)
    used = interpolation_matrix(source, target).abs() > 1e-14
    distance = (target.coordinates()[:, None] - source.coordinates()).abs()
    assert int(used.sum(1).max()) == 4
    assert float(distance[used].max()) <= 2 * source.spacing + 1e-12


@pytest.mark.parametrize("n", [2, 3])
def test_few_points_take_the_polynomial_through_all(n):
    source, target = Axis("nodal", n), Axis("nodal", 7)
    x, y = source.coordinates(), target.coordinates()
    assert torch.allclose(interpolation_matrix(source, target) @ x ** (n - 1), y ** (n - 1), atol=1e-14)


def test_each_axis_by_its_own_rule():
    a = Grid([Axis("periodic", 12, name="x"), Axis("chebyshev", 6, name="y")])
    b = Grid([Axis("periodic", 20, name="x"), Axis("cell", 9, name="y")])
    f = lambda x, y: torch.sin(2 * torch.pi * x) * y**5  # noqa: E731
    assert torch.allclose(resample(f(*a.coordinates()), a, b), f(*b.coordinates()), atol=1e-13)


def test_the_same_points_pass_unchanged():
    u = torch.rand(2, 1, 8)
    assert resample(u, Grid.make((8,)), Grid.make((8,))) is u
    mesh = Mesh(torch.rand(8, 2))
    assert resample(u, mesh, Mesh(mesh.points.clone())) is u


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (Grid.make((8,)), Grid.make((8,), hi=2.0), "periods 1 and 2"),
        (Grid.make((8,), "nodal"), Grid.make((9,), "nodal", 0.0, 1.5), "[0, 1.5]"),
        (Grid.make((8,), "nodal"), Grid.make((8, 8), "nodal"), "1 and 2 axes"),
        (Grid.make((8,), "nodal"), Mesh(torch.rand(8, 1)), "mesh"),
        (Mesh(torch.rand(8, 2)), Mesh(torch.rand(9, 2)), "mesh"),
        # a high polynomial is worthless one spacing outside
        (Grid.make((65,), "chebyshev"), Grid.make((9,), "nodal", 0.0, 1.01), "[0, 1.01]"),
    ],
)
def test_other_domains_are_refused(a, b, words):
    with pytest.raises(NWidthError) as error:
        resample(torch.zeros(1, 1, *a.shape), a, b)
    assert words in str(error.value)
