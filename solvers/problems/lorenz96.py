"""The Lorenz-96 models: chaotic, on a ring of sites, with one scale and with two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ...backends import Axis, Grid
from ...data import Dataset
from ...errors import NWidthError
from ..parameters import Range, check_parameters, draw_parameters, parameter, varying
from ..problem import Problem, lead, sizes
from ..random_fields import stream
from ..stepping import integrate_adaptive


@dataclass(frozen=True, kw_only=True)
class Lorenz96(Problem):
    """dx_k/dt = (x_{k+1} - x_{k-2}) x_{k-1} - x_k + F on a ring of K sites (Lorenz 1996, Predictability, ECMWF).

    The resolution of ``grid`` is K itself: another one is another system, not a finer view of the same (M). The
    quadratic term conserves sum x_k^2/2. For F = 8, K = 40 the largest Lyapunov exponent is about 1.7 per unit of
    time, so that errors of the data grow tenfold in 1.4 units.

    Parameters
    ----------
    forcing : F, one for all samples, or a pair [least, most]: then each sample has its own, which is a column of
        mu (log-uniform between positive bounds, uniform otherwise).
    spread : each x_k starts at F plus a normal random number with this standard deviation, ``spinup`` before the
        initial state.
    spinup : time that is integrated and thrown away, with a tolerance of 1e-6 or more, so that the initial state
        lies near the attractor; 0 for none.
    final_time, times : the solution is stored at the instants j final_time/times, j = 1..times.
    rtol : relative tolerance of the time steps, of the Dormand-Prince pair 5(4), with the absolute tolerance
        rtol too; at least 10 times the round-off of the dtype. Each sample has its own steps.

    The state is x, (N, 1, K).

    >>> problem = Lorenz96(spinup=1.0, final_time=0.1, times=2)
    >>> data = problem.simulate([0, 1], seed=0, grid=problem.grid(40))
    >>> tuple(data.u0.shape), tuple(data.u.shape)
    ((2, 1, 40), (2, 2, 1, 40))
    """

    ranges: ClassVar[Mapping[str, str]] = {"forcing": "real"}

    forcing: Range = 8.0
    spread: float = 1.0
    spinup: float = 10.0
    final_time: float = 2.0
    times: int = 20
    rtol: float = 1e-9

    def __post_init__(self):
        if not (
            self.final_time > 0 and self.times >= 1 and self.spread >= 0 and self.spinup >= 0 and 0 < self.rtol < 1
        ):
            raise NWidthError(
                type(self).__name__,
                got=f"final_time={self.final_time}, times={self.times}, spread={self.spread}, "
                f"spinup={self.spinup}, rtol={self.rtol}",
                expected="final_time > 0, times >= 1, spread >= 0, spinup >= 0, 0 < rtol < 1",
            )
        check_parameters(self, self.ranges)

    @property
    def reads(self) -> tuple[str, ...]:
        return ("u0", "mu") if varying(self, tuple(self.ranges)) else ("u0",)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the channels."""
        return ("x",)

    def grid(self, resolution: int | Sequence[int]) -> Grid:
        (k,) = sizes(resolution, 1, 4, type(self).__name__)
        return Grid((Axis("periodic", k, 0.0, float(k), "site"),))

    def stored_times(self) -> Tensor:
        """The instants at which the solution is stored, float64 (times,)."""
        return self.final_time * torch.arange(1, self.times + 1, dtype=torch.float64) / self.times

    def sample(self, indices: Sequence[int], seed: int, grid: Grid) -> Dataset:
        streams = [stream(seed, i) for i in indices]
        mu = draw_parameters(self, tuple(self.ranges), streams)
        names = {"u0": self.fields, "u": self.fields}
        if mu is not None:
            names["mu"] = varying(self, tuple(self.ranges))
        noise = torch.from_numpy(np.stack([s.standard_normal((len(self.fields), *grid.shape)) for s in streams]))
        start = Dataset(grid, u0=noise, mu=mu, names=names, problem=self.config())
        x = self.started(noise, start)
        if self.spinup > 0:
            x = next(self._states(x, start, -self.spinup, [0.0], max(self.rtol, 1e-6)))
        return replace(start, u0=x)

    def started(self, noise: Tensor, inputs: Dataset) -> Tensor:
        """The state before the spin-up, from standard normal numbers."""
        return self.column("forcing", inputs, noise) + self.spread * noise

    def column(self, name: str, inputs: Dataset, like: Tensor) -> float | Tensor:
        """A parameter as a number or (N, 1, 1)."""
        value = parameter(self, self.ranges, name, inputs)
        return value.to(like)[:, None, None] if isinstance(value, Tensor) else value

    def tendency(self, u: Tensor, inputs: Dataset) -> Tensor:
        """du/dt of states (N, fields, K)."""
        return advection(u) - u + self.column("forcing", inputs, u)

    def solve(self, inputs: Dataset, *, dtype: torch.dtype = torch.float64) -> Dataset:
        """``inputs`` with u (N, T, fields, K) at ``inputs.t``, or at ``stored_times()`` where there are none.

        Raises NWidthError where inputs are missing or not finite, or the grid is not a periodic axis.
        """
        self.need(inputs)
        inputs = inputs.load()
        grid, u0 = inputs.grid, lead(inputs)
        assert isinstance(inputs.u0, Tensor)
        ring = isinstance(grid, Grid) and grid.ndim == 1 and grid.axes[0].kind == "periodic"
        if not ring or inputs.u0.shape[1] != len(self.fields):
            raise NWidthError(
                type(self).__name__,
                got=f"{inputs.u0.shape[1]} channels on {grid.describe()}",
                expected=f"{len(self.fields)} channels ({', '.join(self.fields)}) on one periodic axis",
                fix="set data.kind=periodic",
            )
        t = self.stored_times() + inputs.t0 if inputs.t is None else inputs.t
        working = inputs.to(dtype=dtype)
        assert isinstance(working.u0, Tensor)
        u = torch.stack(list(self._states(working.u0, working, inputs.t0, t.tolist(), self.rtol)), 1)
        names = {**inputs.names, "u": self.fields}
        return replace(inputs, u=u.to(u0.dtype), t=t, names=names, problem=self.config())

    def _states(self, u: Tensor, inputs: Dataset, t0: float, times: Sequence[float], rtol: float) -> Iterator[Tensor]:
        rtol = max(rtol, 10 * torch.finfo(u.dtype).eps)
        return integrate_adaptive(lambda _, v: self.tendency(v, inputs), u, t0, times, rtol, rtol)


