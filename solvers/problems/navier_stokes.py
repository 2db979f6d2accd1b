"""The Navier-Stokes equations in two dimensions, periodic: vorticity, forced or decaying."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ...backends import Grid
from ...backends.transforms import Fourier
from ...data import Dataset
from ...data.motions import Flip, Motion, Translate
from ...errors import NWidthError
from ..evolution import EvolutionProblem
from ..parameters import Range, draw_parameters, varying
from ..random_fields import GaussianField, RandomField, stream
from ..spectral import SpectralSpace, bandwidth, good_size

FORCINGS = ("fno", "kolmogorov", "none")


def streamfunction(w: Tensor, grid: Grid) -> Tensor:
    """psi of mean zero with -Lap psi = w - mean(w) on a periodic grid, shape of w (..., *grid.shape)."""
    if not all(grid.periodic):
        raise NWidthError("streamfunction", got=grid.describe(), expected="periodic axes")
    transform = Fourier(grid.ndim)
    square = torch.zeros((), dtype=torch.float64)
    for axis, k in zip(grid.axes, transform.frequencies(transform.modes_for(grid.shape))):
        square = square[..., None] + (2 * math.pi / axis.length * k.double()) ** 2
    inverse = torch.where(square > 0, 1 / square.clamp_min(1e-300), 0.0).to(w)
    return transform.inverse(transform.forward(w) * inverse, grid.shape)


def velocity(w: Tensor, grid: Grid) -> Tensor:
    """The velocity (psi_y, -psi_x) of mean zero with the vorticity w: (..., 1, *n) to (..., 2, *n), n 2 periodic axes.

    It is free of divergence and its curl is w - mean(w), both exactly for trigonometric polynomials.

    >>> grid = Grid.make((16, 16), hi=2 * math.pi)
    >>> x, y = grid.coordinates()
    >>> u = velocity((2 * torch.cos(x) * torch.cos(y))[None], grid)
    >>> bool(torch.allclose(u, torch.stack([-torch.cos(x) * torch.sin(y), torch.sin(x) * torch.cos(y)])))
    True
    """
    if grid.ndim != 2 or w.ndim < 3 or w.shape[-3] != 1:
        raise NWidthError(
            "velocity", got=f"w of shape {tuple(w.shape)} on {grid.describe()}", expected="(..., 1, n, m) on two axes"
        )
    psi, transform = streamfunction(w, grid), Fourier(2, lengths=[a.length for a in grid.axes])
    return torch.cat([transform.derivative(psi, (0, 1)), -transform.derivative(psi, (1, 0))], -3)


def vorticity(u: Tensor, grid: Grid) -> Tensor:
    """The curl v_x - u_y of a velocity (..., 2, *n) on two periodic axes, (..., 1, *n)."""
    if not all(grid.periodic) or grid.ndim != 2 or u.ndim < 3 or u.shape[-3] != 2:
        raise NWidthError(
            "vorticity",
            got=f"u of shape {tuple(u.shape)} on {grid.describe()}",
            expected="(..., 2, n, m) on two periodic axes",
        )
    transform = Fourier(2, lengths=[a.length for a in grid.axes])
    return transform.derivative(u.narrow(-3, 1, 1), (1, 0)) - transform.derivative(u.narrow(-3, 0, 1), (0, 1))


@dataclass(frozen=True, kw_only=True)
class NavierStokes(EvolutionProblem):
    """w_t + (U + u) . grad w = nu Lap w - drag w + f on [lo, hi)^2, periodic, w(x, 0) = w0(x);
    u = (psi_y, -psi_x), -Lap psi = w: the vorticity of an incompressible flow (``velocity`` gives u).

    Parameters
    ----------
    nu : the viscosity, a number or a range [least, most]: mu. Li et al. (2021, arXiv:2010.08895, section 5.3) have
        nu = 1e-3, 1e-4, 1e-5 with final_time = times = 50, 30, 20, on the unit torus.
    forcing : f. With kappa = 2 pi wave_number / (hi - lo),

        - fno: amplitude (sin kappa (x + y) + cos kappa (x + y)), that of Li et al.;
        - kolmogorov: -amplitude kappa cos(kappa y), the curl of the body force (amplitude sin(kappa y), 0);
        - none: decaying flow;
        - a random field: f is the input field a of each sample, its mean left out.
    amplitude, wave_number : those of f; the amplitude a number or a range.
    drag : linear friction (Rayleigh, Ekman), a number or a range.
    mean_flow : the constant velocity U that carries the flow.
    initial : the random w0, its mean left out. The default is N(0, 7^(3/2) (-Lap + 49 I)^(-5/2)), the law that Li et
        al. state; the script they published draws fields 6.1 times as large, scale = 26.192.
    tolerance : size relative to w of the modes at the edge of the spectrum (see ``EvolutionProblem.target``).
    cfl : time steps of cfl * dx / U with dx the spacing of the points on which products are formed.

    Products are formed as (d_xx - d_yy)(u v) + d_x d_y (v^2 - u^2) = u . grad w (Basdevant 1983, J. Comput. Phys.
    50), four transforms, without aliasing: the Galerkin method keeps the mean of w, and at nu = drag = f = 0 energy and
    enstrophy. The run starts with modes up to 0.17 log(1/tolerance) of the wave number (W/nu)^(1/2) at which
    viscosity balances the strain of the enstrophy bound W = |w0| + |f| t (Kraichnan 1967, Phys. Fluids 10), and is
    checked and refined.

    >>> problem = NavierStokes(nu=1e-2, final_time=1.0, times=2)
    >>> data = problem.simulate([0], seed=0, grid=problem.grid(16))
    >>> tuple(data.u0.shape), tuple(data.u.shape)
    ((1, 1, 16, 16), (1, 2, 1, 16, 16))
    """

    calms: ClassVar[bool] = True
    dimensions: ClassVar[tuple[int, ...]] = (2,)
    parameters: ClassVar[Mapping[str, str]] = {"nu": "positive", "drag": "real", "amplitude": "real"}

    ndim: int = 2
    final_time: float = 50.0
    times: int = 50
    nu: Range = 1e-3
    forcing: str | RandomField = "fno"
    amplitude: Range = 0.1
    wave_number: int = 1
    drag: Range = 0.0
    mean_flow: Sequence[float] = (0.0, 0.0)
    initial: RandomField = field(default_factory=lambda: GaussianField(scale=7**0.75, tau=7.0, alpha=2.5, modes=32))
    tolerance: float = 1e-6
    cfl: float = 1.5

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "mean_flow", tuple(float(v) for v in self.mean_flow))
        if not (
            (self.forcing in FORCINGS if isinstance(self.forcing, str) else isinstance(self.forcing, RandomField))
            and isinstance(self.wave_number, int)
            and self.wave_number >= 1
        ):
            raise NWidthError(
                "NavierStokes",
                got=f"forcing={self.forcing!r}, wave_number={self.wave_number}",
                expected=f"forcing {', '.join(FORCINGS)} or a random field; a whole wave_number >= 1",
            )
        if not (0 < self.tolerance < 1 and self.cfl > 0 and len(self.mean_flow) == 2):
            raise NWidthError(
                "NavierStokes",
                got=f"tolerance={self.tolerance}, cfl={self.cfl}, mean_flow={self.mean_flow}",
                expected="0 < tolerance < 1, cfl > 0, two components of mean_flow",
            )

    @property
    def reads(self) -> tuple[str, ...]:
        return super().reads if isinstance(self.forcing, str) else ("a", *super().reads)

    @property
    def quadratic(self) -> bool:  # type: ignore[override]
        return isinstance(self.forcing, str) and "amplitude" not in varying(self, tuple(self.parameters))

    def symmetries(self) -> list[Motion]:
        """Translations, unless a fixed forcing singles out places; w -> -w(-x, y) without forcing and mean flow."""
        if isinstance(self.forcing, str) and self.forcing != "none":
            return []
        turned = self.forcing == "none" and not any(self.mean_flow)
        return [Translate(0), Translate(1), *([Flip(0, -1.0), Flip(1, -1.0)] if turned else [])]

    @property
    def bandlimit(self) -> int:
        return self.initial.modes if isinstance(self.forcing, str) else max(self.initial.modes, self.forcing.modes)

    @property
    def target(self) -> float:
        return self.tolerance

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        streams = [stream(seed, i) for i in indices]
        mu = draw_parameters(self, tuple(self.parameters), streams)
        names: dict[str, tuple[str, ...]] = {"u0": ("vorticity",), "u": ("vorticity",)}
        if mu is not None:
            names["mu"] = varying(self, tuple(self.parameters))
        # a mean is exact where all modes are resolved
        stride = max(-(-(2 * self.bandlimit + 1) // n) for n in grid.shape)
        fine = grid.with_shape([stride * n for n in grid.shape])

        def centred(law: RandomField) -> Tensor:
            g = law.sample(streams, fine)
            return (g - g.mean((-2, -1), keepdim=True))[..., ::stride, ::stride]

        w0 = centred(self.initial)
        a = None if isinstance(self.forcing, str) else centred(self.forcing)
        if a is not None:
            names["a"] = ("forcing",)
        return Dataset(grid, u0=w0, a=a, mu=mu, names=names, problem=self.config())

    def theta(self, inputs: Dataset) -> Tensor:
        """(nu, drag), and 1 for the mean flow."""
        columns = [self.column("nu", inputs), self.column("drag", inputs)]
        return self.stack(*columns, *([torch.ones_like(columns[0][:1])] if any(self.mean_flow) else []))

    def operators(self, space: SpectralSpace) -> Tensor:
        """The Laplacian, minus the identity, and minus the derivative along the mean flow where there is one."""
        laplacian = space.laplacian()
        terms = [laplacian, -torch.ones_like(laplacian)]
        if any(self.mean_flow):
            terms.append(-sum(v * space.symbol(i) for i, v in enumerate(self.mean_flow)))  # type: ignore[arg-type]
        return torch.stack(torch.broadcast_tensors(*(t.to(terms[-1].dtype) for t in terms)))[:, None]

    def nonlinear(self, c: Tensor, space: SpectralSpace, inputs: Dataset | None) -> Tensor:
        """-u . grad w + f."""
        to_velocity, of_products = _symbols(space)
        u, v = space.values(c * to_velocity).split(1, 1)
        products = space.coefficients(torch.cat([u * v, torch.addcmul(v * v, u, u, value=-1)], 1)) * of_products
        source = self._source(space, inputs)
        return torch.add(*products.split(1, 1)) if source is None else products.sum(1, keepdim=True) + source

    def jet(self, c: Tensor, space: SpectralSpace) -> Tensor:
        """(u, v, w_x, w_y)."""
        return torch.cat([c * _symbols(space)[0], *(space.derivative(c, i) for i in (0, 1))], 1)

    def at_points(self, jet: Tensor, inputs: Dataset) -> Tensor:
        """-u . grad w."""
        return -(jet[:, :2] * jet[:, 2:]).sum(1, keepdim=True)

    def _source(self, space: SpectralSpace, inputs: Dataset | None) -> Tensor | None:
        """Coefficients of f, (N or 1, 1, *counts), kept with the space."""
        if self.forcing == "none":
            return None
        inputs = None if self.quadratic else inputs
        memo = _SOURCES.get(space)
        if memo is None or memo[0] is not self or memo[1] is not inputs:
            memo = _SOURCES[space] = (self, inputs, self._force(space, inputs))
        return memo[2]

    def _force(self, space: SpectralSpace, inputs: Dataset | None) -> Tensor:
        if not isinstance(self.forcing, str):
            c = space.coefficients(inputs.a)  # type: ignore[union-attr,arg-type]
            return torch.where(space.laplacian() < 0, c, 0.0)
        if min(space.degree) < self.wave_number:
            raise NWidthError(
                "NavierStokes",
                got=f"modes up to {min(space.degree)} for a forcing of wave_number {self.wave_number}",
                expected="as many modes",
                fix="raise points, or the resolution",
            )
        x, y = space.grid.coordinates() - self.lo
        kappa = self._kappa
        if self.forcing == "fno":
            f = torch.sin(kappa * (x + y)) + torch.cos(kappa * (x + y))
        else:
            f = -kappa * torch.cos(kappa * y)
        return space.coefficients(f.to(space.wavenumbers[0])) * self.coefficient("amplitude", inputs)

    @property
    def _kappa(self) -> float:
        return 2 * math.pi * self.wave_number / (self.hi - self.lo)

    def resolve(self, inputs: Dataset) -> tuple[Tensor, Tensor]:
        stored: Tensor = inputs.u0  # type: ignore[assignment]
        grid: Grid = inputs.grid  # type: ignore[assignment]
        eps = max(self.tolerance, torch.finfo(stored.dtype).eps)
        length, w0 = self.hi - self.lo, stored.double().cpu()
        nu, drag = (self.column(k, inputs).double().cpu() for k in ("nu", "drag"))
        until = self.final_time if inputs.t is None else float(inputs.t[-1]) - inputs.t0
        rate = nu * (2 * math.pi / length) ** 2 + drag  # energy and enstrophy decay so fast, or faster
        small = rate.abs() * until < 1e-6
        gained = torch.where(small, until, -torch.expm1(-rate * until) / torch.where(small, 1.0, rate))
        kept = torch.exp(-rate * until).clamp_min(1.0)
        if isinstance(self.forcing, str):
            size = self.column("amplitude", inputs).double().cpu().abs() * (self.forcing != "none")
            fno = self.forcing == "fno"
            force, push = (size, size / self._kappa) if fno else (size * self._kappa / math.sqrt(2), size)
            own = torch.full((1,), 2.0 * self.wave_number * (self.forcing != "none"), dtype=torch.float64)
        else:
            a: Tensor = inputs.a.double().cpu()  # type: ignore[union-attr]
            a = a - a.mean((-2, -1), keepdim=True)
            force, push, own = _rms(a), _speed(a, grid), bandwidth(a, 2, eps)
        enstrophy = kept * _rms(w0) + gained * force
        speed = kept * _speed(w0, grid) + gained * push + math.hypot(*self.mean_flow)
        degree = 0.17 * math.log(1 / self.tolerance) * length / (2 * math.pi) * (enstrophy / nu).sqrt()
        degree = torch.maximum(torch.maximum(degree, bandwidth(stored, 2, eps)), own).clamp_min(8)
        if self.points is not None:  # all their modes: as high as those kept of 3/2 as many
            degree = torch.full_like(degree, self.points / 2)
        points = torch.tensor([good_size(3 * math.ceil(k) + 1) for k in degree.tolist()], dtype=torch.float64)
        return degree, self.cfl * length / points / speed.clamp_min(1e-300)


_SYMBOLS: WeakKeyDictionary[SpectralSpace, tuple[Tensor, Tensor]] = WeakKeyDictionary()
_SOURCES: WeakKeyDictionary[SpectralSpace, tuple[NavierStokes, Dataset | None, Tensor]] = WeakKeyDictionary()


def _symbols(space: SpectralSpace) -> tuple[Tensor, Tensor]:
    """From w to (u, v), and from (u v, v^2 - u^2) to the two parts of -u . grad w; complex, (2, *counts)."""
    if space not in _SYMBOLS:
        dx, dy = space.symbol(0), space.symbol(1)
        laplacian = space.laplacian()
        inverse = torch.where(laplacian < 0, -1 / laplacian.clamp_max(-1e-300), 0.0)
        to_velocity = torch.stack([dy * inverse, -dx * inverse])
        second = space.symbol(1, 2) - space.symbol(0, 2)
        of_products = torch.stack([second.to(dx.dtype), -dx * dy])
        _SYMBOLS[space] = (to_velocity, of_products)
    return _SYMBOLS[space]


def _rms(v: Tensor) -> Tensor:
    return v.flatten(1).square().mean(1).sqrt()


def _speed(w: Tensor, grid: Grid) -> Tensor:
    """The largest speed of the flow with vorticity w (N, 1, *n)."""
    return velocity(w, grid).square().sum(1).flatten(1).amax(1).sqrt()
