"""Greedy choice of the parameters whose solutions make a reduced basis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ....data.progress import bytes_bar
from ....errors import NWidthError
from .model import AffineModel
from .reductor import AffineReductor

METHODS = ("weak", "strong")


@dataclass
class GreedyLog:
    """``history``: rank, the largest bound (weak) or error (strong) in training before each step, and at the end;
    ``chosen``: the parameters solved for, (steps, P); ``notes``: why it ended, where that is not the tolerance."""

    history: list[dict[str, Any]] = field(default_factory=list)
    chosen: list[Tensor] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def greedy(
    reductor: AffineReductor,
    training: Tensor,
    *,
    rank: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    method: str = "weak",
) -> tuple[AffineModel, GreedyLog]:
    """Extend the basis by the solution at the training parameter (N, P) where the model is worst, again and again.

    method : ``weak``, by the error bound (by the residual where there is no coercivity bound); ``strong``, by the
        error itself in X, for which all N solutions are computed and kept.
    rank, rtol, atol : stop at this many basis vectors, or where the largest of the estimates in training, relative
        to |u_N|_X or as it is, falls to the tolerance. At least one of them.

    It ends with a note where a solution adds nothing to the basis: what is left is rounding.
    Binev, Cohen, Dahmen, DeVore, Petrova and Wojtaszczyk (2011), SIAM J. Math. Anal. 43, 1457-1472.
    """
    if method not in METHODS or (rank is None and rtol is None and atol is None) or not len(training):
        raise NWidthError(
            "greedy",
            got=f"method={method!r}, rank={rank}, rtol={rtol}, atol={atol}, {len(training)} training parameters",
            expected="method " + " or ".join(METHODS) + ", one of rank, rtol, atol, and parameters",
        )
    system = reductor.system
    limit = min(rank or len(training), len(training) + reductor.rank, len(system.free))
    stored = len(training) * len(system.free) if method == "strong" else 0
    reductor.need_memory(rank or min(limit, reductor.rank + 1), stored)
    truth = system.restrict(system.solve(training), training) if method == "strong" else None
    log = GreedyLog()
    with bytes_bar("greedy", limit) as advance:
        if truth is None and limit > 4:
            _ = system.condensation  # pays over several single solves
        while True:
            model = reductor.reduce()
            estimate, size = _estimate(model, training, truth, reductor)
            worst = int((estimate / size if rtol is not None and model.rank else estimate).argmax())
            relative = float(estimate[worst] / size[worst]) if model.rank else float("inf")
            absolute = float(estimate.max())
            log.history.append({"rank": model.rank, f"{method}_max": absolute, f"{method}_rel": relative})
            if (atol is not None and absolute <= atol) or (rtol is not None and relative <= rtol):
                break
            if model.rank >= limit:
                if rank is None:
                    log.notes.append(f"all {limit} training parameters are in the basis")
                break
            mu = training[worst : worst + 1]
            u = system.restrict(system.solve(mu), mu) if truth is None else truth[worst : worst + 1]
            if not reductor.extend(u):
                log.notes.append(
                    f"ended at rank {model.rank}: the worst solution is in the basis up to rounding "
                    f"(largest estimate {absolute:.1e})"
                )
                break
            log.chosen.append(mu[0].clone())
            advance(1)
    return model, log


def _estimate(model: AffineModel, mu: Tensor, truth: Tensor | None, reductor: AffineReductor) -> tuple[Tensor, Tensor]:
    """Estimates of the errors in X and norms of the solutions, (N,)."""
    c = model.solve(mu)
    size = c.norm(dim=1).clamp_min(torch.finfo(c.dtype).tiny)
    if truth is not None:
        return torch.cat([reductor.norms(u - a @ model.basis) for u, a in zip(truth.split(64), c.split(64))]), size
    if model.coercivity is None:
        return model.residual_norm(mu, c), size
    return model.error_bound(mu, c, norm="product"), size


def adaptive_greedy(
    reductor: AffineReductor,
    training: Tensor,
    *,
    rtol: float,
    rank: int | None = None,
    validation: int = 200,
    ratio: float = 1.0,
    rounds: int = 8,
    seed: int = 1,
) -> tuple[AffineModel, GreedyLog]:
    """``greedy`` with ``rtol`` on a training set that grows until it does not over-fit.

    After each greedy the bound is evaluated at ``validation`` new random parameters of the box. Where its largest
    relative value exceeds ``ratio`` * rtol they join the training set, together with as many more, drawn next to
    those that exceeded it, and the greedy goes on. Haasdonk, Dihlmann and Ohlberger (2011), Math. Comput. Model. Dyn.
    Syst. 17, 423-442, who refine a mesh of the box instead; (C) random points need none.

    ``history`` has an entry ``validation_rel`` and the size of the training set for each round.
    """
    if validation < 1 or rounds < 1 or ratio <= 0:
        raise NWidthError(
            "adaptive_greedy",
            got=f"validation={validation}, rounds={rounds}, ratio={ratio}",
            expected="positive numbers",
        )
    problem, mesh = reductor.system.problem, reductor.system.mesh
    log = GreedyLog()
    lo, hi = (torch.tensor([getattr(p, k) for p in problem.parameters], dtype=torch.float64) for k in ("lo", "hi"))
    generator = torch.Generator().manual_seed(seed)
    for i in range(rounds):
        model, found = greedy(reductor, training, rank=rank, rtol=rtol)
        log.history += found.history
        log.chosen += found.chosen
        log.notes += found.notes
        fresh: Tensor = problem.sample(range(i * validation, (i + 1) * validation), seed, mesh).mu  # type: ignore
        estimate, size = _estimate(model, fresh, None, reductor)
        relative = estimate / size
        worst = float(relative.max())
        log.history.append({"rank": model.rank, "validation_rel": worst, "training": len(training)})
        if worst <= ratio * rtol or (rank is not None and model.rank >= rank) or found.notes:
            return model, log
        bad = fresh[relative > ratio * rtol]
        near = bad[torch.randint(len(bad), (validation,), generator=generator)]
        spread = (hi - lo) / max(2.0, len(training) ** (1 / len(lo)))
        step = (torch.rand(near.shape, generator=generator, dtype=torch.float64) - 0.5) * spread
        training = torch.cat([training, fresh, (near + step).clamp(lo, hi)])
    log.notes.append(
        f"after {rounds} rounds the bound on new parameters is still {worst:.1e}, above {ratio * rtol:.1e}"
    )
    return model, log
