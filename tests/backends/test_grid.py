"""Points and weights of axes, grids and meshes, against exact integrals and scipy."""

import json
import math

import numpy as np
import pytest
import scipy.integrate
import torch
from nwidth.backends import Axis, Grid, Mesh, grid_from_dict, same_grid
from nwidth.errors import NWidthError

POINTS = {
    "periodic": lambda n: np.arange(n) / n,
    "nodal": lambda n: np.linspace(0, 1, n),
    "cell": lambda n: (np.arange(n) + 0.5) / n,
    "chebyshev": lambda n: (1 - np.cos(np.pi * np.arange(n) / (n - 1))) / 2,
}


@pytest.mark.parametrize("kind", POINTS)
@pytest.mark.parametrize("n", [2, 3, 8, 17])
def test_points_and_sum_of_weights(kind, n):
    axis = Axis(kind, n, -1.0, 3.0)
    assert np.allclose(axis.coordinates().numpy(), -1 + 4 * POINTS[kind](n), atol=1e-14)
    assert float(axis.weights().sum()) == pytest.approx(4.0, rel=1e-14)
    assert bool((axis.weights() > 0).all())
    assert axis.coordinates().dtype == axis.weights().dtype == torch.float64


@pytest.mark.parametrize("n", [5, 6, 9, 12])
def test_clenshaw_curtis_is_exact_for_polynomials_below_n(n):
    axis = Axis("chebyshev", n, 0.5, 2.0)
    x, w = axis.coordinates(), axis.weights()
    for p in range(n):
        assert float((w * x**p).sum()) == pytest.approx((2.0 ** (p + 1) - 0.5 ** (p + 1)) / (p + 1), rel=1e-13)


@pytest.mark.parametrize(("kind", "order"), [("nodal", 2), ("cell", 2)])
def test_quadrature_converges_at_second_order(kind, order):
    errors = []
    for n in (16, 32, 64):
        axis = Axis(kind, n + (kind == "nodal"), 0.0, 2.0)
        errors.append(abs(float((axis.weights() * axis.coordinates().exp()).sum()) - (math.e**2 - 1)))
    for coarse, fine in zip(errors, errors[1:]):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.05)


def test_trapezoid_on_listed_points_is_scipys():
    points = torch.tensor([0.0, 0.1, 0.35, 0.4, 1.0])
    axis = Axis("listed", 5, points=tuple(points.tolist()))
    f = torch.sin(3 * axis.coordinates())
    assert (axis.lo, axis.hi) == (0.0, 1.0)
    assert float((axis.weights() * f).sum()) == pytest.approx(
        float(scipy.integrate.trapezoid(f.numpy(), axis.coordinates().numpy())), rel=1e-14
    )


def test_norm_weights_are_equal_on_uniform_axes_and_quadrature_elsewhere():
    assert torch.equal(Axis("nodal", 5).norm_weights(), torch.full((5,), 0.2, dtype=torch.float64))
    cheb = Axis("chebyshev", 6)
    assert torch.equal(cheb.norm_weights(), cheb.weights())


@pytest.mark.parametrize("shape", [(5,), (4, 7), (3, 4, 5)])
def test_grid_is_the_tensor_product(shape):
    axes = [Axis(kind, n, -1.0, 2.0, name) for kind, n, name in zip(("nodal", "cell", "chebyshev"), shape, "xyz")]
    grid = Grid(axes)
    numpy_points = np.meshgrid(*(a.coordinates().numpy() for a in axes), indexing="ij")
    assert grid.shape == shape and grid.ndim == len(shape)
    assert np.array_equal(grid.coordinates().numpy(), np.stack(numpy_points))
    brute = np.einsum(",".join("abc"[: len(shape)]), *(a.weights().numpy() for a in axes))
    assert np.allclose(grid.weights().numpy(), brute, rtol=1e-15)
    assert float(grid.norm_weights().sum()) == pytest.approx(3.0 ** len(shape))


