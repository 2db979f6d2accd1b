"""A whole training step of the Fourier neural operator: nwidth against neuraloperator, equal weights and outputs.

    python benchmarks/fno_step.py [--threads 1] [--cases a,b] [--repeats 9] [--compile]

Case a: batch 8, 64 x 64 points, 16 modes, width 32, 4 layers. Case b: batch 4, 128 x 128, 16 modes, width 64, 4 layers.
A step is forward and backward. Prints for each case the time of a step of both, eagerly and (with --compile) by
torch.compile, the ratios eager to eager and best to best, the difference of the outputs, and the memory that a step
adds at its peak, each measured in a process of its own. Times are the least processor time on one thread and the least
wall time on several, the steps taking turns.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
import warnings

if "--threads" in sys.argv:
    os.environ["OMP_NUM_THREADS"] = sys.argv[sys.argv.index("--threads") + 1]

import psutil
import torch
from nwidth.backends import Grid
from nwidth.operators.checkpoint import from_neuraloperator
from turns import turns

warnings.filterwarnings("ignore")
CASES = {"a": (8, 64, 16, 32), "b": (4, 128, 16, 64)}


def models(case: str):
    from neuralop.models import FNO

    batch, n, modes, width = CASES[case]
    torch.manual_seed(0)
    peer = FNO(n_modes=(modes, modes), in_channels=1, out_channels=1, hidden_channels=width, n_layers=4)
    ours = from_neuraloperator(peer.state_dict(), Grid.make((n, n))).train()
    return peer, ours, torch.randn(batch, 1, n, n), torch.randn(batch, 1, n, n)


def step_of(model, x, g):
    def step():
        model.zero_grad(set_to_none=True)
        model(x).backward(g)

    return step


def peak(case: str, which: str) -> float:
    """MiB that a step adds to what the process holds before it, at its peak."""
    peer, ours, x, g = models(case)
    model = peer if which == "peer" else ours
    own = psutil.Process()
    step_of(model, x[:1, :, :32, :32], g[:1, :, :32, :32])()  # libraries, tables
    before, most, running = own.memory_info().rss, 0, True

    def watch():
        nonlocal most
        while running:
            most = max(most, own.memory_info().rss)
            time.sleep(2e-4)

    thread = threading.Thread(target=watch)
    thread.start()
    for _ in range(3):
        step_of(model, x, g)()
    running = False
    thread.join()
    return (most - before) / 2**20


def memory(case: str, which: str, threads: int) -> float:
    command = [sys.executable, __file__, "--threads", str(threads), "--peak", f"{case},{which}"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cases", default="a,b")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak:
        print(peak(*args.peak.split(",")))
        return
    clock = time.process_time if args.threads == 1 else time.perf_counter
    for case in args.cases.split(","):
        peer, ours, x, g = models(case)
        with torch.no_grad():
            difference = float((peer(x) - ours(x)).norm() / peer(x).norm())
        a, b = turns([step_of(peer, x, g), step_of(ours, x, g)], args.repeats, clock=clock)
        print(f"case {case}, {args.threads} thread(s): outputs differ by {difference:.0e}")
        print(f"  eager     neuraloperator {a:7.1f} ms   nwidth {b:7.1f} ms   ratio {a / b:.2f}", flush=True)
        if args.compile:
            quick = [torch.compile(peer), torch.compile(ours, fullgraph=True)]
            c, d = turns([step_of(m, x, g) for m in quick], args.repeats, clock=clock)
            best = min(a, c) / min(b, d)
            print(f"  compiled  neuraloperator {c:7.1f} ms   nwidth {d:7.1f} ms   ratio {c / d:.2f}   best {best:.2f}")
        theirs, own = (memory(case, which, args.threads) for which in ("peer", "ours"))
        print(f"  memory of a step: neuraloperator {theirs:.0f} MiB, nwidth {own:.0f} MiB, {own / theirs:.2f}")


if __name__ == "__main__":
    main()
