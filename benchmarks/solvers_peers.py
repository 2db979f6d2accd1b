"""Burgers, Kuramoto-Sivashinsky and Navier-Stokes in batches: nwidth against exponax, equal schemes, one thread.

    python benchmarks/solvers_peers.py --peer-python PATH [--dtypes float64,float32] [--repeats 60]

PATH is the interpreter of an environment with exponax (pip install exponax), which the script starts for the peer's
side; without the option the current one is used. Both sides take the same initial states through the same number of
ETDRK4 steps of the same size, with products formed on the same points and truncated by the 2/3 rule, in coefficient
space: the peer by one compiled loop over a vmapped ``step_fourier``. Set-up and compilation are excluded, and both run
on one core. Prints the least CPU time per sample and step of each, their ratio, and the relative difference of the
final states.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import numpy as np

# equation, points on each axis, batch, steps, step size, viscosity or length of the box
CASES = [
    ("burgers", 128, 512, 10, 1e-3, 0.03),
    ("burgers", 1024, 64, 10, 2e-4, 0.002),
    ("ks", 128, 512, 10, 0.02, 60.0),
    ("ks", 512, 128, 10, 0.02, 200.0),
    ("ns", 64, 16, 5, 5e-3, 1e-3),
    ("ns", 128, 8, 5, 2e-3, 1e-3),
    ("ns", 256, 2, 5, 1e-3, 5e-4),
]


def initial(equation: str, n: int, batch: int) -> np.ndarray:
    """Smooth random states of mean zero, (batch, 1, *space): equal on both sides."""
    rng = np.random.default_rng(0)
    ndim = 2 if equation == "ns" else 1
    x = 2 * np.pi * np.arange(n) / n
    u = np.zeros((batch, 1, *(n,) * ndim))
    for _ in range(6):
        k = rng.integers(-4, 5, (batch, ndim)) + 0.0
        k[(k == 0).all(1)] = 1
        phase = rng.uniform(0, 2 * np.pi, batch)
        angle = phase.reshape(-1, *(1,) * ndim)
        for i in range(ndim):
            angle = angle + k[:, i].reshape(-1, *(1,) * ndim) * x.reshape(-1, *(1,) * (ndim - 1 - i))
        u[:, 0] += np.cos(angle)
    return u / 2


def peer_side(case, dtype: str):
    """A function that runs the case in exponax, and its result."""
    import jax

    jax.config.update("jax_enable_x64", dtype == "float64")
    import exponax as ex
    import jax.numpy as jnp

    equation, n, batch, steps, h, parameter = case
    if equation == "burgers":
        stepper = ex.stepper.Burgers(
            1, 1.0, n, h, diffusivity=parameter, single_channel=True, conservative=True, order=4
        )
    elif equation == "ks":
        stepper = ex.stepper.KuramotoSivashinskyConservative(1, parameter, n, h, single_channel=True, order=4)
    else:
        stepper = ex.stepper.NavierStokesVorticity(2, 1.0, n, h, diffusivity=parameter, order=4)
    ndim, sign = (2, -1) if equation == "ns" else (1, 1)  # the peer's vorticity is minus the curl

    def run(u):
        c = ex.fft(sign * u, num_spatial_dims=ndim)
        c, _ = jax.lax.scan(lambda c, _: (stepper.step_fourier(c), None), c, None, length=steps)
        return sign * ex.ifft(c, num_spatial_dims=ndim, num_points=n)

    compiled, u0 = jax.jit(jax.vmap(run)), jnp.array(initial(equation, n, batch), dtype)
    return lambda: np.asarray(compiled(u0).block_until_ready())


def own_side(case, dtype: str):
    """A function that runs the case in nwidth."""
    import torch
    from nwidth.data import Dataset
    from nwidth.solvers import Burgers, KuramotoSivashinsky, NavierStokes
    from nwidth.solvers.marching import at_once, keep_freed_memory
    from nwidth.solvers.stepping import ETDRK4

    torch.set_num_threads(1)
    equation, n, batch, steps, h, parameter = case
    if equation == "burgers":
        problem = Burgers(nu=parameter)
    elif equation == "ks":
        problem = KuramotoSivashinsky(lo=0.0, hi=parameter)
    else:
        problem = NavierStokes(nu=parameter, forcing="none")
    u0 = torch.from_numpy(initial(equation, n, batch)).to(getattr(torch, dtype))
    inputs = Dataset(problem.grid(n), u0=u0)

    keep_freed_memory()  # as problem.solve does, and the blocks below
    space = problem.space(inputs.grid, [n] * problem.ndim, u0)
    stepper = ETDRK4(problem.linear(space, inputs), h, lambda c: problem.nonlinear(c, space, inputs))

    def run():
        parts = []
        for part in u0.split(at_once(n**problem.ndim, u0.device)):
            c = space.coefficients(part)
            for _ in range(steps):
                c = stepper.step(c)
            parts.append(space.values(c))
        return torch.cat(parts).numpy()

    return run


def measure(run, case, repeats: int) -> float:
    """Least CPU time of one sample and step, in microseconds, after a warm-up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return 1e6 * min(times) / case[2] / case[3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--dtypes", default="float64,float32")
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--peer", nargs=3, metavar=("CASE", "DTYPE", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        case, dtype, file = CASES[int(args.peer[0])], args.peer[1], args.peer[2]
        run = peer_side(case, dtype)
        np.save(file, run())
        print(json.dumps(measure(run, case, args.repeats)))
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the peer's process inherits it
    print("equation points batch dtype     exponax [us]   nwidth [us]   ratio   differ by")
    for dtype in args.dtypes.split(","):
        for i, case in enumerate(CASES):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "u.npy"
                command = [args.peer_python, __file__, "--repeats", str(args.repeats)]
                done = subprocess.run(
                    [*command, "--peer", str(i), dtype, str(file)], capture_output=True, text=True, check=False
                )
                if done.returncode:
                    lines = done.stderr.strip().splitlines()[-1:]
                    sys.exit(f"{args.peer_python} cannot run exponax (pip install exponax): {' '.join(lines)}")
                theirs, wanted = json.loads(done.stdout), np.load(file)
            run = own_side(case, dtype)
            own, found = measure(run, case, args.repeats), run()
            error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
            row = f"{case[0]:8} {case[1]:6} {case[2]:5} {dtype:8} {theirs:13.2f} {own:13.2f} {theirs / own:7.2f}"
            print(f"{row}   {error:.0e}", flush=True)


if __name__ == "__main__":
    main()
