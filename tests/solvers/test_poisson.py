import math
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import pairwise

import pytest
import torch
from nwidth.backends import Axis, Grid
from nwidth.build import build
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import GaussianField, MaternField, Poisson
from nwidth.solvers.reduced.galerkin import ReducedBasis
from omegaconf import OmegaConf

PI = torch.pi
FIELD = GaussianField(scale=50.0, tau=5.0, alpha=4.0, modes=4)


def exact(x):
    """A smooth function of period 1 in every direction with mean zero, and minus its Laplacian."""
    u, f = torch.zeros_like(x[0]), torch.zeros_like(x[0])
    for k, shift in ((1, 0.3), (2, 1.1)):
        waves = [2 * PI * k * xi + shift * (i + 1) for i, xi in enumerate(x)]
        part = math.prod(torch.sin(w) for w in waves) / k
        u, f = u + part, f + len(x) * (2 * PI * k) ** 2 * part
    return u, f


@dataclass(frozen=True, kw_only=True)
class Manufactured(Poisson):
    """With the boundary data of the exact solution; the channels are not read."""

    boundary: GaussianField = FIELD

    def forces(self, inputs):
        return exact(inputs.grid.coordinates())[1][None, None].to(inputs.a)

    def _wall(self, inputs, i, end):
        axes = list(inputs.grid.axes)
        axes[i] = Axis("listed", 1, points=((self.lo, self.hi)[end],))
        x = Grid(tuple(axes)).coordinates().requires_grad_()
        u = exact(x)[0]
        (slope,) = torch.autograd.grad(u.sum(), x)
        given = u if self.side_pairs[i][end] == "dirichlet" else slope[i] * (2 * end - 1)
        return given[None, None].detach().to(inputs.a)


def error(problem, n):
    grid = problem.grid(n)
    u = problem.solve(Dataset(grid, a=torch.zeros(1, 2, *grid.shape, dtype=torch.float64))).u[0, 0]
    return float((u - exact(grid.coordinates())[0]).square().mean().sqrt())


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("n", [8, 9])
def test_fourier_is_exact_for_waves(ndim, n):
    problem = Poisson(ndim=ndim)
    grid = problem.grid(n)
    u, f = exact(grid.coordinates())
    assert torch.allclose(problem.solve(Dataset(grid, a=f[None, None])).u[0, 0], u, atol=1e-13)


SIDES = [
    (1, ["dirichlet", "neumann"]),
    (2, "dirichlet"),
    (2, ["neumann", "dirichlet", "dirichlet", "neumann"]),
    (2, ["periodic", "periodic", "neumann", "dirichlet"]),
    (3, ["dirichlet", "dirichlet", "periodic", "periodic", "neumann", "dirichlet"]),
]


@pytest.mark.parametrize("ndim, sides", SIDES)
def test_chebyshev_converges_spectrally_with_any_boundary_data(ndim, sides):
    problem = Manufactured(ndim=ndim, sides=sides, points="chebyshev")
    errors = [error(problem, n) for n in ((12, 20, 32) if ndim < 3 else (12, 20, 28))]
    assert errors[-1] < 1e-8 and all(b < a / 30 for a, b in pairwise(errors)), errors


@pytest.mark.parametrize("points", ["cell", "nodal"])
@pytest.mark.parametrize("ndim, sides", [*SIDES, (1, "periodic")])
def test_differences_are_second_order_with_any_boundary_data(ndim, sides, points):
    problem = Manufactured(ndim=ndim, sides=sides, points=points, scheme="difference")
    sizes = (16, 32, 64) if ndim < 3 else (10, 20)
    errors = [error(problem, n + (points == "nodal")) for n in sizes]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert errors[-1] < 0.1 and min(orders) > 1.75, (errors, orders)


@pytest.mark.parametrize("points", ["cell", "nodal"])
@pytest.mark.parametrize("side, wave", [("dirichlet", torch.sin), ("neumann", torch.cos)])
def test_waves_that_satisfy_the_conditions_are_exact(points, side, wave):
    problem = Poisson(sides=side, points=points, lo=-1.0, hi=2.0)
    grid = problem.grid(12)
    x, y = (grid.coordinates() + 1) / 3 * PI
    u = wave(2 * x) * wave(3 * y) + 0.5 * wave(x) * wave(5 * y)
    f = (13 * wave(2 * x) * wave(3 * y) + 13 * wave(x) * wave(5 * y)) * (PI / 3) ** 2
    solved = problem.solve(Dataset(grid, a=f[None, None])).u[0, 0]
    assert torch.allclose(solved, u, atol=1e-12)


