"""Elliptic problems: iterations, speed against sparse LU and transform-preconditioned CG, and accuracy of the data.

    python benchmarks/accuracy_elliptic.py [--parts iterations,speed,accuracy,generation,file,picture] [--samples 8]
        [--file shared/realdata/neuralop/darcy_train_16.pt] [--out docs/problems/elliptic.png]

One thread. ``speed`` measures all solvers in one run, CPU seconds a sample; LU is scipy's SuperLU, one sample after the
other (``solver=direct``), and ``cg`` the fast sine transform. ``accuracy`` compares stored grids with solutions four
times as fine. ``file`` re-solves neuraloperator's 16 x 16 file with fitted values of a and f. ``picture`` draws one.
"""

import argparse
import os
import time
from dataclasses import replace
from importlib.resources import files

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from nwidth.build import build
from nwidth.data import Dataset
from nwidth.solvers import (
    Darcy,
    GaussianField,
    Helmholtz,
    LogNormal,
    MaternField,
    Multigrid,
    Poisson,
    TwoPhase,
    conjugate_gradients,
)
from nwidth.solvers.stencils import samples_first, samples_last
from omegaconf import OmegaConf


def pixels(contrast: float, n: int) -> TwoPhase:
    """Two phases whose pattern is as fine as the grid."""
    return TwoPhase(field=GaussianField(tau=20.0, alpha=1.6, modes=n - 1), high=contrast, low=1.0)


def media(n: int) -> dict:
    return {
        "log-normal, smooth": LogNormal(),
        "log-normal, Matern 1/2, std 2": LogNormal(field=MaternField(std=2.0, length=0.1, nu=0.5, modes=n - 1)),
        "log-normal, Matern 1/2, std 4": LogNormal(field=MaternField(std=4.0, length=0.1, nu=0.5, modes=n - 1)),
        "two-phase 12/3": TwoPhase(),
        "two-phase 1e2": TwoPhase(high=1e2, low=1.0),
        "two-phase 1e4": TwoPhase(high=1e4, low=1.0),
        "two-phase 1e6": TwoPhase(high=1e6, low=1.0),
        "pixels 1e2": pixels(1e2, n),
        "pixels 1e4": pixels(1e4, n),
    }


def iterations(samples: int) -> None:
    sizes = (32, 64, 128, 256)
    print(f"multigrid-CG iterations to 1e-10, worst of {samples} samples, at n =", *sizes)
    for name in media(2):
        counts = []
        for n in sizes:
            problem = Darcy(a=media(n)[name])
            grid = problem.grid(n)
            inputs = problem.sample(range(samples), 0, grid)
            cycle = Multigrid(problem.couplings(inputs), grid.periodic, [x.spacing for x in grid.axes])
            f = samples_first(samples_last(problem.source(inputs).expand(samples, 1, n, n)))

            def apply(u, cycle=cycle):
                return samples_first(cycle.stencil.apply(samples_last(u)))

            counts.append(int(conjugate_gradients(apply, f, cycle, 1e-10, 300)[2].max()))
        print(f"  {name:32s}", *(f"{c:4d}" for c in counts), flush=True)


def seconds(problem: Darcy, inputs: Dataset) -> float:
    start = time.process_time()
    problem.solve(inputs)
    return (time.process_time() - start) / len(inputs)


