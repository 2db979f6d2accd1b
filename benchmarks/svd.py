"""Singular values: accuracy and time of nwidth, pyMOR, scipy and torch's defaults in one run, one thread.

    python benchmarks/svd.py [--peer-python PATH] [--repeats 5] [--rows 20000] [--columns 1000] [--ranks 50,160]

Three tables. The matrix of the first two is rows x columns with singular values 10^(-0.06 i).

    truncated   a rank given: time, orthogonality |U'U - I|, projection error |a - UU'a| over the optimum, and the
                worst relative error of the values kept
    one pass    relative tolerance 1e-4 from blocks of 100 columns: time, modes, error, |U'U - I|
    appended    100 updates of 20 sparse rows, rank 20, on two matrices: the dense update of Zha and Simon and the
                sparse one, time of an update and difference of values and spaces

--peer-python is an interpreter that has pyMOR (pip install pymor); without it pyMOR's rows are left out. The peer runs
in a process of its own and takes turns with ours, so that a busy machine slows all alike. Times are medians of CPU
seconds; methods above 3 seconds run once. Ratios are to the row marked 1.00.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402  (after the number of threads)

SLOW = 3.0

PEER = """
import sys, json, time
import numpy as np
from pymor.vectorarrays.numpy import NumpyVectorSpace
from pymor.algorithms.svd_va import method_of_snapshots, qr_svd
from pymor.algorithms.hapod import inc_vectorarray_hapod, dist_vectorarray_hapod
from pymor.core.logger import set_log_levels
set_log_levels({"pymor": "ERROR"})
folder = sys.argv[1]
a = np.load(folder + "/a.npy")
space = NumpyVectorSpace(len(a))
A = space.from_numpy(a) if space.from_numpy(a[:, :1]).dim == len(a) else space.from_numpy(a.T)
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    U = A.copy(deep=True)
    start = time.process_time()
    if order["method"] in ("snapshots", "qr"):
        f = method_of_snapshots if order["method"] == "snapshots" else qr_svd
        modes, s = f(U, modes=order["rank"], rtol=0 if order["method"] == "qr" else 1e-16)[:2]
    else:
        f = inc_vectorarray_hapod if order["method"] == "inc_hapod" else dist_vectorarray_hapod
        modes, s = f(order["steps"], U, order["eps"], 0.75)[:2]
    seconds = time.process_time() - start
    X = modes.to_numpy()
    np.save(folder + "/U.npy", X if len(X) == len(a) else X.T)
    np.save(folder + "/s.npy", s)
    print(json.dumps(seconds), flush=True)
"""

Answer = tuple[float, np.ndarray, np.ndarray]  # seconds, U, s


class Peer:
    """pyMOR in another interpreter; arrays travel as .npy."""

    def __init__(self, python: str, folder: Path):
        self.folder = folder
        self.process = subprocess.Popen(
            [python, "-W", "ignore", "-c", PEER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit("the peer ended: does its interpreter have pyMOR (pip install pymor)?")
        return line

    def __call__(self, **order: object) -> Answer:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        seconds = float(json.loads(self._line()))
        return seconds, np.load(self.folder / "U.npy"), np.load(self.folder / "s.npy")

    def close(self) -> None:
        self.process.kill()


def timed(f: Callable[[], tuple]) -> Callable[[], Answer]:
    def run() -> Answer:
        start = time.process_time()
        U, s = f()[:2]
        return time.process_time() - start, np.asarray(U), np.asarray(s)

    return run


def in_turns(methods: dict[str, Callable[[], Answer]], repeats: int) -> dict[str, Answer]:
    """Each method's median time and last answer."""
    times: dict[str, list[float]] = {name: [] for name in methods}
    found: dict[str, Answer] = {}
    for _ in range(repeats):
        for name, method in methods.items():
            if times[name] and times[name][0] > SLOW:
                continue
            found[name] = method()
            times[name].append(found[name][0])
    return {name: (statistics.median(times[name]), *found[name][1:]) for name in methods}


