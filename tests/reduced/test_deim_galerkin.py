"""DEIM-Galerkin: equal to Galerkin where interpolation is exact, near it otherwise, at a cost of few points."""

from dataclasses import replace

import pytest
import torch
from nwidth.data import Dataset
from nwidth.data.files import load_state, save_state
from nwidth.data.metrics import relative_l2
from nwidth.errors import NWidthError
from nwidth.solvers import (
    AllenCahn,
    Burgers,
    Darcy,
    FisherKPP,
    FitzHughNagumo,
    GaussianField,
    GrayScott,
    KdV,
    KuramotoSivashinsky,
    NavierStokes,
    NonlinearPoisson,
    Schroedinger,
)
from nwidth.solvers.reduced import DEIMGalerkin, EmpiricalInterpolation, ReducedBasis
from nwidth.solvers.reduced.hyper import HyperReducedEvolution, ReducedSemilinear, nonlinear_values
from nwidth.solvers.reduced.projection import ReducedEvolution

FLOW = GaussianField(scale=4.0, tau=7.0, alpha=2.5, modes=2)
EVOLUTIONS = [
    Burgers(nu=[0.05, 0.2], times=3, final_time=0.2),
    AllenCahn(eps=0.05, r=[1.0, 2.0], final_time=0.5, times=3),
    FisherKPP(rho=[1.0, 2.0], final_time=0.3, times=3),
    FisherKPP(boundary="neumann", final_time=0.3, times=3),
    FitzHughNagumo(final_time=0.2, times=3),
    GrayScott(final_time=5.0, times=3, ndim=1),
    KdV(final_time=0.01, times=3),
    KuramotoSivashinsky(final_time=5.0, times=3),
    KuramotoSivashinsky(final_time=5.0, times=3, form="gradient"),
    NavierStokes(nu=0.05, final_time=0.5, times=3, initial=FLOW),
]


def label(problem) -> str:
    return type(problem).__name__ + ("" if not hasattr(problem, "form") else f"-{problem.form}")


def identity(n: int) -> EmpiricalInterpolation:
    return EmpiricalInterpolation(torch.eye(n, dtype=torch.float64), torch.arange(n))


def orthonormal(rank: int, shape: tuple[int, ...]) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    n = torch.Size(shape).numel()
    return torch.linalg.qr(torch.randn(n, rank, generator=g, dtype=torch.float64)).Q.T.reshape(rank, *shape)


@pytest.mark.parametrize("problem", EVOLUTIONS, ids=label)
def test_at_all_points_it_is_galerkin_for_every_equation(problem):
    """n(u) at points, N(0) and the projection give the coefficients of V^T N(V c), for each sample's parameters."""
    grid = problem.grid(12 if problem.ndim > 1 else 24)
    inputs = problem.sample(range(3), 0, grid)
    basis = orthonormal(5, inputs.u0.shape[1:])
    full = ReducedEvolution(problem, basis, grid)
    full.polynomial = None
    hyper = HyperReducedEvolution(problem, basis, grid, 1.0, identity(full.points.shape[1]))
    assert hyper.evaluations * inputs.u0.shape[1] == full.points.shape[1]
    c = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = full._rate(inputs)(c)
    assert torch.allclose(hyper._rate(inputs)(c), exact, atol=1e-10 * float(exact.abs().max()))


def test_few_points_are_galerkin_where_the_space_holds_the_nonlinearity():
    """For Burgers N(V c) has r (r + 1)/2 dimensions: so many points change nothing, one less does."""
    problem = Burgers(nu=0.05)
    grid, r = problem.grid(32), 4
    basis = orthonormal(r, (1, 32))
    g = torch.Generator().manual_seed(0)
    states = torch.tensordot(torch.randn(60, r, generator=g, dtype=torch.float64), basis, dims=1)
    values = nonlinear_values(problem, Dataset(grid, u0=states))
    c = torch.randn(4, r, generator=g, dtype=torch.float64)
    inputs = Dataset(grid, u0=states[:4])
    exact = ReducedEvolution(problem, basis, grid)._rate(inputs)(c)
    for terms, equal in ((10, True), (9, False)):
        points = EmpiricalInterpolation.pod(values, rank=terms)
        hyper = HyperReducedEvolution(problem, basis, grid, 1.0, points)
        assert hyper.evaluations == terms
        assert torch.allclose(hyper._rate(inputs)(c), exact, atol=1e-9 * float(exact.abs().max())) == equal


@pytest.mark.parametrize("law", ["exponential", "sinh", "cubic"])
def test_steady_at_all_points_it_is_galerkin_and_at_full_rank_the_full_order(law):
    problem = NonlinearPoisson(reaction_law=law)
    data = problem.simulate(range(5), 0, problem.grid(7))
    basis = torch.zeros(25, 1, 7, 7, dtype=torch.float64)
    basis[:, 0, 1:-1, 1:-1] = orthonormal(25, (5, 5))
    galerkin = ReducedSemilinear(problem, basis, data.grid)
    hyper = ReducedSemilinear(problem, basis, data.grid, identity(25))
    for model in (galerkin, hyper):
        u = torch.tensordot(model.solve(data.inputs(), basis), basis, dims=1)
        assert torch.allclose(u, data.u, atol=1e-8)
    few = [
        ReducedSemilinear(problem, basis[:6], data.grid, p).solve(data.inputs(), basis) for p in (None, identity(25))
    ]
    assert torch.allclose(*few, atol=1e-9)


@pytest.fixture(scope="module")
def poisson():
    problem = NonlinearPoisson()
    return problem.simulate(range(110), 0, problem.grid(17))


@pytest.fixture(scope="module")
def burgers():
    problem = Burgers(nu=[0.05, 0.2], times=4, final_time=0.5)
    return problem.simulate(range(60), 0, problem.grid(64))


