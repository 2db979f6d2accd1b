import math

import numpy as np
import pytest
import torch
from nwidth.backends import Grid
from nwidth.build import build
from nwidth.errors import NWidthError
from nwidth.solvers import (
    BoundedField,
    GaussianField,
    LogNormal,
    MaternField,
    TrigonometricProduct,
    TrigonometricQuotients,
    TwoPhase,
    config_of,
    stream,
)

MEDIA = [LogNormal(), TwoPhase(), BoundedField(), TrigonometricProduct(), TrigonometricQuotients()]


@pytest.mark.parametrize("medium", MEDIA, ids=lambda m: type(m).__name__)
def test_positive_and_the_same_function_on_every_grid_and_in_every_batch(medium):
    coarse, fine = Grid.make((9, 9), "nodal", -1.0, 1.0), Grid.make((65, 65), "nodal", -1.0, 1.0)
    a = medium.sample([stream(3, i) for i in range(3)], coarse)
    b = medium.sample([stream(3, 2)], fine)
    assert a.dtype == torch.float64 and a.shape == (3, 1, 9, 9) and bool((a > 0).all())
    assert torch.allclose(a[2, 0], b[0, 0, ::8, ::8], rtol=1e-9)
    assert not torch.equal(a[0], a[1])
    assert build(config_of(medium)) == medium


def test_two_phase_is_the_sign_of_its_field():
    field = MaternField(length=0.2, modes=32)
    grid = Grid.make((32, 32), "cell")
    g = field.sample([stream(0, 0)], grid)
    a = TwoPhase(field=field, high=2.0, low=7.0, level=0.3).sample([stream(0, 0)], grid)
    assert torch.equal(a, torch.where(g >= 0.3, 2.0, 7.0).double())


def test_bounded_field():
    grid = Grid.make((40, 40), "cell")
    g = GaussianField().sample([stream(0, 1)], grid)
    c = BoundedField().sample([stream(0, 1)], grid)
    assert torch.allclose(c, 20 + torch.tanh(g)) and float((c - 20).abs().max()) < 1


def test_trigonometric_product_by_hand():
    grid = Grid.make((7, 5), "nodal", -1.0, 1.0)
    a = TrigonometricProduct(terms=3, spread=1.5).sample([stream(1, 4)], grid)[0, 0]
    draws = stream(1, 4).uniform(1.0, 1.5, 3)
    x, y = -1 + 2 * 4 / 6, -1 + 2 * 1 / 4
    expected = 1.0
    for k, s in enumerate(draws, 1):
        wave = s * 2 ** (k - 1) * math.pi
        expected *= (1 + math.cos(wave * (x + y)) / 2) * (1 + math.sin(wave * (y - 3 * x)) / 2)
    assert float(a[4, 1]) == pytest.approx(expected)


def test_trigonometric_quotients_by_hand():
    a = TrigonometricQuotients(shift=False).sample([stream(0, 0)], Grid.make((11, 11), "nodal"))[0, 0]
    x, y = 0.3, 0.8
    s, c = (lambda e, v, f=f: f(2 * math.pi * v / e) for f in (math.sin, math.cos))
    expected = (
        (1.1 + s(1 / 5, x)) / (1.1 + s(1 / 5, y))
        + (1.1 + s(1 / 13, y)) / (1.1 + c(1 / 13, x))
        + (1.1 + c(1 / 17, x)) / (1.1 + s(1 / 17, y))
        + (1.1 + s(1 / 31, y)) / (1.1 + c(1 / 31, x))
        + (1.1 + c(1 / 65, x)) / (1.1 + s(1 / 65, y))
        + math.sin(4 * x**2 * y**2)
        + 1
    ) / 6
    assert float(a[3, 8]) == pytest.approx(expected)
    fine = TrigonometricQuotients().sample([stream(0, i) for i in range(4)], Grid.make((401, 401), "nodal"))
    assert float(fine.amax() / fine.amin()) > 40


def test_lognormal_statistics():
    grid = Grid.make((12, 12), "cell")
    field = GaussianField(scale=6.0)
    a = LogNormal(field=field).sample([stream(0, i) for i in range(2000)], grid)
    assert float(a.log().var(0).mean()) == pytest.approx(field.variance(grid), rel=0.1)
    assert np.isclose(float(a.log().mean()), 0.0, atol=0.05)


@pytest.mark.parametrize(
    "bad, match",
    [
        (lambda: TwoPhase(low=0.0), "positive"),
        (lambda: BoundedField(mean=1.0, amplitude=2.0), "positive"),
        (lambda: TrigonometricProduct(terms=0), "terms >= 1"),
        (lambda: TrigonometricProduct().sample([stream(0, 0)], Grid.make((4,))), "two axes"),
    ],
)
def test_bad_input(bad, match):
    with pytest.raises(NWidthError, match=match):
        bad()