@pytest.mark.parametrize("kind", POINTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_axis_from_its_own_coordinates(kind, dtype):
    axis = Axis(kind, 13, -1.0, 1.5, "y")
    found = Axis.from_coordinates(axis.coordinates().to(dtype), "y", kind=kind)
    assert found.kind == kind and found.n == 13 and found.name == "y"
    assert (found.lo, found.hi) == pytest.approx((-1.0, 1.5), abs=1e-6)


def test_three_chebyshev_points_are_uniform_and_still_chebyshev():
    axis = Axis.from_coordinates([0.0, 0.5, 1.0], kind="chebyshev")
    assert axis.weights().tolist() == pytest.approx([1 / 6, 2 / 3, 1 / 6])


def test_uneven_points_become_listed_whatever_the_kind():
    for kind in (None, "nodal", "periodic", "cell", "chebyshev", "listed"):
        assert Axis.from_coordinates([0.0, 0.1, 0.4, 1.0], kind=kind).kind == "listed"


@pytest.mark.parametrize(
    "axis",
    [Axis("periodic", 12), Axis("periodic", 10), Axis("nodal", 13), Axis("cell", 12), Axis("chebyshev", 13)],
    ids=lambda a: f"{a.kind}{a.n}",
)
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_every_keeps_the_points(axis, stride):
    thinned = axis.every(stride)
    assert torch.allclose(thinned.coordinates(), axis.coordinates()[::stride], rtol=0, atol=1e-15)
    if axis.kind == "periodic":
        assert (thinned.kind == "periodic") == (axis.n % stride == 0)


@pytest.mark.parametrize(
    "grid",
    [
        Grid.make((4, 5), "cell", -1.0, 2.0),
        Grid([Axis("listed", 3, name="x", points=(0.0, 0.3, 1.0)), Axis("chebyshev", 4, name="y")]),
        Mesh(torch.rand(4, 2, dtype=torch.float64), torch.tensor([[0, 1, 2], [1, 2, 3]])),
        Mesh(torch.rand(4, 3, dtype=torch.float64), None, torch.rand(4, dtype=torch.float64)),
    ],
    ids=["grid", "listed", "mesh", "weights"],
)
def test_round_trip_through_plain_values(grid):
    again = grid_from_dict(json.loads(json.dumps(grid.to_dict())))
    assert same_grid(grid, again) and torch.equal(grid.weights(), again.weights())
    assert grid.describe() == again.describe()


def test_same_grid_sees_points_only():
    assert same_grid(Grid.make((8,), "periodic"), Grid.make((8,), "nodal", 0.0, 7 / 8))
    assert not same_grid(Grid.make((8,)), Grid.make((9,)))
    assert not same_grid(Grid.make((8,)), Grid.make((8,), hi=1.01))
    assert not same_grid(Grid.make((8,)), Mesh(torch.rand(8, 1)))


def test_mesh_weights_integrate_linear_functions_exactly():
    # two triangles of the unit square and one beside it, of areas 1/2, 1/2 and 1
    points = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1], [3, 0]])
    mesh = Mesh(points, torch.tensor([[0, 1, 2], [1, 3, 2], [1, 4, 3]]))
    f = 1 + 2 * points[:, 0] - points[:, 1]
    exact = sum(
        area * float(f[list(cell)].mean()) for area, cell in ((0.5, (0, 1, 2)), (0.5, (1, 3, 2)), (1.0, (1, 4, 3)))
    )
    assert float((mesh.weights() * f).sum()) == pytest.approx(exact)
    assert Mesh(points).weights().tolist() == pytest.approx([0.2] * 5)


def test_mesh_of_others_has_the_area_of_its_domain(realdata):
    points = torch.from_numpy(np.load(realdata / "thermal_block" / "coords.npy"))
    cells = torch.from_numpy(np.load(realdata / "thermal_block" / "triangles.npy").astype(np.int64))
    points = points if points.shape[1] == 2 else points.T
    cells = cells if cells.shape[1] == 3 else cells.T
    assert float(Mesh(points, cells).weights().sum()) == pytest.approx(4.0, rel=1e-10)  # [-1, 1]^2


@pytest.mark.parametrize(("dimension", "vertices"), [(1, 2), (2, 2), (3, 2), (2, 3), (3, 3), (3, 4)])
def test_simplex_volumes_also_of_curves_and_surfaces(dimension, vertices):
    points = torch.randn(vertices, dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(vertices))
    edges = (points[1:] - points[0]).numpy()
    volume = np.prod(np.linalg.svd(edges, compute_uv=False)) / math.factorial(vertices - 1)
    mesh = Mesh(points, torch.arange(vertices)[None])
    assert mesh.weights().tolist() == pytest.approx([volume / vertices] * vertices)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Axis("cubic", 4), "kind='cubic'"),
        (lambda: Axis("nodal", 1), "n=1"),
        (lambda: Axis("cell", 0), "n=0"),
        (lambda: Axis("cell", 4, 1.0, 0.0), "lo=1.0"),
        (lambda: Axis("cell", 4, 0.0, math.inf), "finite"),
        (lambda: Axis("listed", 3, points=(0.0, 2.0, 1.0)), "increas"),
        (lambda: Axis("listed", 3, points=(0.0, 2.0)), "2 listed points"),
        (lambda: Axis.from_coordinates([0.0, 1.0, 1.0]), "strictly increasing"),
        (lambda: Axis.from_coordinates([0.0, float("nan"), 1.0]), "finite"),
        (lambda: Axis.from_coordinates([]), "0 coordinates"),
        (lambda: Axis.from_coordinates([0.0, 1.0], kind="nodel"), "kind='nodel'"),
        (lambda: Axis("listed", 2, points=(0.0, 1.0)).with_n(3), "listed"),
        (lambda: Grid(()), "no axes"),
        (lambda: Grid.make((4, 4)).with_shape((8,)), "1 sizes"),
        (lambda: Mesh(torch.rand(4)), "(4,)"),
        (lambda: Mesh(torch.full((4, 2), float("nan"))), "finite"),
        (lambda: Mesh(torch.rand(4, 2), torch.tensor([[0, 1, 4]])), "do not exist"),
        (lambda: Mesh(torch.rand(4, 2), torch.tensor([[0, 1, -1]])), "do not exist"),
        (lambda: Mesh(torch.rand(4, 2), None, torch.rand(3)), "(3,)"),
        (lambda: grid_from_dict({"type": "sphere"}), "sphere"),
    ],
)
def test_errors_name_what_arrived(make, words):
    with pytest.raises(NWidthError) as error:
        make()
    assert words in str(error.value)
