"""Runs in stages: coarser as solutions calm, finer where checks ask for it, the same for a sample in any batch."""

import math
import threading

import pytest
import torch
from nwidth.backends import Grid
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import AllenCahn, Burgers, FitzHughNagumo, GaussianField, KdV, NavierStokes, PowerLawField
from nwidth.solvers.clock import LEAST_STEPS, TICKS, Clock
from nwidth.solvers.marching import March
from nwidth.solvers.memory import on_threads
from nwidth.solvers.spectral import SpectralSpace

ROUGH = PowerLawField(modes=8)


def relative(u, v):
    return float((u - v).norm() / v.norm())


def run(problem, inputs, **options):
    return March(problem, inputs, problem.stored_times(), torch.float64, target=problem.target, **options).run()


CALMING = {
    "vorticity": NavierStokes(nu=1e-2, final_time=8.0, times=4, initial=GaussianField(scale=9.0, tau=7.0, modes=16)),
    "no flux": FitzHughNagumo(ndim=1, diffusion_u=0.02, diffusion_v=0.02, final_time=12.0, times=12, initial=ROUGH),
    "a shock that dies": Burgers(nu=[0.05, 0.1], times=4, final_time=1.0),
    "one step an interval": AllenCahn(eps=0.1, times=40, final_time=4.0, tolerance=1e-6),
}


@pytest.mark.parametrize("problem", CALMING.values(), ids=CALMING)
def test_levels_follow_the_solution_down(problem):
    """Fewer modes and longer steps in the end, and the states of a run that keeps those of the start, and finer."""
    inputs = problem.sample([0, 1], 3, problem.grid(64))
    u, plans = run(problem, inputs)
    first = [[(plan[-1][0], plan[0][1])] for plan in plans]
    finer = [[(end, (2 * n, j + 1))] for [(end, (n, j))] in first]
    kept, _ = run(problem, inputs, plans=finer)
    assert relative(u, kept) < max(30 * problem.tolerance, 1e-7)
    for plan in plans:
        points, halvings = zip(*(level for _, level in plan))
        ends = [end for end, _ in plan]
        assert ends == sorted(set(ends)) and len(ends) <= 20
        assert points[-1] < points[0] or halvings[-1] < halvings[0], plan
    alone, [plan] = run(problem, inputs[[1]])
    assert plan == plans[1] and relative(alone[0], u[1]) < 1e-9


def test_threads_do_not_change_a_bit(monkeypatch):
    """Groups go to as many threads as torch has, and come back in their order."""
    problem = Burgers(nu=[0.05, 0.1], times=2, final_time=0.2)
    inputs = problem.sample(range(8), 3, problem.grid(64))
    monkeypatch.setattr("nwidth.solvers.memory.CACHED_VALUES", 1)  # every sample is a group
    before, seen = torch.get_num_threads(), set()
    nonlinear = Burgers.nonlinear

    def watched(self, c, space, inputs):
        seen.add(threading.get_ident())
        return nonlinear(self, c, space, inputs)

    monkeypatch.setattr(Burgers, "nonlinear", watched)
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert on_threads(lambda i: i * i, range(9), inputs.u0.device) == [i * i for i in range(9)]
            seen.clear()
            found.append(run(problem, inputs))
            assert (seen == {threading.get_ident()}) == (threads == 1) and torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0][0], found[1][0]) and found[0][1] == found[1][1]


def test_a_stage_that_fails_is_taken_again_alone():
    """A quarter of the degree that the front needs: found when it forms, and only there."""
    options = {"nu": 0.01, "times": 4, "final_time": 0.6}
    x = Burgers().grid(32).coordinates()[0]
    inputs = Dataset(Burgers().grid(32), u0=torch.sin(2 * math.pi * x)[None, None])
    exact = Burgers(tolerance=1e-9, **options).solve(inputs).u

    class Poor(Burgers):
        def resolve(self, data):
            degree, step = super().resolve(data)
            return (degree / 4).clamp_min(4), step

    u, [plan] = run(Poor(tolerance=1e-6, **options), inputs)
    points = [n for _, (n, _) in plan]
    assert points[0] < max(points) and relative(u, exact) < 3e-5


@pytest.mark.parametrize("t", [[1.0, 2.0, 3.0], [0.5, 0.7, 2.0, 9.0], list(range(1, 101))])
def test_clock(t):
    clock = Clock(0.0, [float(v) for v in t])
    assert clock.last >= TICKS and clock.time(0) == 0 and clock.time(clock.last) == t[-1]
    for h in (clock.longest, clock.longest / 8, clock.longest / 256):
        tick, stages = 0, 0
        while tick < clock.last:
            end = clock.stage(tick, h)
            path = [tick, *clock.path(tick, end, h)]
            times = [clock.time(p) for p in path]
            assert path[-1] == end and times == sorted(times)
            inside = [p for p in range(tick + 1, end + 1) if clock.stored(p) >= 0]
            assert set(inside) <= set(path)  # no stored time is passed by
            if end < clock.last:
                assert times[-1] - times[0] >= LEAST_STEPS * h * (1 - 1e-9)
            for a, b in zip(path[1:], path[2:]):
                assert clock.time(b) - clock.time(a) >= LEAST_STEPS / 2 * h * (1 - 1e-9) or clock.stored(b) >= 0
            tick, stages = end, stages + 1
        assert stages <= 20


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("real", [True, False])
def test_embedding_keeps_the_function(ndim, real):
    grid = Grid.make((16,) * ndim)
    small, large = (SpectralSpace(grid, (n,) * ndim, real=real) for n in (16, 48))
    shape = (2, 1, *(16,) * ndim)
    values = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    c = small.coefficients(values if real else torch.complex(values, values.flip(-1)))
    wide = large.embed(c, small)
    assert torch.allclose(large.at(wide, (40,) * ndim), small.at(c, (40,) * ndim), atol=1e-13)
    assert torch.equal(small.embed(wide, large), c)


def test_the_degree_that_a_state_needs():
    space = SpectralSpace(Grid.make((64, 64)), (96, 96))
    x, y = space.grid.coordinates()
    rows = [
        torch.cos(2 * math.pi * 5 * x) + 0 * y,
        torch.sin(2 * math.pi * 7 * y) + 1e-4 * torch.cos(2 * math.pi * 20 * x),
    ]
    c = space.coefficients(torch.stack([r.expand(96, 96) for r in rows])[:, None].double())
    assert space.needed(c, 1e-3).tolist() == [5, 7] and space.needed(c, 1e-6).tolist() == [5, 20]


def test_what_never_settles_is_an_error(monkeypatch):
    monkeypatch.setattr("nwidth.solvers.marching.MOST_ATTEMPTS", 1)
    problem = KdV(beta=1e-3, times=2, final_time=0.6)

    class Poor(KdV):
        def resolve(self, data):
            return torch.full((len(data),), 4.0), torch.full((len(data),), 0.5)

    x = problem.grid(32).coordinates()[0]
    inputs = Dataset(problem.grid(32), u0=torch.cos(math.pi * x)[None, None].double())
    with pytest.raises(NWidthError, match="edge of the spectrum"):
        Poor(beta=1e-3, times=2, final_time=0.6).solve(inputs)
