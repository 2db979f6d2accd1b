"""POD: optimal, orthonormal in its inner product, and honest about what it leaves out."""

import numpy as np
import pytest
import torch
from nwidth.backends import Grid
from nwidth.data.files import load_state, save_state
from nwidth.errors import NWidthError
from nwidth.solvers.reduced import POD

F64 = torch.float64


def snapshots(
    n: int = 20, shape: tuple[int, ...] = (2, 15), dtype: torch.dtype = F64, rate: float = 0.3
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    size = int(np.prod(shape))
    k = min(n, size)
    s = 10.0 ** (-rate * torch.arange(k, dtype=F64))
    left = torch.linalg.qr(torch.randn(n, k, dtype=dtype, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(size, k, dtype=dtype, generator=generator)).Q
    return (left * s.to(dtype) @ right.mH + 0.3).reshape(n, *shape)


WEIGHTS = {
    "none": None,
    "grid": Grid.make((15,), "chebyshev").norm_weights(),
    "full": torch.rand(2, 15, dtype=F64) + 0.1,
}


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.complex128])
def test_optimal_and_orthonormal_in_the_weighted_norm(center, weight, dtype):
    x, weight = snapshots(dtype=dtype), WEIGHTS[weight]
    pod = POD(center).fit(x, weight, rank=5)
    w = (torch.ones(2, 15, dtype=F64) if weight is None else weight.expand(2, 15)).reshape(-1)
    V = pod.basis.reshape(5, -1)
    tol = 1e-5 if dtype == torch.float32 else 1e-12
    assert torch.allclose((V.conj() * w.to(V.real.dtype)) @ V.mT, torch.eye(5, dtype=dtype), atol=tol)
    mean = x.mean(0) if center else torch.zeros_like(x[0])
    assert torch.allclose(pod.mean, mean)
    weighted = ((x - mean).reshape(20, -1) * w.sqrt()).numpy()
    s = np.linalg.svd(weighted, compute_uv=False)
    assert float(pod.residual(x).square().sum()) == pytest.approx((s[5:] ** 2).sum(), rel=1e-4 if tol > 1e-9 else 1e-9)
    assert pod.tail == pytest.approx(float(np.sqrt((s[5:] ** 2).sum() / (s**2).sum())), rel=1e-4)
    missed = (x - pod.decode(pod.encode(x))).reshape(20, -1)
    assert torch.allclose(pod.residual(x).double(), (missed.abs().square() * w).sum(1).sqrt(), rtol=1e-4)
    # the residual is orthogonal to the space
    assert float(((missed * w.to(V.real.dtype)) @ V.mH).abs().max()) < tol


@pytest.mark.parametrize("shape", [(7,), (1, 6, 5), (2, 3, 4, 5), (4, 1, 9)])
@pytest.mark.parametrize("dtype", [F64, torch.complex128])
def test_a_full_basis_loses_nothing(shape, dtype):
    x = snapshots(12, shape, dtype, rate=0.1)
    pod = POD().fit(x)
    assert torch.allclose(pod.decode(pod.encode(x)), x, atol=1e-12) and pod.tail < 1e-12
    assert pod.rank == min(11, int(np.prod(shape))) and float(pod.residual(x).max()) < 1e-12


def test_unseen_fields_are_projected():
    x = snapshots()
    pod = POD(center=False).fit(x[:10], rank=4)
    V = pod.basis.reshape(4, -1)
    expected = (x[10:].reshape(10, -1) @ V.mT) @ V
    assert torch.allclose(pod.decode(pod.encode(x[10:])).reshape(10, -1), expected)


@pytest.mark.parametrize(
    ("rule", "rank"),
    [
        ({"rank": 7}, 7),
        ({"rtol": 1e-2}, None),
        ({"energy": 0.99}, None),
        ({"cap": 3}, 3),
        ({"rtol": 1e-9, "cap": 6}, 6),
        ({"cap": 99}, 20),
    ],
)
def test_rank_rules(rule, rank):
    x = snapshots()
    pod = POD(center=False).fit(x, **rule)
    s = np.linalg.svd(x.reshape(20, -1).numpy(), compute_uv=False)
    tail = np.sqrt(np.append(np.cumsum((s**2)[::-1])[::-1], 0) / (s**2).sum())
    if "rtol" in rule and rank is None:
        rank = int(np.argmax(tail <= rule["rtol"]))
    if "energy" in rule:
        rank = int(np.argmax(1 - tail**2 >= rule["energy"]))
    assert pod.rank == rank and pod.tail == pytest.approx(tail[rank], abs=1e-10)


def test_more_modes_than_the_data_hold():
    with pytest.raises(NWidthError, match="the rank of the data"):
        POD().fit(snapshots(5), rank=5)  # four directions about the mean
    with pytest.raises(NWidthError, match="no snapshots"):
        POD().fit(snapshots()[:0])


@pytest.mark.parametrize("value", [0.0, 3.5])
@pytest.mark.parametrize("n", [1, 4])
def test_equal_snapshots(value, n):
    x = torch.full((n, 2, 15), value, dtype=F64)
    weight = WEIGHTS["grid"]
    pod = POD().fit(x, weight)
    assert pod.rank == 1 and pod.tail == 0 and torch.equal(pod.decode(pod.encode(x)), x)
    assert float((pod.basis[0].square() * weight).sum()) == pytest.approx(1.0)


def test_state(tmp_path):
    x = snapshots(dtype=torch.complex128)
    pod = POD(center=False).fit(x, WEIGHTS["grid"], rank=4)
    save_state(tmp_path / "p", pod.state_dict())
    again = POD().load_state_dict(load_state(tmp_path / "p"))
    assert again.center is False and again.rank == 4 and again.tail == pod.tail
    assert torch.equal(again.encode(x), pod.encode(x)) and torch.equal(again.residual(x), pod.residual(x))
