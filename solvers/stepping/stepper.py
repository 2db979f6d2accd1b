"""What the one-step schemes for u' = L u + N(u) have in common."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Self

import torch
from torch import Tensor


class Stepper(ABC):
    """Steps of size h for u' = L u + N(u), batched; h is a number, or (batch, 1, ..., 1) for steps of different sizes.

    ``linear`` is the diagonal of L, real or complex, broadcast against the states u (batch, ...); with
    ``dense`` a real matrix (r, r) or (batch, r, r) acting on states (batch, r), and h a number.
    """

    order: ClassVar[int]

    def __init__(
        self, linear: Tensor, h: float | Tensor, nonlinear: Callable[[Tensor], Tensor], *, dense: bool = False
    ):
        self.linear, self.h, self.nonlinear, self.dense = linear, h, nonlinear, dense
        self._cast: dict[tuple[int, torch.dtype], Tensor] = {}
        self._paired: Stepper | None = None

    def step(self, u: Tensor) -> Tensor:
        """The state one h later; u itself is left as it was."""
        if self.dense or not u.is_complex() or self.linear.is_complex():
            return self._advance(u)
        if self._paired is None:
            self._paired = self._on_pairs()
        return torch.view_as_complex(self._paired._advance(torch.view_as_real(u.resolve_conj())))

    @abstractmethod
    def _advance(self, u: Tensor) -> Tensor:
        """``step`` in the arithmetic of u."""

    def _on_pairs(self) -> Self:
        """This stepper on pairs (real part, imaginary part), for real L: half the operations of complex products."""
        pairs, nonlinear = copy.copy(self), self.nonlinear
        pairs._cast = {}
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(pairs, name, torch.stack([value, value], -1))
        pairs.nonlinear = lambda u: torch.view_as_real(nonlinear(torch.view_as_complex(u)).resolve_conj())
        return pairs

    def of(self, nonlinear: Callable[[Tensor], Tensor], rows: Tensor | None = None) -> Self:
        """This stepper, its coefficients with it, for another N and for some rows of the batch; what is the same for
        all rows stays so.
        """
        other = copy.copy(self)
        other.nonlinear, other._paired, other._cast = nonlinear, None, {}
        if rows is not None:
            for name, value in vars(self).items():
                if isinstance(value, Tensor) and len(value) > 1:
                    setattr(other, name, value[rows])
        return other

    def apply(self, factor: Tensor, u: Tensor) -> Tensor:
        """factor u: entry by entry, or the matrix product."""
        if not self.dense:
            return self._like(factor, u) * u
        return u @ factor.mT if factor.ndim == 2 else torch.bmm(factor, u[..., None])[..., 0]

    def plus(self, total: Tensor, factor: Tensor, u: Tensor) -> Tensor:
        """total + factor u."""
        if self.dense:
            return total + self.apply(factor, u)
        return torch.addcmul(total, self._like(factor, u), u)

    def add(self, total: Tensor, factor: Tensor, u: Tensor) -> Tensor:
        """total += factor u, in place where it is one operation."""
        if self.dense:
            return total + self.apply(factor, u)
        return total.addcmul_(self._like(factor, u), u)

    def _like(self, factor: Tensor, u: Tensor) -> Tensor:
        """The factor in the states' dtype, converted once: a mixed product would convert it every time."""
        if factor.dtype == u.dtype:
            return factor
        key = (id(factor), u.dtype)
        if key not in self._cast:
            self._cast[key] = factor.to(u.dtype)
        return self._cast[key]
