"""A training step of FNO, U-Net and MgNO with and without freed memory kept by the process, one thread, on Linux.

    python benchmarks/freed_memory.py [--points 64,128] [--batch 16] [--steps 6]

Each row is two processes of their own: processor time of a step (forward, backward, optimiser) with glibc's defaults
and after ``nwidth.training.heap.keep_freed()``, which the command line calls, the ratio, pages faulted in a step, and
the peak of resident memory.
"""

import argparse
import os
import resource
import subprocess
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from nwidth import Grid
from nwidth.operators import FNO, MgNO, UNet
from nwidth.training.heap import keep_freed

NETWORKS = {"fno": lambda g: FNO(1, 1, g, width=64), "unet": lambda g: UNet(1, 1, g), "mgno": lambda g: MgNO(1, 1, g)}


def step_alone(name: str, n: int, batch: int, steps: int) -> None:
    torch.set_num_threads(1)
    network = NETWORKS[name](Grid.make((n, n), kind="nodal"))
    x, optimizer = torch.randn(batch, 1, n, n), torch.optim.AdamW(network.parameters())
    for i in range(steps + 2):
        if i == 2:
            start, pages = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        optimizer.zero_grad()
        network(x).square().mean().backward()
        optimizer.step()
    used = resource.getrusage(resource.RUSAGE_SELF)
    milliseconds = 1e3 * (time.process_time() - start) / steps
    print(milliseconds, (used.ru_minflt - pages) / steps, used.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", default="64,128")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        name, n, keep = args.alone.split(",")
        if keep == "True":
            assert keep_freed(), "glibc's malloc, not set by the environment, is needed"
        step_alone(name, int(n), args.batch, args.steps)
        return
    print("network  points   step [ms]: default   kept   ratio   pages a step        peak [MiB]")
    for n in args.points.split(","):
        for name in NETWORKS:
            rows = []
            for keep in (False, True):
                command = [sys.executable, __file__, "--alone", f"{name},{n},{keep}"]
                command += ["--batch", str(args.batch), "--steps", str(args.steps)]
                text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                rows.append([float(v) for v in text.split()])
            (a, pages, peak), (b, fewer, other) = rows
            times = f"{a:20.0f} {b:6.0f} {a / b:7.2f}"
            print(f"{name:8s} {n:>6s} {times} {pages:9.0f} to {fewer:5.0f} {peak:9.0f} to {other:.0f}", flush=True)


if __name__ == "__main__":
    main()
