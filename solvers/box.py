"""-div(a grad u) = f on boxes: finite volumes on cells and nodes, any mixture of boundary conditions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from ..backends import Grid
from ..data import Dataset
from ..errors import NWidthError
from .direct import solve_directly
from .elliptic import LARGE, conjugate_gradients
from .media import Medium
from .multigrid import Multigrid
from .random_fields import RandomField, stream
from .separable import Separable
from .sided_box import SidedBox
from .stencils import Stencil, samples_first, samples_last

SOLVERS = ("auto", "multigrid", "cg", "direct")
MEAN = 1e-6  # the mean of f, relative to its size, that counts as zero
PATIENCE = 60  # iterations after which ``auto`` turns to direct solves


@dataclass(frozen=True, kw_only=True)
class BoxProblem(SidedBox):
    """-div(a grad u) = f on [lo, hi]^d; on each side u = g, or a du/dn = g, or it is periodic.

    A subclass gives ``laws`` (its random input fields, in the order of the channels of ``Dataset.a``) and
    ``coefficient`` (a, from the inputs); ``mean`` may be overridden.

    Parameters
    ----------
    ndim, lo, hi, points, sides : see ``SidedBox``.
    boundary : g, the value of u or the flux a du/dn out of the box: a number, one a side, or the law of a random
        field, whose values on each side count. The field is then the last channel of the inputs: on nodal axes its
        end values are g, on cell axes the line through its two outermost values, at the wall.
    forcing : f, a number or the law of a random field, which is then a channel of the inputs.
    solver : ``multigrid`` or ``cg``, conjugate gradients preconditioned by a multigrid cycle (``Multigrid``) or by
        a^(-1/2) (-Lap_h)^(-1) a^(-1/2) with fast transforms (Concus and Golub 1973, SIAM J. Numer. Anal. 10; for
        smooth a only); ``direct``, sparse LU of one sample after the other; ``auto``, multigrid, and LU for those
        samples that have not converged after 60 iterations (with a warning).
    refine : ``simulate`` solves with this many times as many intervals on each axis and keeps the points of the grid
        asked for, as published data were made (an odd number for cells). ``solve`` uses the grid of its inputs.
    rtol, iterations : see ``EllipticProblem``.

    Finite volumes, second order where a is smooth: a cell around each point, of half the width at the ends of nodal
    axes. The flux between two points is a mean of their a times the difference quotient. At a Dirichlet wall of a
    cell axis, half a cell away, it is 2 a (g - u) / h (Eymard, Gallouet and Herbin 2000, Finite Volume Methods,
    section 3.1). Rows are divided by the volume of a whole cell, which leaves the matrix symmetric and f as it is
    inside. Nodes on Dirichlet sides are no unknowns: there u = g. Where two sides meet, the later axis counts.

    Without any Dirichlet side the solution of zero mean is returned, f and g must balance, and sampled f are shifted
    by a constant so that they do.
    """

    boundary: float | Sequence[float] | RandomField = 0.0
    forcing: float | RandomField = 1.0
    solver: str = "auto"
    refine: int = 1

    def __post_init__(self):
        super().__post_init__()
        name = type(self).__name__
        if isinstance(self.boundary, Sequence) and not isinstance(self.boundary, str):
            object.__setattr__(self, "boundary", tuple(self.boundary))
        if self.solver not in SOLVERS:
            raise NWidthError(name, got=f"solver={self.solver!r}", expected="one of " + ", ".join(SOLVERS))
        if isinstance(self.boundary, tuple) and len(self.boundary) != 2 * self.ndim:
            raise NWidthError(name, got=f"{len(self.boundary)} boundary values", expected=f"one or {2 * self.ndim}")
        for option in ("boundary", "forcing"):
            value = getattr(self, option)
            numbers = value if isinstance(value, tuple) else (value,)
            if not isinstance(value, RandomField) and not all(isinstance(v, int | float) for v in numbers):
                raise NWidthError(name, got=f"{option}={value}", expected="numbers or the law of a random field")
        if self.refine < 1 or (self.points == "cell" and self.refine % 2 == 0):
            raise NWidthError(name, got=f"refine={self.refine}", expected="1 or more, odd for cells")

    @property
    def reads(self) -> tuple[str, ...]:
        return ("a",)

    def laws(self) -> dict[str, RandomField | Medium]:
        """The random inputs by channel: here f and g, where they are fields."""
        fields = {"f": self.forcing, "g": self.boundary}
        return {k: v for k, v in fields.items() if isinstance(v, RandomField)}

    def coefficient(self, inputs: Dataset) -> Tensor:
        """a, (N or 1, 1, *space)."""
        raise NotImplementedError

    def mean(self, left: Tensor, right: Tensor) -> Tensor:
        """The coefficient between two points from theirs."""
        return 2 * left * right / (left + right)

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        streams = [stream(seed, i) for i in indices]
        laws = self.laws()
        a = torch.cat([law.sample(streams, grid) for law in laws.values()], 1)
        inputs = Dataset(grid, a=a, names={"a": tuple(laws), "u": ("u",)}, problem=self.config())
        if self.singular and "f" in laws:
            excess = self.source(inputs).sum(tuple(range(1, a.ndim))) / self._volume(grid, a).sum()
            k = list(laws).index("f")
            a[:, k] -= excess.view(-1, *(1,) * self.ndim)
        return inputs

    def simulate(self, indices: Sequence[int], seed: int, grid: Grid, *, device: str = "cpu") -> Dataset:
        """Random inputs with their solutions, float64: those of a ``refine`` times finer grid, at the grid's points."""
        r = self.refine
        if r == 1:
            return super().simulate(indices, seed, grid, device=device)
        shape = [(x.n - 1) * r + 1 if x.kind in ("nodal", "chebyshev") else x.n * r for x in grid.axes]
        kept = tuple(slice(r // 2 if x.kind == "cell" else 0, None, r) for x in grid.axes)
        fine = grid.with_shape(shape)
        size = max(1, LARGE // prod(shape))
        parts = []
        for i in range(0, len(indices), size):
            data = super().simulate(indices[i : i + size], seed, fine, device=device)
            parts.append([v[(..., *kept)].clone() for v in (data.a, data.u)])  # type: ignore[index]
        a, u = (torch.cat(p) for p in zip(*parts))
        return replace(data, grid=grid, a=a, u=u)

    def field(self, inputs: Dataset, name: str) -> Tensor:
        """One input field, (N, 1, *space)."""
        k = list(self.laws()).index(name)
        return inputs.a[:, k : k + 1]  # type: ignore[index]

    def forces(self, inputs: Dataset) -> Tensor:
        """f, (N or 1, 1, *space)."""
        if isinstance(self.forcing, RandomField):
            return self.field(inputs, "f")
        like: Tensor = inputs.a  # type: ignore[assignment]
        return torch.full((1, 1, *inputs.grid.shape), self.forcing, dtype=like.dtype, device=like.device)

    def theta(self, inputs: Dataset) -> list[Tensor]:
        """The mean of a at faces between points, 2 a at Dirichlet walls of cells, 0 at their other walls, times the
        area of the face relative to that of a whole cell: (N or 1, 1, *faces)."""
        self.check(inputs)
        grid: Grid = inputs.grid  # type: ignore[assignment]
        a = self.coefficient(inputs)
        faces = []
        for i, (axis, (lower, upper)) in enumerate(zip(grid.axes, self.side_pairs)):
            dim, n = i - grid.ndim, axis.n
            first, last = a.narrow(dim, 0, 1), a.narrow(dim, n - 1, 1)
            if axis.kind == "periodic":
                inner = self.mean(a, a.roll(-1, dim))
            else:
                inner = self.mean(a.narrow(dim, 0, n - 1), a.narrow(dim, 1, n - 1))
            if axis.kind == "cell":
                inner = torch.cat([2 * (lower == "dirichlet") * first, inner, 2 * (upper == "dirichlet") * last], dim)
            for j in range(grid.ndim):
                if j != i and (width := self._widths(grid, j, a)) is not None:
                    inner = inner * width
            faces.append(inner)
        return faces

    def source(self, inputs: Dataset) -> Tensor:
        """f and what the boundary data contribute, in the rows of the unknowns: (N or 1, 1, *space)."""
        grid: Grid = inputs.grid  # type: ignore[assignment]
        a: Tensor = inputs.a  # type: ignore[assignment]
        f = self.forces(inputs) * self._volume(grid, a)
        for i, (axis, pair) in enumerate(zip(grid.axes, self.side_pairs)):
            for end, side in enumerate(pair):
                if side == "neumann" and (flux := self._wall(inputs, i, end)) is not None:
                    f = f + self._at_end(flux / axis.spacing * self._volume(grid, a, i), i, end, grid)
        free = self._free(grid, f)
        f = f if free is None else f * free
        walls = [
            [self._wall(inputs, i, end) if side == "dirichlet" else None for end, side in enumerate(pair)]
            for i, pair in enumerate(self.side_pairs)
        ]
        if all(w is None for pair in walls for w in pair):
            return f
        lift = self._prescribed(inputs)
        known = self._quotients(f.new_zeros(len(inputs), *f.shape[1:]) if lift is None else lift, grid, walls)
        return f - self.adjoint([w * d for w, d in zip(self.theta(inputs), known)], grid)

    def residual(self, u: Tensor, inputs: Dataset) -> Tensor:
        """A(a) u - f, shaped like u; u - g at the nodes of Dirichlet sides. Differentiable in u and in the inputs."""
        out = super().residual(u, inputs)
        free = self._free(inputs.grid, u)  # type: ignore[arg-type]
        lift = self._prescribed(inputs)
        return out if free is None else out + (1 - free) * (u if lift is None else u - lift)

    def complete(self, u: Tensor, inputs: Dataset) -> Tensor:
        """u with g at the nodes of Dirichlet sides."""
        free, lift = self._free(inputs.grid, u), self._prescribed(inputs)  # type: ignore[arg-type]
        u = u if free is None else u * free
        return u if lift is None else u + lift

    def precondition(self, inputs: Dataset) -> Callable[[Tensor], Tensor]:
        """a^(-1/2) (-Lap_h)^(-1) a^(-1/2) on the unknowns, by fast transforms."""
        inner = self._unknowns(inputs.grid)  # type: ignore[arg-type]
        root = self.coefficient(inputs)[inner].rsqrt()
        laplacian = Separable(self.lines(inputs.grid), root)  # type: ignore[arg-type]
        return lambda r: root * laplacian.solve(root * r)

    def dual_norm2(self, r: Tensor, inputs: Dataset) -> Tensor:
        """As in ``EllipticProblem``, on the unknowns."""
        return super().dual_norm2(r[self._unknowns(inputs.grid)], inputs)  # type: ignore[arg-type]

    def couplings(self, inputs: Dataset) -> list[Tensor]:
        """A on the unknowns (nodes of Dirichlet sides are left out), as ``Stencil.from_couplings`` wants it."""
        grid: Grid = inputs.grid  # type: ignore[assignment]
        inner, out = self._unknowns(grid), []
        for i, (axis, (lower, upper), faces) in enumerate(zip(grid.axes, self.side_pairs, self.theta(inputs))):
            here = inner[: 2 + i] + (slice(None),) + inner[3 + i :]
            w = samples_last(faces[here].expand(len(inputs), *(-1,) * (faces.ndim - 1))) / axis.spacing**2
            none = torch.zeros_like(w.narrow(i, 0, 1))
            if axis.kind == "periodic":
                w = torch.cat([w.narrow(i, axis.n - 1, 1), w], i)
            elif axis.kind == "nodal":  # no flux beyond the ends, but to the nodes of Dirichlet sides
                w = torch.cat([*[none] * (lower != "dirichlet"), w, *[none] * (upper != "dirichlet")], i)
            out.append(w)
        return out

    def stencil(self, inputs: Dataset) -> Stencil:
        """A on the unknowns."""
        return Stencil.from_couplings(self.couplings(inputs), inputs.grid.periodic)

    def check(self, inputs: Dataset) -> None:
        """Raise NWidthError where the grid or the channels of the inputs are not this problem's."""
        grid, name = inputs.grid, type(self).__name__
        expected = ["periodic" if "periodic" in pair else "" for pair in self.side_pairs]
        fits = (
            isinstance(grid, Grid)
            and grid.ndim == self.ndim
            and all(
                (x.kind == e if e else x.kind in self.point_kinds)
                and abs(x.lo - self.lo) + abs(x.hi - self.hi) < 1e-6 * (self.hi - self.lo)
                for x, e in zip(grid.axes, expected)
            )
        )
        channels = inputs.a.shape[1]  # type: ignore[union-attr]
        if not fits or channels != len(self.laws()):
            where = f"{' or '.join(self.point_kinds)} points of [{self.lo:g}, {self.hi:g}]^{self.ndim}"
            raise NWidthError(
                name,
                got=f"{channels} channels on {grid.describe()}",
                expected=f"{len(self.laws())} ({', '.join(self.laws())}) at {where} with sides={self.sides}",
                fix="set data.kind to the kind of the points, and the problem's lo, hi, sides to the domain",
            )

    def _solve(self, inputs: Dataset) -> Tensor:
        self.check(inputs)
        f = self.source(inputs)
        f = self._balanced(f.expand(len(inputs), *f.shape[1:]), inputs)
        inner = self._unknowns(inputs.grid)  # type: ignore[arg-type]
        u = torch.zeros_like(f)
        u[inner] = self._invert(inputs, f[inner])
        return self.complete(self._centred(u, self._volume(inputs.grid, f)), inputs)  # type: ignore[arg-type]

    def _invert(self, inputs: Dataset, f: Tensor) -> Tensor:
        """A^(-1) f on the unknowns."""
        if self.solver == "direct":
            return solve_directly(self.stencil(inputs), f, self.singular)
        precondition: Callable[[Tensor], Tensor]
        if self.solver == "cg":
            precondition, stencil = self.precondition(inputs), self.stencil(inputs)
        else:
            grid: Grid = inputs.grid  # type: ignore[assignment]
            spacing = [x.spacing for x in grid.axes]
            precondition = Multigrid(self.couplings(inputs), grid.periodic, spacing, self.singular)
            stencil = precondition.stencil
        auto, rtol = self.solver == "auto", self.tolerance(f)
        most = min(self.iterations, PATIENCE) if auto else self.iterations
        f = samples_first(samples_last(f))
        u, residual, _ = conjugate_gradients(
            lambda v: samples_first(stencil.apply(samples_last(v))), f, precondition, rtol, most
        )
        rest = torch.nonzero(~(residual <= rtol))[:, 0]
        if auto and len(rest):
            warnings.warn(
                f"{type(self).__name__}: {len(rest)} of {len(f)} samples by sparse LU, since multigrid left a residual "
                f"of {float(residual.max()):.0e} after {most} iterations",
                stacklevel=2,
            )
            part = Stencil({o: c[..., rest] for o, c in stencil.coefficients.items()}, stencil.periodic)
            u[rest] = solve_directly(part, f[rest], self.singular)
        elif len(rest):
            self._converged(residual, rtol)
        return u

    def _balanced(self, f: Tensor, inputs: Dataset) -> Tensor:
        """f without its mean where the problem is singular; NWidthError where that is not round-off."""
        if not self.singular:
            return f
        dims = tuple(range(1, f.ndim))
        volume = self._volume(inputs.grid, f)  # type: ignore[arg-type]
        mean = f.sum(dims, keepdim=True) / volume.sum()
        size = f.abs().sum(dims, keepdim=True) / volume.sum()
        limit = max(MEAN, 1e3 * torch.finfo(f.dtype).eps)
        if bool((mean.abs() > limit * size).any()):
            raise NWidthError(
                f"{type(self).__name__}.solve",
                got=f"f and boundary fluxes that add up to {float(mean.abs().max()):.1e} a unit of volume",
                expected="zero, since no side is dirichlet",
                fix="subtract that mean from f, or give one side dirichlet values",
            )
        return f - mean * volume

    def _wall(self, inputs: Dataset, i: int, end: int) -> Tensor | None:
        """g on one side, with one entry along axis i; None where it is zero."""
        if isinstance(self.boundary, RandomField):
            g, dim = self.field(inputs, "g"), i - self.ndim
            n, cell = g.shape[dim], inputs.grid.axes[i].kind == "cell"  # type: ignore[union-attr]
            first, second = (0, 1) if end == 0 else (n - 1, n - 2)
            outer = g.narrow(dim, first, 1)
            return (3 * outer - g.narrow(dim, second, 1)) / 2 if cell else outer
        value = self.boundary[2 * i + end] if isinstance(self.boundary, tuple) else float(self.boundary)  # type: ignore[arg-type]
        like: Tensor = inputs.a  # type: ignore[assignment]
        shape = [1 if j == i else n for j, n in enumerate(inputs.grid.shape)]
        return torch.full((1, 1, *shape), value, dtype=like.dtype, device=like.device) if value else None

    def _prescribed(self, inputs: Dataset) -> Tensor | None:
        """g at the nodes of Dirichlet sides, zero elsewhere; None where it is zero."""
        grid: Grid = inputs.grid  # type: ignore[assignment]
        like: Tensor = inputs.a  # type: ignore[assignment]
        given = False
        out = like.new_zeros(len(inputs), 1, *grid.shape)
        for i, (axis, pair) in enumerate(zip(grid.axes, self.side_pairs)):
            for end, side in enumerate(pair):
                if axis.kind in ("cell", "periodic") or side != "dirichlet":
                    continue
                wall = self._wall(inputs, i, end)
                given = given or wall is not None
                part = out.narrow(i - grid.ndim, 0 if end == 0 else axis.n - 1, 1)
                part.copy_(torch.zeros((), dtype=out.dtype) if wall is None else wall)
        return out if given else None
