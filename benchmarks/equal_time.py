"""Neural operators at equal training time: error, parameters, memory and steps of each, three seeds, one thread.

    python benchmarks/equal_time.py [--problems darcy,burgers,navier_stokes] [--operators fno,mgno,...]
                                    [--optimizers adamw,muon] [--seconds 60] [--seeds 0,1,2]
                                    [--out runs/equal_time] [--pages docs/operators]

Every operator has the defaults of its config and the same seconds of processor time, validation included, in which its
schedule runs to the end. Muon has its default rate; AdamW of ``RATES`` the one with the least validation error of the
first seed. Data are those of the small recipes darcy_rough (at ``--resolution``, 64 x 64 in the recipe), burgers and
navier_stokes_1e-3; the loss is H1 on Darcy and L2 elsewhere; batches of 8; 50 samples select the weights, and the test
samples are read once. Each fit has a process of its own, for
its memory. Finished fits are lines of ``results.jsonl`` in ``--out``: an interrupted script goes on, and more operators
or seeds are added to what is there. Tables are printed, and ``equal_time_PROBLEM.png`` is drawn in ``--pages``, each
operator with the optimiser of the smaller validation error: that error over time, and the test error against parameters
and memory.
"""

import argparse
import json
import multiprocessing
import os
from itertools import product
from pathlib import Path
from statistics import mean, stdev

os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from configs import config
from matplotlib.ticker import NullFormatter
from nwidth import NWidthError
from nwidth.build import build
from nwidth.data import Dataset, open_dataset, save_dataset
from nwidth.data.metrics import relative_l2
from nwidth.training.measure import fit_and_time

PROBLEMS = {  # recipe, training samples, loss
    "darcy": ("darcy_rough_small", 400, "h1"),
    "burgers": ("burgers_small", 400, "l2"),
    "navier_stokes": ("navier_stokes_1e-3_small", 150, "l2"),
}
OPERATORS = ("fno", "tfno", "ffno", "uno", "mgno", "lsm", "unet", "t1", "t1u", "deeponet")
NAMES = {"adamw": "AdamW", "muon": "Muon"}
RATES = {"adamw": (0.002, 0.004, 0.008, 0.016), "muon": (0.008,)}
SELECT = 50  # validation samples at most
FIGURES = ("error", "parameters", "peak_memory_mb", "training_cpu_seconds", "steps")


def parts(name: str, resolution: int | None, folder: Path) -> tuple[Dataset, Dataset, Dataset]:
    """Training, validation and test samples, made once."""
    recipe, trained, _ = PROBLEMS[name]
    c = config("generate", f"recipe={recipe}", *([f"resolution={resolution}"] if resolution else []))
    path = folder / f"{recipe}_{c['resolution']}.h5"
    if not path.is_file():
        problem = build(c["problem"])
        data = problem.simulate(range(c["n"]), 0, problem.grid(c["resolution"])).to(dtype=torch.float32)
        save_dataset(path, data)
    data = open_dataset(path).load()
    rest = (len(data) - trained) // 2
    return data[:trained], data[trained : trained + min(rest, SELECT)], data[trained + rest :]


def measure(key: dict, sets: tuple[Dataset, Dataset, Dataset], file: Path) -> None:
    """One fit and its line."""
    torch.set_num_threads(1)
    train, val, test = sets
    c = config(
        "train", f"surrogate={key['operator']}", f"optimizer={key['optimizer']}",
        f"optimizer.lr={key['rate']}",
        f"loss={PROBLEMS[key['problem']][2]}", "training.steps=1000000",
        f"training.time_budget={key['seconds']}", "training.clock=processor", "training.batch_size=8",
        "training.device=cpu", "training.progress=false", "training.tensorboard=false",
    )  # fmt: skip
    surrogate = build(c["surrogate"])
    line = {**key, **dict.fromkeys(FIGURES, float("inf")), "history": [[0.0, float("inf")]]}
    try:
        log, cost = fit_and_time(surrogate, train, val, seed=key["seed"], folder=None)
    except NWidthError as e:  # the rate is too large
        print(e, flush=True)
    else:
        p = surrogate.predict(test.inputs()).mean.double()
        line["error"] = float(relative_l2(p, test.u.double(), test.grid).mean())
        line |= {k: cost[k] for k in ("parameters", "peak_memory_mb")} | {"steps": log.history[-1]["step"]}
        line["training_cpu_seconds"] = log.selected["training_cpu_seconds"]
        line["history"] = [[h["cpu_seconds"], h["val_rel_l2"]] for h in log.history]
    with open(file, "a", encoding="utf-8") as f:
        f.write(json.dumps(line) + "\n")


