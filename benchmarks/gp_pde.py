"""Equations of Fang et al. (2024) by every solver: errors, coverage and processor time, one setting for all of a kind.

    python benchmarks/gp_pde.py                    # gp and chebyshev on all problems, jittered points, clouds
    python benchmarks/gp_pde.py published=6        # and six steps of the published formulation timed on each problem
    python benchmarks/gp_pde.py pictures=docs/gp   # and the pictures of docs/gp/solving.md

Hyper-parameters are those of conf/solver; no solver reads the exact solution. Errors are relative L2 at points that are
not collocation points. "Authors" is the best error in the published logs, after 800 to 20,000 s each.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from hydra import compose, initialize_config_module
from nwidth.build import build
from nwidth.gp.pde import GP, Chebyshev, Cloud, Equation, GPKronecker, PoissonEquation
from nwidth.gp.pde.equation import product
from nwidth.training.measure import cpu_seconds

AUTHORS = {
    "poisson_sin100": "4e-7",
    "poisson_sin6_cos100": "1.5e-6",
    "poisson_x_sin200": "9e-7",
    "poisson_three_scales": "3.5e-4",
    "poisson_sin500_parabola": "4.2e-4",
    "allen_cahn_sin100": "7.7e-7",
    "allen_cahn_sin6_cos100": "4.2e-6",
    "poisson_2d_sin100": "4.7e-6",
    "poisson_2d_sum": "1.0e-3",
    "allen_cahn_2d_product": "2.6e-3",
    "advection_fast": ".995",
}


def timed(act):
    start = cpu_seconds()
    return act(), cpu_seconds() - start


def problem(name: str) -> Equation:
    with initialize_config_module("nwidth.conf", version_base="1.3"):
        return build(compose("solve", overrides=[f"problem={name}"]).problem)


def test_points(equation: Equation) -> torch.Tensor:
    return product([torch.linspace(a, b, 3001 if equation.ndim == 1 else 301).double() for a, b in equation.box])


def listed(published: int, pictures: Path | None) -> None:
    columns = ("problem", "points a side", "authors", "gp", "95 % intervals hold, %", "Chebyshev", "its time / gp's")
    print("| " + " | ".join((*columns, "one step of the published method / gp's whole time")) + " |")
    print("| --- " * (len(columns) + 1) + "|")
    if published:  # what a first call loads is no part of a step
        GPKronecker(steps=1).solve(problem(next(iter(AUTHORS))))
    for name, authors in AUTHORS.items():
        equation = problem(name)
        x = test_points(equation)
        found, spent = timed(lambda e=equation: GP().solve(e))
        cover, more = timed(lambda f=found, at=x: f.coverage(at))
        classical, its = timed(lambda e=equation: Chebyshev().solve(e))
        step = ""
        if published:
            _, once = timed(lambda e=equation: GPKronecker(steps=1).solve(e))
            _, lasted = timed(lambda e=equation: GPKronecker(steps=1 + published).solve(e))
            step = f"{max(lasted - once, 0) / published / (spent + more):.3f}"
        print(
            f"| {name} | {equation.shape[0]} | {authors} | {found.error(x):.1e} | {100 * cover:.0f} | "
            f"{classical.error(x):.1e} | {its / (spent + more):.2f} | {step} |",
            flush=True,
        )
        print(f"gp took {spent:.2f} s, and {more:.2f} s for the standard deviation", file=sys.stderr, flush=True)
        if pictures is not None and name in ("poisson_x_sin200", "allen_cahn_2d_product"):
            from nwidth.training.solution_pictures import draw_solution

            n = 801 if equation.ndim == 1 else 201
            at = product([torch.linspace(a, b, n).double() for a, b in equation.box])
            draw_solution(found, at, *found.predict(at), pictures / f"{name}.png")


def converged(steps: int = 1500) -> None:
    """The published formulation until its residual settles, on an easy relative of the listed problems."""
    equation = PoissonEquation(solution="sin(10*x)", upper=["2*pi"], points=48)
    x = test_points(equation)
    theirs, lasted = timed(lambda: GPKronecker(frequency=4.0, components=5, lr=0.03, steps=steps).solve(equation))
    ours, spent = timed(lambda: GP().solve(equation))
    last = theirs.history[-1]
    print(
        f"\nsin 10x on [0, 2 pi], 48 points: published {theirs.error(x):.1e} after {steps} steps (residual "
        f"{last['residual']:.1e}), {lasted / spent:.0f} times the time of gp, {ours.error(x):.1e}",
        flush=True,
    )


def jittered() -> None:
    print(
        "\nsin 6x cos 100x, jittered points (a uniform grid needs 212): median error and largest of 10, mean coverage"
    )
    for n in (150, 200):
        errors, covers = [], []
        for seed in range(10):
            equation = PoissonEquation(solution="sin(6*x)*cos(100*x)", upper=["2*pi"], points=n, jitter=1.0, seed=seed)
            found = GP().solve(equation)
            errors.append(found.error(test_points(equation)))
            covers.append(found.coverage(test_points(equation)))
        errors.sort()
        print(f"  {n} points: {errors[5]:.1e}, {errors[-1]:.1e}, {100 * sum(covers) / 10:.0f} %", flush=True)


def random_problems(noise: float, count: int = 40) -> None:
    """Solutions with a random spectrum, the source seen with noise: how often the intervals hold them."""
    print(f"\nrandom solutions, sources with {100 * noise:g} % noise: 95 % intervals hold u and u'")
    covers = {(0,): 0.0, (1,): 0.0}
    for seed in range(count):
        g = torch.Generator().manual_seed(seed)
        waves, a, b = (torch.rand(6, generator=g).double() for _ in range(3))
        w = 60 * waves
        at = torch.linspace(0, 1, 80, dtype=torch.float64)[:, None]

        def u(x, order, w=w, a=a, b=b):
            phase = x * w + order * math.pi / 2 + 6 * b
            return (w**order * a * torch.sin(phase)).sum(1)

        size = noise * u(at, 2).std()

        @dataclass(frozen=True, kw_only=True)
        class Random(PoissonEquation):
            def source(self, x, size=size, u=u):
                g = torch.Generator().manual_seed(hash(tuple(x[:2, 0].tolist())))  # noise of its own at other points
                return u(x, 2) + size * torch.randn(len(x), generator=g).double()

            def exact(self, x, u=u):
                return u(x, 0)

        found = GP().solve(Random(solution="x", points=80))
        z = torch.linspace(0, 1, 301).double()[:, None]
        for order in covers:
            mean, std = found.predict(z, order)
            covers[order] += float(((mean - u(z, order[0])).abs() < 1.96 * std).double().mean()) / count
    print(f"  u {100 * covers[(0,)]:.0f} %, u' {100 * covers[(1,)]:.0f} % of {count} problems", flush=True)


@dataclass(frozen=True, kw_only=True)
class Smooth(Equation):
    """Lap u = f with u = exp(x) sin 3y + x^2."""

    lower: tuple = (-1.0, -1.0)
    upper: tuple = (1.0, 1.0)
    has_exact = True

    def terms(self, x, p):
        return {(2, 0): 1.0, (0, 2): 1.0}

    def exact(self, x):
        return torch.exp(x[:, 0]) * torch.sin(3 * x[:, 1]) + x[:, 0] ** 2

    def source(self, x):
        return -8 * torch.exp(x[:, 0]) * torch.sin(3 * x[:, 1]) + 2


@dataclass(frozen=True, kw_only=True)
class Corner(Smooth):
    """Lap u = f with u = r^(2/3) sin(2 theta / 3) + exp(x) sin 3y + x^2: singular at the origin."""

    def exact(self, x):
        theta = torch.atan2(x[:, 1], x[:, 0])
        theta = torch.where(theta < -1e-12, theta + 2 * math.pi, theta)
        return x.square().sum(1) ** (1 / 3) * torch.sin(2 * theta / 3) + super().exact(x)


def irregular() -> None:
    print("\nscattered points: error, error within .2 of the corner, coverage")
    a = 2 * math.pi * torch.arange(200).double() / 200
    ring = torch.stack([torch.cos(a), torch.sin(a)], 1)
    radius = 0.65 + 0.3 * torch.cos(5 * a)
    turns = torch.tensor([[0, 0], [1, 0], [1, 1], [-1, 1], [-1, -1], [0, -1], [0, 0]]).double()
    t = torch.arange(30).double()[:, None] / 30
    shapes = {
        "L-shape": (
            torch.cat([p + t * (q - p) for p, q in zip(turns, turns[1:])]),
            lambda x: (x[:, 0] < 0) | (x[:, 1] > 0),
        ),
        "disc with a hole": (torch.cat([ring, 0.3 * ring[::3]]), lambda x: (x.norm(dim=1) < 1) & (x.norm(dim=1) > 0.3)),
        "star": (
            radius[:, None] * ring,
            lambda x: x.norm(dim=1) < 0.65 + 0.3 * torch.cos(5 * torch.atan2(x[:, 1], x[:, 0])),
        ),
    }
    for name, (edge, inside) in shapes.items():
        equation = Corner() if name == "L-shape" else Smooth()
        every = torch.rand(20000, 2, generator=torch.Generator().manual_seed(0)).double() * 2 - 1
        every = every[inside(every)]
        inner, x = every[:800], every[800:2800]
        found, spent = timed(lambda e=equation, i=inner, b=edge: GP().solve(e, cloud=Cloud(i, b, e.exact(b))))
        blind, _ = timed(lambda e=equation, i=inner, b=edge: GP().solve(e, cloud=Cloud(i, b, e.exact(b), corners=())))
        near = x[x.norm(dim=1) < 0.2] if name == "L-shape" else x
        print(
            f"  {name}: {found.error(x):.1e}, {found.error(near):.1e}, {100 * found.coverage(x):.0f} %, {spent:.1f} s; "
            f"without looking for corners {blind.error(x):.1e}, {blind.error(near):.1e}",
            flush=True,
        )


def main() -> None:
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    unknown = set(given) - {"published", "pictures"}
    if unknown:
        sys.exit(f"unknown: {sorted(unknown)}; published=STEPS pictures=FOLDER")
    pictures = Path(given["pictures"]) if "pictures" in given else None
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
    listed(int(given.get("published", 0)), pictures)
    if "published" in given:
        converged()
    jittered()
    for noise in (0.0, 1e-4, 0.01):
        random_problems(noise)
    irregular()


if __name__ == "__main__":
    main()
