"""Groups under which an equation is invariant: random elements move samples, inputs and solution together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..backends import Grid
from ..backends.transforms import Fourier
from ..errors import NWidthError
from .arrays import loaded
from .dataset import Dataset

FIELDS = ("a", "u0", "u")


class Motion(ABC):
    """A map of (inputs, solution) to (inputs, solution), each sample by its own random element of a group.

    A problem that declares it (``Problem.symmetries``) says that the image of a solution is a solution.
    """

    name: str

    @abstractmethod
    def __call__(self, data: Dataset, generator: torch.Generator) -> Dataset:
        """The moved samples, loaded."""


@dataclass(frozen=True)
class Translate(Motion):
    """u(x - s) along a periodic axis, s a whole number of spacings: exact."""

    axis: int

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"translate axis {self.axis}"

    def __call__(self, data: Dataset, generator: torch.Generator) -> Dataset:
        axis = periodic(data, self.axis, self.name)
        shift = torch.randint(axis.n, (len(data), 1), generator=generator)
        index = (torch.arange(axis.n) - shift) % axis.n

        def move(v: Tensor) -> Tensor:
            dim = v.ndim - data.grid_dims + self.axis
            shape = [len(v) if i == 0 else axis.n if i == dim else 1 for i in range(v.ndim)]
            return v.gather(dim, index.to(v.device).view(shape).expand(v.shape))

        return moved(data, dict.fromkeys(FIELDS, move))


@dataclass(frozen=True)
class Flip(Motion):
    """sign u(-x) along a periodic axis, or u itself, either with probability 1/2; without an axis, sign u."""

    axis: int | None
    sign: float = 1.0

    @property
    def name(self) -> str:  # type: ignore[override]
        where = "" if self.axis is None else f"flip axis {self.axis}"
        return where if self.sign == 1 else f"{where} and change sign" if where else "change sign"

    def __call__(self, data: Dataset, generator: torch.Generator) -> Dataset:
        if self.axis is not None:
            periodic(data, self.axis, self.name)
        chosen = torch.rand(len(data), generator=generator) < 0.5

        def move(v: Tensor) -> Tensor:
            image = v
            if self.axis is not None:
                dim = v.ndim - data.grid_dims + self.axis
                image = v.flip(dim).roll(1, dim)
            return torch.where(chosen.to(v.device).view(-1, *(1,) * (v.ndim - 1)), self.sign * image, v)

        return moved(data, dict.fromkeys(("u0", "u"), move))


@dataclass(frozen=True)
class Galilei(Motion):
    """u(x - rate c (t - t0), t) + c on a periodic line, for u_t + rate u u_x + .. = 0.

    c is uniform between -1 and 1 times the standard deviation of u0. The shift is that of the trigonometric
    interpolant: exact where the grid resolves u.
    """

    rate: float = 1.0
    name = "galilei"

    def __call__(self, data: Dataset, generator: torch.Generator) -> Dataset:
        axis = periodic(data, 0, self.name)
        data = data.load()
        if data.u0 is None or data.t is None or data.grid_dims != 1:
            raise NWidthError("symmetry galilei", got="data without u0 and times on a line", expected="both")
        u0, u, t = loaded(data.u0), loaded(data.solution), data.t
        draw = 2 * torch.rand(len(data), generator=generator, dtype=torch.float64) - 1
        c = (draw * float(u0.double().std())).to(u)
        s = self.rate * c[:, None] * (t.to(c) - data.t0) / axis.length
        f = Fourier(1)
        k = f.frequencies(f.modes_for([axis.n]))[0].to(c)
        turn = torch.exp(-2j * torch.pi * s[:, :, None, None] * k)
        shifted = f.inverse(f.forward(u) * turn, [axis.n])
        return replace(data, u0=u0 + c.to(u0).view(-1, 1, 1), u=shifted + c.view(-1, 1, 1, 1), splits={})


@dataclass(frozen=True)
class Scale(Motion):
    """Fields times s^power, log s uniform between -log 2 and log 2: {u0: 1, u: 1} for linear evolutions, and so on."""

    powers: tuple[tuple[str, int], ...]
    name = "scale"

    def __call__(self, data: Dataset, generator: torch.Generator) -> Dataset:
        s = 4.0 ** (torch.rand(len(data), generator=generator, dtype=torch.float64) - 0.5)

        def by(power: int):
            return lambda v: v * (s**power).to(v).view(-1, *(1,) * (v.ndim - 1))

        return moved(data, {k: by(p) for k, p in self.powers})


def moved(data: Dataset, moves: Mapping[str, Any]) -> Dataset:
    """The data set with its fields mapped by ``moves``, where it has them."""
    data = data.load()
    return replace(data, splits={}, **{k: f(v) for k, f in moves.items() if (v := getattr(data, k)) is not None})


def periodic(data: Dataset, axis: int, name: str):
    """That axis of the grid, or an error."""
    grid = data.grid
    if not isinstance(grid, Grid) or axis >= grid.ndim or grid.axes[axis].kind != "periodic":
        raise NWidthError(
            f"symmetry {name}", got=grid.describe(), expected=f"a periodic axis {axis}", fix="leave this symmetry out"
        )
    return grid.axes[axis]
