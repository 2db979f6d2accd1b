"""The Poisson equation on boxes, by fast transforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...backends import Grid
from ...backends.transforms import Basis, ChebyshevBasis, CosineBasis, FourierBasis, SineBasis, Transform
from ...data import Dataset
from ...errors import NWidthError
from ..box import BoxProblem
from ..collocation import solve_by_collocation
from ..random_fields import MaternField, RandomField
from ..separable import Separable, times
from ..sided_box import POINTS

SCHEMES = ("spectral", "difference")


@dataclass(frozen=True, kw_only=True)
class Poisson(BoxProblem):
    """-Lap u = f on [lo, hi]^d; u or du/dn given on each side, or periodic.

    Parameters
    ----------
    forcing : the law of f (``RandomField``), the first channel of the inputs; a number where ``boundary`` is a law.
    scheme : ``difference``, second differences (second order), inverted exactly; ``spectral``, the waves that satisfy
        the conditions on uniform points, or polynomials on ``points="chebyshev"``.
    solver : ``auto`` inverts the operator exactly, by transforms; others (with scheme=difference) see ``BoxProblem``.
    ndim, lo, hi, points, sides, boundary, refine, rtol, iterations : see ``BoxProblem``.

    Spectral accuracy, that is errors below any power of the spacing for smooth f: on periodic axes always, by Fourier
    series; on Chebyshev points always, with any boundary data, by collocation (at most some hundred points an axis); on
    uniform cells and nodes only where f continues smoothly as an odd (dirichlet) or even (neumann) function beyond the
    side, and only for zero boundary data: second order otherwise.

    The default is the periodic problem of Du et al. (2024, Neural Spectral Methods, ICLR, section 4.1), with f of mean
    zero; theirs with Dirichlet sides is points="chebyshev", sides="dirichlet".

    >>> problem = Poisson()
    >>> data = problem.simulate([0, 1], seed=0, grid=problem.grid(16))
    >>> tuple(data.a.shape), tuple(data.u.shape), data.names["a"], bool(data.u.mean().abs() < 1e-12)
    ((2, 1, 16, 16), (2, 1, 16, 16), ('f',), True)
    """

    sides: str | Sequence[str] = "periodic"
    points: str = "nodal"
    forcing: float | RandomField = field(default_factory=lambda: MaternField(length=0.2, nu=4.5))
    scheme: str = "spectral"

    def __post_init__(self):
        super().__post_init__()
        if self.scheme not in SCHEMES:
            raise NWidthError("Poisson", got=f"scheme={self.scheme!r}", expected="one of " + ", ".join(SCHEMES))
        if not self.laws():
            raise NWidthError(
                "Poisson", got="numbers for forcing and boundary", expected="the law of a field for one of them"
            )
        if self.points == "chebyshev" and self.scheme != "spectral":
            raise NWidthError("Poisson", got="scheme='difference' on chebyshev points", expected="points=cell or nodal")
        data = self.boundary if isinstance(self.boundary, tuple) else (self.boundary,)
        mixed = any(lower != upper for lower, upper in self.side_pairs)
        given = any(s != "periodic" for pair in self.side_pairs for s in pair) and any(v != 0 for v in data)
        if self.scheme == "spectral" and self.points != "chebyshev" and (mixed or given):
            raise NWidthError(
                "Poisson",
                got=f"scheme='spectral' on {self.points} points with sides={self.sides}, boundary={self.boundary}",
                expected="zero boundary data, and the same condition on both sides of an axis",
                fix="set points=chebyshev or scheme=difference",
            )

    @property
    def point_kinds(self) -> tuple[str, ...]:
        return (*POINTS, "chebyshev")

    def coefficient(self, inputs: Dataset) -> Tensor:
        like: Tensor = inputs.a  # type: ignore[assignment]
        return torch.ones(1, 1, *inputs.grid.shape, dtype=like.dtype, device=like.device)

    def theta(self, inputs: Dataset) -> list[Tensor]:
        """As in ``BoxProblem``; with scheme=spectral the quadrature weights relative to the spacing, since then
        ``differences`` are derivatives at the points, on periodic axes halfway between them."""
        if self.scheme == "difference":
            return super().theta(inputs)
        self.check(inputs)
        grid: Grid = inputs.grid  # type: ignore[assignment]
        weights = torch.ones((), dtype=torch.float64)
        for axis in grid.axes:
            weights = weights[..., None] * axis.weights() / axis.spacing
        return [weights[None, None].to(inputs.a)] * grid.ndim  # type: ignore[arg-type]

    def adjoint(self, faces: Sequence[Tensor], grid: Grid) -> Tensor:
        if self.scheme == "difference":
            return super().adjoint(faces, grid)
        out = torch.zeros((), dtype=faces[0].dtype, device=faces[0].device)
        for i, q in enumerate(faces):
            out = out + times(self._derivative(grid, i).T, q, i - grid.ndim)
        free = self._free(grid, out)
        return out if free is None else out * free

    def residual(self, u: Tensor, inputs: Dataset) -> Tensor:
        """As in ``BoxProblem``; on Chebyshev points -Lap u - f inside, u - g or du/dn - g on the sides."""
        if self.points != "chebyshev":
            return super().residual(u, inputs)
        self.check(inputs)
        grid: Grid = inputs.grid  # type: ignore[assignment]
        slopes = self._quotients(u, grid)
        matrices = [self._derivative(grid, i) for i in range(grid.ndim)]
        matrices = [-m.T if axis.kind == "periodic" else m for m, axis in zip(matrices, grid.axes)]
        second = [times(m, v, i - grid.ndim) for i, (m, v) in enumerate(zip(matrices, slopes))]
        out = -torch.stack(second).sum(0) - self.forces(inputs)
        for i, pair in enumerate(self.side_pairs):
            for end, side in enumerate(pair):
                if side != "periodic":
                    at = (i - grid.ndim, end * (grid.shape[i] - 1), 1)
                    value = u if side == "dirichlet" else slopes[i] * (2 * end - 1)
                    wall = self._wall(inputs, i, end)
                    out.narrow(*at).copy_(value.narrow(*at) - (0.0 if wall is None else wall))
        return out

    def couplings(self, inputs: Dataset) -> list[Tensor]:
        if self.scheme == "spectral":
            raise NWidthError("Poisson", got=f"scheme='spectral' with solver={self.solver!r}", expected="solver='auto'")
        return super().couplings(inputs)

    def _invert(self, inputs: Dataset, f: Tensor) -> Tensor:
        if self.solver != "auto":
            return super()._invert(inputs, f)
        lines, spectral = self.lines(inputs.grid), self.scheme == "spectral"  # type: ignore[arg-type]
        return Separable(lines, f, spectral=spectral).solve(f)

    def _solve(self, inputs: Dataset) -> Tensor:
        grid: Grid = inputs.grid  # type: ignore[assignment]
        if self.points != "chebyshev":
            return super()._solve(inputs)
        self.check(inputs)
        volume = self._volume(grid, inputs.a)  # type: ignore[arg-type]
        self._balanced(self.source(inputs).expand(len(inputs), 1, *grid.shape), inputs)
        f = self.forces(inputs).expand(len(inputs), 1, *grid.shape)
        walls = [self._walls(inputs, i) for i in range(grid.ndim)]
        u = solve_by_collocation(grid.axes, self.side_pairs, f, walls)
        return self._centred(u, volume)

    def _walls(self, inputs: Dataset, i: int) -> Tensor | None:
        """Data of both sides of an axis, two entries along it; None where they are zero or the axis is periodic."""
        if "periodic" in self.side_pairs[i]:
            return None
        ends = [self._wall(inputs, i, end) for end in (0, 1)]
        if all(w is None for w in ends):
            return None
        zero = torch.zeros_like(next(w for w in ends if w is not None))
        return torch.cat([zero if w is None else w for w in ends], i - self.ndim)

    def _quotients(self, u: Tensor, grid: Grid, walls: Sequence[Sequence[Tensor | None]] | None = None) -> list[Tensor]:
        if self.scheme == "difference":
            return super()._quotients(u, grid, walls)
        return [times(self._derivative(grid, i), u, i - grid.ndim) for i in range(grid.ndim)]

    def _widths(self, grid: Grid, i: int, like: Tensor) -> Tensor | None:
        axis = grid.axes[i]
        if axis.kind != "chebyshev":
            return super()._widths(grid, i, like)
        return (axis.weights() / axis.spacing).to(like).view(-1, *(1,) * (grid.ndim - 1 - i))

    def _derivative(self, grid: Grid, i: int) -> Tensor:
        """The matrix (n, n) of d/dx_i on the interpolant that satisfies the conditions.

        On a periodic axis, halfway from each point to the next: of an even number of points the highest wave has no
        slope at the points themselves. There D' D is minus the second derivative, as it is on odd numbers of points.
        """
        axis, (side, _) = grid.axes[i], self.side_pairs[i]
        unit = torch.eye(axis.n, dtype=torch.float64)
        if axis.kind == "periodic":
            transform = Transform([FourierBasis()], lengths=[axis.length])
            return transform.derivative(transform.resize(unit, [2 * axis.n]), 1)[:, 1::2].T
        if axis.kind == "chebyshev":
            basis: Basis = ChebyshevBasis()
        else:
            basis = SineBasis(axis.kind) if side == "dirichlet" else CosineBasis(axis.kind)
        return Transform([basis], lengths=[axis.length]).derivative(unit, 1).T
