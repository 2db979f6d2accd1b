"""Tensor-product Lagrange elements of any degree whose nodes are the points of a uniform grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..backends import Axis
from ..errors import NWidthError


@dataclass(frozen=True)
class LagrangeAxis:
    """Continuous piecewise polynomials of this degree on a nodal axis: elements of degree + 1 neighbouring points.

    >>> line = LagrangeAxis(Axis("nodal", 9), 4)
    >>> line.elements, round(float(line.load(0.2, 0.7).sum()), 12)
    (2, 0.5)
    """

    axis: Axis
    degree: int

    def __post_init__(self):
        axis, p = self.axis, self.degree
        if axis.kind != "nodal" or p < 1 or (axis.n - 1) % p or axis.n < p + 1:
            raise NWidthError(
                f"elements of degree {p}",
                got=f"{axis.n} {axis.kind} points",
                expected=f"a nodal axis of m * {p} + 1 points",
                fix=f"take {max((axis.n - 1) // max(p, 1), 1) * p + 1} points, or a degree that divides {axis.n - 1}",
            )

    @property
    def elements(self) -> int:
        return (self.axis.n - 1) // self.degree

    @cached_property
    def nodes(self) -> np.ndarray:
        """The points of each element, (elements, degree + 1)."""
        return self.degree * np.arange(self.elements)[:, None] + np.arange(self.degree + 1)

    @cached_property
    def quadrature(self) -> tuple[np.ndarray, np.ndarray]:
        """Gauss points on [0, degree] in units of the spacing and their weights in length, degree + 1 each."""
        x, w = np.polynomial.legendre.leggauss(self.degree + 1)
        return (x + 1) * self.degree / 2, w * self.degree / 2 * self.axis.spacing

    def values(self, s: np.ndarray) -> np.ndarray:
        """The degree + 1 functions of an element at points s in [0, degree], (len(s), degree + 1)."""
        return self._polynomials(s)

    @cached_property
    def at_quadrature(self) -> np.ndarray:
        return self.values(self.quadrature[0])

    @cached_property
    def stiffness(self) -> np.ndarray:
        """int phi_a' phi_b' over an element."""
        s, w = self.quadrature
        slope = self._polynomials(s, derivative=True) / self.axis.spacing
        return np.einsum("q,qa,qb->ab", w, slope, slope)

    @cached_property
    def mass(self) -> np.ndarray:
        """int phi_a phi_b over an element."""
        return np.einsum("q,qa,qb->ab", self.quadrature[1], self.at_quadrature, self.at_quadrature)

    def load(self, lo: float, hi: float) -> np.ndarray:
        """int over [lo, hi] of each function of the axis, (n,), exactly."""
        h, out = self.axis.spacing, np.zeros(self.axis.n)
        start = self.degree * np.arange(self.elements)
        a = np.clip((lo - self.axis.lo) / h - start, 0, self.degree)
        b = np.clip((hi - self.axis.lo) / h - start, 0, self.degree)
        x, w = np.polynomial.legendre.leggauss(self.degree + 1)
        for e in np.flatnonzero(b > a):
            s = a[e] + (x + 1) * (b[e] - a[e]) / 2
            out[self.nodes[e]] += (w * (b[e] - a[e]) / 2 * h) @ self.values(s)
        return out

    def _polynomials(self, s: np.ndarray, derivative: bool = False) -> np.ndarray:
        """Lagrange's polynomials of the nodes 0, 1, .., degree."""
        nodes = np.arange(self.degree + 1)
        out = np.empty((len(s), len(nodes)))
        for a in nodes:
            p = np.polynomial.Polynomial.fromroots(np.delete(nodes, a))
            p = p / p(a)
            out[:, a] = (p.deriv() if derivative else p)(s)
        return out


class LagrangeSpace:
    """Products of ``LagrangeAxis`` functions: element matrices, and their sum as one sparse matrix pattern.

    Element-wise quantities have the shape (elements, ..) with elements and local functions in row-major order of the
    axes.
    """

    def __init__(self, axes: Sequence[LagrangeAxis]):
        self.axes = list(axes)
        self.shape = tuple(line.axis.n for line in axes)
        nodes, stride = np.zeros((1, 1), dtype=np.int64), np.cumprod((1, *self.shape[::-1]))[::-1][1:]
        for line, step in zip(axes, stride):
            part = line.nodes * int(step)
            nodes = (nodes[:, None, :, None] + part[None, :, None, :]).reshape(
                len(nodes) * len(part), nodes.shape[1] * part.shape[1]
            )
        self.nodes = nodes

    @property
    def stiffness(self) -> np.ndarray:
        """int grad phi_a . grad phi_b over an element."""
        parts = [[x.stiffness if j == i else x.mass for j, x in enumerate(self.axes)] for i in range(len(self.axes))]
        return np.sum([self._product(p) for p in parts], axis=0)

    @property
    def at_quadrature(self) -> np.ndarray:
        """Values of the local functions at the quadrature points of an element, (points, functions)."""
        return self._product([x.at_quadrature for x in self.axes])

    @property
    def weights(self) -> np.ndarray:
        return self._product([x.quadrature[1][:, None] for x in self.axes])[:, 0]

    def mass(self, values: np.ndarray) -> np.ndarray:
        """int v phi_a phi_b over each element for v at its quadrature points (elements, points)."""
        b = self.at_quadrature
        pairs = (b[:, :, None] * b[:, None, :]).reshape(len(b), -1) * self.weights[:, None]
        return values @ pairs

    def _product(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        out = np.ones((1, 1))
        for part in parts:
            out = np.kron(out, part)
        return out
