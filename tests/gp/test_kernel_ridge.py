"""Kernel ridge against its dense formula, leave-one-out against leaving out, choices against their history."""

import math

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
import torch
from nwidth.data.files import load_state, save_state
from nwidth.errors import NWidthError
from nwidth.gp import GPRegressor, KernelRidge, SparseSpectralGP

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
    assert np.allclose(found, expected, atol=1e-6)
    A = K + 40 * ridge * np.eye(40)  # the Gaussian process whose mean this is, and its leave-one-out scale
    alpha, inverse = np.linalg.solve(A, y.numpy() - bias), np.linalg.inv(A).diagonal()[:, None]
    scale = ((alpha / inverse) ** 2 * inverse).mean(0)
    variance = 1 - np.einsum("ij,ji->i", k, np.linalg.solve(A, k.T)) + 40 * ridge
    assert np.allclose(std, np.sqrt(variance[:, None] * scale), rtol=1e-4)
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


@pytest.mark.parametrize("kernel", ["matern52", "linear"])
def test_a_refined_model_is_that_of_what_was_chosen(kernel):
    """More samples, searched near the last choice: fitted with the new one when it is asked for."""
    x, y = data(80)
    z, target = data(30, seed=1)

    def error(p):
        return float((p - target).norm() / target.norm())

    model = KernelRidge([kernel], [0.25], [1e-8, 1e-6, 1e-4], [0.0])
    model.fit(x[:40], y[:40], (z, error), seed=0)
    first = model.predict(z)[0]
    history = model.refine(x, y, (z, error), seed=0)
    best, chosen = min(h["val_rel_l2"] for h in history), model.selected
    alone = KernelRidge([kernel], [chosen["length"]], [chosen["ridge"]], [0.0])
    alone.fit(x, y, None, seed=0)
    assert torch.allclose(model.predict(z)[0], alone.predict(z)[0], rtol=1e-6, atol=1e-9)
    assert error(model.predict(z)[0]) == pytest.approx(best, rel=1e-4)
    assert not torch.allclose(model.predict(z)[0], first, atol=1e-4)


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
    model = KernelRidge(["rbf"], [16.0], [1e-19])
    model.fit(x, torch.cat([y, y]), None, seed=0)
    assert bool(torch.isfinite(model.dual).all()) and model.selected["jitter"] < 1e-10  # and it is told
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
        KernelRidge(max_samples=9, beyond=None).fit(x, y, None, seed=0)
    with pytest.raises(NWidthError, match="selection='evidence', expected null or one of validation, leave_one_out"):
        KernelRidge(selection="evidence")
    with pytest.raises(NWidthError, match="without validation samples"):
        KernelRidge(selection="validation").fit(x, y, None, seed=0)
    with pytest.raises(NWidthError, match="a stationary kernel; use nystroem"):
        KernelRidge(["linear"], max_samples=9, beyond="fourier").fit(x, y, None, seed=0)
    x[3, 0] = math.nan
    with pytest.raises(NWidthError, match="NaN or infinity in x of 1 of 10 samples, first 3"):
        KernelRidge().fit(x, y, None, seed=0)
    with pytest.raises(NWidthError, match="mostly equal"):
        KernelRidge().fit(torch.ones_like(x), y, None, seed=0)


@pytest.mark.parametrize("spread", ["leave_one_out", "marginal_likelihood"])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_intervals_cover_what_they_say(noise, spread):
    shares = []
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        x, z = torch.rand(150, 2, dtype=F64, generator=generator), torch.rand(300, 2, dtype=F64, generator=generator)
        f = [torch.stack([torch.sin(5 * t.sum(1)), 30 * (t[:, 0] * t[:, 1]).cos()], 1) for t in (x, z)]
        size = noise * torch.tensor([1.0, 5.0])
        y, target = (v + size * torch.randn(v.shape, dtype=F64, generator=generator) for v in f)
        model = KernelRidge(spread=spread)
        model.fit(x, y, None, seed=0)
        mean, std = model.predict(z)
        shares.append(((mean - target).abs() < 1.96 * std).double().mean(0))
    assert bool(((torch.stack(shares).mean(0) > 0.9) & (torch.stack(shares).mean(0) <= 0.995)).all())


def test_marginal_likelihood_is_that_of_scipy_and_chooses():
    x, y = data(40)
    y = y + 0.1 * torch.randn(40, 2, dtype=F64, generator=torch.Generator().manual_seed(1))
    model = KernelRidge(lengths=[0.5, 2.0], ridges=[1e-4, 1e-2], selection="marginal_likelihood")
    history = model.fit(x, y, (x, lambda p: 7.0), seed=0)
    rest = (y - y.mean(0)).numpy()
    for h in history:
        K, _ = dense(x, x, h["kernel"], h["length"], 0.0)
        A = K + 40 * h["ridge"] * np.eye(40)
        nll = 0.0
        for j in range(2):
            s2 = rest[:, j] @ np.linalg.solve(A, rest[:, j]) / 40
            nll -= scipy.stats.multivariate_normal(np.zeros(40), s2 * A).logpdf(rest[:, j]) / 80
        assert h["negative_log_likelihood"] == pytest.approx(nll, rel=1e-8)
    best = min(history, key=lambda h: h["negative_log_likelihood"])
    assert best["val_rel_l2"] == 7.0 and all(best[k] == v for k, v in model.selected.items())


