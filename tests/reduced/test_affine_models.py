"""Reduced models of affine problems: projection, residual bounds, greedy algorithms."""

from dataclasses import dataclass

import numpy as np
import pytest
import scipy.sparse
import torch
from nwidth.backends.svd import inner_product
from nwidth.errors import NWidthError
from nwidth.solvers import AffineTerms, ElasticityBlock, Graetz, ThermalBlock, ThermalInclusion
from nwidth.solvers.reduced.affine import AffineReductor, ResidualRange, adaptive_greedy, greedy

CASES = {
    "block": (ThermalBlock(), 12),
    "block quadratic": (ThermalBlock(blocks=[2, 1], degree=2), 6),
    "inclusion": (ThermalInclusion(), 12),
    "graetz": (Graetz(velocity="exact", diffusion=[0.1, 10.0]), 8),
    "elasticity": (ElasticityBlock(), 6),
}


def setting(name, n=None, **options):
    problem, size = CASES[name]
    system = problem.system(problem.grid(n or size))
    return problem, system, AffineReductor(system, **options)


def free_solutions(system, mu):
    return system.restrict(system.solve(mu), mu)


def energy(system, mu, e):
    return torch.tensor([np.sqrt(max(float(v @ (system.assemble(m)[0] @ v)), 0)) for m, v in zip(mu, e.numpy())])


@pytest.mark.parametrize("projection", ["galerkin", "least_squares"])
@pytest.mark.parametrize("name", CASES)
def test_a_full_basis_is_the_full_order_model(name, projection):
    problem, system, reductor = setting(name, 6 if name != "inclusion" else 4, projection=projection, coercivity="none")
    n = len(system.free)
    assert reductor.extend(torch.eye(n, dtype=torch.float64)) == n
    mu = problem.sample(range(5), 0, system.mesh).mu
    model = reductor.reduce()
    u = model.reconstruct(model.solve(mu), mu)
    truth = system.solve(mu)
    assert float((u - truth).norm() / truth.norm()) < 1e-9


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("projection", ["galerkin", "least_squares"])
def test_the_residual_is_that_of_full_vectors(name, projection):
    problem, system, reductor = setting(name, projection=projection, coercivity="none")
    mu = problem.sample(range(9), 0, system.mesh).mu
    reductor.extend(free_solutions(system, mu[:4]))
    model = reductor.reduce()
    c = model.solve(mu[4:])
    dense = system.products["energy"].toarray()
    assert np.allclose(model.basis @ dense @ model.basis.T, np.eye(model.rank), atol=1e-12)
    for m, k, got in zip(mu[4:], c, model.residual_norm(mu[4:], c)):
        a, f = system.assemble(m)
        r = f - a @ (k @ model.basis).numpy()
        assert float(got) == pytest.approx(np.sqrt(r @ np.linalg.solve(dense, r)), rel=1e-9)
        if projection == "galerkin":
            assert np.abs(model.basis.numpy() @ r).max() < 1e-10 * np.abs(f).max() * len(f)
        else:  # the least residual: any other coefficients have a larger one
            images = np.linalg.cholesky(np.linalg.inv(dense)).T @ np.stack([a @ v for v in model.basis.numpy()], 1)
            best = np.linalg.lstsq(images, np.linalg.cholesky(np.linalg.inv(dense)).T @ f)[0]
            assert np.allclose(k, best, rtol=1e-7, atol=1e-9 * np.abs(best).max())


@pytest.mark.parametrize("name", ["block", "inclusion", "graetz", "elasticity"])
def test_bounds_are_above_the_errors_and_not_far(name):
    problem, system, reductor = setting(name)
    training = problem.sample(range(60), 0, system.mesh).mu
    model, log = greedy(reductor, training, rank=20 if name != "elasticity" else 40)
    mu = problem.sample(range(30), 9, system.mesh).mu
    truth = free_solutions(system, mu)
    for rank in range(1, model.rank + 1, 3):
        small = model.truncated(rank)
        c = small.solve(mu)
        e = truth - c @ small.basis
        for norm, error in (("product", reductor.norms(e)), ("energy", energy(system, mu, e))):
            bound = small.error_bound(mu, c, norm=norm)
            assert bool((bound >= error).all())
            if name == "block" and norm == "energy" and float(error.max()) > 1e-11:
                assert float((bound / error)[error > 1e-11].max()) < 5
        size = reductor.norms(truth)
        assert bool((small.error_bound(mu, c, norm="product", relative=True) * size >= reductor.norms(e)).all())
    errors = [h["weak_max"] for h in log.history]
    assert errors[-1] < 1e-3 * errors[0] or name == "elasticity"


