"""One pass, merging and trees against the decomposition of the whole matrix."""

import math

import h5py
import numpy as np
import pytest
import scipy.sparse
import torch
from nwidth.backends.svd import StreamingSVD, hapod, merge, partial_svd, streaming_svd, svd
from nwidth.errors import NWidthError

F64, C128 = torch.float64, torch.complex128


def random(*shape, dtype=F64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def decaying(m, n, rate=0.15, dtype=F64):
    k = min(m, n)
    U, V = torch.linalg.qr(random(m, k, dtype=dtype)).Q, torch.linalg.qr(random(n, k, dtype=dtype, seed=1)).Q
    return U * 10 ** (-rate * torch.arange(k, dtype=F64)).to(dtype) @ V.mH


def norm(x) -> float:
    return float(torch.linalg.vector_norm(x))


def check(found, a, W=None, tol=1e-12):
    """The result is a decomposition of ``a`` whose reported error is the true one."""
    r, scale = len(found.s), norm(a)
    half = torch.eye(len(a), dtype=F64) if W is None else torch.linalg.cholesky(W).mT
    U = half.to(a.dtype) @ found.U
    a = half.to(a.dtype) @ a
    assert torch.allclose(U.mH @ U, torch.eye(r, dtype=a.dtype), atol=tol)
    assert torch.allclose(found.Vh @ found.Vh.mH, torch.eye(r, dtype=a.dtype), atol=tol)
    rest = norm(a - U * found.s @ found.Vh)
    assert rest == pytest.approx(found.missed, rel=1e-3, abs=tol * scale)
    assert norm(a - U @ (U.mH @ a)) <= found.missed * (1 + 1e-6) + tol * scale
    assert found.squared == pytest.approx(norm(a) ** 2, rel=1e-12)
    sigma = torch.linalg.svdvals(a)
    optimum = norm(sigma[r:])
    assert found.best <= optimum * (1 + 1e-6) + tol * scale
    assert optimum <= found.missed * (1 + 1e-6) + tol * scale
    assert bool((found.s <= sigma[:r] + tol * scale).all())
    assert bool((sigma[:r].square() <= found.s.square() + found.missed**2 + tol * scale**2).all())
    peak = found.U.gather(0, found.U.abs().argmax(0, keepdim=True))
    assert bool((peak.real > 0).all())
    return sigma


@pytest.mark.parametrize("dtype", [F64, C128])
@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (12, 200), (200, 12)])
@pytest.mark.parametrize("snapshots", ["rows", "columns"])
@pytest.mark.parametrize("options", [{"rank": 8}, {"rtol": 1e-3}, {"energy": 1 - 1e-8}, {"rank": 9, "rtol": 0.05}])
@pytest.mark.parametrize("center", [False, True])
def test_streaming_is_the_decomposition_of_the_whole(dtype, shape, snapshots, options, center):
    a = decaying(*shape, dtype=dtype) + 0.01
    found = streaming_svd(a.mT if snapshots == "rows" else a, snapshots=snapshots, center=center, block=13, **options)
    mean = a.mean(1)
    centred = a - mean[:, None] if center else a
    assert found.count == a.shape[1]
    if center:
        assert torch.allclose(found.mean, mean, atol=1e-15)
    else:
        assert found.mean is None
    check(found, centred)
    whole = svd(centred, **options)
    assert len(found.s) == len(whole.s) or ("rank" not in options and abs(len(found.s) - len(whole.s)) <= 1)
    if "rank" in options:
        assert torch.allclose(found.s, whole.s, rtol=1e-2)
    else:
        assert found.error <= options.get("rtol", 1e-4)


def test_without_truncation_streaming_is_exact():
    a = random(40, 100)
    found = streaming_svd(a.mT, rank=40, block=9)
    check(found, a, tol=1e-13)
    assert found.missed == 0 and torch.allclose(found.s, torch.linalg.svdvals(a), rtol=1e-13)
    low = random(50, 3) @ random(3, 80, seed=1)  # blocks that add no direction
    found = streaming_svd(low.mT, rank=3, block=7)
    check(found, low, tol=1e-13)
    assert found.error < 1e-14


