import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from nwidth.backends import Mesh
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import ElasticityBlock
from nwidth.solvers.finite_elements import Space
from nwidth.solvers.meshes import structured_mesh


def irregular(problem, n, seed=0):
    """The problem's mesh with interior points moved (those between blocks stay), in random order, turned cells."""
    rng = np.random.default_rng(seed)
    mesh = problem.grid(n)
    p = mesh.points.numpy().copy()
    lines = 3 * p
    free = (np.abs(lines - lines.round()) > 1e-9).all(1)
    p[free] += rng.uniform(-0.15, 0.15, (int(free.sum()), 2)) / n
    order = rng.permutation(len(p))
    cells = np.argsort(order)[mesh.cells.numpy()][rng.permutation(len(mesh.cells))]
    cells[::2] = cells[::2][:, [0, 2, 1]]
    return Mesh(torch.from_numpy(p[order]), torch.from_numpy(cells))


def brute_force(mesh, mu, nu=0.3):
    """Linear triangles by B^T D B, cell by cell, in plane strain; RBniCS's layout, written out."""
    p, cells = mesh.points.numpy(), mesh.cells.numpy()
    n = len(p)
    d = np.array([[1 - nu, nu, 0], [nu, 1 - nu, 0], [0, 0, (1 - 2 * nu) / 2]]) / ((1 + nu) * (1 - 2 * nu))
    matrix, force = np.zeros((2 * n, 2 * n)), np.zeros(2 * n)
    young = [*mu[:8], 1.0]
    for c in cells:
        x = p[c]
        i, j = np.minimum((3 * x.mean(0)).astype(int), 2)
        gradients = np.linalg.inv(np.column_stack([np.ones(3), x]))[1:]
        area = abs(np.linalg.det(np.column_stack([np.ones(3), x]))) / 2
        b = np.zeros((3, 6))
        b[0, :3], b[1, 3:], b[2, :3], b[2, 3:] = gradients[0], gradients[1], gradients[1], gradients[0]
        at = np.concatenate([c, c + n])
        matrix[np.ix_(at, at)] += young[i + 3 * j] * area * b.T @ d @ b
        for a, e in ((0, 1), (1, 2), (2, 0)):
            if abs(x[a, 0] - 1) < 1e-9 and abs(x[e, 0] - 1) < 1e-9:
                length, middle = abs(x[a, 1] - x[e, 1]), (x[a, 1] + x[e, 1]) / 2
                force[c[[a, e]]] += mu[8 + min(int(3 * middle), 2)] * length / 2
    clamped = np.flatnonzero(p[:, 0] < 1e-9)
    free = np.setdiff1d(np.arange(2 * n), np.concatenate([clamped, clamped + n]))
    u = np.zeros(2 * n)
    u[free] = np.linalg.solve(matrix[np.ix_(free, free)], force[free])
    return u.reshape(2, n)


@pytest.mark.parametrize("method", ["direct", "condensed"])
def test_against_cell_by_cell_assembly_in_the_layout_of_rbnics(method):
    problem = ElasticityBlock()
    mesh = irregular(problem, 12)
    mu = problem.sample(range(4), 0, mesh).mu
    u = problem.system(mesh).solve(mu, method=method).numpy()
    for m, found in zip(mu.numpy(), u):
        exact = brute_force(mesh, m)
        assert np.linalg.norm(found - exact) < 1e-11 * np.linalg.norm(exact)


