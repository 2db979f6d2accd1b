"""A one-step map of POD coefficients, applied again and again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ...data import Dataset, FitLog
from ...errors import NWidthError
from .dynamics import StateSurrogate, equal_step, step_through
from .regression import Regressor, Validate


class Autoregressive(StateSurrogate):
    """c_{k+1} = f(c_k, mu): any ``Regressor`` learns the map from one state to the next from all pairs of states.

    With ``Ridge`` f is affine, and the method the linear baseline of time series. The regressor chooses its own
    hyper-parameters by the error of single steps on every fifth trajectory, and learns from all of them in the end;
    the rank is chosen by rollouts on validation. Equal steps in time (M: one map for one step), at most
    ``max_samples`` pairs; times between the steps are interpolated by cubics. ``mu`` is standardised; input fields a
    are not read (C).
    """

    def __init__(self, regressor: Regressor, *, ranks: list[int] | None = None, max_samples: int = 20000):
        super().__init__(ranks)
        self.regressor, self.max_samples = regressor, max_samples
        self.uses_seed = getattr(regressor, "uses_seed", False)
        self._loaded: Mapping[str, Any] | None = None  # whose state the regressor has

    def check(self, train: Dataset) -> tuple[str, ...]:
        pairs = len(train) * (1 if train.t is None else len(train.t))
        if pairs > self.max_samples:
            raise NWidthError(
                "Autoregressive.fit",
                got=f"{pairs} pairs of states",
                expected=f"at most {self.max_samples}",
                fix="lower split.train, or raise max_samples",
            )
        return super().check(train)

    def _candidates(
        self, c: Tensor, t: Tensor, mu: Tensor | None, rank: int, log: FitLog, seed: int
    ) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        step = equal_step(t)
        if step is None:
            raise NWidthError("Autoregressive.fit", got="unequal steps in time", expected="equal ones from t0")
        before, after = c[:, :-1, :rank], c[:, 1:, :rank]
        x = torch.cat([before, mu[:, None].expand(-1, before.shape[1], -1)], -1) if mu is not None else before
        held = torch.arange(len(x)) % 5 == 4
        if bool(held.any()):
            truth = after[held].flatten(0, 1)
            validate: Validate = (x[held].flatten(0, 1), lambda p: float((p - truth).norm() / truth.norm()))
            self.regressor.fit(x[~held].flatten(0, 1), after[~held].flatten(0, 1), validate, seed=seed)
            self.regressor.refit(x.flatten(0, 1), after.flatten(0, 1))
        else:
            self.regressor.fit(x.flatten(0, 1), after.flatten(0, 1), None, seed=seed)
        model = {"regressor": self.regressor.state_dict(), "step": step, "rank": rank}
        self._loaded = model
        yield dict(self.regressor.selected), model

    def _roll(self, model: Mapping[str, Any], start: Tensor, t0: float, times: Tensor, mu: Tensor | None) -> Tensor:
        if self._loaded is not model:
            self.regressor.load_state_dict(model["regressor"])
            self._loaded = model

        def advance(c: Tensor) -> Tensor:
            return self.regressor.predict(c if mu is None else torch.cat([c, mu], 1))[0]

        return step_through(start[:, : model["rank"]], t0, times, model["step"], advance)
