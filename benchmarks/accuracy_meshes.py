"""Accuracy of the problems on meshes: exact solutions, other people's files, finer meshes, orders of convergence.

usage: python benchmarks/accuracy_meshes.py [--picture FILE]

Prints the tables of docs/problems/meshes.md; --picture draws one sample of each problem. The files of others are read
from the folder that NWIDTH_REALDATA names, or ../shared/realdata beside the repository; rows are left out where they
are absent. One thread, half a minute.
"""

import argparse
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from nwidth.backends import Mesh
from nwidth.data import Dataset
from nwidth.solvers import ElasticityBlock, Graetz, Parabolic, ThermalBlock, ThermalInclusion

ROOT = Path(os.environ.get("NWIDTH_REALDATA", Path(__file__).parents[1] / ".." / "shared" / "realdata"))


def row(name: str, errors: list[float]) -> None:
    orders = [math.log2(a / b) for a, b in zip(errors, errors[1:])]
    print(f"{name:58} " + " ".join(f"{e:.1e}" for e in errors) + "  order " + " ".join(f"{o:.2f}" for o in orders))


def relative(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)


def files() -> None:
    folder = ROOT / "thermal_block"
    if folder.is_dir():
        points, cells, mu, u = (np.load(folder / f"{k}.npy") for k in ("coords", "triangles", "params", "snapshots"))
        compare("inclusion, smithers, 8 solutions", ThermalInclusion(), points, cells, mu, u)
    file = ROOT / "graetz" / "graetz_50.npz"
    if file.is_file():
        f = np.load(file)
        for velocity in ("interpolated", "exact"):
            values = (f["coords_reference"], f["triangles"], f["params"], f["snapshots"])
            compare(f"graetz, smithers, 50 solutions, {velocity} velocity", Graetz(velocity=velocity), *values)


def compare(name: str, problem, points: np.ndarray, cells: np.ndarray, mu: np.ndarray, u: np.ndarray) -> None:
    mesh = Mesh(torch.from_numpy(points.T.copy()), torch.from_numpy(cells.astype(np.int64)))
    errors = relative(problem.solve(Dataset(mesh, mu=torch.from_numpy(mu))).u, torch.from_numpy(u)[:, None])
    print(f"{name:58} mean {float(errors.mean()):.1e}, worst {float(errors.max()):.1e}")


def self_convergence(name: str, problem, sizes: list[int], samples: int = 3) -> None:
    """Against twice the finest mesh, at the points of the coarsest; every finer mesh has them."""
    mu = problem.sample(range(samples), 0, problem.grid(sizes[0])).mu
    coarse = problem.grid(sizes[0]).points

    def at(n: int) -> torch.Tensor:
        mesh = problem.grid(n)
        u = problem.solve(Dataset(mesh, mu=mu)).u
        near = torch.cdist(coarse, mesh.points, compute_mode="donot_use_mm_for_euclid_dist")
        assert float(near.amin(1).max()) < 1e-9
        return u[..., near.argmin(1)]

    exact = at(2 * sizes[-1])
    row(name, [float(relative(at(n), exact).mean()) for n in sizes])


def layers() -> None:
    problem = ElasticityBlock(blocks=[2, 1], unit_block=0, poisson=0.0, segments=[1])
    mesh = problem.grid(16)
    u = problem.solve(Dataset(mesh, mu=torch.tensor([[5.0, 0.8]], dtype=torch.float64))).u
    x = mesh.points[:, 0]
    exact = torch.stack([0.8 * (x.clamp(max=0.5) + (x - 0.5).clamp(min=0) / 5), 0 * x])[None]
    print(f"{'elasticity, two layers pulled straight (exact)':58} {float(relative(u, exact)):.1e}")


def methods() -> None:
    for name, problem, n in (("thermal block", ThermalBlock(), 64), ("elasticity block", ElasticityBlock(), 24)):
        system = problem.system(problem.grid(n))
        mu = problem.sample(range(20), 0, system.mesh).mu
        gap = relative(system.solve(mu, method="condensed"), system.solve(mu, method="direct"))
        print(f"{name + ', condensed against direct':58} worst {float(gap.max()):.1e}")


def in_time() -> None:
    block = ThermalBlock()
    system = block.system(block.grid(8))
    for scheme in ("implicit_euler", "crank_nicolson", "bdf2"):
        errors = []
        for steps in (20, 40, 80, 160):
            problem = Parabolic(steady=block, times=1, steps=steps, scheme=scheme, final_time=0.2)
            data = problem.simulate([0], 0, system.mesh)
            (a, f), mass = system.assemble(data.mu[0]), system.masses[0].toarray()
            steady = np.linalg.solve(a.toarray(), f)
            exact = steady - scipy.linalg.expm(-0.2 * np.linalg.solve(mass, a.toarray())) @ steady
            found = system.restrict(data.u[:, -1], data.mu)[0].numpy()
            errors.append(float(np.linalg.norm(found - exact) / np.linalg.norm(exact)))
        row(f"thermal block in time, {scheme}, 20 to 160 steps", errors)


def picture(file: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 4, figsize=(13, 2.9), layout="constrained", width_ratios=[1, 1, 1.9, 1.1])
    for ax, problem, n in zip(
        axes, (ThermalBlock(), ThermalInclusion(), Graetz(), ElasticityBlock()), (48, 32, 24, 24)
    ):
        data = problem.simulate([4], 0, problem.grid(n))
        mesh, u = data.grid, data.u[0].numpy()
        if isinstance(problem, Graetz):
            mesh = problem.deform(mesh, torch.tensor([2.0, 0.02]))
            u = problem.solve(replace(data, mu=torch.tensor([[2.0, 0.02]], dtype=torch.float64))).u[0].numpy()
        points = mesh.points.numpy()
        if isinstance(problem, ElasticityBlock):
            points = points + 0.15 / np.abs(u).max() * u.T
        shown = ax.tripcolor(*points.T, u[0], triangles=mesh.cells.numpy(), shading="gouraud", rasterized=True)
        fig.colorbar(shown, ax=ax, shrink=0.8)
        ax.set(aspect="equal", title=type(problem).__name__, xticks=[], yticks=[])
    fig.savefig(file, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.picture:
        picture(options.picture)
        return
    files()
    layers()
    methods()
    print("mean relative error of 3 samples at the points of the coarsest mesh, against twice the finest")
    self_convergence("thermal block 2 x 2, linear, n = 8 to 64", ThermalBlock(), [8, 16, 32, 64])
    self_convergence("thermal block 2 x 2, quadratic, n = 4 to 32", ThermalBlock(degree=2), [4, 8, 16, 32])
    self_convergence("graetz, linear, n = 8 to 32", Graetz(diffusion=[0.1, 10.0]), [8, 16, 32])
    self_convergence("elasticity block, linear, n = 6 to 48", ElasticityBlock(), [6, 12, 24, 48])
    in_time()


if __name__ == "__main__":
    main()
