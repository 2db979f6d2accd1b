import pytest
import torch
from nwidth.solvers import Darcy, GaussianField, LogNormal, MaternField, Multigrid, TwoPhase, conjugate_gradients
from nwidth.solvers.direct import solve_directly
from nwidth.solvers.stencils import Stencil, samples_first, samples_last

NODES = ["dirichlet", "neumann", "neumann", "dirichlet"]


def iterations(problem, n, samples=2, rtol=1e-10, dtype=torch.float64):
    """Iterations of the worst sample, and its true residual."""
    grid = problem.grid(n)
    inputs = problem.sample(range(samples), 0, grid).to(dtype=dtype)
    cycle = Multigrid(problem.couplings(inputs), grid.periodic, [x.spacing for x in grid.axes], problem.singular)
    f = problem.source(inputs).expand(samples, 1, *grid.shape)[problem._unknowns(grid)]
    f = problem._balanced(f, inputs) if problem.singular else f
    f = samples_first(samples_last(f))

    def apply(u):
        return samples_first(cycle.stencil.apply(samples_last(u)))

    u, _, count = conjugate_gradients(apply, f, cycle, rtol, 200)
    residual = (apply(u) - f).flatten(1).norm(dim=1) / f.flatten(1).norm(dim=1)
    return int(count.max()), float(residual.max())


@pytest.mark.parametrize(
    "a, limit, growth",
    [
        (LogNormal(), 11, 1),
        (LogNormal(field=MaternField(std=2.0, length=0.1, nu=0.5, modes=127)), 14, 2),
        (TwoPhase(high=4.0, low=1.0), 12, 2),
        (TwoPhase(high=1e2, low=1.0), 16, 3),
        (TwoPhase(high=1e4, low=1.0), 18, 5),
        (TwoPhase(high=1.0, low=1e6), 22, 8),
        (TwoPhase(field=GaussianField(tau=20.0, alpha=1.6, modes=31), high=1e2, low=1.0), 26, 8),
    ],
    ids=["smooth", "exponential", "4", "1e2", "1e4", "1e-6", "rough"],
)
def test_iterations_hardly_depend_on_the_mesh_and_the_contrast(a, limit, growth):
    counts = []
    for n in (32, 128):
        count, residual = iterations(Darcy(a=a), n)
        counts.append(count)
        assert residual < 2e-10
    assert max(counts) <= limit and counts[-1] - counts[0] <= growth, counts


@pytest.mark.parametrize(
    "sides, points, n, limit",
    [
        (NODES, "nodal", (45, 70), 12),
        (NODES, "cell", (37, 64), 12),
        ("periodic", "cell", (36, 51), 14),  # an odd number of periodic points
        ("neumann", "nodal", (33, 47), 14),
        (["periodic", "periodic", "dirichlet", "neumann"], "cell", (63, 30), 12),
        ("dirichlet", "cell", (300, 9), 14),  # cells of other proportions
    ],
)
def test_any_size_and_condition(sides, points, n, limit):
    forcing = 1.0 if "dirichlet" in sides else GaussianField(alpha=3.0, modes=6)
    count, residual = iterations(Darcy(sides=sides, points=points, forcing=forcing), n)
    assert count <= limit and residual < 2e-10


@pytest.mark.parametrize("ndim, n, limit", [(1, 1000, 2), (3, 24, 18)])
def test_other_dimensions(ndim, n, limit):
    count, residual = iterations(Darcy(ndim=ndim, a=TwoPhase(high=100.0, low=1.0, field=GaussianField(modes=16))), n)
    assert count <= limit and residual < 2e-10


def test_single_precision():
    count, residual = iterations(Darcy(a=TwoPhase()), 64, rtol=1e-5, dtype=torch.float32)
    assert count <= 8 and residual < 2e-4  # round-off times the condition number


@pytest.mark.parametrize("sides, points, n", [(NODES, "nodal", (19, 14)), ("periodic", "cell", (15, 12))])
def test_the_cycle_is_symmetric_positive_definite(sides, points, n):
    problem = Darcy(sides=sides, points=points, a=TwoPhase(high=50.0, low=1.0), forcing=GaussianField(alpha=3.0))
    grid = problem.grid(n)
    inputs = problem.sample([0], 0, grid)
    cycle = Multigrid(problem.couplings(inputs), grid.periodic, [x.spacing for x in grid.axes], problem.singular)
    m = cycle.stencil.diagonal.numel()
    columns = [cycle(e.view(1, 1, *cycle.stencil.shape)).flatten() for e in torch.eye(m, dtype=torch.float64)]
    matrix = torch.stack(columns, 1)
    assert torch.allclose(matrix, matrix.T, atol=1e-12 * float(matrix.abs().max()))
    assert float(torch.linalg.eigvalsh(matrix)[0]) > 0


def test_a_stencil_is_its_matrix():
    g = torch.Generator().manual_seed(0)
    couplings = [torch.rand(5, 5, 2, generator=g).double(), torch.rand(4, 6, 2, generator=g).double()]
    couplings[1][:, 0] = couplings[1][:, -1]
    stencil = Stencil.from_couplings(couplings, (False, True))
    u = torch.rand(4, 5, 2, generator=g).double()
    for i in range(2):
        matrix = torch.from_numpy(stencil.matrix(i).toarray())
        assert torch.allclose(matrix @ u[..., i].flatten(), stencil.apply(u)[..., i].flatten())
        assert torch.allclose(matrix, matrix.T)


def test_a_slow_sample_is_solved_directly():
    """Pixels of contrast 1e8: multigrid gives up, and the answer is that of LU."""
    a = TwoPhase(field=GaussianField(tau=60.0, alpha=1.1, modes=95), high=1e8, low=1.0)
    problem = Darcy(a=a)
    inputs = problem.sample([0], 0, problem.grid(96))
    with pytest.warns(UserWarning, match="1 of 1 samples by sparse LU"):
        u = problem.solve(inputs).u
    f = problem.source(inputs)
    assert torch.equal(u, solve_directly(problem.stencil(inputs), f))
    assert float(problem.residual(u, inputs).abs().max()) < 1e-2  # of couplings up to 1e12
