"""Successive constraints against dense eigenvalues."""

from dataclasses import dataclass

import numpy as np
import pytest
import scipy.linalg
import torch
from nwidth.errors import NWidthError
from nwidth.solvers import AffineTerms, Graetz, Parameter, ThermalBlock
from nwidth.solvers.reduced.affine import AffineReductor, ExactCoercivity, SuccessiveConstraints


@dataclass(frozen=True, kw_only=True)
class Shifted(ThermalBlock):
    """-div(k grad u) - s u = f: coercive while s is below the first eigenvalue; a factor is negative."""

    shift: tuple = (0.0, 1.5)

    @property
    def parameters(self):
        return (*super().parameters, Parameter(name="s", lo=self.shift[0], hi=self.shift[1]))

    def terms(self, space):
        t = super().terms(space)
        return AffineTerms([*t.operators, space.mass()], t.loads, t.fixed, t.lifts, (True,) * (len(t.operators) + 1))

    def theta(self, mu):
        return torch.cat([mu[:, :-1], -mu[:, -1:]], 1)


def exact(system, mu, product="energy"):
    x = system.products[product].toarray()
    out = []
    for m in mu:
        a = system.assemble(m)[0].toarray()
        out.append(scipy.linalg.eigh((a + a.T) / 2, x, eigvals_only=True, subset_by_index=[0, 0])[0])
    return torch.tensor(np.array(out))


def shifted(**options):
    problem = Shifted(blocks=[2, 1], conductivity=[0.2, 1.0], **options)
    return problem, problem.system(problem.grid(6))


@pytest.mark.parametrize("product", ["energy", "h1"])
@pytest.mark.parametrize("kind", ["block", "graetz interpolated", "shifted"])
def test_bounds_lie_below_the_constant_within_the_gap(kind, product):
    if kind == "shifted":
        problem, system = shifted()
    else:  # more unknowns than are treated densely for Graetz
        problem = ThermalBlock(blocks=[2, 1]) if kind == "block" else Graetz(diffusion=[0.1, 1.0], length=[0.5, 2.0])
        system = problem.system(problem.grid(6))
    reductor = AffineReductor(system, product=product, coercivity="none")
    training, mu = (problem.sample(range(n), s, system.mesh).mu for n, s in ((40, 0), (20, 1)))
    scm = SuccessiveConstraints(system, reductor.product, training, gap=0.3)
    bound, alpha = scm(mu), exact(system, mu, product)
    assert bool((bound > 0).all()) and bool((bound <= alpha * (1 + 1e-7)).all())
    assert scm.gap <= 0.3 and float((1 - scm(training) / exact(system, training, product)).max()) <= 0.3 + 1e-6
    assert float((bound / alpha).min()) > 0.4
    assert torch.allclose(ExactCoercivity(system, reductor.product)(mu), alpha, rtol=1e-6)
    if kind == "block" and product == "energy":
        assert bool((bound >= system.min_theta(mu) * (1 - 1e-7)).all())
    if kind != "block":
        with pytest.raises(NWidthError, match="positive"):
            system.min_theta(mu)
    again = SuccessiveConstraints.restored(system, scm.state_dict())
    assert torch.equal(again(mu), bound)


def test_a_linear_programme_by_hand():
    """The dual bounds are at most the programme's optimum, and reach it at the parameters that it was solved for."""
    from scipy.optimize import linprog

    problem, system = shifted()
    reductor = AffineReductor(system, coercivity="none")
    training = problem.sample(range(60), 0, system.mesh).mu
    scm = SuccessiveConstraints(system, reductor.product, training, gap=0.2)
    assert len(scm.multipliers) > 0
    theta = problem.theta(training)
    best = [
        linprog(t, A_ub=-scm.theta.numpy(), b_ub=-scm.alpha.numpy(), bounds=scm.box.numpy()).fun for t in theta.numpy()
    ]
    bound, best = scm(training), torch.tensor(best, dtype=torch.float64)
    assert bool((bound <= best + 1e-9).all())
    assert float((bound / best).median()) > 0.9


def test_error_bounds_where_min_theta_fails():
    problem, system = shifted()
    reductor = AffineReductor(system)  # not solvable by the full-order check of factors: they are not positive
    assert isinstance(reductor.coercivity, SuccessiveConstraints)
    training, mu = (problem.sample(range(n), s, system.mesh).mu for n, s in ((60, 0), (30, 1)))

    def solve(m):
        return torch.from_numpy(
            np.stack([np.linalg.solve(system.assemble(v)[0].toarray(), system.assemble(v)[1]) for v in m])
        )

    reductor.extend(solve(training[:8]))
    model = reductor.reduce()
    c = model.solve(mu)
    error = reductor.norms(solve(mu) - c @ model.basis)
    bound = model.error_bound(mu, c, norm="product")
    assert bool((bound >= error).all()) and float((bound / error).max()) < 50


def test_problems_that_are_not_coercive_are_errors():
    problem, system = shifted(shift=(0.0, 40.0))
    reductor = AffineReductor(system, product="h1", coercivity="none")
    with pytest.raises(NWidthError, match="not coercive"):
        SuccessiveConstraints(system, reductor.product, problem.sample(range(40), 0, system.mesh).mu)
    problem, system = shifted()
    scm = SuccessiveConstraints(system, reductor.product, problem.sample(range(40), 0, system.mesh).mu)
    with pytest.raises(NWidthError, match="no error bound holds"):
        scm(torch.tensor([[0.2, 0.2, 30.0]]))
    with pytest.raises(NWidthError, match="0 < gap < 1"):
        SuccessiveConstraints(system, reductor.product, problem.sample(range(4), 0, system.mesh).mu, gap=2.0)
