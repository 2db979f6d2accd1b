"""The Poisson equation learned without solutions: spectral loss against a pointwise loss, at equal processor time.

    python benchmarks/spectral_loss.py [--seconds 80] [--sides periodic|dirichlet]

-Lap u = f on the unit square, f a Matern field (length .2), new ones in every step; selection on 20 solved samples,
relative L2 error on 40 others, 128 x 128 points. Each row trains for as many steps as ``--seconds`` of processor time
hold: NSM on its 31 x 31 coefficients, and FNOs of the same width and as many modes on a grid, with differences of
second order.
"""

import argparse
import os
import time
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from nwidth.data.metrics import relative_l2
from nwidth.operators import FNO, NSM
from nwidth.solvers import Poisson
from nwidth.training import Cosine, PointwiseLoss, SelfSupervised, SpectralLoss, TrainingSettings

MODES, WIDTH = 31, 32


def rows(sides: str):
    """Name, network, loss and problem."""
    points = "nodal" if sides == "periodic" else "chebyshev"
    spectral = Poisson(sides=sides, points=points)
    discrete = Poisson(sides=sides, points="nodal", scheme="difference")
    fno = partial(FNO, modes=MODES, width=WIDTH, layers=4, activation="tanh")
    yield "NSM, spectral loss", partial(NSM, modes=MODES, width=WIDTH, depth=4), SpectralLoss(MODES), spectral
    for n in (64, 128):
        yield f"FNO, pointwise loss on {n} x {n}", fno, PointwiseLoss(n), discrete


def surrogate(network, loss, problem, steps: int) -> SelfSupervised:
    settings = TrainingSettings(
        steps=steps, batch_size=16, val_every=max(1, steps // 8), progress=False, tensorboard=False, device="cpu"
    )
    return SelfSupervised(network, partial(torch.optim.Adam, lr=3e-3), loss, Cosine(), settings, problem)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=80.0)
    parser.add_argument("--sides", choices=["periodic", "dirichlet"], default="periodic")
    args = parser.parse_args()
    torch.set_num_threads(1)
    problem = Poisson(sides=args.sides, points="nodal" if args.sides == "periodic" else "chebyshev")
    n = 128 if args.sides == "periodic" else 65
    data = problem.simulate(range(76), seed=1, grid=problem.grid(n)).to(dtype=torch.float32)
    train, val, test = data[:16], data[16:36], data[36:]  # of the training samples only the number is read
    print("row                                 steps   CPU s   error [%]")
    for name, network, loss, equation in rows(args.sides):
        surrogate(network, loss, equation, 1).fit(train, None)
        start, few = time.process_time(), 3
        surrogate(network, loss, equation, few).fit(train, None)
        steps = max(8, int(args.seconds * few / (time.process_time() - start)))
        s = surrogate(network, loss, equation, steps)
        log = s.fit(train, val, seed=0)
        error = relative_l2(s.predict(test.inputs()).mean.double(), test.u.double(), test.grid).mean()
        used = log.selected["training_cpu_seconds"]
        print(f"{name:34s} {steps:6d} {used:7.0f} {100 * float(error):11.2f}", flush=True)


if __name__ == "__main__":
    main()
