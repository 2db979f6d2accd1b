import math
from importlib.resources import files
from itertools import pairwise

import pytest
import torch
from nwidth.build import build
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import GaussianField, PiecewiseConstant, RadialDamBreak, ShallowWater, SmoothStates, dam_break
from omegaconf import OmegaConf

D = torch.float64
BOTTOM = GaussianField(scale=2.0, tau=4.0, alpha=2.0, modes=6)
LEVEL = SmoothStates(fields=[GaussianField(scale=0.0, mean=1.5), GaussianField(scale=0.0)])


@pytest.mark.parametrize("riemann", ["rusanov", "hll", "hllc"])
@pytest.mark.parametrize("depths, gravity", [((2.0, 1.0), 1.0), ((1.0, 0.1), 9.81)])
def test_a_dam_break_converges_to_stokers_solution(depths, gravity, riemann):
    errors = []
    for n in (50, 200):
        t = 1.0 / math.sqrt(gravity)
        problem = ShallowWater(ndim=1, gravity=gravity, final_time=t, times=1, riemann=riemann)
        grid = problem.grid(n)
        x = grid.coordinates()[0]
        h = torch.where(x < 0, depths[0], depths[1]).double()
        u = problem.solve(Dataset(grid, u0=torch.stack([h, torch.zeros_like(h)])[None])).u[0, 0]
        exact = dam_break(*depths, x / t, gravity)
        errors.append(float(((u - exact).abs().mean(-1) / exact.abs().mean(-1)).max()))
    assert errors[-1] < 0.02, errors
    assert math.log2(errors[0] / errors[-1]) / 2 > 0.8, errors


def test_stokers_solution_satisfies_the_jump_conditions():
    g, left, right = 9.81, 3.0, 0.5
    x = torch.linspace(-12, 12, 240001, dtype=D)
    h, u = dam_break(left, right, x, g)
    assert bool((h.diff() <= 1e-12).all()) and bool((u >= 0).all())
    assert torch.allclose(torch.trapezoid(h, x), torch.tensor(12 * (left + right), dtype=D), atol=1e-3)
    thrust = g / 2 * (left**2 - right**2)
    assert torch.allclose(torch.trapezoid(h * u, x), torch.tensor(thrust, dtype=D), atol=1e-2)
    fan = (u > 0.1) & (h > 1.01 * h[u.argmax()])
    invariant = (u + 2 * (g * h).sqrt())[fan]
    assert torch.allclose(invariant, torch.full_like(invariant, 2 * math.sqrt(g * left)))


def test_second_order_on_a_smooth_wave():
    # a simple wave: u - 2 sqrt(g h) is constant, and u + sqrt(g h) is constant along straight characteristics
    def exact(x, t):
        y = x.clone()
        for _ in range(60):
            y = x - t * speed(y)
        return y

    def depth(y):
        return (1 + 0.05 * torch.sin(2 * math.pi * y)).square()

    def speed(y):
        return 3 * depth(y).sqrt() - 2

    errors = []
    for n in (32, 64, 128):
        problem = ShallowWater(ndim=1, lo=0.0, hi=1.0, boundary="periodic", final_time=0.3, times=1)
        grid = problem.grid(n)
        x = grid.coordinates()[0]
        # cell averages by Gauss quadrature with three points
        nodes = [(-math.sqrt(0.6), 5 / 18), (0.0, 8 / 18), (math.sqrt(0.6), 5 / 18)]

        def averages(t, x=x, n=n, nodes=nodes):
            h, m = 0.0, 0.0
            for s, weight in nodes:
                d = depth(exact(x + s / (2 * n), t))
                h, m = h + weight * d, m + weight * d * 2 * (d.sqrt() - 1)
            return torch.stack([h, m / h])[None]

        u = problem.solve(Dataset(grid, u0=averages(0.0))).u[:, 0]
        errors.append(float((u - averages(0.3)).abs().mean()))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert min(orders) > 1.7 and orders[-1] > 1.9, orders


