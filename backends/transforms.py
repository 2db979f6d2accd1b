"""Truncated spectral transforms on tensor-product grids: only the kept modes are computed."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor

from ..errors import NWidthError
from . import pruned_ffts, real_products
from .bases import (
    Basis,
    ChebyshevBasis,
    CosineBasis,
    ExtendedFourierBasis,
    FourierBasis,
    RealFourierBasis,
    SineBasis,
    is_half,
)
from .grid import Axis, Grid
from .modes import ModeLayout, Modes
from .spectral_paths import (
    analyse,
    apply_matrix,
    axis_operator,
    convolve,
    prefer_matmul,
    real_dtype,
    synthesise,
    to_complex,
)
from .tables import table

__all__ = [
    "Basis",
    "ChebyshevBasis",
    "CosineBasis",
    "ExtendedFourierBasis",
    "Fourier",
    "FourierBasis",
    "RealFourierBasis",
    "SineBasis",
    "Transform",
    "convolve",
]

METHODS = ("auto", "matmul", "pruned", "full")


class Transform(ModeLayout):
    """u(x) = sum_k c_k phi_k1(x_1) ... phi_kd(x_d): point values u of a function to coefficients and back.

    ``forward`` and ``inverse`` are a pair. Coefficients are those of the function, not of the array (for
    Fourier and cosine bases c_0 is the mean), so they do not depend on the resolution, and ``inverse`` onto
    another shape is a change of resolution. Truncation keeps the low modes; which ones, see ``ModeLayout``.

    Parameters
    ----------
    bases : one basis per space axis (the last axes of the tensors), from FourierBasis(), ChebyshevBasis(),
        CosineBasis("cell" or "nodal"), SineBasis("cell", "nodal" or "interior"),
        ExtendedFourierBasis(axis=...).
    real : whether point values are real. Then the last Fourier axis stores half of its frequencies.
    lengths : physical length of each axis, for ``derivative`` (default 1).

    Ways to compute, equal to round-off: ``matmul``, products with small matrices that hold the kept modes;
    ``pruned``, FFTs of one axis after the other, each on the modes kept so far; ``full``, FFTs of everything,
    then truncation, the reference. ``auto`` takes matmul on all axes of real data that keep few modes (half
    the work: ``real_products``); else FFTs where all axes are Fourier, and on mixed bases the better of both for
    each axis. The backward is the adjoint; it stores no activation (but an FFT of real data on an axis of another
    basis keeps its input).
    Half precision is computed in float32, autocast off. Under torch.set_float32_matmul_precision("high") or
    "medium" float32 products lose digits on hardware that has a shorter format; ``pruned`` does not.

    >>> grid = Grid.make((8, 6))
    >>> t = Transform.for_grid(grid)
    >>> x, y = grid.coordinates()
    >>> c = t.forward(1 + torch.cos(2 * torch.pi * (x + y)), modes=(4, 4))
    >>> tuple(c.shape), round(float(c[2, 0].real), 6), round(float(c[3, 1].real), 6)
    ((4, 3), 1.0, 0.5)
    >>> tuple(t.inverse(c, (16, 12)).shape)
    (16, 12)
    """

    @classmethod
    def for_grid(cls, grid: Grid, *, extension: float | None = None, real: bool = True) -> Transform:
        """Fourier on periodic axes, cosine on nodal and cell axes, Chebyshev on Chebyshev points.

        With ``extension``, every axis that is not periodic gets a Fourier basis of (1 + extension) times
        its length at its own points instead (``ExtendedFourierBasis``).
        """
        if not isinstance(grid, Grid):
            raise NWidthError("Transform.for_grid", got=type(grid).__name__, expected="a Grid")
        bases = [_basis_for(axis, extension) for axis in grid.axes]
        return cls(bases, real=real, lengths=[axis.length for axis in grid.axes])

    def forward(self, u: Tensor, modes: Modes = None, method: str = "auto") -> Tensor:
        """Coefficients (..., *counts(modes)) of point values u (..., *space); None keeps all modes."""
        u = self.values("Transform.forward", u)
        shape = self.sizes("Transform.forward", u.shape[-self.ndim :])
        modes = self.modes_for(shape, modes)
        by_matmul = self._by_matmul(shape, modes, method)
        computed = self.modes_for(shape) if method == "full" else modes
        with torch.autocast(u.device.type, enabled=False):
            if path := self._whole_path(by_matmul, method):
                flat = path.to_modes(self, u.reshape(-1, *shape), modes)
                return flat.view(*u.shape[: -self.ndim], *flat.shape[1:])
            c = u
            for i in reversed(range(self.ndim)):
                c = analyse(self.bases[i], c, u.ndim - self.ndim + i, computed[i], by_matmul[i])
            return self.crop(c, computed, modes)

    def inverse(self, c: Tensor, shape: Sequence[int], modes: Modes = None, method: str = "auto") -> Tensor:
        """Point values (..., *shape) of coefficients c (..., *counts(modes)).

        Modes that the grid of this shape cannot hold are dropped. ``modes`` is read from c; if given, c
        must fit.
        """
        shape = self.sizes("Transform.inverse", shape)
        held = self.modes_of(c, modes)
        modes = tuple(min(m, b.limit(n)) for m, b, n in zip(held, self.bases, shape))
        by_matmul = self._by_matmul(shape, modes, method)
        c = c.to(torch.float32) if c.dtype in (torch.float16, torch.bfloat16) else c
        c = to_complex(c) if self.complex else c
        with torch.autocast(c.device.type, enabled=False):
            u = self.crop(c, held, modes)
            if path := self._whole_path(by_matmul, method):
                flat = path.to_points(self, u.reshape(-1, *u.shape[-self.ndim :]), modes, shape)
                return flat.view(*u.shape[: -self.ndim], *shape)
            for i in range(self.ndim):
                u = synthesise(self.bases[i], u, c.ndim - self.ndim + i, modes[i], shape[i], by_matmul[i])
            return u

    def resize(self, u: Tensor, shape: Sequence[int]) -> Tensor:
        """The interpolant of u on the grid of another shape; fewer points keep the modes that these can hold.

        A Fourier axis of even size splits its Nyquist mode evenly between +n/2 and -n/2, so real data stay
        real.

        >>> Fourier(1).resize(torch.tensor([1.0, -1.0]), (4,)).round(decimals=5).abs().tolist()
        [1.0, 0.0, 1.0, 0.0]
        """
        u = self.values("Transform.resize", u)
        return self._along_axes(u, self.sizes("Transform.resize", shape), (0,) * self.ndim)

    def derivative(
        self, u: Tensor, order: int | Sequence[int], lengths: float | Sequence[float] | None = None
    ) -> Tensor:
        """d^|order| u / dx_1^order_1 ... dx_d^order_d of the interpolant, at the same points.

        ``lengths``: physical length of each axis (a Fourier axis: its period; default: those of the grid
        given to ``for_grid``, else 1). The odd derivative of a Nyquist mode is zero.

        >>> x = torch.arange(16) / 16 * 3.0
        >>> du = Fourier(1).derivative(torch.sin(2 * torch.pi * x / 3), 1, lengths=3.0)
        >>> bool(torch.allclose(du, 2 * torch.pi / 3 * torch.cos(2 * torch.pi * x / 3), atol=1e-5))
        True
        """
        u = self.values("Transform.derivative", u)
        orders = self.per_axis("Transform.derivative", order)
        given = self.lengths if lengths is None else lengths
        sizes = (given,) * self.ndim if isinstance(given, int | float) else tuple(given)
        if min(orders) < 0 or len(sizes) != self.ndim:
            raise NWidthError(
                "Transform.derivative",
                got=f"order={order}, lengths={lengths}",
                expected=f"orders >= 0 and {self.ndim} lengths",
            )
        scale = 1.0
        for p, size in zip(orders, sizes):
            scale /= size**p
        return self._along_axes(u, self.sizes("", u.shape[-self.ndim :]), orders) * scale

    def product(self, u: Tensor, v: Tensor) -> Tensor:
        """u v without aliasing: both on 3/2 of the points, multiplied, truncated.

        Orszag, On the elimination of aliasing in finite-difference schemes by filtering high-wavenumber
        components, J. Atmos. Sci. 28 (1971).
        """
        if any(isinstance(b, SineBasis) for b in self.bases):
            raise NWidthError("Transform.product", got="a sine axis", expected="bases that contain their products")
        shape = u.shape[-self.ndim :]
        fine = tuple((3 * n + 1) // 2 for n in shape)
        return self.resize(self.resize(u, fine) * self.resize(v, fine), shape)

    def norm2(self, c: Tensor, shape: Sequence[int] | None = None) -> Tensor:
        """Mean of |u|^2 over the domain from its coefficients (Parseval), shape (...).

        ``shape``: the grid that c came from. Then a Nyquist mode of real data counts with its mean over the
        points, twice that over the domain, and the sum equals the mean of u^2 over the points of a Fourier
        grid.
        """
        power = c
        for i, (b, m) in enumerate(zip(self.bases, self.modes_of(c))):
            gram = table(b, "gram", 0, m, 0, real_dtype(c), c.device)
            if is_half(b) and shape is not None and 2 * (b.count(m) - 1) == shape[i]:
                gram = torch.cat([gram[:-1], 2 * gram[-1:]])
            gram = torch.diag(gram) if gram.ndim == 1 else gram
            power = apply_matrix(gram, power, c.ndim - self.ndim + i)
        terms = (c.conj() * power).real if c.is_complex() else c * power
        return terms.sum(tuple(range(-self.ndim, 0)))

    def _along_axes(self, u: Tensor, shape: Sequence[int], orders: Sequence[int]) -> Tensor:
        """Interpolate and differentiate one axis after the other, as real operators on point values."""
        if u.is_complex():
            return torch.complex(*(self._along_axes(part, shape, orders) for part in (u.real, u.imag)))
        with torch.autocast(u.device.type, enabled=False):
            for i, (n, p) in enumerate(zip(shape, orders)):
                axis = u.ndim - self.ndim + i
                if n != u.shape[axis] or p > 0:
                    u = axis_operator(self.bases[i], u, axis, n, p)
            return u

    def _whole_path(self, by_matmul: Sequence[bool], method: str) -> ModuleType | None:
        """The module that transforms all axes at once, with a backward of its own; None: axis by axis."""
        if self.real and all(by_matmul):
            return real_products
        ffts = method != "full" and not any(by_matmul) and pruned_ffts.fourier_only(self)
        return pruned_ffts if ffts else None

    def _by_matmul(self, shape: Sequence[int], modes: Sequence[int], method: str) -> list[bool]:
        """For each axis, whether a matrix product computes it."""
        if method not in METHODS:
            raise NWidthError("Transform", got=f"method={method!r}", expected="one of " + ", ".join(METHODS))
        if method in ("pruned", "full"):
            for b in self.bases:
                if not b.fast:
                    raise NWidthError(f"Transform on {b.name}", got=f"method={method!r}", expected="auto or matmul")
        if method == "auto" and not real_products.matrices_pay(self, shape, modes):
            few = not pruned_ffts.fourier_only(self)
            return [few and prefer_matmul(b, n, m) for b, n, m in zip(self.bases, shape, modes)]
        return [method in ("auto", "matmul")] * self.ndim


def Fourier(ndim: int, *, real: bool = True, lengths: Sequence[float] | None = None) -> Transform:
    """Fourier on every axis."""
    return Transform([FourierBasis()] * ndim, real=real, lengths=lengths)


def _basis_for(axis: Axis, extension: float | None) -> Basis:
    if axis.kind == "periodic":
        return FourierBasis()
    if extension is not None:
        return ExtendedFourierBasis(axis=axis, extension=extension)
    if axis.kind == "listed":
        raise NWidthError(
            f"Transform on axis {axis.name!r}",
            got="listed points",
            expected="periodic, nodal, cell or chebyshev",
            fix="interpolate the data onto such points, or give an extension",
        )
    return ChebyshevBasis() if axis.kind == "chebyshev" else CosineBasis(axis.kind)
