"""Learned dynamics against exact linear and quadratic systems, PyDMD, and the Burgers equation."""

import numpy as np
import pytest
import torch
from nwidth.backends import Grid
from nwidth.data import Dataset
from nwidth.data.metrics import relative_l2
from nwidth.errors import NWidthError
from nwidth.solvers import Burgers
from nwidth.solvers.reduced import DMD, Autoregressive, OperatorInference, Persistence, Ridge
from nwidth.solvers.reduced.dmd import exact_dmd, optimized_dmd
from nwidth.solvers.reduced.operator_inference import Tikhonov, integration_matrix

F64 = torch.float64


def lifted(states, t, mu=None):
    """Trajectories (N, T + 1, r) as fields of 40 points."""
    basis = torch.linalg.qr(torch.randn(40, states.shape[-1], dtype=F64, generator=torch.Generator().manual_seed(9)))[0]
    u = (states @ basis.mT)[:, :, None]
    return Dataset(Grid.make((40,)), u0=u[:, 0], u=u[:, 1:], t=t[1:], mu=mu)


def linear_system(count=6, times=12, step=0.2, seed=0):
    g = torch.Generator().manual_seed(seed)
    A = torch.tensor([[-0.1, 2.0, 0.0], [-2.0, -0.1, 0.0], [0.3, 0.0, -0.5]], dtype=F64)
    t = step * torch.arange(times + 1, dtype=F64)
    start = torch.randn(count, 3, generator=g, dtype=F64)
    states = torch.stack([start @ torch.linalg.matrix_exp(A * s).mT for s in t.tolist()], 1)
    return lifted(states, t)


def error(surrogate, data):
    return float(relative_l2(surrogate.predict(data.inputs()).mean, data.u, data.grid).mean())


@pytest.mark.parametrize(
    "make",
    [
        lambda: OperatorInference(ranks=[3], forms=["discrete"], quadratic=False),
        lambda: DMD(ranks=[3]),
        lambda: Autoregressive(Ridge([1e-16]), ranks=[3]),
    ],
    ids=["operator_inference", "dmd", "autoregressive"],
)
def test_a_linear_system_is_recovered_also_beyond_the_training_times(make):
    short, long = linear_system(), linear_system(4, 60, seed=1)
    surrogate = make()
    log = surrogate.fit(short[:4], short[4:])
    assert error(surrogate, long) < 1e-10 and log.rank == 3 and log.selected["train_floor"] < 1e-12


def test_dmd_at_other_times():
    short, between = linear_system(), linear_system(3, 9, step=0.13, seed=2)
    dmd = DMD(ranks=[3])
    dmd.fit(short, None)
    assert error(dmd, between) < 1e-10


def test_dmd_against_pydmd():
    pydmd = pytest.importorskip("pydmd")
    data = linear_system(1, 30)
    states = torch.cat([data.u0[:, None], data.u], 1).flatten(2)
    t = torch.cat([torch.zeros(1, dtype=F64), data.t])
    theirs = pydmd.DMD(svd_rank=3, exact=True).fit(states[0].T.numpy())
    ours = exact_dmd(states, t, 3)
    assert np.allclose(np.sort_complex(theirs.eigs), np.sort_complex((ours["rates"] * 0.2).exp().numpy()), atol=1e-9)
    # noise: all times at once against pairs of neighbours
    truth = np.sort_complex(np.array([-0.1 + 2j, -0.1 - 2j, -0.5]))
    noisy = states + 0.02 * states.std() * torch.randn(
        states.shape, generator=torch.Generator().manual_seed(0), dtype=F64
    )
    missed = [
        np.abs(np.sort_complex(f(noisy, t, 3)["rates"].numpy()) - truth).max() for f in (optimized_dmd, exact_dmd)
    ]
    assert missed[0] < 0.5 * missed[1]


def test_optimized_dmd_shares_rates_among_trajectories():
    pytest.importorskip("pydmd")
    data = linear_system()
    dmd = DMD(ranks=[3], method="optimized")
    dmd.fit(data[:4], data[4:])
    assert error(dmd, linear_system(3, 30, seed=5)) < 1e-5