def test_a_linear_map_is_found_by_the_linear_kernel():
    x, _ = data(60, 3)
    W = torch.tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]], dtype=F64)
    model = KernelRidge(["matern52", "linear"])
    model.fit(x, x @ W + 2, None, seed=0)
    assert model.selected["kernel"] == "linear"
    assert float((model.predict(10 * x)[0] - 10 * x @ W - 2).abs().max()) < 1e-6
    a, b = model.predict(x)[1].mean(), model.predict(100 * x)[1].mean()
    assert float(b) > 2 * float(a)


@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
@pytest.mark.parametrize("beyond", ["nystroem", "fourier"])
def test_features_converge_to_the_exact_regression(kernel, beyond):
    generator = torch.Generator().manual_seed(0)
    x, z = torch.rand(400, 2, dtype=F64, generator=generator), torch.rand(50, 2, dtype=F64, generator=generator)
    y = torch.sin(6 * x[:, :1]) * x[:, 1:] + 0.1 * torch.randn(400, 1, dtype=F64, generator=generator)
    pin = {"kernels": [kernel], "lengths": [1.0], "ridges": [1e-3]}
    exact = KernelRidge(**pin)
    exact.fit(x, y, None, seed=0)
    mean, std = exact.predict(z)
    errors = []
    for features in (20, 80, 320):
        model = KernelRidge(**pin, max_samples=399, beyond=beyond, features=features)
        model.fit(x, y, None, seed=0)
        m, s = model.predict(z)
        errors.append((float((m - mean).norm() / mean.norm()), float((s - std).norm() / std.norm())))
        assert model.dual.shape == (features, 1) or beyond == "nystroem"
    assert all(a[0] > b[0] for a, b in zip(errors, errors[1:]))
    bound = (5e-3, 5e-3) if beyond == "nystroem" else (0.05, 0.05)
    assert errors[-1][0] < bound[0] and errors[-1][1] < bound[1]


def test_many_samples_are_all_used_and_kept(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3000, 1, dtype=F64, generator=generator)
    y = torch.sin(9 * x) + 0.2 * torch.randn(3000, 1, dtype=F64, generator=generator)
    model = KernelRidge(lengths=[0.5, 1.0], max_samples=1000, features=60)
    model.fit(x, y, None, seed=0)
    mean, std = model.predict(x)
    few = KernelRidge(lengths=[0.5, 1.0])
    few.fit(x[:300], y[:300], None, seed=0)
    truth = torch.sin(9 * x)
    assert float((mean - truth).norm()) < 0.7 * float((few.predict(x)[0] - truth).norm())
    assert float(std.mean()) == pytest.approx(0.2, rel=0.05)
    save_state(tmp_path / "k", model.state_dict())
    again = KernelRidge()
    again.load_state_dict(load_state(tmp_path / "k"))
    assert all(torch.allclose(a, b, rtol=1e-9) for a, b in zip(again.predict(x), (mean, std)))


def test_single_precision_is_computed_in_double():
    x, y = data()
    double, single = KernelRidge(), KernelRidge()
    double.fit(x.float().double(), y.float().double(), None, seed=0)
    single.fit(x.float(), y.float(), None, seed=0)
    found = single.predict(x.float())
    assert all(v.dtype == torch.float32 for v in found) and single.selected == double.selected
    assert all(torch.allclose(a.double(), b, rtol=1e-6) for a, b in zip(found, double.predict(x.float().double())))


def test_twins_do_not_make_the_intervals_vanish():
    """Every sample twice: leave-one-out would be sure of everything."""
    g = torch.Generator().manual_seed(0)
    x = torch.rand(60, 1, dtype=torch.float64, generator=g)
    y = torch.sin(6 * x) + 0.1 * torch.randn(60, 1, dtype=torch.float64, generator=g)
    model = KernelRidge()
    model.fit(torch.cat([x, x]), torch.cat([y, y + 0.1 * torch.randn(60, 1, generator=g).double()]), None, seed=0)
    z = torch.rand(400, 1, dtype=torch.float64, generator=g)
    target = torch.sin(6 * z) + 0.1 * torch.randn(400, 1, dtype=torch.float64, generator=g)
    mean, std = model.predict(z)
    assert 0.85 < float(((mean - target).abs() < 1.96 * std).double().mean()) < 0.99


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(2, 3).double(), r"\(2, 3\)"),
        (torch.zeros(2, 1).double() * math.nan, "NaN"),
        (torch.zeros(2, 1).long(), "int64"),
    ],
)
def test_inputs_that_cannot_be_used_are_said(x, words):
    samples = torch.linspace(0, 1, 12, dtype=torch.float64)[:, None]
    models = KernelRidge(), GPRegressor(coupling="shared"), SparseSpectralGP([5], [4.0])
    models[0].fit(samples, samples.sin(), None, seed=0)
    models[1].fit(samples, samples.sin(), None, seed=0)
    models[2].fit(samples, samples[:, 0].sin())
    for model in models:
        with pytest.raises(NWidthError, match=words):
            model.predict(x)
    with pytest.raises(NWidthError, match="floating"):
        models[0].fit(samples.round().long(), samples, None, seed=0)


def test_outputs_that_are_constant_are_predicted():
    x = torch.linspace(0, 1, 12, dtype=torch.float64)[:, None]
    for model in (KernelRidge(), GPRegressor(coupling="shared"), GPRegressor(), GPRegressor(coupling="icm")):
        model.fit(x, torch.ones_like(x), None, seed=0)
        assert torch.allclose(model.predict(x)[0], torch.ones_like(x))
