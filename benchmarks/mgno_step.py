"""MgNO, forward plus backward: nwidth against the authors' code, equal weights, one thread.

    git clone https://github.com/xlliu2017/MgNO
    python benchmarks/mgno_step.py MgNO [--repeats 5]

Prints one row per case: least milliseconds of CPU time of both, their ratio, and the relative difference of the output
and of the input's gradient, in double precision.
"""

import argparse
import copy
import os
import sys
import types
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from nwidth import Grid
from nwidth.operators import MgNO
from turns import turns

CASES = [(24, 4, 64, 8), (24, 4, 128, 4), (20, 4, 256, 2)]  # width, layers, points of an axis, batch
ITERATIONS = [1, 1, 1, 1, 1, 2]


def renamed(key: str) -> str:
    """The authors' name of one of our parameters."""
    kind, *rest = key.split(".")
    if kind == "project":
        return "linear.weight"
    if kind == "bypasses":
        return f"linear_list.{'.'.join(rest)}"
    layer, part, *where, _ = rest
    cycle = f"conv_list.{layer}"
    if part == "start":
        return f"{cycle}.layer0.0.S.weight"
    if part == "prolong":
        return f"{cycle}.RTlayers.{where[0]}.weight"
    if part == "smoothers":
        level, number, name = where
        return f"{cycle}.layer{level}.{int(number) + 1}.{name}.weight"
    return f"{cycle}.layer{int(where[0]) + 1}.0.{'R' if part == 'restrict_f' else 'Pi'}.weight"


def paired(folder: str, width: int, layers: int, n: int):
    """The authors' network and ours with the same weights."""
    for name, need in (("torchinfo", "summary"), ("utilities3", "count_params")):  # only named by their module
        sys.modules.setdefault(name, types.ModuleType(name)).__dict__.setdefault(need, None)
    sys.path.insert(0, folder)
    from models import MgNO_DC

    peer = MgNO_DC(layers, width, 1, 1, [[i, 0] for i in ITERATIONS])
    ours = MgNO(
        1, 1, Grid.make((n, n), kind="nodal"), width=width, layers=layers, iterations=ITERATIONS, positional=False
    )
    theirs = peer.state_dict()
    ours.load_state_dict({k: theirs[renamed(k)].view(v.shape) for k, v in ours.state_dict().items()})
    assert sum(p.numel() for p in peer.parameters()) == sum(p.numel() for p in ours.parameters())
    return peer, ours


def case(folder: str, width: int, layers: int, n: int, batch: int, repeats: int) -> str:
    torch.manual_seed(0)
    peer, ours = paired(folder, width, layers, n)
    x, g = torch.randn(batch, 1, n, n, requires_grad=True), torch.randn(batch, 1, n, n)

    def step(module):
        x.grad = None
        module.zero_grad(set_to_none=True)
        y = module(x.to(next(module.parameters()).dtype))
        y.backward(g.to(y))
        return y.detach(), x.grad

    errors = [
        float((a - b).norm() / b.norm())
        for a, b in zip(step(copy.deepcopy(ours).double()), step(copy.deepcopy(peer).double()))
    ]
    theirs, own = turns([partial(step, peer), partial(step, ours)], repeats)
    row = f"{width:6d} {layers:6d} {n:5d} {batch:6d} {theirs:14.0f} {own:9.0f} {theirs / own:6.2f}   "
    return row + " ".join(f"{e:.0e}" for e in errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="a clone of the authors' repository")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(" width layers  grid  batch   authors [ms]    nwidth  ratio   y, dx differ by")
    for width, layers, n, batch in CASES:
        print(case(args.folder, width, layers, n, batch, args.repeats), flush=True)


if __name__ == "__main__":
    main()
