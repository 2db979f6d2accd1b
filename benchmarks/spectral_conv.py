"""Spectral convolution, forward plus backward: nwidth against neuraloperator, equal weights, one thread.

    python benchmarks/spectral_conv.py [--grids 64,128,256] [--modes 12,16,32] [--method auto] [--repeats 7]

Prints one row per case: milliseconds (median) of both, their ratio, and the relative difference of the output and of
the gradients with respect to the input and the weights.
"""

import argparse
import os
import statistics
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from nwidth.operators import SpectralConv

warnings.filterwarnings("ignore")


def paired(channels: int, modes: tuple[int, ...], method: str):
    """neuraloperator's layer and ours with the same weights."""
    from neuralop.layers.spectral_convolution import SpectralConv as Peer

    peer = Peer(channels, channels, modes, bias=True)
    ours = SpectralConv(channels, channels, modes, method=method)
    counts = ours.transform.counts(modes)
    weight = peer.weight.tensor.detach()[(..., *(slice(k) for k in counts))]
    with torch.no_grad():
        ours.weight.copy_(torch.view_as_real(weight.permute(*range(2, weight.ndim), 0, 1).reshape(-1, channels, channels)))
        ours.bias.copy_(peer.bias.flatten())
    return peer, ours


def milliseconds(step, repeats: int) -> float:
    for _ in range(2):
        step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def case(n: int, m: int, batch: int, channels: int, method: str, repeats: int) -> str:
    torch.manual_seed(0)
    peer, ours = paired(channels, (m, m), method)
    x = torch.randn(batch, channels, n, n, requires_grad=True)
    g = torch.randn(batch, channels, n, n)
    results = {}
    for name, module in (("peer", peer), ("ours", ours)):

        def step(module=module):
            x.grad = None
            module.zero_grad(set_to_none=True)
            y = module(x)
            y.backward(g)
            return y

        y = step().detach()
        weight = module.weight.grad if name == "ours" else module.weight.tensor.grad
        results[name] = (milliseconds(step, repeats), y, x.grad.clone(), weight)
    counts = ours.transform.counts((m, m))
    weight = results["peer"][3]
    weight = results["ours"][3] if weight is None else weight[(..., *(slice(k) for k in counts))]
    if weight.is_complex():
        weight = torch.view_as_real(weight.permute(2, 3, 0, 1).reshape(-1, channels, channels))
    errors = [difference(results["ours"][i], results["peer"][i]) for i in (1, 2)]
    errors.append(difference(results["ours"][3], weight))
    a, b = results["peer"][0], results["ours"][0]
    return f"{n:5d} {m:5d} {batch:5d} {a:14.1f} {b:9.1f} {a / b:6.2f}   " + " ".join(f"{e:.0e}" for e in errors)


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