def error(surrogate, data) -> float:
    return float(relative_l2(surrogate.predict(data.inputs()).mean, data.u, data.grid).mean())


@pytest.mark.parametrize("method", ["qdeim", "deim", "eim"])
@pytest.mark.parametrize("name", ["poisson", "burgers"])
def test_errors_decrease_to_those_of_galerkin(name, method, request):
    data = request.getfixturevalue(name)
    train, test = data[:-10], data[-10:]
    galerkin = ReducedBasis(rank=8)
    galerkin.fit(train, None)
    best, errors = error(galerkin, test), []
    for terms in (8, 32):
        surrogate = DEIMGalerkin(rank=8, terms=terms, method=method)
        log = surrogate.fit(train, None)
        assert log.selected["terms"] == terms and terms < log.selected["points"] <= 1.5 * terms
        errors.append(error(surrogate, test))
    # functions that are best in the maximum norm, not on average, come a little later
    assert errors[-1] < (1.5 if method == "eim" else 1.05) * best and errors[-1] <= errors[0], (best, errors)


@pytest.mark.parametrize("make", [lambda n: NonlinearPoisson().grid(n), lambda n: Burgers().grid(n)])
def test_the_number_of_points_does_not_grow_with_the_grid(make, monkeypatch):
    """Counted where the nonlinearity is evaluated: online it sees the points alone."""
    sizes = []
    for n in (16, 32):
        grid = make(n)
        problem = NonlinearPoisson() if grid.ndim == 2 else Burgers(nu=0.1, times=2, final_time=0.1)
        data = problem.simulate(range(24), 0, grid)
        surrogate = DEIMGalerkin(rank=5, terms=10)
        surrogate.fit(data[:20], None)
        seen = []
        name = "reaction" if grid.ndim == 2 else "at_points"
        original = getattr(type(problem), name)

        def count(self, values, inputs, original=original, seen=seen):
            seen.append(values.shape[-1])
            return original(self, values, inputs)

        with monkeypatch.context() as patch:
            patch.setattr(type(problem), name, count)
            surrogate.predict(data[20:].inputs())
        assert set(seen) == {surrogate._model.evaluations}
        sizes.append(max(seen))
    assert sizes[0] <= 15 and sizes[1] <= 15


def test_the_rank_is_chosen_on_validation_and_the_log_tells_both_floors(poisson):
    surrogate = DEIMGalerkin()
    log = surrogate.fit(poisson[:90], poisson[90:100])
    best = min(h["val_rel_l2"] for h in log.history)
    assert log.rank == min(h["rank"] for h in log.history if h["val_rel_l2"] <= 1.05 * best)
    assert error(surrogate, poisson[100:]) < 1e-5
    assert 0 <= log.selected["nonlinear_floor"] < 1e-3 and log.selected["stability"] >= 1 and len(log.notes) == 3


@pytest.mark.parametrize("name", ["poisson", "burgers"])
def test_saved_and_loaded(name, request, tmp_path):
    data = request.getfixturevalue(name)
    surrogate = DEIMGalerkin(rank=6, terms=12)
    surrogate.fit(data[:40], None)
    save_state(tmp_path / "state", surrogate.state_dict())
    again = DEIMGalerkin(rank=6, terms=12)
    again.load_state_dict(load_state(tmp_path / "state"))
    means = [s.predict(data[50:].inputs()).mean for s in (again, surrogate)]
    assert torch.allclose(*means, rtol=0, atol=1e-12)


def test_a_second_fit_forgets_the_first(poisson):
    again, fresh = DEIMGalerkin(rank=5, terms=8), DEIMGalerkin(rank=5, terms=8)
    again.fit(poisson[:30], None)
    for surrogate in (again, fresh):
        surrogate.fit(poisson[40:90], None)
    means = [s.predict(poisson[100:].inputs()).mean for s in (again, fresh)]
    assert torch.equal(*means)


def test_other_resolutions(poisson):
    surrogate = DEIMGalerkin(rank=8)
    surrogate.fit(poisson[:90], None)
    problem = NonlinearPoisson()
    fine = problem.simulate(range(100, 110), 0, problem.grid(33))
    assert error(surrogate, fine) < error(surrogate, poisson[100:]) + 0.02


def test_a_random_forcing():
    field = GaussianField(scale=50.0, tau=5.0, alpha=2.0, modes=3)
    problem = NonlinearPoisson(forcing=field, mu1=1.0, mu2=[1.0, 3.0], reaction_law="sinh")
    data = problem.simulate(range(110), 0, problem.grid(17))
    errors = []
    for rank in (5, 20):
        surrogate = DEIMGalerkin(rank=rank)
        surrogate.fit(data[:100], None)
        errors.append(error(surrogate, data[100:]))
    assert errors[0] > 5 * errors[1] and errors[1] < 0.02, errors


def test_errors(poisson):
    with pytest.raises(NWidthError, match="qdeim, eim"):
        DEIMGalerkin(method="greedy")
    with pytest.raises(NWidthError, match="the rank of the data"):
        DEIMGalerkin(rank=3, terms=80).fit(poisson[:50], None)
    darcy = Darcy()
    with pytest.raises(NWidthError, match="EvolutionProblem or a SemilinearProblem"):
        DEIMGalerkin().fit(darcy.simulate(range(4), 0, darcy.grid(4)), None)
    schroedinger = Schroedinger(final_time=0.01, times=2)
    with pytest.raises(NWidthError, match="Schroedinger"):
        DEIMGalerkin().fit(schroedinger.simulate(range(3), 0, schroedinger.grid(16)), None)
    with pytest.raises(NWidthError, match="which problem"):
        DEIMGalerkin().fit(replace(poisson, problem=None), None)
