"""LSM, forward plus backward: nwidth against the authors' code, equal weights, one thread.

    git clone https://github.com/thuml/Latent-Spectral-Models
    python benchmarks/lsm_step.py Latent-Spectral-Models [--repeats 5]

Prints one row per case: median milliseconds of CPU time of both, their ratio, and the relative difference of the
output and of the input's gradient, in double precision.
"""

import argparse
import copy
import os
import statistics
import sys
from functools import partial
from types import SimpleNamespace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from nwidth import Grid
from nwidth.operators import LSM
from turns import turns

CASES = [(64, 64, 4, 2), (32, 64, 4, 4), (32, 85, 6, 4)]  # width, points of an axis, patch, batch


def renamed() -> dict[str, str]:
    """Names of our entries for those of the authors' LSM_2D."""
    names = {"lift": "fc0", "mix": "outc.conv", "project.linears.0": "fc1", "project.linears.1": "fc2"}
    for i in range(5):
        blocks = {f"scales.encoders.{i}": f"down{i}.maxpool_conv.1.double_conv" if i else "inc.double_conv"}
        if i:
            blocks[f"scales.decoders.{4 - i}"] = f"up{i}.conv.double_conv"
        for ours, theirs in blocks.items():
            for j in range(2):
                names |= {f"{ours}.convolutions.{j}": f"{theirs}.{3 * j}", f"{ours}.norms.{j}": f"{theirs}.{3 * j + 1}"}
        block = f"scales.process.{i}"
        names |= {f"{block}.encode": f"process{i + 1}.encoder_attn", f"{block}.decode": f"process{i + 1}.decoder_attn"}
        names |= {block: f"process{i + 1}"}
    return names


def paired(folder: str, width: int, n: int, patch: int):
    """The authors' network, on the CPU, and ours with the same weights."""
    sys.path.insert(0, os.path.join(folder, "models"))
    torch.Tensor.cuda = lambda self, *args, **kwargs: self  # the authors' constructor asks for a GPU
    from LSM_2D import Model

    more = -n % (16 * patch)
    options = {"d_model": width, "num_token": 4, "num_basis": 12, "in_dim": 1, "out_dim": 1}
    peer = Model(SimpleNamespace(**options, patch_size=f"{patch},{patch}", padding=f"{more},{more}"))
    ours = LSM(1, 1, Grid.make((n, n), kind="nodal"), width=width, levels=5, patch=patch, norm="batch")
    names, theirs, state = renamed(), peer.state_dict(), ours.state_dict()
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        leaf = "weights" if leaf == "weight" and module.startswith("scales.process") and module[-1].isdigit() else leaf
        state[key] = theirs[f"{names[module]}.{leaf}"].view(value.shape).clone()
    ours.load_state_dict(state)
    return peer, ours


def case(folder: str, width: int, n: int, patch: int, batch: int, repeats: int) -> str:
    torch.manual_seed(0)
    peer, ours = paired(folder, width, n, patch)
    x = torch.randn(batch, 1, n, n, requires_grad=True)
    g = torch.randn(batch, 1, n, n)

    def step(module, last: bool):
        x.grad = None
        module.zero_grad(set_to_none=True)
        v = x.to(next(module.parameters()).dtype)
        y = module(v.movedim(1, -1)).movedim(-1, 1) if last else module(v)
        y.backward(g.to(y))
        return y.detach(), x.grad

    pair = zip(step(copy.deepcopy(ours).double(), False), step(copy.deepcopy(peer).double(), True))
    errors = [float((a - b).norm() / b.norm()) for a, b in pair]
    steps = [partial(step, peer, True), partial(step, ours, False)]
    theirs, own = turns(steps, repeats, statistics.median)
    row = f"{width:6d} {n:5d} {patch:6d} {batch:6d} {theirs:14.0f} {own:9.0f} {theirs / own:6.2f}   "
    return row + " ".join(f"{e:.0e}" for e in errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="a clone of the authors' repository")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(" width  grid  patch  batch   authors [ms]    nwidth  ratio   y, dx differ by")
    for width, n, patch, batch in CASES:
        print(case(args.folder, width, n, patch, batch, args.repeats), flush=True)


if __name__ == "__main__":
    main()