@pytest.mark.parametrize("block", [1, 2, 7, 24, 25, 100])
@pytest.mark.parametrize("options", [{"rank": 10}, {"rank": 24}, {"rtol": 1e-9}, {"rtol": 1e-5}])
def test_the_mean_is_exact_for_blocks_of_any_size(block, options):
    """Values down to 1e-10 of the first, snapshots far from zero."""
    a = decaying(60, 25, 0.4) + 10
    found = streaming_svd(a.mT, center=True, block=block, **options)
    centred = a - a.mean(1, keepdim=True)
    assert torch.allclose(found.mean, a.mean(1), rtol=1e-14)
    check(found, centred, tol=2e-12)
    assert float((found.Vh @ torch.ones(25, dtype=F64)).abs().max()) < 1e-5  # of the smallest; 10 eps / 1e-10
    assert len(found.s) == len(svd(centred, **options).s)


@pytest.mark.parametrize(("tail", "squared"), [(1e-3, True), (1e-5, True), (1e-9, False)])
def test_the_gram_matrix_joins_blocks_only_as_long_as_it_sees_what_is_kept(tail, squared):
    a = decaying(80, 60, 0.2)
    stream = StreamingSVD(tail=tail)
    for block in a.split(20, 1):
        stream.append(block)
    assert stream._squared is squared
    check(stream.result().signed(), a)
    assert stream.result().error <= tail


def test_spare_directions_are_what_bounds_the_error():
    a = decaying(80, 200, 0.02)
    missed = [streaming_svd(a.mT, rank=10, spare=p, block=10).missed for p in (0, 10, 60)]
    optimum = norm(torch.linalg.svdvals(a)[10:])
    assert missed[0] > missed[1] > missed[2] >= optimum and missed[2] < 1.002 * optimum


@pytest.mark.parametrize("snapshots", ["rows", "columns"])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("kind", ["diagonal", "dense", "sparse"])
def test_weighted(snapshots, center, kind):
    a = decaying(50, 70) + 0.2
    line = scipy.sparse.diags_array([1.0, 4.0, 1.0], offsets=[-1, 0, 1], shape=(50, 50)).tocsr()
    diagonal = torch.linspace(0.5, 4, 50, dtype=F64)
    weight = {"diagonal": diagonal, "dense": torch.from_numpy(line.toarray()), "sparse": line}[kind]
    W = torch.diag(diagonal) if kind == "diagonal" else torch.from_numpy(line.toarray())
    source = a.mT if snapshots == "rows" else a
    if snapshots == "columns" and kind != "diagonal":
        with pytest.raises(NWidthError, match="a weight that joins points"):
            streaming_svd(source, snapshots=snapshots, rank=5, weight=weight)
        return
    found = streaming_svd(source, snapshots=snapshots, rank=5, weight=weight, center=center, block=8)
    centred = a - a.mean(1, keepdim=True) if center else a
    check(found, centred, W)
    assert not center or torch.allclose(found.mean, a.mean(1), atol=1e-13)
    whole = svd(centred, 5, weight=weight)
    assert torch.allclose(found.s, whole.s, rtol=1e-6) and torch.allclose(found.U, whole.U, atol=1e-3)


