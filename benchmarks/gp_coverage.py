"""How often 95 % intervals of equation solvers hold the solution and its slopes: clouds, grids, other seeds and sizes.

    python benchmarks/gp_coverage.py [clouds lines grids boxes]

Prints the error, the shares of points off the collocation points where u and its slopes lie within 1.96 standard
deviations, and the root mean square of error / standard deviation. Options are those of conf/solver/gp.yaml.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from nwidth.gp.pde import GP, Cloud, Equation, PoissonEquation
from nwidth.gp.pde.expressions import derivative
from torch import Tensor

torch.set_num_threads(1)
F64 = torch.float64
SMOOTH = (
    ("exp(x) sin 3y + x^2", lambda x: torch.exp(x[:, 0]) * torch.sin(3 * x[:, 1]) + x[:, 0] ** 2),
    ("sin 5x cos 4y", lambda x: torch.sin(5 * x[:, 0]) * torch.cos(4 * x[:, 1])),
    ("1 / (1 + 4 r^2)", lambda x: 1 / (1 + 4 * (x - 0.3).square().sum(1))),
)


@dataclass(frozen=True, kw_only=True)
class Made(Equation):
    """Lap u + c u = f of a given u, by automatic differentiation."""

    u: Callable[[Tensor], Tensor]
    c: float = 0.0
    lower: tuple = (-1.0, -1.0)
    upper: tuple = (1.0, 1.0)
    has_exact = True

    def terms(self, x, p):
        return {**dict.fromkeys(seconds(len(self.lower)), 1.0), (0,) * len(self.lower): self.c}

    def exact(self, x):
        return self.u(x)

    def source(self, x):
        return sum(derivative(self.u, x, o) for o in seconds(len(self.lower))) + self.c * self.u(x)


def seconds(d: int) -> list[tuple[int, ...]]:
    return [tuple(2 * (i == j) for j in range(d)) for i in range(d)]


def firsts(d: int) -> list[tuple[int, ...]]:
    return [tuple(int(i == j) for j in range(d)) for i in range(d)]


def row(name: str, found, x: Tensor, u: Callable[[Tensor], Tensor]) -> list[float]:
    """[share of u, share of the slopes]; prints a line."""
    d, shares, squares = x.shape[1], [], []
    for order in [(0,) * d, *firsts(d)]:
        mean, std = found.predict(x, order)
        z = (mean - (derivative(u, x, order) if any(order) else u(x))) / std.clamp_min(1e-300)
        shares.append(float((z.abs() < 1.96).double().mean()))
        squares.append(float(z.square().mean().sqrt()))
    slope = sum(shares[1:]) / d
    print(
        f"| {name} | {found.error(x):.1e} | {100 * shares[0]:.0f} | {100 * slope:.0f} | {squares[0]:.2f} |", flush=True
    )
    return [shares[0], slope]


def ring(n: int, r: float = 1.0) -> Tensor:
    a = 2 * math.pi * torch.arange(n, dtype=F64) / n
    return r * torch.stack([a.cos(), a.sin()], 1)


def domains(m: int) -> Iterator[tuple[str, Tensor, Callable[[Tensor], Tensor]]]:
    """(name, about m boundary points, which points lie inside)."""
    turns = torch.tensor([[0, 0], [1, 0], [1, 1], [-1, 1], [-1, -1], [0, -1], [0, 0]], dtype=F64)
    t = torch.arange(m // 6, dtype=F64)[:, None] / (m // 6)
    yield (
        "L-shape",
        torch.cat([p + t * (q - p) for p, q in zip(turns, turns[1:])]),
        lambda x: (x[:, 0] < 0) | (x[:, 1] > 0),
    )
    yield "disc", ring(m), lambda x: x.norm(dim=1) < 1
    yield (
        "annulus",
        torch.cat([ring(3 * m // 4), ring(m // 4, 0.3)]),
        lambda x: (x.norm(dim=1) < 1) & (x.norm(dim=1) > 0.3),
    )
    circle = ring(m)
    radius = 0.65 + 0.3 * torch.cos(5 * torch.atan2(circle[:, 1], circle[:, 0]))
    yield (
        "star",
        radius[:, None] * circle,
        lambda x: x.norm(dim=1) < 0.65 + 0.3 * torch.cos(5 * torch.atan2(x[:, 1], x[:, 0])),
    )
    yield (
        "ellipse",
        circle * torch.tensor([1.0, 0.4], dtype=F64),
        lambda x: (x / torch.tensor([1.0, 0.4], dtype=F64)).norm(dim=1) < 1,
    )


def clouds() -> None:
    shares = []
    for n, m, seed in ((100, 60, 1), (300, 120, 2)):
        for name, edge, inside in domains(m):
            for label, u in SMOOTH:
                every = torch.rand(20000, 2, generator=torch.Generator().manual_seed(seed), dtype=F64) * 2 - 1
                every = every[inside(every)]
                equation = Made(u=u)
                cloud = Cloud(every[:n], edge, u(edge))
                shares.append(
                    row(f"{name}, {n} points, {label}", GP().solve(equation, cloud=cloud), every[n : n + 1500], u)
                )
    summary("clouds", shares)


def lines() -> None:
    """One dimension: sums of six waves, equally spaced and jittered points, few to many."""
    shares = []
    for n, jitter, top in ((24, 0.0, 30.0), (40, 0.0, 30.0), (40, 1.0, 60.0), (80, 1.0, 60.0), (80, 0.0, 120.0)):
        for seed in range(6):
            g = torch.Generator().manual_seed(seed)
            w, a, b = (torch.rand(6, generator=g, dtype=F64) for _ in range(3))

            def u(x, w=w * top, a=a, b=b):
                return (a * torch.sin(x * w + 6 * b)).sum(1)

            equation = PoissonEquation(
                solution=" + ".join(f"{p:.15f}*sin({top * q:.13f}*x + {6 * r:.15f})" for p, q, r in zip(a, w, b)),
                points=n,
                jitter=jitter,
                seed=seed,
            )
            x = torch.linspace(0, 1, 601, dtype=F64)[:, None]
            shares.append(row(f"{n} points, jitter {jitter:g}, to {top:g}", GP().solve(equation), x, u))
    summary("one dimension", shares)


def grids() -> None:
    shares = []
    for label, u in SMOOTH:
        for n in (10, 16, 30):
            x = torch.rand(1500, 2, generator=torch.Generator().manual_seed(0), dtype=F64) * 2 - 1
            for c in (0.0, 3.0):
                equation = Dirichlet(u=u, c=c, points=n)
                shares.append(row(f"{n} x {n} grid, c = {c:g}, {label}", GP().solve(equation), x, u))
    summary("two dimensions", shares)


@dataclass(frozen=True, kw_only=True)
class Dirichlet(Made):
    def conditions(self):
        from nwidth.gp.pde import Condition

        return [Condition(axis, end, self.u) for axis in range(len(self.lower)) for end in (0, 1)]


def boxes() -> None:
    """Three dimensions: inside, and on the faces, where u is given at the nodes."""
    shares = []
    for label, u in (
        ("sin(5x + y) cos 4z", lambda x: torch.sin(5 * x[:, 0] + x[:, 1]) * torch.cos(4 * x[:, 2])),
        ("1 / (1 + 4 r^2)", lambda x: 1 / (1 + 4 * (x - 0.3).square().sum(1))),
    ):
        for n in (12, 16, 24):
            equation = Dirichlet(u=u, points=n, lower=(-1.0,) * 3, upper=(1.0,) * 3)
            found = GP().solve(equation)
            x = torch.rand(1200, 3, generator=torch.Generator().manual_seed(0), dtype=F64) * 2 - 1
            shares.append(row(f"{n}^3 grid, {label}", found, x, u))
            face = x.clone()
            face[torch.arange(len(x)), torch.arange(len(x)) % 3] = 1.0 - 2.0 * (torch.arange(len(x)) % 2).double()
            shares.append(row(f"{n}^3 grid, {label}, faces", found, face, u))
    summary("three dimensions", shares)


def summary(name: str, shares: list[list[float]]) -> None:
    s = torch.tensor(shares)
    low, mean = s.amin(0), s.mean(0)
    print(
        f"{name}: of {len(s)} problems the mean share is {100 * mean[0]:.0f} % of u, {100 * mean[1]:.0f} % of slopes, "
        f"the least {100 * low[0]:.0f} and {100 * low[1]:.0f} %; below 90 %: {int((s[:, 0] < 0.9).sum())} and "
        f"{int((s[:, 1] < 0.9).sum())}\n",
        flush=True,
    )


if __name__ == "__main__":
    parts = {"clouds": clouds, "lines": lines, "grids": grids, "boxes": boxes}
    chosen = sys.argv[1:] or list(parts)
    if set(chosen) - set(parts):
        sys.exit(f"unknown: {sorted(set(chosen) - set(parts))}; known: {', '.join(parts)}")
    print("| problem | error | 95 % intervals hold u, % | slopes, % | rms of error / std |\n" + "| --- " * 5 + "|")
    for name in chosen:
        parts[name]()
