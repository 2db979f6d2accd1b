import math
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import pairwise

import numpy as np
import pytest
import torch
from nwidth.backends import Axis, Grid
from nwidth.build import build
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import Darcy, GaussianField, LogNormal, TrigonometricProduct, TwoPhase, conjugate_gradients
from nwidth.solvers.reduced.galerkin import ReducedBasis
from nwidth.solvers.stencils import samples_first, samples_last
from omegaconf import OmegaConf

PI = torch.pi
SMOOTH = GaussianField(scale=6.0, tau=3.0, alpha=2.0, modes=8)
MIXED = {
    1: [["dirichlet", "neumann"], ["neumann", "dirichlet"]],
    2: ["dirichlet", ["dirichlet", "neumann", "neumann", "neumann"], ["periodic", "periodic", "neumann", "dirichlet"]],
    3: [["dirichlet", "neumann", "periodic", "periodic", "neumann", "dirichlet"]],
}


def exact(x):
    """u and a, smooth and periodic, without symmetries about the sides."""
    phase = [2 * PI * (xi + 0.1 * (i + 1)) for i, xi in enumerate(x)]
    u = 0.5 + math.prod(torch.sin(p) for p in phase) + 0.5 * torch.cos(phase[0])
    log_a = sum(torch.cos(p + i) for i, p in enumerate(phase)) / (2 + len(phase))
    return u, log_a.exp()


