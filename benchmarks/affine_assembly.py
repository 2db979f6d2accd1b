"""Thermal block and elasticity block for many parameters: nwidth against pyMOR, and against scikit-fem assembling anew.

    python benchmarks/affine_assembly.py [--peer-python PATH] [--intervals 100] [--parameters 40] [--rounds 3]

PATH: a Python with pyMOR (pip install pymor), which may be this one; without it that comparison is left out. Both
solve pyMOR's thermal_block_problem((2, 2)) on the same crossed mesh (100 intervals: 20,201 unknowns) for the same
parameters, in turns, one thread, CPU seconds. scikit-fem assembles and solves with its own condense and solve. The
answers must agree to 1e-9. Printed: seconds, and how many times ours they are.

    discretise   mesh, all operators, right-hand side
    assemble     the matrix A(mu), for each parameter
    solve        solutions; ours: with a sparse factorisation each ("direct"), and as ``solve`` chooses ("auto"), whose
                 preparation is counted in every round
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

Times = dict[str, list[float]]


def serve() -> None:
    """The peer's process: one line of JSON in, one out."""
    from pymor.analyticalproblems.thermalblock import thermal_block_problem
    from pymor.core.logger import set_log_levels
    from pymor.discretizers.builtin import discretize_stationary_cg

    set_log_levels({"pymor": "ERROR"})
    request = json.loads(sys.stdin.readline())
    parameters = np.load(request["parameters"])
    for line in sys.stdin:
        if json.loads(line)["do"] == "end":
            return
        start = time.process_time()
        model, data = discretize_stationary_cg(thermal_block_problem((2, 2)), diameter=1 / request["intervals"])
        times = {"discretise": time.process_time() - start}
        model.disable_caching()
        values = [model.parameters.parse({"diffusion": mu}) for mu in parameters]
        start = time.process_time()
        for mu in values:
            model.operator.assemble(mu)
        times["assemble"] = time.process_time() - start
        start = time.process_time()
        solutions = [model.solve(mu).to_numpy().ravel() for mu in values]
        times["solve"] = time.process_time() - start
        np.savez(request["answer"], u=np.stack(solutions), points=data["grid"].centers(2))
        print(json.dumps(times), flush=True)


def timed(times: Times, name: str, call: Callable[[], object]) -> object:
    start = time.process_time()
    result = call()
    times.setdefault(name, []).append(time.process_time() - start)
    return result


def ours(problem, intervals: int, mu, times: Times) -> np.ndarray:
    """One round; problems keep their systems, so each round takes a new one."""
    problem = type(problem)()
    system = timed(times, "discretise", lambda: problem.system(problem.grid(intervals)))
    theta = problem.theta(mu).numpy()
    timed(times, "assemble", lambda: [system.operators.matrix(t) for t in theta])
    direct = timed(times, "direct", lambda: system.solve(mu, method="direct"))
    auto = timed(times, "auto", lambda: system.solve(mu))
    same("direct and auto", direct.numpy(), auto.numpy())
    return auto.numpy()


def scikit_fem(problem, mesh, parameters: np.ndarray, times: Times) -> np.ndarray:
    """Assemble, condense and solve for each parameter, piecewise constant coefficients; (N, components, points)."""
    import skfem
    from skfem.helpers import ddot, div, dot, eye, grad, sym_grad

    space = problem.space(mesh)
    vector = problem.components > 1
    element = skfem.ElementVector(skfem.ElementTriP1()) if vector else skfem.ElementTriP1()
    m = skfem.MeshTri(np.ascontiguousarray(space.points.T), np.ascontiguousarray(space.cells.T))
    basis = skfem.Basis(m, element)
    constant = skfem.Basis(m, skfem.ElementTriP0(), quadrature=basis.quadrature)
    block = space.block_of(space.centroids, problem.blocks)

    @skfem.BilinearForm
    def heat(u, v, w):
        return w["k"] * dot(grad(u), grad(v))

    @skfem.BilinearForm
    def elastic(u, v, w):
        shear, lame = 1 / 2.6, 0.3 / (1.3 * 0.4)
        return w["k"] * ddot(2 * shear * sym_grad(u) + lame * eye(div(u), 2), sym_grad(v))

    sides = [
        m.facets_satisfying(lambda x, i=i: (np.abs(x[0] - 1) < 1e-9) & (np.floor(3 * x[1]) == i)) for i in range(3)
    ]
    edges = [skfem.FacetBasis(m, element, facets=f) for f in sides]
    fixed = basis.get_dofs(lambda x: x[0] < 1e-9).all() if vector else basis.get_dofs().all()
    out = []

    def run() -> None:
        for mu in parameters:
            if vector:
                k = constant.interpolate(np.append(mu[:8], 1.0)[block])
                matrix = elastic.assemble(basis, k=k)
                load = sum(t * skfem.LinearForm(lambda v, w: v[0]).assemble(e) for t, e in zip(mu[8:], edges))
            else:
                matrix = heat.assemble(basis, k=constant.interpolate(mu[block]))
                load = skfem.LinearForm(lambda v, w: 1.0 * v).assemble(basis)
            u = skfem.solve(*skfem.condense(matrix, load, D=fixed))
            out.append(u[basis.nodal_dofs])

    timed(times, "scikit-fem", run)
    return np.stack(out)


