"""Transforms with the channels last: the same numbers as Transform, adjoint backward, no copies of the reference."""

import pytest
import torch
from nwidth import NWidthError
from nwidth.backends.channels_last import analyse_last, synthesise_last
from nwidth.backends.grid import Axis, Grid
from nwidth.backends.real_products import matrices_pay
from nwidth.backends.transforms import (
    ChebyshevBasis,
    CosineBasis,
    ExtendedFourierBasis,
    Fourier,
    FourierBasis,
    SineBasis,
    Transform,
)

F, COS, SIN, CHEB = FourierBasis(), CosineBasis(), SineBasis(), ChebyshevBasis()
LONG = ExtendedFourierBasis(axis=Axis("nodal", 9))
CASES = [
    ([F], (8,), (4,)),
    ([F], (7,), (7,)),
    ([F, F], (8, 6), (4, 5)),
    ([F, F, F], (6, 5, 4), (4, 5, 3)),
    ([F, COS], (8, 6), (4, 5)),
    ([COS, F, CHEB], (5, 6, 5), (4, 5, 3)),
    ([F, SIN, F], (4, 6, 5), (4, 5, 3)),
    ([F, F, SIN, COS], (4, 4, 3, 3), (2, 3, 2, 2)),
    ([LONG, LONG], (9, 12), (6, 7)),
    ([CHEB, CHEB], (6, 5), (3, 4)),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("bases", "shape", "modes"), CASES, ids=str)
def test_the_same_as_transform(bases, shape, modes, dtype):
    t, d = Transform(bases), len(bases)
    x = torch.randn(2, *shape, 3, dtype=dtype, generator=torch.Generator().manual_seed(0))
    close = {"rtol": 0, "atol": 1e-5 if dtype == torch.float32 else 1e-13}
    c, expected = analyse_last(t, x, modes), t.forward(x.movedim(-1, 1), modes)
    assert torch.allclose(c.view(*t.counts(modes), 2, 3).permute(d, d + 1, *range(d)), expected, **close)
    finer = [n + 3 for n in shape]
    u = synthesise_last(t, c, modes, finer)
    assert u.dtype == dtype
    assert torch.allclose(u.movedim(-1, 1), t.inverse(expected, finer, modes), **close)


@pytest.mark.parametrize(
    ("bases", "shape", "modes"),
    [([F], (8,), (4,)), ([F], (5,), (5,)), ([F, F], (5, 4), (3, 3)), ([F, COS], (5, 4), (3, 3)),
     ([LONG, LONG], (5, 4), (4, 4)), ([CHEB, CHEB], (5, 4), (3, 3))],
    ids=str,
)  # fmt: skip
def test_gradients(bases, shape, modes):
    t = Transform(bases)
    x = torch.randn(1, *shape, 2, dtype=torch.float64, requires_grad=True)

    def through(x):
        return synthesise_last(t, analyse_last(t, x, modes) ** 2, modes, shape)

    assert torch.autograd.gradcheck(through, (x,))
    assert torch.autograd.gradgradcheck(through, (x,))


def test_where_the_matrices_pay():
    t = Fourier(2)
    assert matrices_pay(t, (64, 64), (16, 16)) and matrices_pay(t, (9, 9), (9, 9))
    assert not matrices_pay(t, (64, 64), (28, 28)) and matrices_pay(t, (64, 64), (28, 28), last=True)
    assert matrices_pay(Fourier(3), (64,) * 3, (28,) * 3)
    assert not matrices_pay(t, (512, 512), (512, 512))
    assert matrices_pay(t, (512, 512), (512, 512), "matmul") and not matrices_pay(t, (64, 64), (4, 4), "full")
    assert not matrices_pay(Fourier(1, real=False), (64,), (4,))
    slow = Transform.for_grid(Grid.make((300,), kind="nodal"), extension=0.25)
    assert matrices_pay(slow, (300,), (300,))  # there is no FFT to take


def test_errors():
    with pytest.raises(NWidthError, match="2 space axes"):
        analyse_last(Fourier(2), torch.randn(2, 8, 3), (4, 4))
    with pytest.raises(NWidthError, match="real values"):
        analyse_last(Fourier(1), torch.randn(2, 8, 3, dtype=torch.complex64), (4,))
