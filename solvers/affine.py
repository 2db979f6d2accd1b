"""Problems on meshes whose operators depend on parameters through a few scalar factors."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..backends import Grid, Mesh
from ..data import Dataset
from ..errors import NWidthError
from .affine_system import AffineSystem, AffineTerms
from .finite_elements import Space
from .meshes import mesh_hash
from .problem import Problem, lead
from .random_fields import log_uniform, stream

BLOCK = 2**24  # entries of a block of solutions


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One scalar parameter, uniform on [lo, hi], or with its logarithm uniform."""

    name: str
    lo: float
    hi: float
    log: bool = False

    def __post_init__(self):
        if not (math.isfinite(self.lo) and math.isfinite(self.hi) and self.lo <= self.hi) or (
            self.log and self.lo <= 0
        ):
            raise NWidthError(
                f"parameter {self.name}",
                got=f"[{self.lo}, {self.hi}]" + (" with a uniform logarithm" if self.log else ""),
                expected="finite [least, most]" + (", positive" if self.log else ""),
            )

    @property
    def middle(self) -> float:
        return math.sqrt(self.lo * self.hi) if self.log else (self.lo + self.hi) / 2


@dataclass(frozen=True, kw_only=True)
class AffineProblem(Problem):
    """A(mu) u = f(mu) in a finite element space on a mesh, with scalar parameters mu:

        A(mu) = sum_q theta_q(mu) A_q,   f(mu) = sum_p phi_p(mu) f_p,   u = sum_b chi_b(mu) g_b where prescribed.

    A subclass gives ``parameters``, ``grid`` (a ``Mesh``), ``terms`` (an ``AffineTerms``) and the factors
    ``theta`` and, where they are not constant, ``theta_load`` and ``theta_lift``, as differentiable functions of
    mu (N, P). ``components`` > 1 makes vector fields, one channel a component.

    ``system(mesh)`` is the discrete problem, assembled once for a mesh and kept (of the last two meshes): its
    matrices, inner products and bounds are what reduced models are made of. Solutions are found by sparse direct
    solvers on the CPU, or condensed to interfaces on the device of the parameters.
    """

    @property
    def reads(self) -> tuple[str, ...]:
        return ("mu",)

    @property
    @abstractmethod
    def parameters(self) -> tuple[Parameter, ...]:
        """Names and ranges of mu, in order."""

    @property
    def components(self) -> int:
        return 1

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the solution's components."""
        return ("u",) if self.components == 1 else tuple(f"u_{x}" for x in "xyz"[: self.components])

    @abstractmethod
    def grid(self, resolution: int | Sequence[int]) -> Mesh:  # type: ignore[override]
        """A mesh of the domain."""

    @abstractmethod
    def terms(self, space: Space) -> AffineTerms:
        """The parts that do not depend on the parameters."""

    @abstractmethod
    def theta(self, mu: Tensor) -> Tensor:
        """(N, Q): the factors of the operators."""

    def theta_load(self, mu: Tensor) -> Tensor:
        """(N, F): the factors of the loads."""
        return mu.new_ones(len(mu), 1)

    def theta_lift(self, mu: Tensor) -> Tensor:
        """(N, B): the factors of the prescribed values."""
        return mu.new_zeros(len(mu), 0)

    def theta_mass(self, mu: Tensor) -> Tensor:
        """The factors of the masses, (N, masses)."""
        return mu.new_ones(len(mu), 1)

    @property
    def reference(self) -> Tensor:
        """The parameter (P,) of the energy product: the middle of the ranges."""
        return torch.tensor([p.middle for p in self.parameters], dtype=torch.float64)

    def space(self, mesh: Mesh) -> Space:
        return Space(mesh, self.components)

    def system(self, mesh: Grid | Mesh) -> AffineSystem:
        """The discrete problem on a mesh. NWidthError for a grid, or a mesh that does not fit the problem."""
        if not isinstance(mesh, Mesh):
            raise NWidthError(
                type(self).__name__,
                got=f"the grid {mesh.describe()}",
                expected="a mesh with cells",
                fix="take problem.grid(resolution), or name data.coordinates.points and data.coordinates.cells",
            )
        key = mesh_hash(mesh)
        if key not in self._systems:
            self._systems[key] = AffineSystem(self, mesh)
            while len(self._systems) > 2:
                self._systems.popitem(last=False)
        self._systems.move_to_end(key)
        return self._systems[key]

    @cached_property
    def _systems(self) -> OrderedDict[str, AffineSystem]:
        return OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def check(self, mu: Tensor) -> None:
        """NWidthError where mu is not (N, P) and finite."""
        names = [p.name for p in self.parameters]
        if mu.ndim != 2 or mu.shape[1] != len(names) or not bool(torch.isfinite(mu).all()):
            raise NWidthError(
                type(self).__name__,
                got=f"mu of shape {tuple(mu.shape)}"
                + ("" if torch.isfinite(mu).all() else " with values that are not finite"),
                expected=f"{len(names)} finite parameters: " + ", ".join(names),
                fix="name their keys in data.fields.mu, in this order",
            )

    def sample(self, indices: Sequence[int], seed: int, grid: Grid | Mesh) -> Dataset:
        rows = []
        for i in indices:
            g = stream(seed, i)
            rows.append([log_uniform(g, p.lo, p.hi) if p.log else g.uniform(p.lo, p.hi) for p in self.parameters])
        names = {"mu": tuple(p.name for p in self.parameters), "u": self.channels}
        mu = torch.tensor(rows, dtype=torch.float64).view(-1, len(self.parameters))
        return Dataset(grid, mu=mu, names=names, problem=self.config())

    def solve(self, inputs: Dataset, *, dtype: torch.dtype = torch.float64) -> Dataset:
        """``inputs`` with the solution u (N, C, points) on the same mesh.

        Raises NWidthError for missing or unusable inputs and for operators that are singular.
        """
        self.need(inputs)
        mu: Tensor = inputs.mu  # type: ignore[assignment]
        system = self.system(inputs.grid)
        size = max(1, BLOCK // system.space.size)
        u = torch.cat([system.solve(m, dtype=dtype) for m in mu.split(size)])
        names = {"u": self.channels, **inputs.names}
        return replace(inputs, u=u.to(lead(inputs).dtype), names=names, problem=self.config())

    def residual(self, u: Tensor, inputs: Dataset) -> Tensor:
        """A(mu) u - f(mu), and u - g(mu) at prescribed points; shaped like u, differentiable in u and mu."""
        self.need(inputs)
        return self.system(inputs.grid).residual(u, inputs.mu)  # type: ignore[arg-type]
