"""Where matrix products stop beating the FFT: GEMM_WINS of backends/spectral_paths.py for one axis of complex data,
the three constants of backends/real_products.py for all axes of real data.

    python benchmarks/calibrate_transforms.py [--sizes 32,64,128,256,512,1024] [--megavalues 2]

For each number n of points, prints the time of the FFT over that of the matrix product (analysis and synthesis,
forward and backward) for growing K kept coefficients of K <= n/2 + 1, and the last K at which the product wins; then
the same for whole transforms of n and n x n points and r real functions an axis: Fourier with the channels first and
last, and cosine, whose FFT has the backward that torch derives.
"""

import argparse
import math
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from nwidth.backends.bases import CosineBasis, FourierBasis, is_half
from nwidth.backends.channels_last import analyse_last, synthesise_last
from nwidth.backends.spectral_paths import analyse, synthesise
from nwidth.backends.transforms import Fourier, Transform
from turns import turns


def seconds(basis: FourierBasis, x: torch.Tensor, axis: int, m: int, matmul: bool) -> float:
    n, times = x.shape[axis], []
    for _ in range(7):
        start = time.perf_counter()
        x.grad = None
        synthesise(basis, analyse(basis, x, axis, m, matmul), axis, m, n, matmul).backward(x.detach())
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def whole(t: Transform, n: int, values: float, last: bool) -> str:
    d, channels = t.ndim, 32
    x = torch.randn(max(1, int(values / n**d / channels)), *(n,) * d, channels)
    x = (x if last else x.movedim(-1, 1).contiguous()).requires_grad_()
    ratios = []
    for m in sorted({n // 8, n // 6, n // 4, n // 3, n // 2, n}):
        kept = (min(m, t.bases[0].limit(n)),) * d

        def step(method: str, kept: tuple[int, ...] = kept) -> None:
            x.grad = None
            if last and method == "matmul":
                y = synthesise_last(t, analyse_last(t, x, kept), kept, (n,) * d)
            else:
                u = x.movedim(-1, 1) if last else x
                y = t.inverse(t.forward(u, kept, method), (n,) * d, kept, method)
                y = y.movedim(1, -1) if last else y
            y.backward(x.detach())

        fft, products = turns([lambda: step("pruned"), lambda: step("matmul")], 3)
        r = max(2 * c if is_half(b) else c for b, c in zip(t.bases, t.counts(kept)))
        ratios.append(f"{r / math.log2(n):.1f}: {fft / products:.2f}")
    return f"r/log2(n): FFT/product  {'  '.join(ratios)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="32,64,128,256,512,1024")
    parser.add_argument("--megavalues", type=float, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for n in map(int, args.sizes.split(",")):
        for name, basis, axis in (
            ("half, last axis", FourierBasis(half=True), 1),
            ("full, first axis", FourierBasis(), 1),
        ):
            rows = max(1, int(args.megavalues * 1e6 / n))
            x = torch.randn(rows, n)
            if not basis.half:
                x = torch.randn(rows // 32, n, 16, dtype=torch.complex64)
            x.requires_grad_()
            ratios, last = [], 0
            for k in sorted({4, 8, 16, n // 4, n // 3, n // 2, min(8 * round(math.log2(n)), n // 2 + 1)}):
                m = 2 * (k - 1) if basis.half else k
                ratio = seconds(basis, x, axis, m, False) / seconds(basis, x, axis, m, True)
                ratios.append(f"{k}: {ratio:.2f}")
                last = k if ratio > 1 else last
            print(f"n={n:5d} {name:17s} K: FFT/product  {'  '.join(ratios)}   last K won {last}", end=" ")
            print(f"= {last / math.log2(n):.1f} log2(n)", flush=True)
        for d in (1, 2):
            for name, t, last in (
                ("Fourier, channels first", Fourier(d), False),
                ("Fourier, channels last", Fourier(d), True),
                ("cosine, channels first", Transform([CosineBasis()] * d), False),
            ):
                print(f"n={n:5d} {d}D {name:24s} {whole(t, n, args.megavalues * 1e6, last)}", flush=True)


if __name__ == "__main__":
    main()
