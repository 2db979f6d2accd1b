"""Errors against loops over samples, exact integrals, and identities between them."""

import math

import numpy as np
import pytest
import torch
from nwidth.backends import Axis, Grid, Mesh
from nwidth.data.metrics import (
    band_errors,
    coverage,
    gradient,
    relative_h1,
    relative_l2,
    relative_l2_over_time,
    relative_max,
    scores,
    sharpness,
)
from nwidth.errors import NWidthError

F64 = torch.float64
GRIDS = {
    "periodic": Grid.make((12,)),
    "nodal2d": Grid.make((6, 5), "nodal"),
    "cell3d": Grid.make((4, 3, 5), "cell"),
    "chebyshev": Grid.make((9,), "chebyshev"),
    "listed": Grid([Axis("listed", 4, points=(0.0, 0.1, 0.5, 1.0))]),
    "mesh": Mesh(torch.rand(6, 2), None, torch.rand(6) + 0.1),
}


def pair(grid, timed: bool = False, dtype: torch.dtype = F64, n: int = 3, channels: int = 2):
    generator = torch.Generator().manual_seed(0)
    shape = (n, *([4] if timed else []), channels, *grid.shape)
    return torch.randn(shape, dtype=dtype, generator=generator), torch.randn(shape, dtype=dtype, generator=generator)


def loops(p, u, grid, value):
    """``value(e, v, w)`` for each sample and channel, in numpy."""
    w = grid.norm_weights().numpy()
    timed = u.ndim > len(grid.shape) + 2
    pick = (lambda x, i, c: x[i, :, c]) if timed else (lambda x, i, c: x[i, c])
    return [
        [value(pick(p - u, i, c).numpy(), pick(u, i, c).numpy(), w) for c in range(u.shape[2 if timed else 1])]
        for i in range(len(u))
    ]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.complex128])
def test_against_loops(grid, timed, dtype):
    grid = GRIDS[grid]
    p, u = pair(grid, timed, dtype)
    l2 = loops(p, u, grid, lambda e, v, w: math.sqrt((abs(e) ** 2 * w).sum() / (abs(v) ** 2 * w).sum()))
    top = loops(p, u, grid, lambda e, v, w: abs(e).max() / abs(v).max())
    assert np.allclose(relative_l2(p, u, grid), l2, rtol=1e-5 if dtype == torch.float32 else 1e-12)
    assert np.allclose(relative_max(p, u, grid), top, rtol=1e-6)
    if timed:
        found = relative_l2_over_time(p, u, grid)
        for j in range(4):
            one = relative_l2(p[:, j].flatten(1, 1), u[:, j], grid)
            assert found.shape == (3, 4) and one.shape == (3, 2)
            w = grid.norm_weights().numpy()
            e, v = ((abs(x[:, j].numpy()) ** 2 * w).reshape(3, -1).sum(1) for x in (p - u, u))
            assert np.allclose(found[:, j], np.sqrt(e / v), rtol=1e-5)


def test_zero_over_zero_and_error_over_zero():
    grid = Grid.make((4,))
    u = torch.zeros(2, 1, 4, dtype=F64)
    p = torch.stack([torch.zeros(1, 4), torch.ones(1, 4)]).double()
    for metric in (relative_l2, relative_max, relative_h1):
        assert metric(p, u, grid).flatten().tolist() == [0.0, math.inf]


def test_equal_weights_on_uniform_grids_as_published_errors_have():
    grid = Grid.make((5, 4), "nodal")
    p, u = pair(grid)
    plain = torch.linalg.vector_norm((p - u).flatten(2), dim=2) / torch.linalg.vector_norm(u.flatten(2), dim=2)
    assert torch.allclose(relative_l2(p, u, grid), plain)


@pytest.mark.parametrize(("kind", "order"), [("periodic", None), ("chebyshev", None), ("nodal", 2), ("cell", 2)])
def test_gradients_converge_as_declared(kind, order):
    errors = []
    for n in (24, 48):
        grid = Grid([Axis(kind, n, 0.0, 2.0, "x"), Axis("periodic", 6, 0.0, 2.0, "y")])
        x, y = grid.coordinates()
        u = torch.sin(2 * math.pi * x + torch.cos(math.pi * y))[None, None]
        found = gradient(u, grid)
        exact = 2 * math.pi * torch.cos(2 * math.pi * x + torch.cos(math.pi * y))
        errors.append(float((found[0][0, 0] - exact).abs().max()))
        assert len(found) == 2 and found[1].shape == u.shape
    if order is None:
        assert errors[-1] < 1e-9
    else:
        assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.4)


def test_gradients_of_quadratics_are_exact_on_listed_points():
    grid = GRIDS["listed"]
    x = grid.coordinates()[0]
    assert torch.allclose(gradient((x**2 + x)[None, None], grid)[0][0, 0], 2 * x + 1)
    single = Grid([Axis("listed", 1, points=(0.5,))])
    assert float(gradient(torch.ones(1, 1, 1), single)[0]) == 0.0
    two = Grid.make((2,), "nodal")
    assert gradient(torch.tensor([[[1.0, 3.0]]]), two)[0].tolist() == [[[2.0, 2.0]]]


