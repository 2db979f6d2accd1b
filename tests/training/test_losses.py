import math

import pytest
import torch
from nwidth.backends import Axis, Grid
from nwidth.backends.transforms import Transform
from nwidth.errors import NWidthError
from nwidth.training import (
    BoundaryTraces,
    Mixture,
    PhysicsResidual,
    RelativeBands,
    RelativeH1,
    RelativeL2,
    RelativeLp,
    RelativeSobolev,
)


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


def waves(*ks, grid=None, cosine=False):
    grid = grid or Grid.make((32,))
    x = grid.coordinates()[0]
    turns = math.pi if cosine else 2 * math.pi
    return [(torch.cos if cosine else torch.sin)(turns * k * x)[None, None] for k in ks]


@pytest.mark.parametrize(("order", "k"), [(1.0, 3), (0.5, 5), (-1.0, 4), (0.0, 7)])
def test_sobolev_of_a_sine_is_known(order, k):
    grid, (u, e), weight = Grid.make((32,)), waves(1, k), 0.3
    expected = ((1 + weight * (2 * math.pi * k) ** 2) / (1 + weight * (2 * math.pi) ** 2)) ** (order / 2)
    assert math.isclose(float(RelativeSobolev(order, weight)(u + e, u, grid)), expected, rel_tol=1e-10)


def test_sobolev_of_order_one_is_h1_on_periodic_axes_and_knows_cosines():
    grid = Grid.make((12, 16))
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(2, 3, 2, 5, 5, generator=generator, dtype=torch.float64)
    p, u = Transform.for_grid(Grid.make((5, 5))).resize(coarse, grid.shape)
    assert torch.allclose(RelativeSobolev(1.0, 0.2)(p, u, grid), RelativeH1(0.2)(p, u, grid), rtol=1e-10)
    cells = Grid.make((64,), "cell")
    u, e = waves(2, 6, grid=cells, cosine=True)  # 2 and 6 half waves: 1 and 3 waves
    expected = math.sqrt((1 + (6 * math.pi) ** 2) / (1 + (2 * math.pi) ** 2))
    assert math.isclose(float(RelativeSobolev(1.0, 1.0)(u + e, u, cells)), expected, rel_tol=1e-10)
    with pytest.raises(NWidthError, match="periodic, nodal or cell"):
        RelativeSobolev()(u, u, Grid((Axis("chebyshev", 64),)))


def test_h1_by_differences():
    grid, k = Grid.make((32,)), 5
    u, e = waves(1, k)
    n, weight = 32, 0.1
    symbol = lambda k: math.sin(2 * math.pi * k / n) * n  # noqa: E731  of the central difference
    expected = math.sqrt((1 + weight * symbol(k) ** 2) / (1 + weight * symbol(1) ** 2))
    assert math.isclose(float(RelativeH1(weight, derivatives="difference")(u + e, u, grid)), expected, rel_tol=1e-10)
    with pytest.raises(NWidthError, match="auto, difference"):
        RelativeH1(derivatives="exact")


def test_bands_weigh_what_lies_in_them():
    grid = Grid.make((64,))
    u, low, mid, high = waves(1, 4, 5, 20, grid=grid)
    loss = RelativeBands([4.0, 12.0], [1.0, 4.0, 9.0])
    assert math.isclose(float(loss(u + 0.5 * low, u, grid)), 0.5, rel_tol=1e-9)  # an edge belongs to the lower band
    assert math.isclose(float(loss(u + 0.5 * mid, u, grid)), 1.0, rel_tol=1e-9)
    assert math.isclose(float(loss(u + 0.5 * high + 0.5 * low, u, grid)), math.sqrt(0.25 + 9 / 4), rel_tol=1e-9)
    target = u + 0.1 * high
    own = RelativeBands([4.0, 12.0], [1.0, 0.0, 1.0], relative="band")
    assert math.isclose(float(own(target + 0.05 * high + 3 * mid, target, grid)), 0.5, rel_tol=1e-9)


@pytest.mark.parametrize("kind", ["periodic", "cell"])
def test_bands_of_equal_weight_are_l2(kind):
    grid = Grid.make((9, 8), kind)
    p, u = torch.randn(2, 3, 2, 9, 8, dtype=torch.float64)
    assert torch.allclose(RelativeBands()(p, u, grid), RelativeL2()(p, u, grid), rtol=1e-10)


