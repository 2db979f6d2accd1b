"""Lagrange finite elements on a ``Mesh``: matrices and vectors of the common forms, assembled by scikit-fem."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse

from ..backends import Mesh
from ..errors import NWidthError
from .meshes import EDGES

SIDES = {"left": (0, 0), "right": (0, 1), "bottom": (1, 0), "top": (1, 1), "back": (2, 0), "front": (2, 1)}
_ELEMENTS = {  # (dimension, points a cell): mesh, element, vertices a cell
    (1, 2): ("MeshLine", "ElementLineP1", 2),
    (2, 3): ("MeshTri", "ElementTriP1", 3),
    (2, 6): ("MeshTri", "ElementTriP2", 3),
    (2, 4): ("MeshQuad", "ElementQuad1", 4),
    (3, 4): ("MeshTet", "ElementTetP1", 4),
}
_CLOSE = 1e-6  # distances below this share of the domain's size are round-off


class Space:
    """Continuous Lagrange elements with one unknown a point and component, ordered (component, point).

    The cells decide about the element: segments, triangles, tetrahedra (linear), quadrilaterals (bilinear), and
    triangles of six points (quadratic: three corners, then the middles of the edges 01, 12, 20, as in VTK and
    gmsh). ``cells`` and ``facets`` below are indices of the mesh's cells and of ``facets``; None: all cells.
    Matrices are float64 CSR over all unknowns, without boundary conditions; vectors have ``size`` entries.

    Raises NWidthError for a mesh without cells, cells of another kind, flat cells, and points in no cell.

    >>> from nwidth.solvers.meshes import structured_mesh
    >>> space = Space(structured_mesh([np.linspace(0, 1, 3)] * 2))
    >>> round(float(space.mass().sum()), 12), space.size
    (1.0, 13)
    """

    def __init__(self, mesh: Mesh, components: int = 1):
        if not isinstance(mesh, Mesh) or mesh.cells is None:
            raise NWidthError(
                "finite elements",
                got="no mesh" if not isinstance(mesh, Mesh) else "a mesh without cells",
                expected="points and cells",
                fix="name the cells' key in data.coordinates.cells, or take problem.grid(resolution)",
            )
        self.mesh, self.components, self.ndim = mesh, components, mesh.ndim
        self.points = np.ascontiguousarray(mesh.points.double().cpu().numpy())
        self.cells = mesh.cells.long().cpu().numpy()
        kind = _ELEMENTS.get((self.ndim, self.cells.shape[1]))
        if kind is None:
            raise NWidthError(
                "finite elements",
                got=f"cells of {self.cells.shape[1]} points in {self.ndim}D",
                expected="segments, triangles of 3 or 6 points, quadrilaterals, or tetrahedra",
            )
        self._kind = kind
        self.lo, self.hi = self.points.min(0), self.points.max(0)
        self.size = components * len(self.points)
        used = np.zeros(len(self.points), dtype=bool)
        used[self.cells] = True
        if not used.all():
            raise NWidthError(
                "finite elements",
                got=f"{int((~used).sum())} points that belong to no cell",
                expected="cells that cover all points",
                fix="remove those points, or check the cells",
            )
        self._check_cells()

    def _check_cells(self) -> None:
        corners = self.points[self.cells[:, : self.ndim + 1]]
        volumes = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1]))
        flat = volumes <= 1e-13 * np.prod(self.hi - self.lo)
        if flat.any():
            raise NWidthError(
                "finite elements", got=f"{int(flat.sum())} cells without volume", expected="cells that are not flat"
            )

    @cached_property
    def _vertices(self) -> np.ndarray:
        """The points that are corners of cells."""
        return np.unique(self.cells[:, : self._kind[2]])

    @cached_property
    def _mesh(self) -> Any:
        import skfem

        corners = np.searchsorted(self._vertices, self.cells[:, : self._kind[2]])
        points = np.ascontiguousarray(self.points[self._vertices].T)
        return getattr(skfem, self._kind[0])(points, np.ascontiguousarray(corners.T))

    @cached_property
    def _element(self) -> Any:
        import skfem

        element = getattr(skfem, self._kind[1])()
        return element if self.components == 1 else skfem.ElementVector(element, self.components)

    @cached_property
    def _order(self) -> np.ndarray:
        """scikit-fem's number of each of our unknowns."""
        basis = self._basis()
        order = np.empty((self.components, len(self.points)), dtype=np.int64)
        order[:, self._vertices] = basis.nodal_dofs
        if self.cells.shape[1] == 6:
            order[:, self._middles] = basis.facet_dofs
        return order.ravel()

    @cached_property
    def _middles(self) -> np.ndarray:
        """The point in the middle of each edge of a mesh of quadratic triangles."""
        n = len(self._vertices)
        number = np.searchsorted(self._vertices, self.cells[:, :3])
        edges = np.stack([np.sort(number[:, e], axis=1) for e in np.array(EDGES)], 1)
        keys, first = np.unique(edges[..., 0] * n + edges[..., 1], return_index=True)
        middles = self.cells[:, 3:].ravel()[first]
        ends = self.points[self._vertices[np.stack([keys // n, keys % n])]]
        off = np.abs(self.points[middles] - ends.mean(0)).max()
        if off > _CLOSE * (self.hi - self.lo).max() or len(np.unique(middles)) + n != len(self.points):
            raise NWidthError(
                "finite elements",
                got="quadratic triangles whose points 3, 4, 5 are not the middles of the edges 01, 12, 20",
                expected="straight edges, one point on each",
            )
        facets = self._mesh.facets
        return middles[np.searchsorted(keys, facets[0].astype(np.int64) * n + facets[1])]

    def _basis(self, cells: np.ndarray | None = None, extra: int = 0) -> Any:
        import skfem

        order = 2 * self._element.maxdeg + extra
        return skfem.Basis(self._mesh, self._element, intorder=order, elements=cells)

    def _matrix(self, form: Callable[..., Any], cells: np.ndarray | None, extra: int = 0) -> scipy.sparse.csr_matrix:
        import skfem

        basis = self._basis(cells, extra)
        return skfem.BilinearForm(form).assemble(basis).tocsr()[self._order][:, self._order]

    @cached_property
    def centroids(self) -> np.ndarray:
        """(cells, d)."""
        return self.points[self.cells[:, : self._kind[2]]].mean(1)

    @cached_property
    def boundary(self) -> np.ndarray:
        """Facets that belong to one cell."""
        return self._mesh.boundary_facets()

    def facet_points(self, facets: np.ndarray) -> np.ndarray:
        """Sorted points on these facets, with the middles of quadratic edges."""
        found = self._vertices[self._mesh.facets[:, facets]].ravel()
        if self.cells.shape[1] == 6:
            found = np.concatenate([found, self._middles[facets]])
        return np.unique(found)

    def facet_centroids(self, facets: np.ndarray) -> np.ndarray:
        """(facets, d)."""
        return self._mesh.p[:, self._mesh.facets[:, facets]].mean(1).T

    def side(self, name: str) -> np.ndarray:
        """Boundary facets on a side of the bounding box, up to round-off of the coordinates; an error for none."""
        axis, end = side(name, self.ndim)
        at = self.hi[axis] if end else self.lo[axis]
        close = np.abs(self._mesh.p[axis] - at) <= _CLOSE * (self.hi - self.lo).max()
        found = self.boundary[close[self._mesh.facets[:, self.boundary]].all(0)]
        if not len(found):
            raise NWidthError("finite elements", got=f"no facets on the {name} side", expected="a straight side")
        return found

    def block_of(self, centroids: np.ndarray, blocks: Sequence[int]) -> np.ndarray:
        """The block of each centroid, in a regular division of the bounding box; the first axis counts fastest."""
        scaled = (centroids - self.lo) / (self.hi - self.lo) * np.array(blocks)
        index = np.clip(np.floor(scaled).astype(np.int64), 0, np.array(blocks) - 1)
        return index @ np.cumprod([1, *blocks[:-1]])

    def mass(self, cells: np.ndarray | None = None) -> scipy.sparse.csr_matrix:
        """∫ u . v."""
        return self._matrix(lambda u, v, w: _dot(u, v) if self.components > 1 else u * v, cells)

    def stiffness(self, cells: np.ndarray | None = None, axes: Sequence[int] | None = None) -> scipy.sparse.csr_matrix:
        """∫ sum_i ∂_i u . ∂_i v over i in ``axes`` (None: all, the Laplacian)."""
        chosen = list(range(self.ndim)) if axes is None else list(axes)

        def form(u: Any, v: Any, w: Any) -> Any:
            return sum((u.grad[..., i, :, :] * v.grad[..., i, :, :]).reshape(-1, *u.shape[-2:]).sum(0) for i in chosen)

        return self._matrix(form, cells)

    def convection(
        self, velocity: Callable[[np.ndarray], np.ndarray], *, interpolate: bool, cells: np.ndarray | None = None
    ) -> scipy.sparse.csr_matrix:
        """∫ (w . grad u) v for scalar u, with the velocity w (d, ...) at points (d, ...).

        ``interpolate`` replaces w by its interpolant in the element space, as codes do that pass coefficients as
        finite element functions; otherwise w is evaluated at the quadrature points.
        """
        if interpolate:
            values = velocity(self.points.T)
            nodal = np.empty((self.ndim, self.size))
            nodal[:, self._order] = values
            basis = self._basis(cells, 1)
            fields = [np.asarray(basis.interpolate(c)) for c in nodal]
            return self._matrix(lambda u, v, w: sum(f * g for f, g in zip(fields, u.grad)) * v, cells, 1)
        return self._matrix(lambda u, v, w: sum(f * g for f, g in zip(velocity(w.x), u.grad)) * v, cells, 1)

    def elasticity(self, lame: float, shear: float, cells: np.ndarray | None = None) -> scipy.sparse.csr_matrix:
        """∫ 2 shear e(u) : e(v) + lame div u div v, e(u) the symmetric gradient."""

        def form(u: Any, v: Any, w: Any) -> Any:
            d = range(self.ndim)
            strain = sum(
                (u.grad[i, j] + u.grad[j, i]) * (v.grad[i, j] + v.grad[j, i]) * (0.25 if i == j else 0.5)
                for i in d
                for j in range(i, self.ndim)
            )
            return 2 * shear * strain + lame * sum(u.grad[i, i] for i in d) * sum(v.grad[i, i] for i in d)

        return self._matrix(form, cells)

    def load(self, value: Callable[[np.ndarray], Any] | float = 1.0, component: int = 0) -> np.ndarray:
        """∫ f v_component with f a number, or a function of points (d, ...), integrated two orders higher."""
        extra = 2 if callable(value) else 0
        return self._vector(self._basis(extra=extra), value, component)

    def flux(self, facets: np.ndarray, value: float = 1.0, component: int = 0) -> np.ndarray:
        """∫ f v_component over facets."""
        import skfem

        return self._vector(skfem.FacetBasis(self._mesh, self._element, facets=facets), value, component)

    def _vector(self, basis: Any, value: Any, component: int) -> np.ndarray:
        import skfem

        def form(v: Any, w: Any) -> Any:
            f = value(w.x) if callable(value) else value
            return f * (v[component] if self.components > 1 else v)

        return skfem.LinearForm(form).assemble(basis)[self._order]


def _dot(u: Any, v: Any) -> Any:
    return sum(u[i] * v[i] for i in range(len(u)))


def side(name: str, ndim: int) -> tuple[int, int]:
    """Axis and end (0 low, 1 high) of a side of a box; NWidthError for an unknown name."""
    known = [k for k, (axis, _) in SIDES.items() if axis < ndim]
    if name not in known:
        raise NWidthError("side of a box", got=f"{name!r}", expected="one of " + ", ".join(known))
    return SIDES[name]