def fit(key: dict, sets: tuple[Dataset, Dataset, Dataset], file: Path) -> dict:
    """The line of ``key``: one of the file, or of a fit in a process of its own."""
    found = known(key, file)
    if found is None:
        process = multiprocessing.get_context("fork").Process(target=measure, args=(key, sets, file))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"failed: {key}")
        found = known(key, file)
        assert found is not None
        print(*key.values(), f"{found['error']:.4f}", flush=True)
    return found


def known(key: dict, file: Path) -> dict | None:
    return next((line for line in finished(file) if key.items() <= line.items()), None)


def validation(line: dict) -> float:
    return min(e for _, e in line["history"])


def finished(file: Path) -> list[dict]:
    """The lines so far; a last one that was cut off does not count."""
    found = []
    for text in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            found.append(json.loads(text))
        except json.JSONDecodeError:
            print(f"a broken line of {file} is left out")
    return found


def table(rows: dict[str, list[dict]]) -> None:
    """Mean over seeds of each figure, and the spread of the error; the least error first."""
    print("| row | error | parameters | peak memory, MiB | training CPU-s | steps | seeds |")
    print("|---|---|---|---|---|---|---|")
    for name, found in sorted(rows.items(), key=lambda item: mean(r["error"] for r in item[1])):
        error, *figures = (mean(r[k] for r in found) for k in FIGURES)
        spread = f" ± {stdev(r['error'] for r in found):.4f}" if len(found) > 1 else ""
        print(" | ".join([f"| {name}", f"{error:.4f}{spread}", *(f"{v:,.0f}" for v in figures), f"{len(found)} |"]))


def better(rows: dict[str, list[dict]]) -> dict[str, list[dict]]:
    """Each operator with the optimiser of the smaller validation error."""
    chosen: dict[str, tuple[float, str]] = {}
    for name, found in rows.items():
        error = mean(map(validation, found))
        operator = found[0]["operator"]
        chosen[operator] = min(chosen.get(operator, (float("inf"), "")), (error, name))
    return {name: rows[name] for _, name in chosen.values()}


def draw(rows: dict[str, list[dict]], file: Path) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), constrained_layout=True)
    for i, (name, found) in enumerate(rows.items()):
        style = {"color": f"C{i % 10}", "marker": "os^Dv<>Pp*X"[i % 11], "markersize": 4}
        best = min(found, key=lambda r: r["seed"])
        axes[0].plot(*zip(*best["history"]), **style, markevery=max(1, len(best["history"]) // 5), label=name, lw=1)
        for axis, k in zip(axes[1:], FIGURES[1:3]):
            axis.plot(mean(r[k] for r in found), mean(r["error"] for r in found), **style, ls="none")
    for axis, title in zip(axes, ("training, CPU-seconds", "parameters", "peak memory, MiB")):
        axis.set(yscale="log", xlabel=title)
        axis.grid(alpha=0.3, which="both")
        axis.tick_params(labelsize=7, which="both")
    axes[1].set(xscale="log", ylabel="test error")
    axes[1].xaxis.set_minor_formatter(NullFormatter())
    axes[0].set(ylabel="validation error, first seed")
    figure.legend(loc="outside right upper", fontsize=7)
    figure.savefig(file, dpi=80)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--operators", default=",".join(OPERATORS))
    parser.add_argument("--optimizers", default=",".join(RATES))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--resolution", type=int, default=None)
    parser.add_argument("--out", type=Path, default=Path("runs/equal_time"))
    parser.add_argument("--pages", type=Path, default=None)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "results.jsonl"
    first, *others = map(int, args.seeds.split(","))
    for name in args.problems.split(","):
        shared = {"problem": name, "seconds": args.seconds, "resolution": args.resolution}
        sets = parts(name, args.resolution, args.out)
        rows: dict[str, list[dict]] = {}
        for operator, optimizer in product(args.operators.split(","), args.optimizers.split(",")):
            pair = {**shared, "operator": operator, "optimizer": optimizer}
            tried = [fit({**pair, "rate": rate, "seed": first}, sets, file) for rate in RATES[optimizer]]
            best = min(tried, key=validation)
            rest = [fit({**pair, "rate": best["rate"], "seed": seed}, sets, file) for seed in others]
            rows[f"{operator}, {NAMES[optimizer]} {best['rate']}"] = [best, *rest]
        print(f"\n{name}, {args.seconds:.0f} CPU-seconds of training, {sets[0].grid.describe()}")
        table(rows)
        if args.pages is not None:
            draw(better(rows), args.pages / f"equal_time_{name}.png")


if __name__ == "__main__":
    main()
