"""The elastic block of 11 parameters from somebody else's file: intrusive against non-intrusive reduction.

usage: python benchmarks/elasticity_block.py [--intervals 36] [--train 100] [--test 100] [--rank 40]

P1 elements on a mesh of triangles whose inner nodes are displaced at random inside their blocks (36 intervals: 2738
unknowns), solutions for random parameters, all written as points, cells, mu, u to an .npz file that does not know its
problem; then `nwidth compare` on it. Printed: relative L2 errors on new parameters, rank, the floor of linear spaces of
that rank, and for the certified row its bounds and effectivities. Errors of a row are means over the two channels; the
last line is the error of the displacement as one field.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from nwidth.backends import Mesh
from nwidth.solvers import ElasticityBlock
from nwidth.solvers.meshes import make_mesh
from nwidth.solvers.reduced import CertifiedReducedBasis
from nwidth.training.report import load_report


def displaced(mesh: Mesh, intervals: int) -> Mesh:
    points = mesh.points.double().clone()
    inner = ((3 * points - (3 * points).round()).abs() > 1e-9).all(1)  # neither on the sides nor between blocks
    shift = torch.rand(points.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    points[inner] += 0.3 / intervals * shift[inner]
    return make_mesh(points.numpy(), mesh.cells.numpy())


def _number(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("intervals", 36), ("train", 100), ("test", 300), ("rank", 40)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    problem = ElasticityBlock(cells="simplices")
    mesh = displaced(problem.grid(options.intervals), options.intervals)
    data = problem.simulate(range(options.train + options.test), 0, mesh)
    print(f"{2 * len(mesh.points):,} unknowns, {options.train} snapshots, {options.test} new parameters")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "elastic.npz"
        np.savez(path, points=mesh.points.numpy(), cells=mesh.cells.numpy(), mu=data.mu.numpy(), u=data.u.numpy())
        command = [sys.executable, "-m", "nwidth.cli", "compare", f"data.path={path}", "problem=elasticity_block",
                   "surrogates=[mean,pod_rbf,pod_gp,certified_rb,reference]", "split=ordered",
                   f"split.test={options.test}", "split.val=0", "+options.certified_rb.method=pod",
                   f"+options.certified_rb.rank={options.rank}", "+options.certified_rb.coercivity=min_theta",
                   f"+options.pod_gp.rank={options.rank}", "+options.pod_gp.rtol=null", "+options.pod_gp.max_rank=null",
                   f"+options.pod_rbf.rank={options.rank}", "+options.pod_rbf.rtol=null", "threads=1",
                   f"hydra.run.dir={folder}/run"]  # fmt: skip
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
        report = load_report(f"{folder}/run")
    surrogate = CertifiedReducedBasis(method="pod", rank=options.rank, coercivity="min_theta", problem=problem)
    surrogate.fit(data[: options.train], None)
    left = surrogate.predict(data[options.train :].inputs()).mean - data.u[options.train :]
    weights = mesh.norm_weights()
    error = ((left.square() * weights).sum((1, 2)) / (data.u[options.train :].square() * weights).sum((1, 2))).sqrt()
    floor = report["n_width"]["unseen"]
    for row in report["rows"]:
        if row["split"] != "test":
            continue
        line = f"{row['surrogate']:14s} {row['rel_l2']['mean']:.2e}, worst {row['rel_l2']['max']:.2e}"
        if row["rank"] is not None:
            line += f", rank {row['rank']}, floor {floor[min(row['rank'], len(floor) - 1)]:.1e}"
        if row.get("bound"):  # null: infinite, where the bound exceeds the solution
            worst, most = (row[k]["max"] for k in ("bound", "effectivity"))
            line += f", bound {row['bound']['median']:.1e} in the median, {_number(worst)} at most; effectivity "
            line += f"{row['effectivity']['min']:.1f} at least, {row['effectivity']['median']:.1f}, {_number(most)}"
        print(line)
    print(
        f"certified_rb, the whole field: mean {error.mean():.2e}, median {error.median():.2e}, worst {error.max():.2e}"
    )


if __name__ == "__main__":
    main()
