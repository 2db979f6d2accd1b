"""The pictures of docs/reduction/certified.md: python benchmarks/certified_pictures.py [FOLDER]."""

import sys
from pathlib import Path

import matplotlib
import torch
from nwidth.backends.svd import svd
from nwidth.solvers import ThermalBlock
from nwidth.solvers.reduced.affine import AffineReductor, greedy

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reduction")
    problem = ThermalBlock()
    system = problem.system(problem.grid(40))
    training, fresh = (problem.sample(range(n), s, system.mesh).mu for n, s in ((400, 0), (100, 1)))
    reductor = AffineReductor(system)
    model, log = greedy(reductor, training, rank=25)
    truth = system.restrict(system.solve(fresh), fresh)
    u = system.restrict(system.solve(training), training)
    s = svd(u.mT, weight=reductor.product_matrix, method="exact").s
    tail = s.square().flip(0).cumsum(0).flip(0).div(len(u)).sqrt()
    ranks = list(range(1, 26))
    errors, bounds = [], []
    for r in ranks:
        small = model.truncated(r)
        c = small.solve(fresh)
        errors.append(reductor.norms(truth - c @ small.basis))
        bounds.append(small.error_bound(fresh, c, norm="product"))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.semilogy(ranks, tail[1:26], "k--", label="POD, training, root mean square")
    left.semilogy(
        [h["rank"] for h in log.history], [h["weak_max"] for h in log.history], label="bound, training, largest"
    )
    left.semilogy(ranks, [float(b.max()) for b in bounds], ":", label="bound, new parameters, largest")
    left.semilogy(ranks, [float(e.max()) for e in errors], label="error, new parameters, largest")
    left.set(xlabel="basis vectors", ylabel="error in X")
    left.legend()
    for r in (5, 10, 15, 20, 25):
        right.loglog(errors[r - 1], bounds[r - 1], ".", label=f"{r} vectors")
    ends = torch.stack([torch.cat(errors).min(), torch.cat(errors).max()])
    right.loglog(ends, ends, "k-", lw=0.8, label="bound = error")
    right.loglog(ends, 10 * ends, "k:", lw=0.8, label="10 times the error")
    right.set(xlabel="error of a new parameter", ylabel="its bound")
    right.legend()
    figure.savefig(folder / "certified.png", dpi=110)
    ratio = torch.cat(bounds) / torch.cat(errors)
    print(
        f"effectivity from {float(ratio.min()):.2f} to {float(ratio.max()):.2f}; "
        f"largest error at 25 vectors {float(errors[-1].max()):.1e}"
    )


if __name__ == "__main__":
    main()
