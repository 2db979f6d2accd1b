import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from nwidth.backends import Grid
from nwidth.data import Dataset
from nwidth.errors import NWidthError
from nwidth.solvers import Euler, FiniteVolumeProblem
from nwidth.solvers.cells import coarsen, refined
from nwidth.solvers.riemann import LIMITERS, with_ghosts


@dataclass(frozen=True, kw_only=True)
class Advection(FiniteVolumeProblem):
    """u_t + v . grad u = 0 with the velocity (1, 1/2, 1/4): a system of one field, not a fluid."""

    shift: Sequence[float] = (1.0, 0.5, 0.25)

    @property
    def fields(self):
        return ("u",)

    def draw(self, streams, grid):
        raise AssertionError("not drawn here")

    def conserved(self, w, mu):
        return w

    def primitive(self, q, mu):
        return q

    def flux(self, w, axis, mu):
        return self.shift[axis] * w

    def speeds(self, w, axis, mu):
        return torch.full_like(w, self.shift[axis]), torch.full_like(w, self.shift[axis])


def wave(grid, t, shift):
    """Cell averages of the product of 1 + sin(2 pi (x_i - v_i t))/2 on the unit box."""
    factors = []
    for i, axis in enumerate(grid.axes):
        mean = math.sin(math.pi * axis.spacing) / (math.pi * axis.spacing)
        factors.append(1 + 0.5 * mean * torch.sin(2 * math.pi * (grid.coordinates()[i] - shift[i] * t)))
    return math.prod(factors)[None, None]


@pytest.mark.parametrize("limiter", ["minmod", "van_leer", "mc"])
@pytest.mark.parametrize("riemann", ["rusanov", "hll"])
def test_second_order_on_smooth_waves(limiter, riemann):
    errors = []
    for n in (32, 64, 128):
        problem = Advection(boundary="periodic", final_time=0.5, times=1, limiter=limiter, riemann=riemann)
        grid = problem.grid(n)
        u = problem.solve(Dataset(grid, u0=wave(grid, 0.0, problem.shift))).u[:, 0]
        errors.append(float((u - wave(grid, 0.5, problem.shift)).abs().mean()))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert min(orders) > 1.6 and orders[-1] > (1.7 if limiter == "minmod" else 1.85), orders


@pytest.mark.parametrize("ndim, coarse", [(2, 16), (3, 8)])
def test_one_code_for_all_dimensions(ndim, coarse):
    errors = []
    for n in (coarse, 2 * coarse):
        problem = Advection(ndim=ndim, boundary="periodic", final_time=0.2, times=1)
        grid = problem.grid(n)
        data = problem.solve(Dataset(grid, u0=wave(grid, 0.0, problem.shift)))
        assert abs(float(data.u.mean() - data.u0.mean())) < 1e-14
        errors.append(float((data.u[:, 0] - wave(grid, 0.2, problem.shift)).abs().mean()))
    assert math.log2(errors[0] / errors[1]) > 1.4, errors


@pytest.mark.parametrize("limiter", list(LIMITERS))
def test_a_step_stays_monotone(limiter):
    problem = Advection(final_time=0.3, times=1, limiter=limiter)
    grid = problem.grid(50)
    u0 = (grid.coordinates()[0] < 0.3).double()[None, None]
    u = problem.solve(Dataset(grid, u0=u0)).u[0, 0, 0]
    assert bool((u.diff() <= 1e-14).all()) and bool((u >= -1e-14).all()) and bool((u <= 1 + 1e-14).all())
    assert abs(float(u.mean()) - 0.6) < 1e-12  # what flows in at the left end is counted