def test_bounds_hold_down_to_machine_precision_where_the_expanded_residual_fails():
    problem, system, reductor = setting("block")
    training = problem.sample(range(200), 0, system.mesh).mu
    model, _ = greedy(reductor, training, atol=1e-9)
    mu = problem.sample(range(100), 3, system.mesh).mu
    c = model.solve(mu)
    e = free_solutions(system, mu) - c @ model.basis
    error, bound = energy(system, mu, e), model.error_bound(mu, c)
    assert float(error.max()) < 2e-9
    assert bool((bound >= error).all()) and float((bound / error).max()) < 5
    theta, f = system.coefficients(mu)
    k = torch.cat([f, -(c[:, :, None] * theta[:, None]).flatten(1)], 1)
    gram = model.residual.T @ model.residual
    expanded = torch.einsum("ni,ij,nj->n", k, gram, k).clamp_min(0).sqrt() / system.min_theta(mu).sqrt()
    assert bool((expanded < error).any() or (expanded > 20 * error).any())  # what the range avoids
    own = training[:1]  # solutions in the basis have errors of rounding
    greedy(reductor, own, rank=reductor.rank + 1)
    model = reductor.reduce()
    c = model.solve(own)
    error = reductor.norms(free_solutions(system, own) - c @ model.basis)
    assert float(error) <= float(model.error_bound(own, c, norm="product")) < 1e-10


def test_the_range_keeps_small_differences_of_large_functionals():
    rng = np.random.default_rng(0)
    x = scipy.sparse.diags_array(rng.uniform(1, 5, 50)).tocsc()
    g = torch.from_numpy(rng.standard_normal((3, 50)))
    d = torch.from_numpy(rng.standard_normal((3, 50)))
    found = ResidualRange(inner_product(x, (50, 1), g), 50).append(g).append(g + 1e-11 * d).append(g[:1])
    t = found.matrix()
    assert t.shape == (6, 7)  # a repeated functional adds nothing
    got = (t @ torch.tensor([1.0, 0, 0, -1.0, 0, 0, 0], dtype=torch.float64)).norm()
    want = 1e-11 * np.sqrt(d[0].numpy() ** 2 @ (1 / x.diagonal()))
    assert float(got) == pytest.approx(want, rel=1e-3)
    assert torch.allclose(found.basis @ found.basis.T, torch.eye(6, dtype=torch.float64), atol=1e-13)


@pytest.mark.parametrize("kind", ["diagonal", "dense", "sparse"])
def test_dual_norms_are_those_of_the_inverse(kind):
    rng = np.random.default_rng(1)
    a = rng.standard_normal((12, 12))
    w = np.diag(rng.uniform(1, 3, 12)) if kind == "diagonal" else a @ a.T + 12 * np.eye(12)
    given = {"diagonal": torch.from_numpy(np.diag(w)), "dense": torch.from_numpy(w)}.get(
        kind, scipy.sparse.csc_array(w)
    )
    f = torch.from_numpy(rng.standard_normal((12, 4)))
    product = inner_product(given, f.shape, f)
    want = np.sqrt(np.sum(f.numpy() * np.linalg.solve(w, f.numpy()), 0))
    assert np.allclose(product.dual(f).norm(dim=0), want)
    assert np.allclose(product.root(product.unroot(f)), f)


@pytest.mark.parametrize("name, rank", [("block", 12), ("graetz", 8)])
def test_strong_greedy_is_driven_by_the_error(name, rank):
    problem, system, reductor = setting(name)
    mu = problem.sample(range(40), 0, system.mesh).mu
    model, log = greedy(reductor, mu, rank=rank, method="strong")
    truth = free_solutions(system, mu)
    for h in log.history[1::4]:
        small = model.truncated(h["rank"])
        error = reductor.norms(truth - small.solve(mu) @ small.basis)
        assert float(error.max()) == pytest.approx(h["strong_max"], rel=1e-6, abs=1e-12)
        assert torch.equal(mu[int(error.argmax())], log.chosen[h["rank"]]) or h["rank"] == rank


def test_petrov_galerkin_has_the_least_residual_at_high_peclet_numbers():
    problem = Graetz(velocity="exact", diffusion=[1e-4, 1e-2], log=True)
    system = problem.system(problem.grid(10))
    training, mu = (problem.sample(range(40), s, system.mesh).mu for s in (0, 1))
    residuals = {}
    for projection in ("galerkin", "least_squares"):
        reductor = AffineReductor(system, projection=projection, product="h1_semi", coercivity="none")
        reductor.extend(free_solutions(system, training[:10]))
        residuals[projection] = reductor.reduce().residual_norm(mu)
    assert bool((residuals["least_squares"] <= residuals["galerkin"] * (1 + 1e-9)).all())
    assert float((residuals["galerkin"] / residuals["least_squares"]).median()) > 1.5


