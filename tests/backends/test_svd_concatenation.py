"""Bounds on shared decompositions against the true error."""

import numpy as np
import pytest
import torch
from nwidth.backends.svd import compress_groups, concatenation_bound, group_blocks
from nwidth.errors import NWidthError

F64 = torch.float64
BOUNDS = ["weyl", "residual", "incremental"]


def blocks(seed: int, dtype=F64, m: int = 60, number: int = 6) -> list[torch.Tensor]:
    """Blocks of one 8-dimensional space with scales over two decades, and noise over three."""
    g = torch.Generator().manual_seed(seed)
    base = torch.linalg.qr(torch.randn(m, 8, dtype=dtype, generator=g)).Q
    scales = 10 ** -(2 * torch.rand(number, generator=g, dtype=F64))
    noise = 10 ** -(1 + 3 * torch.rand(number, generator=g, dtype=F64))
    sizes = [3, 8, 20, 8, 1, 70]
    return [
        float(s) * base @ torch.randn(8, n, dtype=dtype, generator=g)
        + float(e) * torch.randn(m, n, dtype=dtype, generator=g)
        for s, e, n in zip(scales, noise, sizes)
    ]


def truth(parts, rank: int) -> float:
    s = np.linalg.svd(torch.cat(list(parts), 1).to(torch.complex128).numpy(), compute_uv=False)
    return float(np.sqrt((s[rank:] ** 2).sum() / (s**2).sum()))


@pytest.mark.parametrize("dtype", [F64, torch.complex128, torch.float32])
@pytest.mark.parametrize("rank", [1, 5, 10, 40])
@pytest.mark.parametrize("seed", range(10))
def test_bounds_hold_and_are_ordered(seed, rank, dtype):
    parts = blocks(seed, dtype)
    true = truth(parts, rank)
    weyl, residual, incremental = (concatenation_bound(parts, rank, b) for b in BOUNDS)
    assert true <= incremental * (1 + 1e-9) and true <= residual <= weyl
    assert incremental <= 1.1 * true + 1e-6


def test_one_block_has_its_own_error():
    (part,) = blocks(0)[:1]
    for bound in BOUNDS:
        assert concatenation_bound([part], 2, bound) == pytest.approx(truth([part], 2), rel=1e-9)


def test_exact_values_of_orthogonal_blocks():
    eye = torch.eye(6, dtype=F64)
    parts = [3 * eye[:, :2], 2 * eye[:, 2:4], eye[:, 4:]]  # squares 9 9 4 4 1 1
    for bound, rest in (("weyl", 10), ("residual", 6), ("incremental", 6)):
        assert concatenation_bound(parts, 3, bound) == pytest.approx((rest / 28) ** 0.5, rel=1e-12)
    # the same space twice: the first two count what is inside it as lost
    twice = [2 * eye[:, :2], eye[:, :2]]
    assert [round(concatenation_bound(twice, 2, b) ** 2, 9) for b in BOUNDS] == [0.2, 0.2, 0.0]


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("tol", [0.02, 0.2, 0.6])
@pytest.mark.parametrize("seed", range(4))
def test_groups_keep_their_promise(seed, tol, bound):
    parts = [p for i in range(3) for p in blocks(seed + 10 * i)]
    groups = group_blocks(parts, 8, tol, bound)
    assert sorted(k for g in groups for k in g.members) == list(range(18))
    assert [g.members for g in groups] == sorted(g.members for g in groups)
    for g, found in zip(groups, compress_groups(parts, groups, 8)):
        joint = torch.cat([parts[k] for k in g.members], 1)
        missed = torch.linalg.vector_norm(joint - found.U * found.s @ found.Vh) / torch.linalg.vector_norm(joint)
        assert float(missed) <= g.bound * (1 + 1e-9) + 1e-12
        assert g.bound <= tol or len(g.members) == 1


def test_families_are_found():
    g = torch.Generator().manual_seed(3)
    bases = [torch.linalg.qr(torch.randn(80, 4, dtype=F64, generator=g)).Q for _ in range(3)]
    parts = [bases[i % 3] @ torch.randn(4, 12, dtype=F64, generator=g) for i in range(12)]
    parts = [p + 1e-3 * torch.randn(80, 12, dtype=F64, generator=g) for p in parts]
    groups = group_blocks(parts, 4, 0.05)
    assert [x.members for x in groups] == [(0, 3, 6, 9), (1, 4, 7, 10), (2, 5, 8, 11)]
    assert len(group_blocks(parts, 4, 0.05, "residual")) == 12  # equal norms: never below 1/sqrt(2)
    assert [x.members for x in group_blocks(parts, 12, 0.05)] == [tuple(range(12))]


def test_zero_blocks_join_anything():
    parts = [torch.eye(3, dtype=F64), torch.zeros(3, 2, dtype=F64), torch.zeros(3, 1, dtype=F64)]
    for bound in BOUNDS:
        assert [g.members for g in group_blocks(parts, 3, 1e-6, bound)] == [(0, 1, 2)]
        assert concatenation_bound(parts[1:], 1, bound) == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda a: concatenation_bound([], 1), "no blocks"),
        (lambda a: concatenation_bound([a, a[1:]], 1), "(3, 3), (2, 3)"),
        (lambda a: concatenation_bound([a, a[:, :0]], 1), "(3, 0)"),
        (lambda a: concatenation_bound([a / 0], 1), "NaN"),
        (lambda a: concatenation_bound([a], 0), "rank=0"),
        (lambda a: concatenation_bound([a], 1, "best"), "bound='best'"),
        (lambda a: group_blocks([a], 1, 1.5), "tol=1.5"),
    ],
)
def test_errors(call, words):
    with pytest.raises(NWidthError) as error:
        call(torch.eye(3, dtype=F64))
    assert words in str(error.value)
