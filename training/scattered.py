"""An elliptic problem at scattered points: random inputs there, and the bound that a neural process is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..backends import Grid
from ..data import Dataset
from ..data.arrays import loaded
from ..data.resampling import Resampler
from ..errors import NWidthError
from ..gp.process import Collocation, GaussianCoefficients, Observations, Waves, evidence_bound
from ..solvers import Problem
from ..solvers.box import BoxProblem
from ..solvers.forms import BoxForm


class Scattered:
    """A problem at scattered points of the unit cube, in units in which its typical numbers are one."""

    def __init__(self, problem: Problem, points: int, modes: int, collocation: int | None):
        sides = problem.side_pairs if isinstance(problem, BoxProblem) else ()
        if not isinstance(problem, BoxProblem) or any(side != "dirichlet" for pair in sides for side in pair):
            raise NWidthError(
                "RandomGridProcess",
                got=f"a {type(problem).__name__}" + (f" with sides={problem.sides}" if sides else ""),  # type: ignore[attr-defined]
                expected="-div(a grad u) = f on a box with u = 0 on all sides",
                fix="use another surrogate",
            )
        self.form = BoxForm(problem, points)  # refuses other boundary values than 0
        self.box, self.dims = problem, problem.ndim
        self.waves = Waves(modes, self.dims)
        self.count = 4 * self.waves.count if collocation is None else collocation
        if self.count <= self.waves.count:
            raise NWidthError(
                "RandomGridProcess",
                got=f"{self.count} collocation points for {self.waves.count} sines",
                expected="more points than sines",
            )
        self.shift = self.size = torch.zeros(())
        self.logarithmic = torch.zeros(1, dtype=torch.bool)
        self.kappa_unit = self.force_unit = 1.0

    @property
    def length(self) -> float:
        return self.box.hi - self.box.lo

    @property
    def solution_unit(self) -> float:
        return self.force_unit * self.length**2 / self.kappa_unit

    def standardise(self, raw: Tensor) -> None:
        """Units from random inputs; channels that are positive in all of them are read as logarithms."""
        inputs = self.form.inputs(raw)
        self.kappa_unit = float(self.box.coefficient(inputs).log().mean().exp())
        self.force_unit = float(self.box.forces(inputs).square().mean().sqrt()) or 1.0
        values = raw.transpose(0, 1).flatten(1)
        self.logarithmic = (values > 0).all(1)
        values = torch.where(self.logarithmic[:, None], values.clamp_min(1e-300).log(), values)
        std = values.std(1)
        self.shift, self.size = values.mean(1), torch.where(std > 1e-9, std, torch.ones_like(std))

    def standard(self, values: Tensor) -> Tensor:
        """Channels (N, C, ...) as the network sees them."""
        shape = (-1, *(1,) * (values.ndim - 2))
        shift, size, log = (v.to(values.device).view(shape) for v in (self.shift, self.size, self.logarithmic))
        if bool((log & (values <= 0)).any()):
            raise NWidthError(
                "RandomGridProcess", got="values that are not positive", expected="fields as in training, all positive"
            )
        return (torch.where(log, values.clamp_min(1e-300).log(), values) - shift) / size

    def check(self, data: Dataset) -> None:
        """Raise NWidthError where the data are not of this problem."""
        grid = data.grid
        good = isinstance(grid, Grid) and grid.ndim == self.dims and data.t is None and data.a is not None
        good = good and data.a.shape[1] == self.form.in_channels  # type: ignore[union-attr]
        good = good and all(abs(x.lo - self.box.lo) + abs(x.hi - self.box.hi) < 1e-6 * self.length for x in grid.axes)  # type: ignore[union-attr]
        if not good:
            raise NWidthError(
                "RandomGridProcess",
                got=f"{'trajectories' if data.t is not None else 'steady data'} on {grid.describe()} with inputs "
                f"{list(data.reads)}",
                expected=f"data of {type(self.box).__name__}: {self.form.in_channels} channels of a on "
                f"[{self.box.lo:g}, {self.box.hi:g}]^{self.dims}",
            )

    def places(self, where: Any) -> Tensor:
        """Points (P, d) of the unit cube, from a grid or from points of the domain."""
        if isinstance(where, Grid):
            where = torch.stack([x.flatten() for x in where.coordinates()], -1)
        unit = (where.double() - self.box.lo) / self.length
        if unit.ndim != 2 or unit.shape[1] != self.dims or bool(((unit < -1e-9) | (unit > 1 + 1e-9)).any()):
            raise NWidthError(
                "RandomGridProcess",
                got=f"points {tuple(where.shape)}",
                expected=f"(P, {self.dims}) within [{self.box.lo:g}, {self.box.hi:g}]",
            )
        return unit

    def evaluate(self, fields: Tensor, points: Tensor, axis: int | None = None) -> Tensor:
        """Polynomials through fields (N, C, *grid) at inner points (P, d), or their slope along an axis: (N, C, P)."""
        c = self.form.coefficients(fields)
        for i in reversed(range(self.dims)):
            theta = torch.acos((2 * points[:, i] - 1).clamp(-1, 1))[:, None]
            k = torch.arange(c.shape[2 + i]).to(theta)
            line = k * 2 * torch.sin(k * theta) / torch.sin(theta) if axis == i else torch.cos(k * theta)
            c = c @ line.mT if i == self.dims - 1 else (c * line.mT).sum(-2)
        return c

    def collocate(self, raw: Tensor, points: Tensor) -> Collocation:
        inputs = self.form.inputs(raw)
        kappa, force = self.box.coefficient(inputs) / self.kappa_unit, self.box.forces(inputs) / self.force_unit
        kappa, force = (v.expand(len(raw), *v.shape[1:]) for v in (kappa, force))
        slopes = [self.evaluate(kappa, points, i)[:, 0] for i in range(self.dims)]
        at, f = (self.evaluate(v, points)[:, 0] for v in (kappa, force))
        return Collocation(points[None], at, torch.stack(slopes, -1), f)

    def posterior(self, outputs: Tensor) -> GaussianCoefficients:
        return GaussianCoefficients.of(outputs, self.waves.count)

    def pack(self, points: Tensor, kappa: Tensor, slope: Tensor, force: Tensor) -> Tensor:
        """(B, Q, 2 d + 2)."""
        return torch.cat([points.expand(len(kappa), -1, -1), kappa[..., None], slope, force[..., None]], -1)

    def unpack(self, y: Tensor, count: int | None = None) -> tuple[Collocation, Tensor]:
        """The first ``count`` rows (None: all) as collocation, the others as they are."""
        d, first = self.dims, y[:, :count]
        return Collocation(first[:1, :, :d], first[..., d], first[..., d + 1 : -1], first[..., -1]), y[
            :, first.shape[1] :
        ]

    def state_dict(self) -> dict[str, Any]:
        kept = ("shift", "size", "logarithmic", "kappa_unit", "force_unit")
        return {k: getattr(self, k) for k in kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> Scattered:
        for k, v in state.items():
            setattr(self, k, v)
        return self


class Scores(nn.Module):
    """Packed samples (B, P, d + C), of which all have the first one's points, to the network's outputs."""

    def __init__(self, network: nn.Module, dims: int):
        super().__init__()
        self.network, self.dims = network, dims

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x[:1, :, : self.dims], x[..., self.dims :])


class NegativeBound(nn.Module):
    """Minus the evidence bound, a residual: the mean over a batch."""

    def __init__(self, law: Scattered, noise: float | None):
        super().__init__()
        self.law, self.noise = law, noise

    def forward(self, outputs: Tensor, y: Tensor, grid: None) -> Tensor:
        law = self.law
        at, rest = law.unpack(y, law.count)
        observed = None
        if self.noise is not None:
            d = law.dims
            observed = Observations(rest[:1, :, :d], rest[..., -1], rest[..., d], self.noise / law.solution_unit)
        return -evidence_bound(law.posterior(outputs), law.waves, at, observed)[0].mean() / law.count


@dataclass
class Draws(torch.utils.data.Dataset):
    """Inputs by number as their samples at random points, and what the bound needs at others; there is no last one."""

    law: Scattered
    count: int
    seed: int
    context: tuple[int, int]
    dtype: torch.dtype
    noisy: Dataset | None = None
    tests: int | None = None

    def __post_init__(self):
        self.images = [None]

    def __len__(self) -> int:
        return self.count

    def _generator(self, first: int, kind: int = 0) -> torch.Generator:
        return torch.Generator().manual_seed(2 * (1_000_003 * self.seed + first) + kind)

    def inputs(self, items: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Their fields on the law's grid, and at how many and which random points (P, d) they are seen."""
        generator, (low, high) = self._generator(items[0], 1), self.context
        size = int(torch.randint(low, high + 1, (1,), generator=generator))
        seen = torch.rand(size, self.law.dims, generator=generator, dtype=torch.float64)
        return self.law.form.sample(items, self.seed), seen

    def __getitems__(self, items: list[int]) -> tuple[Tensor, Tensor]:
        law, generator = self.law, self._generator(items[0])
        raw, seen = self.inputs(items)
        at = torch.rand(self.tests or law.count, law.dims, generator=generator, dtype=torch.float64)
        extra = None
        if self.noisy is not None:
            data = self.noisy
            some = torch.randint(len(data), (max(1, len(items) // 2),), generator=generator)
            part = data[some].load()
            raw[: len(some)] = Resampler(data.grid, law.form.space)(loaded(part.a).double())  # type: ignore[arg-type]
            places = law.places(data.grid)
            chosen = torch.randint(len(places), (law.count,), generator=generator)
            u = torch.zeros(len(items), law.count, dtype=torch.float64)
            u[: len(some)] = loaded(part.solution).double().flatten(1)[:, chosen] / law.solution_unit
            weight = torch.zeros_like(u)
            weight[: len(some)] = 1
            none = torch.zeros(*u.shape, law.dims, dtype=torch.float64)
            extra = law.pack(places[chosen][None], weight, none, u)
        values = law.standard(law.evaluate(raw, seen)).transpose(1, 2)
        c = law.collocate(raw, at)
        y = law.pack(c.points, c.kappa, c.slope, c.force)
        y = y if extra is None else torch.cat([y, extra], 1)
        return torch.cat([seen.expand(len(items), -1, -1), values], -1).to(self.dtype), y.to(self.dtype)