def test_h1_of_waves_is_known():
    grid = Grid.make((32, 32))
    x, y = grid.coordinates()
    u, e = torch.cos(2 * math.pi * x), 0.1 * torch.sin(2 * math.pi * (3 * x + 4 * y))
    exact = 0.1 * math.sqrt((1 + (2 * math.pi) ** 2 * 25) / (1 + (2 * math.pi) ** 2))
    assert float(relative_h1((u + e)[None, None], u[None, None], grid)) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.complex128])
@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("shape", [(31,), (9, 33), (5, 7, 9)])
def test_bands_add_up_to_the_whole(dtype, timed, shape):
    grid = Grid.make(shape)  # odd sizes: no Nyquist mode, so Parseval holds to round-off
    p, u = pair(grid, timed, dtype)
    bands = band_errors(p, u, grid)
    over = tuple(range(1, u.ndim))
    whole = ((p - u).abs().square().sum(over) / u.abs().square().sum(over)).sqrt()
    found = sum(b.square() for b in bands.values()).sqrt()
    assert torch.allclose(found, whole, rtol=1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize(
    ("kind", "wave", "band"),
    [
        ("periodic", 4, "low"),
        ("periodic", 5, "mid"),
        ("periodic", 12, "mid"),
        ("periodic", 13, "high"),
        ("cell", 4, "low"),
        ("cell", 4.5, "mid"),
        ("nodal", 12, "mid"),
        ("nodal", 12.5, "high"),
    ],
)
def test_a_wave_lies_in_its_band(kind, wave, band):
    grid = Grid.make((65 if kind == "nodal" else 64,), kind)
    u = torch.ones(1, 1, grid.shape[0], dtype=F64)
    bands = band_errors(u + 0.2 * torch.cos(2 * math.pi * wave * grid.coordinates()), u, grid)
    assert float(bands.pop(band)) == pytest.approx(0.2 / math.sqrt(2), rel=1e-10)
    assert max(map(float, bands.values())) < 1e-12


def test_bands_count_the_length_of_the_wave_vector():
    grid = Grid.make((32, 32))
    x, y = grid.coordinates()
    u = torch.ones(1, 1, 32, 32, dtype=F64)
    bands = band_errors(u + torch.cos(2 * math.pi * (3 * x + 4 * y)), u, grid)  # |k| = 5
    assert float(bands["mid"]) == pytest.approx(math.sqrt(0.5)) and float(bands["low"]) < 1e-12


def test_coverage_and_sharpness_of_calibrated_noise():
    grid = Grid.make((64, 64))
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(8, 1, 64, 64, generator=generator, dtype=F64)
    std = torch.rand(8, 1, 64, 64, generator=generator, dtype=F64) + 0.5
    u = mean + std * torch.randn(8, 1, 64, 64, generator=generator, dtype=F64)
    assert coverage(mean, std, u).tolist() == pytest.approx([0.95] * 8, abs=0.012)
    assert coverage(mean, std, u, z=1.0).tolist() == pytest.approx([0.683] * 8, abs=0.025)
    expected = std.flatten(1).square().sum(1) / u.flatten(1).square().sum(1)
    assert torch.allclose(sharpness(std, u, grid), expected.sqrt())


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("timed", [False, True])
def test_scores_hold_every_metric_that_the_grid_allows(grid, timed):
    grid = GRIDS[grid]
    p, u = pair(grid, timed, torch.float32)
    found = scores(p, torch.ones_like(p), u, grid)
    expected = {"rel_l2", "rel_max", "rel_l2_channels", "coverage95", "sharpness"}
    expected |= {"rel_h1"} if isinstance(grid, Grid) else set()
    bands = isinstance(grid, Grid) and grid is not GRIDS["listed"]
    expected |= {"band_low", "band_mid", "band_high"} if bands else set()
    expected |= {"rel_l2_times"} if timed else set()
    assert set(found) == expected
    shapes = {"rel_l2_channels": (3, 2), "rel_l2_times": (3, 4)}
    assert all(v.shape == shapes.get(k, (3,)) and v.dtype == F64 for k, v in found.items())
    assert torch.allclose(found["rel_l2"], relative_l2(p.double(), u.double(), grid).mean(1))
    assert "coverage95" not in scores(p, None, u, grid)


def test_a_perfect_prediction_scores_zero_and_the_zero_prediction_one():
    grid = Grid.make((9, 8), "cell")
    _, u = pair(grid)
    assert all(float(v.abs().max()) == 0 for v in scores(u, None, u, grid).values())
    zero = scores(torch.zeros_like(u), None, u, grid)
    assert all(torch.allclose(zero[k], torch.ones(3, dtype=F64)) for k in ("rel_l2", "rel_h1", "rel_max"))


def test_errors_name_what_arrived():
    grid = Grid.make((8,))
    p, u = pair(grid)
    with pytest.raises(NWidthError, match="shape"):
        scores(p[:2], None, u, grid)
    with pytest.raises(NWidthError, match="shape"):
        scores(p, p[:, :1], u, grid)
    with pytest.raises(NWidthError, match="NaN"):
        scores(p, None, u / 0, grid)
    assert not bool(torch.isfinite(scores(p * float("nan"), None, u, grid)["rel_l2"]).any())
