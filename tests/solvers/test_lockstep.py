"""Rows that step together, each by its own steps, arrive where each arrives alone."""

import pytest
import torch
from nwidth.solvers import Burgers, KdV
from nwidth.solvers.lockstep import lockstep
from nwidth.solvers.marching import March
from nwidth.solvers.stepping import SCHEMES, stepper_of

COURSES = [[(3, 0.1), (4, 0.05), (2, 0.05)], [(4, 0.02), (1, 0.2)], [(2, 0.1)]]
RATES = torch.tensor([[-1.0, -8.0], [-2.0, 0.0], [-0.5, -3.0]], dtype=torch.float64)[:, None]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_rows_step_together_as_alone(scheme, shared, dtype):
    kind, linear = stepper_of(scheme), RATES[:1] if shared else RATES
    c = torch.randn(3, 1, 2, dtype=dtype, generator=torch.Generator().manual_seed(0))

    def nonlinear(u):
        return 0.3 - u * u.abs()

    def make(rows, h):
        own = linear if shared else linear[list(rows)]
        sizes = torch.tensor(h, dtype=torch.float64)[:, None, None]
        return kind(own, sizes, lambda u: u).of(nonlinear, torch.arange(len(h)))

    found = {}
    for rows, stops, states in lockstep(make, c, COURSES):
        found |= {(row, stop): state for row, stop, state in zip(rows, stops, states)}
    assert len(found) == sum(map(len, COURSES))
    for row, pieces in enumerate(COURSES):
        u = c[row : row + 1]
        for stop, (count, h) in enumerate(pieces):
            stepper = kind(linear if shared else linear[row : row + 1], h, nonlinear)
            for _ in range(count):
                u = stepper.step(u)
            assert torch.allclose(found[row, stop], u[0], rtol=1e-13, atol=1e-14)


def test_rows_out_of_order_are_an_error():
    with pytest.raises(ValueError, match="falling"):
        next(lockstep(lambda rows, h: None, torch.zeros(2, 1), [[(1, 0.1)], [(2, 0.1)]]))


@pytest.mark.parametrize("nu", [0.05, [0.04, 0.15]])
def test_a_sample_is_the_same_beside_any_others(nu):
    """Levels, stages and steps of its own in every batch, and values equal to round-off: FFTs of several rows round
    otherwise than those of one."""
    problem = Burgers(nu=nu, times=3, final_time=0.6)
    inputs = problem.sample(range(8), 1, problem.grid(64))
    u, plans = March(problem, inputs, problem.stored_times(), torch.float64, target=problem.target).run()
    assert len({level for plan in plans for _, level in plan}) > 3
    for rows in ([0], [5, 2], [7, 6, 1, 0]):
        part, some = March(problem, inputs[rows], problem.stored_times(), torch.float64, target=problem.target).run()
        assert some == [plans[row] for row in rows]
        assert float((part - u[rows]).norm() / part.norm()) < 1e-14


def test_uneven_times_are_met_exactly():
    """Steps between stored times that no step divides are equal parts of the way."""
    problem = KdV(tolerance=1e-8)
    inputs = problem.sample([0, 1], 0, problem.grid(64))
    t = torch.tensor([0.03, 0.1, 0.23], dtype=torch.float64)
    together, _ = March(problem, inputs, t, torch.float64, target=problem.target).run()
    for k in range(3):
        alone, _ = March(problem, inputs, t[k : k + 1], torch.float64, target=problem.target).run()
        assert float((together[:, k] - alone[:, 0]).norm() / alone.norm()) < 1e-6
