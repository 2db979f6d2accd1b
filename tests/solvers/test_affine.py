import math
import pickle
from dataclasses import dataclass, replace
from importlib import resources

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import torch
import yaml
from nwidth.backends import Grid
from nwidth.build import build
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import (
    AffineTerms,
    ElasticityBlock,
    Graetz,
    Parabolic,
    Parameter,
    ThermalBlock,
    ThermalInclusion,
)
from nwidth.solvers.sparse import Condensation, SparseSum

PROBLEMS = {
    "block": (ThermalBlock(), 8),
    "block 1D": (ThermalBlock(blocks=[3]), 12),
    "block 3D": (ThermalBlock(blocks=[2, 1, 1]), 4),
    "block quadratic": (ThermalBlock(blocks=[2, 1], degree=2), 6),
    "block Q1": (ThermalBlock(cells="boxes", log=True), 8),
    "inclusion": (ThermalInclusion(), 12),
    "graetz": (Graetz(), 6),
    "graetz exact": (Graetz(velocity="exact", degree=2), 4),
    "elasticity": (ElasticityBlock(), 6),
    "elasticity stress": (ElasticityBlock(law="plane_stress", unit_block=None, degree=2), 3),
}
cases = pytest.mark.parametrize("problem, n", PROBLEMS.values(), ids=PROBLEMS)


@dataclass(frozen=True, kw_only=True)
class Flux(ThermalInclusion):
    """The inclusion without a prescribed side: singular, since constants are in the kernel."""

    def terms(self, space):
        terms = super().terms(space)
        return AffineTerms(terms.operators, terms.loads, np.zeros(space.size, dtype=bool), terms.lifts, terms.positive)


def random_terms(n=30, seed=0):
    rng = np.random.default_rng(seed)
    out = []
    for k in range(3):
        m = scipy.sparse.random(n, n, 0.1, rng=rng, format="csr")
        out.append((m @ m.T + (k == 0) * scipy.sparse.identity(n)).tocsr())
    return out


@pytest.mark.parametrize("dtype, bound", [(np.float64, 1e-11), (np.float32, 1e-3)])
def test_a_sum_of_sparse_matrices_is_the_dense_one(dtype, bound):
    terms, theta = random_terms(), np.array([1.0, 0.3, 2.0])
    dense = sum(t * m.toarray() for t, m in zip(theta, terms))
    a = SparseSum(terms)
    assert np.allclose(a.matrix(theta).toarray(), dense)
    b = np.random.default_rng(1).standard_normal((30, 2))
    for t in (theta, theta[::-1]):  # the ordering is that of the first factorisation
        dense = sum(s * m.toarray() for s, m in zip(t, terms))
        for right in (b, b[:, 0]):
            u = a.factor(t, dtype)(right)
            assert u.dtype == dtype and np.linalg.norm(dense @ u - right) < bound * np.linalg.norm(right)
    assert np.allclose(a.apply(theta[None], b[None, :, 0])[0], sum(s * m @ b[:, 0] for s, m in zip(theta, terms)))


@cases
def test_solutions_satisfy_the_dense_equation_and_the_boundary_values(problem, n):
    data = problem.simulate(range(5), 0, problem.grid(n))
    system = problem.system(data.grid)
    lift = system.lift(data.mu)
    for i, mu in enumerate(data.mu):
        a, f = system.assemble(mu)
        terms = problem.terms(system.space)
        whole = sum(t * m for t, m in zip(problem.theta(mu[None])[0].numpy(), terms.operators)).toarray()
        load = problem.theta_load(mu[None])[0].numpy() @ terms.loads
        assert np.allclose(a.toarray(), whole[np.ix_(system.free, system.free)])
        u = data.u[i].flatten().numpy()
        assert np.linalg.norm((whole @ u - load)[system.free]) < 1e-9 * max(np.linalg.norm(load), 1.0)
        assert np.array_equal(u[system.fixed], lift[i].numpy()[system.fixed])
        assert np.allclose(a @ system.restrict(data.u[i : i + 1], mu[None])[0].numpy(), f)
    assert float(problem.residual(data.u, data).abs().max()) < 1e-9