@pytest.mark.parametrize("limiter", list(LIMITERS))
def test_limiters_are_symmetric_and_bounded(limiter):
    a, b = torch.randn(2, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    s = LIMITERS[limiter](a, b)
    assert torch.equal(s, LIMITERS[limiter](b, a)) and torch.equal(LIMITERS[limiter](-a, -b), -s)
    assert bool((s[a * b <= 0] == 0).all())
    assert bool((s.abs() <= 2 * torch.minimum(a.abs(), b.abs()) * (1 + 1e-14)).all())
    assert torch.allclose(LIMITERS[limiter](a, a), a)  # a straight line keeps its slope


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_refined_grids_average_back(factor, centred):
    q = torch.rand(2, 3, 8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    linear = refined(q, torch.zeros_like(q), -2, factor, centred)
    assert linear.shape == (2, 3, 8 * factor, 5)
    back = coarsen(linear, -2, factor, centred)
    assert torch.allclose(back.sum(-2), q.sum(-2))  # what is conserved
    if not centred or factor % 2:
        assert torch.allclose(back, q)
        slopes = refined(q, torch.rand_like(q), -2, factor, centred)
        assert torch.allclose(coarsen(slopes, -2, factor, centred), q)


@pytest.mark.parametrize("boundary", ["periodic", "outflow"])
@pytest.mark.parametrize("factor", [2, 3])
def test_averages_are_those_of_the_cells_around_the_stored_points(factor, boundary):
    problem = Advection(boundary=boundary, refine=factor)
    grid = problem.grid(64)
    x = problem._fine(grid).coordinates()[0]
    mean = coarsen(torch.sin(2 * math.pi * x)[None, None], -1, factor, boundary == "periodic")
    assert torch.allclose(mean[0, 0], torch.sin(2 * math.pi * grid.coordinates()[0]), atol=2e-3)


def test_ghost_cells():
    w = torch.arange(1.0, 9.0).view(1, 2, 4)
    assert with_ghosts(w, 0, 1, "periodic")[0, 0].tolist() == [3, 4, 1, 2, 3, 4, 1, 2]
    assert with_ghosts(w, 0, 1, "outflow")[0, 0].tolist() == [1, 1, 1, 2, 3, 4, 4, 4]
    assert with_ghosts(w, 0, 1, "reflecting")[0, 0].tolist() == [2, 1, 1, 2, 3, 4, 4, 3]
    assert with_ghosts(w, 0, 1, "reflecting")[0, 1].tolist() == [-6, -5, 5, 6, 7, 8, -8, -7]


def test_stored_times_are_met_exactly():
    problem = Advection(boundary="periodic", final_time=1.0, times=2)
    grid = problem.grid(32)
    u0 = wave(grid, 0.0, problem.shift)
    twice = problem.solve(Dataset(grid, u0=u0))
    assert twice.t.tolist() == [0.5, 1.0]
    listed = problem.solve(Dataset(grid, u0=u0, t=torch.tensor([0.013, 0.5])))
    assert float((listed.u[:, 1] - wave(grid, 0.5, problem.shift)).abs().max()) < 0.02
    assert torch.allclose(listed.u[:, 0], wave(grid, 0.013, problem.shift), atol=2e-3)


@dataclass(frozen=True, kw_only=True)
class Growing(Advection):
    """u_t + u_x = 1, which may not exceed 2."""

    def source(self, low, high, axis, mu):
        return torch.full_like(low, 1 / 16)

    def admissible(self, w, mu):
        return w <= 2


def test_a_source_and_a_state_that_is_lost():
    problem = Growing(boundary="periodic", final_time=0.5, times=1)
    inputs = Dataset(problem.grid(16), u0=torch.ones(1, 1, 16, dtype=torch.float64))
    assert torch.allclose(problem.solve(inputs).u, torch.tensor(1.5, dtype=torch.float64))
    with pytest.raises(NWidthError, match="not admissible in 1 samples"):
        Growing(boundary="periodic", final_time=1.5, times=1).solve(inputs)


@pytest.mark.parametrize(
    "bad, match",
    [
        (lambda: Advection(limiter="superb"), "limiter"),
        (lambda: Advection(riemann="hllc"), "riemann"),
        (lambda: Advection(boundary="open"), "boundary"),
        (lambda: Advection(ndim=2, boundary=["periodic"]), "boundary"),
        (lambda: Advection(cfl=0.9), "cfl"),
        (lambda: Advection(refine=0), "refine"),
        (lambda: Advection(hi=-1.0), "lo < hi"),
        (lambda: Advection().solve(Dataset(Grid.make((8,)), u0=torch.ones(1, 1, 8))), "cells"),
        (lambda: Advection().solve(Dataset(Grid.make((8,), "cell"), u0=torch.ones(1, 2, 8))), "1 channels: u"),
        (lambda: Advection().solve(Dataset(Grid.make((8,), "cell", hi=2.0), u0=torch.ones(1, 1, 8))), "length"),
        (lambda: Advection().solve(Dataset(Grid.make((8,), "cell"), a=torch.ones(1, 1, 8))), "inputs u0"),
        (lambda: Advection().solve(Dataset(Grid.make((8,), "cell"), u0=torch.full((1, 1, 8), torch.nan))), "finite"),
        (lambda: Euler().solve(Dataset(Grid.make((8,), "cell"), u0=torch.zeros(1, 3, 8))), "admissible"),
    ],
)
def test_bad_input(bad, match):
    with pytest.raises(NWidthError, match=match):
        bad()
