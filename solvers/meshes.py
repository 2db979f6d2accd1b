"""Meshes of boxes, and what identifies a mesh."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from ..backends import Mesh
from ..errors import NWidthError

EDGES = ((0, 1), (1, 2), (2, 0))  # of a quadratic triangle, in the order of its points 3, 4, 5


def structured_mesh(axes: Sequence[np.ndarray], cells: str = "crossed", degree: int = 1) -> Mesh:
    """The mesh of a box with these coordinates along each axis, one to three of them.

    cells : ``crossed``, each rectangle cut by both diagonals with a point at their crossing (2D); ``simplices``,
        segments, rectangles cut in two, boxes cut into tetrahedra; ``boxes``, rectangles (2D).
    degree : 2 adds the middles of the edges of triangles, for quadratic elements.

    Points of the tensor grid come first, the last axis fastest; then crossings; then middles.

    >>> structured_mesh([np.linspace(0, 1, 101)] * 2).shape
    (20201,)
    """
    ndim = len(axes)
    if (cells, ndim) not in {("crossed", 2), ("boxes", 2), ("simplices", 1), ("simplices", 2), ("simplices", 3)}:
        raise NWidthError(
            "structured_mesh",
            got=f"cells={cells!r} in {ndim}D",
            expected="crossed or boxes in 2D, or simplices in 1D, 2D, 3D",
        )
    if degree not in (1, 2) or (degree == 2 and (ndim != 2 or cells == "boxes")):
        raise NWidthError(
            "structured_mesh", got=f"degree={degree} with {cells} in {ndim}D", expected="1, or 2 for triangles"
        )
    points = np.stack([x.ravel() for x in np.meshgrid(*axes, indexing="ij")], 1)
    if ndim == 1:
        found = np.stack([np.arange(len(points) - 1), np.arange(1, len(points))], 1)
    elif ndim == 3:
        points, found = _tetrahedra(axes)
    else:
        number = np.arange(len(points)).reshape(len(axes[0]), len(axes[1]))
        a, b, c, d = (v.ravel() for v in (number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]))
        if cells == "boxes":
            found = np.stack([a, b, c, d], 1)
        elif cells == "simplices":
            found = np.concatenate([np.stack(t, 1) for t in ((a, b, c), (a, c, d))])
        else:
            e = len(points) + np.arange(len(a))
            points = np.concatenate([points, points[np.stack([a, b, c, d])].mean(0)])
            found = np.concatenate([np.stack(t, 1) for t in ((a, b, e), (b, c, e), (c, d, e), (d, a, e))])
    return make_mesh(points, found, degree)


def block_axes(box: Sequence[tuple[float, float]], blocks: Sequence[int], intervals: Sequence[int]) -> list[np.ndarray]:
    """Coordinates along each axis of a box cut into blocks: so many intervals, shared out evenly, none across blocks.

    >>> block_axes([(0.0, 1.0)], [2], [3])[0].tolist()
    [0.0, 0.25, 0.5, 1.0]
    """
    axes = []
    for (lo, hi), count, n in zip(box, blocks, intervals):
        edges = np.linspace(lo, hi, count + 1)
        shares = [n // count + (i < n % count) for i in range(count)]
        pieces = [np.linspace(a, b, k + 1)[:-1] for a, b, k in zip(edges[:-1], edges[1:], shares)]
        axes.append(np.concatenate([*pieces, edges[-1:]]))
    return axes


def make_mesh(points: np.ndarray, cells: np.ndarray, degree: int = 1) -> Mesh:
    """A ``Mesh`` from arrays, its weights from the volumes of the cells; ``degree`` 2 adds middles of edges.

    Weights of quadratic triangles are those of the four linear ones in each, so that none is zero.
    """
    linear = cells
    if degree == 2:
        edges = np.sort(cells[:, np.array(EDGES)], axis=-1)
        keys, number = np.unique((edges[..., 0] * len(points) + edges[..., 1]).ravel(), return_inverse=True)
        n, middle = len(points), number.reshape(-1, 3)
        points = np.concatenate([points, points[np.stack([keys // n, keys % n])].mean(0)])
        cells = np.concatenate([cells, n + middle], 1)
        a, b, c, ab, bc, ca = cells.T
        linear = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    mesh = Mesh(torch.from_numpy(points), torch.from_numpy(linear))
    if linear.shape[1] <= mesh.ndim + 1:
        weights = mesh.weights()
    else:  # half of each diagonal's two triangles
        halves = np.concatenate([linear[:, list(k)] for k in ((0, 1, 2), (0, 2, 3), (0, 1, 3), (1, 2, 3))])
        weights = Mesh(mesh.points, torch.from_numpy(halves)).weights() / 2
    return Mesh(mesh.points, torch.from_numpy(cells), weights)


def _tetrahedra(axes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    import skfem

    mesh = skfem.MeshTet.init_tensor(*axes)
    return np.ascontiguousarray(mesh.p.T), np.ascontiguousarray(mesh.t.T).astype(np.int64)


def mesh_hash(mesh: Mesh) -> str:
    """SHA-256 of points, cells and given weights: the same for the same mesh read from a file."""
    digest = hashlib.sha256()
    for name, dtype in (("points", torch.float64), ("cells", torch.int64), ("point_weights", torch.float64)):
        value = getattr(mesh, name)
        if value is not None:
            digest.update(f"{name}{tuple(value.shape)}".encode())
            digest.update(value.to("cpu", dtype).contiguous().numpy().tobytes())
    return digest.hexdigest()
