"""What each method can see, and that auto never takes one that is blind to the accuracy asked for."""

import numpy as np
import pytest
import torch
from nwidth.backends.svd import decompose, svd
from nwidth.errors import NWidthError

F64 = torch.float64


def random(*shape, dtype=F64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def with_spectrum(m: int, n: int, s: torch.Tensor, seed: int = 0, dtype=F64) -> torch.Tensor:
    k = len(s)
    U = torch.linalg.qr(random(m, k, seed=seed, dtype=dtype)).Q
    V = torch.linalg.qr(random(n, k, seed=seed + 1, dtype=dtype)).Q
    return U * s @ V.mH


def excess(a: torch.Tensor, U: torch.Tensor, sigma: torch.Tensor) -> float:
    """Projection error over the optimum."""
    best = sigma[U.shape[1] :].double().square().sum().sqrt()
    return float(torch.linalg.vector_norm(a - U @ (U.mH @ a)) / best)


@pytest.fixture
def taken(monkeypatch) -> list[str]:
    """Which methods run."""
    seen: list[str] = []
    for name in ("exact_svd", "gram_svd", "randomized_svd", "adaptive_svd"):
        real = getattr(decompose, name)
        monkeypatch.setattr(decompose, name, lambda *a, real=real, name=name, **k: seen.append(name) or real(*a, **k))
    return seen


@pytest.mark.parametrize(
    ("shape", "options", "dtype", "method"),
    [
        ((900, 200), {"rtol": 2e-6}, F64, "gram_svd"),
        ((900, 200), {"rtol": 5e-7}, F64, "exact_svd"),
        ((900, 200), {"energy": 1 - 3e-10}, F64, "gram_svd"),
        ((900, 200), {"energy": 1 - 1e-13}, F64, "exact_svd"),
        ((900, 200), {"rtol": 1e-12, "energy": 0.98}, F64, "gram_svd"),  # the smaller rank holds
        ((900, 200), {"rtol": 1.5e-2}, torch.float32, "gram_svd"),
        ((900, 200), {"rtol": 3e-3}, torch.float32, "exact_svd"),
        ((900, 200), {}, F64, "exact_svd"),
        ((900, 199), {"rtol": 1e-2}, F64, "exact_svd"),
        ((300, 250), {"rtol": 1.3e-2}, F64, "adaptive_svd"),
        ((250, 300), {"rtol": 1e-7}, F64, "exact_svd"),
        ((900, 200), {"rank": 26}, F64, "randomized_svd"),
        ((900, 200), {"rank": 60}, F64, "exact_svd"),
    ],
)
def test_auto_goes_by_the_accuracy_asked(taken, shape, options, dtype, method):
    s = 10 ** (-0.1 * torch.arange(min(shape), dtype=F64))
    a = with_spectrum(*shape, s).to(dtype)
    found = svd(a, **options)
    assert taken[0] == method
    exact = svd(a, method="exact", **options)
    assert len(found.s) == len(exact.s) and torch.allclose(found.s, exact.s, rtol=1e-3 if dtype != F64 else 1e-5)


@pytest.mark.parametrize("rank", [10, 40])
@pytest.mark.parametrize("method", ["auto", "randomized", "gram", "exact"])
def test_near_optimal_far_below_the_root_of_the_precision(method, rank):
    sigma = 10 ** (-0.24 * torch.arange(250, dtype=F64))  # 4e-10 at rank 40
    a = with_spectrum(2000, 250, sigma)
    if method == "gram" and rank == 40:
        with pytest.raises(NWidthError, match="singular values down to"):
            svd(a, rank, method=method)
        return
    U, s, Vh = svd(a, rank, method=method)
    eye = torch.eye(rank, dtype=F64)
    assert max(float((U.mT @ U - eye).abs().max()), float((Vh @ Vh.mT - eye).abs().max())) < 1e-13
    assert excess(a, U, sigma) < 1.01
    # a randomised s is below the exact one by a relative excess; rounding adds a few eps of the largest
    assert torch.allclose(s, sigma[:rank], rtol=1e-3, atol=1e-14)


@pytest.mark.parametrize("decay", [0.0, 0.002, 0.02, 0.1, 1.0])
def test_as_many_power_iterations_as_the_spectrum_needs(decay):
    sigma = 10 ** (-decay * torch.arange(300, dtype=F64)).clamp_min(1e-30)
    a = with_spectrum(600, 300, sigma)
    limit = 1.02 if decay <= 0.002 else 1.001  # flat spectra: every space is nearly as good
    assert excess(a, svd(a, 20, method="randomized").U, sigma + 1e-15) < limit


def test_randomized_is_a_function_of_its_seed_and_takes_a_generator():
    a = random(300, 260)
    draws = [svd(a, 10, generator=torch.Generator().manual_seed(i)).s for i in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("tail", [0.3, 0.013, 1.7e-4, 2.3e-6])
@pytest.mark.parametrize("shape", [(400, 300), (300, 400), (2, 260, 240)])
def test_a_tolerance_alone_finds_its_rank(tail, shape):
    s = 10 ** (-0.08 * torch.arange(min(shape[-2:]), dtype=F64))
    a = with_spectrum(*shape[-2:], s)
    a = torch.stack([a, with_spectrum(*shape[-2:], s.sqrt(), seed=5)]) if len(shape) == 3 else a
    for options in ({"rtol": tail}, {"energy": 1 - tail**2}):
        ranks = [svd(a, method=method, **options).s.shape[-1] for method in ("auto", "randomized", "exact")]
        assert len(set(ranks)) == 1


def test_a_tolerance_that_needs_all_of_it():
    a = random(220, 210)  # a flat spectrum: no small rank
    assert svd(a, rtol=1e-3, method="randomized").s.shape == svd(a, rtol=1e-3, method="exact").s.shape


@pytest.mark.parametrize(("method", "dtype"), [("gram", F64), ("randomized", F64), ("randomized", torch.float32)])
def test_a_tolerance_below_what_a_method_sees_is_an_error(method, dtype):
    with pytest.raises(NWidthError, match="method='exact' sees all digits"):
        svd(random(20, 10).to(dtype), rtol=5e-7, method=method)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_gram_of_single_precision_loses_nothing(dtype):
    """Against the same entries in double precision, below the root of single precision."""
    wide = torch.complex128 if dtype.is_complex else F64
    sigma = 10 ** (-0.25 * torch.arange(25, dtype=F64))  # to 1e-6
    a = with_spectrum(500, 25, sigma.to(wide), dtype=wide).to(dtype)
    truth = np.linalg.svd(a.to(wide).numpy(), compute_uv=False)
    found = svd(a, 22, method="gram")
    assert found.U.dtype == dtype
    assert np.abs(found.s.numpy() - truth[:22]).max() < 3e-7
    assert excess(a.to(wide), found.U[:, :20].to(wide), torch.from_numpy(truth)) < 1.02
    # a Gram matrix in single precision would have an error of 3e-4 here
    coarse = torch.linalg.eigvalsh(a.mH @ a).flip(0)[:22].clamp_min(0).sqrt()
    assert np.abs(coarse.numpy() - truth[:22]).max() > 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.complex64, torch.complex128])
