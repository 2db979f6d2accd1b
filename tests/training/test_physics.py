"""The residual of the equation as a loss: zero at the discrete solution, of the right order in time, and it trains."""

import math

import pytest
import torch
from nwidth import Dataset, Grid, NWidthError
from nwidth.solvers import Advection, Burgers, Darcy, Euler, GaussianField, Helmholtz, Lorenz96, NavierStokes, Poisson
from nwidth.training import Mixture, PhysicsResidual
from nwidth.training.tasks import make_task


def residual(data, **options):
    return float(PhysicsResidual(**options)(data.u, data.u, data.grid, data))


@pytest.mark.parametrize(
    "problem",
    [
        Darcy(),
        Darcy(points="nodal"),
        Darcy(sides=["dirichlet", "dirichlet", "neumann", "neumann"], boundary=[1, 0, 0, 0.5]),
        Poisson(scheme="difference"),
        Poisson(points="chebyshev", sides="dirichlet"),
    ],
)
@pytest.mark.parametrize("norm", ["l2", "energy"])
def test_the_discrete_solution_has_no_residual_and_another_one_has(problem, norm):
    data = problem.simulate(range(2), 0, problem.grid(12))
    assert residual(data, norm=norm) < 1e-8
    wrong = Dataset(data.grid, a=data.a, u=1.1 * data.u, problem=data.problem)
    assert residual(wrong, norm=norm) > 0.01


def test_energy_is_well_conditioned_where_l2_is_not():
    """Errors of one size, smooth and rough: the energy residual is that of the error, the other grows with k^2."""
    problem = Poisson(points="cell", sides="dirichlet", scheme="difference")
    found = {}
    for norm in ("l2", "energy"):
        for k in (1, 8):
            data = problem.simulate([0], 0, problem.grid(32))
            x, y = data.grid.coordinates()
            e = torch.sin(math.pi * k * x) * torch.sin(math.pi * k * y) * data.u.square().mean().sqrt() / k
            found[norm, k] = residual(Dataset(data.grid, a=data.a, u=data.u + e, problem=data.problem), norm=norm)
    assert found["energy", 8] / found["energy", 1] == pytest.approx(1.0, rel=0.05)  # |e|_H1 is the same
    assert found["l2", 8] / found["l2", 1] > 6


@pytest.mark.parametrize(("time", "order"), [("trapezoid", 2), ("simpson", 4)])
def test_the_residual_of_an_exact_solution_falls_with_the_step(time, order):
    errors = []
    for times in (16, 32):
        problem = Burgers(nu=0.05, final_time=0.4, times=times)
        grid = problem.grid(64)
        u0 = torch.sin(2 * math.pi * grid.coordinates())[None]
        errors.append(residual(problem.solve(Dataset(grid, u0=u0)), time=time))
    assert errors[1] < 0.005 and math.log2(errors[0] / errors[1]) > order - 0.5


@pytest.mark.parametrize(
    "problem",
    [
        Burgers(nu=[0.02, 0.1], final_time=0.2, times=40),
        Advection(final_time=0.05, times=20, initial=GaussianField(scale=25.0, tau=5.0, alpha=2.0, modes=6)),
        NavierStokes(final_time=0.2, times=20),
        Euler(final_time=0.02, times=20, refine=1),
    ],
)
def test_each_kind_of_evolution(problem):
    data = problem.simulate(range(2), 0, problem.grid(16))
    right = residual(data)
    still = Dataset(
        data.grid, u0=data.u0, mu=data.mu, u=data.u0[:, None].expand_as(data.u), t=data.t, problem=data.problem
    )
    assert right < 0.2 * residual(still) and residual(still) == pytest.approx(1.0, rel=1e-6)


def test_lorenz():
    problem = Lorenz96(final_time=0.2, times=20)
    data = problem.simulate(range(2), 0, problem.grid(40))
    assert residual(data) < 0.02


