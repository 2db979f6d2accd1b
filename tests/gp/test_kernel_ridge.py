"""Kernel ridge against its dense formula, leave-one-out against leaving out, choices against their history."""

import math

import numpy as np
import pytest
import scipy.spatial.distance
import torch
from nwidth.data.files import load_state, save_state
from nwidth.errors import NWidthError
from nwidth.gp import KernelRidge

F64 = torch.float64
PHI = {
    "rbf": lambda r: np.exp(-(r**2) / 2),
    "matern12": lambda r: np.exp(-r),
    "matern32": lambda r: (1 + math.sqrt(3) * r) * np.exp(-math.sqrt(3) * r),
    "matern52": lambda r: (1 + math.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-math.sqrt(5) * r),
    "rational_quadratic": lambda r: 1 / (1 + r**2 / 2),
}


def data(n: int = 40, p: int = 3, outputs: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, p, dtype=F64, generator=torch.Generator().manual_seed(seed)) * torch.tensor([1.0, 3.0, 0.2][:p])
    return x, torch.stack([torch.sin(x.sum(1)), x[:, 0] ** 2, x[:, -1] + 3][:outputs], 1)


def dense(x, z, kernel, length, whitening):
    """Kernel matrices of the training inputs, and of other inputs with them."""
    D = x.std(0).numpy() ** -whitening
    x, z = x.numpy() * D, z.numpy() * D
    r = scipy.spatial.distance.cdist(x, x)
    scale = length * np.sort(r[np.triu_indices(len(x), 1)])[(len(x) * (len(x) - 1) // 2 - 1) // 2]
    return PHI[kernel](r / scale), PHI[kernel](scipy.spatial.distance.cdist(z, x) / scale)


@pytest.mark.parametrize("kernel", PHI)
@pytest.mark.parametrize(("length", "ridge", "whitening"), [(1.0, 1e-3, 0.0), (4.0, 1e-6, 1.0), (0.5, 1e-1, 0.5)])
def test_predictions_are_the_dense_formula(kernel, length, ridge, whitening):
    x, y = data()
    z, _ = data(7, seed=1)
    model = KernelRidge([kernel], [length], [ridge], [whitening])
    model.fit(x, y, None, seed=0)
    K, k = dense(x, z, kernel, length, whitening)
    bias = y.mean(0).numpy()
    expected = bias + k @ np.linalg.solve(K + 40 * ridge * np.eye(40), y.numpy() - bias)
    found, std = model.predict(z)
    assert np.allclose(found, expected, atol=1e-6) and std is None
    assert model.parameters == 80 and model.selected == {
        "kernel": kernel,
        "length": length,
        "ridge": ridge,
        "whitening": whitening,
    }


@pytest.mark.parametrize("kernel", ["matern12", "matern52"])
@pytest.mark.parametrize("ridge", [1e-4, 1e-2])
def test_leave_one_out_is_what_leaving_out_gives(kernel, ridge):
    x, y = data(25)
    model = KernelRidge([kernel], [1.0], [ridge])
    told = model.fit(x, y, None, seed=0)[0]["loo_rel_l2"]
    K, _ = dense(x, x, kernel, 1.0, 0.0)
    rest = (y - y.mean(0)).numpy()  # the mean and n ridge are those of the whole set
    errors = []
    for i in range(25):
        keep = np.arange(25) != i
        alpha = np.linalg.solve(K[np.ix_(keep, keep)] + 25 * ridge * np.eye(24), rest[keep])
        errors.append(rest[i] - K[i, keep] @ alpha)
    assert told == pytest.approx(np.linalg.norm(errors) / float(y.norm()), rel=1e-6)


@pytest.mark.parametrize("validated", [False, True])
def test_every_combination_is_tried_and_the_best_kept(validated):
    x, y = data(60)
    z, target = data(30, seed=1)

    def error(p):
        return float((p - target).norm() / target.norm())

    model = KernelRidge(["rbf", "matern12"], [0.1, 2.0], [1e-9, 1e-1], [0.0, 1.0])
    history = model.fit(x, y, (z, error) if validated else None, seed=0)
    key = "val_rel_l2" if validated else "loo_rel_l2"
    tried = [(h["kernel"], h["length"], h["ridge"], h["whitening"]) for h in history]
    assert len(set(tried)) == len(tried) == 16
    best = min(history, key=lambda h: h[key])
    assert model.selected == {k: best[k] for k in ("kernel", "length", "ridge", "whitening")}
    for h in history:  # what the eigendecomposition told is what each model alone predicts
        alone = KernelRidge([h["kernel"]], [h["length"]], [h["ridge"]], [h["whitening"]])
        again = alone.fit(x, y, (z, error) if validated else None, seed=0)[0][key]
        assert again == pytest.approx(h[key], rel=1e-6)
        if validated:
            assert error(alone.predict(z)[0]) == pytest.approx(h[key], rel=1e-4)


def test_noise_calls_for_a_ridge_and_smoothness_for_none():
    x = torch.rand(120, 1, dtype=F64, generator=torch.Generator().manual_seed(0))
    clean = torch.sin(6 * x)
    noisy = clean + 0.3 * torch.randn(120, 1, dtype=F64, generator=torch.Generator().manual_seed(1))
    ridges = []
    for y in (clean, noisy):
        model = KernelRidge(lengths=[0.5])
        model.fit(x, y, None, seed=0)
        ridges.append(model.selected["ridge"])
        assert float((model.predict(x)[0] - clean).norm() / clean.norm()) < (1e-5 if y is clean else 0.2)
    assert ridges[0] < 1e-6 < 1e-4 < ridges[1]


@pytest.mark.parametrize(("kernel", "order"), [("matern32", 2), ("matern52", 3)])
def test_interpolation_converges_with_the_smoothness_of_the_kernel(kernel, order):
    errors = []
    for n in (16, 32, 64):
        x = torch.linspace(0, 1, n, dtype=F64)[:, None]
        model = KernelRidge([kernel], [2.0 * 0.5], [1e-14])
        model.fit(x, torch.sin(9 * x), None, seed=0)
        z = (torch.linspace(0.2, 0.8, 200, dtype=F64))[:, None]
        errors.append(float((model.predict(z)[0] - torch.sin(9 * z)).abs().max()))
    assert all(math.log2(a / b) > order for a, b in zip(errors, errors[1:]))


def test_refitting_keeps_the_choice():
    x, y = data(30)
    model = KernelRidge()
    model.fit(x[:20], y[:20], None, seed=0)
    chosen = model.selected
    model.refit(x, y)
    alone = KernelRidge([chosen["kernel"]], [chosen["length"]], [chosen["ridge"]], [chosen["whitening"]])
    alone.fit(x, y, None, seed=0)
    assert model.selected == chosen and torch.equal(model.dual, alone.dual)


def test_a_covariance_that_is_singular_to_round_off():
    x, y = data(50, 1, 1)
    x = torch.cat([x, x])  # every sample twice
    model = KernelRidge(["rbf"], [16.0], [1e-16])
    model.fit(x, torch.cat([y, y]), None, seed=0)
    assert bool(torch.isfinite(model.dual).all())
    assert float((model.predict(x[:50])[0] - y).abs().max()) < 0.05


def test_state(tmp_path):
    x, y = data()
    model = KernelRidge(whitening=[0.0, 1.0])
    model.fit(x, y, None, seed=0)
    save_state(tmp_path / "k", model.state_dict())
    again = KernelRidge()
    again.load_state_dict(load_state(tmp_path / "k"))
    assert torch.allclose(again.predict(x + 0.1)[0], model.predict(x + 0.1)[0], rtol=1e-10)
    assert again.selected == model.selected


def test_errors_name_what_arrived():
    x, y = data(10)
    with pytest.raises(NWidthError, match="kernel 'cubic'"):
        KernelRidge(["cubic"])
    with pytest.raises(NWidthError, match="10 samples, expected at most 9"):
        KernelRidge(max_samples=9).fit(x, y, None, seed=0)
    with pytest.raises(NWidthError, match="mostly equal"):
        KernelRidge().fit(torch.ones_like(x), y, None, seed=0)
