"""One training step of T1 against one of our FNO: equal width, depth and modes, one thread.

    python benchmarks/t1_step.py [--repeats 3] [--batch 4] [--width 32] [--layers 4] [--modes 24]

A step is forward, loss, backward and AdamW. T1 steps on coefficients, as ``NeuralSurrogate`` trains it (inputs and
targets transformed once, before the first step); the second ratio is that of T1 on fields, with a transform of both
and an inverse in every step. Prints one row per grid: median CPU milliseconds of the three, and the ratios.
"""

import argparse
import os
import statistics

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from nwidth import Grid
from nwidth.operators import FNO, T1
from nwidth.training import RelativeL2
from nwidth.training.coefficients import CoefficientL2
from turns import turns


def stepper(network, x, y, loss):
    optimizer = torch.optim.AdamW(network.parameters())
    run = network.coefficients if isinstance(loss, CoefficientL2) else network

    def step():
        optimizer.zero_grad(set_to_none=True)
        p = run(x)
        value = loss(p.flatten(2), y, None) if isinstance(loss, CoefficientL2) else loss(p, y, network.grid)
        value.backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("repeats", 3), ("batch", 4), ("width", 32), ("layers", 4), ("modes", 24)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(1)
    options = {"modes": args.modes, "width": args.width, "layers": args.layers}
    print("grid  FNO [ms]  T1 [ms]  T1 on fields [ms]   FNO/T1   FNO/T1 on fields")
    for n in (128, 256):
        torch.manual_seed(0)
        grid = Grid.make((n, n))
        x, u = torch.randn(args.batch, 1, n, n), torch.randn(args.batch, 1, n, n)
        t1, fields = T1(1, 1, grid, **options), T1(1, 1, grid, **options)
        with torch.no_grad():
            c, a = t1.analyse(x), t1.analyse(u).flatten(2)
            norm = u.square().flatten(2).mean(2)
            rest = (norm - a.square().sum(2)).sqrt()
            y = torch.cat([a, rest[..., None], norm.sqrt()[..., None]], 2)
        steps = [
            stepper(FNO(1, 1, grid, **options), x, u, RelativeL2()),
            stepper(t1, c, y, CoefficientL2(1e-6)),
            stepper(fields, x, u, RelativeL2()),
        ]
        fno, own, on_fields = turns(steps, args.repeats, statistics.median)
        row = f"{n:4d} {fno:9.0f} {own:8.1f} {on_fields:18.1f} {fno / own:8.1f} {fno / on_fields:18.1f}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
