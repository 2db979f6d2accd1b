"""Darcy flow through random media, on boxes of any dimension."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ...data import Dataset
from ...data.motions import Motion, Scale
from ...errors import NWidthError
from ..box import BoxProblem
from ..media import LogNormal, Medium
from ..random_fields import RandomField

FACES = ("harmonic", "arithmetic")


@dataclass(frozen=True, kw_only=True)
class Darcy(BoxProblem):
    """-div(a grad u) = f on [lo, hi]^d with a random coefficient a; u or the flux a du/dn given on each side.

    Parameters
    ----------
    a : the law of the coefficient (``Medium``): ``LogNormal`` by default, ``TwoPhase``, ``TrigonometricProduct``, ..
    faces : the coefficient of a flux from those of its two points: ``harmonic``, 2 a_i a_j / (a_i + a_j), as if each
        point's value filled its cell (exact in one dimension for such coefficients), or ``arithmetic``, (a_i + a_j)/2,
        the five-point scheme on nodes that made the data of Li et al. (2021, arXiv:2010.08895, A.3).
    ndim, lo, hi, points, sides, boundary, forcing, solver, refine, rtol, iterations : see ``BoxProblem``.

    Solving data of others needs no law: the first channel of their input is a. Jumps of a between points make the
    scheme first order.

    >>> problem = Darcy()
    >>> data = problem.simulate([0, 1], seed=0, grid=problem.grid(16))
    >>> tuple(data.a.shape), tuple(data.u.shape), bool((data.u > 0).all())
    ((2, 1, 16, 16), (2, 1, 16, 16), True)
    >>> flow = Darcy(sides=["dirichlet", "dirichlet", "neumann", "neumann"], boundary=[1, 0, 0, 0], forcing=0)
    >>> u = flow.simulate([0], seed=0, grid=flow.grid(16)).u  # from left to right
    >>> bool((u[0, 0, 0] > u[0, 0, -1]).all())
    True
    """

    a: Medium = field(default_factory=LogNormal)
    faces: str = "harmonic"

    def __post_init__(self):
        super().__post_init__()
        if self.faces not in FACES:
            raise NWidthError("Darcy", got=f"faces={self.faces!r}", expected="one of " + ", ".join(FACES))

    def symmetries(self) -> list[Motion]:
        """(a, u) -> (s a, u / s), where f is a number and nothing is prescribed but zero."""
        flat = self.boundary if isinstance(self.boundary, tuple) else (self.boundary,)
        scales = list(self.laws()) == ["a"] and not any(flat)
        return [Scale((("a", 1), ("u", -1)))] if scales else []

    def laws(self) -> dict[str, RandomField | Medium]:
        return {"a": self.a, **super().laws()}

    def coefficient(self, inputs: Dataset) -> Tensor:
        return self.field(inputs, "a")

    def mean(self, left: Tensor, right: Tensor) -> Tensor:
        return (left + right) / 2 if self.faces == "arithmetic" else super().mean(left, right)

    def check(self, inputs: Dataset) -> None:
        super().check(inputs)
        if not bool(((a := self.coefficient(inputs)) > 0).logical_and(a.isfinite()).all()):
            raise NWidthError(
                "Darcy",
                got="coefficients that are not positive and finite",
                expected="a > 0",
                fix="give the coefficient itself, not a code for its phase",
            )
