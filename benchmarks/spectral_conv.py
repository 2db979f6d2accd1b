"""Spectral convolution, forward plus backward: nwidth against neuraloperator, equal weights, one thread.

    python benchmarks/spectral_conv.py [--grids 64,128,256] [--modes 12,16,32] [--method auto] [--repeats 7]

Prints one row per case: median milliseconds of CPU time of both, their ratio, and the relative difference
of the output and of the gradients with respect to the input and the weights.
"""

import argparse
import os
import statistics
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from nwidth.operators import SpectralConv
from turns import turns

warnings.filterwarnings("ignore")


def mode_major(weight: torch.Tensor) -> torch.Tensor:
    """(C_in, C_out, *modes) complex to (modes, C_in, C_out, 2) real."""
    flat = weight.permute(*range(2, weight.ndim), 0, 1).reshape(-1, *weight.shape[:2])
    return torch.view_as_real(flat)


def paired(channels: int, modes: tuple[int, ...], method: str):
    """neuraloperator's layer and ours with the same weights."""
    from neuralop.layers.spectral_convolution import SpectralConv as Peer

    peer = Peer(channels, channels, modes, bias=True)
    ours = SpectralConv(channels, channels, modes, method=method)
    counts = ours.transform.counts(modes)
    weight = peer.weight.tensor.detach()[(..., *(slice(k) for k in counts))]
    with torch.no_grad():
        ours.weight.copy_(mode_major(weight))
        ours.bias.copy_(peer.bias.flatten())
    return peer, ours


def case(n: int, m: int, batch: int, channels: int, method: str, repeats: int) -> str:
    torch.manual_seed(0)
    peer, ours = paired(channels, (m, m), method)
    x = torch.randn(batch, channels, n, n, requires_grad=True)
    g = torch.randn(batch, channels, n, n)

    def step(module):
        x.grad = None
        module.zero_grad(set_to_none=True)
        y = module(x)
        y.backward(g)
        return y.detach()

    results = {name: [step(module), x.grad] for name, module in (("peer", peer), ("ours", ours))}
    counts = ours.transform.counts((m, m))
    gradient = peer.weight.tensor.grad[(..., *(slice(k) for k in counts))]
    results["peer"].append(mode_major(gradient))
    results["ours"].append(ours.weight.grad)
    errors = [float((a - b).norm() / b.norm()) for a, b in zip(results["ours"], results["peer"])]
    theirs, own = turns([lambda: step(peer), lambda: step(ours)], repeats, statistics.median)
    row = f"{n:5d} {m:5d} {batch:5d} {theirs:14.1f} {own:9.1f} {theirs / own:6.2f}   "
    return row + " ".join(f"{e:.0e}" for e in errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", default="64,128,256")
    parser.add_argument("--modes", default="12,16,32")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--method", default="auto")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(" grid modes batch  neuralop [ms]    nwidth  ratio   y, dx, dW differ by")
    for n in map(int, args.grids.split(",")):
        for m in map(int, args.modes.split(",")):
            print(case(n, m, args.batch, args.channels, args.method, args.repeats), flush=True)


if __name__ == "__main__":
    main()
