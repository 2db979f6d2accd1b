"""Gaussian process regression against the closed form with its hyper-parameters, and against what it should find."""

import math

import numpy as np
import pytest
import scipy.spatial
import scipy.stats
import torch
from nwidth.data.files import load_state, save_state
from nwidth.errors import NWidthError
from nwidth.gp import GPRegressor
from torch.nn.functional import softplus

F64 = torch.float64
PHI = {
    "rbf": lambda r: np.exp(-(r**2) / 2),
    "matern12": lambda r: np.exp(-r),
    "matern32": lambda r: (1 + math.sqrt(3) * r) * np.exp(-math.sqrt(3) * r),
    "matern52": lambda r: (1 + math.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-math.sqrt(5) * r),
}


def data(n: int = 40, p: int = 2, noise: float = 0.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, p, dtype=F64, generator=generator) * 4
    y = torch.stack([torch.sin(x.sum(1)), 50 * x[:, 0] + 7, x[:, 0] * torch.cos(x[:, -1])], 1)
    return x, y + noise * torch.randn(n, 3, dtype=F64, generator=generator)


def hyper(gp: GPRegressor, j: int) -> dict[str, np.ndarray | float]:
    """Hyper-parameters of one output, from the raw values (gpytorch's constraints written out)."""
    h = {k: v[j] for k, v in gp.hyper.items() if "raw" in k and "bound" not in k}
    low, high = 1e-3, 1e4
    length = low + (high - low) * torch.sigmoid(h["covar_module.base_kernel.raw_lengthscale"])
    return {
        "mean": float(h["mean_module.raw_constant"]),
        "length": length.reshape(-1).numpy(),
        "variance": float(softplus(h["covar_module.raw_outputscale"])),
        "noise": float(gp.min_noise + softplus(h["likelihood.noise_covar.raw_noise"])),
    }


def scales(gp: GPRegressor, x: torch.Tensor, y: torch.Tensor):
    if x.shape[1] > gp.ard_features:
        sx = np.full(x.shape[1], float(x.var(0).sum()) ** 0.5)
    else:
        sx = x.std(0).numpy()
    return sx, y.mean(0).numpy(), y.std(0).numpy()


def covariance(gp, h, a, b):
    return h["variance"] * PHI[gp.kernel](scipy.spatial.distance.cdist(a / h["length"], b / h["length"]))


@pytest.mark.parametrize("kernel", PHI)
@pytest.mark.parametrize("p", [1, 2, 25])
def test_the_posterior_is_the_closed_form(kernel, p):
    x, y = data(30, p, noise=0.05)
    z, _ = data(9, p, seed=3)
    gp = GPRegressor(kernel, steps=8)
    gp.fit(x, y, None, seed=0)
    mean, std = gp.predict(z)
    sx, shift, sy = scales(gp, x, y)
    for j in range(3):
        h = hyper(gp, j)
        a, b, t = x.numpy() / sx, z.numpy() / sx, ((y[:, j].numpy() - shift[j]) / sy[j])
        K = covariance(gp, h, a, a) + h["noise"] * np.eye(30)
        k = covariance(gp, h, b, a)
        m = h["mean"] + k @ np.linalg.solve(K, t - h["mean"])
        v = h["variance"] - np.einsum("ij,ji->i", k, np.linalg.solve(K, k.T)) + h["noise"]
        assert np.allclose(mean[:, j], shift[j] + sy[j] * m, atol=1e-6 * sy[j])
        assert np.allclose(std[:, j], sy[j] * np.sqrt(v), rtol=1e-4)
    assert len(hyper(gp, 0)["length"]) == (p if p <= 20 else 1)
    assert gp.parameters == 3 * (3 + (p if p <= 20 else 1))


def test_hyper_parameters_maximise_the_marginal_likelihood():
    x, y = data(40, 1, noise=0.1)
    y = y[:, :1]
    gp = GPRegressor("rbf", steps=60)
    told = gp.fit(x, y, None, seed=0)[0]["negative_log_likelihood"]
    sx, shift, sy = scales(gp, x, y)
    a, t = x.numpy() / sx, (y[:, 0].numpy() - shift[0]) / sy[0]

    def nll(h):
        K = covariance(gp, h, a, a) + h["noise"] * np.eye(40)
        return -scipy.stats.multivariate_normal(np.full(40, h["mean"]), K).logpdf(t) / 40

    h = hyper(gp, 0)
    assert told == pytest.approx(nll(h), rel=1e-6)
    for key, value in h.items():
        for factor in (0.7, 1.4):
            moved = value + (factor - 1) if key == "mean" else value * factor
            assert nll({**h, key: moved}) > told
    assert math.sqrt(h["noise"]) * sy[0] == pytest.approx(0.1, rel=0.35)


