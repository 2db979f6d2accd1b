"""Which modes a tensor-product basis keeps, and where their coefficients lie."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import NWidthError
from .bases import Basis, FourierBasis
from .spectral_paths import to_complex

Modes = int | Sequence[int] | None


class ModeLayout:
    """The coefficients of d bases, one per space axis: a tensor (..., *counts(modes)).

    With ``modes`` m a Fourier axis keeps the integer frequencies -(m//2) .. (m-1)//2 in ascending order,
    except the last Fourier axis of real data, which keeps 0 .. m//2; a cosine, sine or Chebyshev axis keeps
    its first m functions.
    """

    def __init__(self, bases: Sequence[Basis], *, real: bool = True, lengths: Sequence[float] | None = None):
        bases = tuple(bases)
        if not bases or not all(isinstance(b, Basis) for b in bases):
            raise NWidthError("Transform", got=f"bases={bases!r}", expected="bases such as FourierBasis()")
        fourier = [i for i, b in enumerate(bases) if isinstance(b, FourierBasis)]
        half = fourier[-1] if real and fourier else None
        self.bases = tuple(
            replace(b, half=i == half) if isinstance(b, FourierBasis) else b for i, b in enumerate(bases)
        )
        self.real = real
        self.lengths = (1.0,) * len(bases) if lengths is None else tuple(lengths)
        if len(self.lengths) != len(bases):
            raise NWidthError("Transform", got=f"{len(self.lengths)} lengths", expected=f"{len(bases)}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(b.name for b in self.bases)}, real={self.real})"

    @property
    def ndim(self) -> int:
        return len(self.bases)

    @property
    def complex(self) -> bool:
        """Whether coefficients are complex."""
        return not self.real or any(b.complex for b in self.bases)

    def modes_for(self, shape: Sequence[int], modes: Modes = None) -> tuple[int, ...]:
        """Modes per axis, checked against the grid; None is all that the points determine."""
        shape = self.sizes("Transform", shape)
        limits = tuple(b.limit(n) for b, n in zip(self.bases, shape))
        if modes is None:
            return limits
        per_axis = self.per_axis("modes", modes)
        for i, (m, limit, n) in enumerate(zip(per_axis, limits, shape)):
            if not 1 <= m <= limit:
                raise NWidthError(
                    f"modes of axis {i} ({self.bases[i].name})",
                    got=str(m),
                    expected=f"1 to {limit} on {n} points",
                )
        return per_axis

    def counts(self, modes: Sequence[int]) -> tuple[int, ...]:
        """Shape of the coefficients of these modes."""
        return tuple(b.count(m) for b, m in zip(self.bases, modes))

    def frequencies(self, modes: int | Sequence[int]) -> list[Tensor]:
        """Integer frequency (cosine, sine: half waves; Chebyshev: degree) of the coefficients of each
        axis."""
        return [b.frequencies(m) for b, m in zip(self.bases, self.per_axis("modes", modes))]

    def zero_mode(self, modes: Sequence[int]) -> int:
        """Place of the constant among the flattened coefficients of these modes."""
        place = 0
        for b, m in zip(self.bases, modes):
            place = place * b.count(m) + b.offset(m, 1)
        return place

    def crop(self, c: Tensor, modes: Sequence[int], kept: Sequence[int]) -> Tensor:
        """The coefficients of the lower modes ``kept`` among those of ``modes``."""
        for i, (b, m, k) in enumerate(zip(self.bases, modes, kept)):
            if b.count(k) < b.count(m):
                c = c.narrow(c.ndim - self.ndim + i, b.offset(m, k), b.count(k))
        return c

    def modes_of(self, c: Tensor, modes: Modes = None) -> tuple[int, ...]:
        """Modes whose coefficients have the shape of c; ``modes``, if given, must fit it."""
        counts = self.sizes("Transform.inverse", c.shape[-self.ndim :])
        if modes is None:  # a half axis of K coefficients holds 2 (K - 1) modes
            return tuple(k if b.count(k) == k else 2 * (k - 1) for b, k in zip(self.bases, counts))
        given = self.per_axis("modes", modes)
        if self.counts(given) != counts:
            raise NWidthError("Transform", got=f"coefficients of shape {counts}", expected=f"modes {given}")
        return given

    def per_axis(self, call: str, numbers: int | Sequence[int]) -> tuple[int, ...]:
        """One integer per axis."""
        given = (numbers,) * self.ndim if isinstance(numbers, int) else tuple(numbers)
        if len(given) != self.ndim:
            raise NWidthError(call, got=f"{given}", expected=f"{self.ndim} numbers, one per axis")
        return tuple(operator.index(n) for n in given)  # plain integers also under torch.compile

    def sizes(self, call: str, shape: Sequence[int]) -> tuple[int, ...]:
        """The sizes of the space axes."""
        if len(shape) != self.ndim:
            raise NWidthError(call, got=f"shape {tuple(shape)}", expected=f"{self.ndim} sizes, one per axis")
        return tuple(operator.index(n) for n in shape)

    def values(self, call: str, u: Tensor) -> Tensor:
        """Point values in the dtype of computation."""
        if u.ndim < self.ndim:
            raise NWidthError(call, got=f"a tensor of shape {tuple(u.shape)}", expected=f"{self.ndim} space axes")
        if u.is_complex() and self.real:
            raise NWidthError(call, got=f"{u.dtype} values", expected="real values", fix="use real=False")
        if not u.is_complex() and u.dtype not in (torch.float32, torch.float64):
            u = u.to(torch.float32)
        return u if self.real else to_complex(u)
