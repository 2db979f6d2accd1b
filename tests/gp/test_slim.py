"""Sparse spectral kernels: the objective and its parts, the published size, agents in one process and in several."""

import math

import pytest
import scipy.stats
import torch
from nwidth.data.files import load_state, save_state
from nwidth.errors import NWidthError
from nwidth.gp import SparseSpectralGP
from nwidth.gp.quantised import quantise, restore
from nwidth.gp.sparse_weights import Agent

F64 = torch.float64


def waves(x):
    return torch.sin(10 * math.pi * x) + 0.6 * torch.cos(34 * math.pi * x) + 0.3 * torch.sin(66.6 * math.pi * x)


def samples(n, seed=0, noise=0.1, f=waves):
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(n, dtype=F64, generator=g)
    return x[:, None], f(x) + noise * torch.randn(n, dtype=F64, generator=g)


def error(gp, f=waves):
    z = torch.linspace(0, 1, 300, dtype=F64)
    return float((gp.predict(z[:, None])[0] - f(z)).norm() / f(z).norm())


def slow(x):
    return torch.sin(8 * math.pi * x) + 0.5 * torch.cos(14 * math.pi * x)


def test_the_objective_and_the_tangent_of_its_concave_part():
    x, y = samples(12)
    gp = SparseSpectralGP([5], [8.0])
    agent = Agent(gp._components(x, x), y)
    theta = torch.rand(6, dtype=F64, generator=torch.Generator().manual_seed(0)) + 0.1
    K = sum(
        t * torch.exp(-2 * (math.pi * (x - x.mT)) ** 2) * torch.cos(2 * math.pi * m * (x - x.mT))
        for t, m in zip(theta, (0.0, 2.0, 4.0, 6.0, 8.0))
    )  # sigma: half the step of the grid, 1
    C = K + theta[-1] * torch.eye(12, dtype=F64)
    expected = -2 * scipy.stats.multivariate_normal(torch.zeros(12), C).logpdf(y) - 12 * math.log(2 * math.pi)
    assert agent.loss(theta) == pytest.approx(expected, rel=1e-7)
    slope = agent.slope(theta)
    for q in range(6):
        logdets = []
        for step in (1e-5, -1e-5):
            moved = theta.clone()
            moved[q] += step
            C = (moved[:-1] @ agent.K).view(12, 12) + moved[-1] * torch.eye(12, dtype=F64)
            logdets.append(float(torch.logdet(C)))
        assert float(slope[q]) == pytest.approx((logdets[0] - logdets[1]) / 2e-5, rel=1e-6)


def test_three_sines_among_three_hundred_components():
    x, y = samples(120)
    gp = SparseSpectralGP([300], [50.0]).fit(x, y)
    assert error(gp) < 0.06 and int(gp.active().sum()) <= 8
    assert gp.history[-1] < gp.history[0] and int((gp.theta == 0).sum()) > 290
    assert gp.noise == pytest.approx(0.1, rel=0.12)
    found = gp.kernel.frequencies[gp.active()][:, 0]
    assert all(float((found - f).abs().min()) < 0.2 for f in (5.0, 17.0, 33.3))
    z, target = samples(300, seed=7)
    mean, std = gp.predict(z)
    assert 0.9 < float(((mean - target).abs() < 1.96 * std).double().mean()) < 0.99


def test_two_dimensions():
    g = torch.Generator().manual_seed(0)
    x = torch.rand(120, 2, dtype=F64, generator=g)
    y = torch.cos(2 * math.pi * (3 * x[:, 0] + 2 * x[:, 1]))
    gp = SparseSpectralGP([7, 5], [6.0, 4.0]).fit(x[:80], y[:80])
    assert gp.kernel.frequencies[gp.weights.argmax()].tolist() == [3.0, 2.0]
    assert float((gp.predict(x[80:])[0] - y[80:]).norm() / y[80:].norm()) < 0.1


def test_rounding_is_unbiased_and_within_one_level():
    v = torch.randn(50, dtype=F64, generator=torch.Generator().manual_seed(0))
    for bits in (2, 8, 12):
        g = torch.Generator().manual_seed(1)
        found = torch.stack([restore(quantise(v, bits, g), bits) for _ in range(2000)])
        level = 2 * float(v.abs().max()) / (2**bits - 1)
        assert float((found - v).abs().max()) <= level * 1.001
        assert float((found.mean(0) - v).abs().max()) < 0.05 * level
    assert len(quantise(v, 8, torch.Generator())) == 58 and len(quantise(v, 12, torch.Generator())) == 108