def same(what: str, a: np.ndarray, b: np.ndarray) -> None:
    gap = np.linalg.norm(a - b) / np.linalg.norm(b)
    if not gap < 1e-9:
        raise SystemExit(f"{what}: the answers differ by {gap:.1e}")


def show(title: str, times: Times, pairs: list[tuple[str, str, str]]) -> None:
    print(title)
    best = {k: min(v) for k, v in times.items()}
    for label, mine, other in pairs:
        if other in best:
            print(f"  {label:52} {best[mine]:8.3f} s, {best[other]:8.3f} s: {best[other] / best[mine]:6.1f} times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    for name, default in (("intervals", 100), ("parameters", 40), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    import torch
    from nwidth.solvers import ElasticityBlock, ThermalBlock

    torch.set_num_threads(1)
    for problem, intervals in ((ThermalBlock(), options.intervals), (ElasticityBlock(), 24)):
        mesh = problem.grid(intervals)
        mu = problem.sample(range(options.parameters), 0, mesh).mu
        times: Times = {}
        with tempfile.TemporaryDirectory() as folder:
            peer = None
            if options.peer_python and isinstance(problem, ThermalBlock):
                np.save(f"{folder}/mu.npy", mu.numpy())
                peer = subprocess.Popen(
                    [options.peer_python, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
                request = {"parameters": f"{folder}/mu.npy", "answer": f"{folder}/u.npz", "intervals": intervals}
                peer.stdin.write(json.dumps(request) + "\n")
            for _ in range(options.rounds):
                u = ours(problem, intervals, mu, times)
                same("scikit-fem", scikit_fem(problem, mesh, mu.numpy(), times), u)
                if peer is not None:
                    peer.stdin.write('{"do": "round"}\n')
                    peer.stdin.flush()
                    for k, v in json.loads(peer.stdout.readline()).items():
                        times.setdefault(f"pymor {k}", []).append(v)
            if peer is not None:
                peer.stdin.write('{"do": "end"}\n')
                peer.stdin.close()
                peer.wait()
                answer = np.load(f"{folder}/u.npz")
                order = [np.lexsort(np.round(p, 9).T) for p in (answer["points"], mesh.points.numpy())]
                same("pyMOR", answer["u"][:, order[0]], u[:, 0][:, order[1]])
        title = f"{type(problem).__name__}: {mesh.shape[0] * problem.components:,} unknowns, {len(mu)} parameters"
        show(
            title + " (ours, other: ratio)",
            times,
            [
                ("discretise, pyMOR", "discretise", "pymor discretise"),
                ("assemble, pyMOR", "assemble", "pymor assemble"),
                ("solve directly, pyMOR", "direct", "pymor solve"),
                ("solve, pyMOR", "auto", "pymor solve"),
                ("solve directly, scikit-fem assembling anew", "direct", "scikit-fem"),
                ("solve, scikit-fem assembling anew", "auto", "scikit-fem"),
            ],
        )
        if isinstance(problem, ThermalBlock) and not options.peer_python:
            print("  no --peer-python: pyMOR is left out (pip install pymor)")


if __name__ == "__main__":
    main()
