"""Accuracy and speed of the conservation laws, Lorenz-96 and fractional diffusion, against exact and tight solutions.

usage: python benchmarks/accuracy_conservation.py [euler|shallow_water|lorenz96|fractional|speed|pictures] ...

Prints the tables of docs/problems/conservation_laws.md and docs/problems/fractional_and_chaotic.md, and draws their
pictures. Without arguments: all but the pictures. One thread.
"""

import math
import sys
import time
from pathlib import Path

import mpmath
import numpy as np
import torch
from nwidth.data import Dataset
from nwidth.solvers import (
    Euler,
    FractionalDiffusion,
    GaussianField,
    Lorenz96,
    Lorenz96TwoScale,
    RieszCollocation,
    ShallowWater,
    SmoothStates,
    dam_break,
    euler_riemann,
)
from scipy.integrate import solve_ivp

D = torch.float64
PAGES = Path(__file__).parents[1] / "docs" / "problems"
RIEMANN = {
    "Sod": ([1.0, 0.0, 1.0], [0.125, 0.0, 0.1], 0.2),
    "Lax": ([0.445, 0.698, 3.528], [0.5, 0.0, 0.571], 0.13),
    "123": ([1.0, -2.0, 0.4], [1.0, 2.0, 0.4], 0.15),
}


def row(name: str, errors: list[float], factor: float = 2.0) -> None:
    orders = [math.log(a / b) / math.log(factor) for a, b in zip(errors, errors[1:])]
    print(f"{name:38s} " + " ".join(f"{e:.2e}" for e in errors) + "   order " + " ".join(f"{o:.2f}" for o in orders))


def euler() -> None:
    print("Euler, relative L1 error of the density, 100 to 800 cells")
    for name, (left, right, t) in RIEMANN.items():
        wl, wr = torch.tensor(left, dtype=D), torch.tensor(right, dtype=D)
        for flux in ("rusanov", "hll", "hllc"):
            errors = []
            for n in (100, 200, 400, 800):
                problem = Euler(final_time=t, times=1, riemann=flux)
                x = problem.grid(n).coordinates()[0] - 0.5
                u0 = torch.where(x < 0, wl[:, None], wr[:, None])[None]
                u = problem.solve(Dataset(problem.grid(n), u0=u0)).u[0, 0]
                exact = euler_riemann(wl, wr, x / t)
                errors.append(float((u - exact)[0].abs().sum() / exact[0].abs().sum()))
            row(f"{name}, {flux}", errors)
    for limiter in ("minmod", "van_leer", "mc"):
        errors = []
        for n in (32, 64, 128, 256):
            problem = Euler(final_time=1.0, times=1, boundary="periodic", limiter=limiter)
            x, mean = problem.grid(n).coordinates()[0], n / math.pi * math.sin(math.pi / n)
            u0 = torch.stack([1 + 0.2 * mean * torch.sin(2 * math.pi * x), *torch.ones(2, n, dtype=D)])[None]
            u = problem.solve(Dataset(problem.grid(n), u0=u0)).u[0, 0]
            errors.append(float((u - u0[0])[0].abs().mean()))
        row(f"density wave, {limiter}, 32 to 256", errors)
    data = Euler().simulate(range(16), 0, Euler().grid(128))
    exact = Euler(refine=16).simulate(range(16), 0, Euler().grid(128)).u
    errors = [relative(data.u, exact)]
    for refine in (2, 4, 8):
        errors.append(relative(Euler(refine=refine).simulate(range(16), 0, Euler().grid(128)).u, exact))
    row("random data at 128, refine 1 to 8 vs 16", errors)


def shallow_water() -> None:
    print("Shallow water")
    for flux in ("rusanov", "hll", "hllc"):
        errors = []
        for n in (100, 200, 400, 800):
            problem = ShallowWater(ndim=1, times=1, riemann=flux)
            x = problem.grid(n).coordinates()[0]
            h = torch.where(x < 0, 2.0, 1.0).double()
            u = problem.solve(Dataset(problem.grid(n), u0=torch.stack([h, torch.zeros_like(h)])[None])).u[0, 0]
            exact = dam_break(2.0, 1.0, x)
            errors.append(float((u - exact)[0].abs().sum() / exact[0].abs().sum()))
        row(f"dam break, {flux}, L1 of the depth", errors)
    problem = ShallowWater(times=4)
    exact = ShallowWater(times=4, refine=8).simulate([0], 0, problem.grid(64)).u
    errors = [relative(ShallowWater(times=4, refine=r).simulate([0], 0, problem.grid(64)).u, exact) for r in (1, 2, 4)]
    row("radial dam break at 64, refine 1, 2, 4", errors)
    bottom = GaussianField(scale=2.0, tau=4.0, alpha=2.0, modes=6)
    level = SmoothStates(fields=[GaussianField(scale=0.0, mean=1.5), GaussianField(scale=0.0)])
    lake = ShallowWater(bottom=bottom, initial=level, times=1, final_time=5.0)
    data = lake.simulate(range(4), 0, lake.grid(32))
    change = (data.u[:, 0, :1] + data.a - math.exp(1.5)).abs().max()
    print(f"lake at rest after 5: level {float(change):.1e}, velocity {float(data.u[:, 0, 1:].abs().max()):.1e}")