def test_agents_that_agree_find_the_central_error():
    x, y = samples(120, f=slow)
    central = SparseSpectralGP([41], [20.0]).fit(x, y)
    parts = [(x[i], y[i]) for i in torch.arange(120).chunk(4)]
    fine = SparseSpectralGP([41], [20.0]).fit_agents(parts, bits=16).condition(x, y)
    coarse = SparseSpectralGP([41], [20.0]).fit_agents(parts, bits=8).condition(x, y)
    assert error(coarse, slow) < 1.05 * error(central, slow) + 1e-3
    assert coarse.bytes_sent < 0.6 * fine.bytes_sent * len(coarse.history) / len(fine.history)
    assert error(coarse, slow) == pytest.approx(error(fine, slow), rel=0.1)


def test_one_agent_is_the_central_fit():
    x, y = samples(60, f=slow)
    central = SparseSpectralGP([21], [10.0], tolerance=1e-7).fit(x, y)
    alone = SparseSpectralGP([21], [10.0], tolerance=1e-7).fit_agents([(x, y)], bits=16, rounds=150).condition(x, y)
    agent = Agent(central._components(x, x), (y - central.mean) / central.scale)
    assert agent.loss(alone.theta) == pytest.approx(agent.loss(central.theta), abs=0.05)


PROCESS = """
import torch
import torch.distributed as dist
from nwidth.gp import SparseSpectralGP
x, y = torch.load(f"{folder}/data.pt", weights_only=True)
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
part = [(x[rank::2], y[rank::2])]
gp = SparseSpectralGP([21], [10.0]).fit_agents(part, rounds=8, group=dist.group.WORLD)
torch.save(gp.theta, f"{folder}/{rank}.pt")
dist.destroy_process_group()
"""


def test_processes_find_what_agents_in_one_process_find(tmp_path, nwidth):
    x, y = samples(40, f=slow)
    torch.save((x, y), tmp_path / "data.pt")
    given = [{"rank": r, "folder": str(tmp_path)} for r in range(2)]
    runs = [nwidth.parent.Process(target=exec, args=(PROCESS, names)) for names in given]
    try:
        for run in runs:
            run.start()
        for run in runs:
            run.join(120)
        assert [run.exitcode for run in runs] == [0, 0]
    finally:
        for run in runs:
            run.kill()
    found = [torch.load(tmp_path / f"{r}.pt", weights_only=True) for r in range(2)]
    assert torch.equal(*found)
    alone = SparseSpectralGP([21], [10.0]).fit_agents([(x[r::2], y[r::2]) for r in range(2)], rounds=8)
    assert torch.allclose(alone.theta, found[0], atol=1e-6)


def test_noise_alone_has_no_component():
    x, y = samples(80, f=torch.zeros_like, noise=1.0)
    parts = [(x[i], y[i]) for i in torch.arange(80).chunk(2)]
    for gp in (
        SparseSpectralGP([21], [10.0]).fit(x, y),
        SparseSpectralGP([21], [10.0]).fit_agents(parts).condition(x, y),
    ):
        assert int(gp.active().sum()) <= 1 and gp.noise == pytest.approx(float(y.std()), rel=0.1)
        assert float(gp.predict(x)[0].std()) < 0.4


def test_state_and_errors(tmp_path):
    x, y = samples(40, f=slow)
    gp = SparseSpectralGP([21], [10.0]).fit(x, y)
    save_state(tmp_path / "s", gp.state_dict())
    again = SparseSpectralGP([21], [10.0])
    with pytest.raises(NWidthError, match="no samples"):
        again.predict(x)
    for act in (lambda: again.weights, lambda: again.noise, lambda: again.condition(x, y)):
        with pytest.raises(NWidthError, match="not fitted"):
            act()
    again.load_state_dict(load_state(tmp_path / "s"))
    assert all(torch.allclose(a, b) for a, b in zip(again.predict(x), gp.predict(x)))
    with pytest.raises(NWidthError, match="bits=1"):
        gp.fit_agents([(x, y)], bits=1)
    with pytest.raises(NWidthError, match="constant values"):
        gp.fit(x, torch.ones_like(y))
    with pytest.raises(NWidthError, match="NaN"):
        gp.fit(x, y * math.nan)
