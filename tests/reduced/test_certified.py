"""The certified reduced basis as a surrogate, and against pyMOR and the solutions of others."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from nwidth.data.metrics import scores
from nwidth.errors import NWidthError
from nwidth.solvers import Darcy, ElasticityBlock, Graetz, Parabolic, ThermalBlock, ThermalInclusion
from nwidth.solvers.reduced import CertifiedReducedBasis
from nwidth.solvers.reduced.affine import AffineReductor, SuccessiveConstraints, greedy
from nwidth.training.measure import predict_and_score

PROBLEMS = {
    "block": (ThermalBlock(), 8, {}),
    "graetz by scm": (Graetz(diffusion=[0.1, 1.0], length=[0.5, 2.0]), 6, {}),
    "elasticity": (ElasticityBlock(), 6, {"rank": 30}),
    "pod": (ThermalInclusion(), 8, {"method": "pod", "rtol": 1e-3}),
    "heating": (Parabolic(steady=ThermalBlock(blocks=[2, 1]), times=3, steps=12), 6, {"rtol": 1e-3}),
    "random parameters": (ThermalBlock(blocks=[2, 1]), 6, {"parameters": 50, "rtol": 1e-3}),
}


@pytest.mark.parametrize("problem, n, options", PROBLEMS.values(), ids=PROBLEMS)
def test_the_bound_is_above_the_reported_error(problem, n, options):
    data = problem.simulate(range(40), 0, problem.grid(n))
    surrogate = CertifiedReducedBasis(**options)
    log = surrogate.fit(data[:30], None)
    p = surrogate.predict(data[30:].inputs())
    error = scores(p.mean, None, data[30:].u, data.grid)["rel_l2"]
    assert bool((p.bound >= error).all())
    assert "rank" in options or float(p.bound.max()) < 0.2
    row, _, _ = predict_and_score(surrogate, data[30:])
    assert row["bound"]["max"] == pytest.approx(float(p.bound.max())) and row["effectivity"]["median"] >= 1
    state = surrogate.state_dict()
    again = CertifiedReducedBasis()
    again.load_state_dict(state)
    q = again.predict(data[30:].inputs())
    assert torch.equal(p.mean, q.mean) and torch.equal(p.bound, q.bound)
    assert log.selected["coercivity"] == ("scm" if problem.__class__ is Graetz else "min_theta")


def test_parameters_outside_the_ranges_are_never_silent():
    problem = ThermalBlock(blocks=[2, 1])
    data = problem.simulate(range(12), 0, problem.grid(6))
    far = problem.solve(type(data)(data.grid, mu=torch.tensor([[0.5, 0.5], [0.05, 3.0]], dtype=torch.float64)))
    surrogate = CertifiedReducedBasis(rtol=1e-3)
    surrogate.fit(data, None)
    with pytest.warns(UserWarning, match="1 of 2 parameters lie outside"):
        p = surrogate.predict(far.inputs())
    assert "outside" in p.notes[0]
    assert bool((p.bound >= scores(p.mean, None, far.u, far.grid)["rel_l2"]).all())
    strict = CertifiedReducedBasis(rtol=1e-3, outside="error")
    strict.fit(data, None)
    with pytest.raises(NWidthError, match=r"k_0 in \[0.1, 1\]"):
        strict.predict(far.inputs())


def test_bad_input_is_an_error():
    problem = ThermalBlock(blocks=[2, 1])
    data = problem.simulate(range(6), 0, problem.grid(6))
    with pytest.raises(NWidthError, match="rank"):
        CertifiedReducedBasis(method="pod", rank=5).fit(data, None)  # the solutions span three dimensions
    log = CertifiedReducedBasis(rank=6).fit(data, None)
    assert log.rank == 3 and any("rounding" in n for n in log.notes)
    bad = type(data)(data.grid, mu=data.mu, u=data.u.clone(), problem=data.problem)
    bad.u[2, 0, 5] = torch.nan
    with pytest.raises(NWidthError, match="not finite"):
        CertifiedReducedBasis(method="pod").fit(bad, None)
    with pytest.raises(NWidthError, match="affine in functions of mu"):
        darcy = Darcy()
        CertifiedReducedBasis(problem=darcy).fit(data, None)
    surrogate = CertifiedReducedBasis()
    surrogate.fit(data, None)
    with pytest.raises(NWidthError, match="the mesh of the training data"):
        surrogate.predict(problem.sample([0], 0, problem.grid(8)))
    for options in ({"method": "other"}, {"outside": "other"}):
        with pytest.raises(NWidthError, match="other"):
            CertifiedReducedBasis(**options)
    free = CertifiedReducedBasis(coercivity="none", projection="least_squares", rank=3)
    free.fit(data, None)
    assert free.predict(data.inputs()).bound is None
    heating = Parabolic(steady=problem, times=2, steps=4)
    moving = heating.simulate(range(4), 0, heating.grid(6))
    with pytest.raises(NWidthError, match="times"):
        CertifiedReducedBasis(problem=Parabolic(steady=problem, times=3, steps=4)).fit(moving, None)


def test_it_equals_pymor_on_the_same_matrices():
    pytest.importorskip("pymor")
    from pymor.algorithms.projection import project
    from pymor.models.basic import StationaryModel
    from pymor.operators.constructions import LincombOperator
    from pymor.operators.numpy import NumpyMatrixOperator
    from pymor.parameters.functionals import ExpressionParameterFunctional, ProjectionParameterFunctional
    from pymor.reductors.coercive import CoerciveRBReductor

    problem = ThermalBlock()
    system = problem.system(problem.grid(12))
    reductor = AffineReductor(system)
    model, _ = greedy(reductor, problem.sample(range(60), 0, system.mesh).mu, rank=12)
    factors = [ProjectionParameterFunctional("k", 4, index=i) for i in range(4)]
    operator = LincombOperator([NumpyMatrixOperator(m) for m in system.operators.matrices], factors)
    product = NumpyMatrixOperator(system.products["energy"])
    peer = StationaryModel(operator, NumpyMatrixOperator(system.loads.reshape(-1, 1)), products={"energy": product})
    middle = problem.reference.tolist()
    alpha = ExpressionParameterFunctional(
        "min([" + ", ".join(f"k[{i}] / {v}" for i, v in enumerate(middle)) + "])", {"k": 4}
    )
    basis = operator.source.from_numpy(model.basis.numpy().T)
    theirs = CoerciveRBReductor(peer, basis, product, alpha, check_orthonormality=False).reduce()
    for mu in problem.sample(range(8), 1, system.mesh).mu:
        parsed = peer.parameters.parse({"k": mu.numpy()})
        c, bound = theirs.solve(parsed).to_numpy().ravel(), theirs.estimate_error(parsed)
        own = model.solve(mu[None])
        assert np.allclose(own[0], c, rtol=1e-10, atol=1e-10 * np.abs(c).max())
        assert float(model.error_bound(mu[None], own, norm="product")) == pytest.approx(
            float(np.squeeze(bound)), rel=1e-8
        )
    projected = project(operator, basis, basis).assemble(parsed).matrix
    assert np.allclose(projected, np.tensordot(mu.numpy(), model.operators.numpy(), 1), rtol=1e-10, atol=1e-12)


def test_the_inclusion_needs_two_modes():
    """k = mu_0 in the disc, flux mu_1: the solutions of eight parameters lie near two or three dimensions."""
    problem = ThermalInclusion()
    data = problem.simulate(range(8), 0, problem.grid(16))
    system = problem.system(data.grid)
    reductor = AffineReductor(system)
    reductor.pod(system.restrict(data.u, data.mu), rank=3)
    model = reductor.reduce()
    c = model.solve(data.mu)
    assert float((model.reconstruct(c, data.mu) - data.u).norm() / data.u.norm()) < 1e-2
    error = reductor.norms(system.restrict(data.u, data.mu) - c @ model.basis)
    assert bool((model.error_bound(data.mu, c, norm="product") >= error).all())


def test_the_elasticity_block_from_a_hundred_snapshots():
    problem = ElasticityBlock()
    system = problem.system(problem.grid(12))
    data = problem.simulate(range(140), 0, system.mesh)
    reductor = AffineReductor(system)
    reductor.pod(system.restrict(data.u[:100], data.mu[:100]), rank=40)
    mu = data.mu[100:]
    u = reductor.reduce().reconstruct(reductor.reduce().solve(mu), mu)
    assert float(((u - data.u[100:]).flatten(1).norm(dim=1) / data.u[100:].flatten(1).norm(dim=1)).mean()) < 6e-3


def test_modes_do_not_depend_on_the_size_of_a_training_solution():
    problem = ThermalBlock()
    data = problem.simulate(range(16), 0, problem.grid(8))
    sizes = 10.0 ** torch.linspace(-3, 3, 12, dtype=torch.float64)[:, None, None]
    answers = []
    for u in (data[:12].u, sizes * data[:12].u):
        surrogate = CertifiedReducedBasis(method="pod", rank=4)
        surrogate.fit(replace(data[:12], u=u), None)
        answers.append(surrogate.predict(data[12:].inputs()).mean)
    assert torch.allclose(*answers, rtol=0, atol=1e-9 * float(data.u.abs().max()))


def test_scm_is_taken_where_min_theta_does_not_hold():
    problem = Graetz(diffusion=[0.1, 1.0], length=[0.5, 2.0])
    assert isinstance(AffineReductor(problem.system(problem.grid(6))).coercivity, SuccessiveConstraints)
