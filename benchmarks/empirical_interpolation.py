"""EIM, DEIM and Q-DEIM against pyMOR; DEIM-Galerkin against Galerkin and full order; operators and their powers.

    python benchmarks/empirical_interpolation.py [--parts peer,hyper,separated,powers,picture] [--repeats 7]
        [--snapshots 1000] [--unknowns 2000] [--terms 60] [--out docs/reduction/interpolation.png]

One thread. ``peer`` needs pyMOR (pip install pymor): both sides take turns, each figure is the least CPU time of its
side, printed as a ratio; "same points" compares the chosen points in order. ``hyper`` solves nonlinear Poisson and
Burgers with a few modes on three grids: errors relative in L2 against the full-order solution, the number of values of
the nonlinearity that are evaluated, CPU time of one online solve of all samples relative to that on the coarsest grid,
and that of the full-order solution relative to the online solve. ``separated``: A(mu) = I + exp(i mu |x - y|)/n.
``powers``: inverse and log-determinant of a symmetric positive definite matrix, n = 100, with two parameters.
``picture`` draws the points.
"""

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from nwidth.backends.svd import svd
from nwidth.data.metrics import relative_l2
from nwidth.solvers import Burgers, NonlinearPoisson
from nwidth.solvers.reduced import (
    DEIMGalerkin,
    EmpiricalInterpolation,
    NonintrusiveModel,
    PowerInterpolation,
    ReducedBasis,
    SeparatedOperator,
)


def turns(sides: dict[str, Callable[[], object]], repeats: int) -> tuple[dict[str, float], dict[str, object]]:
    """The least CPU time of each side, and its last answer."""
    best, answers = dict.fromkeys(sides, float("inf")), {}
    for _ in range(repeats):
        for name, call in sides.items():
            start = time.process_time()
            answers[name] = call()
            best[name] = min(best[name], time.process_time() - start)
    return best, answers


