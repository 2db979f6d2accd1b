"""Burgers, Kuramoto-Sivashinsky and Navier-Stokes in batches: nwidth against exponax, equal schemes, one thread.

    python benchmarks/solvers_peers.py --peer-python PATH [--dtypes float64,float32] [--repeats 60]
    python benchmarks/solvers_peers.py --peer-python PATH --to 1e-6

PATH is the interpreter of an environment with exponax (pip install exponax), which the script starts for the peer's
side; without the option the current one is used. Both sides take the same initial states through the same number of
ETDRK4 steps of the same size, with products formed on the same points and truncated by the 2/3 rule, in coefficient
space: the peer by one compiled loop over a vmapped ``step_fourier``. Set-up and compilation are excluded, and both run
on one core. Prints the least CPU time per sample and step of each, their ratio, and the relative difference of the
final states.

With ``--to`` the question is that of a user (``--equations`` for some of them): random initial states to a final time
with no sample worse than so much in relative L2, double precision. The peer gets the fewest points that reach it with
the most steps tried, then the fewest steps that still do; nwidth its own choice of points and steps for each sample, at
the loosest ``tolerance`` that reaches it, its checks and grouping included. The reference is nwidth's solution to
``accuracy=1e-9``, which the peer's errors confirm from outside. Prints CPU milliseconds per sample and their ratio.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
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

# equation, samples, viscosity or length of the box, final time
TASKS = [("burgers", 1024, 0.05, 1.0), ("burgers", 1024, 0.01, 1.0), ("ks", 256, 60.0, 20.0), ("ns", 16, 1e-3, 4.0)]
POINTS = (48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)  # that the peer may choose
MOST_STEPS = {1: 4096, 2: 512}


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
    stepper = stepper_of_peer(equation, n, h, parameter)
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
    from nwidth.solvers.memory import at_once, keep_freed_memory
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


def stepper_of_peer(equation: str, n: int, h: float, parameter: float):
    import exponax as ex

    if equation == "burgers":
        return ex.stepper.Burgers(1, 1.0, n, h, diffusivity=parameter, single_channel=True, conservative=True, order=4)
    if equation == "ks":
        return ex.stepper.KuramotoSivashinskyConservative(1, parameter, n, h, single_channel=True, order=4)
    return ex.stepper.NavierStokesVorticity(2, 1.0, n, h, diffusivity=parameter, order=4)


def resampled(u: np.ndarray, n: int) -> np.ndarray:
    """Values (N, *space) of trigonometric polynomials at n points an axis, modes that these cannot hold dropped."""
    for axis in range(1, u.ndim):
        c = np.moveaxis(np.fft.rfft(u, axis=axis, norm="forward"), axis, -1)
        c = np.pad(c, [(0, 0)] * (c.ndim - 1) + [(0, max(0, n // 2 + 1 - c.shape[-1]))])[..., : n // 2 + 1]
        if n < u.shape[axis]:
            c[..., -1] = 0
        u = np.moveaxis(np.fft.irfft(c, n, norm="forward"), -1, axis)
    return u


def worst(u: np.ndarray, wanted: np.ndarray) -> float:
    """The largest relative L2 error of a sample, infinite where it is not finite."""
    size = len(u), -1
    u = resampled(u[:, 0], wanted.shape[-1]).reshape(size)
    wanted = wanted[:, 0].reshape(size)
    error = np.linalg.norm(u - wanted, axis=-1) / np.linalg.norm(wanted, axis=-1)
    return float(error.max()) if np.isfinite(error).all() else float("inf")


def cheapest_of_peer(task, target: float, u0: np.ndarray, wanted: np.ndarray, repeats: int) -> dict:
    """Points, steps, error and CPU time per sample of the peer's cheapest run that reaches the target."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import exponax as ex
    import jax.numpy as jnp

    equation, batch, parameter, end = task
    ndim, sign = (2, -1) if equation == "ns" else (1, 1)  # the peer's vorticity is minus the curl

    def runner(n: int, steps: int):
        stepper = stepper_of_peer(equation, n, end / steps, parameter)

        def run(u):
            c = ex.fft(sign * u, num_spatial_dims=ndim)
            c = jax.lax.fori_loop(0, steps, lambda _, c: stepper.step_fourier(c), c)
            return sign * ex.ifft(c, num_spatial_dims=ndim, num_points=n)

        compiled, start = jax.jit(jax.vmap(run)), jnp.array(resampled(u0[:, 0], n)[:, None])
        return lambda: np.asarray(compiled(start).block_until_ready())

    for n in POINTS:
        steps = MOST_STEPS[ndim]
        best = runner(n, steps)
        error = worst(best(), wanted)
        if error <= target:
            break
    else:
        return {}
    while steps > 1:
        run = runner(n, steps // 2)
        coarser = worst(run(), wanted)
        if coarser > target:
            break
        best, error, steps = run, coarser, steps // 2
    cost = measure(best, (*task[:1], n, batch, 1), repeats)
    return {"points": n, "steps": steps, "error": error, "cost": cost}


def problem_of(task, tolerance: float, accuracy: float | None = None):
    """nwidth's problem, one stored time."""
    from nwidth.solvers import Burgers, KuramotoSivashinsky, NavierStokes

    equation, _, parameter, end = task
    common = {"final_time": end, "times": 1, "tolerance": tolerance, "accuracy": accuracy}
    if equation == "burgers":
        return Burgers(nu=parameter, **common)
    if equation == "ns":
        return NavierStokes(nu=parameter, forcing="none", **common)
    return KuramotoSivashinsky(lo=0.0, hi=parameter, **common)


def to_accuracy(peer_python: str, target: float, repeats: int, equations: list[str]) -> None:
    import torch
    from nwidth.data import Dataset
    from nwidth.solvers.marching import March

    torch.set_num_threads(1)
    print("equation    parameter   exponax: points, steps, error, ms   nwidth: tolerance, levels, error, ms   ratio")
    for i, task in enumerate(TASKS):
        equation, batch, parameter, _ = task
        if equation not in equations:
            continue
        fine = problem_of(task, 1e-10, 1e-9)
        grid = fine.grid(256 if equation == "ns" else 1024)
        if equation == "burgers":
            u0 = fine.sample(range(batch), 0, grid).u0
        else:
            u0 = torch.from_numpy(initial(equation, grid.shape[0], batch))
        inputs = Dataset(grid, u0=u0.double())
        wanted = fine.solve(inputs).u[:, 0].numpy()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "task.npz"
            np.savez(file, u0=inputs.u0.numpy(), wanted=wanted)
            command = [peer_python, __file__, "--repeats", str(repeats), "--to", str(target)]
            done = run_peer([*command, "--peer", str(i), "float64", str(file)], peer_python)
        theirs = json.loads(done)
        coarse = inputs.thin(space=2 if equation == "ns" else 4)
        for tolerance in (1e-4, 1e-5, 1e-6, 1e-7, 1e-8):
            own = problem_of(task, tolerance)
            error = worst(own.solve(coarse).u[:, 0].numpy(), wanted)
            if error <= target:
                break
        cost = measure(partial(own.solve, coarse), (equation, 0, batch, 1), repeats)
        plans = March(own, coarse, own.stored_times(), torch.float64, target=own.target).run()[1]
        levels = sorted({n for plan in plans for _, (n, _) in plan})
        peer = "not reached" if not theirs else "{points}, {steps}, {error:.0e}, ".format(**theirs)
        ratio = theirs["cost"] / cost if theirs else float("nan")
        peer += f"{theirs['cost'] / 1e3:.2f}" if theirs else ""
        mine = f"{tolerance:.0e}, {levels[0]}..{levels[-1]}, {error:.0e}, {cost / 1e3:.2f}"
        print(f"{equation:11} {parameter:9g}   {peer:34}  {mine:37}  {ratio:.2f}", flush=True)


def run_peer(command: list[str], peer_python: str) -> str:
    """Standard output of the peer's side."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()[-1:]
        sys.exit(f"{peer_python} cannot run exponax (pip install exponax): {' '.join(lines)}")
    return done.stdout


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
    parser.add_argument("--to", type=float, metavar="ERROR", help="compare the work that this error takes")
    parser.add_argument("--equations", default="burgers,ks,ns", help="those taken with --to")
    args = parser.parse_args()
    if args.peer and args.to:
        with np.load(args.peer[2]) as file:
            found = cheapest_of_peer(TASKS[int(args.peer[0])], args.to, file["u0"], file["wanted"], args.repeats)
        print(json.dumps(found))
        return
    if args.peer:
        case, dtype, file = CASES[int(args.peer[0])], args.peer[1], args.peer[2]
        run = peer_side(case, dtype)
        np.save(file, run())
        print(json.dumps(measure(run, case, args.repeats)))
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the peer's process inherits it
    if args.to:
        to_accuracy(args.peer_python, args.to, args.repeats, args.equations.split(","))
        return
    print("equation points batch dtype     exponax [us]   nwidth [us]   ratio   differ by")
    for dtype in args.dtypes.split(","):
        for i, case in enumerate(CASES):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "u.npy"
                command = [args.peer_python, __file__, "--repeats", str(args.repeats)]
                done = run_peer([*command, "--peer", str(i), dtype, str(file)], args.peer_python)
                theirs, wanted = json.loads(done), np.load(file)
            run = own_side(case, dtype)
            own, found = measure(run, case, args.repeats), run()
            error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
            row = f"{case[0]:8} {case[1]:6} {case[2]:5} {dtype:8} {theirs:13.2f} {own:13.2f} {theirs / own:7.2f}"
            print(f"{row}   {error:.0e}", flush=True)


if __name__ == "__main__":
    main()
