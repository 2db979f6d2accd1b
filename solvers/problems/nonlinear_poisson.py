"""The Poisson equation with a parametrised nonlinear reaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...backends import Grid
from ...data import Dataset
from ...errors import NWidthError
from ..parameters import Range, check_parameters, draw_parameters, parameter, varying
from ..random_fields import RandomField, stream
from ..semilinear import SemilinearProblem

REACTIONS = ("exponential", "sinh", "cubic")


@dataclass(frozen=True, kw_only=True)
class NonlinearPoisson(SemilinearProblem):
    """-Lap u + g(u; mu1, mu2) = f on [lo, hi]^d, u = 0 on the boundary.

    Parameters
    ----------
    reaction_law : ``exponential``, g = mu1/mu2 (exp(mu2 u) - 1); ``sinh``, g = mu1/mu2 sinh(mu2 u) (Poisson and
        Boltzmann); ``cubic``, g = mu1 u + mu2 u^3.
    mu1, mu2 : positive numbers, or pairs [least, most]: log-uniform between them, columns of mu.
    forcing : f, the amplitude of sin(2 pi x_1) cos(2 pi x_2) .. cos(2 pi x_d), with x scaled to [0, 1], or the law of
        a random field, the input a.
    ndim, lo, hi, rtol, iterations : see ``SemilinearProblem``.

    The default is the test problem of Grepl, Maday, Nguyen and Patera (2007, ESAIM: M2AN 41) and of
    Chaturantabut and Sorensen (2010, SIAM J. Sci. Comput. 32), but for the law of the parameters.

    >>> problem = NonlinearPoisson()
    >>> data = problem.simulate([0, 1], seed=0, grid=problem.grid(17))
    >>> tuple(data.mu.shape), tuple(data.u.shape), bool(problem.residual(data.u, data.inputs()).abs().max() < 1e-7)
    ((2, 2), (2, 1, 17, 17), True)
    """

    parameters: ClassVar[Mapping[str, str]] = {"mu1": "positive", "mu2": "positive"}

    reaction_law: str = "exponential"
    mu1: Range = (0.01, 10.0)
    mu2: Range = (0.01, 10.0)
    forcing: float | RandomField = 100.0

    def __post_init__(self):
        super().__post_init__()
        if self.reaction_law not in REACTIONS:
            raise NWidthError(
                "NonlinearPoisson", got=f"reaction_law={self.reaction_law!r}", expected="one of " + ", ".join(REACTIONS)
            )
        check_parameters(self, self.parameters)
        if not self.reads:
            raise NWidthError(
                "NonlinearPoisson",
                got="numbers for mu1, mu2 and forcing",
                expected="a pair [least, most] or the law of a field for one of them",
            )

    @property
    def reads(self) -> tuple[str, ...]:
        fields = ("a",) if isinstance(self.forcing, RandomField) else ()
        return (*fields, "mu") if varying(self, tuple(self.parameters)) else fields

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        streams = [stream(seed, i) for i in indices]
        mu = draw_parameters(self, tuple(self.parameters), streams)
        names = {"u": ("u",), "mu": varying(self, tuple(self.parameters))}
        a = None
        if isinstance(self.forcing, RandomField):
            a, names["a"] = self.forcing.sample(streams, grid), ("f",)
        return Dataset(grid, a=a, mu=mu, names=names, problem=self.config())

    def reaction(self, u: Tensor, inputs: Dataset) -> Tensor:
        p, q = self._pair(u, inputs)
        if self.reaction_law == "cubic":
            return p * u + q * u**3
        return p / q * (torch.expm1(q * u) if self.reaction_law == "exponential" else torch.sinh(q * u))

    def slope(self, u: Tensor, inputs: Dataset) -> Tensor:
        p, q = self._pair(u, inputs)
        if self.reaction_law == "cubic":
            return p + 3 * q * u.square()
        return p * (torch.exp(q * u) if self.reaction_law == "exponential" else torch.cosh(q * u))

    def potential(self, u: Tensor, inputs: Dataset) -> Tensor:
        p, q = self._pair(u, inputs)
        if self.reaction_law == "cubic":
            return p * u.square() / 2 + q * u**4 / 4
        if self.reaction_law == "exponential":
            return p / q * (torch.expm1(q * u) / q - u)
        return 2 * p / q**2 * torch.sinh(q * u / 2).square()

    def forces(self, inputs: Dataset) -> Tensor:
        if isinstance(self.forcing, RandomField):
            return inputs.a  # type: ignore[return-value]
        grid: Grid = inputs.grid  # type: ignore[assignment]
        like = inputs.mu
        assert like is not None
        f = torch.full((), float(self.forcing), dtype=torch.float64)
        for i, x in enumerate(grid.coordinates()):
            turn = 2 * torch.pi * (x.double() - self.lo) / (self.hi - self.lo)
            f = f * (torch.sin(turn) if i == 0 else torch.cos(turn))
        return f.view(1, 1, *grid.shape).to(like)

    def _pair(self, u: Tensor, inputs: Dataset) -> list[Tensor]:
        """mu1 and mu2, each (N, 1, ..) or a number."""
        found = []
        for name in self.parameters:
            value = parameter(self, self.parameters, name, inputs)
            value = value if isinstance(value, Tensor) else torch.full((1,), value, dtype=u.dtype)
            found.append(value.to(u).view(-1, *(1,) * (u.ndim - 1)))
        return found
