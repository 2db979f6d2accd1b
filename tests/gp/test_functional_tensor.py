"""Functional CP and Tucker models: exact regression in one mode, known ranks, the published problem, error bars."""

import math

import numpy as np
import pytest
import scipy.spatial
import torch
from nwidth.data.files import load_state, save_state
from nwidth.errors import NWidthError
from nwidth.gp import FunctionalTensor
from nwidth.gp.functional_tensor import _contract

F64 = torch.float64
GENES = (
    lambda t: torch.sin(5 * t),
    lambda t: torch.exp(-2 * t),
    lambda t: t**2 - 0.3,
    lambda t: torch.cos(3 * t + 1),
)


def samples(f, n, K, noise, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, K, dtype=F64, generator=generator)
    sd = noise * f(x).std()
    return x, f(x), f(x) + sd * torch.randn(n, dtype=F64, generator=generator), float(sd)


def published(x):
    return (
        torch.sin(2 * math.pi * x[:, 0]) ** 2
        * torch.cos(2 * math.pi * x[:, 0])
        * torch.exp(-2 * x[:, 1])
        * torch.sin(1.5 * math.pi * x[:, 1])
    )


@pytest.mark.parametrize("form", ["cp", "tucker"])
def test_the_published_function_from_half_of_its_samples(form):
    x, f, y, sd = samples(published, 1350, 2, 0.01)
    model = FunctionalTensor(form=form).fit(x[:675], y[:675], seed=0)
    mean, std = model.predict(x[675:])
    assert float((mean - f[675:]).square().mean().sqrt()) < 5e-4  # asked: 2e-3
    assert model.ranks == (1, 1) and model.noise == pytest.approx(sd, rel=0.1)
    cover = float(((mean - y[675:]).abs() < 1.96 * std).double().mean())
    inside = float(((mean - f[675:]).abs() < 1.96 * model.predict(x[675:], observation=False)[1]).double().mean())
    assert 0.9 < cover < 0.99 and 0.9 < inside <= 0.995


def test_one_coordinate_is_gaussian_process_regression():
    x, _, y, _ = samples(lambda x: torch.sin(7 * x[:, 0]), 80, 1, 0.1)
    z = torch.linspace(0.02, 0.98, 50, dtype=F64)[:, None]
    model = FunctionalTensor(points=60).fit(x, y)
    mean, std = model.predict(z)
    (factor,) = model.factors
    variance, noise = model.scale**2 / float(factor.alpha), model.noise**2

    def k(a, b):
        a, b = np.asarray(a), np.asarray(b)
        r = scipy.spatial.distance.cdist(a / factor.length, b / factor.length) * math.sqrt(5)
        return variance * (1 + r + r**2 / 3) * np.exp(-r)

    A = k(x, x) + noise * np.eye(80)
    # the amplitude of the last sweep is that of its posterior, the mean one step behind
    assert np.allclose(mean, k(z, x) @ np.linalg.solve(A, y.numpy()), atol=2e-3)
    v = variance - np.einsum("ij,ji->i", k(z, x), np.linalg.solve(A, k(x, z))) + noise
    assert np.allclose(std, np.sqrt(v), rtol=1e-2)


@pytest.mark.parametrize(("form", "K"), [("cp", 2), ("cp", 3), ("cp", 4), ("tucker", 2)])
def test_ranks_and_functions_are_found_in_any_number_of_coordinates(K, form):
    def f(x):
        first = torch.stack([GENES[k](x[:, k]) for k in range(K)]).prod(0)
        return first + torch.stack([GENES[3 - k](x[:, k]) for k in range(K)]).prod(0)

    x, truth, y, sd = samples(f, 700, K, 0.01)
    model = FunctionalTensor(rank=3, form=form, points=15).fit(x[:500], y[:500])
    mean, std = model.predict(x[500:])
    assert model.ranks == (2,) * K
    assert float((mean - truth[500:]).square().mean().sqrt()) < 0.7 * sd
    assert 0.9 < float(((mean - y[500:]).abs() < 1.96 * std).double().mean()) < 0.99