def lorenz96() -> None:
    print("Lorenz-96, largest error against DOP853 with tolerance 1e-13, at times 1, 2, 4")
    for rtol in (1e-6, 1e-9, 1e-12):
        problem = Lorenz96(rtol=rtol, final_time=4.0, times=4)
        start = Lorenz96().sample([0], 0, problem.grid(40))
        u = problem.solve(start).u[0, :, 0].numpy()
        u0 = start.u0[0, 0].numpy()
        exact = solve_ivp(slope, (0, 4), u0, "DOP853", [1.0, 2.0, 3.0, 4.0], rtol=1e-13, atol=1e-13).y.T
        error = np.abs(u - exact).max(1)
        print(f"rtol {rtol:.0e}: " + " ".join(f"{error[i]:.1e}" for i in (0, 1, 3)))
    problem = Lorenz96(spinup=8.0, final_time=1.0, times=1, rtol=1e-8)
    grid = problem.grid(40)
    x = problem.sample(range(200), 0, grid).u0
    y = x + 1e-6 * torch.randn(x.shape, dtype=D, generator=torch.Generator().manual_seed(0))
    growth = []
    for _ in range(25):
        both = problem.solve(Dataset(grid, u0=torch.cat([x, y]))).u[:, 0]
        x, y = both.chunk(2)
        size = (y - x).norm(dim=-1, keepdim=True)
        growth.append(float(size.log().mean()) - math.log(1e-6))
        y = x + (y - x) * (1e-6 / size)
    print(f"largest Lyapunov exponent, K = 40, F = 8: {np.mean(growth[5:]):.3f} (published: about 1.68)")


