"""One trajectory solved again, and complex data that only linear maps take."""

import pytest
import torch
from nwidth.backends import Grid
from nwidth.data import Dataset, RandomSplit
from nwidth.errors import NWidthError
from nwidth.gp import KernelRidge
from nwidth.solvers import KdV
from nwidth.solvers.reduced import PODRegression
from nwidth.solvers.reduced.regressors import RBF, Ridge
from nwidth.solvers.reference import ReferenceSolver


def test_a_single_trajectory_is_its_own_test_set():
    """A soliton 0.5 sech^2((x - t)/2) of u_t + 6 u u_x + u_xxx = 0, far from the ends of its period."""
    grid = Grid.make((256,), "periodic", -20.0, 20.0)
    x, t = grid.coordinates()[0], torch.tensor([1.0, 2.0], dtype=torch.float64)
    exact = torch.stack([0.5 / torch.cosh((x - s) / 2) ** 2 for s in [0.0, *t.tolist()]])
    data = Dataset(grid, u=exact[None, 1:, None], u0=exact[None, :1], t=t)
    with pytest.raises(NWidthError, match="solve the data again"):
        RandomSplit().indices(data)
    assert {k: len(v) for k, v in RandomSplit(test=0, val=0).indices(data).items()} == {"train": 1}
    surrogate = ReferenceSolver(problem=KdV(alpha=6.0, beta=1.0, lo=-20.0, hi=20.0))
    surrogate.fit(data, None)
    error = surrogate.predict(data.inputs()).mean - data.u
    assert float(error.norm() / data.u.norm()) < 1e-6


@pytest.mark.parametrize("regressor", [KernelRidge, RBF])
def test_complex_fields_ask_for_channels(regressor):
    u0 = torch.randn(6, 1, 8, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    data = Dataset(Grid.make((8,)), u=1j * u0, u0=u0)
    with pytest.raises(NWidthError, match="complex"):
        PODRegression(regressor()).fit(data[:4], data[4:])
    surrogate = PODRegression(Ridge())
    surrogate.fit(data[:5], data[5:])
    assert surrogate.predict(data[:5].inputs()).mean.is_complex()
