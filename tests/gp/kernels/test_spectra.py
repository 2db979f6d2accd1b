"""Spectra in the units of the inputs, from grids and from scattered points."""

import math

import pytest
import torch
from nwidth import Grid
from nwidth.backends import Axis
from nwidth.errors import NWidthError
from nwidth.gp.kernels import (
    DimensionProduct,
    SpectralMixture,
    initialize_from_data,
    initialize_on_grid,
    lomb_scargle,
    periodogram,
    spectral_peaks,
)

F64 = torch.float64


def tone(x, f, amplitude=1.0, phase=0.3):
    return amplitude * torch.sin(2 * math.pi * f * x + phase)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_seven_hertz_at_fifty_samples_a_second(dtype):
    x = torch.arange(150, dtype=dtype) / 50
    k = SpectralMixture(1).to(dtype)
    peaks = initialize_from_data(k, x, 2 * tone(x, 7.0))
    assert k.frequencies.item() == pytest.approx(7.0, abs=1e-4)
    assert k.weights.item() == pytest.approx(2.0, rel=1e-4) and peaks.residual < 1e-6
    assert k.bandwidths.item() < 0.2 and k.frequencies.dtype == dtype


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_units_follow_the_inputs(scale):
    x = scale * torch.arange(90, dtype=F64) / 30
    k = SpectralMixture(1).double()
    initialize_from_data(k, x, tone(x, 4.3 / scale))
    assert k.frequencies.item() * scale == pytest.approx(4.3, abs=1e-5)


def test_scattered_points_and_a_close_pair():
    x = 3 * torch.rand(140, 1, dtype=F64, generator=torch.Generator().manual_seed(0))
    y = tone(x[:, 0], 7.13) + 0.5 * tone(x[:, 0], 12.4) + 5.0
    peaks = spectral_peaks(x, y, 2)
    torch.testing.assert_close(peaks.frequencies[:, 0], torch.tensor([7.13, 12.4], dtype=F64), rtol=1e-3, atol=0)
    torch.testing.assert_close(peaks.variances, torch.tensor([0.5, 0.125], dtype=F64), rtol=0.02, atol=0)
    assert peaks.residual < 1e-3
    with torch.no_grad():
        assert initialize_from_data(SpectralMixture(2).double(), x, y, max_frequency=20.0).residual < 1e-3


def test_lomb_scargle_is_least_squares():
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(30, 2, dtype=F64, generator=g), torch.randn(30, 2, dtype=F64, generator=g)
    f = torch.tensor([[2.0, -1.0], [0.5, 3.0]], dtype=F64)
    for i, row in enumerate(f):
        phase = 2 * math.pi * x @ row
        design = torch.stack([phase.cos(), phase.sin(), torch.ones(30, dtype=F64)], 1)
        rest = y - design @ torch.linalg.lstsq(design, y).solution
        explained = ((y - y.mean(0)).square() - rest.square()).mean(0).sum()
        torch.testing.assert_close(lomb_scargle(x, y, f)[i], explained, rtol=1e-8, atol=0)


def test_periodogram_on_a_grid_finds_the_pair_of_frequencies():
    x, y = Grid.make((40, 30), kind="nodal").coordinates()
    field = torch.sin(2 * math.pi * (6 * x - 4 * y))
    f, power = periodogram(field, [1 / 39, 1 / 29])
    best = f[power.argmax()]
    best = best * best[1].sign()
    torch.testing.assert_close(best, torch.tensor([-6.0, 4.0], dtype=F64), atol=0.2, rtol=0)
    assert float(power.max()) == pytest.approx(0.5, rel=0.05)


def test_fields_on_grids():
    grid = Grid((Axis("nodal", 40, 0.0, 2.0), Axis("cell", 36, 0.0, 1.0)))
    x, y = grid.coordinates()
    field = 3 * tone(x, 2.2) * tone(y, 5.5)
    product = DimensionProduct([SpectralMixture(1).double(), SpectralMixture(1).double()])
    initialize_on_grid(product, grid, field)
    assert product.kernels[0].frequencies.item() == pytest.approx(2.2, abs=1e-3)
    assert product.kernels[1].frequencies.item() == pytest.approx(5.5, abs=1e-3)
    assert product.kernels[1].weights.item() == pytest.approx(1.0)
    assert product.kernels[0].weights.item() == pytest.approx(float(field.var()), rel=1e-6)
    joint = SpectralMixture(2, 2).double()
    initialize_on_grid(joint, grid, field)  # a product of sines is two plane waves
    torch.testing.assert_close(joint.frequencies.detach(), torch.tensor([[2.2, 5.5]] * 2, dtype=F64), atol=0.05, rtol=0)


def test_more_components_than_waves():
    x = torch.arange(100, dtype=F64) / 20
    k = SpectralMixture(5).double()
    peaks = initialize_from_data(k, x, tone(x, 3.0))
    assert (
        len(peaks.variances) <= 5
        and bool((k.weights > 0).all())
        and k.weights.max().item() == pytest.approx(0.5, rel=1e-3)
    )
    assert float(k.weights.sum()) == pytest.approx(0.5, rel=1e-2)


X = torch.rand(20, 1, dtype=F64)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: spectral_peaks(X, torch.ones(20), 1), "constant values"),
        (lambda: spectral_peaks(X, X[:, 0] / 0, 1), "finite"),
        (lambda: spectral_peaks(X[:2], X[:2, 0], 1), "n >= 4"),
        (lambda: spectral_peaks(torch.rand(50, 3), torch.rand(50), 1, max_frequency=500.0), "candidate"),
        (lambda: initialize_from_data(SpectralMixture(1, 2), X, X[:, 0]), "no batch"),
        (
            lambda: initialize_on_grid(SpectralMixture(1, 2), Grid.make((5, 5), "chebyshev"), torch.rand(5, 5)),
            "uniform",
        ),
    ],
)
def test_mistakes(call, words):
    with pytest.raises(NWidthError, match=words):
        call()
