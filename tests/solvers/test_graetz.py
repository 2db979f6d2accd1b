from dataclasses import replace

import numpy as np
import pytest
import skfem
import torch
from nwidth.backends import Mesh
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import Graetz
from skfem.helpers import dot, grad


def in_the_channel(mesh, mu, corners=(1.0, 0.0)):
    """The same equation assembled in the physical channel, by scikit-fem alone, with the exact velocity."""
    points = mesh.points.T.numpy().copy()
    beyond = points[0] > 1
    points[0, beyond] = 1 + (points[0, beyond] - 1) * mu[0] / (points[0].max() - 1)
    basis = skfem.Basis(
        skfem.MeshTri(points, np.ascontiguousarray(mesh.cells.T.numpy())), skfem.ElementTriP1(), intorder=4
    )

    @skfem.BilinearForm
    def form(u, v, w):
        return mu[1] * dot(grad(u), grad(v)) + w.x[1] * (1 - w.x[1]) * grad(u)[0] * v

    x, y = points
    wall, hot, u = (y == 0) | (y == 1), x > 1, np.zeros(len(x))
    u[wall & hot] = 1.0
    u[(x == 1) & (y == 0)], u[(x == 1) & (y == 1)] = corners
    fixed = np.flatnonzero(wall | (x == 0))
    return skfem.solve(*skfem.condense(form.assemble(basis), np.zeros(len(x)), x=u, D=fixed))


@pytest.mark.parametrize("reference_length, corners", [(1.0, [1.0, 0.0]), (2.5, [0.25, 0.75])])
def test_the_mapping_of_the_reference_channel(reference_length, corners):
    problem = Graetz(velocity="exact", reference_length=reference_length, corners=corners)
    data = problem.simulate(range(3), 1, problem.grid(8))
    for mu, u in zip(data.mu, data.u[:, 0].numpy()):
        assert np.allclose(u, in_the_channel(data.grid, mu.numpy(), corners), atol=1e-11)
        length = float(problem.deform(data.grid, mu).points[:, 0].max())
        assert length == pytest.approx(1 + float(mu[0]))


def test_interpolating_the_velocity_changes_the_solution_at_second_order():
    gaps = []
    for n in (8, 16, 32):
        a, b = (Graetz(velocity=v) for v in ("exact", "interpolated"))
        data = a.simulate([0], 0, a.grid(n))
        other = b.solve(data.inputs()).u
        gaps.append(float((other - data.u).norm() / data.u.norm()))
    assert gaps[0] / gaps[1] > 3 and gaps[1] / gaps[2] > 3, gaps


def test_equal_corners_make_symmetric_solutions_within_the_walls_values():
    problem = Graetz(corners=[1.0, 1.0], diffusion=[0.5, 10.0], length=[1.0, 1.0])
    data = problem.simulate(range(3), 0, problem.grid(8))
    points = data.grid.points.numpy()
    mirror = [int(np.argmin(np.abs(points - [x, 1 - y]).sum(1))) for x, y in points]
    assert torch.allclose(data.u, data.u[..., mirror], atol=1e-10)
    assert float(data.u.min()) > -1e-12 and float(data.u.max()) < 1 + 1e-12


def test_a_long_channel_is_heated_through():
    problem = Graetz()
    data = problem.solve(Dataset(problem.grid(16), mu=torch.tensor([[10.0, 0.5]], dtype=torch.float64)))
    outlet = data.u[0, 0][data.grid.points[:, 0] > 2 - 1e-9]
    assert float((outlet - 1).abs().max()) < 1e-4
    assert float(problem.system(data.grid).outputs(data.u)["outlet"]) == pytest.approx(1.0, abs=1e-4)


def test_solutions_made_by_others(realdata):
    file = realdata / "graetz" / "graetz_50.npz"
    if not file.is_file():
        pytest.skip("no graetz")
    stored = np.load(file)
    mesh = Mesh(
        torch.from_numpy(stored["coords_reference"].T.copy()), torch.from_numpy(stored["triangles"].astype(np.int64))
    )
    u = torch.from_numpy(stored["snapshots"])[:12, None]
    data = Dataset(mesh, mu=torch.from_numpy(stored["params"][:12]))
    for velocity, bound in (("interpolated", 1e-12), ("exact", 2e-5)):
        found = Graetz(velocity=velocity).solve(data).u
        errors = (found - u).flatten(1).norm(dim=1) / u.flatten(1).norm(dim=1)
        assert float(errors.max()) < bound


def moved(problem, shift):
    mesh = problem.grid(6)
    return replace(mesh, points=mesh.points + shift)


@pytest.mark.parametrize(
    "bad, match",
    [
        (lambda: Graetz(velocity="none"), "velocity interpolated or exact"),
        (lambda: Graetz(length=[0.0, 1.0]), "0 < least"),
        (lambda: Graetz().system(moved(Graetz(), torch.tensor([0.05, 0.0]))), "reference mesh"),
        (lambda: Graetz().system(Mesh(torch.rand(3, 2), torch.tensor([[0, 1, 2]]))), "edges along x = 1"),
    ],
)
def test_bad_input(bad, match):
    with pytest.raises(NWidthError, match=match):
        bad()