def with_spectrum(m: int, n: int, sigma):
    import torch

    g = torch.Generator().manual_seed(0)
    U, V = (torch.linalg.qr(torch.randn(d, n, dtype=torch.float64, generator=g)).Q for d in (m, n))
    return (U * sigma) @ V.mT


def quality(a: np.ndarray, U: np.ndarray) -> tuple[float, float]:
    """Departure from orthonormality, and the projection error."""
    return float(np.abs(U.T @ U - np.eye(U.shape[1])).max()), float(np.linalg.norm(a - U @ (U.T @ a)))


def truncated(a, sigma: np.ndarray, rank: int, peer: Peer | None, repeats: int) -> None:
    import scipy.linalg
    import scipy.sparse.linalg
    import torch
    from nwidth.backends.svd import svd

    x = a.numpy()
    methods: dict[str, Callable[[], Answer]] = {"nwidth auto": timed(lambda: svd(a, rank))}
    methods["nwidth gram"] = timed(lambda: svd(a, rank, method="gram"))
    methods["nwidth exact"] = timed(lambda: svd(a, rank, method="exact"))
    if peer is not None:
        methods["pyMOR method_of_snapshots"] = lambda: peer(method="snapshots", rank=rank)
        methods["pyMOR qr_svd"] = lambda: peer(method="qr", rank=rank)
    methods["torch.linalg.svd"] = timed(lambda: torch.linalg.svd(a, full_matrices=False))
    methods["torch.svd_lowrank"] = timed(lambda: torch.svd_lowrank(a, q=rank))
    methods["scipy.linalg.svd"] = timed(lambda: scipy.linalg.svd(x, full_matrices=False))

    def arpack() -> tuple:
        U, s, _ = scipy.sparse.linalg.svds(x, k=rank)
        return U[:, ::-1], s[::-1]

    methods["scipy.sparse.linalg.svds"] = timed(arpack)
    seen = float(sigma[rank - 1] / sigma[0])
    if seen < 1e-7:
        del methods["nwidth gram"]  # says itself that it cannot
    found = in_turns(methods, repeats)
    print(f"\ntruncated to rank {rank} (the last value kept is {seen:.0e} of the first)")
    print(f"{'':28}{'seconds':>9}{'ratio':>8}{'orthogonality':>15}{'error/optimum':>15}{'values':>10}{'modes':>7}")
    optimum = float(np.linalg.norm(sigma[rank:]))
    for name, (seconds, U, s) in found.items():
        U, s = U[:, :rank], s[:rank]
        orthogonality, error = quality(x, U)
        values = float(np.abs(s / sigma[: len(s)] - 1).max())
        ratio = seconds / found["nwidth auto"][0]
        print(
            f"{name:28}{seconds:9.2f}{ratio:8.2f}{orthogonality:15.0e}{error / optimum:15.4f}{values:10.0e}"
            f"{U.shape[1]:7}"
        )


def one_pass(a, sigma: np.ndarray, peer: Peer | None, repeats: int, rtol: float = 1e-4, size: int = 100) -> None:
    from nwidth.backends.svd import hapod, streaming_svd, svd

    n = a.shape[1]
    rows = a.mT.contiguous()  # snapshots as rows, as they lie in a file

    def found_of(partial) -> tuple:
        return partial.U, partial.s

    methods: dict[str, Callable[[], Answer]] = {
        "nwidth svd (all in memory)": timed(lambda: svd(a, rtol=rtol)),
        "nwidth streaming_svd": timed(lambda: found_of(streaming_svd(rows, rtol=rtol, block=size))),
        "  without right factor": timed(lambda: found_of(streaming_svd(rows, rtol=rtol, block=size, right=False))),
        "nwidth hapod": timed(lambda: found_of(hapod(a.split(size, 1), rtol=rtol))),
    }
    if peer is not None:
        eps, steps = rtol * float(np.linalg.norm(sigma)) / n**0.5, n // size
        methods["pyMOR inc_hapod"] = lambda: peer(method="inc_hapod", steps=steps, eps=eps)
        methods["pyMOR dist_hapod"] = lambda: peer(method="dist_hapod", steps=steps, eps=eps)
    found = in_turns(methods, repeats)
    total = float(np.linalg.norm(sigma))
    fewest = next(r for r in range(n) if np.linalg.norm(sigma[r:]) <= rtol * total)
    print(f"\none pass, tolerance {rtol:.0e}, {n // size} blocks of {size} columns; the fewest modes are {fewest}")
    print(f"{'':28}{'seconds':>9}{'ratio':>8}{'modes':>8}{'error':>10}{'orthogonality':>15}")
    for name, (seconds, U, _) in found.items():
        orthogonality, error = quality(a.numpy(), U)
        ratio = seconds / found["nwidth streaming_svd"][0]
        print(f"{name:28}{seconds:9.2f}{ratio:8.2f}{U.shape[1]:8}{error / total:10.1e}{orthogonality:15.0e}")


