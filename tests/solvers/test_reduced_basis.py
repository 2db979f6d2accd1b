import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from nwidth.backends import Grid
from nwidth.data import Dataset, open_dataset
from nwidth.data.files import load_state, save_state
from nwidth.data.metrics import relative_l2
from nwidth.errors import NWidthError
from nwidth.solvers import (
    AllenCahn,
    Burgers,
    Darcy,
    GaussianField,
    KdV,
    NavierStokes,
    Schroedinger,
    SpectralSpace,
    generate,
    integrate,
)
from nwidth.solvers.reduced.galerkin import ReducedBasis
from nwidth.solvers.reduced.projection import ReducedEvolution


@pytest.fixture(scope="module")
def darcy():
    problem = Darcy()
    return problem.simulate(range(120), 0, problem.grid(16))


@pytest.fixture(scope="module")
def burgers():
    problem = Burgers(nu=[0.05, 0.2], times=4, final_time=0.5)
    return problem.simulate(range(60), 0, problem.grid(64))


def error(surrogate, data):
    return float(relative_l2(surrogate.predict(data.inputs()).mean, data.u, data.grid).mean())


def test_full_rank_equals_full_order_for_a_steady_problem():
    problem = Darcy()
    data = problem.simulate(range(50), 0, problem.grid(5))
    surrogate = ReducedBasis(rank=25)
    surrogate.fit(data[:40], None)
    assert torch.allclose(surrogate.predict(data[40:].inputs()).mean, data[40:].u, rtol=1e-6)