def test_simpson_needs_equal_steps_and_the_problem_must_fit():
    problem = Burgers(nu=0.05, final_time=0.4, times=1)
    data = problem.simulate([0], 0, problem.grid(32))
    with pytest.raises(NWidthError, match="two equal steps"):
        residual(data, time="simpson")
    with pytest.raises(NWidthError, match="do not say which problem"):
        residual(Dataset(data.grid, u0=data.u0, u=data.u, t=data.t))
    with pytest.raises(NWidthError, match="Helmholtz"):
        residual(Dataset(Grid.make((8, 8), "nodal"), a=torch.rand(1, 1, 8, 8), u=torch.rand(1, 1, 8, 8)),
                 problem=Helmholtz())  # fmt: skip
    with pytest.raises(NWidthError, match="one of l2, energy"):
        PhysicsResidual(norm="l3")


@pytest.mark.parametrize("norm", ["l2", "energy"])
def test_gradients_of_the_steady_residual(norm):
    problem = Darcy()
    data = problem.simulate([0], 0, problem.grid(4))
    u = (data.u * 1.3).requires_grad_()
    loss = PhysicsResidual(norm=norm)

    def value(u):
        return loss(u, u, data.grid, Dataset(data.grid, a=data.a, u=u, problem=data.problem))

    assert torch.autograd.gradcheck(value, (u,))


def test_gradients_of_the_evolving_residual():
    problem = Burgers(nu=0.05, final_time=0.2, times=2)
    data = problem.simulate([0], 0, problem.grid(8))
    u = (data.u * 1.3).requires_grad_()
    loss = PhysicsResidual()

    def value(u):
        return loss(u, u, data.grid, Dataset(data.grid, u0=data.u0, u=u, t=data.t, problem=data.problem))

    assert torch.autograd.gradcheck(value, (u,))


@pytest.mark.parametrize("time", ["channels", "axis", "rollout"])
def test_a_prediction_becomes_the_data_set_that_it_predicts(time):
    """``predicted`` inverts ``encode`` and puts the output in its place: of the truth it is the data set itself."""
    problem = Burgers(nu=[0.02, 0.1], final_time=0.4, times=4)
    data = problem.simulate(range(5), 0, problem.grid(16))
    task = make_task(data, time, "channel", "channel", torch.float64).fit(data)
    x, y = task.pair(data, torch.arange(task.items(data)))
    back = task.predicted(x, y)
    if time == "rollout":
        assert torch.allclose(back.u0[::4], data.u0) and torch.allclose(back.u[1::4, 0], data.u[:, 1])
        assert float(back.t[0]) == pytest.approx(0.1)
    else:
        assert torch.allclose(back.u0, data.u0) and torch.allclose(back.u, data.u) and torch.equal(back.t, data.t)
    assert torch.allclose(back.mu[:1], data.mu[:1], rtol=1e-10) and back.problem == data.problem
    half = task.predicted(task.restrict(x, 2), task.restrict(y, 2))
    assert half.grid.shape == (8,) and torch.allclose(half.u0, back.u0[..., ::2])


def test_training_by_physics_alone_approaches_the_solution():
    """No solution is read: the targets are noise."""
    from nwidth.operators import FNO
    from nwidth.training import NeuralSurrogate, TrainingSettings

    problem = Darcy()
    data = problem.simulate(range(24), 0, problem.grid(8))
    blind = Dataset(data.grid, a=data.a, u=data.u[torch.randperm(24)], problem=data.problem)

    def network(in_channels, out_channels, grid):
        return FNO(in_channels, out_channels, grid, modes=6, width=12, layers=2)

    settings = TrainingSettings(steps=90, batch_size=24, progress=False, tensorboard=False, device="cpu")
    loss = PhysicsResidual(norm="energy")
    surrogate = NeuralSurrogate(network, lambda p: torch.optim.Adam(p, lr=1e-2), loss, training=settings)
    surrogate.fit(blind, None)
    u = surrogate.predict(data.inputs()).mean
    error = (u - data.u).flatten(1).norm(dim=1) / data.u.flatten(1).norm(dim=1)
    noise = (blind.u - data.u).flatten(1).norm(dim=1) / data.u.flatten(1).norm(dim=1)
    assert float(error.mean()) < 0.1 and float(noise.mean()) > 0.2
    assert Mixture({"p": PhysicsResidual()}, {"p": 1.0}).reads_inputs
