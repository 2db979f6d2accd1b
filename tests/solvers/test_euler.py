import math
from importlib.resources import files
from itertools import pairwise

import pytest
import torch
from nwidth.build import build
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import Euler, GaussianField, PiecewiseConstant, SmoothStates, euler_riemann
from omegaconf import OmegaConf

D = torch.float64
# density, velocity and pressure on both sides, and the final time
CASES = {
    "sod": ([1.0, 0.0, 1.0], [0.125, 0.0, 0.1], 0.2),
    "lax": ([0.445, 0.698, 3.528], [0.5, 0.0, 0.571], 0.13),
    "123": ([1.0, -2.0, 0.4], [1.0, 2.0, 0.4], 0.15),
}
SMOOTH = SmoothStates(fields=[GaussianField(scale=0.3, modes=3) for _ in range(3)])


def riemann_errors(n, **options):
    """Of density, velocity and pressure, by case; all cases are one batch, solved to all final times."""
    problem = Euler(final_time=0.2, **options)
    grid = problem.grid(n)
    x = grid.coordinates()[0] - 0.5
    left, right = (torch.tensor([c[i] for c in CASES.values()], dtype=D)[:, :, None] for i in (0, 1))
    times = sorted(c[2] for c in CASES.values())
    u0 = torch.where(x < 0, left, right)
    u = problem.solve(Dataset(grid, u0=u0, t=torch.tensor(times, dtype=D))).u
    errors = {}
    for i, (case, (_, _, t)) in enumerate(CASES.items()):
        exact = euler_riemann(left[i, :, 0], right[i, :, 0], x / t)
        difference = (u[i, times.index(t)] - exact).abs().mean(-1)
        errors[case] = (difference / exact.abs().mean(-1).clamp_min(0.1)).tolist()
    return errors


def test_the_exact_solution_satisfies_the_jump_conditions():
    left, right, _ = (torch.tensor(v, dtype=D) for v in CASES["sod"])
    x = torch.linspace(-2, 2, 40001, dtype=D)
    w = euler_riemann(left, right, x)
    # Toro (2009), table 4.2: p*, u*, and the densities on both sides of the contact
    middle = w[:, (x > 0.5) & (x < 0.9)]
    assert torch.allclose(middle[2].mean(), torch.tensor(0.30313, dtype=D), atol=1e-5)
    assert torch.allclose(middle[1].mean(), torch.tensor(0.92745, dtype=D), atol=1e-5)
    beside = euler_riemann(left, right, torch.tensor([0.9, 0.95], dtype=D))[0].tolist()
    assert beside == pytest.approx([0.42632, 0.26557], abs=1e-5)
    # conservation over [-2, 2] at t = 1, by quadrature: int q = int q_0 + F(left) - F(right)
    problem = Euler()
    mu = torch.full((1, 1, 1), 1.4, dtype=D)
    q = torch.trapezoid(problem.conserved(w[None], mu)[0], x)
    ends = torch.stack([left, right], 1)[None]
    start = 2 * problem.conserved(ends, mu)[0].sum(-1)
    flux = problem.flux(ends, 0, mu)[0]
    assert torch.allclose(q, start + flux[:, 0] - flux[:, 1], atol=1e-3)


@pytest.mark.parametrize("riemann", ["rusanov", "hll", "hllc"])
def test_riemann_problems_converge_at_first_order(riemann):
    coarse, fine = (riemann_errors(n, riemann=riemann) for n in (40, 160))
    for case, bound in (("sod", 0.025), ("lax", 0.03), ("123", 0.03)):
        assert max(fine[case]) < bound, (case, fine)
        assert math.log2(sum(coarse[case]) / sum(fine[case])) / 2 > 0.75, (case, coarse, fine)


def test_hllc_keeps_a_resting_contact():
    problem = Euler(final_time=0.2, times=1)
    grid = problem.grid(20)
    density = torch.where(grid.coordinates()[0] < 0.5, 1.0, 0.1)
    u0 = torch.stack([density, torch.zeros_like(density), torch.ones_like(density)])[None]
    assert torch.allclose(problem.solve(Dataset(grid, u0=u0)).u[:, 0], u0, atol=1e-12)


