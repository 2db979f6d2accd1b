"""Scaling against numpy's mean and standard deviation."""

import numpy as np
import pytest
import torch
from nwidth.backends import Grid
from nwidth.data import Dataset, open_dataset, save_dataset
from nwidth.data.files import load_state, save_state
from nwidth.data.normalize import Normalizer
from nwidth.errors import NWidthError

SPACES = {1: (7,), 2: (4, 5), 3: (3, 2, 4)}


def fields(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    x = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return (x * 3 + torch.linspace(5, 9, shape[-1], dtype=torch.float64)).to(dtype)


@pytest.mark.parametrize("dims", SPACES)
@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("block", [1, 4, 256])
def test_channel_statistics(dims, timed, dtype, block):
    x = fields(10, *([3] if timed else []), 2, *SPACES[dims], dtype=dtype)
    n = Normalizer("channel").fit(x, timed, block)
    over = tuple(d for d in range(x.ndim) if d != (2 if timed else 1))
    assert np.allclose(n.shift.flatten(), x.double().numpy().mean(over), rtol=1e-12)
    assert np.allclose(n.scale.flatten(), x.double().numpy().std(over), rtol=1e-10)
    y = n(x)
    assert y.dtype == dtype and float(y.double().mean(over).abs().max()) < 1e-5
    assert torch.allclose(n.inverse(y), x, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-13)
    other = fields(2, 2, *(2 * s for s in SPACES[dims]), dtype=dtype)  # carries to another resolution
    assert torch.allclose(n.inverse(n(other)), other, atol=1e-5)


@pytest.mark.parametrize("dims", SPACES)
@pytest.mark.parametrize("timed", [False, True])
def test_point_statistics(dims, timed):
    x = fields(10, *([3] if timed else []), 2, *SPACES[dims])
    n = Normalizer("point").fit(x, timed)
    flat = x.flatten(0, 1).numpy() if timed else x.numpy()
    mean = flat.mean(0)
    assert np.allclose(n.shift, mean, rtol=1e-12)
    expected = ((flat - mean) ** 2).mean((0, *range(2, flat.ndim))) ** 0.5
    assert np.allclose(n.scale.flatten(), expected, rtol=1e-10) and n.scale.shape == (2, *(1,) * dims)
    assert torch.allclose(n.inverse(n(x)), x)
    with pytest.raises(NWidthError, match="as in training"):
        n(fields(2, 2, *(s + 1 for s in SPACES[dims])))


@pytest.mark.parametrize("mode", ["channel", "point"])
def test_parameters(mode):
    mu = fields(20, 3)
    n = Normalizer(mode).fit(mu)
    assert torch.allclose(n(mu).std(0, unbiased=False), torch.ones(3, dtype=torch.float64))
    assert torch.allclose(n.inverse(n(mu)), mu)


def test_a_channel_that_does_not_vary_keeps_its_scale():
    x = torch.cat([torch.full((6, 1, 8), 1e6, dtype=torch.float32), torch.randn(6, 1, 8)], 1)
    n = Normalizer().fit(x)
    assert float(n.scale[0]) == 1.0 and float(n(x)[:, 0].abs().max()) == 0.0
    assert torch.equal(n.inverse(n(x))[:, 0], x[:, 0])


def test_a_small_variation_on_a_large_mean_is_kept():
    x = 1e4 + 1e-2 * fields(50, 1, 8)
    n = Normalizer().fit(x)
    assert float(n.scale) == pytest.approx(float(x.std(unbiased=False)), rel=1e-3)


def test_none_and_nothing():
    x = fields(3, 1, 4)
    assert Normalizer("none").fit(x)(x) is x and Normalizer("none").inverse(x) is x
    assert Normalizer().fit(x[:0])(x) is x
    with pytest.raises(NWidthError, match="mode='minmax'"):
        Normalizer("minmax")


def test_fields_on_disk(tmp_path):
    x = fields(300, 2, 6, dtype=torch.float32)
    save_dataset(tmp_path / "d.h5", Dataset(Grid.make((6,)), u=x))
    lazy, direct = Normalizer().fit(open_dataset(tmp_path / "d.h5").u), Normalizer().fit(x)
    assert torch.equal(lazy.shift, direct.shift) and torch.equal(lazy.scale, direct.scale)


@pytest.mark.parametrize("mode", ["channel", "point", "none"])
def test_state(tmp_path, mode):
    x = fields(5, 2, 6)
    n = Normalizer(mode).fit(x)
    save_state(tmp_path / "n.st", n.state_dict())
    again = Normalizer().load_state_dict(load_state(tmp_path / "n.st"))
    assert again.mode == mode and torch.equal(again(x), n(x))
