"""What docs/gp/neural_process.md says: -(kappa u')' = 1 with two parameters, and rivals on the same questions.

usage: python benchmarks/neural_process.py [two inverse picture rivals five plane]

Errors against quadrature of u' = (C - x) / kappa (in the plane, against the package's solver). One thread; processor
times are compared within a run. ``picture`` writes docs/gp/neural_process.png.
"""

import sys
import time
from functools import partial
from pathlib import Path

import torch
from nwidth import Axis, Grid
from nwidth.backends.resample import resample
from nwidth.data.metrics import relative_l2
from nwidth.gp import KernelRidge
from nwidth.gp.process import GridInvariantNet
from nwidth.operators import FNO
from nwidth.solvers import Darcy, GaussianField, LogNormal
from nwidth.solvers.reduced import PODRegression, ReducedBasis
from nwidth.training import OneCycle, PointwiseLoss, RandomGridProcess, SelfSupervised, TrainingSettings

torch.set_num_threads(1)
F64 = torch.float64
TESTS, NOISE = 500, 0.005


def law(modes, ndim=1):
    """log a = z_0 + sqrt(2) sum_k z_k cos(k pi x), k to ``modes`` on each axis."""
    field = GaussianField(scale=6.0, tau=3.0, alpha=2.0, modes=modes)
    return Darcy(ndim=ndim, points="nodal", a=LogNormal(field=field))


def settings(steps, batch):
    return TrainingSettings(steps=steps, batch_size=batch, progress=False, tensorboard=False, device="cpu")


def process(problem, steps=1500, batch=32, **options):
    s = RandomGridProcess(
        partial(GridInvariantNet), partial(torch.optim.Adam, lr=5e-3), OneCycle(), settings(steps, batch), **options
    )
    start = time.process_time()
    data = problem.sample(range(batch), 0, problem.grid(33))
    log = s.fit(problem.solve(data), None, seed=0)
    return s, time.process_time() - start, log


def fields(problem, points, seed=1):
    """The test inputs at the points of a line, increasing: their polynomials of degree 64 there."""
    smooth = Grid((Axis("chebyshev", 65, 0.0, 1.0),))
    there = Grid((Axis("listed", len(points), points=tuple(points.tolist())),))
    return resample(problem.sample(range(TESTS), seed, smooth).a, smooth, there)


def truth(problem, n=4001):
    """x, kappa and u by the trapezoidal rule."""
    x = torch.linspace(0, 1, n, dtype=F64)
    kappa = problem.sample(range(TESTS), 1, Grid.make((n,), "nodal")).a[:, 0]

    def integral(g):
        return torch.cat([torch.zeros(TESTS, 1, dtype=F64), torch.cumulative_trapezoid(g, x)], 1)

    one, first = integral(1 / kappa), integral(x / kappa)
    return x, kappa, first[:, -1:] / one[:, -1:] * one - first


def random_points(count, seed):
    return torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=F64).sort().values


def judged(s, problem):
    x, _, u = truth(problem)
    query, u, found = x[::40, None], u[:, ::40], []
    for seed, count in enumerate((30, 45, 60)):
        points = random_points(count, seed)
        found.append(s.at(points[:, None], fields(problem, points), query))
    mean, std = (torch.stack(v).double() for v in zip(*found))
    error = (mean - u).norm(dim=-1) / u.norm(dim=-1)
    changes = [float(((mean[i] - mean[j]).norm(dim=-1) / u.norm(dim=-1)).mean()) for i, j in ((0, 1), (0, 2), (1, 2))]
    inside = ((mean - u).abs() < 1.96 * std)[..., 1:-1].double().mean()
    return (
        f"error mean {error.mean():.2%}, median {error.median():.2%}, worst {error.max():.1%}; change between "
        f"3 random grids {max(changes):.3%}; 95 % intervals hold {inside:.1%}"
    )


def line(name, modes, **options):
    problem = law(modes)
    s, seconds, log = process(problem, **options)
    scale = log.selected["deviation_scale"]
    print(
        f"{name}: {judged(s, problem)}; deviations times {scale:.2f}; fit {seconds:.0f} processor seconds", flush=True
    )
    return s, seconds


def plane():
    problem = law(1, 2)
    s, seconds, _ = process(problem, steps=1500, batch=16, modes=8, points=17, context=(64, 160))
    data = problem.simulate(range(TESTS), 1, problem.grid(33))
    answer = s.predict(data.inputs())
    error = relative_l2(answer.mean.double(), data.u, data.grid)
    inside = ((answer.mean - data.u).abs() < 1.96 * answer.std)[..., 1:-1, 1:-1].double().mean()
    print(
        f"2D, four parameters: error mean {error.mean():.2%}, median {error.median():.2%}; 95 % intervals hold "
        f"{inside:.1%}; fit {seconds:.0f} processor seconds",
        flush=True,
    )