class Reader:
    """An array that is only read by slices, and remembers how."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.reads = values, values.shape, values.dtype, []

    def read(self, part):
        self.reads.append(part)
        return self.values[part]


def test_each_source_is_read_once_in_order(tmp_path):
    a = decaying(60, 40).mT.contiguous()
    reference = streaming_svd(a, rank=6, block=11)
    reader = Reader(a)
    with h5py.File(tmp_path / "x.h5", "w") as f:
        data = f.create_dataset("u", data=a.reshape(40, 3, 4, 5).numpy())
        mapped = np.memmap(tmp_path / "x.npy", np.float64, "w+", shape=(40, 60))
        mapped[:] = a.numpy()
        for source in (reader, data, mapped, iter(a.split(11)), [a.numpy()[i : i + 11] for i in range(0, 40, 11)]):
            found = streaming_svd(source, rank=6, block=11)
            assert torch.equal(found.U, reference.U) and torch.equal(found.Vh, reference.Vh)
    assert [(r.start, r.stop) for r in reader.reads] == [(0, 11), (11, 22), (22, 33), (33, 40)]


def test_memory_is_that_of_a_block():
    """Blocks made one at a time, 1000 x 4000 numbers that never exist together."""
    U = torch.linalg.qr(random(1000, 6)).Q
    scale = 10.0 ** -torch.arange(6, dtype=F64)
    stream, held = StreamingSVD(rank=6, right=False), []
    for i in range(40):
        stream.append(U * scale @ random(6, 100, seed=i))
        held.append(sum(x.numel() for x in vars(stream).values() if isinstance(x, torch.Tensor)))
        assert not stream._steps
    found = stream.result()
    assert found.Vh is None and found.count == 4000 and max(held) <= 16 * 1001
    assert torch.allclose((found.U.mT @ U).abs(), torch.eye(6, dtype=F64), atol=0.1) and found.error < 1e-10
    # the coefficients' Gram matrix is the scale squared, to sampling error
    assert torch.allclose(found.s / math.sqrt(4000), scale, rtol=0.1)


def test_default_blocks_hold_no_fewer_than_the_rank(monkeypatch):
    monkeypatch.setattr("nwidth.backends.svd.sources._BYTES", 800)
    reader = Reader(decaying(60, 90).mT.contiguous())
    streaming_svd(reader, rank=5)
    assert {r.stop - r.start for r in reader.reads} == {15}
    monkeypatch.setattr("nwidth.backends.svd.sources._BYTES", 40 * 60 * 8)
    reader.reads.clear()
    streaming_svd(reader, rank=5)
    assert [r.stop - r.start for r in reader.reads] == [40, 40, 10]
    points = Reader(decaying(100, 80))
    streaming_svd(points, rank=5, snapshots="columns")
    assert [r.stop - r.start for r in points.reads] == [20] * 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_single_precision_keeps_six_digits(dtype):
    a = decaying(60, 400, dtype=C128 if dtype.is_complex else F64)
    found = streaming_svd(a.to(dtype).mT, rank=15, block=20)
    assert found.U.dtype == dtype and found.s.dtype == torch.float32
    assert norm(found.s - torch.linalg.svdvals(a)[:15]) < 5e-6
    assert norm(found.U.mH @ found.U - torch.eye(15)) < 2e-5
    U = found.U.to(a.dtype)
    assert norm(a - U @ (U.mH @ a)) < 1.001 * norm(torch.linalg.svdvals(a)[15:])


# ---------------------------------------------------------------------------------------------- trees


@pytest.mark.parametrize("dtype", [F64, C128])
@pytest.mark.parametrize("arity", [2, 3, 7])
@pytest.mark.parametrize("sizes", [[100], [10] * 10, [1] * 100, [40, 3, 57], [5] * 16 + [20]])
@pytest.mark.parametrize("rtol", [0.1, 1e-3, 1e-9])
def test_trees_of_every_shape_meet_the_tolerance(dtype, arity, sizes, rtol):
    a = decaying(60, 100, dtype=dtype)
    found = hapod(a.split(sizes, 1), rtol=rtol, arity=arity)
    sigma = check(found, a)
    assert found.error <= rtol
    best = next(r for r in range(61) if norm(sigma[r:]) <= rtol * norm(a))
    assert best <= len(found.s) <= best + 2


def test_omega_trades_final_modes_for_work():
    a = decaying(60, 120, 0.05)
    few, many = (hapod(a.split(10, 1), rtol=0.05, omega=w) for w in (0.98, 0.1))
    assert len(few.s) <= len(many.s) and few.error <= 0.05 and many.error <= 0.05


def test_mean_square_tolerance_and_unknown_numbers_of_leaves():
    a = decaying(60, 128)
    found = hapod(iter(a.split(8, 1)), tol=1e-4)  # no length
    check(found, a)
    assert 0 < found.missed / math.sqrt(128) <= 1e-4
    assert len(found.s) < 40


def test_weighted_tree():
    a, root = decaying(30, 50), random(30, 30, seed=4)
    W = root @ root.mT + 0.1 * torch.eye(30)
    found = hapod(a.split(7, 1), rtol=1e-4, weight=W)
    check(found, a, W)
    assert found.error <= 1e-4
    bare = hapod(a.split(7, 1), rtol=1e-4, weight=W, right=False)
    assert bare.Vh is None and torch.equal(bare.U, found.U)


def test_merging_truncated_parts_adds_what_they_miss_in_squares():
    a = decaying(50, 90, 0.05)
    parts = [partial_svd(x).within(0.0, most=12) for x in a.split(30, 1)]
    whole = merge(parts)
    assert whole.missed == pytest.approx(math.sqrt(sum(p.missed**2 for p in parts)), rel=1e-14) and whole.missed > 0
    check(whole.truncated(rank=10).signed(), a)
    assert len(whole.truncated(rtol=0.5).s) < 10 and whole.svd.U is whole.U
    streamed = streaming_svd(a[:, :45].mT, rank=20, block=10), streaming_svd(a[:, 45:].mT, rank=20, block=10)
    check(merge(streamed).truncated(rank=15).signed(), a)


NAN = torch.full((3, 2), float("nan"), dtype=F64)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: streaming_svd(random(5, 3)), "no rank and no tolerance"),
        (lambda: streaming_svd(random(5, 3), rank=4), "rank=4"),
        (lambda: streaming_svd(random(5, 3), rank=0), "rank=0"),
        (lambda: streaming_svd(random(9, 1) @ random(1, 8), rank=2), "the rank of the data"),
        (lambda: streaming_svd(random(5, 3), rank=1, snapshots="both"), "snapshots='both'"),
        (lambda: streaming_svd(random(5, 3), rank=1, block=0), "block=0"),
        (lambda: streaming_svd([], rank=1), "no blocks"),
        (lambda: streaming_svd(random(0, 3), rank=1), "no blocks"),
        (lambda: streaming_svd(NAN, rank=1), "NaN"),
        (lambda: streaming_svd([random(2, 3), random(2, 4)], rank=1), "(4, 2)"),
        (lambda: streaming_svd(torch.ones(3, 2, dtype=torch.int64), rank=1), "int64"),
        (lambda: streaming_svd(random(5, 3), rtol=1.5), "tail=1.5"),
        (lambda: streaming_svd(random(5, 3), rank=1, weight=torch.ones(5)), "(5,)"),
        (lambda: streaming_svd(random(5, 3), rank=1, snapshots="columns", weight=torch.ones(4)), "5 points"),
        (lambda: streaming_svd(random(5, 3), rank=1, snapshots="columns", weight=torch.ones(6)), "5 points"),
        (lambda: streaming_svd(random(5, 3), rank=1, snapshots="columns", weight=-torch.ones(5)), "negative"),
        (lambda: streaming_svd(random(5, 3, 2), rank=1, snapshots="columns"), "(5, 3, 2)"),
        (lambda: hapod([], rtol=0.1), "no leaves"),
        (lambda: hapod([NAN], rtol=0.1), "NaN"),
        (lambda: hapod([random(3, 2), random(4, 2)], rtol=0.1), "[3, 4]"),
        (lambda: hapod([random(3, 2)]), "rtol=None, tol=None"),
        (lambda: hapod([random(3, 2)], rtol=0.1, tol=0.1), "rtol=0.1, tol=0.1"),
        (lambda: hapod([random(3, 2)], rtol=0.1, omega=1.0), "omega=1.0"),
        (lambda: hapod([random(3, 2)], rtol=-0.1), "tolerance -0.1"),
        (lambda: merge([]), "[] rows"),
        (lambda: merge([streaming_svd(random(5, 3), rank=1, center=True)]), "centred parts"),
        (lambda: hapod([random(3, 2)], rtol=0.1, right=False).svd, "no right factor"),
    ],
)
def test_errors(call, words):
    with pytest.raises(NWidthError) as error:
        call()
    assert words in str(error.value)
