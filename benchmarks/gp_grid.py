"""Exact Gaussian processes on grids, loss and gradient: nwidth against gpytorch; CPU time, one thread.

    python benchmarks/gp_grid.py [--repeats 7]

On a 60 x 60 grid, an RBF kernel of one length for both axes: nwidth's GridGP; gpytorch's GridKernel with
use_toeplitz off (its best setting) and on (its default); gpytorch's KroneckerProductLinearOperator with a
diagonal, put together by hand. Medians of runs taken in turns, the ratio to nwidth, and how far loss and
gradient are from nwidth's. Then nwidth on larger grids, in batches against single calls, with missing points,
and products with Toeplitz matrices against linear_operator.
"""

import argparse
import os
import statistics
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gpytorch
import torch
from gpytorch.kernels import GridKernel, MaternKernel, RBFKernel
from linear_operator.operators import KroneckerProductLinearOperator, ToeplitzLinearOperator, to_linear_operator
from nwidth import Grid
from nwidth.gp.grids import GridGP
from nwidth.gp.structured import Toeplitz

F64 = torch.float64
LENGTH, NOISE = 0.25, 0.01


def field(n: int, *lead: int) -> torch.Tensor:
    x, y = Grid.make((n, n), kind="nodal").coordinates()
    noise = torch.randn(*lead, n, n, dtype=F64, generator=torch.Generator().manual_seed(0))
    return torch.sin(7 * x) * torch.cos(5 * y) + 0.1 * noise


def rbf(*batch: int) -> RBFKernel:
    k = RBFKernel(batch_shape=torch.Size(batch)).double()
    k.lengthscale = LENGTH
    return k


def of_nwidth(y: torch.Tensor, *batch: int, mask=None, kernel=rbf):
    gp = GridGP(
        Grid.make(y.shape[-2:], kind="nodal"), [kernel(*batch)] * 2, noise=NOISE, mean="zero", batch_shape=batch
    )

    def step() -> tuple[float, float]:
        gp.zero_grad()
        loss = -gp.log_likelihood(y, mask).sum()
        loss.backward()
        return float(loss.detach()), float(sum(k.raw_lengthscale.grad.sum() for k in gp.kernels))

    return step


def of_grid_kernel(y: torch.Tensor, toeplitz: bool):
    line = torch.linspace(0, 1, len(y), dtype=F64)
    kernel = GridKernel(rbf(), [line, line]).double()
    x, zero = kernel.full_grid, torch.zeros(y.numel(), dtype=F64)

    def step() -> tuple[float, float]:
        kernel.zero_grad()
        with gpytorch.settings.use_toeplitz(toeplitz):
            C = gpytorch.distributions.MultivariateNormal(zero, kernel(x).add_diagonal(torch.tensor(NOISE, dtype=F64)))
            loss = -C.log_prob(y.flatten())
            loss.backward()
        return float(loss.detach()), float(kernel.base_kernel.raw_lengthscale.grad)

    return step


def of_operators(y: torch.Tensor):
    x, k, zero = torch.linspace(0, 1, len(y), dtype=F64)[:, None], rbf(), torch.zeros(y.numel(), dtype=F64)

    def step() -> tuple[float, float]:
        k.zero_grad()
        K = to_linear_operator(k(x).to_dense())
        C = KroneckerProductLinearOperator(K, K).add_diagonal(torch.tensor(NOISE, dtype=F64))
        loss = -gpytorch.distributions.MultivariateNormal(zero, C).log_prob(y.flatten())
        loss.backward()
        return float(loss.detach()), float(k.raw_lengthscale.grad)

    return step


def medians(steps: list, repeats: int) -> list[float]:
    """Median CPU seconds of each, in turns; the first call of each does not count."""
    times: list[list[float]] = [[] for _ in steps]
    for i in range(repeats + 1):
        for series, step in zip(times, steps):
            start = time.process_time()
            step()
            if i:
                series.append(time.process_time() - start)
    return [statistics.median(t) for t in times]


def sixty(repeats: int) -> None:
    y = field(60)
    steps = {
        "nwidth GridGP": of_nwidth(y),
        "gpytorch GridKernel, use_toeplitz off": of_grid_kernel(y, False),
        "gpytorch GridKernel, use_toeplitz on (default)": of_grid_kernel(y, True),
        "linear_operator Kronecker and diagonal": of_operators(y),
    }
    loss, gradient = steps["nwidth GridGP"]()
    times = medians(list(steps.values()), repeats)
    print("60 x 60, loss and gradient                         [ms]  ratio  loss off by  gradient off by")
    for (name, step), t in zip(steps.items(), times):
        other, slope = step()
        errors = abs(other / loss - 1), abs(slope / gradient - 1)
        print(f"{name:48s} {1e3 * t:6.1f} {t / times[0]:6.1f} {errors[0]:12.0e} {errors[1]:16.0e}", flush=True)


def larger(repeats: int) -> None:
    print("\nnwidth, loss and gradient                              [s]")
    for n in (200, 400):
        (t,) = medians([of_nwidth(field(n))], repeats)
        print(f"{n} x {n:<44} {t:8.3f}", flush=True)
    y = field(60, 16)
    single = [of_nwidth(u) for u in y]
    cases = {
        "60 x 60, 16 fields of one kernel, one call": of_nwidth(y),
        "60 x 60, 16 fields with 16 kernels, one call": of_nwidth(y, 16),
        "the same in 16 calls": lambda: [s() for s in single],
    }
    for name, t in zip(cases, medians(list(cases.values()), repeats)):
        print(f"{name:50s} {t:8.3f}", flush=True)


def missing(repeats: int) -> None:
    print("\nnwidth, loss and gradient with missing points, Matern 3/2   [s]")

    def matern(*batch):
        k = MaternKernel(nu=1.5, batch_shape=torch.Size(batch)).double()
        k.lengthscale = LENGTH
        return k

    for n, share in ((60, 0.5), (60, 0.02), (400, 0.0005), (200, 0.5)):
        mask = torch.rand(n, n, generator=torch.Generator().manual_seed(1)) >= share
        (t,) = medians([of_nwidth(field(n), mask=mask, kernel=matern)], min(repeats, 3))
        print(f"{n} x {n}, {int((~mask).sum())} missing".ljust(50) + f" {t:8.2f}", flush=True)


def toeplitz(repeats: int) -> None:
    print("\nproduct with a Toeplitz matrix, 20 columns   nwidth [ms]  linear_operator  ratio   differ by")
    for n in (1000, 4001, 20000):
        c = torch.exp(-torch.arange(n, dtype=F64) / 50)
        x = torch.randn(n, 20, dtype=F64, generator=torch.Generator().manual_seed(2))
        ours, theirs = Toeplitz(c), ToeplitzLinearOperator(c)
        a, b = medians([lambda: ours @ x, lambda: theirs @ x], repeats)  # noqa: B023
        error = float((ours @ x - theirs @ x).norm() / (ours @ x).norm())
        print(f"n = {n:<40d} {1e3 * a:11.1f} {1e3 * b:16.1f} {b / a:6.2f} {error:11.0e}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    sixty(args.repeats)
    larger(args.repeats)
    missing(args.repeats)
    toeplitz(args.repeats)


if __name__ == "__main__":
    main()
