"""Generation in batches against one sample at a time, in the same code, one thread.

    python benchmarks/generate_batched.py [--problems burgers,darcy,...] [--n 16]

For each problem: CPU seconds to sample and solve n inputs in one call and in n calls, the ratio, and the largest
relative difference of a sample's solution between the two.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from nwidth import solvers

# problem, resolution, samples as a multiple of --n
PROBLEMS = {
    "burgers": (lambda: solvers.Burgers(nu=0.05, times=4), 64, 4),
    "burgers_sharp": (lambda: solvers.Burgers(nu=0.005, times=4), 128, 2),
    "kuramoto_sivashinsky": (lambda: solvers.KuramotoSivashinsky(final_time=5.0, times=4), 64, 4),
    "kdv": (lambda: solvers.KdV(final_time=0.2, times=4), 64, 4),
    "allen_cahn": (lambda: solvers.AllenCahn(final_time=0.1, times=4), 64, 4),
    "navier_stokes": (lambda: solvers.NavierStokes(nu=1e-3, final_time=2.0, times=2, points=64), 64, 0.5),
    "fitzhugh_nagumo": (lambda: solvers.FitzHughNagumo(final_time=0.5, times=2, points=48), 48, 0.5),
    "gray_scott": (lambda: solvers.GrayScott(final_time=50.0, times=2, points=64), 64, 0.5),
    "fisher_kpp": (lambda: solvers.FisherKPP(times=4), 64, 4),
    "darcy": (lambda: solvers.Darcy(), 32, 1),
}


def case(name: str, samples: int) -> str:
    make, resolution, share = PROBLEMS[name]
    problem, n = make(), max(1, int(samples * share))
    grid = problem.grid(resolution)
    problem.simulate(range(2), 0, grid)  # plans and tables
    start = time.process_time()
    together = problem.simulate(range(n), 0, grid).u
    middle = time.process_time()
    alone = torch.cat([problem.simulate([i], 0, grid).u for i in range(n)])
    end = time.process_time()
    difference = float(((together - alone).flatten(1).norm(dim=1) / alone.flatten(1).norm(dim=1)).max())
    batch, single = middle - start, end - middle
    return f"{name:21} {n:4} {resolution:10} {batch:11.3f} {single:11.3f} {single / batch:7.1f}   {difference:.0e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--n", type=int, default=16)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'problem':21} {'n':>4} resolution   batch [s]  single [s]   ratio   differ by")
    for name in args.problems.split(","):
        print(case(name, args.n), flush=True)


if __name__ == "__main__":
    main()
