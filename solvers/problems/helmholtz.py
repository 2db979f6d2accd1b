"""The Helmholtz equation with a variable wave speed, by finite elements of high degree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...backends import Axis, Grid
from ...data import Dataset
from ...errors import NWidthError
from ..lagrange import LagrangeAxis, LagrangeSpace
from ..media import BoundedField, Medium
from ..problem import Problem, lead, sizes
from ..random_fields import RandomField, stream

if TYPE_CHECKING:
    from scipy.sparse import csc_matrix

SIDES = ("dirichlet", "neumann", "impedance")
RESOLVED = 4.0  # points per wavelength, at least
RESONANCE = 1e9  # relative change of u by a relative change of the frequency


@dataclass(frozen=True)
class Window:
    """The boundary value ``value`` where lo <= x <= hi in every direction along a side, and 0 elsewhere."""

    lo: float
    hi: float
    value: float = 1.0

    def __post_init__(self):
        if not self.hi > self.lo:
            raise NWidthError("Window", got=f"lo={self.lo}, hi={self.hi}", expected="lo < hi")


Datum = float | Window


@dataclass(frozen=True, kw_only=True)
class Helmholtz(Problem):
    """-Lap u - (omega / c(x))^2 u = f on [lo, hi]^d, with data g on the sides.

    Parameters
    ----------
    ndim, lo, hi : the box, d from 1 to 3.
    omega : the angular frequency.
    c : the law of the wave speed, the first channel of the inputs.
    sides : ``dirichlet`` (u = g), ``neumann`` (du/dn = g) or ``impedance`` (du/dn - i omega/c u = g: waves leave, for
        the time factor exp(-i omega t)), one for all sides or a list: x lower, x upper, y lower, ..
    boundary : g: a number or a ``Window``, one for all sides or a list, or the law of a random field, whose values on
        the sides count; it is then the last channel of the inputs.
    forcing : f, a number or the law of a random field, which is then a channel of the inputs.
    degree : of the finite elements. Resolutions must be a multiple of it, plus 1.

    The default is the data of de Hoop et al. (2022, arXiv:2203.13181, section 4.1.3): omega = 1000, c = 20 + tanh(g),
    waves driven through the middle of the upper side, 101 x 101 points; about 8 wavelengths fit on a side. On these
    points elements of degree 5 leave relative errors of 2e-4 to 2e-3 (near resonances), degree 4 of 6e-4 to 2e-2, and
    the quadratic ones of the paper 3 % to more than 100 %.

    With an impedance side u is complex: its channels are ``re`` and ``im``. Tensor-product Lagrange elements at the
    grid's points, Gauss quadrature, c interpolated within each element; sparse LU of one sample after the other, on
    the CPU, in float64. Near a resonance the problem is ill-posed: where a relative change of 1e-9 of omega changes
    all of u, that is an NWidthError.

    >>> problem = Helmholtz(omega=200.0)
    >>> data = problem.simulate([0], seed=0, grid=problem.grid(31))
    >>> tuple(data.a.shape), tuple(data.u.shape)
    ((1, 1, 31, 31), (1, 1, 31, 31))
    """

    ndim: int = 2
    lo: float = 0.0
    hi: float = 1.0
    omega: float = 1000.0
    c: Medium = field(default_factory=BoundedField)
    sides: str | Sequence[str] = "neumann"
    boundary: Datum | Sequence[Datum] | RandomField = (0.0, 0.0, 0.0, Window(0.35, 0.65))
    forcing: float | RandomField = 0.0
    degree: int = 5

    def __post_init__(self):
        for name in ("sides", "boundary"):
            value = getattr(self, name)
            if isinstance(value, Sequence) and not isinstance(value, str):
                object.__setattr__(self, name, tuple(value))
        if not (1 <= self.ndim <= 3 and self.omega > 0 and self.hi > self.lo and self.degree >= 1):
            raise NWidthError(
                "Helmholtz",
                got=f"ndim={self.ndim}, omega={self.omega}, lo={self.lo}, hi={self.hi}, degree={self.degree}",
                expected="ndim from 1 to 3, omega > 0, lo < hi and degree >= 1",
            )
        every, data = self._every(self.sides), self._every(self.boundary)
        if len(every) != 2 * self.ndim or any(s not in SIDES for s in every):
            expected = f"{', '.join(SIDES)}, one or {2 * self.ndim} of them"
            raise NWidthError("Helmholtz", got=f"sides={self.sides}", expected=expected)
        if len(data) != 2 * self.ndim or not all(isinstance(g, int | float | Window | RandomField) for g in data):
            raise NWidthError(
                "Helmholtz",
                got=f"boundary={self.boundary}",
                expected=f"numbers or windows, one or {2 * self.ndim}, or the law of a random field",
            )

    @property
    def reads(self) -> tuple[str, ...]:
        return ("a",)

    @property
    def radiating(self) -> bool:
        """Whether u is complex."""
        return "impedance" in self._every(self.sides)

    def laws(self) -> dict[str, RandomField | Medium]:
        """The random inputs by channel."""
        fields = {"c": self.c, "f": self.forcing, "g": self.boundary}
        return {k: v for k, v in fields.items() if isinstance(v, RandomField | Medium)}

    def grid(self, resolution: int | Sequence[int]) -> Grid:
        shape = sizes(resolution, self.ndim, self.degree + 1, "Helmholtz")
        grid = Grid(tuple(Axis("nodal", n, self.lo, self.hi, x) for n, x in zip(shape, "xyz")))
        self._space(grid)
        return grid

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        streams = [stream(seed, i) for i in indices]
        a = torch.cat([law.sample(streams, grid) for law in self.laws().values()], 1)
        return Dataset(grid, a=a, names=self._names(), problem=self.config())

    def solve(self, inputs: Dataset, *, dtype: torch.dtype = torch.float64) -> Dataset:
        """``inputs`` with the solution u (N, 1 or 2, *space); always computed in float64.

        Raises NWidthError for inputs of another shape or domain, c <= 0, fewer than 4 points per wavelength, and at
        a resonance.
        """
        self.need(inputs)
        inputs = inputs.load()
        self.check(inputs)
        system = _System(self, inputs.grid)  # type: ignore[arg-type]
        a: np.ndarray = inputs.a.detach().cpu().double().numpy()  # type: ignore[union-attr]
        u = torch.stack([torch.from_numpy(system.solve(row)) for row in a])
        if not dtype.is_floating_point:
            raise NWidthError("Helmholtz.solve", got=f"dtype={dtype}", expected="a floating type")
        names = {**inputs.names, "u": self._names()["u"]}
        return replace(inputs, u=u.to(lead(inputs)), names=names, problem=self.config())

    def check(self, inputs: Dataset) -> None:
        """Raise NWidthError where the grid or the channels of the inputs are not this problem's."""
        grid, a = inputs.grid, inputs.a
        fits = (
            isinstance(grid, Grid)
            and grid.ndim == self.ndim
            and all(
                x.kind == "nodal" and abs(x.lo - self.lo) + abs(x.hi - self.hi) < 1e-6 * (self.hi - self.lo)
                for x in grid.axes
            )
        )
        laws = list(self.laws())
        if not fits or a.shape[1] != len(laws):  # type: ignore[union-attr]
            raise NWidthError(
                "Helmholtz",
                got=f"{a.shape[1]} channels on {grid.describe()}",  # type: ignore[union-attr]
                expected=f"{len(laws)} ({', '.join(laws)}) at nodal points of [{self.lo:g}, {self.hi:g}]^{self.ndim}",
            )
        c: Tensor = a[:, 0]  # type: ignore[index]
        if not bool((c > 0).logical_and(c.isfinite()).all()):
            raise NWidthError("Helmholtz", got="a wave speed that is not positive and finite", expected="c > 0")
        widest = max(x.spacing for x in grid.axes)  # type: ignore[union-attr]
        points = 2 * torch.pi * float(c.min()) / (self.omega * widest)
        if points < RESOLVED:
            raise NWidthError(
                "Helmholtz",
                got=f"{points:.1f} points per wavelength",
                expected=f"{RESOLVED:g} or more",
                fix="raise resolution or lower omega",
            )

    def _every(self, value: object) -> tuple:
        return value if isinstance(value, tuple) else (value,) * (2 * self.ndim)

    def _names(self) -> dict[str, tuple[str, ...]]:
        return {"a": tuple(self.laws()), "u": ("re", "im") if self.radiating else ("u",)}

    def _space(self, grid: Grid) -> LagrangeSpace:
        return LagrangeSpace([LagrangeAxis(x, self.degree) for x in grid.axes])