@pytest.mark.parametrize("layout", ["rows", "columns", "strided"])
def test_partial_gram_in_every_layout(dtype, layout):
    a = with_spectrum(80, 40, 10 ** (-0.2 * torch.arange(40, dtype=F64)).to(dtype), dtype=dtype)
    a = {"rows": a.contiguous(), "columns": a.mT.contiguous().mT, "strided": torch.stack([a, a], -1)[..., 0]}[layout]
    found, exact = svd(a, 5, method="gram"), svd(a, 5, method="exact")
    tol = 2e-5 if dtype in (torch.float32, torch.complex64) else 1e-11
    assert all(torch.allclose(x, y, atol=tol) for x, y in zip(found, exact))
    assert all(torch.allclose(x, y, atol=tol) for x, y in zip(svd(a.mH, 5, method="gram"), svd(a.mH, 5)))


def test_gram_accepts_what_is_exactly_of_low_rank():
    a = random(60, 3) @ random(3, 40, seed=1)
    batch = torch.stack([a, random(60, 40, seed=2)])
    assert svd(batch, 10, method="gram").s.shape == (2, 10)  # a zero is no lost value


def test_large_finite_numbers_are_finite():
    a = torch.full((3, 2), 1e308, dtype=F64)
    a[0, 0] = -1e308
    with pytest.raises(NWidthError, match="NaN"):
        svd(torch.cat([a, torch.full((1, 2), float("-inf"), dtype=F64)]))
    assert decompose.require_finite("test", a) is None