@pytest.mark.parametrize("points", ["cell", "nodal"])
@pytest.mark.parametrize("ndim, sides", [*SIDES, (2, "neumann"), (2, "periodic")])
def test_transforms_invert_the_difference_operator(ndim, sides, points):
    problem = Poisson(ndim=ndim, sides=sides, points=points, scheme="difference", boundary=0.0, forcing=FIELD)
    data = problem.simulate(range(2), 0, problem.grid(9 if ndim < 3 else 6))
    for solver in ("direct", "multigrid", "cg"):
        u = replace(problem, solver=solver).solve(data.inputs()).u
        assert torch.allclose(u, data.u, atol=1e-8 * float(data.u.abs().max()))
    assert float(problem.residual(data.u, data).abs().max()) < 1e-9 * float(data.a.abs().max())


@pytest.mark.parametrize("points, scheme", [("chebyshev", "spectral"), ("cell", "difference"), ("nodal", "spectral")])
def test_no_dirichlet_side(points, scheme):
    problem = Poisson(sides="neumann", points=points, scheme=scheme, forcing=FIELD)
    data = problem.simulate(range(2), 0, problem.grid(24))
    volume = problem._volume(data.grid, data.u)
    assert float((data.u * volume).sum((1, 2, 3)).abs().max()) < 1e-9
    fine = problem.simulate(range(2), 0, problem.grid(25)) if points != "cell" else data
    assert float(fine.u.norm()) == pytest.approx(float(data.u.norm()), rel=0.1)
    with pytest.raises(NWidthError, match="add up to"):
        problem.solve(replace(data, a=data.a + 1.0))


def test_random_boundary_data_and_laplace():
    problem = Poisson(sides="dirichlet", points="chebyshev", boundary=FIELD, forcing=0.0)
    data = problem.simulate(range(3), 0, problem.grid(20))
    assert data.names["a"] == ("g",) and torch.equal(data.u[:, :, 0, 1:-1], data.a[:, :, 0, 1:-1])
    most = data.a.flatten(1).amax(1)
    assert bool((data.u.flatten(1).amax(1) <= most + 1e-8).all())  # the maximum is on the boundary


@pytest.mark.parametrize(
    "problem, n",
    [
        (Poisson(forcing=FIELD), 9),
        (Poisson(forcing=FIELD, sides="dirichlet", points="nodal"), 9),
        (Poisson(forcing=FIELD, sides="dirichlet", points="cell", scheme="difference"), 9),
    ],
)
def test_reduced_bases_at_full_rank_are_the_full_order_model(problem, n):
    data = problem.simulate(range(110), 0, problem.grid(n))
    surrogate = ReducedBasis(rtol=1e-12)
    surrogate.fit(data[:100], None)
    assert torch.allclose(surrogate.predict(data[100:].inputs()).mean, data[100:].u, atol=1e-7 * float(data.u.max()))


@pytest.mark.parametrize("problem", [Poisson(), Poisson(sides="dirichlet", points="chebyshev")])
def test_residual_has_gradients_and_dtypes(problem):
    data = replace(problem, forcing=FIELD).simulate(range(2), 0, problem.grid(10))
    problem = replace(problem, forcing=FIELD)
    assert float(problem.residual(data.u, data).abs().max()) < 1e-10 * float(data.a.abs().max()) * 100
    u = data.u[:1].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: problem.residual(v, data[:1]), u, atol=1e-4)
    single = problem.solve(replace(data.inputs(), a=data.a.float()), dtype=torch.float32).u
    assert single.dtype == torch.float32 and float((single - data.u).abs().max()) < 1e-5 * float(data.u.abs().max())


def test_packaged_config():
    config = OmegaConf.create((files("nwidth.conf") / "problem" / "poisson.yaml").read_text())
    problem = build(config)
    assert problem == Poisson() and OmegaConf.to_container(config) == problem.config()
    assert build(Poisson(sides=["neumann"] * 2, ndim=1, forcing=MaternField()).config()).sides == ("neumann", "neumann")


@pytest.mark.parametrize(
    "bad, match",
    [
        (lambda: Poisson(scheme="finite"), "one of spectral"),
        (lambda: Poisson(forcing=1.0), "law of a field"),
        (lambda: Poisson(points="chebyshev", scheme="difference"), "points=cell or nodal"),
        (lambda: Poisson(sides="dirichlet", boundary=1.0), "set points=chebyshev"),
        (lambda: Poisson(ndim=1, sides=["dirichlet", "neumann"]), "same condition"),
        (lambda: Poisson(solver="cg").simulate([0], 0, Poisson().grid(8)), "solver='auto'"),
        (lambda: Poisson().solve(Dataset(Grid.make((8, 8), "nodal"), a=torch.zeros(1, 1, 8, 8))), "sides=periodic"),
    ],
)
def test_bad_input(bad, match):
    with pytest.raises(NWidthError, match=match):
        bad()
