"""Fluids as finite volume problems: systems in which mass is moved by its own velocity."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .finite_volume import FiniteVolumeProblem
from .riemann import hll, hllc, rusanov


@dataclass(frozen=True, kw_only=True)
class FluidProblem(FiniteVolumeProblem):
    """Mass moved by its own velocity: w = (m, u_1, .., u_d, ..), q = (m, m u_1, .., m u_d, ..) and

        F_i(q) = u_i q + push(p, u_i),   push(p, u) = (0, p e_i, ..),

    with waves of speeds u_i - c, u_i and u_i + c. A subclass gives ``pressure``, ``sound`` and ``push``, and gets
    the fluxes: ``rusanov``, ``hll`` and ``hllc``, the last one sharp on contacts and shear.
    """

    numerical_fluxes: ClassVar[Mapping[str, Callable[..., Tensor]]] = {"rusanov": rusanov, "hll": hll, "hllc": hllc}

    riemann: str = "hllc"

    @abstractmethod
    def pressure(self, w: Tensor, mu: Tensor) -> Tensor:
        """p, (N, 1, *space)."""

    @abstractmethod
    def sound(self, w: Tensor, mu: Tensor) -> Tensor:
        """c^2, (N, 1, *space)."""

    def push(self, p: Tensor, u: Tensor, axis: int, like: Tensor) -> Tensor:
        """The flux of a fluid at rest but for the work p u: shaped like w."""
        out = torch.zeros_like(like)
        out[:, 1 + axis] = p[:, 0]
        return out

    def flux(self, w: Tensor, axis: int, mu: Tensor) -> Tensor:
        u = w[:, 1 + axis, None]
        return u * self.conserved(w, mu) + self.push(self.pressure(w, mu), u, axis, w)

    def speeds(self, w: Tensor, axis: int, mu: Tensor) -> tuple[Tensor, Tensor]:
        u, c = w[:, 1 + axis, None], self.sound(w, mu).sqrt()
        return u - c, u + c

    def bounds(self, left: Tensor, right: Tensor, axis: int, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Those of Einfeldt (1988, SIAM J. Numer. Anal. 25), with which HLL keeps m and p positive."""
        ul, ur = left[:, 1 + axis, None], right[:, 1 + axis, None]
        al, ar = self.sound(left, mu), self.sound(right, mu)
        rl, rr = left[:, :1].sqrt(), right[:, :1].sqrt()
        total = rl + rr
        u = (rl * ul + rr * ur) / total
        c = ((rl * al + rr * ar) / total + 0.5 * rl * rr * ((ur - ul) / total) ** 2).sqrt()
        return torch.minimum(ul - al.sqrt(), u - c), torch.maximum(ur + ar.sqrt(), u + c)
