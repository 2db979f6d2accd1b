"""How accurate the solvers of periodic problems are with their default settings.

usage: python benchmarks/accuracy_periodic.py [KIND ...]      (exact, reference, files: all three by default; picture)

One row a case: the problem, what its solution is compared with, the relative L2 error over all stored times, and the
seconds on one thread. ``exact``: closed solutions. ``reference``: the initial values of published data sets, compared
with a scheme of Kassam and Trefethen (2005) written in numpy, on 1024 points with small steps; "change" is by how much
that reference differs from itself with twice the step. ``files``: data made by others, where NWIDTH_REALDATA names the
folder that holds them. ``picture`` draws the samples of docs/problems/periodic.png.
"""

import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import scipy.io
import scipy.special
import torch
from nwidth.backends import Grid
from nwidth.data import Dataset
from nwidth.solvers import Advection, AllenCahn, Burgers, Heat, KdV, KuramotoSivashinsky, Schroedinger, Wave


def relative(u, v):
    return float((u - v).abs().square().sum().sqrt() / v.abs().square().sum().sqrt())


def show(name, reference, problem, inputs, exact):
    began = time.perf_counter()
    u = problem.solve(inputs).u[0, :, 0]
    seconds = time.perf_counter() - began
    print(f"| {name} | {reference} | {relative(u, exact):.1e} | {seconds:.1f} |", flush=True)


def exact():
    def rows(problem, n, solution):
        x = problem.grid(n).coordinates()[0]
        states = [torch.as_tensor(solution(x, t)) for t in (0.0, *problem.stored_times().tolist())]
        states = [s if s.ndim > 1 else s[None] for s in states]
        return Dataset(problem.grid(n), u0=states[0][None]), torch.stack([s[0] for s in states[1:]])

    def wave(f):
        return lambda x, t: f(2 * math.pi * x, t)

    problem = Advection(cx=0.37)
    data = rows(problem, 64, wave(lambda x, t: torch.exp(torch.sin(x - 2 * math.pi * 0.37 * t))))
    show("Advection c=0.37", "exp(sin(2 pi (x - c t)))", problem, *data)
    problem = Heat(kappa=0.01)
    decay = [math.exp(-0.01 * (2 * math.pi * k) ** 2) for k in (1, 5)]
    data = rows(problem, 64, wave(lambda x, t: decay[0] ** t * torch.sin(x) + decay[1] ** t * torch.cos(5 * x)))
    show("Heat kappa=0.01", "two decaying modes", problem, *data)
    problem = Wave(final_time=10.3)
    omega = 6 * math.pi

    def travelling(x, t):
        angle = 6 * math.pi * x - omega * t
        return torch.stack([torch.sin(angle), -omega * torch.cos(angle)])

    show("Wave c=1, to t=10.3", "travelling wave", problem, *rows(problem, 64, travelling))
    for nu in (0.1, 0.01):
        problem = Burgers(nu=nu)
        data = rows(problem, 64, lambda x, t, nu=nu: cole_hopf(x.numpy(), t, nu))
        show(f"Burgers nu={nu}", "Cole and Hopf, u0 = sin(2 pi x)", problem, *data)
    problem = KdV(alpha=6.0, beta=1.0, lo=-20.0, hi=20.0, final_time=6.0)
    data = rows(problem, 256, lambda x, t: 2 / torch.cosh(torch.remainder(x + 30 - 4 * t, 40) - 20) ** 2)
    show("KdV alpha=6, to t=6", "soliton", problem, *data)
    problem = AllenCahn(eps=0.01, r=1.0, lo=0.0, hi=2.0, final_time=2.0)
    m = bisect(  # the period of sn is that of the box
        lambda m: 4 * scipy.special.ellipk(m) - 20 / math.sqrt(1 + m), 0.1, 1 - 1e-9
    )
    steady = math.sqrt(2 * m / (1 + m)) * torch.from_numpy(
        scipy.special.ellipj(10 / math.sqrt(1 + m) * problem.grid(64).coordinates()[0].numpy(), m)[0]
    )
    show("Allen-Cahn eps=0.01, r=1, to t=2", "steady interfaces sn", problem, *rows(problem, 64, lambda x, t: steady))
    problem = Schroedinger(lo=-20.0, hi=20.0, final_time=3.0)
    data = rows(problem, 256, lambda x, t: torch.exp(torch.full_like(x, t / 2) * 1j) / torch.cosh(x))
    show("Schroedinger d=0.5, g=1, to t=3", "soliton", problem, *data)


