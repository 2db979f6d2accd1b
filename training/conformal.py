"""Intervals that hold 95 % of the values of new samples, around any surrogate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data import Dataset, FitLog, Prediction, Surrogate
from ..data.arrays import blocks
from ..errors import NWidthError

LEVEL, Z = 0.95, 1.959964
HOLDS = ("points", "fields")
LEAST = 1e-3  # a standard deviation counts as at least so much of its channel's root mean square


class Conformal(Surrogate):
    """std' = (q / 1.96) std: the interval mean +- 1.96 std' is mean +- q std, q a quantile of |u - mean| / std.

    The quantile is that of ``calibration`` samples (a share below 1 of the training samples, or a count) which the base
    surrogate does not learn from; a q for each channel. Of ``base`` any surrogate:

    - with a standard deviation, it is scaled (in a channel where it vanishes throughout, it counts as constant);
    - without one, std is first a constant for each channel and stored time, the root mean square error on the
      validation samples (1 where there are none). Between those times it is interpolated, beyond them constant.

    ``holds`` ``points``: 95 % of the values of a new sample lie within, on average over samples: q is the quantile
    0.95 (1 + 1/n) of the values of all n calibration samples. ``fields``: 95 % of new samples lie within at all their
    points and times; q is the ceil(0.95 (n + 1))-th smallest of the samples' largest scores. Both hold in expectation
    for exchangeable samples, whatever the surrogate, with n >= 19; the fit notes where there are fewer. Lei et al., J.
    Am. Stat. Assoc. 113 (2018), section 2.2; pooled values: Dunn, Wasserman and Ramdas, J. Am. Stat. Assoc. 118 (2023),
    section 4.
    """

    def __init__(self, base: Surrogate, calibration: float = 0.2, holds: str = "points"):
        if not isinstance(base, Surrogate) or not calibration > 0 or holds not in HOLDS:
            raise NWidthError(
                "Conformal",
                got=f"{type(base).__name__}, calibration={calibration}, holds={holds!r}",
                expected="a surrogate, calibration > 0, holds one of " + ", ".join(HOLDS),
            )
        self.base, self.calibration, self.holds = base, calibration, holds
        self.factor: Tensor | None = None
        self.widths: Tensor | None = None  # (T, C), or (1, C) of steady data
        self.floor: Tensor | None = None  # (C,)
        self.t: Tensor | None = None

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.base.needs

    @property
    def uses_seed(self) -> bool:  # type: ignore[override]
        return True  # which samples calibrate

    def warm_up(self) -> None:
        self.base.warm_up()

    def fit(self, train: Dataset, val: Dataset | None, *, seed: int = 0, folder: Path | None = None) -> FitLog:
        self.check(train)
        size = round(self.calibration * len(train)) if self.calibration < 1 else int(self.calibration)
        if not 1 <= size <= len(train) - 2:
            raise NWidthError(
                "Conformal",
                got=f"{size} calibration samples of {len(train)} training samples",
                expected="at least 1, and 2 left to learn from",
                fix="change surrogate.calibration",
            )
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
        held = train[order[:size].sort().values]
        log = self.base.fit(train[order[size:].sort().values], val, seed=seed, folder=folder)
        self.t = train.t
        self._scale(held, val)
        if size < math.ceil(LEVEL / (1 - LEVEL) - 1e-9):
            log.notes.append(f"{size} calibration samples: the intervals are not sure to hold 95 %, 19 would be")
        log.selected |= {"calibration_samples": size, "interval_factor": self.factor.tolist()}  # type: ignore[union-attr]
        return log

    def _scale(self, held: Dataset, val: Dataset | None) -> None:
        """q / 1.96 from the samples ``held``."""
        found = list(self._answers(held))
        channels = held.solution.shape[2 if held.time_dependent else 1]
        if found[0][0].std is None:
            times = 1 if held.t is None else len(held.t)
            self.widths = torch.ones(times, channels, dtype=torch.float64)
            if val is not None and len(val):
                squares = [_by_channel((p.mean - u).double().square(), val) for p, u in self._answers(val)]
                self.widths = torch.cat(squares).mean((0, 3)).sqrt()  # of (samples, T, C, points)
                self.widths = _positive(self.widths, self.widths.square().mean(0).sqrt())
        else:
            squares = [_by_channel(p.std.double().square(), held) for p, _ in found]
            rms = torch.cat(squares).mean((0, 1, 3)).sqrt()
            self.floor = _positive(torch.zeros_like(rms), rms)
        scores = []
        for p, u in found:
            ratio = (p.mean - u).double().abs() / self._std(p, held).double()
            scores.append(_by_channel(ratio, held).movedim(2, 1).flatten(2))  # (samples, C, values)
        s = torch.cat(scores)
        n = len(s)
        if self.holds == "fields":
            s, rank = s.amax(2), math.ceil(LEVEL * (n + 1) - 1e-9)
        else:
            s, rank = s.movedim(1, 0).flatten(1).mT, math.ceil(LEVEL * (1 + 1 / n) * n * s.shape[2] - 1e-9)
        self.factor = s.kthvalue(min(rank, len(s)), 0).values / Z

    def _answers(self, data: Dataset):
        """(prediction, solution) of some samples at a time."""
        for samples, _, u in blocks(data.solution, timed=False):
            yield self.base.predict(data[samples].inputs()), u

    def _std(self, p: Prediction, inputs: Dataset) -> Tensor:
        """The standard deviation before it is scaled, away from zero."""
        space = len(inputs.grid.shape)
        if p.std is None:
            assert self.widths is not None
            widths = self.widths if inputs.t is None else _between(self.widths, self.t, inputs.t)
            shape = widths.shape if inputs.t is not None else widths.shape[1:]
            return widths.to(p.mean).view(*shape, *(1,) * space).expand_as(p.mean)
        assert self.floor is not None
        return torch.maximum(p.std, self.floor.to(p.std).view(-1, *(1,) * space))

    def predict(self, inputs: Dataset) -> Prediction:
        factor: Tensor = self.fitted(self.factor)
        p = self.base.predict(inputs)
        return Prediction(p.mean, self._std(p, inputs) * factor.to(p.mean).view(-1, *(1,) * len(inputs.grid.shape)))

    def state_dict(self) -> dict[str, Any]:
        factor = self.fitted(self.factor)
        kept = {"factor": factor, "widths": self.widths, "floor": self.floor, "t": self.t}
        return {"base": self.base.state_dict(), **kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.base.load_state_dict(state["base"])
        self.factor, self.widths, self.floor, self.t = (state[k] for k in ("factor", "widths", "floor", "t"))


def _positive(width: Tensor, size: Tensor) -> Tensor:
    """At least a small share of ``size``, and 1 where that is zero."""
    return torch.where(size > 0, torch.maximum(width, LEAST * size), torch.ones_like(width))


def _by_channel(v: Tensor, data: Dataset) -> Tensor:
    """(N, T, C, points) of (N, [T,] C, *space)."""
    v = v if data.time_dependent else v[:, None]
    return v.flatten(3)


def _between(widths: Tensor, t: Tensor | None, wanted: Tensor) -> Tensor:
    """Widths (T, C) known at times ``t``, at other times: linear between them, constant beyond."""
    assert t is not None
    known, at = t.double(), wanted.double().clamp(float(t[0]), float(t[-1]))
    if len(known) == 1:
        return widths.expand(len(wanted), -1)
    right = torch.searchsorted(known, at).clamp(1, len(known) - 1)
    share = ((at - known[right - 1]) / (known[right] - known[right - 1]))[:, None]
    return (1 - share) * widths[right - 1] + share * widths[right]
