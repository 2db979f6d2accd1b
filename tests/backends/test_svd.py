"""Singular values against numpy, known spectra and the Eckart-Young bound."""

import numpy as np
import pytest
import scipy.linalg
import torch
from nwidth.backends.svd import singular_values, svd, truncation_rank
from nwidth.errors import NWidthError

F64 = torch.float64
EPS = {torch.float32: 3e-6, torch.float64: 1e-13, torch.complex64: 3e-6, torch.complex128: 1e-13}


def random(*shape: int, dtype: torch.dtype = F64, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def decaying(m: int, n: int, rate: float) -> torch.Tensor:
    """U diag(10^(-rate i)) V' with random orthonormal U, V."""
    k = min(m, n)
    U, V = torch.linalg.qr(random(m, k)).Q, torch.linalg.qr(random(n, k, seed=1)).Q
    return U * 10 ** (-rate * torch.arange(k, dtype=F64)) @ V.mT


@pytest.mark.parametrize("method", ["auto", "exact", "gram", "randomized"])
@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("shape", [(7, 7), (20, 6), (6, 20), (3, 9, 5), (2, 3, 4, 8)])
def test_factors_rebuild_the_matrix(method, dtype, shape):
    a = random(*shape, dtype=dtype)
    k = min(shape[-2:])
    U, s, Vh = svd(a, rank=k if method == "randomized" else None, method=method)
    eye = torch.eye(k, dtype=dtype)
    tol = EPS[dtype] * (50 if method == "gram" else 1)
    reference = np.linalg.svd(a.numpy(), compute_uv=False)
    assert U.shape == (*shape[:-1], k) and s.shape == (*shape[:-2], k) and Vh.shape == (*shape[:-2], k, shape[-1])
    assert np.allclose(s.numpy(), reference, rtol=tol, atol=tol * reference.max())
    assert torch.allclose(U * s[..., None, :].to(dtype) @ Vh, a, atol=20 * tol)
    assert torch.allclose(U.mH @ U, eye.expand(*shape[:-2], k, k), atol=20 * tol)
    assert torch.allclose(Vh @ Vh.mH, eye.expand(*shape[:-2], k, k), atol=20 * tol)
    assert np.allclose(singular_values(a).numpy(), reference, rtol=tol, atol=tol * reference.max())


@pytest.mark.parametrize("dtype", [F64, torch.complex128])
def test_signs_do_not_depend_on_the_method(dtype):
    a = random(30, 8, dtype=dtype)
    results = [svd(a, rank=4, method=method) for method in ("exact", "gram", "randomized")] + [svd(a * 1.0, rank=4)]
    for U, _, Vh in results:
        assert torch.allclose(U, results[0].U, atol=1e-9) and torch.allclose(Vh, results[0].Vh, atol=1e-9)
        peak = U.gather(0, U.abs().argmax(0, keepdim=True))
        assert torch.allclose(peak.imag if dtype.is_complex else peak * 0, torch.zeros(1, 4, dtype=F64), atol=1e-13)
        assert bool((peak.real > 0).all())


@pytest.mark.parametrize("transposed", [False, True])
def test_randomized_is_orthonormal_and_optimal(transposed):
    a = decaying(4000, 400, 0.06)
    a = a.mT if transposed else a
    U, s, Vh = svd(a, rank=50, method="randomized")
    sigma = 10 ** (-0.06 * torch.arange(400, dtype=F64))
    assert float((U.mT @ U - torch.eye(50)).abs().max()) <= 1e-13
    assert float((Vh @ Vh.mT - torch.eye(50)).abs().max()) <= 1e-13
    missed = torch.linalg.vector_norm(a - U @ (U.mT @ a))
    assert float(missed) <= 1.001 * float(sigma[50:].square().sum().sqrt())
    assert torch.allclose(s, sigma[:50], rtol=2e-3)
    assert torch.equal(svd(a, rank=50).s, s)  # auto takes it here, with the same draw


def test_randomized_needs_its_power_iterations():
    a = decaying(600, 200, 0.01)
    best = float(torch.linalg.svdvals(a)[10:].square().sum().sqrt())
    missed = [
        float(torch.linalg.vector_norm(a - u @ (u.mT @ a)))
        for u in (svd(a, rank=10, method="randomized", power=p, oversample=2).U for p in (0, 2))
    ]
    assert best <= missed[1] < 1.03 * best < missed[0]


@pytest.mark.parametrize("dtype", [F64, torch.complex128])
@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_weighted_factors_are_orthonormal_and_optimal_in_that_norm(dtype, kind):
    a = random(12, 30, dtype=dtype)
    root = random(12, 12, seed=3)
    weight = torch.rand(12, dtype=F64) + 0.1 if kind == "diagonal" else root @ root.mT + torch.eye(12)
    W = (torch.diag(weight) if kind == "diagonal" else weight).to(dtype)
    U, s, Vh = svd(a, rank=5, weight=weight)
    assert torch.allclose(U.mH @ W @ U, torch.eye(5, dtype=dtype), atol=1e-13)
    assert torch.allclose(Vh @ Vh.mH, torch.eye(5, dtype=dtype), atol=1e-13)
    half = scipy.linalg.sqrtm(W.numpy())
    sigma = np.linalg.svd(half @ a.numpy(), compute_uv=False)
    assert np.allclose(s.numpy(), sigma[:5], rtol=1e-12)
    missed = half @ (a - U * s.to(dtype) @ Vh).numpy()
    assert np.linalg.norm(missed) == pytest.approx(np.sqrt((sigma[5:] ** 2).sum()), rel=1e-12)
    assert np.allclose(singular_values(a, weight).numpy(), sigma, rtol=1e-12)


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("shape", [(9, 5), (5, 5), (2, 4, 4)])
def test_where_divide_and_conquer_fails_another_driver_answers(monkeypatch, dtype, shape):
    a = random(*shape, dtype=dtype)
    a = a.mH.mH if dtype.is_complex else a
    expected = svd(a)

    def fail(*args, **kwargs):
        raise torch.linalg.LinAlgError("did not converge")

    monkeypatch.setattr(torch.linalg, "svd", fail)
    monkeypatch.setattr(torch.linalg, "svdvals", fail)
    found = svd(a)
    assert all(x.dtype == y.dtype and torch.allclose(x, y, atol=20 * EPS[dtype]) for x, y in zip(found, expected))
    assert torch.allclose(singular_values(a), expected.s, atol=20 * EPS[dtype])
    square = a[..., : shape[-1], :].mH if dtype.is_complex else a[..., : shape[-1], :]  # a lazy conjugate
    assert bool(torch.isfinite(svd(square).s).all())


def test_extremely_ill_conditioned_frame():
    # 400 x 295 Fourier extension frame: columns are equal to round-off
    x = torch.linspace(-1, 1, 400, dtype=F64)[:, None]
    a = torch.exp(1j * torch.pi / 2 * x * torch.arange(-147, 148))
    U, s, Vh = svd(a)
    assert torch.allclose(U * s @ Vh, a, atol=1e-12)
    assert len(s) < 295  # the numerical rank


def test_gram_reaches_half_the_digits_and_exact_all():
    a = decaying(300, 40, 0.3)
    sigma = 10 ** (-0.3 * torch.arange(40, dtype=F64))
    assert torch.allclose(svd(a, method="exact").s, sigma, rtol=1e-2, atol=1e-15)
    assert torch.allclose(svd(a, rank=20, method="gram").s, sigma[:20], rtol=1e-3)


SPECTRUM = 10.0 ** -torch.arange(0, 15, dtype=F64)


@pytest.mark.parametrize("rtol", [0.5, 0.2, 2e-3, 3e-6, 2e-10, 2e-13])
def test_rtol_keeps_the_fewest(rtol):
    tails = [float((SPECTRUM[r:].square().sum() / SPECTRUM.square().sum()).sqrt()) for r in range(16)]
    expected = next(r for r, t in enumerate(tails) if t <= rtol)
    assert truncation_rank(SPECTRUM, rtol=rtol) == max(expected, 1)


@pytest.mark.parametrize("energy", [0.5, 0.9, 0.99, 0.99995, 1.0])
def test_energy_keeps_the_fewest(energy):
    share = (SPECTRUM.square().cumsum(0) / SPECTRUM.square().sum()).tolist()
    assert truncation_rank(SPECTRUM, energy=energy) == next(i + 1 for i, e in enumerate(share) if e >= energy - 1e-16)


def test_other_rank_rules():
    assert truncation_rank(SPECTRUM) == 15
    assert truncation_rank(SPECTRUM, rank=3) == 3
    assert truncation_rank(SPECTRUM, rank=7, rtol=1e-3) == 3
    assert truncation_rank(SPECTRUM, rtol=1e-3, energy=0.999) == 2
    assert truncation_rank(torch.stack([SPECTRUM, torch.ones(15, dtype=F64)]), rtol=0.5) == 12  # the largest of a batch
    assert truncation_rank(torch.zeros(4)) == 1
    # beyond the values given lies more: total says how much
    assert truncation_rank(torch.ones(3, dtype=F64), rtol=0.5, total=torch.tensor(10.0)) == 3
    assert truncation_rank(torch.ones(3, dtype=F64), rtol=0.9, total=torch.tensor(10.0)) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["exact", "gram", "randomized"])