def test_a_core_that_is_not_square_is_found_by_tucker():
    """u_1(x) v_1(y) w_1(z) + u_1(x) v_2(y) w_2(z): ranks 1, 2, 2."""

    def f(x):
        u, v, w = x.unbind(1)
        return torch.sin(5 * u) * (torch.exp(-2 * v) * torch.cos(3 * w) + torch.cos(6 * v) * w**2)

    x, truth, y, sd = samples(f, 700, 3, 0.01)
    model = FunctionalTensor(rank=3, form="tucker", points=20).fit(x[:500], y[:500])
    assert model.ranks == (1, 2, 2)
    assert float((model.predict(x[500:])[0] - truth[500:]).square().mean().sqrt()) < 0.7 * sd


def test_contraction_over_all_axes_but_one():
    core = torch.randn(2, 3, 4, dtype=F64)
    a, b, c = (torch.randn(5, r, dtype=F64) for r in (2, 3, 4))
    assert torch.allclose(_contract(core, [None, b, c]), torch.einsum("abc,nb,nc->na", core, b, c))
    assert torch.allclose(_contract(core, [a, None, c]), torch.einsum("abc,na,nc->nb", core, a, c))
    assert torch.allclose(_contract(core, [a, b, None]), torch.einsum("abc,na,nb->nc", core, a, b))


@pytest.mark.parametrize("form", ["cp", "tucker"])
def test_second_moments_are_those_of_samples(form):
    x, _, y, _ = samples(published, 60, 2, 0.3)
    model = FunctionalTensor(rank=2, form=form, points=8, sweeps=2).fit(x, y)
    first, second = model._function(x)
    generator = torch.Generator().manual_seed(0)

    def draw(mean, cov, n=40000):
        L = torch.linalg.cholesky(cov + 1e-12 * torch.eye(len(cov), dtype=F64))
        return mean + torch.randn(n, len(cov), dtype=F64, generator=generator) @ L.mT

    functions = []
    for k, factor in enumerate(model.factors):
        w = draw(factor.mean.flatten(), factor.cov.flatten(2).flatten(0, 1)).reshape(-1, *factor.mean.shape)
        phi = factor.features(x[:10, k])
        missed = ((1 - phi.square().sum(1))[:, None] / factor.alpha).clamp_min(0).sqrt()
        u = torch.einsum("im,smr->sir", phi, w)
        functions.append(u + missed * torch.randn(u.shape, dtype=F64, generator=generator))
    if form == "cp":
        f = (functions[0] * functions[1]).sum(-1)
    else:
        core = draw(model.core.flatten(), model.core_cov).reshape(-1, *model.core.shape)
        f = torch.einsum("sia,sib,sab->si", *functions, core)
    assert torch.allclose(f.mean(0), first[:10], atol=0.03 * float(first.abs().max()))
    assert torch.allclose(f.square().mean(0), second[:10], rtol=0.1, atol=0.02 * float(second.max()))


def test_far_from_the_samples_the_error_bar_is_that_of_the_prior():
    x, _, y, _ = samples(published, 300, 2, 0.01)
    model = FunctionalTensor().fit(x, y)
    mean, std = model.predict(torch.tensor([[9.0, 9.0], [0.5, 0.5]], dtype=F64))
    assert abs(float(mean[0])) < 1e-6 and float(std[0]) > 10 * float(std[1])


def test_state(tmp_path):
    x, _, y, _ = samples(published, 200, 2, 0.01)
    for form in ("cp", "tucker"):
        model = FunctionalTensor(form=form, rank=2).fit(x, y)
        save_state(tmp_path / form, model.state_dict())
        again = FunctionalTensor(form=form)
        again.load_state_dict(load_state(tmp_path / form))
        assert all(torch.allclose(a, b, rtol=1e-8) for a, b in zip(again.predict(x), model.predict(x)))


def test_errors_name_what_arrived():
    x, _, y, _ = samples(published, 20, 2, 0.01)
    with pytest.raises(NWidthError, match="form='tt'"):
        FunctionalTensor(form="tt")
    with pytest.raises(NWidthError, match="not fitted"):
        FunctionalTensor().predict(x)
    with pytest.raises(NWidthError, match="coordinate 1 with one value only"):
        FunctionalTensor().fit(torch.cat([x[:, :1], torch.ones(20, 1)], 1), y)
    with pytest.raises(NWidthError, match="NaN"):
        FunctionalTensor().fit(x, y * math.nan)
    with pytest.raises(NWidthError, match=r"y \(20, 1\)"):
        FunctionalTensor().fit(x, y[:, None])
