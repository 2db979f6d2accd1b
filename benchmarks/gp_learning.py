"""What docs/gp/learning.md says of kernels and processes that learn from samples, on one thread.

usage: python benchmarks/gp_learning.py [darcy burgers features sparse tensor slim]

darcy and burgers need darcy_train_16.pt and burgers_train_16.pt in the folder that NWIDTH_REALDATA names, or in
../shared/realdata/neuralop beside the repository; says so where they are absent. Processor times are compared in the
same run.
"""

import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import scipy.linalg
import scipy.spatial.distance
import torch
from nwidth import open_dataset
from nwidth.data import RandomSplit, apply_split
from nwidth.data.metrics import scores
from nwidth.gp import FunctionalTensor, GPRegressor, KernelRidge, SparseSpectralGP
from nwidth.solvers.reduced import PODRegression

torch.set_num_threads(1)
ROOT = Path(os.environ.get("NWIDTH_REALDATA", Path(__file__).parents[1] / ".." / "shared" / "realdata")) / "neuralop"
F64 = torch.float64


def timed(f):
    start = time.process_time()
    value = f()
    return value, time.process_time() - start


def plain(train, val, test):
    """PCA and Matern 5/2 kernel ridge as one writes them with SciPy, the same lengths, ridges and whitenings."""
    x, xv, xt = (np.concatenate([getattr(p, k).double().numpy().reshape(len(p), -1) for k in p.reads], 1)
                 for p in (train, val, test))  # fmt: skip
    y, yv, yt = (p.u.double().numpy().reshape(len(p), -1) for p in (train, val, test))
    mean = x.mean(0)
    V = scipy.linalg.svd(x - mean, full_matrices=False)[2].T
    x, xv, xt = ((v - mean) @ V for v in (x, xv, xt))

    def phi(r):
        return (1 + 5**0.5 * r + 5 / 3 * r**2) * np.exp(-(5**0.5) * r)

    best = (np.inf,)
    for g in (0.0, -0.25, -0.5):
        scale = np.maximum(x.std(0), 1e-8 * x.std(0).max()) ** -g
        d, dv = (scipy.spatial.distance.cdist(v * scale, x * scale) for v in (x, xv))
        median = np.median(d[np.triu_indices(len(d), 1)])
        for length in (0.5, 1, 2, 4, 8, 16):
            K, Kv = phi(d / length / median), phi(dv / length / median)
            for ridge in [10.0**k for k in (-14, -12, -10, -8, -6, -5, -4, -3, -2)]:
                A = K + len(x) * ridge * np.eye(len(x))
                try:
                    predicted = y.mean(0) + Kv @ scipy.linalg.cho_solve(scipy.linalg.cho_factor(A), y - y.mean(0))
                except np.linalg.LinAlgError:
                    continue
                error = np.mean(np.linalg.norm(predicted - yv, axis=1) / np.linalg.norm(yv, axis=1))
                best = min(best, (error, g, length, ridge))
    _, g, length, ridge = best
    x, y = np.concatenate([x, xv]), np.concatenate([y, yv])
    scale = np.maximum(x.std(0), 1e-8 * x.std(0).max()) ** -g
    d, dt = (scipy.spatial.distance.cdist(v * scale, x * scale) for v in (x, xt))
    median = np.median(d[np.triu_indices(len(d), 1)])
    A = phi(d / length / median) + len(x) * ridge * np.eye(len(x))
    predicted = y.mean(0) + phi(dt / length / median) @ scipy.linalg.solve(A, y - y.mean(0), assume_a="sym")
    return np.mean(np.linalg.norm(predicted - yt, axis=1) / np.linalg.norm(yt, axis=1))