@pytest.mark.parametrize("ndim, n", [(1, 64), (2, 16)])
@pytest.mark.parametrize("boundary, conserved", [("periodic", (0, 1)), ("reflecting", (0,))])
def test_what_is_conserved(ndim, n, boundary, conserved):
    problem = ShallowWater(
        ndim=ndim, boundary=boundary, times=2, initial=PiecewiseConstant(ranges=[[1.0, 2.0], [-0.5, 0.5]])
    )
    data = problem.simulate(range(3), 0, problem.grid(n))
    none = data.u0.new_zeros(3, 0)
    totals = [problem.conserved(w, none).flatten(2).sum(-1) for w in (data.u0, data.u[:, 0], data.u[:, 1])]
    for i in conserved:
        for after in totals[1:]:
            assert torch.allclose(after[:, i], totals[0][:, i], rtol=1e-13, atol=1e-11)


def test_a_radial_dam_break_has_the_symmetries_of_the_square_and_is_nearly_round():
    problem = ShallowWater(times=1, final_time=0.6)
    grid = problem.grid(64)
    data = problem.simulate([0], 0, grid)
    h, u, v = data.u[0, 0]
    for other in (h.flip(0), h.flip(1), h.mT):
        assert torch.allclose(other, h, atol=1e-12)
    assert torch.allclose(u.mT, v, atol=1e-12) and torch.allclose(u.flip(0), -u, atol=1e-12)
    x = grid.coordinates()
    radial = (x[0] * u + x[1] * v) / x.square().sum(0).sqrt()
    assert float((x[0] * v - x[1] * u).abs().max()) < 0.1 * float(radial.max())
    middle = 32
    along, across = h[middle:, middle], torch.stack([h[middle + i, middle + i] for i in range(32)])
    r = grid.axes[0].coordinates()[middle:]
    # the profile along a diagonal, read at the radii of the one along an axis
    radius = (r.square() + r[0] ** 2).sqrt()
    place = (radius / math.sqrt(2) - r[0]) / grid.axes[0].spacing
    low = place.floor().long().clamp(0, 30)
    read = across[low] + (place - low) * (across[low + 1] - across[low])
    assert float((read - along)[1:].abs().max()) < 0.06 * float(h.max() - h.min())


def test_the_radial_dam_breaks_of_pdebench():
    problem = ShallowWater()
    assert problem.grid(128).shape == (128, 128) and problem.times == 100 and problem.final_time == 1.0
    data = problem.sample(range(20), 0, problem.grid(128))
    h = data.u0[:, 0]
    assert sorted(h.unique().tolist()) == [1.0, 2.0] and bool((data.u0[:, 1:] == 0).all())
    radius = ((h > 1.5).sum((1, 2)) * (5 / 128) ** 2 / math.pi).sqrt()
    assert 0.28 < float(radius.min()) < 0.4 and 0.6 < float(radius.max()) < 0.72


@pytest.mark.parametrize("ndim, n", [(1, 20), (2, 8)])
@pytest.mark.parametrize("riemann", ["rusanov", "hll", "hllc"])
@pytest.mark.parametrize("boundary", ["outflow", "reflecting", "periodic"])
def test_a_lake_at_rest_stays_at_rest(ndim, n, riemann, boundary):
    problem = ShallowWater(
        ndim=ndim, bottom=BOTTOM, initial=LEVEL, times=1, riemann=riemann, boundary=boundary, final_time=1.0
    )
    data = problem.simulate([0, 1], 0, problem.grid(n))
    assert data.reads == ("a", "u0") and float(data.a.std()) > 0.1
    assert torch.allclose(data.u[:, 0, :1] + data.a, torch.full_like(data.a, math.exp(1.5)), atol=1e-13)
    assert float(data.u[:, 0, 1:].abs().max()) < 1e-13