@dataclass(frozen=True, kw_only=True)
class Lorenz96TwoScale(Lorenz96):
    """The model with two scales: each slow x_k drives a row of J fast y_{j,k} and feels their sum,

        dx_k/dt     = (x_{k+1} - x_{k-2}) x_{k-1} - x_k + F - (h c/b) sum_j y_{j,k}
        dy_{j,k}/dt = c b (y_{j-1,k} - y_{j+2,k}) y_{j+1,k} - c y_{j,k} + (h c/b) x_k

    where the rows are joined to a ring of J K fast sites, y_{J+1,k} = y_{1,k+1} (Lorenz 1996; Lorenz 2006, in
    Predictability of Weather and Climate, chapter 3).

    Parameters
    ----------
    coupling, time_ratio, size_ratio : h; c, how much faster y is; b, how much smaller: numbers or pairs, as
        ``forcing``.
    fast : J.
    forcing, spread, spinup, final_time, times, rtol : see ``Lorenz96``. The y start from ``spread``/b times
        normal random numbers.

    The state is x and the rows y_1 .. y_J, (N, 1 + J, K).

    >>> problem = Lorenz96TwoScale(fast=4, spinup=0.0, final_time=0.1, times=1)
    >>> data = problem.simulate([0], seed=0, grid=problem.grid(8))
    >>> tuple(data.u.shape), data.channels("u")
    ((1, 1, 5, 8), ('x', 'y1', 'y2', 'y3', 'y4'))
    """

    ranges: ClassVar[Mapping[str, str]] = {
        "forcing": "real",
        "coupling": "real",
        "time_ratio": "positive",
        "size_ratio": "positive",
    }

    forcing: Range = 10.0
    coupling: Range = 1.0
    time_ratio: Range = 10.0
    size_ratio: Range = 10.0
    fast: int = 10

    def __post_init__(self):
        super().__post_init__()
        if self.fast < 1:
            raise NWidthError("Lorenz96TwoScale", got=f"fast={self.fast}", expected="1 or more")

    @property
    def fields(self) -> tuple[str, ...]:
        return ("x", *(f"y{j}" for j in range(1, self.fast + 1)))

    def started(self, noise: Tensor, inputs: Dataset) -> Tensor:
        x = super().started(noise[:, :1], inputs)
        return torch.cat([x, self.spread * noise[:, 1:] / self.column("size_ratio", inputs, noise)], 1)

    def tendency(self, u: Tensor, inputs: Dataset) -> Tensor:
        h, b, c = (self.column(k, inputs, u) for k in ("coupling", "size_ratio", "time_ratio"))
        x, y = u[:, :1], u[:, 1:]
        exchange = h * c / b
        slow = super().tendency(x, inputs) - exchange * y.sum(1, keepdim=True)
        ring = y.mT.flatten(1)  # j runs fastest
        backwards = advection(ring.flip(-1)).flip(-1)  # (y_{j-1} - y_{j+2}) y_{j+1}
        moved = backwards.unflatten(1, (-1, self.fast)).mT
        return torch.cat([slow, c * b * moved - c * y + exchange * x], 1)


def advection(x: Tensor) -> Tensor:
    """(x_{k+1} - x_{k-2}) x_{k-1} along the last axis, periodic: orthogonal to x, of mean zero where x is constant.

    >>> advection(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).tolist()
    [-10.0, -2.0, 6.0, 9.0, -8.0]
    """
    return (x.roll(-1, -1) - x.roll(2, -1)) * x.roll(1, -1)