@pytest.mark.parametrize("riemann", ["rusanov", "hll", "hllc"])
def test_second_order_on_a_density_wave(riemann):
    errors = []
    for n in (32, 64, 128) if riemann == "hllc" else (64, 128):
        problem = Euler(final_time=0.1, times=1, boundary="periodic", riemann=riemann)
        grid = problem.grid(n)
        x, mean = grid.coordinates()[0], n / math.pi * math.sin(math.pi / n)
        start = torch.stack([1 + 0.2 * mean * torch.sin(2 * math.pi * x), *torch.ones(2, n, dtype=D)])[None]
        u = problem.solve(Dataset(grid, u0=start)).u[0, 0]
        exact = 1 + 0.2 * mean * torch.sin(2 * math.pi * (x - 0.1))
        assert torch.allclose(u[1:], torch.ones_like(u[1:]), atol=1e-9)  # neither velocity nor pressure moves
        errors.append(float((u[0] - exact).abs().mean()))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert min(orders) > 1.7 and orders[-1] > 1.85, orders


@pytest.mark.parametrize("ndim, n", [(1, 64), (2, 16)])
@pytest.mark.parametrize("boundary, conserved", [("periodic", (0, 1, -1)), ("reflecting", (0, -1))])
def test_what_is_conserved(ndim, n, boundary, conserved):
    laws = PiecewiseConstant(ranges=[[0.3, 1.0], [-0.3, 0.3], [0.3, 1.0]])
    problem = Euler(ndim=ndim, boundary=boundary, initial=laws, times=2)
    data = problem.simulate(range(3), 0, problem.grid(n))
    mu = problem.parameters(data).view(-1, 1, *(1,) * ndim)
    totals = [problem.conserved(w, mu).flatten(2).sum(-1) for w in (data.u0, data.u[:, 0], data.u[:, 1])]
    for i in conserved:
        for after in totals[1:]:
            assert torch.allclose(after[:, i], totals[0][:, i], rtol=1e-13, atol=1e-11)


def test_mirror_images_stay_mirror_images():
    problem = Euler(times=1)
    grid = problem.grid(32)
    start = problem.sample(range(3), 0, grid)
    flipped = torch.tensor([1.0, -1.0, 1.0], dtype=D)[:, None]
    mirrored = problem.solve(Dataset(grid, u0=start.u0.flip(-1) * flipped)).u
    assert torch.allclose(mirrored.flip(-1) * flipped, problem.solve(start).u, atol=1e-11)


def test_exchanged_axes():
    problem = Euler(ndim=2, times=1, boundary="periodic", final_time=0.1)
    grid = problem.grid(16)
    start = problem.sample([0], 0, grid).u0
    turned = start.mT[:, [0, 2, 1, 3]]
    u, v = (problem.solve(Dataset(grid, u0=w)).u[:, 0] for w in (start, turned))
    assert torch.allclose(v, u.mT[:, [0, 2, 1, 3]], atol=1e-12)


def test_a_line_of_a_plane_solves_the_problem_in_one_dimension():
    line, plane = Euler(times=1), Euler(ndim=2, times=1, cfl=0.225, final_time=0.1)
    start = line.sample([0], 0, line.grid(32))
    u = Euler(times=1, cfl=0.225, final_time=0.1).solve(start).u[0, 0]
    w = start.u0[0]
    flat = torch.stack([w[0], w[1], torch.zeros(32, dtype=D), w[2]])[None, :, :, None].expand(-1, -1, -1, 8)
    v = plane.solve(Dataset(plane.grid([32, 8]), u0=flat.contiguous())).u[0, 0]
    assert float(v.std(-1).max()) < 1e-13 and float(v[2].abs().max()) < 1e-13
    assert float((v[[0, 1, 3], :, 0] - u).abs().max()) < 1e-3  # other time steps


def test_a_sample_does_not_depend_on_its_batch():
    problem = Euler(gamma=[1.2, 1.7], times=2)
    grid = problem.grid(48)
    together = problem.simulate(range(6), 3, grid).u
    for i in (0, 5):
        assert torch.equal(problem.simulate([i], 3, grid).u[0], together[i])


@pytest.mark.parametrize("boundary", ["periodic", "outflow"])
def test_refined_data_approach_one_solution(boundary):
    def data(n, refine):
        problem = Euler(initial=SMOOTH, boundary=boundary, times=1, final_time=0.05, refine=refine)
        return problem.simulate([0, 1], 0, problem.grid(n))

    fine = data(32, 16)
    errors = [float((data(32, r).u - fine.u).abs().mean()) for r in (1, 2, 4)]
    assert errors[0] > 2.5 * errors[1] > 6 * errors[2], errors
    inputs = Euler(initial=SMOOTH, boundary=boundary, refine=4).sample([0, 1], 0, fine.grid)
    assert float((inputs.u0 - fine.u0).abs().max()) < 5e-3
    assert torch.equal(inputs.u0, data(32, 4).u0)