@pytest.mark.parametrize("quadratic", [True, False])
def test_full_rank_equals_full_order_for_a_time_dependent_problem(quadratic):
    problem, n = Burgers(nu=0.02), 17
    grid = problem.grid(n)
    g = torch.Generator().manual_seed(0)
    modes = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64)).Q.T[:, None]
    model = ReducedEvolution(problem, modes, grid)
    if not quadratic:
        model.polynomial = None
    t = torch.tensor([0.1, 0.3]).double()
    x = 2 * torch.pi * grid.coordinates()[0]
    u0 = torch.sin(x) + 0.3 * torch.cos(2 * x)
    c = model.solve(Dataset(grid, u0=u0[None, None], t=t), modes)
    space = SpectralSpace(grid, (3 * (n // 2) + 1,))
    inputs = Dataset(grid, u0=u0[None, None])
    states = integrate(
        problem.linear(space, inputs),
        lambda v: problem.nonlinear(v, space, inputs),
        space.coefficients(inputs.u0),
        0.0,
        t.tolist(),
        1e-3,
    )
    for i, state in enumerate(states):
        assert torch.allclose(c[:, i] @ modes[:, 0], space.at(state, (n,))[:, 0], atol=1e-6)


@pytest.mark.parametrize("name", ["darcy", "burgers"])
def test_error_decreases_with_rank_and_stays_near_the_best_of_the_space(name, request):
    data = request.getfixturevalue(name)
    train, val, test = data[: len(data) - 20], data[len(data) - 20 : len(data) - 10], data[len(data) - 10 :]
    errors = []
    for rank in (2, 6, 20):
        surrogate = ReducedBasis(rank=rank)
        log = surrogate.fit(train, val)
        errors.append(error(surrogate, test))
        floor = log.selected["val_floor"]
        assert log.rank == rank and floor <= error(surrogate, val) <= 4 * floor
    assert errors[0] > 2 * errors[1] > 4 * errors[2], errors


def test_the_rank_is_chosen_on_validation(darcy):
    log = ReducedBasis().fit(darcy[:90], darcy[90:])
    best = min(h["val_rel_l2"] for h in log.history)
    assert log.rank == min(h["rank"] for h in log.history if h["val_rel_l2"] <= 1.05 * best) and log.notes
    tight, loose = (ReducedBasis(rtol=r).fit(darcy[:90], None) for r in (1e-3, 1e-1))
    assert tight.rank > loose.rank and loose.selected["train_floor"] <= 1e-1


@pytest.mark.parametrize("name", ["darcy", "burgers"])
def test_saved_and_loaded(name, request, tmp_path):
    data = request.getfixturevalue(name)
    surrogate = ReducedBasis(rank=6)
    surrogate.fit(data[:40], None)
    save_state(tmp_path / "state", surrogate.state_dict())
    again = ReducedBasis(rank=6)
    again.load_state_dict(load_state(tmp_path / "state"))
    inputs = data[40:].inputs()
    assert torch.equal(again.predict(inputs).mean, surrogate.predict(inputs).mean)


@pytest.mark.parametrize("problem, resolution", [(Darcy(), 12), (Burgers(nu=0.1, times=2, final_time=0.2), 32)])
def test_from_a_generated_file(problem, resolution, tmp_path):
    data = open_dataset(generate(problem, 40, resolution, 0, tmp_path / "x.h5"))
    surrogate = ReducedBasis(rank=10)
    surrogate.fit(data[:30], data[30:35])
    prediction = surrogate.predict(data[35:].inputs()).mean
    assert prediction.dtype == torch.float32 and prediction.shape == data[35:].u.shape
    assert float(relative_l2(prediction, data[35:].load().u, data.grid).mean()) < 0.1


@pytest.mark.parametrize(
    "problem, train, other",
    [
        (Darcy(), 16, 32),
        (Darcy(), 16, 8),
        (Burgers(nu=0.1, times=2, final_time=0.2), 64, 160),
        (Burgers(nu=0.1, times=2, final_time=0.2), 64, 48),
    ],
)
def test_other_resolutions(problem, train, other):
    surrogate = ReducedBasis(rank=12)
    surrogate.fit(problem.simulate(range(40), 0, problem.grid(train)), None)
    at_home, abroad = (error(surrogate, problem.simulate(range(40, 50), 0, problem.grid(n))) for n in (train, other))
    assert abroad < 1.5 * at_home + 0.01


def test_other_times(burgers):
    surrogate = ReducedBasis(rank=20)
    surrogate.fit(burgers[:50], None)
    inputs = burgers[50:].inputs()
    some = surrogate.predict(replace(inputs, t=inputs.t[1::2])).mean
    assert torch.allclose(some, surrogate.predict(inputs).mean[:, 1::2], atol=1e-5)


def test_samples_do_not_depend_on_the_batch(burgers):
    surrogate = ReducedBasis(rank=8)
    surrogate.fit(burgers[:50], None)
    together = surrogate.predict(burgers[50:].inputs()).mean
    assert torch.allclose(surrogate.predict(burgers[[57]].inputs()).mean[0], together[7], atol=1e-10)


def test_errors(darcy, burgers):
    with pytest.raises(NWidthError, match=r"which problem made them.*pass problem="):
        ReducedBasis(rank=2).fit(replace(darcy, problem=None), None)
    assert ReducedBasis(rank=2, problem=Darcy()).fit(replace(darcy, problem=None), None).rank == 2
    with pytest.raises(NWidthError, match="the rank of the data"):
        ReducedBasis(rank=11).fit(darcy[:10], None)
    with pytest.raises(NWidthError, match="inputs a"):
        ReducedBasis(rank=2, problem=Darcy()).fit(burgers, None)
    with pytest.raises(NWidthError, match="not fitted"):
        ReducedBasis().predict(darcy.inputs())
    surrogate = ReducedBasis(rank=2)
    surrogate.fit(burgers, None)
    with pytest.raises(NWidthError, match="without times"):
        surrogate.predict(Dataset(Grid.make((64,)), u0=burgers.u0, mu=burgers.mu))


def test_on_the_burgers_data_of_neuraloperator():
    real = Path(os.environ.get("NWIDTH_REALDATA") or Path(__file__).parents[2] / "../shared/realdata")
    if not real.is_dir():
        pytest.skip("the real data are not there")
    data = open_dataset(real / "neuralop/burgers_train_16.pt").load()
    surrogate = ReducedBasis(problem=Burgers(nu=0.01))
    log = surrogate.fit(data[:200], data[200:230])
    print(log.history)
    assert error(surrogate, data[700:730]) < 0.1


def test_prescribed_boundary_values_are_lifted():
    """With as many modes as inner nodes the reduced solution is the full one, boundary values included."""
    problem = Darcy(points="nodal", boundary=[1.0, 0.0, -0.5, 2.0])
    data = problem.simulate(range(70), 0, problem.grid(8))
    surrogate = ReducedBasis(rank=36)
    surrogate.fit(data[:60], None)
    u = surrogate.predict(data[60:].inputs()).mean
    assert float(relative_l2(u, data[60:].u, data.grid).max()) < 1e-8
    assert torch.allclose(u[:, 0, 0, 1:-1], torch.ones(()).double(), atol=1e-12)
    assert torch.allclose(u[:, 0, 1:-1, 0], torch.full((), -0.5).double(), atol=1e-12)


@pytest.mark.parametrize(
    ("problem", "size", "rank"),
    [
        (AllenCahn(eps=0.05, r=1.0, final_time=0.5, times=4), 32, 31),
        (KdV(final_time=0.02, times=4), 32, 31),
        (Schroedinger(final_time=0.1, times=4), 24, 46),
        (
            NavierStokes(
                nu=0.05, final_time=1.0, times=4, initial=GaussianField(scale=4.0, tau=7.0, alpha=2.5, modes=2)
            ),
            16,
            40,
        ),
    ],
    ids=lambda v: type(v).__name__,
)
def test_every_kind_of_evolution_is_projected(problem, size, rank):
    """With nearly all modes of a smooth state the reduced model is the full one."""
    data = problem.simulate(range(40), 0, problem.grid(size))
    surrogate = ReducedBasis(rank=rank, problem=problem, step_ratio=1.0)
    surrogate.fit(data[:34], None)
    assert error(surrogate, data[34:]) < 2e-2
