"""One-dimensional bases: their modes, and the matrices between point values and coefficients.

Every basis describes functions on the unit interval s = (x - lo) / (hi - lo). ``analysis(n, m)`` maps n point
values to the coefficients of m modes, ``synthesis(n, m, order)`` evaluates the order-th derivative of the
series
with respect to s at n points. All in float64; ``tables`` keeps them in working precision.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import NWidthError
from .grid import Axis


@dataclass(frozen=True)
class Basis:
    """A sequence of functions on one axis. Subclasses are frozen and hashable: they key the memo."""

    fast: ClassVar[bool] = True  # an FFT computes it
    complex: ClassVar[bool] = False  # its coefficients are complex
    key: str = field(init=False, repr=False, compare=False)  # the same as text, for compiled graphs

    def __post_init__(self):
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        object.__setattr__(self, "key", json.dumps([type(self).__name__, values], default=asdict))

    @property
    def name(self) -> str:
        return type(self).__name__

    def limit(self, n: int) -> int:
        """The most modes that n points determine."""
        return n

    def count(self, m: int) -> int:
        """How many coefficients are stored for m modes."""
        return m

    def offset(self, m: int, kept: int) -> int:
        """Where the stored coefficients of ``kept`` modes start among those of m modes."""
        return 0

    def frequencies(self, m: int) -> Tensor:
        """Integer frequency of each stored coefficient, ascending."""
        return torch.arange(self.count(m))

    def points(self, n: int) -> Tensor:
        """s of the n points."""
        raise NotImplementedError

    def analysis(self, n: int, m: int) -> Tensor:
        """(count, n)"""
        raise NotImplementedError

    def synthesis(self, n: int, m: int, order: int = 0) -> Tensor:
        """(n, count)"""
        raise NotImplementedError

    def gram(self, m: int) -> Tensor:
        """Mean products of the basis functions: (count,) when they are orthogonal, else (count, count)."""
        return torch.where(self.frequencies(m) > 0, 0.5, 1.0).double()


@dataclass(frozen=True)
class FourierBasis(Basis):
    """exp(2 pi i k s) at s_j = j/n; ``half`` stores k >= 0 only, enough for real data.

    Full: k = -(m//2) .. (m-1)//2. Half: k = 0 .. m//2, read as Re(c_0 + 2 sum_{k>0} c_k exp(2 pi i k s)). The
    analysis halves the Nyquist coefficient k = n/2: the factor 2 is then right for it too, at every
    resolution.
    """

    half: bool = False
    complex: ClassVar[bool] = True

    def count(self, m: int) -> int:
        return m // 2 + 1 if self.half else m

    def offset(self, m: int, kept: int) -> int:
        return 0 if self.half else m // 2 - kept // 2

    def frequencies(self, m: int) -> Tensor:
        return torch.arange(self.count(m)) - (0 if self.half else m // 2)

    def points(self, n: int) -> Tensor:
        return torch.arange(n, dtype=torch.float64) / n

    def analysis(self, n: int, m: int) -> Tensor:
        turns = torch.outer(self.frequencies(m), torch.arange(n)) % n  # integers: the phase is exact
        matrix = _unit_circle(-turns.double() / n) / n
        if self.half and 2 * (m // 2) == n:
            matrix[-1] /= 2
        return matrix

    def synthesis(self, n: int, m: int, order: int = 0) -> Tensor:
        k = self.frequencies(m)
        turns = torch.outer(torch.arange(n), k) % n
        return _unit_circle(turns.double() / n) * self._symbol(k.double(), order)

    def _symbol(self, k: Tensor, order: int) -> Tensor:
        """Factor of each mode in the series of the order-th derivative."""
        fold = torch.where(k > 0, 2.0, 1.0).double() if self.half else torch.ones_like(k)
        return fold * (2j * math.pi * k) ** order

    def gram(self, m: int) -> Tensor:
        return torch.where((self.frequencies(m) > 0) & self.half, 2.0, 1.0).double()


@dataclass(frozen=True)
class ExtendedFourierBasis(FourierBasis):
    """exp(2 pi i k s / P) of a period P = 1 + extension longer than the axis, at the points of any axis.

    The coefficients are those of the function continued by zero, c_k = 1/P int_0^1 u(s) exp(-2 pi i k s / P) ds:
    zero padding without the padded array, at the cost of a transform of the points, on points of any kind and
    consistent between resolutions. Each point of a uniform axis counts for its spacing, ends included, as in zero
    padding (halving the ends of a nodal axis would be a better quadrature and makes worse networks); other axes
    have their own quadrature. It is not a pair: the synthesis of the analysis is a smoothed function.
    """

    axis: Axis = field(kw_only=True)
    extension: float = 0.25
    fast: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        if not self.extension >= 0:
            raise NWidthError(self.name, got=f"extension={self.extension}", expected="a fraction >= 0")

    def limit(self, n: int) -> int:
        return math.floor(n * (1 + self.extension))

    def points(self, n: int) -> Tensor:
        axis = self.axis.with_n(n)
        return (axis.coordinates() - axis.lo) / (axis.length or 1.0)

    def analysis(self, n: int, m: int) -> Tensor:
        axis, period = self.axis.with_n(n), 1 + self.extension
        weights = torch.full((n,), axis.spacing, dtype=torch.float64) if axis.uniform else axis.weights()
        weights = weights / (axis.length or 1.0) / period
        return _unit_circle(torch.outer(-self.frequencies(m).double(), self.points(n) / period)) * weights

    def synthesis(self, n: int, m: int, order: int = 0) -> Tensor:
        k = self.frequencies(m).double() / (1 + self.extension)
        return _unit_circle(torch.outer(self.points(n), k)) * self._symbol(k, order)


@dataclass(frozen=True)
class RealFourierBasis(Basis):
    """1, cos 2 pi s, -sin 2 pi s, cos 4 pi s, ... at s_j = j/n: a real Fourier series in real numbers.

    Their coefficients are the real and imaginary parts of c_0, 2 c_1, 2 c_2, ... of ``FourierBasis``. Computed by
    products with matrices only.
    """

    fast: ClassVar[bool] = False

    def frequencies(self, m: int) -> Tensor:
        return (torch.arange(m) + 1) // 2

    def points(self, n: int) -> Tensor:
        return torch.arange(n, dtype=torch.float64) / n

    def analysis(self, n: int, m: int) -> Tensor:
        k = self.frequencies(m)
        ends = (k == 0) | (2 * k == n)  # of mean square 1 over the points, all others of 1/2
        return self.synthesis(n, m).T * torch.where(ends, 1.0, 2.0).double()[:, None] / n

    def synthesis(self, n: int, m: int, order: int = 0) -> Tensor:
        k = self.frequencies(m)
        turns = (torch.outer(torch.arange(n), k) % n).double() / n
        sine = (torch.arange(m) % 2 == 0) & (k > 0)
        quarters = order + sine.double()  # -sin is cos a quarter of a turn on, as is each derivative
        return (2 * math.pi * k.double()) ** order * torch.cos(2 * math.pi * turns + quarters * math.pi / 2)


@dataclass(frozen=True)
class CosineBasis(Basis):
    """cos(pi k s), k = 0 .. m-1: DCT-II on cell centres, DCT-I on nodes that include both ends."""

    at: str = "cell"

    def __post_init__(self):
        super().__post_init__()
        _check_points(self, self.at, ("cell", "nodal"))

    def points(self, n: int) -> Tensor:
        return _uniform_points(self.at, n)

    def analysis(self, n: int, m: int) -> Tensor:
        matrix = 2 * torch.cos(math.pi * torch.outer(self.frequencies(m).double(), self.points(n)))
        matrix *= _uniform_weights(self.at, n)
        matrix[0] /= 2
        if self.at == "nodal" and m == n:
            matrix[-1] /= 2
        return matrix

    def synthesis(self, n: int, m: int, order: int = 0) -> Tensor:
        k = math.pi * self.frequencies(m).double()
        return k**order * torch.cos(torch.outer(self.points(n), k) + order * math.pi / 2)


@dataclass(frozen=True)
class SineBasis(Basis):
    """sin(pi k s), k = 1 .. m: u = 0 at both ends.

    DST-II on ``cell`` centres; DST-I on ``nodal`` points, both ends included (their values are not read and
    come back as zero; n - 2 modes), or on the n ``interior`` points s_j = (j+1)/(n+1).
    """

    at: str = "cell"

    def __post_init__(self):
        super().__post_init__()
        _check_points(self, self.at, ("cell", "nodal", "interior"))

    def limit(self, n: int) -> int:
        return n - 2 if self.at == "nodal" else n

    def frequencies(self, m: int) -> Tensor:
        return torch.arange(1, m + 1)

    def points(self, n: int) -> Tensor:
        return _uniform_points(self.at, n)

    def analysis(self, n: int, m: int) -> Tensor:
        matrix = 2 * torch.sin(math.pi * torch.outer(self.frequencies(m).double(), self.points(n)))
        matrix *= _uniform_weights(self.at, n)
        if self.at == "cell" and m == n:
            matrix[-1] /= 2
        if self.at == "nodal":
            matrix[:, [0, -1]] = 0
        return matrix

    def synthesis(self, n: int, m: int, order: int = 0) -> Tensor:
        k = math.pi * self.frequencies(m).double()
        return k**order * torch.sin(torch.outer(self.points(n), k) + order * math.pi / 2)


@dataclass(frozen=True)
class ChebyshevBasis(Basis):
    """T_k(2 s - 1), k = 0 .. m-1, at the Gauss-Lobatto points s_j = (1 - cos(pi j/(n-1)))/2."""

    def points(self, n: int) -> Tensor:
        return 0.5 - 0.5 * torch.cos(math.pi * torch.arange(n, dtype=torch.float64) / (n - 1))

    def _angles(self, n: int, m: int) -> Tensor:
        """(m, n) angles k theta_j with T_k = cos(k theta)."""
        theta = math.pi - math.pi * torch.arange(n, dtype=torch.float64) / (n - 1)
        return torch.outer(self.frequencies(m).double(), theta)

    def analysis(self, n: int, m: int) -> Tensor:
        matrix = 2 * torch.cos(self._angles(n, m)) * _uniform_weights("nodal", n)
        matrix[0] /= 2
        if m == n:
            matrix[-1] /= 2
        return matrix

    def synthesis(self, n: int, m: int, order: int = 0) -> Tensor:
        return torch.cos(self._angles(n, m)).T @ torch.linalg.matrix_power(self._differentiation(m), order)

    def _differentiation(self, m: int) -> Tensor:
        """d/ds on coefficients: T_k'(x) = 2k (T_{k-1} + T_{k-3} + ...), the T_0 term halved; dx/ds = 2."""
        j, k = torch.meshgrid(torch.arange(m), torch.arange(m), indexing="ij")
        d = torch.where((k > j) & ((k - j) % 2 == 1), 4.0 * k, 0.0).double()
        d[0] /= 2
        return d

    def gram(self, m: int) -> Tensor:
        j, k = torch.meshgrid(*(torch.arange(m, dtype=torch.float64),) * 2, indexing="ij")
        even = (j + k) % 2 == 0
        g = 0.5 / (1 - torch.where(even, j + k, 0.0) ** 2) + 0.5 / (1 - torch.where(even, j - k, 0.0) ** 2)
        return torch.where(even, g, 0.0)


def real_basis(axis: Axis) -> Basis:
    """Real functions with which an axis interpolates: waves, cosines or polynomials by its kind."""
    if axis.kind == "listed":
        raise NWidthError(
            f"spectral basis of axis {axis.name!r}",
            got="listed points",
            expected="periodic, nodal, cell or chebyshev",
            fix="interpolate the data onto such points",
        )
    if axis.kind in ("cell", "nodal"):
        return CosineBasis(axis.kind)
    return RealFourierBasis() if axis.kind == "periodic" else ChebyshevBasis()


def is_half(basis: Basis) -> bool:
    """Whether the axis holds real values as complex coefficients of k >= 0."""
    return isinstance(basis, FourierBasis) and basis.half


def _unit_circle(turns: Tensor) -> Tensor:
    return torch.polar(torch.ones_like(turns), 2 * math.pi * turns)


def _check_points(basis: Basis, at: str, allowed: tuple[str, ...]) -> None:
    if at not in allowed:
        raise NWidthError(basis.name, got=f"at={at!r}", expected="one of " + ", ".join(allowed))


def _uniform_points(at: str, n: int) -> Tensor:
    j = torch.arange(n, dtype=torch.float64)
    return {"cell": (j + 0.5) / n, "nodal": j / max(n - 1, 1), "interior": (j + 1) / (n + 1)}[at]


def _uniform_weights(at: str, n: int) -> Tensor:
    intervals = {"cell": n, "nodal": max(n - 1, 1), "interior": n + 1}[at]
    w = torch.full((n,), 1.0 / intervals, dtype=torch.float64)
    if at == "nodal":
        w[[0, -1]] /= 2
    return w