def rivals(ours):
    """The same questions on a grid of 65 points, after ``ours`` processor seconds of the process's fit."""
    problem = law(1)
    _, _, u = truth(problem, 6401)
    train = problem.simulate(range(240), 0, problem.grid(65))
    tests = problem.sample(range(TESTS), 1, problem.grid(65))
    rows = {
        "physics-informed FNO": SelfSupervised(
            partial(FNO, modes=16, width=24),
            partial(torch.optim.Adam, lr=3e-3),
            PointwiseLoss(64),
            OneCycle(),
            settings(600, 32),
        ),
        "kernel ridge, 240 solutions": PODRegression(KernelRidge()),
        "kernel ridge, 40 solutions": PODRegression(KernelRidge()),
        "reduced basis, 240 solutions": ReducedBasis(problem=problem),
    }
    for name, s in rows.items():
        part = train[200:] if " 40 " in name else train
        start = time.process_time()
        s.fit(part[:-20], part[-20:], seed=0)
        seconds = time.process_time() - start
        answer = s.predict(tests)
        gap = answer.mean.double()[:, 0] - u[:, ::100]
        error = gap.norm(dim=1) / u[:, ::100].norm(dim=1)
        said = ""
        if answer.std is not None:
            inside = (gap.abs() < 1.96 * answer.std.double()[:, 0])[:, 1:-1].double().mean()
            said = f"; 95 % intervals hold {inside:.1%}"
        print(
            f"{name}: error mean {error.mean():.3%}{said}; fit {seconds / ours:.2f} of the process's time", flush=True
        )


def inverse(s):
    problem = law(1)
    x, kappa, u = truth(problem)
    start = time.process_time()
    infer = s.inverse(partial(GridInvariantNet, nugget=1e-2), noise=NOISE, steps=1000)
    seconds = time.process_time() - start
    field = kappa[:, ::40].log()
    for count in (20, 60):
        at = (random_points(count, 7) * 4000).round().long().unique()
        y = u[:, at] + NOISE * torch.randn(TESTS, len(at), generator=torch.Generator().manual_seed(8), dtype=F64)
        mean, std = infer(x[at, None], y, x[::40, None])
        error = (mean - field).square().mean().sqrt() / field.std()
        inside = ((mean - field).abs() < 1.96 * std).double().mean()
        print(
            f"inverse from {len(at)} values with noise {NOISE / float(u.square().mean().sqrt()):.1%} of u: error of "
            f"log kappa {error:.1%} of its deviation; 95 % intervals hold {inside:.1%}; fit {seconds:.0f} processor "
            "seconds",
            flush=True,
        )
    return infer


def picture(s, infer):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    problem, sample = law(1), 4
    x, kappa, u = truth(problem)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    left.plot(x, kappa[sample], "k", lw=1)
    for seed, count in enumerate((8, 14, 30)):
        points = random_points(count, seed + 20)
        a = fields(problem, points)
        color = f"C{seed}"
        left.plot(points, a[sample, 0], "o", ms=4, color=color, label=f"{count} samples")
        mean, std = (v[sample] for v in s.at(points[:, None], a, x[::20, None]))
        middle.fill_between(x[::20], mean - 1.96 * std, mean + 1.96 * std, color=color, alpha=0.25, lw=0)
        middle.plot(x[::20], mean, color=color, lw=1)
    middle.plot(x, u[sample], "k:", lw=1.2, label="exact")
    left.set(title="kappa, seen at random points", xlabel="x")
    middle.set(title="u: mean and 95 % interval", xlabel="x")
    at = (random_points(25, 7) * 4000).round().long().unique()
    y = u[:, at] + NOISE * torch.randn(TESTS, len(at), generator=torch.Generator().manual_seed(8), dtype=F64)
    mean, std = (v[sample] for v in infer(x[at, None], y, x[::20, None]))
    right.fill_between(x[::20], (mean - 1.96 * std).exp(), (mean + 1.96 * std).exp(), color="C3", alpha=0.25, lw=0)
    right.plot(x[::20], mean.exp(), color="C3", lw=1, label=f"from {len(at)} noisy values of u")
    right.plot(x, kappa[sample], "k:", lw=1.2, label="exact")
    right.set(title="kappa, inferred", xlabel="x")
    for axes in (left, middle, right):
        axes.legend(frameon=False, fontsize=8)
    target = Path(__file__).parents[1] / "docs" / "gp" / "neural_process.png"
    figure.savefig(target, dpi=100)


if __name__ == "__main__":
    chosen = set(sys.argv[1:]) or {"two", "inverse", "picture", "rivals", "five", "plane"}
    if chosen & {"two", "inverse", "picture", "rivals"}:
        two, took = line("two parameters", 1)
    if chosen & {"inverse", "picture"}:
        inferred = inverse(two)
    if "picture" in chosen:
        picture(two, inferred)
    if "rivals" in chosen:
        rivals(took)
    if "five" in chosen:
        line("five parameters", 4)
    if "plane" in chosen:
        plane()