@cases
def test_methods_and_batches_agree(problem, n):
    data = problem.simulate(range(6), 3, problem.grid(n))
    system = problem.system(data.grid)
    direct = system.solve(data.mu, method="direct")
    assert torch.allclose(data.u, direct, rtol=1e-10, atol=1e-12)
    alone = problem.solve(data[4:5].inputs()).u
    assert torch.allclose(alone, direct[4:5], rtol=1e-10, atol=1e-12)
    if system.condensation is None:
        with pytest.raises(NWidthError, match="without fixed interiors"):
            system.solve(data.mu, method="condensed")


@pytest.mark.parametrize("name", ["block", "graetz", "elasticity"])
def test_single_precision(name):
    problem, n = PROBLEMS[name]
    data = problem.simulate(range(5), 0, problem.grid(n))
    system = problem.system(data.grid)
    for method in ("auto", "direct"):
        u = system.solve(data.mu, dtype=torch.float32, method=method)
        assert u.dtype == torch.float32
        assert 1e-10 < float((u - data.u).norm() / data.u.norm()) < 1e-3


def test_condensation_is_taken_where_blocks_are_large():
    assert ThermalBlock().system(ThermalBlock().grid(16)).condensation is not None
    assert ThermalBlock(blocks=[8, 8]).system(ThermalBlock(blocks=[8, 8]).grid(16)).condensation is None
    assert Graetz().system(Graetz().grid(8)).condensation is None


def test_condensation_with_several_loads_without_symmetry():
    rng = np.random.default_rng(0)
    owner = np.array([0] * 8 + [1] * 7 + [-1] * 3)
    terms = []
    for q in range(2):
        m = np.zeros((18, 18))
        at = np.flatnonzero((owner == q) | (owner < 0))
        m[np.ix_(at, at)] = rng.standard_normal((len(at), len(at))) + 8 * np.eye(len(at))
        terms.append(scipy.sparse.csr_matrix(m))
    loads, theta, c = rng.standard_normal((4, 18)), rng.uniform(1, 3, (5, 2)), rng.standard_normal((5, 4))
    u = Condensation(terms, loads, owner).solve(torch.from_numpy(theta), torch.from_numpy(c)).numpy()
    for i in range(5):
        dense = theta[i, 0] * terms[0].toarray() + theta[i, 1] * terms[1].toarray()
        assert np.allclose(dense @ u[i], c[i] @ loads)


@cases
def test_configs_files_and_inputs(problem, n):
    assert build(problem.config()) == problem
    grid = problem.grid(n)
    problem.system(grid)
    again = pickle.loads(pickle.dumps(problem))
    assert again == problem and "_systems" not in vars(again)
    few, many = problem.sample([2], 5, grid), problem.sample(range(4), 5, problem.grid(n + 2))
    assert torch.equal(few.mu[0], many.mu[2])
    lo, hi = (torch.tensor([getattr(p, k) for p in problem.parameters]) for k in ("lo", "hi"))
    assert bool(((many.mu >= lo) & (many.mu <= hi)).all())
    assert few.channels("mu") == tuple(p.name for p in problem.parameters)
    data = problem.solve(many.to(dtype=torch.float32)[:2])
    assert data.u.dtype == torch.float32 and data.u.shape[1] == problem.components


@pytest.mark.parametrize(
    "name, problem",
    [
        ("thermal_block", ThermalBlock()),
        ("thermal_inclusion", ThermalInclusion()),
        ("graetz", Graetz()),
        ("elasticity_block", ElasticityBlock()),
        ("thermal_block_transient", Parabolic(steady=ThermalBlock())),
    ],
)
def test_packaged_configs_list_every_option_with_its_default(name, problem):
    packaged = yaml.safe_load(resources.files("nwidth.conf").joinpath(f"problem/{name}.yaml").read_text())
    assert packaged == problem.config() and build(packaged) == problem


def test_logarithms_are_uniform():
    problem = ThermalBlock(blocks=[1, 1], conductivity=[0.01, 100.0], log=True)
    mu = problem.sample(range(400), 0, problem.grid(2)).mu
    assert float(mu.log10().mean()) == pytest.approx(0, abs=0.15) and float(mu.log10().std()) == pytest.approx(
        4 / math.sqrt(12), rel=0.1
    )
    assert float(problem.reference) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["block", "graetz", "elasticity"])
def test_the_residual_is_differentiable(name):
    problem, _ = PROBLEMS[name]
    data = problem.simulate([1], 0, problem.grid(3))
    u, mu = data.u.clone().requires_grad_(), data.mu.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v, m: problem.residual(v, replace(data, mu=m))[..., ::3], (u, mu), atol=1e-4)


