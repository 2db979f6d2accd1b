"""Autoregressive task: one network for every step of a trajectory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from ..data import Dataset
from ..data.arrays import Array
from ..data.normalize import Normalizer
from ..data.resampling import at_times
from ..data.windows import Windows
from ..errors import NWidthError
from .task import Network, Task


class Rollout(Task):
    """Autoregressive: (u(t), a, mu) -> u(t + dt), one network for every step; prediction starts from u0.

    The network learns the increment, scaled by that of the training data. Times must be equally spaced; prediction
    goes as far as asked, in steps of the training's dt.

    ``unroll`` k: a training pair is k successive steps from a state of the data, each but the first from the network's
    own answer. ``pushforward``: only the last one counts, and no gradient passes through the others (Brandstetter et
    al. 2022, arXiv:2202.03376, section 3.1).
    """

    kind = "rollout"
    unroll, pushforward = 1, False

    def fit(self, train: Dataset) -> Task:
        if train.t is not None and self.unroll > len(train.t):
            raise NWidthError(
                "training.unroll", got=f"{self.unroll}", expected=f"1 to {len(train.t)}, the steps of a trajectory"
            )
        if train.u0 is None or train.t is None:
            raise NWidthError(
                "training.time=rollout",
                got="data without an initial state u0 or times",
                expected="a time-dependent problem with u0",
                fix="use training.time=channels",
            )
        if train.u0.shape[1] != train.solution.shape[2]:
            raise NWidthError(
                "training.time=rollout",
                got=f"{train.u0.shape[1]} channels in u0",
                expected=f"{train.solution.shape[2]}, as the solution has",
            )
        gaps = torch.cat([torch.tensor([train.t0], dtype=torch.float64), train.t.double()]).diff()
        if float((gaps - gaps[0]).abs().max()) > 1e-3 * float(gaps[0]):
            raise NWidthError(
                "training.time=rollout",
                got="times that are not equally spaced from t0",
                expected="equal steps",
                fix="thin the data (data.stride), or use training.time=channels",
            )
        return super().fit(train)

    def _fit_output(self, u: Array) -> None:
        self.normalizers["u"].fit(u, timed=True)
        increments = _Increments(u)
        self.normalizers["step"] = Normalizer(self.normalizers["u"].mode).fit(increments, timed=True)  # type: ignore[arg-type]

    @property
    def _shares_state(self) -> bool:
        return True

    @property
    def dt(self) -> float:
        assert self.t is not None
        return float(self.t[-1] - self.t0) / len(self.t)

    @property
    def out_channels(self) -> int:
        return self.channels["u"]

    def items(self, data: Dataset) -> int:
        return len(data) * (len(data.t) - self.unroll + 1)  # type: ignore[arg-type]

    def pair(self, data: Dataset, items: Tensor) -> tuple[Tensor, Tensor]:
        read = Windows(data, horizon=self.unroll).batch(items)
        now, then = read["past"][:, 0], read["future"]
        some = replace(data, u=None, u0=now, a=read.get("a"), mu=read.get("mu"), t=None, splits={})
        return self.encode(some), self._cast(then if self.unroll > 1 else then[:, 0])

    def answers(self, network: Network, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Each of ``unroll`` steps, or with ``pushforward`` the last one, from a state that counts as data."""
        if self.unroll == 1:
            yield from super().answers(network, x, y)
            return
        for k, target in enumerate(y.unbind(1)):
            early = self.pushforward and k < self.unroll - 1
            with torch.set_grad_enabled(torch.is_grad_enabled() and not early):
                p = self.decode(network(x).to(y.dtype), x)
            if not early:
                yield x, p, target
            at = self._state(x)
            x = torch.cat([x[:, : at.start], self.normalizers["u"](p).to(x.dtype), x[:, at.stop :]], 1)

    @contextmanager
    def single_steps(self) -> Iterator[None]:
        """Within it, training pairs are single steps."""
        unroll, self.unroll = self.unroll, 1
        try:
            yield
        finally:
            self.unroll = unroll

    def _state(self, x: Tensor) -> slice:
        """Where the state lies among the channels of x."""
        at = sum(self.channels[k] for k in self.reads[: self.reads.index("u0")])
        return slice(at, at + self.channels["u"])

    def decode(self, out: Tensor, x: Tensor) -> Tensor:
        return self.normalizers["u"].inverse(x[:, self._state(x)]) + self.normalizers["step"].inverse(out)

    def predicted(self, x: Tensor, p: Tensor) -> Dataset:
        return replace(self._question(x), u=p[:, None], t=torch.tensor([self.dt], dtype=torch.float64))

    def predict(self, network: Network, inputs: Dataset) -> Tensor:
        assert inputs.t is not None
        count = max(1, round(float(inputs.t[-1] - inputs.t0) / self.dt + 0.499))
        state, found = self._cast(inputs.u0), []  # type: ignore[arg-type]
        for _ in range(count):
            x = self.encode(inputs, state)
            state = self.decode(network(x), x)
            found.append(state)
        times = inputs.t0 + self.dt * torch.arange(1, count + 1, dtype=torch.float64)
        states, t = torch.stack(found, 1), times
        if float(inputs.t[0]) < float(times[0]) * (1 - 1e-9):  # a time before the first step: interpolate from u0
            states = torch.cat([self._cast(inputs.u0)[:, None].to(states), states], 1)  # type: ignore[arg-type]
            t = torch.cat([torch.tensor([inputs.t0], dtype=torch.float64), times])
        return at_times(states, t, inputs.t)


class _Increments:
    """u(t_k+1) - u(t_k), read in blocks."""

    def __init__(self, u: Array):
        self.u, self.shape = u, (u.shape[0], max(u.shape[1] - 1, 1), *u.shape[2:])

    def __len__(self) -> int:
        return len(self.u)

    def __getitem__(self, where: slice) -> Tensor:
        u = self.u[where]
        return u.diff(dim=1) if u.shape[1] > 1 else u