def logistic(mu, count, times, final, seed=0):
    """x' = mu x (1 - x), exactly, in two independent components."""
    g = torch.Generator().manual_seed(seed)
    t = torch.linspace(0, final, times + 1, dtype=F64)
    start = 0.1 + 0.6 * torch.rand(count, 1, 2, generator=g, dtype=F64)
    rate = torch.tensor(mu, dtype=F64).expand(count)[:, None, None]
    growth = torch.exp(rate * t[None, :, None])
    return lifted(start * growth / (1 + start * (growth - 1)), t, None if isinstance(mu, float) else rate[:, :, 0])


def test_a_quadratic_equation_is_recovered_with_the_order_of_the_quadrature():
    missed = []
    for times in (10, 20, 40):
        data = logistic(1.0, 12, times, 4.0)
        learned = OperatorInference(ranks=[2], forms=["continuous"], linear_weights=[0.0], quadratic_weights=[0.0])
        learned.fit(data, None)
        missed.append(error(learned, logistic(1.0, 5, 30, 8.0, seed=1)))  # twice as long
    assert missed[2] < 1e-6 and missed[0] / missed[1] > 2**4.5 and missed[1] / missed[2] > 2**4.5


def test_affine_parameters():
    mu = torch.linspace(0.5, 2, 16).tolist()
    learned = OperatorInference(ranks=[2], forms=["continuous"], linear_weights=[0.0], quadratic_weights=[0.0])
    learned.fit(logistic(mu, 16, 40, 3.0), None)
    assert error(learned, logistic([0.7, 1.1, 1.9], 3, 20, 3.0, seed=1)) < 1e-5
    with pytest.raises(NWidthError, match="without mu"):
        learned.predict(logistic(1.0, 3, 20, 3.0).inputs())


def test_a_quadratic_map_is_recovered():
    states = [0.3 * torch.rand(10, 2, generator=torch.Generator().manual_seed(0), dtype=F64)]
    for _ in range(15):
        x, y = states[-1].unbind(1)
        states.append(torch.stack([1 - 1.1 * x**2 + y, 0.3 * x], 1))  # Henon's
    data = lifted(torch.stack(states, 1), torch.arange(16, dtype=F64))
    learned = OperatorInference(ranks=[2], forms=["discrete"])
    learned.fit(data[:7], data[7:])
    assert error(learned, data[7:]) < 1e-8


def test_tikhonov_and_quadrature():
    g = torch.Generator().manual_seed(0)
    D, Y = torch.randn(30, 6, generator=g, dtype=F64), torch.randn(30, 2, generator=g, dtype=F64)
    weights = torch.tensor([0.1, 0.1, 0.1, 2.0, 2.0, 2.0], dtype=F64)
    expected = torch.linalg.solve(D.mT @ D + torch.diag(weights), D.mT @ Y)
    assert torch.allclose(Tikhonov(D, Y).solve(weights), expected)
    t = torch.linspace(0, 1, 8, dtype=F64) ** 1.5
    assert torch.allclose(integration_matrix(t) @ t**5, (t**6).diff() / 6)


def test_burgers_beats_dmd_and_persistence():
    problem = Burgers(nu=0.05, times=10, final_time=1.0)
    data = problem.simulate(range(60), 0, problem.grid(32))
    train, val, test = data[:40], data[40:50], data[50:]
    learned = OperatorInference(ranks=[4, 8], forms=["continuous"])
    found = {}
    for name, surrogate in {"opinf": learned, "dmd": DMD(), "persistence": Persistence()}.items():
        surrogate.fit(train, val)
        found[name] = error(surrogate, test)
    assert found["opinf"] < 0.1 and found["opinf"] < 0.4 * found["dmd"] and found["dmd"] < found["persistence"]


def test_refusals():
    data = linear_system()
    uneven = Dataset(data.grid, u0=data.u0, u=data.u[:, [0, 1, 4]], t=data.t[[0, 1, 4]])
    with pytest.raises(NWidthError, match="unequal steps"):
        DMD(ranks=[2]).fit(uneven, None)
    with pytest.raises(NWidthError, match="form"):
        OperatorInference(forms=["weak"])
    wild = Dataset(data.grid, u0=1e200 * data.u0, t=data.t)
    learned = OperatorInference(ranks=[2])
    learned.fit(data, None)
    with pytest.raises(NWidthError, match="finite"):
        learned.predict(wild)
