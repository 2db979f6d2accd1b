"""Accuracy of Navier-Stokes and of the diffusion-reaction systems, against exact solutions and finer runs.

    python benchmarks/accuracy_flow.py [--cases taylor_green,navier_stokes_1e-3,...] [--slow] [--n 1]

Prints for each case the relative L2 error over all stored times (largest over the samples) with the default
tolerances, what it is measured against, and the CPU seconds a sample. "finer" is the same problem with a hundredth of
the tolerance and half the time step. --slow adds the cases that take minutes; --picture draws the samples of
docs/problems/flow_and_reaction.png.
"""

import argparse
import math
import os
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from nwidth.data import Dataset
from nwidth.solvers import FisherKPP, FitzHughNagumo, GrayScott, NavierStokes, PowerLawField

TURN = 2 * math.pi


def taylor_green():
    problem = NavierStokes(nu=0.01, hi=TURN, forcing="none", final_time=10.0, times=5, mean_flow=(0.5, 0.25))
    x, y = problem.grid(16).coordinates()
    exact = torch.stack(
        [
            2 * torch.cos(x - 0.5 * t) * torch.cos(y - 0.25 * t) * math.exp(-0.02 * t)
            for t in (0.0, *problem.stored_times().tolist())
        ]
    )
    return problem, Dataset(problem.grid(16), u0=exact[:1, None]), exact[None, 1:, None]


def fisher_wave():
    nu, rho = 1.0, 1.0
    problem = FisherKPP(nu=nu, rho=rho, lo=-80.0, hi=80.0, boundary="neumann", final_time=10.0, times=5)
    x = problem.grid(512).coordinates()[0]
    speed, width = 5 * math.sqrt(rho * nu / 6), math.sqrt(6 * nu / rho)
    exact = torch.stack(
        [torch.sigmoid(-(x + 20 - speed * t) / width) ** 2 for t in (0.0, *problem.stored_times().tolist())]
    )
    return problem, Dataset(problem.grid(512), u0=exact[:1, None]), exact[None, 1:, None]


CASES = {
    "taylor_green": taylor_green,
    "fisher_wave": fisher_wave,
    "fisher_kpp": lambda: (FisherKPP(), 64, None),
    "navier_stokes_1e-3": lambda: (NavierStokes(nu=1e-3, final_time=50.0, times=50), 64, None),
    "kolmogorov_flow": lambda: (
        NavierStokes(
            nu=2e-2,
            hi=TURN,
            forcing="kolmogorov",
            amplitude=1.0,
            wave_number=4,
            drag=0.1,
            final_time=4.0,
            times=4,
            initial=PowerLawField(std=2.0, slope=3.0, low=2.0, modes=16),
        ),
        64,
        None,
    ),
    "fitzhugh_nagumo_1d": lambda: (FitzHughNagumo(ndim=1, times=20), 128, None),
    "fitzhugh_nagumo": lambda: (FitzHughNagumo(times=5), 128, None),
    "gray_scott_1d": lambda: (GrayScott(ndim=1), 128, None),
    "gray_scott": lambda: (GrayScott(final_time=200.0, times=4), 128, None),
}
SLOW = {
    "navier_stokes_1e-4": lambda: (NavierStokes(nu=1e-4, final_time=30.0, times=30), 64, None),
    "navier_stokes_1e-5": lambda: (NavierStokes(nu=1e-5, final_time=20.0, times=20), 64, None),
}


def picture() -> None:
    """docs/problems/flow_and_reaction.png"""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = ("navier_stokes_1e-3", "navier_stokes_1e-4", "kolmogorov_flow", "fitzhugh_nagumo", "gray_scott")
    figure, axes = plt.subplots(2, len(names), figsize=(2.3 * len(names), 4.8), layout="constrained")
    for column, name in zip(axes.T, names):
        problem = replace({**CASES, **SLOW}[name]()[0], tolerance=1e-3, times=1)
        if name == "gray_scott":
            problem = replace(problem, final_time=3000.0)
        data = problem.simulate([1], 0, problem.grid(128))
        for ax, values in zip(column, (data.u0[0, -1], data.u[0, 0, -1])):
            ax.imshow(values.T, origin="lower", cmap="RdBu_r")
            ax.set_xticks([])
            ax.set_yticks([])
        column[0].set_title(name.replace("_1", ", nu = 1"), fontsize=9)
        column[1].set_xlabel(f"{'v' if data.u.shape[2] == 2 else 'w'} at t = {problem.final_time:g}", fontsize=9)
    figure.savefig(Path(__file__).parent.parent / "docs" / "problems" / "flow_and_reaction.png", dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases")
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--n", type=int, default=1)
    parser.add_argument("--picture", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.picture:
        return picture()
    cases = {**CASES, **(SLOW if args.slow or args.cases else {})}
    print(f"{'case':20} {'against':8}   error   CPU s a sample")
    for name in args.cases.split(",") if args.cases else cases:
        problem, inputs, exact = cases[name]()
        start = time.process_time()
        if exact is None:
            found = problem.simulate(range(args.n), 0, problem.grid(inputs)).u
        else:
            found = problem.solve(inputs).u
        spent = (time.process_time() - start) / len(found)
        if exact is None:
            finer = replace(problem, tolerance=problem.tolerance / 100, cfl=problem.cfl / 2)
            wanted = finer.simulate(range(args.n), 0, problem.grid(inputs)).u
        else:
            wanted = exact
        error = (found - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)
        against = "finer" if exact is None else "exact"
        print(f"{name:20} {against:8} {float(error.max()):.0e} {spent:12.2f}", flush=True)


if __name__ == "__main__":
    main()