def test_solving_stored_data_on_a_finer_grid():
    coarse, fine = (Euler(initial=SMOOTH, times=1, final_time=0.05, refine=r) for r in (1, 4))
    start = coarse.sample([0], 0, coarse.grid(32))
    exact = Euler(initial=SMOOTH, times=1, final_time=0.05, refine=16).simulate([0], 0, coarse.grid(32))
    errors = [float((p.solve(start).u - exact.u).abs().mean()) for p in (coarse, fine)]
    assert errors[1] < 0.6 * errors[0], errors


def test_the_same_function_at_every_resolution():
    problem = Euler(initial=PiecewiseConstant(ranges=[[1, 2], [0, 1], [1, 2]], pieces=4))
    fine = problem.sample([5], 0, problem.grid(99)).u0
    assert torch.equal(problem.sample([5], 0, problem.grid(33)).u0, fine[..., 1::3])


def test_strong_blast_waves_stay_positive():
    # Woodward and Colella (1984): pressures 1000, 0.01 and 100 between walls
    problem = Euler(boundary="reflecting", final_time=0.038, times=1)
    grid = problem.grid(60)
    x = grid.coordinates()[0]
    p = torch.where(x < 0.1, 1000.0, torch.where(x > 0.9, 100.0, 0.01)).double()
    u = problem.solve(Dataset(grid, u0=torch.stack([torch.ones_like(x), torch.zeros_like(x), p])[None])).u[0, 0]
    assert bool((u[[0, 2]] > 0).all())
    q = problem.conserved(u[None], torch.full((1, 1, 1), 1.4, dtype=D))[0].mean(-1)
    assert q[[0, 2]].tolist() == pytest.approx([1.0, (0.1 * 1000 + 0.8 * 0.01 + 0.1 * 100) / 0.4])
    assert 0.6 < float(x[u[0].argmax()]) < 0.82 and float(u[0].max()) > 3  # after the collision of the waves


def test_slopes_are_dropped_where_a_pressure_would_not_be_positive(monkeypatch):
    flattened = []
    whole = Euler.tendency

    def tendency(self, q, mu, grid, flat=None):
        flattened.append(flat is not None)
        return whole(self, q, mu, grid, flat)

    monkeypatch.setattr(Euler, "tendency", tendency)
    problem = Euler(final_time=0.04, times=1)
    grid = problem.grid(100)
    x = grid.coordinates()[0] - 0.5
    w = torch.stack([torch.ones_like(x), 10 * x.sign(), torch.full_like(x, 0.4)])[None]  # leaves a near vacuum
    u = problem.solve(Dataset(grid, u0=w)).u[0, 0]
    assert any(flattened) and bool((u[[0, 2]] > 0).all()) and float(u[0].min()) < 0.01
    assert torch.allclose(u[0].flip(-1), u[0], atol=1e-9)
    assert float(u[0].mean()) == pytest.approx(1 - 2 * 10 * 0.04, rel=1e-2)  # what flows out is counted


def test_float32():
    problem = Euler(times=1)
    start = problem.sample(range(2), 0, problem.grid(32))
    exact = problem.solve(start).u
    single = problem.solve(start.to(dtype=torch.float32), dtype=torch.float32)
    assert single.u.dtype == torch.float32 and float((single.u - exact).abs().mean()) < 1e-5


def test_a_vacuum_is_an_error():
    with pytest.raises(NWidthError, match="vacuum"):
        euler_riemann(torch.tensor([1.0, -20.0, 0.4]), torch.tensor([1.0, 20.0, 0.4]), torch.zeros(1))


@pytest.mark.parametrize("name, default", [("euler", Euler())])
def test_the_packaged_config_is_the_default(name, default):
    config = OmegaConf.create((files("nwidth.conf") / "problem" / f"{name}.yaml").read_text())
    assert build(config) == default and OmegaConf.to_container(config) == default.config()


@pytest.mark.parametrize(
    "problem", [Euler(gamma=[1.2, 1.6]), Euler(ndim=2, initial=SMOOTH, boundary=["periodic", "outflow"])]
)
def test_config_makes_the_problem_again(problem):
    assert build(problem.config()) == problem


@pytest.mark.parametrize(
    "bad, match",
    [
        (lambda: Euler(gamma=1.0), "gamma"),
        (lambda: Euler(initial=PiecewiseConstant(ranges=[[1, 2]])).sample([0], 0, Euler().grid(8)), "3, one for each"),
        (lambda: Euler(gamma=[1.2, 1.6]).solve(Euler().sample([0], 0, Euler().grid(8))), "mu"),
        (lambda: PiecewiseConstant(ranges=[[2, 1]]), "ranges"),
        (lambda: PiecewiseConstant(ranges=[[1, 2]], margin=0.5), "margin"),
    ],
)
def test_bad_input(bad, match):
    with pytest.raises(NWidthError, match=match):
        bad()