def real(name):
    path = ROOT / f"{name}_train_16.pt"
    if not path.is_file():
        print(f"{path} is not here: set NWIDTH_REALDATA to a folder that has neuralop/{path.name}")
        return
    data = open_dataset(str(path)).load()
    parts, _ = apply_split(data, RandomSplit(test=100, val=100))
    error, base = timed(lambda: plain(parts["train"], parts["val"], parts["test"]))
    print(f"{name} 16, plain SciPy: error {error:.4f}, {base:.1f} s of processor time", flush=True)
    kernels, whitening = ["matern52", "rational_quadratic"], [0.0, -0.25, -0.5]
    likelihood = KernelRidge(kernels, whitening=whitening, selection="marginal_likelihood")
    pod = {"rtol": 1e-3, "max_rank": 32, "input_ranks": [16]}
    regressors = {
        "kernel, matern52 without symmetries": (KernelRidge(["matern52"], whitening=whitening), {}),
        "kernel": (KernelRidge(kernels, whitening=whitening), {"symmetries": True}),
        "kernel, by marginal likelihood": (likelihood, {"symmetries": True}),
        "pod_gp": (GPRegressor(), pod),
        "pod_gp, coupling=shared": (GPRegressor(coupling="shared"), pod),
        "pod_gp, coupling=icm": (GPRegressor(coupling="icm"), pod),
    }
    for label, (regressor, options) in regressors.items():
        surrogate = PODRegression(regressor, **options)
        _, cost = timed(lambda s=surrogate: s.fit(parts["train"], parts["val"], seed=0))
        p = surrogate.predict(parts["test"].inputs())
        found = scores(p.mean, p.std, parts["test"].u, data.grid)
        print(f"{name} 16, {label}: error {float(found['rel_l2'].mean()):.4f},"
              f" coverage {float(found['coverage95'].mean()):.3f}, {cost / base:.2f} of the plain time",
              flush=True)  # fmt: skip


def features():
    """Nystroem and Fourier features beside the exact regression, on 2,000 samples of a function of five variables."""
    g = torch.Generator().manual_seed(0)
    x = torch.rand(2500, 5, dtype=F64, generator=g)
    f = torch.sin(3 * x[:, :1] + x[:, 1:2]) * torch.exp(-x[:, 2:3]) + x[:, 3:4] * x[:, 4:]
    y = f + 0.02 * torch.randn(f.shape, dtype=F64, generator=g)
    pin = {"lengths": [1.0, 2.0, 4.0], "ridges": [1e-6, 1e-5, 1e-4, 1e-3]}
    base = 1.0
    for label, options in [("exact", {}), *((f"{kind}, {m}", {"beyond": kind, "features": m, "max_samples": 1999})
                                            for kind in ("nystroem", "fourier") for m in (100, 400))]:  # fmt: skip
        model = KernelRidge(**pin, **options)
        _, cost = timed(lambda m=model: m.fit(x[:2000], y[:2000], None, seed=0))
        base = cost if label == "exact" else base
        mean, std = model.predict(x[2000:])
        cover = float(((mean - y[2000:]).abs() < 1.96 * std).double().mean())
        error = float((mean - f[2000:]).norm() / f[2000:].norm())
        print(f"features, {label}: error {error:.4f}, coverage {cover:.3f}, {cost / base:.3f} of the exact time")


def sparse():
    """Inducing points beside the exact process."""
    g = torch.Generator().manual_seed(0)
    x = torch.rand(1700, 2, dtype=F64, generator=g)
    f = torch.stack([torch.sin(5 * x[:, 0]) * x[:, 1], torch.cos(4 * x.sum(1))], 1)
    y = f + 0.05 * torch.randn(f.shape, dtype=F64, generator=g)
    for label, options in [("exact", {}), *((f"{m} inducing points", {"inducing": m, "max_samples": 1000})
                                            for m in (20, 80, 320))]:  # fmt: skip
        gp = GPRegressor(coupling="shared", **options)
        gp.fit(x[:1200], y[:1200], None, seed=0)
        mean, std = gp.predict(x[1200:])
        cover = float(((mean - y[1200:]).abs() < 1.96 * std).double().mean())
        print(f"sparse, {label}: error {float((mean - f[1200:]).norm() / f[1200:].norm()):.4f}, coverage {cover:.3f}")


