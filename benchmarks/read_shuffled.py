"""Reading samples of nwidth's files in shuffled batches: H5Array against h5py, one process, files in the page cache.

    python benchmarks/read_shuffled.py [--samples 2000] [--times 20] [--batch 32] [--repeats 5]

For a steady and a time-dependent file, one epoch each of

    ours       array[indices], a batch at a time
    per item   h5py.File(path)["u"][i] for each sample, stacked: the file opened each time
    one file   file["u"][i] with one open file and h5py's defaults, stacked
    one array  dataset[i] with one open dataset, stacked: the fastest that reads sample by sample

and, in order, blocks of 256 samples (array.read against dataset[a:b]). Prints median milliseconds of CPU time and
ratios; sums of what was read must agree.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import h5py
import torch
from nwidth.backends import Grid
from nwidth.data import Dataset, H5Array, save_dataset
from nwidth.data.handles import close_h5

Read = Callable[[], Iterator[torch.Tensor]]


def shuffled(path: Path, axes: str, batches: list[list[int]]) -> dict[str, Read]:
    """The ways to read batches of samples, each opening what it needs."""

    def ours() -> Iterator[torch.Tensor]:
        array = H5Array(path, "u", axes)
        for batch in batches:
            yield array[batch]

    def per_item() -> Iterator[torch.Tensor]:
        def item(i: int) -> torch.Tensor:
            with h5py.File(path, "r") as f:
                return torch.from_numpy(f["u"][i])

        for batch in batches:
            yield torch.stack([item(i) for i in batch])

    def one_file() -> Iterator[torch.Tensor]:
        with h5py.File(path, "r") as f:
            for batch in batches:
                yield torch.stack([torch.from_numpy(f["u"][i]) for i in batch])

    def one_array() -> Iterator[torch.Tensor]:
        with h5py.File(path, "r") as f:
            d = f["u"]
            for batch in batches:
                yield torch.stack([torch.from_numpy(d[i]) for i in batch])

    return {"ours": ours, "per item": per_item, "one file": one_file, "one array": one_array}


def in_order(path: Path, axes: str, samples: int, block: int = 256) -> dict[str, Read]:
    def ours() -> Iterator[torch.Tensor]:
        array = H5Array(path, "u", axes)
        for start in range(0, samples, block):
            yield array.read(slice(start, start + block))

    def plain() -> Iterator[torch.Tensor]:
        with h5py.File(path, "r") as f:
            d = f["u"]
            for start in range(0, samples, block):
                yield torch.from_numpy(d[start : start + block])

    return {"ours": ours, "h5py": plain}


def measure(ways: dict[str, Read], repeats: int) -> dict[str, float]:
    """Median CPU milliseconds of each way; they take turns, so that a busy machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    sums = {}
    for _ in range(repeats):
        for name, read in ways.items():
            close_h5()  # an open dataset would lend its chunk cache to whoever opens it again
            start = time.process_time()
            for _batch in read():
                pass
            times[name].append(1e3 * (time.process_time() - start))
    for name, read in ways.items():
        sums[name] = sum(float(batch.double().sum()) for batch in read())
    reference = sums["ours"]
    assert all(abs(s - reference) <= 1e-9 * max(1.0, abs(reference)) for s in sums.values()), sums
    return {name: statistics.median(t) for name, t in times.items()}


def report(title: str, found: dict[str, float]) -> None:
    ours = found.pop("ours")
    rest = ", ".join(f"{name} {t:.0f} ms ({t / ours:.2f}x)" for name, t in found.items())
    print(f"{title:32} ours {ours:.0f} ms, {rest}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("samples", 2000), ("times", 20), ("batch", 32), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    grid = Grid.make((64, 64))
    n, few = options.samples, max(options.samples // options.times, 1)
    cases = {
        "2D, 16 KiB a sample": Dataset(grid, u=torch.randn(n, 1, 64, 64)),
        "1D, 1 KiB a sample": Dataset(Grid.make((256,)), u=torch.randn(n, 1, 256)),
        "2D in time": Dataset(
            grid, u=torch.randn(few, options.times, 1, 64, 64), t=torch.arange(1.0, options.times + 1)
        ),
    }
    with tempfile.TemporaryDirectory() as folder:
        for title, data in cases.items():
            path = Path(folder) / "data.h5"
            save_dataset(path, data)
            axes = ("ntc" if data.time_dependent else "nc") + "xy"[: data.grid.ndim]
            order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0)).tolist()
            batches = [order[i : i + options.batch] for i in range(0, len(order), options.batch)]
            report(f"{title}, shuffled", measure(shuffled(path, axes, batches), options.repeats))
            report(f"{title}, in order", measure(in_order(path, axes, len(data)), options.repeats))


if __name__ == "__main__":
    main()