def derivatives(function, x):
    """u, a, a grad u and div(a grad u) by automatic differentiation."""
    x = x.clone().requires_grad_()
    u, a = function(x)
    (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    flux = a * du
    div = sum(torch.autograd.grad(flux[i].sum(), x, retain_graph=True)[0][i] for i in range(len(x)))
    return u.detach(), a.detach(), flux.detach(), div.detach()


@dataclass(frozen=True, kw_only=True)
class Manufactured(Darcy):
    """The exact solution's own f and boundary data; the channel g is not read."""

    def forces(self, inputs):
        return -derivatives(exact, inputs.grid.coordinates())[3][None, None].to(inputs.a)

    def _wall(self, inputs, i, end):
        axes = list(inputs.grid.axes)
        axes[i] = Axis("listed", 1, points=((self.lo, self.hi)[end],))
        u, _, flux, _ = derivatives(exact, Grid(tuple(axes)).coordinates())
        given = u if self.side_pairs[i][end] == "dirichlet" else flux[i] * (2 * end - 1)
        return given[None, None].to(inputs.a)


@pytest.mark.parametrize("points", ["cell", "nodal"])
@pytest.mark.parametrize("faces", ["harmonic", "arithmetic"])
@pytest.mark.parametrize("ndim, sides", [(d, s) for d, all_sides in MIXED.items() for s in all_sides])
def test_second_order_for_any_conditions(ndim, sides, points, faces):
    problem = Manufactured(ndim=ndim, sides=sides, points=points, faces=faces, boundary=GaussianField(alpha=3.0))
    errors = []
    for n in {1: (32, 64, 128), 2: (16, 32), 3: (9, 18)}[ndim]:
        grid = problem.grid(n + (points == "nodal"))
        u, a, _, _ = derivatives(exact, grid.coordinates())
        inputs = Dataset(grid, a=torch.stack([a, torch.zeros_like(a)])[None])
        errors.append(float((problem.solve(inputs).u[0, 0] - u).square().mean().sqrt()))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert errors[-1] < 0.1 and min(orders) > 1.75, (errors, orders)


@pytest.mark.parametrize("points", ["cell", "nodal"])
def test_one_dimension_with_jumps_is_exact(points):
    """-(a u')' = 0 from u = 1 to u = 3 through layers whose ends are faces: u' = flux / a."""
    n = 16
    problem = Darcy(ndim=1, forcing=0.0, boundary=[1.0, 3.0], points=points)
    grid = problem.grid(n + (points == "nodal"))
    a = torch.tensor([1.0, 100.0, 0.01, 7.0]).double().repeat_interleave(4)
    if points == "nodal":
        a = torch.cat([a, a[-1:]])
    u = problem.solve(Dataset(grid, a=a[None, None])).u[0, 0]
    if points == "cell":
        resistance = torch.cumsum(1 / a, 0) - 0.5 / a
        total = (1 / a).sum()
    else:  # the value of a node fills half an interval on either side
        resistance = torch.cat([torch.zeros(1).double(), torch.cumsum((1 / a[:-1] + 1 / a[1:]) / 2, 0)])
        total = resistance[-1]
    assert torch.allclose(u, 1 + 2 * resistance / total, rtol=1e-9, atol=1e-10)


def test_first_order_where_the_coefficient_jumps_between_points():
    """A disc of another conductivity in a uniform field: u is known in the whole plane."""
    inside, radius, inner = 10.0, 0.31, 2 / 11
    errors = []
    for n in (32, 64, 128):
        grid = Grid.make((n, n), "cell", -1.0, 1.0)
        problem = Disc(lo=-1.0, boundary=GaussianField(alpha=3.0))
        x, y = grid.coordinates()
        r = (x**2 + y**2).sqrt()
        a = torch.where(r < radius, inside, 1.0).double()
        u = problem.solve(Dataset(grid, a=torch.stack([a, a])[None])).u[0, 0]
        true = torch.where(r < radius, inner * x, x - (1 - inner) * radius**2 * x / r**2)
        errors.append(float((u - true).square().mean().sqrt()))
    assert errors[-1] < 3e-3 and math.log2(errors[0] / errors[-1]) / 2 > 0.8, errors


@dataclass(frozen=True, kw_only=True)
class Disc(Darcy):
    forcing: float = 0.0

    def _wall(self, inputs, i, end):
        axes = list(inputs.grid.axes)
        axes[i] = Axis("listed", 1, points=((self.lo, self.hi)[end],))
        x, y = Grid(tuple(axes)).coordinates()
        return (x - (9 / 11) * 0.31**2 * x / (x**2 + y**2))[None, None]


def dense(problem, inputs):
    """A on all points, by its own columns."""
    n = math.prod(inputs.grid.shape)
    eye = torch.eye(n, dtype=torch.float64).view(n, 1, *inputs.grid.shape)
    theta = [t.expand(n, *t.shape[1:]) for t in problem.theta(inputs)]
    return problem.apply(theta, eye, inputs.grid).flatten(1)


CASES = [
    (1, 20, "cell", "dirichlet"),
    (2, 7, "cell", "dirichlet"),
    (2, (6, 8), "nodal", ["dirichlet", "neumann", "neumann", "dirichlet"]),
    (2, (6, 7), "cell", ["periodic", "periodic", "neumann", "dirichlet"]),
    (2, (5, 6), "nodal", ["periodic", "periodic", "dirichlet", "dirichlet"]),
    (3, 4, "cell", ["neumann", "dirichlet", "neumann", "neumann", "periodic", "periodic"]),
]


@pytest.mark.parametrize("ndim, n, points, sides", CASES)
def test_the_matrix_is_symmetric_and_every_solver_inverts_it(ndim, n, points, sides):
    problem = Darcy(ndim=ndim, points=points, sides=sides, a=LogNormal(field=SMOOTH))
    inputs = problem.sample([2], 0, problem.grid(n))
    matrix = dense(problem, inputs)
    assert torch.allclose(matrix, matrix.T, atol=1e-10)
    free = problem._free(inputs.grid, inputs.a)
    keep = torch.ones(len(matrix), dtype=torch.bool) if free is None else free.flatten() > 0
    inner = matrix[keep][:, keep]
    assert float(torch.linalg.eigvalsh(inner)[0]) > 0
    assert np.allclose(problem.stencil(inputs).matrix(0).toarray(), inner.numpy(), atol=1e-9)
    right = problem.source(inputs).expand(1, 1, *inputs.grid.shape).flatten()[keep]
    expected = torch.linalg.solve(inner, right)
    for solver in ("auto", "multigrid", "cg", "direct"):
        u = replace(problem, solver=solver).solve(inputs).u.flatten()
        assert torch.allclose(u[keep], expected, rtol=1e-8, atol=1e-12) and bool((u[~keep] == 0).all())


@pytest.mark.parametrize("ndim, n, points, sides", CASES)
def test_adjoint(ndim, n, points, sides):
    problem = Darcy(ndim=ndim, points=points, sides=sides)
    grid = problem.grid(n)
    u = torch.randn(1, 1, *grid.shape, dtype=torch.float64)
    faces = [torch.randn_like(d) for d in problem.differences(u, grid)]
    left = sum(float((a * b).sum()) for a, b in zip(faces, problem.differences(u, grid)))
    assert left == pytest.approx(float((problem.adjoint(faces, grid) * u).sum()), abs=1e-9)


@pytest.mark.parametrize("points", ["cell", "nodal"])
def test_maximum_principle_and_flow_through(points):
    """Without sources u lies between the boundary values, and what flows in flows out."""
    problem = Darcy(
        points=points,
        sides=["dirichlet", "dirichlet", "neumann", "neumann"],
        boundary=[2.0, -1.0, 0.0, 0.0],
        forcing=0.0,
        a=TwoPhase(high=1e3, low=1.0),
    )
    data = problem.simulate(range(4), 0, problem.grid(33))
    assert float(data.u.max()) <= 2 + 1e-9 and float(data.u.min()) >= -1 - 1e-9
    ends = [torch.full((1, 1, 1, 33), v, dtype=torch.float64) for v in (2.0, -1.0)]
    through = (problem.theta(data)[0] * problem._quotients(data.u, data.grid, [ends, [None, None]])[0]).sum(-1)
    assert torch.allclose(through, through[..., :1].expand_as(through), rtol=1e-6)


@pytest.mark.parametrize("points", ["cell", "nodal"])
@pytest.mark.parametrize("sides", ["neumann", "periodic", ["neumann", "neumann", "periodic", "periodic"]])
def test_no_dirichlet_side(points, sides):
    problem = Darcy(points=points, sides=sides, forcing=GaussianField(alpha=3.0, modes=6), a=LogNormal(field=SMOOTH))
    data = problem.simulate(range(3), 0, problem.grid(17))
    volume = problem._volume(data.grid, data.u)
    assert float((data.u * volume).sum((1, 2, 3)).abs().max()) < 1e-10
    assert float(problem.residual(data.u, data).abs().max()) < 1e-8 * float(problem.source(data).abs().max())
    direct = replace(problem, solver="direct").solve(data.inputs()).u
    assert torch.allclose(direct, data.u, atol=1e-9 * float(data.u.abs().max()))
    with pytest.raises(NWidthError, match="add up to"):
        replace(problem, forcing=1.0).simulate([0], 0, data.grid)


def test_random_boundary_data_and_forcing_are_channels_that_do_not_depend_on_the_grid():
    field = GaussianField(scale=20.0, tau=5.0, alpha=3.0, modes=6)
    problem = Darcy(forcing=field, boundary=field, points="nodal", a=LogNormal(field=SMOOTH))
    coarse, fine = (problem.simulate([1], 4, problem.grid(n)) for n in (33, 129))
    assert coarse.names["a"] == ("a", "f", "g") and coarse.a.shape[1] == 3
    assert torch.allclose(coarse.a, fine.a[..., ::4, ::4], atol=1e-12)
    edge = torch.ones(33, 33, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    assert torch.equal(coarse.u[0, 0][edge], coarse.a[0, 2][edge])
    assert float((coarse.u - fine.u[..., ::4, ::4]).norm() / coarse.u.norm()) < 5e-3


def test_refine_keeps_the_points_of_a_finer_solution():
    for points, n, r, at in (("nodal", 9, 4, slice(0, None, 4)), ("cell", 8, 3, slice(1, None, 3))):
        problem = Darcy(points=points, a=TwoPhase(), refine=r)
        data = problem.simulate(range(2), 0, problem.grid(n))
        plain = replace(problem, refine=1)
        fine = plain.simulate(range(2), 0, plain.grid((n - 1) * r + 1 if points == "nodal" else n * r))
        assert torch.allclose(data.u, fine.u[..., at, at], rtol=1e-9) and torch.equal(data.a, fine.a[..., at, at])


def test_iterations_of_the_fast_transform_do_not_depend_on_the_mesh():
    problem = Darcy()
    counts = []
    for n in (16, 32, 64):
        inputs = problem.sample(range(4), 0, problem.grid(n))
        stencil, f = problem.stencil(inputs), problem.source(inputs).expand(4, 1, n, n)

        def apply(u, stencil=stencil):
            return samples_first(stencil.apply(samples_last(u)))

        counts.append(int(conjugate_gradients(apply, f, problem.precondition(inputs), 1e-10, 500)[2].max()))
    assert max(counts) <= 20 and counts[-1] - counts[0] <= 4, counts
    flat = Dataset(problem.grid(16), a=3 * torch.ones(1, 1, 16, 16, dtype=torch.float64))
    assert float(Darcy(solver="cg", iterations=1).solve(flat).u.max()) > 0  # exact for constant coefficients


def test_a_sample_does_not_depend_on_its_batch():
    problem = Darcy()
    grid = problem.grid(24)
    together = problem.simulate(range(9), 3, grid)
    alone = problem.simulate([8], 3, grid)
    assert torch.equal(together.a[8], alone.a[0])
    assert torch.allclose(together.u[8], alone.u[0], rtol=1e-12)


@pytest.mark.parametrize("points", ["cell", "nodal"])
def test_residual_vanishes_at_the_solution_and_has_gradients(points):
    problem = Darcy(
        points=points, boundary=[0.0, 1.0, 2.0, 0.0], sides=["dirichlet", "dirichlet", "neumann", "dirichlet"]
    )
    data = problem.simulate(range(1), 0, problem.grid(10))
    assert float(problem.residual(data.u, data).abs().max()) < 1e-7
    u = data.u.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: problem.residual(v, data)[:, :, :3, :3], u, atol=1e-4)


def test_solutions_converge_with_resolution():
    problem = Darcy(a=LogNormal(field=SMOOTH))
    u = {n: problem.simulate(range(3), 0, problem.grid(n)).u for n in (20, 60, 180)}
    at = {20: u[20], 60: u[60][..., 1::3, 1::3], 180: u[180][..., 4::9, 4::9]}  # the same cell centres
    first, second = (float((at[n] - at[180]).norm() / at[180].norm()) for n in (20, 60))
    assert second < 2e-3 and math.log(first / second) / math.log(3) > 1.8


@pytest.mark.parametrize("dtype, bound", [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("solver", ["auto", "cg", "direct"])
def test_dtypes(dtype, bound, solver):
    problem = Darcy(solver=solver)
    data = problem.simulate(range(3), 0, problem.grid(16))
    inputs = replace(data.inputs(), a=data.a.to(dtype))
    u = problem.solve(inputs, dtype=dtype).u
    assert u.dtype == dtype and float((u.double() - data.u).norm() / data.u.norm()) < bound
    assert build(data.problem) == problem


@pytest.mark.parametrize(
    "problem, resolution",
    [
        (Darcy(points="nodal"), 10),
        (Darcy(points="nodal", sides=["neumann", "dirichlet", "periodic", "periodic"]), 9),
        (Darcy(boundary=[1.0, 0.0, 0.0, 2.0]), 8),
    ],
)
def test_reduced_bases_at_full_rank_are_the_full_order_model(problem, resolution):
    data = problem.simulate(range(100), 0, problem.grid(resolution))
    surrogate = ReducedBasis(rtol=1e-13)
    surrogate.fit(data[:95], None)
    assert torch.allclose(surrogate.predict(data[95:].inputs()).mean, data[95:].u, atol=1e-6 * float(data.u.max()))


@pytest.mark.parametrize(
    "name, a",
    [
        ("darcy", LogNormal),
        ("darcy_two_phase", TwoPhase),
        ("darcy_rough", TwoPhase),
        ("darcy_multiscale", TrigonometricProduct),
    ],
)
def test_packaged_configs(name, a):
    config = OmegaConf.create((files("nwidth.conf") / "problem" / f"{name}.yaml").read_text())
    problem = build(config)
    assert isinstance(problem.a, a) and OmegaConf.to_container(config) == problem.config()
    assert bool((problem.simulate([0], 0, problem.grid(17)).u[0, 0, 1:-1, 1:-1] > 0).all())


def test_neuraloperator_data(realdata):
    """Shipped solutions on 16 of the 17 nodes of an axis: their values of a are fitted, a ratio and a scale."""
    data = torch.load(realdata / "neuralop" / "darcy_train_16.pt", weights_only=True)
    phase, u = (data[k][:100, None].double() for k in ("x", "y"))
    phase = torch.cat([phase, phase[..., -1:, :]], -2)  # the nodes at 1 are not stored
    phase = torch.cat([phase, phase[..., -1:]], -1)
    problem = Darcy(points="nodal")
    a = torch.where(phase > 0, 1.0, 1 / 18.5).double()
    v = problem.solve(Dataset(problem.grid(17), a=a)).u[..., :16, :16]
    scale = float((u * v).sum() / (v * v).sum())
    errors = (scale * v - u).flatten(1).norm(dim=1) / u.flatten(1).norm(dim=1)
    assert scale == pytest.approx(2.65, abs=0.05) and float(errors.mean()) < 0.08


@pytest.mark.parametrize(
    "bad, match",
    [
        (lambda: Darcy(ndim=0), "ndim from 1 to 4"),
        (lambda: Darcy(sides=["dirichlet"] * 3), "one or 4"),
        (lambda: Darcy(sides="robin"), "sides=robin"),
        (lambda: Darcy(sides=["periodic", "dirichlet", "neumann", "neumann"]), "periodic in pairs"),
        (lambda: Darcy(points="chebyshev"), "one of cell, nodal"),
        (lambda: Darcy(solver="amg"), "one of auto, multigrid"),
        (lambda: Darcy(faces="geometric"), "one of harmonic"),
        (lambda: Darcy(refine=2), "odd for cells"),
        (lambda: Darcy(boundary=[1.0, 2.0]), "one or 4"),
        (lambda: Darcy(boundary="zero"), "numbers or the law"),
        (lambda: Darcy(lo=1.0), "lo < hi"),
        (lambda: Darcy().solve(Dataset(Grid.make((4, 4), "periodic"), a=torch.ones(1, 1, 4, 4))), "cell or nodal"),
        (lambda: Darcy().solve(Dataset(Grid.make((4, 4), "cell", 0, 2), a=torch.ones(1, 1, 4, 4))), r"\[0, 1\]\^2"),
        (lambda: Darcy().solve(Dataset(Grid.make((4, 4), "cell"), a=torch.ones(1, 2, 4, 4))), "2 channels"),
        (lambda: Darcy().solve(Dataset(Grid.make((4, 4), "cell"), a=torch.zeros(1, 1, 4, 4))), "a > 0"),
        (lambda: Darcy().solve(Dataset(Grid.make((4, 4), "cell"), u0=torch.ones(1, 1, 4, 4))), "inputs a"),
        (lambda: Darcy(iterations=2, solver="cg").simulate([0], 0, Darcy().grid(16)), "after 2 iterations"),
    ],
)
def test_bad_input(bad, match):
    with pytest.raises(NWidthError, match=match):
        bad()