def tensor():
    """sin^2(2 pi x) cos(2 pi x) e^-2y sin(1.5 pi y) from 675 of 1350 scattered points, 1 % noise."""
    for form in ("cp", "tucker"):
        rows = []
        for seed in range(3):
            g = torch.Generator().manual_seed(seed)
            x = torch.rand(1350, 2, dtype=F64, generator=g)
            a, b = math.pi * x[:, 0], x[:, 1]
            f = torch.sin(2 * a) ** 2 * torch.cos(2 * a) * torch.exp(-2 * b) * torch.sin(1.5 * math.pi * b)
            y = f + 0.01 * f.std() * torch.randn(1350, dtype=F64, generator=g)
            model = FunctionalTensor(form=form).fit(x[:675], y[:675], seed=seed)
            mean, std = model.predict(x[675:])
            inside = model.predict(x[675:], observation=False)[1]
            rows.append([float((mean - f[675:]).square().mean().sqrt()),
                         float(((mean - y[675:]).abs() < 1.96 * std).double().mean()),
                         float(((mean - f[675:]).abs() < 1.96 * inside).double().mean()), *model.ranks])  # fmt: skip
        worst = max(r[0] for r in rows)
        print(f"tensor, {form}: RMSE {worst:.1e} (worst of 3), coverage of observations"
              f" {np.mean([r[1] for r in rows]):.3f}, of the function {np.mean([r[2] for r in rows]):.3f},"
              f" ranks {[tuple(r[3:]) for r in rows]}")  # fmt: skip


def waves(x):
    return torch.sin(10 * math.pi * x) + 0.6 * torch.cos(34 * math.pi * x) + 0.3 * torch.sin(66.6 * math.pi * x)


def slim(seeds=range(20, 30)):
    """Three sines of 5, 17 and 33.3 Hz, 200 samples with noise 0.1, 300 components; options chosen below seed 20."""
    z, rows = torch.linspace(0, 1, 500, dtype=F64), []
    for seed in seeds:
        g = torch.Generator().manual_seed(seed)
        x = torch.rand(200, dtype=F64, generator=g)
        y = waves(x) + 0.1 * torch.randn(200, dtype=F64, generator=g)
        parts = [(x[i][:, None], y[i]) for i in torch.randperm(200, generator=g).chunk(4)]
        new = waves(z) + 0.1 * torch.randn(500, dtype=F64, generator=g)
        for gp in (
            SparseSpectralGP([300], [50.0]).fit(x[:, None], y),
            SparseSpectralGP([300], [50.0]).fit_agents(parts).condition(x[:, None], y),
        ):
            mean, std = gp.predict(z[:, None])
            cover = float(((mean - new).abs() < 1.96 * std).double().mean())
            active, sent = int(gp.active().sum()), gp.bytes_sent / 4
            rows.append([float((mean - waves(z)).norm() / waves(z).norm()), active, cover, gp.noise, sent])
        print(f"slim, seed {seed}: error {rows[-2][0]:.4f}, 4 agents {rows[-1][0]:.4f},"
              f" {rows[-1][0] / rows[-2][0]:.3f} of central", flush=True)  # fmt: skip
    for label, part in (("central", np.array(rows[::2])), ("4 agents, 8 bits", np.array(rows[1::2]))):
        ratio = part[:, 0] / np.array(rows[::2])[:, 0]
        print(f"slim, {label}: error {part[:, 0].min():.3f} to {part[:, 0].max():.3f}, of central {ratio.min():.3f} to"
              f" {ratio.max():.3f}, at most {part[:, 1].max():.0f} of 300 active, coverage {part[:, 2].mean():.3f},"
              f" noise {part[:, 3].mean():.3f}, {part[:, 4].mean():.0f} bytes an agent")  # fmt: skip


if __name__ == "__main__":
    parts = {"darcy": lambda: real("darcy"), "burgers": lambda: real("burgers"), "features": features,
             "sparse": sparse, "tensor": tensor, "slim": slim}  # fmt: skip
    for name in sys.argv[1:] or list(parts):
        parts[name]()