def test_an_adaptive_training_set_grows_until_new_parameters_agree():
    problem, system, reductor = setting("block")
    few = problem.sample(range(3), 0, system.mesh).mu
    model, log = adaptive_greedy(reductor, few, rtol=1e-2, validation=60)
    sizes = [h["training"] for h in log.history if "training" in h]
    assert sizes[0] == 3 and sizes[-1] > 3
    fresh = problem.sample(range(60), 77, system.mesh).mu
    assert float(model.error_bound(fresh, norm="product", relative=True).max()) < 3e-2


@pytest.mark.parametrize("name", ["block", "inclusion", "elasticity", "graetz"])
def test_outputs_lie_within_their_bounds(name):
    problem, system, reductor = setting(name)
    greedy(reductor, problem.sample(range(30), 0, system.mesh).mu, rank=8)
    mu = problem.sample(range(20), 4, system.mesh).mu
    truth = system.outputs(system.solve(mu))
    model = reductor.reduce()
    for key, (value, bound) in model.outputs(mu).items():
        assert bool(((value - truth[key]).abs() <= bound + 1e-13).all())
        if name == "block":  # l = f, symmetric: the bound is that of the squared energy error
            error = model.error_bound(mu)
            assert torch.allclose(bound, error.square(), rtol=1e-6)


def test_pod_bases_of_given_snapshots():
    problem, system, reductor = setting("inclusion")
    mu = problem.sample(range(12), 0, system.mesh).mu
    u = free_solutions(system, mu)
    assert len(reductor.pod(u, rtol=1e-9)) == reductor.rank
    c = reductor.reduce().solve(mu)
    assert float(reductor.norms(u - c @ reductor.basis).max()) < 1e-6
    with pytest.raises(NWidthError, match="rank"):
        setting("inclusion")[2].pod(u[:3], rank=4)
    with pytest.raises(NWidthError, match="rank"):
        setting("inclusion")[2].pod(u[:1].repeat(5, 1), rank=3)


@dataclass(frozen=True, kw_only=True)
class Floating(ThermalInclusion):
    """No prescribed side: the energy product is singular."""

    def terms(self, space):
        t = super().terms(space)
        return AffineTerms(t.operators, t.loads, np.zeros(space.size, dtype=bool), t.lifts, t.positive)


def test_what_cannot_be_certified_is_an_error():
    problem, system, reductor = setting("block")
    mu = problem.sample(range(4), 0, system.mesh).mu
    u = free_solutions(system, mu)
    u[1, 3] = float("nan")
    with pytest.raises(NWidthError, match="not finite"):
        reductor.extend(u)
    with pytest.raises(NWidthError, match=r"singular|positive definite"):
        floating = Floating()
        AffineReductor(floating.system(floating.grid(6)))
    with pytest.raises(NWidthError, match="another product"):
        setting("block", product="h1", coercivity="min_theta")
    with pytest.raises(NWidthError, match="positive"):
        reductor.reduce().error_bound(-mu)
    with pytest.raises(NWidthError, match="bound of the coercivity"):
        setting("block", coercivity="none")[2].reduce().error_bound(mu)
    with pytest.raises(NWidthError, match="finite parameters"):
        reductor.reduce().solve(mu[:, :3])
    with pytest.raises(NWidthError, match="GiB"):
        reductor.need_memory(10**9)
    for options in ({"projection": "other"}, {"product": "other"}, {"coercivity": "other"}):
        with pytest.raises(NWidthError, match="other"):
            setting("block", **options)
    with pytest.raises(NWidthError, match="rank, rtol, atol"):
        greedy(reductor, mu)
    model, log = greedy(reductor, mu[:1].repeat(5, 1), rank=5)
    assert model.rank == 1 and "rounding" in log.notes[0]
    assert model.outside(torch.tensor([[0.5] * 4, [0.05] + [0.5] * 3])).tolist() == [False, True]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_the_gpu():
    problem, system, reductor = setting("block")
    model, _ = greedy(reductor, problem.sample(range(50), 0, system.mesh).mu, rank=12)
    mu = problem.sample(range(2000), 4, system.mesh).mu
    for call in (model.solve, model.error_bound):
        assert torch.allclose(call(mu.cuda()).cpu(), call(mu), rtol=1e-6)
