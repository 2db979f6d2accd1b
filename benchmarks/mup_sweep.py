"""Whether a learning rate tuned on a small FNO holds for one of 4 times the width and modes, with and without scaling=mup.

usage: python benchmarks/mup_sweep.py [STEPS] [SEEDS]

Burgers, 256 training and 64 validation samples at 64 points, u at one time, AdamW with a cosine schedule. Two networks
(width 8, 8 modes; width 32, 32 modes), rates that differ by factors of 2, the same steps and batches. Prints the mean
validation error over seeds and, for each scaling, the rate of the least error of either network and their ratio; a
ratio within a factor of 2 is what the scaling is for. One thread; about 10 minutes by default.
"""

import sys
from functools import partial

import torch
from nwidth.operators import FNO
from nwidth.solvers import Burgers
from nwidth.training import Cosine, NeuralSurrogate, TrainingSettings

RATES = [2.0**k for k in range(-13, -3)]
SIZES = {"small": {"width": 8, "modes": 8}, "large": {"width": 32, "modes": 32}}


def error(data, scaling: str, size: dict, rate: float, steps: int, seed: int) -> float:
    settings = TrainingSettings(
        steps=steps, batch_size=16, val_every=10**6, progress=False, tensorboard=False, device="cpu"
    )
    surrogate = NeuralSurrogate(
        partial(FNO, layers=3, init_scale=1.0, scaling=scaling, **size),
        partial(torch.optim.AdamW, lr=rate, weight_decay=0.0),
        schedule=Cosine(warmup=0.1),
        training=settings,
    )
    try:
        return surrogate.fit(data[:256], data[256:], seed=seed).history[-1]["val_rel_l2"]
    except ValueError:  # diverged
        return float("inf")


def main(steps: int = 300, seeds: int = 2) -> None:
    torch.set_num_threads(1)
    problem = Burgers(nu=0.01, times=1, final_time=1.0)
    data = problem.simulate(range(320), 0, problem.grid(64)).to(dtype=torch.float32)
    print(f"{'':14s}" + " ".join(f"{r:8.1e}" for r in RATES))
    for scaling in ("none", "mup"):
        best = {}
        for name, size in SIZES.items():
            means = []
            for rate in RATES:
                means.append(sum(error(data, scaling, size, rate, steps, s) for s in range(seeds)) / seeds)
            best[name] = RATES[means.index(min(means))]
            at_small = means[RATES.index(best["small"])]
            print(f"{scaling:5s} {name:8s}" + " ".join(f"{m:8.4f}" for m in means), flush=True)
        print(
            f"scaling={scaling}: best rate {best['small']:.1e} small, {best['large']:.1e} large, ratio "
            f"{best['small'] / best['large']:g}; at the small network's rate the large one has {at_small / min(means):.2f} "
            "times its least error",
            flush=True,
        )


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:3]))
