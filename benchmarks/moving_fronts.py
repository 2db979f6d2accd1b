"""Fronts and shocks that move with a parameter: linear spaces, local ones, morphing, interpolation in the parameter.

usage: python benchmarks/moving_fronts.py [picture.png]

Mean and largest relative L2 error on held-out parameters, rank, floor and processor time of the fit, for a front in one
dimension, the shock of the Burgers equation by its mean speed, and a curved front in two dimensions.
"""

import sys
import time

import torch
from nwidth.backends import Grid
from nwidth.data import Dataset
from nwidth.data.metrics import relative_l2
from nwidth.gp import GPRegressor
from nwidth.solvers import Burgers
from nwidth.solvers.reduced import KNN, RBF, Interpolation, LocalPOD, MorphingPOD, PODRegression


def front(mu):
    grid = Grid.make((512,), "nodal")
    return Dataset(grid, u=torch.tanh((grid.coordinates() - mu) / 0.02)[:, None], mu=mu)


def burgers(mu):
    """u0 = 1 + mu + 0.5 sin(2 pi x), nu = 0.003, at t = 0.5: the shock travels at the mean speed."""
    problem = Burgers(nu=0.003, times=1, final_time=0.5)
    grid = problem.grid(256)
    u0 = 1 + mu[:, :, None] + 0.5 * torch.sin(2 * torch.pi * grid.coordinates())
    solved = problem.solve(Dataset(grid, u0=u0, t=torch.tensor([0.5], dtype=torch.float64)))
    return Dataset(grid, u=solved.solution[:, 0], mu=mu)


def curved(mu):
    grid = Grid.make((32, 32), "nodal")
    x, y = grid.coordinates()
    centre = mu[:, 0, None, None] + mu[:, 1, None, None] * torch.sin(torch.pi * y)
    return Dataset(grid, u=torch.tanh((x - centre) / 0.05)[:, None], mu=mu)


def draw(n, lo, hi, seed):
    u = torch.rand(n, len(lo), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.tensor(lo) + u * (torch.tensor(hi) - torch.tensor(lo))


def rows():
    for r in (1, 3, 5):
        yield f"POD+GP r={r}", PODRegression(GPRegressor(kernel="rbf"), rank=r)
    yield "local POD r<=5", LocalPOD(RBF(), KNN(), cells=[1, 2, 4], max_rank=5, min_samples=4)
    for r in (1, 3):
        yield f"morphing r={r}", MorphingPOD(GPRegressor(kernel="rbf"), rank=r)
    for method in ("nearest", "linear", "rbf"):
        yield f"parameter {method}", PODRegression(Interpolation([method]))


def main() -> None:
    cases = {
        "front": (front, 40, [0.25], [0.75], [0.27], [0.73]),
        "Burgers shock": (burgers, 40, [-0.3], [0.3], [-0.28], [0.28]),
        "curved front": (curved, 40, [0.3, -0.15], [0.7, 0.15], [0.32, -0.13], [0.68, 0.13]),
    }
    for name, (make, n, lo, hi, low, high) in cases.items():
        spaced = len(lo) == 1
        mu = torch.linspace(lo[0], hi[0], n, dtype=torch.float64)[:, None] if spaced else draw(n, lo, hi, 0)
        train, test = make(mu), make(draw(20, low, high, 1))
        for row, surrogate in rows():
            start = time.process_time()
            log = surrogate.fit(train, None)
            seconds = time.process_time() - start
            e = relative_l2(surrogate.predict(test.inputs()).mean, test.u, test.grid)
            print(f"{name:14s} {row:18s} mean {e.mean():.4f} max {e.max():.4f} rank {log.rank} fit {seconds:.2f} CPU-s")
    if len(sys.argv) > 1:
        picture(sys.argv[1])


def picture(path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    train = front(torch.linspace(0.25, 0.75, 40, dtype=torch.float64)[:, None])
    test = front(torch.tensor([[0.3337], [0.52], [0.6881]], dtype=torch.float64))
    x = train.grid.coordinates()[0]
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained", sharey=True)
    for ax, (name, surrogate) in zip(
        axes,
        {
            "POD + GP, 5 modes": PODRegression(GPRegressor(kernel="rbf"), rank=5),
            "morphing, 1 mode": MorphingPOD(GPRegressor(kernel="rbf"), rank=1),
        }.items(),
    ):
        surrogate.fit(train, None)
        p = surrogate.predict(test.inputs()).mean
        for i in range(3):
            ax.plot(x, test.u[i, 0], "k", lw=1)
            ax.plot(x, p[i, 0], "--", lw=1.5)
        ax.set(title=name, xlabel="x")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