def test_no_rule_means_the_numerical_rank(dtype, method):
    a = (random(60, 3) @ random(3, 40, seed=1)).to(dtype)
    if method == "randomized":
        with pytest.raises(NWidthError, match="the rank of the data"):
            svd(a, rank=9, method=method)
    else:
        assert len(svd(a, method=method).s) == 3
        with pytest.raises(NWidthError, match="the rank of the data"):
            svd(a, rank=4, method=method)


@pytest.mark.parametrize("batched", [False, True])
def test_rtol_of_a_randomized_factorisation_counts_what_it_never_saw(batched):
    a = decaying(300, 250, 0.02)
    a = torch.stack([a, 2 * a]) if batched else a
    s = 10 ** (-0.02 * torch.arange(250, dtype=F64))
    rtol = 0.3
    expected = next(r for r in range(250) if float((s[r:].square().sum() / s.square().sum()).sqrt()) <= rtol)
    assert svd(a, rank=40, rtol=rtol, method="randomized").s.shape[-1] == expected
    assert svd(a, rtol=rtol, method="exact").s.shape[-1] == expected


def test_real_spectra(realdata):
    y = torch.load(realdata / "neuralop" / "darcy_train_16.pt", weights_only=True)["y"].flatten(1).double().mT
    assert [len(svd(y, rtol=r).s) for r in (1e-1, 1e-2, 1e-4)] == [18, 177, 248]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda a: svd(a, method="magic"), "method='magic'"),
        (lambda a: svd(a[0]), "(3,)"),
        (lambda a: svd(a[:0]), "(0, 3)"),
        (lambda a: svd(a * float("nan")), "NaN"),
        (lambda a: svd(a, rank=4), "rank=4 for a 5 x 3"),
        (lambda a: svd(a, rank=0), "rank=0"),
        (lambda a: svd(a, rtol=2.0), "rtol=2.0"),
        (lambda a: svd(a, energy=-0.1), "energy=-0.1"),
        (lambda a: svd(a, method="randomized"), "without a rank"),
        (lambda a: svd(a, weight=torch.zeros(5)), "zero or negative"),
        (lambda a: svd(a, weight=torch.ones(4)), "(4,)"),
        (lambda a: svd(a, weight=-torch.eye(5, dtype=F64)), "not positive definite"),
        (lambda a: singular_values(a / 0), "NaN"),
        (lambda a: truncation_rank(torch.zeros(0)), "no singular values"),
    ],
)
def test_errors(call, words):
    with pytest.raises(NWidthError) as error:
        call(random(5, 3))
    assert words in str(error.value)
