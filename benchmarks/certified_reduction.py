"""Certified reduced bases of the thermal block: nwidth against pyMOR, in turns, one thread, CPU seconds.

    python benchmarks/certified_reduction.py [--intervals 100] [--training 1000] [--rank 25] [--online 10000]
        [--peer-online 200] [--rounds 2]

Needs pyMOR (pip install pymor). Both reduce pyMOR's thermal_block_problem((2, 2)) on the same crossed mesh (100
intervals: 20,201 unknowns), each from its own discretisation, which is not timed, over the same training parameters:

    offline   weak greedy with ``rank`` steps: products, full solutions, orthonormalised residuals, estimates
    online    reduced solutions, a parameter: ours all ``online`` at once, pyMOR's one by one over ``peer-online``
    bound     the error estimate, a parameter, likewise (both with the reduced solution that it needs)

Printed: seconds and ratios, the largest error in the H1 seminorm over 20 new parameters for both, and the least and
largest effectivity of ours.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from nwidth.solvers import ThermalBlock
from nwidth.solvers.reduced.affine import AffineReductor, greedy


def clock(call, *args):
    start = time.process_time()
    result = call(*args)
    return time.process_time() - start, result


def each(call, parameters):
    return [call(m) for m in parameters]


def main() -> None:
    from pymor.algorithms.greedy import rb_greedy
    from pymor.analyticalproblems.thermalblock import thermal_block_problem
    from pymor.core.logger import set_log_levels
    from pymor.discretizers.builtin import discretize_stationary_cg
    from pymor.parameters.functionals import ExpressionParameterFunctional
    from pymor.reductors.coercive import CoerciveRBReductor

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (
        ("intervals", 100),
        ("training", 1000),
        ("rank", 25),
        ("online", 10000),
        ("peer-online", 200),
        ("rounds", 2),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    set_log_levels({"pymor": "ERROR"})
    problem = ThermalBlock()
    mesh = problem.grid(options.intervals)
    training = problem.sample(range(options.training), 0, mesh).mu
    online = problem.sample(range(options.online), 1, mesh).mu
    fresh = problem.sample(range(20), 2, mesh).mu
    fom, _ = discretize_stationary_cg(thermal_block_problem((2, 2)), diameter=1 / options.intervals)
    fom.disable_caching()
    parse = [[fom.parameters.parse({"diffusion": m}) for m in v.numpy()] for v in (training, online, fresh)]
    alpha = ExpressionParameterFunctional("min(diffusion)", fom.parameters)
    best: dict[str, float] = {}

    def keep(name: str, seconds: float) -> None:
        best[name] = min(best.get(name, np.inf), seconds)

    for _ in range(options.rounds):
        own = ThermalBlock()  # problems keep their systems and factorisations: each round takes a new one
        system = own.system(mesh)

        def ours(system):
            reductor = AffineReductor(system, product="h1_semi", coercivity=lambda mu: mu.double().amin(1))
            return reductor, greedy(reductor, training, rank=options.rank)[0]

        seconds, (reductor, model) = clock(ours, system)
        keep("offline", seconds)
        seconds, _ = clock(model.solve, online)
        keep("online", seconds / len(online))
        seconds, _ = clock(model.error_bound, online)
        keep("bound", seconds / len(online))

        def theirs():
            peer = CoerciveRBReductor(fom, product=fom.h1_0_semi_product, coercivity_estimator=alpha)
            return rb_greedy(fom, peer, parse[0], max_extensions=options.rank)["rom"], peer

        seconds, (rom, peer) = clock(theirs)
        keep("pymor offline", seconds)
        few = parse[1][: options.peer_online]
        seconds, _ = clock(each, rom.solve, few)
        keep("pymor online", seconds / len(few))
        seconds, _ = clock(each, rom.estimate_error, few)
        keep("pymor bound", seconds / len(few))
    truth = system.restrict(system.solve(fresh), fresh)
    found = model.solve(fresh)
    error = reductor.norms(truth - found @ model.basis)
    bound = model.error_bound(fresh, found, norm="product")
    energy = torch.stack(
        [
            (e @ torch.from_numpy(system.assemble(m)[0] @ e.numpy())).sqrt()
            for m, e in zip(fresh, truth - found @ model.basis)
        ]
    )
    sharp = model.error_bound(fresh, found)
    other = max(float((fom.solve(m) - peer.reconstruct(rom.solve(m))).norm(fom.h1_0_semi_product)[0]) for m in parse[2])
    print(f"thermal block, {mesh.shape[0]:,} unknowns, {len(training)} training parameters, {model.rank} steps")
    for name, unit in (("offline", "s"), ("online", "us"), ("bound", "us")):
        scale = 1e6 if unit == "us" else 1
        a, b = best[name] * scale, best["pymor " + name] * scale
        print(f"  {name:8} ours {a:9.3f} {unit}, pyMOR {b:9.3f} {unit}: {b / a:6.1f} times")
    print(f"  largest error ours {float(error.max()):.1e}, pyMOR {other:.1e}")
    for name, ratio in (("product", bound / error), ("energy", sharp / energy)):
        print(f"  effectivity of ours in the {name} norm: {float(ratio.min()):.2f} to {float(ratio.max()):.2f}")


if __name__ == "__main__":
    main()