def test_points_in_single_precision_or_with_round_off():
    problem = ElasticityBlock()
    mesh = irregular(problem, 9)
    mu = problem.sample(range(2), 0, mesh).mu
    exact = problem.solve(Dataset(mesh, mu=mu)).u
    noise = 1e-9 * torch.randn(mesh.points.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for points, bound in ((mesh.points + noise, 1e-6), (mesh.points.float(), 1e-4)):
        u = problem.solve(Dataset(Mesh(points, mesh.cells), mu=mu)).u
        assert float((u - exact).norm() / exact.norm()) < bound


@pytest.mark.parametrize("degree, ndim", [(1, 2), (2, 2), (1, 3)])
def test_layers_pulled_straight_without_lateral_strain(degree, ndim):
    """nu = 0: u_x' = t / E in each layer, u_y = u_z = 0; linear elements hold it exactly."""
    problem = ElasticityBlock(
        blocks=[2, *(1,) * (ndim - 1)],
        unit_block=0,
        poisson=0.0,
        segments=[1] * (ndim - 1),
        degree=degree,
        traction=[-1, 1],
    )
    mesh = problem.grid(4)
    u = problem.solve(Dataset(mesh, mu=torch.tensor([[5.0, 0.8]], dtype=torch.float64))).u[0]
    x = mesh.points[:, 0]
    assert torch.allclose(u[0], 0.8 * (x.clamp(max=0.5) + (x - 0.5).clamp(min=0) / 5), atol=1e-12)
    assert float(u[1:].abs().max()) < 1e-12


@pytest.mark.parametrize(
    "law, modulus, ratio", [("plane_stress", 1.0, 0.3), ("plane_strain", 1 / (1 - 0.09), 0.3 / 0.7)]
)
def test_the_moduli_of_a_free_strip(law, modulus, ratio):
    """Pulled at both ends: e_xx = t / E', e_yy = -nu' e_xx; plane strain: E' = E / (1 - nu^2), nu' = nu / (1 - nu)."""
    problem = ElasticityBlock(law=law, blocks=[1, 1], unit_block=None, segments=[1], cells="simplices")
    space = problem.space(problem.grid(3))
    matrix = problem.terms(space).operators[0]
    x, y = space.points.T
    u = np.concatenate([x / modulus, -ratio * y / modulus])
    pull = space.flux(space.side("right")) - space.flux(space.side("left"))
    assert np.abs(matrix @ u - pull).max() < 1e-13


@pytest.mark.parametrize("degree, orders", [(1, (2, 1)), (2, (3, 2))])
def test_order_of_convergence(degree, orders):
    """u = (sin(pi x) sin(pi y), x (1 - x) y (1 - y)) with its body force, fixed all round; errors in L2 and H1,
    measured with quadratic elements on a mesh twice as fine."""
    problem = ElasticityBlock(blocks=[1, 1], unit_block=None, segments=[1], degree=degree, cells="simplices")
    nu = problem.poisson
    shear, lame = 1 / (2 * (1 + nu)), nu / ((1 + nu) * (1 - 2 * nu))
    pi = math.pi

    def force(x):
        s, p = np.sin(pi * x[0]) * np.sin(pi * x[1]), (1 - 2 * x[0]) * (1 - 2 * x[1])
        c = pi**2 * np.cos(pi * x[0]) * np.cos(pi * x[1])
        f0 = 2 * shear * pi**2 * s + (shear + lame) * (pi**2 * s - p)
        lap = -2 * (x[0] * (1 - x[0]) + x[1] * (1 - x[1]))
        f1 = -shear * lap - (shear + lame) * (c - 2 * x[0] * (1 - x[0]))
        return f0, f1

    errors = []
    for n in (4, 8, 16):
        space = problem.space(problem.grid(n))
        matrix = problem.terms(space).operators[0]
        inner = np.ones((2, len(space.points)), dtype=bool)
        inner[:, space.facet_points(space.boundary)] = False
        free = np.flatnonzero(inner)
        load = space.load(lambda x: force(x)[0], 0) + space.load(lambda x: force(x)[1], 1)
        u = np.zeros(space.size)
        u[free] = scipy.sparse.linalg.spsolve(matrix[free][:, free].tocsc(), load[free])
        fine = Space(structured_mesh([np.linspace(0, 1, 2 * n + 1)] * 2, "simplices", 2), 2)
        x, y = fine.points.T
        exact = np.stack([np.sin(pi * x) * np.sin(pi * y), x * (1 - x) * y * (1 - y)])
        error = exact.ravel() - prolong(space, u, fine)
        errors.append([math.sqrt(error @ m @ error) for m in (fine.mass(), fine.stiffness())])
    for k, order in enumerate(orders):
        rates = [math.log2(a[k] / b[k]) for a, b in pairwise(errors)]
        assert min(rates) > order - 0.25, (k, rates, errors)


def prolong(space, u, fine):
    """Values of a finite element function at the points of another mesh."""
    return space._basis().probes(fine.points.T) @ u[np.argsort(space._order)]


def test_operators_are_symmetric_semidefinite_with_rigid_motions_in_their_kernels():
    problem = ElasticityBlock()
    space = problem.space(problem.grid(3))
    x, y = space.points.T
    zero, one = np.zeros_like(x), np.ones_like(x)
    terms = problem.terms(space)
    for m in terms.operators:
        assert abs(m - m.T).max() < 1e-14 and np.linalg.eigvalsh(m.toarray())[0] > -1e-13
        for motion in ((one, zero), (zero, one), (-y, x)):
            assert np.abs(m @ np.concatenate(motion)).max() < 1e-13
    whole = sum(terms.operators).toarray()
    assert int((np.linalg.eigvalsh(whole) < 1e-10).sum()) == 3
    system = problem.system(space.mesh)
    assert np.linalg.eigvalsh(system.products["energy"].toarray())[0] > 1e-3


def test_forces_balance_and_segments_are_equal():
    problem = ElasticityBlock()
    space = problem.space(problem.grid(6))
    loads = problem.terms(space).loads
    assert np.allclose(loads.sum(1), 1 / 3) and np.abs(loads[:, len(space.points) :]).max() == 0
    x, y = space.points.T
    assert np.allclose(loads[:, : len(x)] @ y, [(2 * k + 1) / 18 for k in range(3)])


def test_layouts():
    problem = ElasticityBlock(
        blocks=[2, 2], unit_block=1, clamped=["bottom"], loaded=["left", "top"], segments=[2], direction=[0.0, -2.0]
    )
    assert [p.name for p in problem.parameters] == ["E_0", "E_2", "E_3", *(f"traction_{i}" for i in range(4))]
    space = problem.space(problem.grid(4))
    terms = problem.terms(space)
    x, y = space.points.T
    points = len(x)
    assert np.allclose(terms.loads[:, points:].sum(1), -1) and np.abs(terms.loads[:, :points]).max() == 0
    assert np.allclose(terms.loads[:, points:] @ x, [0, 0, -0.25, -0.75])
    assert np.allclose(terms.loads[:, points:] @ y, [-0.25, -0.75, -1, -1])
    assert np.array_equal(terms.fixed[:points], y == 0) and np.array_equal(terms.fixed[points:], y == 0)
    normal = ElasticityBlock(clamped=["right"], loaded=["left"])
    assert np.allclose(normal.terms(normal.space(normal.grid(3))).loads.sum(1), -1 / 3)
    cube = ElasticityBlock(blocks=[1, 1, 1], unit_block=None, segments=[2, 1])
    assert np.allclose(cube.terms(cube.space(cube.grid(2))).loads.sum(1), 0.5)


@pytest.mark.parametrize(
    "bad, match",
    [
        (lambda: ElasticityBlock(blocks=[3]), "two or three blocks"),
        (lambda: ElasticityBlock(unit_block=9), "unit_block below 9"),
        (lambda: ElasticityBlock(poisson=0.5), "poisson < 1/2"),
        (lambda: ElasticityBlock(law="3d"), "plane_strain or plane_stress"),
        (lambda: ElasticityBlock(clamped=["west"]), "one of left, right, bottom, top"),
        (lambda: ElasticityBlock(clamped=["left"], loaded=["left"]), "not both"),
        (lambda: ElasticityBlock(segments=[1, 1]), "1 counts in segments"),
        (
            lambda: ElasticityBlock().system(ElasticityBlock(blocks=[1, 1, 1], unit_block=0, segments=[1, 1]).grid(2)),
            "2D",
        ),
        (lambda: ElasticityBlock(segments=[7]).system(ElasticityBlock().grid(3)), "no facets on segment"),
    ],
)
def test_bad_input(bad, match):
    with pytest.raises(NWidthError, match=match):
        bad()