def speed(samples: int) -> None:
    print("batches as large as in generation; LU on 4 of the samples")
    print("CPU ms a sample: multigrid, LU, transform-CG; ratios to multigrid")
    for name in ("log-normal, smooth", "two-phase 12/3", "two-phase 1e4"):
        for n in (64, 128, 256, 421):
            problem = Darcy(a=media(n)[name], solver="multigrid", points="nodal", iterations=3000)
            count = max(8, 2**17 // n**2)
            inputs = problem.sample(range(count), 0, problem.grid(n))
            problem.solve(inputs[:1])
            ours = seconds(problem, inputs)
            lu = seconds(replace(problem, solver="direct"), inputs[:4])
            slow = name == "two-phase 1e4" or n > 256
            cg = float("nan") if slow else seconds(replace(problem, solver="cg"), inputs)
            print(
                f"  {name:20s} {n:4d}  {1e3 * ours:8.1f} {1e3 * lu:8.1f} {1e3 * cg:8.1f}"
                f"   {lu / ours:6.1f} {cg / ours:6.1f}",
                flush=True,
            )
    problem = Darcy(ndim=3, solver="multigrid")
    inputs = problem.sample(range(4), 0, problem.grid(24))
    ours, lu = seconds(problem, inputs), seconds(replace(problem, solver="direct"), inputs)
    print(f"  3D 24^3  {1e3 * ours:8.1f} {1e3 * lu:8.1f}   {lu / ours:6.1f}")


def packaged(name: str):
    return build(OmegaConf.create((files("nwidth.conf") / "problem" / f"{name}.yaml").read_text()))


def relative(u: torch.Tensor, v: torch.Tensor) -> float:
    return float(((u - v).flatten(1).norm(dim=1) / v.flatten(1).norm(dim=1)).mean())


def accuracy(samples: int) -> None:
    print("mean relative L2 difference to the solution on 4 times as many intervals")
    cases = [
        ("darcy, cells", packaged("darcy"), 64, 3),
        ("darcy, nodes", replace(packaged("darcy"), points="nodal"), 65, 4),
        ("darcy_two_phase (arithmetic)", packaged("darcy_two_phase"), 85, 4),
        ("darcy_two_phase (harmonic)", replace(packaged("darcy_two_phase"), faces="harmonic"), 85, 4),
        ("darcy_two_phase (arithmetic)", packaged("darcy_two_phase"), 211, 4),
        ("darcy_rough, refine=1", replace(packaged("darcy_rough"), refine=1), 128, 4),
        ("darcy_rough", packaged("darcy_rough"), 128, 4),
        ("darcy_multiscale, refine=1", replace(packaged("darcy_multiscale"), refine=1), 128, 8),
        ("darcy_multiscale", packaged("darcy_multiscale"), 128, 2),
    ]
    for name, problem, n, finer in cases:
        grid = problem.grid(n)
        u = problem.simulate(range(samples), 0, grid).u
        v = replace(problem, refine=problem.refine * finer).simulate(range(samples), 0, grid).u
        print(f"  {name:32s} {n:4d}  {relative(u, v):.1e}", flush=True)
    for degree in (2, 4, 5):
        problem = Helmholtz(degree=degree)
        u = problem.simulate(range(samples), 0, problem.grid(101)).u
        fine = Helmholtz(degree=8).simulate(range(samples), 0, Helmholtz(degree=8).grid(401)).u[..., ::4, ::4]
        print(f"  helmholtz, degree {degree:<14d} 101  {relative(u, fine):.1e}", flush=True)
    problem = Poisson()
    u, fine = (problem.simulate(range(samples), 0, problem.grid(n)).u for n in (128, 512))
    print(f"  {'poisson, periodic':32s}  128  {relative(u, fine[..., ::4, ::4]):.1e}")
    problem = Poisson(sides="dirichlet", points="chebyshev")
    u, fine = (problem.simulate(range(samples), 0, problem.grid(n)).u for n in (33, 65))
    print(f"  {'poisson, chebyshev':32s}   33  {relative(u, fine[..., ::2, ::2]):.1e}")


def generation(samples: int) -> None:
    print("CPU seconds for 1000 samples, from fewer")
    cases = [
        ("darcy", 64, 256),
        ("darcy_two_phase", 64, 256),
        ("darcy_two_phase", 421, 8),
        ("darcy_rough", 64, 64),
        ("darcy_rough", 256, 8),
        ("darcy_multiscale", 64, 64),
        ("darcy_multiscale", 256, 2),
        ("poisson", 64, 256),
        ("helmholtz", 51, 16),
        ("helmholtz", 101, 8),
    ]
    for name, n, count in cases:
        problem = packaged(name)
        problem = replace(problem, omega=500.0) if name == "helmholtz" and n < 101 else problem
        grid = problem.grid(n)
        start = time.process_time()
        problem.simulate(range(count), 0, grid)
        print(f"  {name:20s} {n:4d}  {1e3 * (time.process_time() - start) / count:8.1f}", flush=True)


def file(path: str) -> None:
    data = torch.load(path, weights_only=True)
    phase, u = (data[k][:, None].double() for k in ("x", "y"))
    phase = torch.cat([phase, phase[..., -1:, :]], -2)
    phase = torch.cat([phase, phase[..., -1:]], -1)
    for faces in ("harmonic", "arithmetic"):
        problem = Darcy(points="nodal", faces=faces)
        for ratio in (17.5, 18.0, 18.5, 19.0):
            a = torch.where(phase > 0, 1.0, 1 / ratio).double()
            v = problem.solve(Dataset(problem.grid(17), a=a)).u[..., :16, :16]
            scale = float((u * v).sum() / (v * v).sum())
            print(f"  {faces:10s} ratio {ratio}: f/a {scale:.3f}, mean relative L2 {relative(scale * v, u):.4f}")


def picture(path: str) -> None:
    """One sample of each packaged problem: what it reads, and its solution."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cases = [
        ("darcy", 128),
        ("darcy_two_phase", 141),
        ("darcy_rough", 129),
        ("darcy_multiscale", 129),
        ("poisson", 64),
        ("helmholtz", 101),
    ]
    figure, axes = plt.subplots(2, len(cases), figsize=(2 * len(cases), 4.2), constrained_layout=True)
    for column, (name, n) in zip(axes.T, cases):
        problem = packaged(name)
        data = problem.simulate([1], 0, problem.grid(n))
        a = data.a[0, 0].log10() if name == "darcy_multiscale" else data.a[0, 0]
        for ax, field, cmap in zip(column, (a, data.u[0, 0]), ("Greys", "viridis")):
            ax.imshow(field.T, origin="lower", cmap=cmap)
            ax.set_xticks([])
            ax.set_yticks([])
        column[0].set_title(name, fontsize=9)
    axes[0, 0].set_ylabel("input")
    axes[1, 0].set_ylabel("u")
    figure.savefig(path, dpi=80)
    print(f"  wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="iterations,speed,accuracy,generation")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--file", default="shared/realdata/neuralop/darcy_train_16.pt")
    parser.add_argument("--out", default="docs/problems/elliptic.png")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for part in options.parts.split(","):
        if part == "file":
            file(options.file)
        elif part == "picture":
            picture(options.out)
        else:
            {"iterations": iterations, "speed": speed, "accuracy": accuracy, "generation": generation}[part](
                options.samples
            )


if __name__ == "__main__":
    main()
