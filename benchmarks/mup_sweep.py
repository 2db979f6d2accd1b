"""Does a learning rate tuned on a small FNO hold at 4 times the width and modes, with and without scaling=mup?

usage: python benchmarks/mup_sweep.py [STEPS] [SEEDS]

Burgers, 256 training and 128 validation samples at 64 points, u at one time, Adam with a linear decay. Two networks
(width 8, 8 modes; width 32, 32 modes), rates that differ by factors of 2, the same steps and batches. Prints the mean
validation error over seeds and, for each scaling, the rate of the least error of either network, their ratio, and what
the large network loses at the small one's rate. A ratio within a factor of 2 is what the scaling is for. One thread.
"""

import sys
from functools import partial

import torch
from nwidth.operators import FNO
from nwidth.solvers import Burgers
from nwidth.training import RelativeL2
from nwidth.training.optimizers import make_optimizer

RATES = [2.0**k for k in range(-10, 0)]
SIZES = {"small": {"width": 8, "modes": 8}, "large": {"width": 32, "modes": 32}}
BATCH, TRAIN = 16, 256


def error(x, u, grid, scaling: str, size: dict, rate: float, steps: int, seed: int) -> float:
    """Relative L2 error on the validation samples; 1 (predicting zero) where the training did worse or diverged."""
    torch.manual_seed(seed)
    net, loss = FNO(1, 1, grid, layers=3, init_scale=1.0, scaling=scaling, **size), RelativeL2()
    optimizer = make_optimizer(partial(torch.optim.Adam, lr=rate), net)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for _ in range(steps):
        some = torch.randint(TRAIN, (BATCH,))
        optimizer.zero_grad()
        loss(net(x[some]), u[some], grid).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        found = float(loss(net(x[TRAIN:]), u[TRAIN:], grid))
    return min(found, 1.0) if found == found else 1.0


def main(steps: int = 300, seeds: int = 2) -> None:
    torch.set_num_threads(1)
    problem = Burgers(nu=0.01, times=1, final_time=1.0)
    data = problem.simulate(range(TRAIN + 128), 0, problem.grid(64)).to(dtype=torch.float32)
    scale = data.u0.std()
    x, u = data.u0 / scale, data.u[:, 0] / scale
    print(f"{'':14s}" + " ".join(f"{r:8.1e}" for r in RATES))
    for scaling in ("none", "mup"):
        best = {}
        for name, size in SIZES.items():
            means = []
            for rate in RATES:
                means.append(sum(error(x, u, data.grid, scaling, size, rate, steps, s) for s in range(seeds)) / seeds)
            best[name] = RATES[means.index(min(means))]
            at_small = means[RATES.index(best["small"])]
            print(f"{scaling:5s} {name:8s}" + " ".join(f"{m:8.4f}" for m in means), flush=True)
        print(
            f"scaling={scaling}: best rate {best['small']:.1e} small, {best['large']:.1e} large, ratio "
            f"{best['small'] / best['large']:g}; at the small network's rate the large one has "
            f"{at_small / min(means):.2f} times its least error",
            flush=True,
        )


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:3]))
