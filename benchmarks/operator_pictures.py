"""Pictures of docs/operators: what each network answers after a short training. python benchmarks/operator_pictures.py

Defaults of the configs but for small widths, ``--steps`` steps of batches of 8; the error is that over 20 test samples,
of which the one of median error is drawn.
Darcy flow on 24 x 24 cells, four waves an axis in log a; the Poisson equation for T1 (from solutions) and NSM (from the
equation alone); for NIO the coefficient from six solutions (``inverse_problem.py``). Names draw these only.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from configs import config
from inverse_problem import observations
from nwidth.backends import Grid
from nwidth.build import build
from nwidth.data import Dataset
from nwidth.data.metrics import relative_l2
from nwidth.solvers import Darcy, GaussianField, LogNormal, Poisson

PAGES = Path(__file__).parent.parent / "docs" / "operators"
PICTURES = {  # page: surrogate, data, options of the network
    "fno": ("fno", "darcy", {"width": 16}),
    "low_rank": ("tfno", "darcy", {"width": 16}),
    "ffno": ("ffno", "darcy", {"width": 16}),
    "uno": ("uno", "darcy", {"width": 8}),
    "mgno": ("mgno", "darcy", {"width": 12, "layers": 2}),
    "lsm": ("lsm", "darcy", {"width": 8}),
    "unet": ("unet", "darcy", {"width": 8}),
    "deeponet": ("deeponet", "darcy", {"branch_width": 128}),
    "t1": ("t1", "poisson", {"width": 16, "layers": 4}),
    "nsm": ("nsm", "poisson", {}),
    "nio": ("nio", "inverse", {"group": 2, "width": 16}),
}


def make(name: str) -> tuple[Dataset, list[str]]:
    """160 samples and the titles of input and solution."""
    if name == "darcy":
        problem = Darcy(a=LogNormal(field=GaussianField(scale=4.0, tau=3.0, alpha=2.0, modes=4)))
        return problem.simulate(range(160), 0, problem.grid(24)), ["coefficient a", "solution u"]
    if name == "poisson":
        return Poisson().simulate(range(160), 0, Poisson().grid(24)), ["source f", "solution u"]
    a, u = observations(160, 6, 24, "inside")
    return Dataset(Grid.make((24, 24), kind="nodal"), a=a, u=u), ["one of 6 responses", "coefficient a"]


def draw(page: str, data: Dataset, titles: list[str], steps: int) -> None:
    name, _, options = PICTURES[page]
    rate = {"nsm": ["optimizer=adam", "optimizer.lr=1e-2"], "nio": ["optimizer=adamw", "optimizer.lr=1e-3"]}
    overrides = [f"surrogate.network.{k}={v}" for k, v in options.items()] + [
        f"training.steps={steps}", "training.batch_size=8", "training.val_every=100000", "training.device=cpu",
        "training.progress=false", "training.tensorboard=false", *rate.get(name, []),
    ]  # fmt: skip
    surrogate = build(config("train", f"surrogate={name}", *overrides)["surrogate"])
    log = surrogate.fit(data[:140], None, seed=0)
    test = data[140:]
    p = surrogate.predict(test.inputs()).mean.double()
    errors = relative_l2(p, test.u.double(), test.grid).mean(1)
    error, shown_one = float(errors.mean()), int(errors.argsort()[len(errors) // 2])
    cpu = log.selected["training_cpu_seconds"]
    print(
        f"{page:10s} {log.parameters:9d} parameters, {steps} steps in {cpu:.1f} CPU-seconds, error {error:.4f}",
        flush=True,
    )
    u, answer = test.u[shown_one, 0], p[shown_one, 0]
    shown = dict(zip([*titles, f"{name}, {steps} steps", "difference"], (test.a[shown_one, -1], u, answer, answer - u)))
    figure, axes = plt.subplots(1, 4, figsize=(8.6, 2.2), constrained_layout=True)
    for axis, (title, v) in zip(axes, shown.items()):
        most = float(v.abs().max())
        if title == "difference":
            image = axis.imshow(v.T, origin="lower", cmap="RdBu_r", vmin=-most, vmax=most)
        else:
            limits = {} if title == titles[0] else {"vmin": float(u.min()), "vmax": float(u.max())}
            image = axis.imshow(v.T, origin="lower", cmap="viridis", **limits)
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=9)
        figure.colorbar(image, ax=axis, shrink=0.8).ax.tick_params(labelsize=7)
    figure.savefig(PAGES / f"{page}.png", dpi=80)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", choices=[*PICTURES, []], default=[])
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    torch.set_num_threads(1)
    made: dict[str, tuple[Dataset, list[str]]] = {}
    for page in args.pages or PICTURES:
        kind = PICTURES[page][1]
        if kind not in made:
            data, titles = make(kind)
            made[kind] = data.to(dtype=torch.float32), titles
        draw(page, *made[kind], args.steps)


if __name__ == "__main__":
    main()
