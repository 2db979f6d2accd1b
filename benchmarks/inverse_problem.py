"""Which coefficient made these solutions? An inverse problem from the package's own solver, and who answers it.

    python benchmarks/inverse_problem.py [--observe boundary|inside] [--loads 6] [--samples 300] [--epochs 15]

-div(a grad u_l) = f_l on the unit square, u_l = 0 on the lower side and no flux through the others; log a and
f_1 .. f_L are smooth random fields, new ones for every sample. Given are all f_l, and u_l with 1 % of noise: at all
points, or on the boundary alone (zero elsewhere). Wanted is a. The file has plain keys, so that

    nwidth compare data.path=FILE surrogates=[mean,linear,kernel,unet,fno,nio] +options.nio.network.group=2

reads it; this script runs that with equally many passes for each network.
"""

import argparse
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")

import h5py
import torch
from nwidth.solvers import Darcy, GaussianField, LogNormal
from nwidth.training.report import load_report

NAMES = ("mean", "linear", "kernel", "unet", "fno", "nio")


def observations(samples: int, loads: int, n: int, observe: str, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Channels (N, 2 L, n, n), f_l and what is seen of u_l in turn, and the coefficient (N, 1, n, n)."""
    problem = Darcy(
        points="nodal",
        sides=["neumann", "neumann", "dirichlet", "neumann"],
        a=LogNormal(field=GaussianField(scale=6.0, tau=3.0, alpha=2.0, modes=6)),
        forcing=GaussianField(scale=50.0, tau=5.0, alpha=2.5, modes=8),
    )
    inputs = problem.sample(range(samples * loads), seed, problem.grid(n))
    a = inputs.a.unflatten(0, (samples, loads)).clone()
    a[:, :, 0] = a[:, :1, 0]  # one coefficient for all loads of a sample
    data = problem.solve(replace(inputs, a=a.flatten(0, 1)))
    f, u = (v.unflatten(0, (samples, loads)) for v in (data.a[:, 1], data.u[:, 0]))
    noise = torch.randn(u.shape, generator=torch.Generator().manual_seed(seed), dtype=u.dtype)
    seen = u + 0.01 * u.flatten(1).std(1).view(-1, 1, 1, 1) * noise
    if observe == "boundary":
        seen[..., 1:-1, 1:-1] = 0
    return torch.stack([f, seen], 2).flatten(1, 2), a[:, 0, :1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observe", choices=["boundary", "inside"], default="boundary")
    for name, default in (("loads", 6), ("samples", 300), ("resolution", 24), ("epochs", 15)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "inverse.h5"
        a, u = observations(args.samples, args.loads, args.resolution, args.observe)
        with h5py.File(path, "w") as file:
            file["a"], file["u"] = a.float().numpy(), u.float().numpy()
        command = [
            sys.executable, "-m", "nwidth.cli", "compare", f"data.path={path}", "data.kind=nodal", "threads=1",
            "data.axes.a=ncxy", "data.axes.u=ncxy", f"surrogates=[{','.join(NAMES)}]",
            f"hydra.run.dir={folder}/report", f"training.epochs={args.epochs}", "training.batch_size=10",
            "training.progress=false", "training.tensorboard=false", "+options.nio.network.group=2",
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        summary = load_report(Path(folder) / "report")["summary"]
    print(f"{args.observe}, {args.loads} loads: row, test error, CPU-seconds of the fit")
    for row in summary:
        if row["split"] == "test":
            print(f"{row['surrogate']:8s} {row['rel_l2']['mean']:.3f} {row['fit_cpu_seconds']:6.0f}")


if __name__ == "__main__":
    main()