def bisect(f, lo, hi):
    for _ in range(100):
        mid = (lo + hi) / 2
        lo, hi = (lo, mid) if f(mid) * f(hi) > 0 else (mid, hi)
    return lo


def cole_hopf(x, t, nu):
    k = np.arange(1, 400)
    z = 1 / (4 * np.pi * nu)
    c = scipy.special.ive(k, z) * np.exp(-nu * (2 * np.pi * k) ** 2 * t)
    phase = 2 * np.pi * np.outer(x, k)
    phi = scipy.special.ive(0, z) + 2 * np.cos(phase) @ c
    return torch.from_numpy(2 * nu * (2 * np.sin(phase) @ (c * 2 * np.pi * k)) / phi)


def kassam_trefethen(u0, lo, length, linear, alpha, t, steps, n=1024):
    """States of u_t = linear(k) u - alpha (u^2/2)_x after each of equal intervals, on n points."""
    k = 2 * np.pi / length * np.fft.rfftfreq(n, 1 / n)
    h, symbol = t[0] / steps, linear(k)
    circle = np.exp(2j * np.pi * (np.arange(64) + 0.5) / 64)
    z = h * symbol[:, None] + circle
    mean = (lambda a: a.mean(1)) if np.iscomplexobj(symbol) else (lambda a: a.mean(1).real)
    q = h * mean((np.exp(z / 2) - 1) / z)
    f1 = h * mean((-4 - z + np.exp(z) * (4 - 3 * z + z**2)) / z**3)
    f2 = h * mean((2 + z + np.exp(z) * (z - 2)) / z**3)
    f3 = h * mean((-4 - 3 * z - z**2 + np.exp(z) * (4 - z)) / z**3)
    whole, half = np.exp(h * symbol), np.exp(h * symbol / 2)
    factor = np.where(np.arange(n // 2 + 1) < n // 3, -0.5j * alpha * k, 0)
    force = lambda v: factor * np.fft.rfft(np.fft.irfft(v, n) ** 2)  # noqa: E731
    v, states = np.fft.rfft(u0(lo + length * np.arange(n) / n)), []
    for _ in t:
        for _ in range(steps):
            n0 = force(v)
            a = half * v + q * n0
            na = force(a)
            nb = force(half * v + q * na)
            nc = force(half * a + q * (2 * nb - n0))
            v = whole * v + f1 * n0 + 2 * f2 * (na + nb) + f3 * nc
        states.append(np.fft.irfft(v, n))
    return torch.from_numpy(np.array(states))


def reference():
    pi = np.pi
    ks = "Kuramoto-Sivashinsky"
    cases = [
        ("KdV, PINNs: cos(pi x)", KdV(), lambda x: np.cos(pi * x), 100, 40),
        ("KdV, DeepHPMs: -sin(pi x/20), t=40", KdV(alpha=6, beta=1, lo=-20, hi=20, final_time=40.0),
         lambda x: -np.sin(pi * x / 20), 200, 320),
        (f"{ks}, laminar: -sin(pi x/10), t=50", KuramotoSivashinsky(lo=-10, hi=10), lambda x: -np.sin(pi * x / 10),
         200, 40),
        (f"{ks}, chaotic: cos(x/16)(1+sin(x/16)), t=50", KuramotoSivashinsky(lo=0, hi=32 * pi),
         lambda x: np.cos(x / 16) * (1 + np.sin(x / 16)), 200, 20),
        (f"{ks}, nu=(5, 0.5, 0.005): -sin(pi x), t=0.8",
         KuramotoSivashinsky(nu1=5, nu2=0.5, nu4=0.005, lo=-1, hi=1, final_time=0.8), lambda x: -np.sin(pi * x),
         200, 20),
    ]  # fmt: skip
    for name, problem, u0, times, steps in cases:
        t = torch.arange(1, times + 1, dtype=torch.float64) * problem.final_time / times
        if isinstance(problem, KdV):
            symbol, alpha = (lambda k, b=problem.beta: 1j * b * k**3), problem.alpha
        else:
            symbol, alpha = (lambda k, p=problem: p.nu2 * k**2 - p.nu4 * k**4), problem.nu1
        states = [
            kassam_trefethen(u0, problem.lo, problem.hi - problem.lo, symbol, alpha, t.tolist(), s)
            for s in (steps // 2, steps)
        ]
        start = torch.from_numpy(u0(problem.grid(256).coordinates()[0].numpy()))
        change = relative(*states)
        note = f"numpy, change {change:.0e}"
        show(name, note, problem, Dataset(problem.grid(256), u0=start[None, None], t=t), states[1][:, ::4])


def files():
    folder = Path(os.environ.get("NWIDTH_REALDATA", ""))
    if not (folder / "pinns").is_dir():
        print("no files: NWIDTH_REALDATA does not name the folder")
        return

    def load(name, u, t):
        file = scipy.io.loadmat(folder / name)
        return torch.from_numpy(file[u].T.copy()), torch.from_numpy(file[t].ravel()[1:].copy())

    def case(name, problem, grid, u, t):
        show(name, "the file", problem, Dataset(grid, u0=u[None, :1], t=t), u[1:])

    u, t = load("pinns/burgers_shock.mat", "usol", "t")
    problem = Burgers(nu=0.01 / math.pi, lo=-1.0, hi=1.0)
    case("Burgers, burgers_shock.mat", problem, Grid.make((256,), "nodal", -1.0, 1.0), u, t)
    u, t = load("deephpms/burgers.mat", "usol", "t")
    case("Burgers, DeepHPMs", Burgers(nu=0.1, lo=-8.0, hi=8.0), Grid.make((256,), lo=-8.0, hi=8.0), u.real, t)
    u, t = load("pinns/AC.mat", "uu", "tt")
    for options in ({}, {"points": 512}, {"points": 512, "accuracy": 1e-10}):
        case(f"Allen-Cahn, AC.mat, {options}", AllenCahn(**options), Grid.make((512,), lo=-1.0, hi=1.0), u, t)
    u, t = load("pinns/NLS.mat", "uu", "tt")
    for options in ({}, {"points": 256}, {"points": 256, "accuracy": 1e-8}):
        case(f"Schroedinger, NLS.mat, {options}", Schroedinger(**options), Grid.make((256,), lo=-5.0, hi=5.0), u, t)
    file = torch.load(folder / "neuralop" / "burgers_train_16.pt", weights_only=True)
    u = torch.cat([file["x"][:1, None], file["y"][:1, 1:]], 1)[0]
    case("Burgers, neuraloperator, 16 points", Burgers(nu=0.01), Grid.make((16,)), u, file["t"][1:])


def picture():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    problems = [
        Advection(times=100),
        Heat(times=100),
        Wave(times=100),
        Burgers(times=100),
        KdV(times=100),
        KuramotoSivashinsky(times=100),
        AllenCahn(times=100),
        Schroedinger(times=100),
    ]
    figure, axes = plt.subplots(2, 4, figsize=(11, 5), layout="constrained")
    for ax, problem in zip(axes.flat, problems):
        u = problem.simulate([1], 0, problem.grid(128)).u[0]
        u = u.square().sum(1).sqrt() if isinstance(problem, Schroedinger) else u[:, 0]
        ax.imshow(
            u.T, origin="lower", aspect="auto", extent=(0, problem.final_time, problem.lo, problem.hi), cmap="RdBu_r"
        )
        ax.set_title(type(problem).__name__, fontsize=10)
    figure.supxlabel("t")
    figure.supylabel("x")
    figure.savefig(Path(__file__).parent.parent / "docs" / "problems" / "periodic.png", dpi=110)


def main(*kinds: str) -> None:
    torch.set_num_threads(1)
    if kinds == ("picture",):
        return picture()
    print("| problem | reference | error | seconds |\n|---|---|---|---|")
    for kind in kinds or ("exact", "reference", "files"):
        {"exact": exact, "reference": reference, "files": files}[kind]()


if __name__ == "__main__":
    main(*sys.argv[1:])