@pytest.mark.parametrize("name", ["block", "inclusion", "elasticity", "graetz exact"])
def test_min_theta_bounds_the_coercivity_constant_from_below(name):
    problem, _ = PROBLEMS[name]
    system = problem.system(problem.grid(4 if name == "inclusion" else 3))
    for m in problem.terms(system.space).operators:
        part = m[system.free][:, system.free].toarray()
        assert np.linalg.eigvalsh(part + part.T)[0] > -1e-10
    mu = problem.sample(range(5), 0, system.mesh).mu
    energy = system.products["energy"].toarray()
    for m, bound in zip(mu, system.min_theta(mu)):
        a = system.assemble(m)[0].toarray()
        alpha = scipy.linalg.eigh((a + a.T) / 2, energy, eigvals_only=True, subset_by_index=[0, 0])[0]
        assert 0 < float(bound) <= alpha * (1 + 1e-10)
    assert float(system.min_theta(problem.reference[None])) == pytest.approx(1.0)


def test_inner_products_and_outputs():
    problem = ThermalBlock()
    system = problem.system(problem.grid(16))
    x, y = system.space.points.T
    v = (np.sin(np.pi * x) * np.sin(np.pi * y))[system.free]
    assert v @ system.products["l2"] @ v == pytest.approx(0.25, rel=1e-2)
    assert v @ system.products["h1"] @ v == pytest.approx(0.25 + np.pi**2 / 2, rel=1e-2)
    data = problem.simulate([0], 0, system.mesh)
    assert float(system.outputs(data.u)["integral"]) == pytest.approx(float((data.u * data.grid.weights()).sum()))


def test_one_system_a_mesh():
    problem = ThermalBlock()
    a, b = problem.grid(4), problem.grid(4)
    assert problem.system(a) is problem.system(b)
    assert problem.system(problem.grid(6)) is not problem.system(a)


GRID = ThermalBlock().grid(4)
ONES = torch.ones(1, 4, dtype=torch.float64)


@pytest.mark.parametrize(
    "bad, match",
    [
        (lambda: ThermalBlock().solve(Dataset(GRID, mu=ONES[:, :3])), "4 finite parameters: k_0"),
        (lambda: ThermalBlock().solve(Dataset(GRID, mu=ONES * math.nan)), "not finite"),
        (lambda: ThermalBlock().solve(Dataset(GRID, mu=ONES * 0)), "not positive"),
        (lambda: ThermalBlock().solve(Dataset(GRID, a=torch.ones(1, 1, 41))), "expected inputs mu"),
        (lambda: ThermalBlock().solve(Dataset(Grid.make((4, 4)), mu=ONES)), "a mesh with cells"),
        (lambda: ThermalBlock().solve(Dataset(ThermalBlock(blocks=[4]).grid(4), mu=ONES)), "a mesh in 1D"),
        (lambda: ThermalBlock().system(GRID).solve(ONES, method="magic"), "auto, direct or condensed"),
        (lambda: Flux().simulate(range(1), 0, Flux().grid(8)), "singular"),
        (lambda: Flux().simulate(range(9), 0, Flux().grid(8)), "singular"),
        (lambda: Graetz().system(Graetz().grid(3)).min_theta(torch.ones(1, 2)), "parametrically coercive"),
        (lambda: Parameter(name="k", lo=0.0, hi=1.0, log=True), "positive"),
        (lambda: Parameter(name="k", lo=2.0, hi=1.0), r"\[least, most\]"),
        (lambda: ThermalBlock(blocks=[]), "one to three counts"),
        (lambda: ThermalBlock().grid(1), "resolution=1"),
        (lambda: ThermalInclusion().grid(7), "one even number"),
        (lambda: Parabolic(steady=ThermalBlock(), scheme="leapfrog"), "bdf2"),
    ],
)
def test_bad_input(bad, match):
    with pytest.raises(NWidthError, match=match):
        bad()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["block", "graetz", "elasticity"])
def test_the_device_of_the_parameters_is_followed(name):
    problem, n = PROBLEMS[name]
    data = problem.simulate(range(5), 0, problem.grid(n))
    moved = problem.solve(data.inputs().to("cuda"))
    assert moved.u.is_cuda and torch.allclose(moved.u.cpu(), data.u, rtol=1e-9, atol=1e-12)
    assert float(problem.residual(moved.u, moved).abs().max()) < 1e-9
