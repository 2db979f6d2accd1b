"""Appended rows and columns: dense against the whole, sparse against dense."""

import numpy as np
import pytest
import scipy.sparse
import torch
from nwidth.backends.svd import SVD, IncrementalSVD, SparseIncrementalSVD, svd
from nwidth.backends.svd.updating import project_out
from nwidth.errors import NWidthError

F64, C128 = torch.float64, torch.complex128


def random(*shape, dtype=F64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def sparse(m, n, density=0.05, seed=0, dtype=np.float64):
    """Sparse rows around a few topics, so that the leading singular values stand out."""
    rng = np.random.default_rng(seed)
    noise = scipy.sparse.random_array((m, n), density=density, rng=rng, format="csr")
    topics = (rng.random((m, 8)) ** 6 @ rng.random((8, n)) ** 6) > 0.3
    a = (noise + scipy.sparse.csr_array(topics * 1.0)).tocsr().astype(dtype)
    if np.iscomplexobj(a.data):
        a.data *= np.exp(2j * np.pi * rng.random(a.nnz))
    return a


def dense(a) -> torch.Tensor:
    return torch.from_numpy(a.toarray())


def leading(a: torch.Tensor, rank: int) -> SVD:
    return svd(a, rank, method="exact")


def same(x: SVD, y: SVD) -> float:
    """The largest difference of values (relative to the first) and of projections."""
    parts = [float((x.s - y.s).abs().max() / y.s[0])]
    for a, b in ((x.U, y.U), (x.Vh.mH, y.Vh.mH)):
        parts.append(float(torch.linalg.matrix_norm(a - b @ (b.mH @ a), ord=2)))
    return max(parts)


def orthogonality(f: SVD) -> float:
    eye = torch.eye(len(f.s), dtype=f.U.dtype)
    return max(float((f.U.mH @ f.U - eye).abs().max()), float((f.Vh @ f.Vh.mH - eye).abs().max()))


@pytest.mark.parametrize("dtype", [F64, C128])
def test_nothing_is_lost_as_long_as_the_rank_suffices(dtype):
    a = random(30, 6, dtype=dtype) @ random(6, 25, dtype=dtype, seed=1)
    model = IncrementalSVD(svd(a[:10, :12]), rank=8)
    model.append_columns(a[:10, 12:20])
    model.append_rows(a[10:28, :20])
    model.append_columns(a[:28, 20:])
    model.append_rows(a[28:])
    f = model.factors()
    assert torch.allclose(f.U * f.s @ f.Vh, a, atol=1e-12) and model.missed < 1e-12 and orthogonality(f) < 1e-13
    whole = svd(a, 6)
    assert torch.allclose(f.U[:, :6], whole.U, atol=1e-10)  # signs included


@pytest.mark.parametrize("sides", ["columns", "rows", "both"])
def test_missed_is_the_error_on_one_side_and_a_bound_on_both(sides):
    a = random(40, 60) * torch.linspace(2, 0.5, 60, dtype=F64)
    start = leading(a[:20, :30], 8)
    model = IncrementalSVD(start, missed=float(torch.linalg.vector_norm(torch.linalg.svdvals(a[:20, :30])[8:])))
    m, n = 20, 30
    for i in range(4):
        if sides == "columns" or (sides == "both" and i % 2):
            model.append_columns(a[:m, n : n + 7])
            n += 7
        else:
            model.append_rows(a[m : m + 5, :n])
            m += 5
    f = model.factors()
    true = float(torch.linalg.vector_norm(a[:m, :n] - f.U * f.s @ f.Vh))
    assert orthogonality(f) < 1e-13
    if sides == "both":
        assert true <= model.missed <= 3 * true
    else:
        assert model.missed == pytest.approx(true, rel=1e-12)


@pytest.mark.parametrize("shift", [1.0, 1e-6, 1e-12, 0.0])
@pytest.mark.parametrize("dtype", [F64, C128, torch.float32])
def test_projection_is_orthogonal_however_close_the_block(shift, dtype):
    F = torch.linalg.qr(random(50, 10, dtype=dtype)).Q
    B = F @ random(10, 6, dtype=dtype, seed=1) + shift * random(50, 6, dtype=dtype, seed=2)
    C, Q, R = project_out(F, B)
    tol = 1e-5 if dtype == torch.float32 else 1e-14
    joint = torch.cat([F, Q], 1)
    assert torch.allclose(joint.mH @ joint, torch.eye(16, dtype=dtype), atol=tol)
    assert torch.allclose(F @ C + Q @ R, B, atol=10 * tol)


@pytest.mark.parametrize("side", ["rows", "columns"])
def test_a_hundred_sparse_updates_equal_the_dense_ones(side):
    a = sparse(3000, 1000, 0.01, seed=1)
    model = (SparseIncrementalSVD, IncrementalSVD)
    start = leading(dense(a[:1000]), 20)
    start = start if side == "rows" else start.H
    fast, slow = (kind(start) for kind in model)
    for first in range(1000, 3000, 20):
        rows = a[first : first + 20]
        if side == "rows":
            fast.append_rows(rows)
            slow.append_rows(dense(rows))
        else:
            fast.append_columns(rows.T)
            slow.append_columns(dense(rows).mT)
    assert same(fast.factors(), slow.factors()) < 1e-12 and orthogonality(fast.factors()) < 1e-12
    assert fast.missed == pytest.approx(slow.missed, rel=1e-9)
    assert fast.dense_updates == 0


@pytest.mark.parametrize("dtype", [np.float64, np.complex128, np.float32])
def test_both_sides_in_turn_and_torch_sparse(dtype):
    a = sparse(300, 240, seed=2, dtype=dtype)
    start = leading(dense(a[:100, :90]), 12)
    fast, slow = SparseIncrementalSVD(start), IncrementalSVD(start)
    m, n = 100, 90
    for i in range(10):
        if i % 2:
            fast.append_columns(dense(a[:m, n : n + 30]).to_sparse_coo())
            slow.append_columns(dense(a[:m, n : n + 30]))
            n += 30
        else:
            fast.append_rows(a[m : m + 40, :n].tocoo())
            slow.append_rows(dense(a[m : m + 40, :n]))
            m += 40
    assert fast.factors().U.dtype == start.U.dtype
    tol = 2e-3 if dtype == np.float32 else 1e-11
    assert same(fast.factors(), slow.factors()) < tol
    assert fast.missed == pytest.approx(slow.missed, rel=1e-4)


HARD = ["duplicates", "in the span", "zeros", "nearly in the span", "tiny", "huge"]


@pytest.mark.parametrize("kind", HARD)
def test_rows_that_a_gram_matrix_cannot_tell_apart(kind):
    a = sparse(200, 150, seed=3)
    start = leading(dense(a[:60]), 10)
    fast, slow = SparseIncrementalSVD(start), IncrementalSVD(start)
    spanned = scipy.sparse.csr_array((start.Vh[:3] * 2).numpy())
    noise = sparse(3, 150, seed=4)
    blocks = {
        "duplicates": [scipy.sparse.vstack([a[60:65], a[60:65]]).tocsr(), a[60:65]],
        "in the span": [spanned, a[60:70], spanned],
        "zeros": [scipy.sparse.csr_array((4, 150)), a[60:70], scipy.sparse.csr_array((4, 150))],
        "nearly in the span": [(spanned + d * noise).tocsr() for d in (1e-2, 1e-4, 1e-6, 1e-8)],
        "tiny": [scipy.sparse.vstack([1e-9 * a[60:64], a[64:70]]).tocsr()],
        "huge": [1e6 * a[60:64], a[64:80], 1e3 * a[80:90], a[90:100]],
    }[kind]
    for block in blocks:
        fast.append_rows(block)
        slow.append_rows(dense(block))
    assert same(fast.factors(), slow.factors()) < 1e-11 and orthogonality(fast.factors()) < 1e-12
    assert (fast.dense_updates > 0) == (kind in ("nearly in the span", "huge"))


def test_restarts_keep_the_products_well_conditioned():
    """Growing rows make old ones ever less important: cond(K) would pass 1e16."""
    a = [scipy.sparse.csr_array(sparse(20, 150, seed=i) * 2.0**i) for i in range(40)]
    start = leading(dense(sparse(30, 150, seed=99)), 10)
    fast, slow = SparseIncrementalSVD(start, restart=200.0), IncrementalSVD(start)
    for block in a:
        fast.append_rows(block)
        slow.append_rows(dense(block))
    assert fast.restarts > 3 and same(fast.factors(), slow.factors()) < 1e-11
    assert orthogonality(fast.factors()) < 1e-12


def test_the_rank_grows_to_what_was_asked_for():
    a = sparse(80, 60, seed=5)
    start = leading(dense(a[:4]), 4)
    fast, slow = SparseIncrementalSVD(start, rank=9), IncrementalSVD(start, rank=9)
    for first in range(4, 80, 4):
        fast.append_rows(a[first : first + 4])
        slow.append_rows(dense(a[first : first + 4]))
    assert len(fast.s) == 9 and same(fast.factors(), slow.factors()) < 1e-12 and 1 <= fast.dense_updates <= 3


def test_cost_follows_the_non_zeros(monkeypatch):
    """One update touches only the rows of V' that its entries name, and writes no more of U' than it adds."""
    a = sparse(60, 5000, 0.001, seed=6)
    model = SparseIncrementalSVD(leading(dense(a[:50]), 5))
    before_v, before_u = model._v.X.copy(), model._u.X[:50].copy()
    row = scipy.sparse.csr_array(([1.0, 2.0], ([0, 0], [7, 4321])), shape=(1, 5000))
    model.append_rows(row)
    changed = np.flatnonzero((before_v != model._v.X).any(1))
    assert set(changed) <= {7, 4321} and len(changed) > 0
    assert np.array_equal(model._u.X[:50], before_u)


START = svd(random(6, 5), 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: IncrementalSVD(START).append_rows(random(2, 6)), "(2, 6)"),
        (lambda: IncrementalSVD(START).append_columns(random(5, 2)), "(5, 2)"),
        (lambda: IncrementalSVD(START).append_rows(random(0, 5)), "(0, 5)"),
        (lambda: IncrementalSVD(START).append_rows(random(2, 5) / 0), "NaN"),
        (lambda: IncrementalSVD(START).append_rows(random(2, 5).float()), "float32"),
        (lambda: IncrementalSVD(START, rank=0), "rank=0"),
        (lambda: IncrementalSVD(svd(random(2, 6, 5))), "one matrix"),
        (lambda: SparseIncrementalSVD(START).append_rows(random(2, 5)), "IncrementalSVD"),
        (lambda: SparseIncrementalSVD(START).append_rows(sparse(2, 6)), "(2, 6)"),
        (lambda: SparseIncrementalSVD(START).append_columns(sparse(5, 2)), "(6, b)"),
        (lambda: SparseIncrementalSVD(START).append_rows(sparse(2, 5, dtype=np.complex128)), "complex entries"),
        (lambda: SparseIncrementalSVD(START).append_rows(sparse(2, 5, 1.0) * np.nan), "NaN"),
        (lambda: SparseIncrementalSVD(START, restart=1.0), "restart=1.0"),
        (lambda: SparseIncrementalSVD(svd(random(2, 6, 5))), "one matrix"),
    ],
)
def test_errors(call, words):
    with pytest.raises(NWidthError) as error:
        call()
    assert words in str(error.value)
