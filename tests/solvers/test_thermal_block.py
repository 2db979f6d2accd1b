import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from nwidth.backends import Mesh
from nwidth.data import Dataset
from nwidth.solvers import ThermalBlock, ThermalInclusion
from nwidth.solvers.finite_elements import Space


def rod(x, k):
    """-(k u')' = 1 on [0, 1], u(0) = u(1) = 0, k = k_0 for x < 1/2 and k_1 beyond: the flux is k u' = c - x."""
    c = (1 / (8 * k[0]) + 3 / (8 * k[1])) / (1 / (2 * k[0]) + 1 / (2 * k[1]))
    left = (c * x - x**2 / 2) / k[0]
    return np.where(x < 0.5, left, ((c * x - x**2 / 2) - (c - 0.5)) / k[1])


@pytest.mark.parametrize("n", [3, 10])
def test_a_rod_of_two_materials_is_exact_at_the_points(n):
    problem = ThermalBlock(blocks=[2])
    data = problem.simulate(range(4), 0, problem.grid(n))
    x = data.grid.points[:, 0].numpy()
    for mu, u in zip(data.mu.numpy(), data.u[:, 0].numpy()):
        assert np.allclose(u, rod(x, mu), atol=1e-13)


def poisson(x, y, terms=60):
    """-Lap u = 1 on the unit square, u = 0 on its boundary, as a sine series in y."""
    u = x * (1 - x) / 2
    for k in range(1, 2 * terms, 2):
        wave = np.cosh(np.pi * k * (y - 0.5)) / np.cosh(np.pi * k / 2)
        u = u - 4 / (np.pi * k) ** 3 * np.sin(np.pi * k * x) * wave
    return u


@pytest.mark.parametrize(
    "cells, degree, order", [("crossed", 1, 2), ("simplices", 1, 2), ("boxes", 1, 2), ("crossed", 2, 3)]
)
def test_order_of_convergence(cells, degree, order):
    problem = ThermalBlock(cells=cells, degree=degree)
    errors = []
    for n in (8, 16, 32):
        mesh = problem.grid(n)
        u = problem.solve(Dataset(mesh, mu=0.5 * torch.ones(1, 4, dtype=torch.float64))).u[0, 0].numpy()
        error = u - 2 * poisson(*mesh.points.numpy().T)
        errors.append(math.sqrt(error @ Space(mesh).mass() @ error))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert min(orders) > order - 0.1, (errors, orders)


def test_three_dimensions_converge_to_the_maximum_of_the_cube():
    problem = ThermalBlock(blocks=[1, 1, 1])
    mesh = problem.grid(12)
    u = problem.solve(Dataset(mesh, mu=torch.ones(1, 1, dtype=torch.float64))).u
    odd = np.arange(1, 200, 2)
    k = (odd[:, None] ** 2 + odd[None] ** 2) ** 0.5
    sign = (-1.0) ** ((odd[:, None] + odd[None] - 2) // 2) / (odd[:, None] * odd[None])
    exact = 16 / np.pi**4 * (sign / k**2 * (1 - 1 / np.cosh(np.pi * k / 2))).sum()
    assert float(u.max()) == pytest.approx(exact, rel=0.03)


def test_blocks_are_numbered_along_x_from_the_bottom_left():
    problem = ThermalBlock(blocks=[3, 2])
    mesh = problem.grid(12)
    space = Space(mesh)
    centres = torch.tensor([[(i + 0.5) / 3, (j + 0.5) / 2] for j in range(2) for i in range(3)])
    even = problem.solve(Dataset(mesh, mu=torch.full((1, 6), 0.5, dtype=torch.float64))).u
    for b, centre in enumerate(centres):
        mu = torch.full((1, 6), 0.5, dtype=torch.float64)
        mu[0, b] = 0.1  # an insulator is hot within
        more = (problem.solve(Dataset(mesh, mu=mu)).u - even)[0, 0]
        assert float((mesh.points[more.argmax()] - centre).abs().max()) < 1 / 6
    assert len(problem.parameters) == 6 and space.block_of(centres.numpy(), [3, 2]).tolist() == list(range(6))


def test_the_solution_is_homogeneous_of_degree_minus_one():
    problem = ThermalBlock()
    data = problem.simulate(range(2), 0, problem.grid(8))
    other = problem.solve(Dataset(data.grid, mu=3 * data.mu)).u
    assert torch.allclose(3 * other, data.u, rtol=1e-11)


def test_twenty_thousand_unknowns():
    assert ThermalBlock().grid(100).shape == (20201,)


def test_the_disc_has_its_area_and_heat_is_conserved():
    problem = ThermalInclusion()
    for n in (8, 16, 32):
        mesh = problem.grid(n)
        corners = mesh.points[mesh.cells]
        area = torch.linalg.det(corners[:, 1:] - corners[:, :1]).abs() / 2
        inside = corners.mean(1).norm(dim=1) < 0.5
        assert float(area.sum()) == pytest.approx(4.0)
        assert abs(float(area[inside].sum()) / (math.pi / 4) - 1) < 1 / n
        edges = corners - corners[:, [1, 2, 0]]
        assert float((area / edges.norm(dim=2).amax(1) ** 2).min()) > 0.05  # no slivers
    data = problem.simulate(range(3), 0, mesh)
    system = problem.system(mesh)
    terms = problem.terms(system.space)
    for mu, u in zip(data.mu, data.u[:, 0].numpy()):
        flux = (float(mu[0]) * terms.operators[0] + terms.operators[1]) @ u
        assert flux[system.fixed].sum() == pytest.approx(-2 * float(mu[1]))  # what enters below leaves above


def test_a_disc_like_the_rest_leaves_a_linear_temperature():
    problem = ThermalInclusion(degree=2)
    mesh = problem.grid(8)
    u = problem.solve(Dataset(mesh, mu=torch.tensor([[1.0, 0.7]], dtype=torch.float64))).u[0, 0]
    assert torch.allclose(u, 0.7 * (1 - mesh.points[:, 1]), atol=1e-12)


@pytest.mark.parametrize("method", ["direct", "condensed"])
def test_solutions_made_by_others(realdata, method):
    folder = realdata / "thermal_block"
    if not folder.is_dir():
        pytest.skip("no thermal_block")
    points, cells, mu, u = (np.load(folder / f"{k}.npy") for k in ("coords", "triangles", "params", "snapshots"))
    mesh = Mesh(torch.from_numpy(points.T.copy()), torch.from_numpy(cells.astype(np.int64)))
    found = ThermalInclusion().system(mesh).solve(torch.from_numpy(mu), method=method)[:, 0].numpy()
    errors = np.linalg.norm(found - u, axis=1) / np.linalg.norm(u, axis=1)
    assert errors.max() < 1e-12
