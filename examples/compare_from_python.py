"""Compare surrogates for Darcy flow from Python: data, split, fit, errors, n-width.

Run it with: python compare_from_python.py
"""

import time

from nwidth.data import RandomSplit, apply_split
from nwidth.data.metrics import relative_l2
from nwidth.data.nwidth import n_width
from nwidth.gp import KernelRidge
from nwidth.solvers import Darcy
from nwidth.solvers.reduced import Mean, PODRegression, ReducedBasis, Ridge


def main() -> None:
    problem = Darcy()
    data = problem.simulate(range(120), seed=0, grid=problem.grid(16))
    parts, _ = apply_split(data, RandomSplit(test=20, val=20))
    surrogates = {
        "mean": Mean(),
        "linear": PODRegression(Ridge()),
        "kernel": PODRegression(KernelRidge(["matern52"]), symmetries=True),
        "reduced_basis": ReducedBasis(),
    }
    print(f"{'surrogate':<14} {'error':>8} {'rank':>5} {'fit s':>7}")
    for name, surrogate in surrogates.items():
        start = time.perf_counter()
        log = surrogate.fit(parts["train"], parts["val"], seed=0)
        seconds = time.perf_counter() - start
        prediction = surrogate.predict(parts["test"].inputs())
        error = relative_l2(prediction.mean, parts["test"].u, data.grid).mean()
        print(f"{name:<14} {float(error):8.4f} {log.rank:5d} {seconds:7.2f}")
    width = n_width(parts["train"], parts["test"])
    print("test samples projected on the best linear space of the training samples:")
    for n in (1, 4, 16, 64):
        print(f"  dimension {n:3d}: {width.floor(n):.4f}")


if __name__ == "__main__":
    main()
