"""The empirical n-width: known widths, brute-force projections, published ranks."""

import json
import math

import numpy as np
import pytest
import torch
from nwidth.backends import Axis, Grid, Mesh
from nwidth.data import Dataset, Roles, open_dataset, save_dataset
from nwidth.data.nwidth import n_width

F64 = torch.float64


def known(n: int = 30, grid=None, rate: float = 0.4, dtype: torch.dtype = F64, channels: int = 1):
    """Samples with singular values 10^(-rate i) in the grid's inner product."""
    grid = grid or Grid.make((40,), "chebyshev")
    size = channels * math.prod(grid.shape)
    generator = torch.Generator().manual_seed(0)
    k = min(n, size)
    V = torch.linalg.qr(torch.randn(size, k, dtype=dtype, generator=generator)).Q
    U = torch.linalg.qr(torch.randn(n, k, dtype=dtype, generator=generator)).Q
    s = 10.0 ** (-rate * torch.arange(k, dtype=F64))
    u = (U * s @ V.mT).reshape(n, channels, *grid.shape) / grid.norm_weights().sqrt()
    return Dataset(grid, u=u.to(dtype), mu=torch.rand(n, 1)), s


GRIDS = {
    "1d": None,
    "2d": Grid.make((6, 7), "cell"),
    "3d": Grid.make((3, 4, 5)),
    "mesh": Mesh(torch.rand(40, 2), None, torch.rand(40) + 0.1),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("dtype", [F64, torch.complex128])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_known_spectrum(grid, dtype, channels):
    data, s = known(grid=GRIDS[grid], dtype=dtype, channels=channels)
    curve = n_width(data)
    assert np.allclose(curve.singular_values, s, rtol=1e-6, atol=1e-14)
    expected = [float((s[n:].square().sum() / s.square().sum()).sqrt()) for n in range(len(s) + 1)]
    assert np.allclose(curve.error, expected, rtol=1e-6, atol=1e-14) and curve.error[-1] <= 1e-16
    assert curve.samples == 30 and curve.snapshots == "samples" and curve.states is None and curve.unseen == []
    assert curve.rank(2e-2) == next(n for n, e in enumerate(expected) if e <= 2e-2)
    assert curve.rank(0.0) is None


@pytest.mark.parametrize("dtype", [F64, torch.complex128])
def test_worst_and_unseen_against_projections(dtype):
    data, _ = known(rate=0.1, dtype=dtype)
    curve = n_width(data[:20], data[20:])
    w = data.grid.norm_weights().sqrt()
    x = (data.u * w).flatten(1).numpy()
    basis = np.linalg.svd(x[:20], full_matrices=False)[2]
    for n in range(21):
        missed = np.linalg.norm(x - x @ basis[:n].conj().T @ basis[:n], axis=1) / np.linalg.norm(x, axis=1)
        assert curve.worst[n] == pytest.approx(missed[:20].max(), abs=1e-12)
        assert curve.unseen[n] == pytest.approx(missed[20:].mean(), abs=1e-12)
    assert curve.floor(5) == curve.unseen[5] and curve.floor(99) == curve.unseen[-1] and n_width(data).floor(3) is None


def test_small_errors_are_resolved():
    curve = n_width(known(rate=1.0)[0])
    assert (curve.error[0], curve.worst[0]) == pytest.approx((1.0, 1.0))
    for n in (8, 10, 12):  # far below the root of round-off
        assert 0.3 * 10.0**-n < curve.worst[n] and curve.error[n] == pytest.approx(10.0**-n, rel=0.2)


def test_shifted_waves_have_width_two_and_steps_decay_slowly():
    grid = Grid.make((256,))
    x, shifts = grid.coordinates()[0], torch.arange(256) / 256
    waves = torch.stack([torch.sin(2 * math.pi * (x - s)) for s in shifts])[:, None]
    assert n_width(Dataset(grid, u=waves, mu=shifts[:, None])).rank(1e-7) == 2
    steps = torch.stack([((x - s) % 1 < 0.5).double() for s in shifts])[:, None]
    curve = n_width(Dataset(grid, u=steps, mu=shifts[:, None]))
    # the mean, then a sine and a cosine for each odd k, with a share 4 / (pi k)^2 of the energy
    for n in (1, 5, 9, 13):
        exact = math.sqrt(sum(4 / (math.pi * k) ** 2 for k in range(n, 9999, 2)))
        assert curve.error[n] == pytest.approx(exact, rel=0.05)


def moving(n: int = 6, times: int = 5):
    u = torch.randn(n, times, 2, 8, dtype=F64, generator=torch.Generator().manual_seed(1))
    return Dataset(Grid.make((8,)), u=u, u0=torch.randn(n, 2, 8, dtype=F64), t=torch.arange(1.0, times + 1))


@pytest.mark.parametrize("initial", [False, True])
def test_trajectories_and_their_states(initial):
    data = moving()
    curve = n_width(data, initial=initial)
    every = torch.cat([data.u0[:, None], data.u], 1) if initial else data.u
    assert curve.snapshots == "samples" and curve.states.snapshots == "states" and curve.states.states is None
    assert np.allclose(curve.singular_values, np.linalg.svd(every.flatten(1) / math.sqrt(8), compute_uv=False))
    states = every.flatten(0, 1).flatten(1) / math.sqrt(8)
    assert np.allclose(curve.states.singular_values, np.linalg.svd(states, compute_uv=False)[:16])
    assert n_width(data[:1]).snapshots == "states"


def test_limits_take_evenly_spaced_samples(tmp_path):
    data, _ = known(31)
    picked = [0, 10, 20, 30]
    few = n_width(data, max_samples=4)
    assert few.samples == 4 and np.allclose(few.singular_values, n_width(data[picked]).singular_values, atol=1e-14)
    assert n_width(data, max_bytes=10 * 2 * 40 * 8).samples == 10
    save_dataset(tmp_path / "d.h5", data)
    assert n_width(open_dataset(tmp_path / "d.h5"), max_samples=4).singular_values == few.singular_values


def test_plain_values():
    curve = n_width(moving())
    d = json.loads(json.dumps(curve.to_dict()))
    assert set(d["ranks"]) == {"0.1", "0.01", "0.0001"} and d["states"]["snapshots"] == "states"
    zero = n_width(Dataset(Grid.make((4,)), u=torch.zeros(3, 1, 4), mu=torch.rand(3, 1)))
    assert zero.rank(1e-9) == 0


def ranks(x: np.ndarray) -> list[int]:
    s = np.linalg.svd(x, compute_uv=False)
    tail = np.sqrt(np.append(np.cumsum(s[::-1] ** 2)[::-1], 0) / (s**2).sum())
    return [int(np.argmax(tail <= level)) for level in (1e-1, 1e-2, 1e-4)]


@pytest.mark.parametrize(
    ("file", "roles", "published"),
    [
        ("neuralop/darcy_train_16.pt", Roles(), [18, 177, 248]),
        ("neuralop/burgers_train_16.pt", Roles(), None),
        ("pinns/burgers_shock.mat", Roles({"u": "usol", "t": "t"}, {"u": "xt"}, {"x": "x"}), [2, 4, 9]),
        ("deephpms/burgers.mat", Roles({"u": "usol", "t": "t"}, {"u": "xt"}), [4, 8, 17]),
        ("graetz/graetz_50.npz", Roles({"u": "snapshots", "mu": "params"}, {"u": "nx"}), None),
    ],
)
def test_ranks_of_real_data(realdata, file, roles, published):
    data = open_dataset(realdata / file, roles)
    curve = n_width(data, initial=True)
    found = [curve.rank(level) for level in (1e-1, 1e-2, 1e-4)]
    whole = data.load()
    every = torch.cat([whole.u0[:, None], whole.u], 1) if data.time_dependent else whole.u
    x = every.flatten(0, 1) if len(data) == 1 else every
    x = x if x.is_complex() else x.double()
    assert found == ranks(x.flatten(1).numpy()) and published in (None, found)
    assert (curve.snapshots == "states") == (len(data) == 1)


def test_quadrature_weights_count():
    # one sample lives at the ends, the other inside, where Chebyshev points carry more weight
    grid = Grid([Axis("chebyshev", 9)])
    u = torch.eye(9, dtype=F64)[[0, 4]][:, None]
    w = grid.weights()
    assert np.allclose(n_width(Dataset(grid, u=u)).singular_values, torch.stack([w[4], w[0]]).sqrt())