def appended(m: int, n: int, topics: float, density: float, updates: int = 100, k: int = 20, b: int = 20) -> None:
    import scipy.sparse
    import torch
    from nwidth.backends.svd import SVD, IncrementalSVD, SparseIncrementalSVD

    rng = np.random.default_rng(0)
    a = scipy.sparse.random_array((m, n), density=density, rng=rng, format="csr")
    if topics:
        a = a + scipy.sparse.csr_array(((rng.random((m, 8)) ** 6 @ rng.random((8, n)) ** 6) > topics) * 1.0)
    known = m - updates * b
    U, s, Vh = scipy.sparse.linalg.svds(a[:known], k=k, rng=rng)
    start = SVD(*(torch.from_numpy(x.copy()) for x in (U[:, ::-1], s[::-1], Vh[::-1])))
    slow, fast = IncrementalSVD(start), SparseIncrementalSVD(start)
    times: tuple[list[float], list[float]] = ([], [])
    for first in range(known, m, b):
        rows = a[first : first + b]
        t = time.process_time()
        slow.append_rows(torch.from_numpy(rows.toarray()))
        u = time.process_time()
        fast.append_rows(rows)
        times[0].append(u - t)
        times[1].append(time.process_time() - u)
    f, d = fast.factors(), slow.factors()
    spaces = max(
        float(torch.linalg.matrix_norm(x - y @ (y.mT @ x), ord=2)) for x, y in ((f.U, d.U), (f.Vh.mT, d.Vh.mT))
    )
    dense, sparse = (1e3 * statistics.median(t) for t in times)
    print(f"\nappended: {m} x {n}, {a.nnz / m / n:.2%} non-zero, rank {k}, {updates} updates of {b} rows")
    print(f"Zha and Simon, dense   {dense:7.2f} ms an update")
    print(f"sparse                 {sparse:7.2f} ms an update, {dense / sparse:.1f} times faster")
    print(
        f"difference             values {float((f.s - d.s).abs().max() / d.s[0]):.0e}, spaces {spaces:.0e}, "
        f"orthogonality {float((f.U.mT @ f.U - torch.eye(k)).abs().max()):.0e}; "
        f"{fast.restarts} restarts, {fast.dense_updates} dense updates"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="an interpreter with pyMOR")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--columns", type=int, default=1000)
    parser.add_argument("--ranks", default="50,160")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    sigma = 10 ** (-0.06 * torch.arange(options.columns, dtype=torch.float64))
    a = with_spectrum(options.rows, options.columns, sigma)
    print(f"{options.rows} x {options.columns}, singular values 10^(-0.06 i), float64, one thread")
    with tempfile.TemporaryDirectory() as name:
        np.save(Path(name) / "a.npy", a.numpy())
        peer = Peer(options.peer_python, Path(name)) if options.peer_python else None
        if peer is None:
            print("pyMOR left out: give --peer-python")
        for rank in map(int, options.ranks.split(",")):
            truncated(a, sigma.numpy(), rank, peer, options.repeats)
        one_pass(a, sigma.numpy(), peer, options.repeats)
        if peer is not None:
            peer.close()
    appended(3000, 2000, topics=0.35, density=0.005)
    appended(22_000, 50_000, topics=0.0, density=0.001)


if __name__ == "__main__":
    main()
