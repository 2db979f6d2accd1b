"""Zero-shot change of resolution: an FNO trained on Darcy at 32 x 32, measured at 64 x 64 without retraining.

usage: python benchmarks/zero_shot.py [samples] [epochs]

Sample i is the same random function at both resolutions, so the two test sets hold the same problems. Prints both
errors and their ratio.
"""

import sys
import tempfile
from pathlib import Path

import torch
from configs import config
from nwidth.build import build
from nwidth.data.metrics import relative_l2
from nwidth.solvers import Darcy


def main(samples: int = 600, epochs: int = 30) -> None:
    torch.set_num_threads(1)
    problem = Darcy()
    coarse = problem.simulate(range(samples + 100), 0, problem.grid(32)).to(dtype=torch.float32)
    fine = problem.simulate(range(samples, samples + 50), 0, problem.grid(64)).to(dtype=torch.float32)
    fno = build(config("train", "surrogate=fno", f"training.epochs={epochs}")["surrogate"])
    with tempfile.TemporaryDirectory() as folder:
        log = fno.fit(coarse[:samples], coarse[samples + 50 :], seed=0, folder=Path(folder))
    errors = {}
    for data in (coarse[samples : samples + 50], fine):
        predicted = fno.predict(data.inputs()).mean
        errors[data.grid.shape[0]] = float(relative_l2(predicted.double(), data.u.double(), data.grid).mean())
    print(f"{samples} samples, {epochs} epochs, {log.selected['training_cpu_seconds']:.0f} CPU-seconds")
    print(
        f"error at 32: {errors[32]:.4f}, at 64: {errors[64]:.4f}, ratio {errors[64] / errors[32]:.2f} (asked below 1.5)"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