def test_intervals_cover_what_they_say():
    shares = []
    for seed in range(4):
        x, y = data(80, 2, noise=0.2, seed=seed)
        z, target = data(400, 2, noise=0.2, seed=seed + 10)
        gp = GPRegressor()
        gp.fit(x, y, None, seed=0)
        mean, std = gp.predict(z)
        shares.append(((target - mean).abs() <= 1.96 * std).double().mean(0))
    assert torch.stack(shares).mean(0).tolist() == pytest.approx([0.95] * 3, abs=0.04)


def test_uncertainty_grows_away_from_the_data():
    x, y = data(40, 1)
    gp = GPRegressor()
    gp.fit(x, y, None, seed=0)
    inside, outside = gp.predict(torch.tensor([[2.0]], dtype=F64))[1], gp.predict(torch.tensor([[9.0]], dtype=F64))[1]
    assert bool((outside > 5 * inside).all())


def test_smooth_functions_are_found():
    x, y = data(60, 2)
    z, target = data(200, 2, seed=5)
    gp = GPRegressor("rbf")
    gp.fit(x, y, None, seed=0)
    error = (gp.predict(z)[0] - target).norm(dim=0) / target.norm(dim=0)
    assert float(error.max()) < 0.02


def test_an_irrelevant_input_gets_a_long_length():
    x, y = data(60, 3)
    gp = GPRegressor()
    gp.fit(x, y[:, 1:2] * 0 + torch.sin(3 * x[:, :1]), None, seed=0)
    length = hyper(gp, 0)["length"]
    assert min(length[1:]) > 5 * length[0]


def test_few_samples_choose_and_all_inform():
    x, y = data(120, 1, noise=0.01)
    gp = GPRegressor(fit_samples=30)
    gp.fit(x, y, None, seed=0)
    same = GPRegressor(fit_samples=30)
    same.fit(x, y, None, seed=0)
    other = GPRegressor(fit_samples=30)
    other.fit(x, y, None, seed=1)
    assert torch.equal(gp.predict(x)[0], same.predict(x)[0]) and not torch.equal(gp.predict(x)[0], other.predict(x)[0])
    assert len(gp.x) == 120
    history = gp.fit(x[:60], y[:60], (x[60:], lambda p: float((p - y[60:]).norm() / y[60:].norm())), seed=0)
    error = float((gp.predict(x[60:])[0] - y[60:]).norm() / y[60:].norm())
    assert history[0]["val_rel_l2"] == pytest.approx(error) and error < 0.05


def test_refitting_keeps_hyper_parameters_unless_the_outputs_change():
    x, y = data(40)
    gp = GPRegressor(steps=10)
    gp.fit(x[:30], y[:30], None, seed=0)
    kept = {k: v.clone() for k, v in gp.hyper.items()}
    gp.refit(x, y)
    assert all(torch.equal(kept[k], v) for k, v in gp.hyper.items()) and gp.predict(x)[0].shape == (40, 3)
    gp.refit(x, y[:, :2])
    assert gp.predict(x)[0].shape == (40, 2)
    assert torch.allclose(gp.predict(x)[0], y[:, :2], atol=0.5)


def test_constant_outputs_and_inputs():
    x, y = data(20)
    x, y = torch.cat([x, torch.full((20, 1), 2.0)], 1), torch.cat([y[:, :1], torch.full((20, 1), 3.0)], 1)
    gp = GPRegressor(steps=10)
    gp.fit(x, y, None, seed=0)
    mean, std = gp.predict(x)
    assert bool(torch.isfinite(mean).all() and torch.isfinite(std).all())
    assert torch.allclose(mean[:, 1], y[:, 1], atol=0.05)


@pytest.mark.parametrize("kernel", ["matern52", "rbf"])
def test_state(tmp_path, kernel):
    x, y = data(30)
    gp = GPRegressor(kernel, steps=5)
    gp.fit(x, y, None, seed=0)
    save_state(tmp_path / "g", gp.state_dict())
    again = GPRegressor(kernel)
    again.load_state_dict(load_state(tmp_path / "g"))
    assert all(torch.allclose(a, b, rtol=1e-10) for a, b in zip(again.predict(x + 0.1), gp.predict(x + 0.1)))


def test_errors_name_what_arrived():
    x, y = data(10)
    with pytest.raises(NWidthError, match="kernel='cubic'"):
        GPRegressor("cubic")
    with pytest.raises(NWidthError, match="coupling='tight', expected one of independent, shared, icm"):
        GPRegressor(coupling="tight")
    with pytest.raises(NWidthError, match="10 samples with coupling=icm, expected at most 9"):
        GPRegressor(max_samples=9, coupling="icm").fit(x, y, None, seed=0)
    with pytest.raises(NWidthError, match="NaN or infinity in y of 1 of 10 samples, first 0"):
        GPRegressor().fit(x, torch.cat([y[:1] * math.inf, y[1:]]), None, seed=0)
    with pytest.raises(NWidthError, match="10 samples, expected at most 9"):
        GPRegressor(max_samples=9, inducing=None).fit(x, y, None, seed=0)
