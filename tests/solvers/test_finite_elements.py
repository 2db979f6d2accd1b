import numpy as np
import pytest
import torch
from nwidth.backends import Mesh
from nwidth.errors import NWidthError
from nwidth.solvers.finite_elements import Space
from nwidth.solvers.meshes import block_axes, make_mesh, mesh_hash, structured_mesh

MESHES = [(1, "simplices", 1), (2, "crossed", 1), (2, "simplices", 1), (2, "boxes", 1), (2, "crossed", 2),
          (2, "simplices", 2), (3, "simplices", 1)]  # fmt: skip


def mesh_of(ndim, cells, degree, n=3):
    """A box [0, 1] x [-1, 1] x [0, 3] with uneven intervals."""
    ends = [(0.0, 1.0), (-1.0, 1.0), (0.0, 3.0)][:ndim]
    return structured_mesh(
        [a + (b - a) * np.linspace(0, 1, n + i + 1) ** 1.3 for i, (a, b) in enumerate(ends)], cells, degree
    )


def shuffled(mesh, seed=0):
    """The same mesh with its points in random order, half of its cells turned, in float32-like disorder of cells."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(mesh.points))
    cells = np.argsort(order)[mesh.cells.numpy()][rng.permutation(len(mesh.cells))]
    turn = [1, 2, 0, 4, 5, 3] if cells.shape[1] == 6 else [1, 2, 0]
    cells[::2] = cells[::2][:, turn]
    flip = [0, 2, 1, 5, 4, 3] if cells.shape[1] == 6 else [0, 2, 1]
    cells[::3] = cells[::3][:, flip]
    return Mesh(mesh.points[order], torch.from_numpy(cells)), order


@pytest.mark.parametrize("kind", MESHES)
def test_forms_of_linear_functions_are_exact(kind):
    mesh = mesh_of(*kind)
    space = Space(mesh)
    x = space.points
    d, volume = x.shape[1], np.prod(space.hi - space.lo)
    a, b = np.arange(1.0, d + 1), np.arange(d, 0.0, -1)
    u, v, one = x @ a + 1, x @ b, np.ones(len(x))
    mean = (space.lo + space.hi) / 2
    second = volume * (np.outer(mean, mean) + np.diag((space.hi - space.lo) ** 2 / 12))
    assert u @ space.mass() @ v == pytest.approx(a @ second @ b + volume * mean @ b)
    assert u @ space.stiffness() @ v == pytest.approx(volume * a @ b)
    assert u @ space.stiffness(axes=[d - 1]) @ v == pytest.approx(volume * a[-1] * b[-1])
    assert one @ space.load(lambda x: x[0]) == pytest.approx(volume * mean[0])
    assert float(mesh.weights().sum()) == pytest.approx(volume) and float(mesh.weights().min()) > 0
    for interpolate in (True, False):
        c = space.convection(lambda x: np.stack([x[-1]] * d), interpolate=interpolate)
        assert one @ c @ u == pytest.approx(volume * mean[-1] * a.sum())
    parts = [np.flatnonzero(space.centroids[:, 0] < 0.5), np.flatnonzero(space.centroids[:, 0] >= 0.5)]
    assert abs(sum(space.stiffness(p) for p in parts) - space.stiffness()).max() < 1e-12


@pytest.mark.parametrize("kind", [k for k in MESHES if k[0] > 1])
def test_elasticity_of_linear_displacements(kind):
    space = Space(mesh_of(*kind), kind[0])
    x, d = space.points, kind[0]
    lame, shear = 1.3, 0.7
    matrix = space.elasticity(lame, shear)
    for i in range(d):  # translations and rotations
        for j in range(i, d):
            move = np.zeros((d, len(x)))
            move[i], move[j] = (1.0, move[j]) if i == j else (-x[:, j], x[:, i])
            assert np.abs(matrix @ move.ravel()).max() < 1e-12
    g = np.arange(1.0, d * d + 1).reshape(d, d)
    e = (g + g.T) / 2
    energy = np.prod(space.hi - space.lo) * (2 * shear * (e * e).sum() + lame * np.trace(e) ** 2)
    u = (g @ x.T).ravel()
    assert u @ matrix @ u == pytest.approx(energy)
    assert abs(matrix - matrix.T).max() < 1e-12
    # with the stress sigma on the boundary, there is no force within
    sigma = 2 * shear * e + lame * np.trace(e) * np.eye(d)
    names = ["left", "right", "bottom", "top", "back", "front"][: 2 * d]
    force = sum(
        (2 * (k % 2) - 1) * sigma[i, k // 2] * space.flux(space.side(name), 1.0, i)
        for k, name in enumerate(names)
        for i in range(d)
    )
    assert np.abs(matrix @ u - force).max() < 1e-10


@pytest.mark.parametrize("degree", [1, 2])
def test_the_order_of_points_and_cells_does_not_matter(degree):
    mesh = mesh_of(2, "simplices", degree)
    other, order = shuffled(mesh)
    a, b = Space(mesh), Space(other)
    for left, right in ((a.mass(), b.mass()), (a.stiffness(), b.stiffness())):
        assert abs(left[order][:, order] - right).max() < 1e-13
    left = a.facet_points(a.side("left"))
    assert sorted(np.argsort(order)[left]) == list(b.facet_points(b.side("left")))


def test_quadratic_elements_hold_quadratic_functions():
    space = Space(mesh_of(2, "crossed", 2))
    x, y = space.points.T
    u = x**2 - 3 * x * y + y**2
    # int |(2x - 3y, 2y - 3x)|^2 = int 13 x^2 + 13 y^2 - 24 xy over [0, 1] x [-1, 1]
    assert u @ space.stiffness() @ u == pytest.approx(13 * 2 / 3 + 13 * 2 / 3)
    assert (u**2) @ np.ones_like(u) > 0
    assert u @ space.mass() @ np.ones_like(u) == pytest.approx(2 / 3 + 2 / 3)


def test_blocks_and_sides_survive_the_round_off_of_single_precision():
    axes = block_axes([(0.0, 1.0)] * 2, [3, 3], [7, 7])
    mesh = structured_mesh(axes)
    rough = Mesh(mesh.points.float() + 1e-8, mesh.cells)
    a, b = Space(mesh), Space(rough)
    assert np.array_equal(a.block_of(a.centroids, [3, 3]), b.block_of(b.centroids, [3, 3]))
    assert np.array_equal(a.side("right"), b.side("right"))
    counts = np.bincount(a.block_of(a.centroids, [3, 3]))
    assert counts.tolist() == [4 * p * q for q in (3, 2, 2) for p in (3, 2, 2)]


def test_a_hash_tells_meshes_apart_and_ignores_how_they_are_stored():
    mesh = mesh_of(2, "crossed", 1)
    same = Mesh(mesh.points.clone(), mesh.cells.int(), mesh.point_weights)
    moved = Mesh(mesh.points + 1e-12, mesh.cells, mesh.point_weights)
    assert mesh_hash(mesh) == mesh_hash(same)
    assert len({mesh_hash(m) for m in (mesh, moved, Mesh(mesh.points, mesh.cells), Mesh(mesh.points))}) == 4


SQUARE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    "mesh, match",
    [
        (lambda: Mesh(SQUARE), "without cells"),
        (lambda: Mesh(SQUARE, torch.tensor([[0, 1, 2]])), "1 points that belong to no cell"),
        (lambda: Mesh(SQUARE, torch.tensor([[0, 1, 2], [0, 2, 3], [0, 2, 2]])), "1 cells without volume"),
        (lambda: Mesh(SQUARE, torch.tensor([[0, 1], [2, 3]])), "cells of 2 points in 2D"),
        (lambda: make_mesh(SQUARE.numpy(), np.array([[0, 1, 2, 3, 0, 1]])), "middles"),
    ],
)
def test_unusable_meshes(mesh, match):
    with pytest.raises(NWidthError, match=match):
        Space(mesh()).mass()


@pytest.mark.parametrize(
    "arguments, match",
    [
        (([np.linspace(0, 1, 3)], "crossed"), "cells='crossed' in 1D"),
        (([np.linspace(0, 1, 3)] * 2, "hexagons"), "crossed or boxes"),
        (([np.linspace(0, 1, 3)] * 2, "boxes", 2), "degree=2"),
    ],
)
def test_unknown_structured_meshes(arguments, match):
    with pytest.raises(NWidthError, match=match):
        structured_mesh(*arguments)


def test_unknown_side():
    with pytest.raises(NWidthError, match="one of left, right, bottom, top"):
        Space(mesh_of(2, "crossed", 1)).side("front")