def test_lp_is_a_norm_between_mean_and_largest():
    grid = Grid.make((8,))
    p, u = torch.randn(2, 3, 2, 8, dtype=torch.float64)
    for q in (1, 2, 3.5):
        by_hand = torch.stack([((p - u)[i].abs() ** q).sum() / (u[i].abs() ** q).sum() for i in range(3)]) ** (1 / q)
        assert torch.allclose(RelativeLp(q)(p, u, grid), by_hand.mean())
    assert torch.allclose(RelativeLp(2)(p, u, grid), RelativeL2()(p, u, grid))
    assert torch.allclose(RelativeLp(400)(p, u, grid), RelativeLp(math.inf)(p, u, grid), rtol=0.02)
    huge = RelativeLp(4)((1e20 * p).float(), (1e20 * u).float(), grid)
    assert torch.allclose(huge, RelativeLp(4)(p, u, grid).float(), rtol=1e-4)
    with pytest.raises(NWidthError, match="from 1"):
        RelativeLp(0.5)


@pytest.mark.parametrize("kind", ["nodal", "cell", "chebyshev"])
def test_traces_of_a_polynomial_are_exact(kind):
    """Values of lines and slopes of parabolas, of an error that is none at the walls for the other order."""
    axis = Axis(kind, 9, 1.0, 3.0)
    grid = Grid((axis,))
    x = grid.coordinates()[0][None, None]
    u = torch.ones_like(x) * 2
    assert math.isclose(float(BoundaryTraces(0)(u + 0.4 * (x - 1), u, grid)), 0.4 * math.sqrt(2) / 2, rel_tol=1e-9)
    wave = torch.cos(math.pi * (x - 1))
    bubble = (x - 1) * (x - 3)  # slopes -2 and 2, times the length 2; no trace
    expected = 4 / float((wave - wave.mean()).square().mean().sqrt())
    assert math.isclose(float(BoundaryTraces(1)(wave + bubble, wave, grid)), expected, rel_tol=1e-9)
    if kind != "cell":
        assert float(BoundaryTraces(0)(wave + bubble, wave, grid)) < 1e-12


def test_traces_in_two_dimensions_see_walls_only():
    grid = Grid((Axis("periodic", 6), Axis("nodal", 5)))
    u = torch.ones(1, 1, 6, 5)
    p = u.clone()
    p[..., 1:-1] += 7
    assert float(BoundaryTraces()(p, u, grid)) == 0
    p[..., 0] += 1  # one of two walls
    assert math.isclose(float(BoundaryTraces()(p, u, grid)), math.sqrt(0.5), rel_tol=1e-6)
    with pytest.raises(NWidthError, match="not periodic"):
        BoundaryTraces()(u, u, Grid.make((6, 5)))


def test_a_mixture_is_the_weighted_sum():
    grid = Grid.make((8,))
    p, u = torch.randn(2, 3, 1, 8, dtype=torch.float64)
    loss = Mixture({"a": RelativeL2(), "b": RelativeLp(1)}, {"a": 2.0, "b": 0.5})
    assert torch.allclose(loss(p, u, grid), 2 * RelativeL2()(p, u, grid) + 0.5 * RelativeLp(1)(p, u, grid))
    with pytest.raises(NWidthError, match="by its name"):
        Mixture({"a": RelativeL2()}, {"b": 1.0})
    with pytest.raises(NWidthError, match="no inputs"):
        Mixture({"a": PhysicsResidual()}, {"a": 1.0})(p, u, grid)


MORE = (
    RelativeLp(1),
    RelativeLp(3),
    RelativeLp(math.inf),
    RelativeSobolev(0.5),
    RelativeBands(),
    RelativeBands(relative="band"),
    RelativeH1(derivatives="difference"),
    BoundaryTraces(0),
    BoundaryTraces(1),
)


@pytest.mark.parametrize("loss", MORE)
def test_every_loss_has_the_right_gradient_and_none_at_zero_error(loss):
    grid = Grid((Axis("periodic", 6), Axis("cell", 5)))
    generator = torch.Generator().manual_seed(1)
    u, p = torch.randn(2, 2, 1, 6, 5, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda q: loss(q, u, grid), (p.requires_grad_(),))
    q = u.clone().requires_grad_()
    value = loss(q, u, grid)
    value.backward()
    assert float(value.detach()) == 0 and float(q.grad.abs().max()) == 0
    assert loss(q.float(), u.float(), grid).dtype == torch.float32
