"""Reading files in order, and windows of trajectories at random: nwidth's lazy arrays against h5py.

    python benchmarks/read_sequential.py [--mib 256] [--repeats 5] [--only WORDS]

One process, one thread, files in the page cache. In order, for each layout:

    ours       LazyArray.read, block after block, as (sample, [time,] channel, *space)
    h5py       the same values as they lie in the file, into memory that torch shares: no reordering of axes
    h5py, c    the same with channels as ours has them, where they lie last, or in arrays of their own

Four times of a sample after the other: ours by LazyArray.read_many, 32 a call; read: one call each; h5py: d[i, k:k+4].

Shuffled windows of two states (one for each state but the last, in random order, batches of 32):

    ours       Windows.batch
    open       a file opened for each window, d[i, k:k+2]
    key        one open file, file[key][i, k:k+2]
    sample     one open file, file[key][i], of which two states are kept

Prints median CPU milliseconds, the rate, and ratios above 1 where ours is faster; sums of what was read must agree.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import h5py
import numpy as np
import torch
from nwidth.backends import Grid
from nwidth.data import Dataset, open_dataset, save_dataset
from nwidth.data.arrays import LazyArray, loaded
from nwidth.data.handles import close_h5
from nwidth.data.windows import Windows

Read = Callable[[], Iterator[torch.Tensor]]
SIDE = 128


@dataclass
class Case:
    """A file; keys and axes of u as they lie in it, with the initial state as first time."""

    title: str
    path: Path
    keys: list[str]
    axes: str


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def native_steady(folder: Path, mib: int) -> Case:
    path = folder / "steady.h5"
    save_dataset(path, Dataset(Grid.make((SIDE, SIDE)), u=torch.from_numpy(random(16 * mib, 1, SIDE, SIDE))))
    return Case("nwidth's layout, steady", path, ["u"], "ncxy")


def native_in_time(folder: Path, mib: int) -> Case:
    path, n = folder / "time.h5", max(2, 16 * mib // 20)
    u = torch.from_numpy(random(n, 20, 1, SIDE, SIDE))
    save_dataset(path, Dataset(Grid.make((SIDE, SIDE)), u=u, u0=u[:, 0].clone(), t=torch.arange(1.0, 21)))
    return Case("nwidth's layout, in time", path, ["u"], "ntcxy")


def pdebench_contiguous(folder: Path, mib: int) -> Case:
    path = folder / "1D_Burgers_Sols_Nu0.01.hdf5"
    with h5py.File(path, "w") as f:
        f["tensor"] = random(mib * 2**18 // (201 * 1024) + 1, 201, 1024)
        f["x-coordinate"], f["t-coordinate"] = (np.arange(1024) + 0.5) / 1024, np.arange(202) * 0.01
    return Case("PDEBench 1D, contiguous", path, ["tensor"], "ntx")


def pdebench_chunked(folder: Path, mib: int) -> Case:
    path, n = folder / "2D_CFD_Rand_M0.1_Eta0.01_Zeta0.01_periodic_128_Train.hdf5", max(2, mib // (21 * 4) * 16)
    with h5py.File(path, "w") as f:
        for key in ("density", "pressure", "Vx", "Vy"):
            f.create_dataset(key, data=random(n // 4 + 1, 21, SIDE, SIDE), chunks=True)
        for c in "xy":
            f[f"{c}-coordinate"] = (np.arange(SIDE) + 0.5) / SIDE
        f["t-coordinate"] = np.arange(22) * 0.05
    return Case("PDEBench 2D CFD, default chunks", path, ["density", "pressure", "Vx", "Vy"], "ntxy")


def pdebench_groups(folder: Path, mib: int, compression: str | None) -> Case:
    path, n = folder / f"2D_diff-react_{compression}.h5", max(2, mib * 4 // 26)
    with h5py.File(path, "w") as f:
        for i in range(n):
            group = f.create_group(f"{i:04}")
            group.create_dataset("data", data=random(26, SIDE, SIDE, 2), compression=compression)
            group["grid/x"] = group["grid/y"] = (np.arange(SIDE) + 0.5) / SIDE
            group["grid/t"] = np.linspace(0, 1, 26)
    return Case(
        f"a group a trajectory, {compression or 'contiguous'}", path, [f"{i:04}/data" for i in range(n)], "txyc"
    )


def whole_u(case: Case) -> LazyArray:
    """All states as one lazy array, the initial one included, as the reader sees the file."""
    data = open_dataset(case.path)
    u = data.u if data.t is not None or data.u is not None else data.a
    assert isinstance(u, LazyArray)
    return u


def sequential(case: Case) -> tuple[dict[str, Read], int]:
    """Ways to read u in blocks of about 16 MiB."""
    u = whole_u(case)
    skipped = int("t" in case.axes and case.path.name != "time.h5")  # the initial state lies with the others
    block = max(1, 2**24 // (u.nbytes // len(u)))
    starts = range(0, len(u), block)
    grouped = case.axes[0] != "n"

    def ours() -> Iterator[torch.Tensor]:
        for start in starts:
            yield u.read(slice(start, start + block))

    def plain() -> Iterator[torch.Tensor]:
        with h5py.File(case.path, "r") as f:
            if grouped:
                for key in case.keys:
                    yield torch.from_numpy(f[key][skipped:])
                return
            sets = [f[key] for key in case.keys]
            for start in starts:
                at = (slice(start, start + block), slice(skipped, None))[: 1 + skipped]
                for d in sets:
                    yield torch.from_numpy(d[at])

    def turned() -> Iterator[torch.Tensor]:
        with h5py.File(case.path, "r") as f:
            for start in starts:
                stop = min(start + block, len(u))
                out = np.empty((stop - start, *u.shape[1:]), np.float32)
                if grouped:
                    for i in range(start, stop):
                        out[i - start] = f[case.keys[i]][skipped:].transpose(0, 3, 1, 2)
                else:
                    for c, key in enumerate(case.keys):
                        out[:, :, c] = f[key][start:stop, skipped:]
                yield torch.from_numpy(out)

    ways: dict[str, Read] = {"ours": ours, "h5py": plain}
    return ways | ({"h5py, c": turned} if grouped or len(case.keys) > 1 else {}), u.nbytes


def windows_in_order(case: Case) -> tuple[dict[str, Read], int]:
    """Windows of four times of u, one after the other."""
    u = whole_u(case)
    steps = [(i, k) for i in range(len(u)) for k in range(0, u.shape[1] - 3, 4)]
    skipped = 0 if case.path.name == "time.h5" else 1

    def ours() -> Iterator[torch.Tensor]:
        for start in range(0, len(steps), 32):
            yield from u.read_many([(i, slice(k, k + 4)) for i, k in steps[start : start + 32]])

    def singly() -> Iterator[torch.Tensor]:
        for i, k in steps:
            yield u.read([i], slice(k, k + 4))

    def plain() -> Iterator[torch.Tensor]:
        with h5py.File(case.path, "r") as f:
            if case.axes[0] == "n":
                sets = [f[key] for key in case.keys]
                for i, k in steps:
                    for d in sets:
                        yield torch.from_numpy(d[i, k + skipped : k + skipped + 4])
            else:
                for i, k in steps:
                    yield torch.from_numpy(f[case.keys[i]][k + skipped : k + skipped + 4])

    return {"ours": ours, "read": singly, "h5py": plain}, len(steps) * u.nbytes // len(u) // u.shape[1] * 4


def shuffled(case: Case, count: int = 2000) -> tuple[dict[str, Read], int]:
    data = open_dataset(case.path)
    windows = Windows(data)
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))[:count].tolist()
    batches = [order[i : i + 32] for i in range(0, len(order), 32)]
    native = case.path.name == "time.h5"

    def ours() -> Iterator[torch.Tensor]:
        for batch in batches:
            read = windows.batch(batch)
            yield read["past"]
            yield read["future"]

    def window(f: h5py.File, i: int, k: int, whole: bool) -> np.ndarray:
        """States k and k + 1 of sample i, channels first; the file holds state 0 apart in nwidth's layout."""
        parts = []
        for key in case.keys if case.axes[0] == "n" else [case.keys[i]]:
            d = f[key]
            if native and k == 0:
                x = np.stack([f["u0"][i], (d[i] if whole else d[i, :1]).reshape(-1, *d.shape[2:])[0]])
            else:
                at = slice(k - native, k - native + 2)
                row = (i,) if case.axes[0] == "n" else ()
                x = d[row][at] if whole else d[(*row, at)]
            parts.append(x)
        if case.axes[-1] == "c":
            return np.ascontiguousarray(parts[0].transpose(0, 3, 1, 2))
        return parts[0] if len(parts) == 1 else np.stack(parts, 1)

    def naive(opens: bool, whole: bool) -> Read:
        def read() -> Iterator[torch.Tensor]:
            kept = None if opens else h5py.File(case.path, "r")
            for batch in batches:
                found = []
                for item in batch:
                    i, k = divmod(item, windows.per_sample)
                    if kept is None:
                        with h5py.File(case.path, "r") as f:
                            found.append(window(f, i, k, whole))
                    else:
                        found.append(window(kept, i, k, whole))
                yield torch.from_numpy(np.stack(found))
            if kept is not None:
                kept.close()

        return read

    size = sum(v.nbytes for b in batches[:1] for v in list(windows.batch(b).values())[:2]) * len(batches)
    return {"ours": ours, "open": naive(True, False), "key": naive(False, False), "sample": naive(False, True)}, size


