"""EIM, DEIM and Q-DEIM against pyMOR on the same snapshots, and DEIM-Galerkin against full order: one thread.

    python benchmarks/empirical_interpolation.py [--repeats 7] [--snapshots 1000] [--unknowns 2000] [--terms 60]

Needs pyMOR (pip install pymor). Both sides take turns; each figure is the least CPU time of its side, printed as a
ratio. "same points" compares the chosen points in order. The second part solves the nonlinear Poisson problem of
``conf/problem/nonlinear_poisson.yaml`` with 10 modes on three grids: errors relative in L2 against the full-order
solution, the number of values of the nonlinearity that are evaluated, and CPU time of one online solve of all samples
relative to that on the coarsest grid.
"""

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from nwidth.data.metrics import relative_l2
from nwidth.solvers import NonlinearPoisson
from nwidth.solvers.reduced import DEIMGalerkin, EmpiricalInterpolation, ReducedBasis


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
    problem = NonlinearPoisson()
    print("\nnonlinear Poisson, 10 modes, 120 training and 100 test samples")
    print(f"{'grid':>8} {'model':>16} {'mean error':>11} {'max error':>10} {'values':>7} {'online':>7}")
    first: dict[str, float] = {}
    for resolution in (33, 65, 129):
        data = problem.simulate(range(220), 0, problem.grid(resolution))
        train, test = data[:120], data[120:]
        models = {
            "Galerkin": ReducedBasis(rank=10),
            "DEIM, 20 terms": DEIMGalerkin(rank=10, terms=20, oversampling=1.0),
            "DEIM, 30 terms": DEIMGalerkin(rank=10, terms=30, oversampling=1.0),
        }
        for model in models.values():
            model.fit(train, None)
        inputs = test.inputs()
        best, _ = turns({k: lambda m=m: m._model.solve(inputs, m._basis) for k, m in models.items()}, repeats)
        for name, model in models.items():
            error = relative_l2(model.predict(inputs).mean, test.u, test.grid)
            first.setdefault(name, best[name])
            print(
                f"{resolution:>6}^2 {name:>16} {float(error.mean()):11.1e} {float(error.max()):10.1e} "
                f"{model._model.evaluations:>7} {best[name] / first[name]:7.1f}"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--snapshots", type=int, default=1000)
    parser.add_argument("--unknowns", type=int, default=2000)
    parser.add_argument("--terms", type=int, default=60)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    against_pymor(given.snapshots, given.unknowns, given.terms, given.repeats)
    hyper_reduction(given.repeats)
