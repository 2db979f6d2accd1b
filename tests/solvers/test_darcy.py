import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch
from nwidth.backends import Grid
from nwidth.build import build
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import Darcy, GaussianField, conjugate_gradients


@dataclass(frozen=True, kw_only=True)
class Manufactured(Darcy):
    """u = prod sin(pi x_i) with a = exp(sum_i (-1)^i x_i)."""

    def source(self, inputs):
        x = inputs.grid.coordinates()
        u = torch.sin(torch.pi * x).prod(0)
        f = self.ndim * torch.pi**2 * u
        for i in range(self.ndim):
            others = torch.cat([x[:i], x[i + 1 :]])
            slope = torch.pi * torch.cos(torch.pi * x[i]) * torch.sin(torch.pi * others).prod(0)
            f = f - (-1) ** i * slope
        return (inputs.a[:1, :1] * f).to(inputs.a.dtype)


@pytest.mark.parametrize("ndim, sizes", [(1, (16, 32, 64)), (2, (16, 32, 64)), (3, (8, 16, 32))])
def test_second_order(ndim, sizes):
    problem = Manufactured(ndim=ndim)
    errors = []
    for n in sizes:
        grid = problem.grid(n)
        x = grid.coordinates()
        signs = torch.tensor([(-1.0) ** i for i in range(ndim)], dtype=torch.float64).view(-1, *(1,) * ndim)
        u = problem.solve(Dataset(grid, a=torch.exp((signs * x).sum(0))[None, None])).u[0, 0]
        errors.append(float((u - torch.sin(torch.pi * x).prod(0)).square().mean().sqrt()))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert min(orders) > 1.9, (errors, orders)


def test_one_dimension_is_exact_at_the_walls():
    problem = Darcy(ndim=1)
    grid = problem.grid(64)
    u = problem.solve(Dataset(grid, a=torch.ones(1, 1, 64, dtype=torch.float64))).u[0, 0]
    x = grid.coordinates()[0]
    assert torch.allclose(u, x * (1 - x) / 2, atol=2 / 64**2)


def dense(problem, inputs):
    n = inputs.grid.shape[0] ** problem.ndim
    eye = torch.eye(n, dtype=torch.float64).view(n, 1, *inputs.grid.shape)
    theta = [t.expand(n, *t.shape[1:]) for t in problem.theta(inputs)]
    return problem.apply(theta, eye, inputs.grid).flatten(1)


@pytest.mark.parametrize("ndim, n", [(1, 20), (2, 7), (3, 4)])
def test_operator_is_symmetric_positive_definite_and_the_solver_inverts_it(ndim, n):
    problem = Darcy(ndim=ndim)
    inputs = problem.sample([2], 0, problem.grid(n))
    matrix = dense(problem, inputs)
    assert torch.allclose(matrix, matrix.T, atol=1e-10)
    assert float(torch.linalg.eigvalsh(matrix)[0]) > 0
    direct = scipy.sparse.linalg.spsolve(scipy.sparse.csc_matrix(matrix.numpy()), np.ones(n**ndim))
    assert torch.allclose(problem.solve(inputs).u.flatten(), torch.from_numpy(direct), rtol=1e-8)


def test_adjoint():
    problem = Darcy()
    grid = Grid.make((5, 4), "cell")
    u = torch.randn(1, 1, 5, 4, dtype=torch.float64)
    faces = [torch.randn_like(d) for d in problem.differences(u, grid)]
    left = sum(float((a * b).sum()) for a, b in zip(faces, problem.differences(u, grid)))
    assert left == pytest.approx(float((problem.adjoint(faces, grid) * u).sum()), abs=1e-10)


def test_constant_coefficients_take_one_iteration_and_smooth_ones_as_many_on_every_mesh():
    problem = Darcy()
    counts = []
    for n in (16, 32, 64, 128):
        inputs = problem.sample(range(4), 0, problem.grid(n))
        theta, f = problem.theta(inputs), problem.source(inputs).expand(4, 1, n, n)

        def apply(u, theta=theta, inputs=inputs):
            return problem.apply(theta, u, inputs.grid)

        counts.append(int(conjugate_gradients(apply, f, problem.precondition(inputs), 1e-10, 500)[2].max()))
    assert max(counts) <= 20 and counts[-1] - counts[0] <= 4, counts
    grid = problem.grid(16)
    flat = Dataset(grid, a=3 * torch.ones(1, 1, 16, 16, dtype=torch.float64))
    theta = problem.theta(flat)
    count = conjugate_gradients(
        lambda u: problem.apply(theta, u, grid), problem.source(flat), problem.precondition(flat), 1e-10, 9
    )[2]
    assert int(count) == 1


def test_a_sample_does_not_depend_on_its_batch():
    problem = Darcy()
    grid = problem.grid(24)
    together = problem.simulate(range(9), 3, grid)
    alone = problem.simulate([8], 3, grid)
    assert torch.equal(together.a[8], alone.a[0])
    assert torch.allclose(together.u[8], alone.u[0], rtol=1e-12)


def test_residual_vanishes_at_the_solution_and_has_gradients():
    problem = Darcy()
    data = problem.simulate(range(2), 0, problem.grid(12))
    assert float(problem.residual(data.u, data).abs().max()) < 1e-8
    u = data.u.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: problem.residual(v, data)[:, :, :3, :3], u, atol=1e-4)


def test_solutions_converge_with_resolution():
    problem = Darcy(log_a=GaussianField(scale=6.0, tau=3.0, alpha=2.0, modes=8))
    u = {n: problem.simulate(range(3), 0, problem.grid(n)).u for n in (20, 60, 180)}
    at = {20: u[20], 60: u[60][..., 1::3, 1::3], 180: u[180][..., 4::9, 4::9]}  # the same cell centres
    first, second = (float((at[n] - at[180]).norm() / at[180].norm()) for n in (20, 60))
    assert second < 2e-3 and math.log(first / second) / math.log(3) > 1.8


@pytest.mark.parametrize("dtype, bound", [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_dtypes(dtype, bound):
    problem = Darcy()
    data = problem.simulate(range(3), 0, problem.grid(16))
    inputs = replace(data.inputs(), a=data.a.to(dtype))
    u = problem.solve(inputs, dtype=dtype).u
    assert u.dtype == dtype and float((u.double() - data.u).norm() / data.u.norm()) < bound
    assert build(data.problem) == problem


@pytest.mark.parametrize(
    "bad, match",
    [
        (lambda: Darcy(ndim=0), "ndim from 1 to 4"),
        (lambda: Darcy().solve(Dataset(Grid.make((4, 4), "nodal"), a=torch.ones(1, 1, 4, 4))), "cell centres"),
        (lambda: Darcy().solve(Dataset(Grid.make((4, 4), "cell"), a=torch.zeros(1, 1, 4, 4))), "a > 0"),
        (lambda: Darcy().solve(Dataset(Grid.make((4, 4), "cell"), u0=torch.ones(1, 1, 4, 4))), "inputs a"),
        (lambda: Darcy(iterations=2).simulate([0], 0, Darcy().grid(16)), "after 2 iterations"),
    ],
)
def test_bad_input(bad, match):
    with pytest.raises(NWidthError, match=match):
        bad()