def measure(ways: dict[str, Read], repeats: int) -> dict[str, float]:
    """Median CPU milliseconds of each way; they take turns, so that a busy machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    sums = {name: sum(float(x.sum(dtype=torch.float64)) for x in read()) for name, read in ways.items()}
    assert all(abs(s - sums["ours"]) <= 1e-6 * max(1.0, abs(sums["ours"])) for s in sums.values()), sums
    for _ in range(repeats):
        for name, read in ways.items():
            close_h5()  # an open dataset would lend its chunk cache to whoever opens it again
            start = time.process_time()
            for _block in read():
                pass
            times[name].append(1e3 * (time.process_time() - start))
    return {name: statistics.median(t) for name, t in times.items()}


def report(title: str, found: dict[str, float], size: int) -> None:
    ours = found.pop("ours")
    rest = ", ".join(f"{name} {t:.0f} ms ({t / ours:.2f})" for name, t in found.items())
    print(f"{title:52} ours {ours:.0f} ms, {size / 2**20 / (ours / 1e3):.0f} MiB/s; {rest}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    makers: list[Callable[[Path, int], Case]] = [
        native_steady,
        native_in_time,
        pdebench_contiguous,
        pdebench_chunked,
        lambda folder, mib: pdebench_groups(folder, mib, None),
        lambda folder, mib: pdebench_groups(folder, mib, "lzf"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for make in makers:
            case = make(Path(folder), options.mib)
            loaded(whole_u(case)[:1])
            jobs: list[tuple[str, Callable[[Case], tuple[dict[str, Read], int]]]] = [("in order", sequential)]
            if whole_u(case).has_time:
                jobs += [("four times in order", windows_in_order), ("shuffled windows", shuffled)]
            for what, job in jobs:
                title = f"{case.title}: {what}"
                if options.only in title:
                    ways, size = job(case)
                    report(title, measure(ways, options.repeats), size)
            case.path.unlink()


if __name__ == "__main__":
    main()
