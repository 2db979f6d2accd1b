"""Two processes that hold some rows each, against one that holds all."""

import json
import traceback
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from nwidth.backends.svd import distributed_svd, svd, tsqr
from nwidth.errors import NWidthError

SIZES = {"even": (45, 45), "short": (87, 3), "empty": (90, 0)}
DTYPES = {"float32": torch.float32, "float64": torch.float64, "complex128": torch.complex128}
WORLD = 2


def matrix(dtype: torch.dtype, m: int = 90, n: int = 20, rate: float = 0.25) -> torch.Tensor:
    """Singular values 10^(-rate i)."""
    wide = torch.complex128 if dtype.is_complex else torch.float64
    g = torch.Generator().manual_seed(0)
    k = min(m, n)
    U, V = (torch.linalg.qr(torch.randn(d, k, dtype=wide, generator=g)).Q for d in (m, n))
    return (U * 10 ** (-rate * torch.arange(k, dtype=torch.float64)).to(wide) @ V.mH).to(dtype)


def weights(m: int = 90) -> torch.Tensor:
    return torch.linspace(0.5, 2, m, dtype=torch.float64)


def cases():
    """(name, sizes of the parts, whole matrix, options)."""
    for dtype in DTYPES:
        for split, sizes in SIZES.items():
            for method in ("tsqr", "gram", "randomized"):
                options = {"rank": 6, "method": method}
                yield f"{dtype}-{split}-{method}", sizes, matrix(DTYPES[dtype]), options
    yield "rtol", SIZES["even"], matrix(torch.float64), {"rtol": 3e-3}
    yield "energy", SIZES["short"], matrix(torch.float64), {"energy": 0.97, "method": "gram"}
    yield "weighted", SIZES["short"], matrix(torch.float64), {"rank": 5, "weight": weights()}
    yield "wide", (3, 5), matrix(torch.float64, 8, 30), {"rank": 7}


FAULTS = {
    "nan": lambda rank, a: {"rows": a * float("nan") if rank else a, "rank": 2},
    "columns": lambda rank, a: {"rows": a[:, rank:], "rank": 2},
    "dtype": lambda rank, a: {"rows": a.float() if rank else a, "rank": 2},
    "integers": lambda rank, a: {"rows": a.long(), "rank": 2},
    "weight": lambda rank, a: {"rows": a, "rank": 2, "weight": torch.ones(len(a)) - rank},
    "weight on one": lambda rank, a: {"rows": a, "rank": 2, "weight": torch.ones(len(a)) if rank else None},
    "rank": lambda rank, a: {"rows": a, "rank": 21},
    "vector": lambda rank, a: {"rows": a[0] if rank else a, "rank": 2},
}


def worker(rank: int, folder: Path) -> None:
    try:
        work(rank, folder)
    except BaseException:
        (folder / f"failed{rank}").write_text(traceback.format_exc())
        raise


def work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    found = {}
    for name, sizes, a, options in cases():
        first = sum(sizes[:rank])
        part = slice(first, first + sizes[rank])
        options = {k: v[part] if k == "weight" else v for k, v in options.items()}
        found[name] = tuple(distributed_svd(a[part], **options))
    a = matrix(torch.float64)
    found["tsqr"] = tsqr(a[45 * rank : 45 * rank + 45])
    alone = dist.new_group([1])  # a group of the caller's, of which not all are members
    if rank == 1:
        found["subgroup"] = tuple(distributed_svd(a, 4, group=alone))
    said = {}
    for name, fault in FAULTS.items():
        try:
            distributed_svd(**fault(rank, a))
        except NWidthError as error:
            said[name] = str(error)
    dist.barrier()
    torch.save(found, folder / f"found{rank}.pt")
    (folder / f"said{rank}.json").write_text(json.dumps(said))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def run(nwidth, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    workers = [nwidth.parent.Process(target=worker, args=(r, folder)) for r in range(WORLD)]
    for w in workers:
        w.start()
    try:
        for w in workers:
            w.join(120)
        failed = [p.read_text() for p in folder.glob("failed*")]
        assert [w.exitcode for w in workers] == [0] * WORLD, "\n".join(failed)
    finally:
        for w in workers:
            w.kill()
    results = [torch.load(folder / f"found{r}.pt", weights_only=True) for r in range(WORLD)]
    said = [json.loads((folder / f"said{r}.json").read_text()) for r in range(WORLD)]
    return results, said


@pytest.mark.parametrize(("name", "sizes", "a", "options"), list(cases()), ids=[c[0] for c in cases()])
def test_rows_spread_over_processes_give_the_same_answer(run, name, sizes, a, options):
    parts = [r[name] for r in run[0]]
    whole = svd(a, **{**options, "method": "exact"})
    assert [len(p[0]) for p in parts] == list(sizes)
    assert torch.equal(parts[0][1], parts[1][1]) and torch.equal(parts[0][2], parts[1][2])  # to the last bit
    U = torch.cat([p[0] for p in parts])
    tol = 1e-4 if a.dtype == torch.float32 else 1e-10
    assert U.dtype == a.dtype
    for x, y in zip((U, parts[0][1], parts[0][2]), whole):
        assert torch.allclose(x, y, atol=tol)
    if "weight" not in options:
        assert torch.allclose(U.mH @ U, torch.eye(U.shape[1], dtype=U.dtype), atol=1e-5 if tol > 1e-5 else 1e-13)


def test_tsqr_is_a_qr(run):
    Q, R = torch.cat([r["tsqr"][0] for r in run[0]]), run[0][0]["tsqr"][1]
    assert torch.allclose(Q @ R, matrix(torch.float64), atol=1e-14)
    assert torch.allclose(Q.mT @ Q, torch.eye(20, dtype=torch.float64), atol=1e-14)
    assert torch.equal(R, R.triu())


def test_a_group_of_some_processes(run):
    whole = svd(matrix(torch.float64), 4, method="exact")
    assert all(torch.allclose(x, y, atol=1e-12) for x, y in zip(run[0][1]["subgroup"], whole))


@pytest.mark.parametrize(
    ("fault", "words"),
    {
        "nan": "NaN or infinite entries on a process",
        "columns": "(19, 1, 0), (20, 1, 0)",
        "dtype": "(20, 0, 0), (20, 1, 0)",
        "integers": "(20, -1, 0)",
        "weight": "weights that are not positive",
        "weight on one": "(20, 1, 0), (20, 1, 1)",
        "rank": "rank=21",
        "vector": "rows that are not a matrix",
    }.items(),
)
def test_every_process_says_what_is_wrong_on_any(run, fault, words):
    assert all(words in said[fault] for said in run[1])


def test_no_group_is_made_behind_the_callers_back():
    with pytest.raises(NWidthError, match="no process group"):
        distributed_svd(torch.ones(3, 2))
    assert not dist.is_initialized()