def test_a_steady_flow_over_a_bump_stays_steady():
    # discharge and head h + b + u^2/(2g) are constant in a smooth steady subcritical flow
    errors = []
    for n in (50, 100):
        problem = ShallowWater(ndim=1, lo=0.0, hi=25.0, gravity=9.81, bottom=BOTTOM, final_time=2.0, times=1)
        grid = problem.grid(n)
        x = grid.coordinates()[0]
        b = 0.2 * torch.exp(-((x - 12.5) ** 2) / 4)
        q, depth = 4.42, torch.full_like(x, 2.0)
        head = 2.0 + q**2 / (2 * 9.81 * 4.0)
        for _ in range(50):
            depth = head - b - q**2 / (2 * 9.81 * depth**2)
        start = torch.stack([depth, q / depth])[None]
        u = problem.solve(Dataset(grid, u0=start, a=b[None, None])).u[:, 0]
        errors.append(float((u - start).abs().max()))
    assert errors[0] < 0.05 and errors[0] > 3 * errors[1], errors


def test_second_order_over_a_bottom():
    def solution(n, refine):
        laws = SmoothStates(fields=[GaussianField(scale=0.1, modes=2, mean=0.7), GaussianField(scale=0.1, modes=2)])
        bottom = GaussianField(scale=2.0, tau=4.0, alpha=2.0, modes=2)
        problem = ShallowWater(
            ndim=1, bottom=bottom, initial=laws, times=1, boundary="periodic", refine=refine, final_time=0.5
        )
        return problem.simulate([0], 0, problem.grid(n)).u

    fine = solution(32, 16)
    errors = [float((solution(32, r) - fine).abs().mean()) for r in (1, 2, 4)]
    assert errors[0] > 2.5 * errors[1] and errors[1] > 3.5 * errors[2], errors


def test_a_sample_does_not_depend_on_its_batch():
    problem = ShallowWater(times=2, final_time=0.5)
    grid = problem.grid(24)
    together = problem.simulate(range(4), 3, grid).u
    assert torch.equal(problem.simulate([2], 3, grid).u[0], together[2])


def test_float32():
    problem = ShallowWater(times=1, ndim=1, bottom=BOTTOM, initial=LEVEL)
    start = problem.sample([0], 0, problem.grid(32))
    u = problem.solve(start.to(dtype=torch.float32), dtype=torch.float32).u
    assert u.dtype == torch.float32 and float(u[:, 0, 1].abs().max()) < 1e-5


@pytest.mark.parametrize("name, default", [("shallow_water", ShallowWater())])
def test_the_packaged_config_is_the_default(name, default):
    config = OmegaConf.create((files("nwidth.conf") / "problem" / f"{name}.yaml").read_text())
    assert build(config) == default and OmegaConf.to_container(config) == default.config()


@pytest.mark.parametrize(
    "problem", [ShallowWater(ndim=1, bottom=BOTTOM, initial=LEVEL), ShallowWater(initial=RadialDamBreak(inside=[2, 3]))]
)
def test_config_makes_the_problem_again(problem):
    assert build(problem.config()) == problem


@pytest.mark.parametrize(
    "bad, match",
    [
        (lambda: ShallowWater(gravity=0.0), "gravity"),
        (lambda: RadialDamBreak(radius=[-1.0, 1.0]), "radius"),
        (lambda: dam_break(1.0, 2.0, torch.zeros(1)), "left > right"),
        (
            lambda: ShallowWater(bottom=GaussianField(mean=5.0), initial=LEVEL).sample([0], 0, ShallowWater().grid(8)),
            "below the water",
        ),
        (lambda: ShallowWater(bottom=BOTTOM).solve(ShallowWater().sample([0], 0, ShallowWater().grid(8))), "inputs a"),
    ],
)
def test_bad_input(bad, match):
    with pytest.raises(NWidthError, match=match):
        bad()
