import math

import pytest
import torch
from nwidth.backends import Axis, Grid
from nwidth.training import RelativeH1, RelativeL2


def test_relative_l2_is_the_mean_over_samples_of_relative_norms():
    p, u = torch.randn(3, 2, 8), torch.randn(3, 2, 8)
    expected = sum((p[i] - u[i]).norm() / u[i].norm() for i in range(3)) / 3
    assert torch.allclose(RelativeL2()(p, u, Grid.make((8,))), expected)


def test_weights_enter_on_a_chebyshev_axis():
    grid = Grid((Axis("chebyshev", 9),))
    x = grid.coordinates()[0]
    u, p = torch.ones(1, 1, 9, dtype=torch.float64), (1 + x)[None, None]
    # |x|^2 on [0, 1] integrates to 1/3, exactly by Clenshaw-Curtis
    assert math.isclose(float(RelativeL2()(p, u, grid)), 3**-0.5, rel_tol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_h1_of_a_sine_is_known(k):
    grid = Grid.make((32,))
    x = grid.coordinates()[0]
    u = torch.sin(2 * math.pi * x)[None, None]
    e = torch.sin(2 * math.pi * k * x)[None, None]
    weight = 0.3
    expected = math.sqrt((1 + weight * (2 * math.pi * k) ** 2) / (1 + weight * (2 * math.pi) ** 2))
    assert math.isclose(float(RelativeH1(weight)(u + e, u, grid)), expected, rel_tol=1e-10)


@pytest.mark.parametrize("loss", [RelativeL2(), RelativeH1()])
def test_a_perfect_prediction_has_zero_loss_and_zero_gradient(loss):
    u = torch.randn(2, 1, 8, 8)
    p = u.clone().requires_grad_()
    value = loss(p, u, Grid.make((8, 8)))
    value.backward()
    assert float(value.detach()) == 0 and float(p.grad.abs().max()) == 0


def test_a_vanishing_sample_does_not_make_the_loss_infinite():
    u = torch.stack([torch.ones(1, 8), torch.zeros(1, 8)])
    assert torch.isfinite(RelativeL2()(u + 1e-3, u, Grid.make((8,))))


def test_gradients_in_double_precision():
    grid = Grid((Axis("periodic", 6), Axis("cell", 5)))
    u = torch.randn(2, 1, 6, 5, dtype=torch.float64)
    p = torch.randn(2, 1, 6, 5, dtype=torch.float64, requires_grad=True)
    for loss in (RelativeL2(), RelativeH1()):
        assert torch.autograd.gradcheck(lambda q, loss=loss: loss(q, u, grid), (p,))