def pulses(count: int, n: int) -> np.ndarray:
    """exp(-((x - a)/b)^2) for random a and b, (count, n): what a travelling front asks of a basis."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 1, (count, 1)), rng.uniform(0.02, 0.12, (count, 1))
    return np.exp(-(((np.linspace(0, 1, n) - a) / b) ** 2))


def against_pymor(count: int, n: int, terms: int, repeats: int) -> None:
    from pymor.algorithms.ei import deim, ei_greedy, qdeim
    from pymor.core.logger import set_log_levels
    from pymor.vectorarrays.numpy import NumpyVectorSpace

    set_log_levels({"pymor": "ERROR"})
    x = pulses(count, n)
    theirs, ours = NumpyVectorSpace(n).make_array(x.T), torch.from_numpy(x)
    print(f"{count} snapshots x {n} unknowns, {terms} terms, one thread, CPU time")
    print(f"{'':28} {'pyMOR / nwidth':>15}   same points")

    def row(name: str, peer: Callable[[], object], own: Callable[[], object]) -> None:
        best, answers = turns({"pyMOR": peer, "nwidth": own}, repeats)
        same = np.array_equal(np.asarray(answers["pyMOR"]), np.asarray(answers["nwidth"]))
        print(f"{name:28} {best['pyMOR'] / best['nwidth']:15.1f}   {'yes' if same else 'NO'}")

    for name, norm, their_norm in (("EI greedy, max norm", "max", "sup"), ("EI greedy, l2 norm", "l2", None)):
        row(
            name,
            lambda e=their_norm: ei_greedy(theirs, error_norm=e, max_interpolation_dofs=terms)[0],
            lambda k=norm: EmpiricalInterpolation.eim(ours, rank=terms, norm=k).points,
        )
    modes = torch.linalg.qr(torch.linalg.qr(ours.T @ torch.randn(count, terms, dtype=ours.dtype)).Q).Q.T.contiguous()
    basis = NumpyVectorSpace(n).make_array(modes.numpy().T)
    for name, peer in (("deim", deim), ("qdeim", qdeim)):
        row(
            f"{name} of {terms} given functions",
            lambda p=peer: p(basis, pod=False)[0],
            lambda k=name: EmpiricalInterpolation.from_basis(modes, method=k).points,
        )
    sets = torch.stack([torch.from_numpy(pulses(100, 200) ** (1 + k / 64)) for k in range(64)])
    arrays = [NumpyVectorSpace(200).make_array(s.numpy().T) for s in sets]
    row(
        "64 sets of 100 x 200, 20 terms",
        lambda: [ei_greedy(a, error_norm="sup", max_interpolation_dofs=20)[0] for a in arrays],
        lambda: EmpiricalInterpolation.eim(sets, rank=20).points,
    )


def hyper_reduction(repeats: int) -> None:
    cases = [
        (NonlinearPoisson(), (33, 65, 129), 10, (20, 30)),
        (Burgers(nu=[0.02, 0.1], times=5, final_time=0.5), (128, 256, 512), 20, (30, 60)),
    ]
    for problem, resolutions, rank, terms in cases:
        print(f"\n{type(problem).__name__}, {rank} modes, 100 training and 40 test samples")
        print(
            f"{'grid':>6} {'model':>16} {'mean error':>11} {'max error':>10} {'values':>7} {'online':>7} "
            f"{'full / online':>14}"
        )
        first: dict[str, float] = {}
        for resolution in resolutions:
            data = problem.simulate(range(140), 0, problem.grid(resolution))
            train, test = data[:100], data[100:]
            models = {"Galerkin": ReducedBasis(rank=rank)}
            models |= {f"DEIM, {k} terms": DEIMGalerkin(rank=rank, terms=k) for k in terms}
            for model in models.values():
                model.fit(train, None)
            models["Galerkin"]._model.polynomial = None  # the nonlinearity at all points, not tabulated
            inputs = test.inputs()
            best, _ = turns({k: lambda m=m, i=inputs: m._model.solve(i, m._basis) for k, m in models.items()}, repeats)
            full, _ = turns({"full": lambda p=problem, i=inputs: p.solve(i)}, 1)
            for name, model in models.items():
                error = relative_l2(model.predict(inputs).mean, test.u, test.grid)
                first.setdefault(name, best[name])
                values = getattr(model._model, "evaluations", None) or model._model.points.shape[1]
                print(
                    f"{resolution:>6} {name:>16} {float(error.mean()):11.1e} {float(error.max()):10.1e} {values:>7} "
                    f"{best[name] / first[name]:7.1f} {full['full'] / best[name]:14.1f}"
                )


def separated() -> None:
    n = 400
    x = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    r, eye = (x[:, None] - x).abs(), torch.eye(n, dtype=torch.complex128)
    line = torch.linspace(0, 1, 801, dtype=torch.float64)
    matrix = lambda mu: eye + torch.exp(1j * mu.view(-1, 1, 1) * r) / n  # noqa: E731
    kernel = lambda mu, points: torch.exp(1j * mu * (line if points is None else line[points]))  # noqa: E731
    train = torch.linspace(1, 20, 200, dtype=torch.float64)[:, None]
    new = 1 + 19 * torch.rand(40, 1, dtype=torch.float64)
    exact, load = matrix(new), torch.exp(3j * x)
    print("\nA(mu) = I + exp(i mu |x - y|)/n, n = 400, mu in [1, 20], 40 new parameters")
    for d in (8, 12, 16, 20):
        found = SeparatedOperator(kernel, train, rank=d)
        miss = torch.linalg.matrix_norm(found.combine(new, matrix(found.parameters), eye) - exact)
        error = float((miss / torch.linalg.matrix_norm(exact)).max())
        print(f"d = {d:2}: A(mu) to {error:.1e}; sup |g - I g| {float(found.bound(new).max()):.1e}")
    solutions = torch.linalg.solve(exact, load.expand(40, n))
    basis = svd(torch.linalg.solve(matrix(train[::7]), load.expand(29, n)).T, rank=15).U
    for rank in (5, 10, 15):
        v = basis[:, :rank].contiguous()
        model = NonintrusiveModel(found, v, lambda mu, w: matrix(mu)[0] @ w, fixed=v)
        miss = (model.extend(model.solve(new, load)) - solutions).norm(dim=1) / solutions.norm(dim=1)
        print(f"{rank:2} modes, d = 20: solutions to {float(miss.max()):.1e}")


def powers() -> None:
    def part() -> torch.Tensor:
        x = torch.randn(100, 100, dtype=torch.float64)
        return x @ x.T / 100

    first, terms = 2 * torch.eye(100, dtype=torch.float64) + 0.5 * part(), 0.6 * torch.stack([part(), part()])
    matrix = lambda theta: first + torch.tensordot(theta, terms, dims=1)  # noqa: E731
    axis = torch.linspace(0, 1, 25, dtype=torch.float64)
    new = torch.rand(200, 2, dtype=torch.float64)
    inverse, logarithm = torch.linalg.inv(matrix(new)), torch.logdet(matrix(new))
    root = torch.linalg.cholesky(matrix(torch.full((2,), 0.5, dtype=torch.float64)))
    inner = torch.linalg.solve_triangular(root, terms / 2, upper=False)
    sizes = torch.linalg.matrix_norm(torch.linalg.solve_triangular(root, inner.mT, upper=False), 2)
    print(
        "\nA_0 + theta_1 A_1 + theta_2 A_2, SPD, n = 100, 200 new parameters; inverse in the energy norm of the centre"
    )
    for d in (6, 15, 28, 45, 66):
        found = PowerInterpolation(torch.cartesian_prod(axis, axis), rank=d)
        at = matrix(found.parameters)
        miss = root.T @ (found.combine(new, torch.linalg.inv(at)) - inverse) @ root
        wrong = (found.combine(new, torch.logdet(at)) - logarithm).abs()
        bounds = [float(found.bound(new, sizes, k, traces=100).max()) for k in ("inverse", "log_determinant")]
        print(
            f"d = {d:2}: inverse {float(torch.linalg.matrix_norm(miss, 2).max()):.1e} (bound {bounds[0]:.1e}), "
            f"log-determinant {float(wrong.max()):.1e} (bound {bounds[1]:.1e}), "
            f"sum |beta| {float(found.weights(new).abs().sum(1).max()):.0f}"
        )


def picture(out: str) -> None:
    """EIM's points for a family of peaks in the corner, those of the nonlinear Poisson problem, and the errors."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    axis = torch.linspace(0, 1, 61, dtype=torch.float64)
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    mu = torch.cartesian_prod(*[torch.linspace(-1, -0.01, 15, dtype=torch.float64)] * 2)
    peaks = 1 / ((x - mu[:, :1, None]) ** 2 + (y - mu[:, 1:, None]) ** 2).sqrt()
    problem = NonlinearPoisson()
    data = problem.simulate(range(120), 0, problem.grid(63))
    reactions = problem.reaction(problem.inner(data.u), data.inputs())[:, 0]
    for ax, name, g, rank, n in (
        (axes[0], "EIM, 1/|x - mu|, 30 points", peaks, 30, 61),
        (axes[1], "Q-DEIM, reaction of nonlinear Poisson, 20 points", reactions, 20, 61),
    ):
        flat = g.flatten(1)
        found = (
            EmpiricalInterpolation.eim(flat, rank=rank)
            if ax is axes[0]
            else EmpiricalInterpolation.pod(flat, rank=rank)
        )
        ax.imshow(flat.std(0).view(n, n).T.log(), origin="lower", extent=(0, 1, 0, 1), cmap="Greys", alpha=0.6)
        where = torch.stack([found.points // n, found.points % n]).double() / (n - 1)
        ax.scatter(*where, c=torch.arange(rank), cmap="viridis", s=28, edgecolors="k", linewidths=0.4, clip_on=False)
        ax.set_title(name, fontsize=10)
    for name, make in (
        ("EIM", lambda d: EmpiricalInterpolation.eim(peaks.flatten(1), rank=d)),
        ("DEIM", lambda d: EmpiricalInterpolation.pod(peaks.flatten(1), rank=d, method="deim")),
        ("Q-DEIM", lambda d: EmpiricalInterpolation.pod(peaks.flatten(1), rank=d)),
        ("Q-DEIM, twice the points", lambda d: EmpiricalInterpolation.pod(peaks.flatten(1), rank=d, points=2 * d)),
    ):
        ranks = range(3, 34, 3)
        errors = [float((make(d)(peaks.flatten(1)) - peaks.flatten(1)).abs().max()) for d in ranks]
        axes[2].semilogy(list(ranks), errors, marker=".", label=name)
    axes[2].set_title("largest error, 1/|x - mu|", fontsize=10)
    axes[2].set_xlabel("terms")
    axes[2].legend(fontsize=8)
    figure.savefig(out, dpi=90)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="peer,hyper,separated,powers,picture")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--snapshots", type=int, default=1000)
    parser.add_argument("--unknowns", type=int, default=2000)
    parser.add_argument("--terms", type=int, default=60)
    parser.add_argument("--out", default="docs/reduction/interpolation.png")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    calls = {
        "peer": lambda: against_pymor(given.snapshots, given.unknowns, given.terms, given.repeats),
        "hyper": lambda: hyper_reduction(given.repeats),
        "separated": separated,
        "powers": powers,
        "picture": lambda: picture(given.out),
    }
    for part in given.parts.split(","):
        calls[part]()