class _System:
    """The parts of the linear systems that all samples share."""

    def __init__(self, problem: Helmholtz, grid: Grid):
        self.problem, self.grid = problem, grid
        self.space = problem._space(grid)
        self.sides = [divmod(k, 2) + (s,) for k, s in enumerate(problem._every(problem.sides))]
        self.points = np.arange(np.prod(grid.shape)).reshape(grid.shape)
        given = np.zeros(grid.shape, dtype=bool)
        for axis, end, kind in self.sides:
            if kind == "dirichlet":
                given[self._at(axis, end)] = True
        self.given, self.free = np.flatnonzero(given), np.flatnonzero(~given)
        self.stiffness = self._assemble(np.broadcast_to(self.space.stiffness.ravel(), self._pairs(self.space)))

    def solve(self, channels: np.ndarray) -> np.ndarray:
        """u (1 or 2, *space) of one sample."""
        from scipy.sparse.linalg import splu

        fields = dict(zip(self.problem.laws(), channels))
        k2 = self._squares(fields["c"], self.space)
        mass = self._assemble(self.space.mass(k2))
        matrix = self.stiffness - mass
        if self.problem.radiating:
            matrix = matrix - 1j * self._impedance(fields["c"])
        load, values = self._load(fields), self._values(fields)
        free, given = self.free, self.given
        right = load[free] - matrix[free][:, given] @ values[given]
        inner = matrix[free][:, free].tocsc()
        try:
            lu = splu(inner, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.01, options={"SymmetricMode": True})
        except RuntimeError:  # SuperLU: exactly singular
            raise self._resonance(float("inf")) from None
        u = lu.solve(right)
        u = u + lu.solve(right - inner @ u)
        probe = np.random.default_rng(0).standard_normal(len(free))
        for _ in range(2):
            image = lu.solve((mass[free][:, free] @ probe).astype(inner.dtype))
            growth = float(np.linalg.norm(image) / np.linalg.norm(probe))
            probe = image / max(np.linalg.norm(image), np.finfo(float).tiny)
        if not growth < RESONANCE or not np.isfinite(u).all():
            raise self._resonance(growth)
        values = values.astype(u.dtype)
        values[free] = u
        field = values.reshape(self.grid.shape)
        return np.stack([field.real, field.imag]) if self.problem.radiating else field[None]

    def _resonance(self, growth: float) -> NWidthError:
        return NWidthError(
            "Helmholtz.solve",
            got=f"omega={self.problem.omega:g} at a resonance (errors grow by {growth:.0e})",
            expected="a frequency between the eigenvalues of the box",
            fix="change omega slightly, or make a side impedance",
        )

    def _squares(self, c: np.ndarray, space: LagrangeSpace) -> np.ndarray:
        """(omega / c)^2 at the quadrature points of each element."""
        speed = c.ravel()[space.nodes] @ space.at_quadrature.T
        if not (speed > 0).all():
            raise NWidthError(
                "Helmholtz.solve",
                got=f"a wave speed whose polynomials of degree {self.problem.degree} are not positive",
                expected="a smooth c",
                fix="set degree=1 for discontinuous speeds",
            )
        return (self.problem.omega / speed) ** 2

    def _impedance(self, c: np.ndarray) -> csc_matrix:
        """int omega/c u v over the impedance sides."""
        total = 0 * self.stiffness
        for axis, end, kind in self.sides:
            if kind == "impedance":
                space, nodes = self._side(axis, end)
                local = space.mass(np.sqrt(self._squares(c[self._at(axis, end)], space)))
                total = total + self._assemble(local, nodes)
        return total

    def _load(self, fields: dict[str, np.ndarray]) -> np.ndarray:
        """int f v + the sum over sides of int g v."""
        out = np.zeros(self.points.size)
        f = fields.get("f")
        if f is None:
            f = np.full(self.grid.shape, float(self.problem.forcing))  # type: ignore[arg-type]
        self._add(out, f, self.space, self.space.nodes)
        for (axis, end, kind), g in zip(self.sides, self.problem._every(self.problem.boundary)):
            if kind == "dirichlet":
                continue
            space, nodes = self._side(axis, end)
            where = self.points[self._at(axis, end)]
            if isinstance(g, Window):
                parts = [line.load(g.lo, g.hi) for line in space.axes]
                weight = np.ones(())
                for part in parts:
                    weight = weight[..., None] * part
                out[where.ravel()] += g.value * weight.ravel()
            else:
                trace = fields["g"][self._at(axis, end)] if "g" in fields else np.full(where.shape, float(g))
                self._add(out, trace, space, nodes)
        return out

    def _add(self, out: np.ndarray, f: np.ndarray, space: LagrangeSpace, nodes: np.ndarray) -> None:
        """out += int f v, for f at the points of the space."""
        b = space.at_quadrature
        local = f.ravel()[space.nodes] @ (b.T @ (space.weights[:, None] * b))
        np.add.at(out, nodes, local)

    def _values(self, fields: dict[str, np.ndarray]) -> np.ndarray:
        """g at the points of Dirichlet sides, where two meet that of the later axis; 0 elsewhere."""
        out = np.zeros(self.grid.shape)
        for (axis, end, kind), g in zip(self.sides, self.problem._every(self.problem.boundary)):
            if kind != "dirichlet":
                continue
            at = self._at(axis, end)
            if isinstance(g, Window):
                x = self.grid.coordinates().numpy()[(slice(None), *at)]
                along = np.delete(x, axis, 0)
                out[at] = g.value * ((along >= g.lo) & (along <= g.hi)).all(0)
            else:
                out[at] = fields["g"][at] if "g" in fields else float(g)
        return out.ravel()

    def _side(self, axis: int, end: int) -> tuple[LagrangeSpace, np.ndarray]:
        """The functions on one side, and which points of the grid they belong to."""
        space = LagrangeSpace([line for i, line in enumerate(self.space.axes) if i != axis])
        return space, self.points[self._at(axis, end)].ravel()[space.nodes]

    def _at(self, axis: int, end: int) -> tuple:
        return (*(slice(None),) * axis, -end, *(slice(None),) * (self.grid.ndim - axis - 1))

    def _pairs(self, space: LagrangeSpace) -> tuple[int, int]:
        return len(space.nodes), space.nodes.shape[1] ** 2

    def _assemble(self, local: np.ndarray, nodes: np.ndarray | None = None) -> csc_matrix:
        """The sum of element matrices (elements, functions^2)."""
        from scipy.sparse import coo_matrix

        nodes = self.space.nodes if nodes is None else nodes
        m = nodes.shape[1]
        rows, columns = np.repeat(nodes, m, 1).ravel(), np.tile(nodes, (1, m)).ravel()
        return coo_matrix((local.ravel(), (rows, columns)), shape=(self.points.size,) * 2).tocsc()
