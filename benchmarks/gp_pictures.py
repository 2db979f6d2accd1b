"""Pictures of docs/gp and the figures beside them: python benchmarks/gp_pictures.py (a minute, one thread)."""

import math
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from gpytorch.kernels import MaternKernel
from nwidth.gp.grids import GridGP
from nwidth.gp.kernels import (
    GridSpectralMixtureProduct,
    PeriodStatistics,
    QuasiPeriodicKernel,
    SpectralMixture,
)
from nwidth.solvers import Darcy
from scipy.interpolate import griddata

F64 = torch.float64
PAGES = Path(__file__).parent.parent / "docs" / "gp"


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kernels() -> None:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.4), constrained_layout=True)
    d = torch.linspace(0, 1.5, 400, dtype=F64)[:, None]
    for envelope in ("gaussian", "matern52", "matern32", "matern12"):
        k = SpectralMixture(1, envelope=envelope).double()
        k.assign(torch.ones(1), torch.full((1, 1), 0.4), torch.full((1, 1), 4.0))
        left.plot(d, k(d, d[:1]).to_dense().detach(), label=envelope, lw=1)
    left.set(title="SpectralMixture, one peak at 4, width 0.4", xlabel="x - x'")
    left.legend(fontsize=7)

    x = torch.rand(200, 1, dtype=F64, generator=generator(0)).sort(0)[0]
    t = 2 * math.pi * x[:, 0]
    clean = torch.sin(5 * t) + 0.6 * torch.cos(17 * t) + 0.3 * torch.sin(33.3 * t)
    y = clean + 0.1 * torch.randn(200, dtype=F64, generator=generator(1))
    k = GridSpectralMixtureProduct([301], [50.0], bandwidth=[0.25]).double()
    noise, _ = k.fit_weights(x, y)
    z = torch.linspace(0, 1, 500, dtype=F64)[:, None]
    s = 2 * math.pi * z[:, 0]
    truth = torch.sin(5 * s) + 0.6 * torch.cos(17 * s) + 0.3 * torch.sin(33.3 * s)
    with torch.no_grad():
        C = k(x).to_dense() + noise * torch.eye(200, dtype=F64)
        mean = y.mean() + k(z, x).to_dense() @ torch.linalg.solve(C, y - y.mean())
    error = float((mean - truth).norm() / truth.norm())
    active = int(k.active().sum())
    print(f"grid mixture: {active} of 301 weights stay, noise {noise**0.5:.3f} (0.1), relative error {error:.3f}")
    middle.semilogy(k.frequencies[:, 0], k.weights.detach().clamp_min(1e-12), lw=1)
    for f in (5, 17, 33.3):
        middle.axvline(f, color="k", lw=0.5, ls=":")
    middle.set(title="weights found (sines at 5, 17, 33.3)", xlabel="cycles per unit", ylim=(1e-6, 2))

    p, known, more = 40, 10, 4
    truth_kernel = quasi_periodic(p, 0.97, 0.5, 1e-3)
    n = p * (known + more)
    place = torch.arange(n, dtype=F64)[:, None] / p
    root = torch.linalg.cholesky(truth_kernel(place).to_dense().detach())
    y = root @ torch.randn(n, dtype=F64, generator=generator(3))
    data = PeriodStatistics.of(y[: p * known], p)
    k = quasi_periodic(p, 0.7, 0.2, 1e-2)
    optimizer = torch.optim.LBFGS(k.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = -k.log_likelihood(data) / (p * known)
        loss.backward()
        return loss

    optimizer.step(closure)
    forecast = k.forecast(data, p * more)
    inside = float(((forecast.mean - y[p * known :]).abs() < 2 * forecast.std).double().mean())
    print(f"quasi-periodic: correlation {k.correlation.item():.3f} (0.97), {inside:.0%} of the future within 2 std")
    right.plot(place[p * 6 :, 0], y[p * 6 :], "k", lw=0.8)
    future = place[p * known :, 0]
    right.plot(future, forecast.mean, lw=1)
    right.fill_between(future, forecast.mean - 2 * forecast.std, forecast.mean + 2 * forecast.std, alpha=0.3)
    right.set(title="QuasiPeriodicKernel, forecast and 2 std", xlabel="periods")
    figure.savefig(PAGES / "kernels.png", dpi=80)


def quasi_periodic(p: int, correlation: float, length: float, nugget: float) -> QuasiPeriodicKernel:
    base = MaternKernel(nu=2.5).double()
    base.lengthscale = length
    return QuasiPeriodicKernel(base, period=1.0, samples=p, correlation=correlation, nugget=nugget).double()


def grids() -> None:
    problem = Darcy()
    grid = problem.grid(48)
    clean = problem.simulate([0], seed=0, grid=grid).u[0, 0].double()
    spread = clean.std()
    mask = torch.rand(grid.shape, generator=generator(0)) < 0.4
    mask[28:40, 10:22] = False
    seen = torch.where(
        mask, clean + 0.1 * spread * torch.randn(grid.shape, dtype=F64, generator=generator(1)), torch.nan
    )
    gp = GridGP(grid, [MaternKernel(nu=2.5), MaternKernel(nu=2.5)])
    gp.fit(seen, mask)
    answer = gp.condition(seen, mask).predict()

    points = grid.coordinates().flatten(1).T
    where = mask.flatten()
    known = seen.flatten()[where]
    linear = griddata(points[where].numpy(), known.numpy(), points.numpy(), method="linear")
    nearest = griddata(points[where].numpy(), known.numpy(), points.numpy(), method="nearest")
    linear = torch.from_numpy(linear).where(~torch.isnan(torch.from_numpy(linear)), torch.from_numpy(nearest))
    hidden = ~mask
    others = {"GridGP": answer.mean, "linear interpolation": linear.view(grid.shape)}
    for name, u in others.items():
        errors = [float((u - clean)[m].norm() / clean[m].norm()) for m in (mask, hidden)]
        print(f"{name:22s} relative error at observed points {errors[0]:.4f}, at hidden points {errors[1]:.4f}")
    inside = float(((answer.mean - clean).abs() < 2 * answer.std).double().mean())
    print(
        f"{inside:.0%} of the true values within 2 std; noise found {gp.noise.item() ** 0.5 / float(spread):.3f} (0.1)"
    )
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.2), constrained_layout=True)
    shown = {"field": clean, "observed, noisy": seen, "posterior mean": answer.mean, "posterior std": answer.std}
    for axis, (title, u) in zip(axes, shown.items()):
        image = axis.imshow(u.T, origin="lower", cmap="magma" if "std" in title else "viridis")
        axis.set(title=title, xticks=[], yticks=[])
        figure.colorbar(image, ax=axis, shrink=0.8)
    print(f"observed: {float(mask.double().mean()):.0%}")
    figure.savefig(PAGES / "grids.png", dpi=80)


if __name__ == "__main__":
    torch.set_num_threads(1)
    PAGES.mkdir(exist_ok=True)
    kernels()
    grids()
