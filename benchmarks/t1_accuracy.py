"""T1 and T1U against our FNO at equal processor time, all with the defaults of their configs: error on test samples.

    python benchmarks/t1_accuracy.py [--seconds 60] [--cases burgers_small,navier_stokes_1e-3_small]

Burgers (nu = 0.1, 256 points) and Navier-Stokes (nu = 1e-3, 32 x 32, ten times to t = 10) as in the recipes
burgers_small and navier_stokes_1e-3_small; one seed, one thread.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from hydra import compose, initialize_config_module
from nwidth.build import build
from nwidth.data.metrics import relative_l2
from omegaconf import OmegaConf
from spectral_loss import steps_in

CASES = {"burgers_small": (256, 600, 400), "navier_stokes_1e-3_small": (32, 210, 150)}


def config(command: str, *overrides: str) -> dict:
    with initialize_config_module("nwidth.conf", version_base="1.3"):
        return OmegaConf.to_container(compose(command, overrides=list(overrides)), resolve=True)  # type: ignore[return-value]


def surrogate(name: str, steps: int, pairs: int):
    every = max(1, steps * 20 // pairs // 6)
    options = [f"training.steps={steps}", f"training.val_every={every}", "training.device=cpu"]
    quiet = ["training.progress=false", "training.tensorboard=false"]
    return build(config("train", f"surrogate={name}", *options, *quiet)["surrogate"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--cases", default=",".join(CASES))
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("case                       row    parameters  steps  CPU s  error")
    for case in args.cases.split(","):
        n, count, trained = CASES[case]
        problem = build(config("generate", f"recipe={case}")["problem"])
        data = problem.simulate(range(count), 0, problem.grid(n)).to(dtype=torch.float32)
        rest = (count - trained) // 2
        train, val, test = data[:trained], data[trained : trained + rest], data[trained + rest :]
        for name in ("fno", "t1", "t1u"):

            def fit(steps: int, name=name, train=train):
                return surrogate(name, steps, len(train)).fit(train, None)

            steps = steps_in(args.seconds, fit)
            s = surrogate(name, steps, len(train))
            log = s.fit(train, val, seed=0)
            error = relative_l2(s.predict(test.inputs()).mean.double(), test.u.double(), test.grid).mean()
            used = log.selected["training_cpu_seconds"]
            print(f"{case:26s} {name:6s} {log.parameters:10d} {steps:6d} {used:6.1f}  {float(error):.4f}", flush=True)


if __name__ == "__main__":
    main()
