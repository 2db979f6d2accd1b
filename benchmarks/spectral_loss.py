"""Equations learned without solutions: spectral loss against a pointwise loss, at equal processor time.

    python benchmarks/spectral_loss.py [--seconds 20] [--cases periodic,dirichlet,...] [--seeds 0] [--plain]

New inputs in every step, batches of 16; selection on 8 solved samples, relative L2 error on 24 others. Each row trains
for as many steps as ``--seconds`` of processor time hold, by the pace of a first short run: NSM with the spectral loss,
and FNOs of the same width and depth and as many modes with the residual at the points of grids, by differences of
second order. NSM trains at the rate 1e-2 of Adam, FNO at 3e-3. ``--plain`` leaves the FNOs out and adds NSM with the
weighted norm of the residual.
"""

import argparse
import os
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from nwidth.data.metrics import relative_l2
from nwidth.operators import FNO, NSM
from nwidth.solvers import FisherKPP, GaussianField, NavierStokes, Poisson
from nwidth.training import OneCycle, PointwiseLoss, SelfSupervised, SpectralLoss, TrainingSettings

FLOW = {"final_time": 1.0, "times": 4, "nu": 1e-2, "initial": GaussianField(scale=7**0.75, tau=7.0, alpha=2.5, modes=5)}
DEPTH = 2
CASES = {  # problem for the spectral loss, for differences, test points, modes and width, points of the pointwise loss
    "periodic": (Poisson(), Poisson(scheme="difference"), 64, 15, 16, (64, 128)),
    "dirichlet": (
        Poisson(sides="dirichlet", points="chebyshev"),
        Poisson(sides="dirichlet", scheme="difference"), 33, 16, 16, (64, 128),
    ),
    "fisher_kpp": (FisherKPP(), FisherKPP(), 64, (7, 25), 16, ((32, 64), (64, 128))),
    "navier_stokes": (NavierStokes(**FLOW), NavierStokes(**FLOW), 32, (5, 15, 15), 8, ((9, 32, 32), (9, 64, 64))),
}  # fmt: skip


def rows(case: str, plain: bool):
    """Name, network, loss, problem, rate."""
    spectral, discrete, _, modes, width, grids = CASES[case]
    nsm = partial(NSM, modes=modes, width=width, depth=DEPTH)
    yield "NSM, spectral loss", nsm, SpectralLoss(modes), spectral, 1e-2
    if plain:
        yield "NSM, spectral loss, h-1", nsm, SpectralLoss(modes, "h-1"), spectral, 1e-2
        return
    fno = partial(FNO, modes=modes, width=width, layers=DEPTH, activation="tanh")
    for points in grids:
        yield f"FNO, pointwise loss, {points}", fno, PointwiseLoss(points), discrete, 3e-3


def surrogate(network, loss, problem, rate: float, steps: int) -> SelfSupervised:
    settings = TrainingSettings(
        steps=steps, batch_size=16, val_every=max(1, steps // 5), progress=False, tensorboard=False, device="cpu"
    )
    return SelfSupervised(network, partial(torch.optim.Adam, lr=rate), loss, OneCycle(), settings, problem)


def steps_in(seconds: float, fit) -> int:
    """Steps in so much processor time, from a run ``fit(steps)`` that is long enough to tell."""
    few = 2
    while True:
        log = fit(few)
        used = log.selected["training_cpu_seconds"]
        if used > 0.05 * seconds or few > 100:
            return max(5, int(seconds * few / used))
        few *= 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--plain", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("case           row                                      steps  CPU s   error [%]")
    for case in args.cases.split(","):
        problem = CASES[case][0]
        data = problem.simulate(range(48), seed=1, grid=problem.grid(CASES[case][2])).to(dtype=torch.float32)
        train, val, test = data[:16], data[16:24], data[24:]  # of the training samples only the number is read
        for name, *row in rows(case, args.plain):
            errors, used = [], 0.0
            steps = steps_in(args.seconds, lambda few, row=row, train=train: surrogate(*row, few).fit(train, None))
            for seed in map(int, args.seeds.split(",")):
                s = surrogate(*row, steps)
                used += s.fit(train, val, seed=seed).selected["training_cpu_seconds"]
                p = s.predict(test.inputs()).mean.double()
                errors.append(100 * float(relative_l2(p, test.u.double(), test.grid).mean()))
            shown = " ".join(f"{e:.2f}" for e in errors)
            print(f"{case:14s} {name:40s} {steps:5d} {used / len(errors):6.1f}   {shown}", flush=True)


if __name__ == "__main__":
    main()
