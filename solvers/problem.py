"""What a problem is: one definition of a PDE from which data, reduced models and losses are made."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from ..backends import Grid
from ..build import build
from ..data import Dataset
from ..data.dataset import INPUTS
from ..data.motions import Motion
from ..errors import NWidthError


@dataclass(frozen=True, kw_only=True)
class Problem(ABC):
    """A PDE with its domain and its random inputs:

        M u_t = L(mu) u + N(u; mu, a) + f        (steady problems: 0 on the left)

    with the solution u, input fields a, the initial state u0 and scalar parameters mu as in ``Dataset``.

    A subclass is a frozen dataclass whose fields are its constructor's keyword arguments: plain numbers,
    strings, lists, or dataclasses of those. Then ``config`` writes it down and ``nwidth.build.build`` makes
    it again. ``EvolutionProblem`` and ``EllipticProblem`` hold the solvers; what they ask of a problem is in
    their docstrings.
    """

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """The inputs that a solution depends on, among a, u0, mu."""

    @abstractmethod
    def grid(self, resolution: int | Sequence[int]) -> Grid:
        """The grid of this resolution: points on each axis."""

    @abstractmethod
    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        """Random inputs number ``indices`` on a grid, float64.

        Input i comes from ``random_fields.stream(seed, i)`` alone: it is the same function whatever the grid
        and the other indices are.
        """

    @abstractmethod
    def solve(self, inputs: Dataset, *, dtype: torch.dtype = torch.float64) -> Dataset:
        """``inputs`` with the solution u on the same grid: computed in ``dtype``, returned in the inputs'.

        A sample's solution does not depend on the others in the batch, but for round-off.
        """

    def simulate(self, indices: Sequence[int], seed: int, grid: Grid, *, device: str = "cpu") -> Dataset:
        """Random inputs with their solutions, float64, computed on ``device``: what ``generate`` writes."""
        return self.solve(self.sample(indices, seed, grid).to(device))

    def symmetries(self) -> list[Motion]:
        """Random maps that take solutions to solutions, as far as they are declared: training samples for nothing."""
        return []

    def config(self) -> dict[str, Any]:
        """The class and its arguments as plain values: ``build(problem.config()) == problem``."""
        return config_of(self)

    def need(self, inputs: Dataset) -> None:
        """Raise NWidthError where an input that this problem reads is missing."""
        missing = [k for k in self.reads if getattr(inputs, k) is None]
        if missing:
            raise NWidthError(
                f"{type(self).__name__}",
                got=f"inputs {list(inputs.reads) or 'none'}",
                expected="inputs " + ", ".join(self.reads),
                fix="name their keys in data.fields",
            )


def problem_of(data: Dataset, given: Problem | None, where: str) -> Problem:
    """``given``, or else the problem that the data set records; NWidthError where there is neither."""
    found = given if given is not None or not data.problem else build(data.problem)
    if not isinstance(found, Problem):
        raise NWidthError(
            where,
            got="data that do not say which problem made them" if found is None else f"a {type(found).__name__}",
            expected="the equation",
            fix="pass problem=NAME",
        )
    return found


def lead(inputs: Dataset) -> Tensor:
    """The first of a, u0, mu that is there: its dtype and device are those of the inputs."""
    return next(v for k in INPUTS if (v := getattr(inputs, k)) is not None)


def config_of(value: Any) -> Any:
    """Plain values: a dataclass becomes a dict with ``_target_`` and its fields, a tuple a list.

    >>> from nwidth.solvers import GaussianField
    >>> config_of(GaussianField(modes=4))["_target_"]
    'nwidth.solvers.GaussianField'
    """
    if is_dataclass(value):
        own = {f.name: config_of(getattr(value, f.name)) for f in fields(value)}
        return {"_target_": _public_name(type(value)), **own}
    return [config_of(v) for v in value] if isinstance(value, list | tuple) else value


def _public_name(cls: type) -> str:
    """The outermost package that exports the class where there is one, so that files may move without harm."""
    parts = cls.__module__.split(".")
    for end in range(1, len(parts)):
        package = ".".join(parts[:end])
        if vars(sys.modules.get(package, object)).get(cls.__name__) is cls:
            return f"{package}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__name__}"


def sizes(resolution: int | Sequence[int], ndim: int, least: int, where: str) -> tuple[int, ...]:
    """The resolution as one size an axis; NWidthError where there are too few points or sizes."""
    shape = (resolution,) * ndim if isinstance(resolution, int) else tuple(int(n) for n in resolution)
    if len(shape) != ndim or min(shape, default=0) < least:
        raise NWidthError(
            f"{where}.grid",
            got=f"resolution={resolution}",
            expected=f"{least} points or more on each of {ndim} axes",
            fix="raise resolution",
        )
    return shape