def slope(_: float, x: np.ndarray) -> np.ndarray:
    return (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + 8.0


def fractional() -> None:
    print("B-spline collocation, u = (x - x^2)^8, relative maximum error on 32 to 256 intervals")
    x = torch.linspace(0, 1, 1777, dtype=D)
    u = (x * (1 - x)) ** 8
    for degree in (2, 3, 4, 5, 6):
        for alpha in (1.2, 1.5, 1.8):
            errors = []
            for n in (32, 64, 128, 256):
                operator = RieszCollocation(n, degree, alpha)
                c = operator.solve(power_forcing(operator.greville[1:-1], 8, alpha)[None])
                errors.append(float((operator.evaluate(c, x)[0] - u).abs().max() / u.max()))
            row(f"p = {degree}, alpha = {alpha}, due {degree + (2 if degree % 2 == 0 else 1) - alpha:.1f}", errors)
    print("Random forcings at 129 points, relative L2 error against 256 polynomials")
    grid = FractionalDiffusion().grid(129)
    for alpha in (1.2, 1.5, 1.8):
        exact = FractionalDiffusion(alpha=alpha, modes=256).simulate(range(8), 0, grid).u
        errors = [
            relative(FractionalDiffusion(alpha=alpha, modes=m).simulate(range(8), 0, grid).u, exact)
            for m in (32, 64, 128)
        ]
        row(f"jacobi, alpha = {alpha}, 32 to 128 modes", errors)
        for degree in (2, 3, 4):
            errors = [
                relative(
                    FractionalDiffusion(alpha=alpha, method="bspline", degree=degree, cells=n)
                    .simulate(range(8), 0, grid)
                    .u,
                    exact,
                )
                for n in (256, 1024, 4096)
            ]
            row(f"bspline, alpha = {alpha}, p = {degree}, 256 to 4096", errors, 4.0)


def power_forcing(x: torch.Tensor, m: int, alpha: float) -> torch.Tensor:
    """-d^alpha/d|x|^alpha of (x - x^2)^m, from the derivatives of powers, which cancel: 30 digits."""
    with mpmath.workdps(30):
        a = mpmath.mpf(alpha)
        factors = [
            (-1) ** k * mpmath.binomial(m, k) * mpmath.gamma(m + k + 1) / mpmath.gamma(m + k + 1 - a)
            for k in range(m + 1)
        ]
        scale = 2 * mpmath.cos(mpmath.pi * a / 2)

        def left(v: mpmath.mpf) -> mpmath.mpf:
            return v ** (m - a) * mpmath.fsum(c * v**k for k, c in enumerate(factors))

        points = [mpmath.mpf(v) for v in x.tolist()]
        return torch.tensor([float((left(v) + left(1 - v)) / scale) for v in points], dtype=D)


def relative(u: torch.Tensor, exact: torch.Tensor) -> float:
    return float((u - exact).norm() / exact.norm())


def clock(work) -> float:
    work()
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def speed() -> None:
    print("Speed: a batch against one sample at a time, in the same code")
    for name, problem, n, many in (
        ("Euler, 128 cells", Euler(times=1, final_time=0.05), 128, 128),
        ("shallow water, 32 x 32", ShallowWater(times=1, final_time=0.2), 32, 16),
        ("Lorenz-96, K = 40", Lorenz96(spinup=0.0, final_time=0.5, times=1), 40, 128),
        ("two-scale, K = 8, J = 10", Lorenz96TwoScale(spinup=0.0, final_time=0.1, times=1), 8, 64),
        ("fractional, 129 points, alpha 1.5", FractionalDiffusion(), 129, 64),
    ):
        grid = problem.grid(n)
        together = clock(lambda p=problem, g=grid, m=many: p.simulate(range(m), 0, g)) / many
        alone = clock(lambda p=problem, g=grid: [p.simulate([i], 0, g) for i in range(4)]) / 4
        print(f"{name:34s} {1e3 * together:8.2f} ms a sample, {alone / together:5.1f} times faster than alone")
    problem = Lorenz96(spinup=0.0, final_time=1.0, times=1, rtol=1e-9)
    start = problem.sample(range(128), 0, problem.grid(40))
    ours = clock(lambda: problem.solve(start)) / 128
    u0 = start.u0[:, 0].numpy()
    for method in ("RK45", "DOP853"):
        peer = clock(lambda m=method: [solve_ivp(slope, (0, 1), v, m, rtol=1e-9, atol=1e-9) for v in u0[:4]]) / 4
        print(f"Lorenz-96 to time 1 at rtol 1e-9: {peer / ours:.1f} times faster than scipy's {method} on one sample")
    operator = RieszCollocation(2048, 3, 1.5)
    matrix, c = operator.matrix(), torch.randn(8, operator.size, dtype=D)
    fast, dense = clock(lambda: operator.apply(c)), clock(lambda: c @ matrix.T)
    print(f"Riesz matrix, n = 2048, 8 vectors: FFT {dense / fast:.1f} times faster than the dense product")
    f = torch.ones(8, operator.size, dtype=D)
    fast, dense = clock(lambda: operator.solve(f)), clock(lambda: torch.linalg.solve(matrix, f.T))
    print(f"Riesz system, n = 2048, 8 right-hand sides: {dense / fast:.1f} times faster than LU")


def pictures() -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
    data = Euler(refine=4, times=4).simulate([3], 0, Euler().grid(256))
    for t, u in zip([0.0, *data.t.tolist()], [data.u0[0], *data.u[0]]):
        axes[0].plot(data.grid.coordinates()[0], u[0], label=f"t = {t:.2g}")
    axes[0].legend(frameon=False)
    axes[0].set_title("euler: density")
    water = ShallowWater(times=2)
    for axis, u, t in zip(axes[1:], *water_states(water)):
        axis.figure.colorbar(axis.imshow(u, extent=(-2.5, 2.5, -2.5, 2.5), origin="lower"), ax=axis)
        axis.set_title(f"shallow_water: depth, t = {t:g}")
    figure.savefig(PAGES / "conservation_laws.png", dpi=110)
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
    data = Lorenz96(final_time=10.0, times=200).simulate([0], 0, Lorenz96().grid(40))
    axes[0].imshow(data.u[0, :, 0].T, aspect="auto", origin="lower", extent=(0, 10, 0, 40), cmap="RdBu_r")
    axes[0].set(title="lorenz96: x", xlabel="t", ylabel="site")
    problem = Lorenz96TwoScale(final_time=2.0, times=200, spinup=2.0)
    data = problem.simulate([0], 0, problem.grid(8))
    axes[1].plot(data.t, data.u[0, :, 0, 0], label="x")
    axes[1].plot(data.t, data.u[0, :, 1, 0], label="y1")
    axes[1].legend(frameon=False)
    axes[1].set(title="lorenz96_two_scale: one site", xlabel="t")
    problem = FractionalDiffusion(alpha=[1.1, 1.9])
    data = problem.simulate(range(4), 0, problem.grid(257))
    for mu, u in zip(data.mu, data.u):
        axes[2].plot(data.grid.coordinates()[0], u[0], label=f"alpha = {float(mu):.2f}")
    axes[2].legend(frameon=False)
    axes[2].set_title("fractional_diffusion: u")
    figure.savefig(PAGES / "fractional_and_chaotic.png", dpi=110)


def water_states(problem: ShallowWater) -> tuple[torch.Tensor, list[float]]:
    data = problem.simulate([0], 0, problem.grid(128))
    return data.u[0, :, 0].mT, data.t.tolist()


PARTS = {f.__name__: f for f in (euler, shallow_water, lorenz96, fractional, speed, pictures)}

if __name__ == "__main__":
    torch.set_num_threads(1)
    unknown = [a for a in sys.argv[1:] if a not in PARTS]
    if unknown:
        raise SystemExit(f"unknown part {unknown[0]}: choose among {', '.join(PARTS)}")
    for part in sys.argv[1:] or [p for p in PARTS if p != "pictures"]:
        PARTS[part]()
