"""Non-intrusive surrogates: encode the input, regress the POD coefficients of the solution, decode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ...backends import Grid, Mesh, grid_from_dict
from ...data import Dataset, FitLog, Prediction, Surrogate, concatenate
from ...data.native import blocks_of
from ...data.symmetry import Symmetry, candidates
from ...errors import NWidthError
from .encoding import InputEncoder, tensor, wide
from .fields import channel_scale, coefficient_error, field_spread, missed_variance, onto
from .pod import POD

MANY = 10  # training samples of which a fifth may decide
Validate = tuple[Tensor, Callable[[Tensor], float]]


class Regressor(Protocol):
    """A map from vectors x (N, p) to vectors y (N, r).

    ``fit`` may choose hyper-parameters with ``validate``: inputs of the validation samples, and a function that turns
    predictions for them into an error. ``refine`` chooses again, near those; ``refit`` keeps them; both for other
    samples.
    """

    def fit(self, x: Tensor, y: Tensor, validate: Validate | None, *, seed: int) -> list[dict[str, Any]]: ...
    def refine(self, x: Tensor, y: Tensor, validate: Validate | None, *, seed: int) -> list[dict[str, Any]]: ...
    def refit(self, x: Tensor, y: Tensor) -> None: ...
    def predict(self, x: Tensor) -> tuple[Tensor, Tensor | None]: ...
    @property
    def selected(self) -> dict[str, Any]: ...
    @property
    def parameters(self) -> int: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class PODRegression(Surrogate):
    """u(x) ~ m + sum_k c_k(input) V_k: POD of the training solutions, and any regressor for the coefficients.

    The input is encoded as PCA coordinates of its fields and standardised parameters (``InputEncoder``); for a
    time-dependent problem the whole trajectory is one snapshot (one shot). Channels are scaled to unit root mean
    square before the POD, and all norms are those of the grid. Without ``rank``, ``rtol`` or ``energy`` the output
    basis loses nothing, and the method is regression on the fields themselves; ``max_rank`` bounds what ``rtol`` or
    ``energy`` ask for.

    ``log_parameters`` reads positive parameters that span more than a decade as their logarithms; with "auto" both
    readings are tried where there are such parameters, and the better on validation is kept (without validation samples
    every fifth training sample takes their place for this choice).

    Where ``input_ranks`` lists several sizes of input encoding, each is fitted and the best on validation is kept.
    With ``symmetries`` the maps of the grid onto itself (``nwidth.data.symmetry``) are tried in turn as additional
    training samples, while there are at most ``max_samples``; one that lowers the validation error by 2 % or more
    is kept, and named in the log. With ``refit`` the chosen model then learns from training and validation samples
    together. Where the regressor gives standard deviations, those of the field are sqrt(sum_k V_k^2 std_k^2 + the
    variance of what the POD truncates).

    Source: Hesthaven and Ubbiali, J. Comput. Phys. 363 (2018), section 3; Bhattacharya et al., SMAI J. Comput. Math.
    7 (2021), for PCA on both sides; Batlle et al., J. Comput. Phys. 496 (2024), for kernels.
    """

    def __init__(
        self,
        regressor: Regressor,
        *,
        rank: int | None = None,
        rtol: float | None = None,
        energy: float | None = None,
        max_rank: int | None = None,
        input_ranks: list[int | None] | None = None,
        symmetries: bool = False,
        max_samples: int = 4000,
        refit: bool = True,
        log_parameters: bool | str = "auto",
    ):
        if log_parameters not in (True, False, "auto"):
            raise NWidthError("PODRegression", got=f"log_parameters={log_parameters!r}", expected="true, false or auto")
        self.log_parameters = log_parameters
        self.symmetries, self.max_samples = symmetries, max_samples
        self.regressor = regressor
        self.uses_seed = getattr(regressor, "uses_seed", False)
        self.rank, self.rtol, self.energy, self.max_rank = rank, rtol, energy, max_rank
        self.input_ranks = list(input_ranks) if input_ranks else [None]
        self.refit = refit
        self.encoder: InputEncoder | None = None
        self.pod: POD | None = None
        self.grid: Grid | Mesh | None = None
        self.t: Tensor | None = None
        self.scale: Tensor | None = None
        self.missed: Tensor | None = None
        self.confirmed: list[Symmetry] = []  # by the last fit

    def fit(self, train: Dataset, val: Dataset | None, *, seed: int = 0, folder: Path | None = None) -> FitLog:
        self.check(train)
        train = train.load()
        complex_ = [k for k in ("a", "u0", "u") if (v := getattr(train, k)) is not None and v.dtype.is_complex]
        if complex_ and not getattr(
            self.regressor, "complex_data", False
        ):  # distances and likelihoods are those of real vectors
            raise NWidthError(
                f"{type(self.regressor).__name__}.fit",
                got="complex " + ", ".join(complex_),
                expected="real fields",
                fix="set data.complex=channels: the real and imaginary parts become channels",
            )
        val = None if val is None else val.load()
        log = FitLog()
        logs = self._readings(train)
        if len(logs) > 1 and val is None and len(train) >= MANY:
            held = torch.arange(len(train)) % 5 == 4
            logs = [self._select(train[~held], train[held], FitLog(), seed, logs)[0]["log"]]
        elif val is None:
            logs = logs[:1]
        reading, error = self._select(train, val, log, seed, logs)
        kept = self._find_symmetries(train, val, reading, error) if self.symmetries and val is not None else []
        self.confirmed = kept
        if kept:
            log.notes.append("training samples doubled by: " + ", ".join(s.name for s in kept))
            self._refine(_with(train, kept), val, reading, log, seed)
        if self.refit and val is not None:
            self._refit(_with(concatenate([train, val]), kept), reading)
        assert self.encoder is not None
        assert self.pod is not None
        log.selected = {"input_features": self.encoder.features, **self.regressor.selected}
        if self.encoder.logarithmic is not None and bool(self.encoder.logarithmic.any()):
            log.selected["log_parameters"] = self.encoder.logarithmic.nonzero()[:, 0].tolist()
        if val is not None:
            tried = [h["val_rel_l2"] for h in log.history if "val_rel_l2" in h]
            log.selected |= {"learned_val": self.refit, "val_rel_l2": min(tried, default=None)}
        log.rank, log.parameters = self.pod.rank, self.regressor.parameters
        if self.pod.tail > 1e-12:
            log.notes.append(f"POD of rank {self.pod.rank} leaves {self.pod.tail:.2e} of the training solutions")
        return log

    def _readings(self, train: Dataset) -> list[bool]:
        """Whether parameters are to be read as logarithms: what will be tried."""
        if self.log_parameters != "auto":
            return [bool(self.log_parameters)]
        return [False] if train.mu is None or not bool(wide(tensor(train.mu)).any()) else [False, True]

    def _select(
        self, train: Dataset, val: Dataset | None, log: FitLog, seed: int, logs: list[bool]
    ) -> tuple[dict[str, Any], float]:
        """Fit with every input rank and reading of the parameters, keep the best on validation: the encoder's
        options and the error."""
        coefficients = self._fit_output(train)
        validate_with = self._validation(val)
        best: tuple[float, dict[str, Any], InputEncoder, dict[str, Any]] | None = None
        tried: set[tuple[bool, int]] = set()
        for as_logs, input_rank in product(logs, self.input_ranks if val is not None else self.input_ranks[-1:]):
            encoder = InputEncoder(rank=input_rank, log=as_logs).fit(train)
            if (as_logs, encoder.features) in tried:
                continue
            tried.add((as_logs, encoder.features))
            validate = None if validate_with is None else (encoder(val), validate_with)  # type: ignore[arg-type]
            history = self.regressor.fit(encoder(train), coefficients, validate, seed=seed)
            told = {"features": encoder.features} | ({"log_parameters": as_logs} if len(logs) > 1 else {})
            log.history += [{**told, **h} for h in history]
            error = 0.0 if validate is None else validate[1](self.regressor.predict(validate[0])[0])
            if best is None or error < best[0]:
                best = (error, {"rank": input_rank, "log": as_logs}, encoder, self.regressor.state_dict())
        assert best is not None
        error, reading, self.encoder, state = best
        if len(tried) > 1:
            self.regressor.load_state_dict(state)
        return reading, error

    def _refine(self, data: Dataset, val: Dataset | None, reading: dict[str, Any], log: FitLog, seed: int) -> None:
        coefficients, validate = self._fit_output(data), self._validation(val)
        self.encoder = InputEncoder(**reading).fit(data)
        assert val is not None and validate is not None
        history = self.regressor.refine(self.encoder(data), coefficients, (self.encoder(val), validate), seed=seed)
        log.history += [{"features": self.encoder.features, **h} for h in history]

    def _refit(self, data: Dataset, reading: dict[str, Any]) -> None:
        coefficients = self._fit_output(data)
        self.encoder = InputEncoder(**reading).fit(data)
        self.regressor.refit(self.encoder(data), coefficients)

    def _find_symmetries(self, train: Dataset, val: Dataset, reading: dict[str, Any], error: float) -> list[Symmetry]:
        kept: list[Symmetry] = []
        for symmetry in candidates(train):
            if 2 ** (len(kept) + 1) * len(train) > self.max_samples:
                break
            self._refit(_with(train, [*kept, symmetry]), reading)
            validate = self._validation(val)
            assert validate is not None and self.encoder is not None
            mean = getattr(
                self.regressor, "mean", lambda x: self.regressor.predict(x)[0]
            )  # cheaper, where there is one
            trial = validate(mean(self.encoder(val)))
            if trial < 0.98 * error:
                error = trial
                kept.append(symmetry)
        return kept

    def _fit_output(self, data: Dataset) -> Tensor:
        """Learn scale and POD of the solutions and return their coefficients."""
        u = tensor(data.solution)
        self.grid, self.t = data.grid, data.t
        self.scale = channel_scale(u, 2 if data.time_dependent else 1)
        x = u / self.scale
        self.pod = POD(center=True).fit(
            x, data.grid.norm_weights(), rank=self.rank, rtol=self.rtol, energy=self.energy, cap=self.max_rank
        )
        c = self.pod.encode(x)
        self.missed = missed_variance(self.pod, x, c)
        return c

    def _validation(self, val: Dataset | None) -> Callable[[Tensor], float] | None:
        """Mean relative L2 error on validation as a function of predicted coefficients, without decoding."""
        if val is None:
            return None
        assert self.pod is not None and self.scale is not None
        return coefficient_error(self.pod, tensor(val.solution) / self.scale)

    def predict(self, inputs: Dataset) -> Prediction:
        encoder, pod = self.fitted(self.encoder), self.fitted(self.pod)
        assert self.scale is not None and self.grid is not None
        x = encoder(inputs.load())
        mean, std = self.regressor.predict(x)
        field = pod.decode(mean) * self.scale
        spread = None
        if std is not None:
            spread = field_spread(pod, std, self.missed) * self.scale
            spread = onto(spread, self.t, self.grid, inputs).abs()
        return Prediction(onto(field, self.t, self.grid, inputs), spread)

    def state_dict(self) -> dict[str, Any]:
        encoder, pod = self.fitted(self.encoder), self.fitted(self.pod)
        assert self.grid is not None
        return {
            "encoder": encoder.state_dict(),
            "pod": pod.state_dict(),
            "grid": self.grid.to_dict(),
            "t": self.t,
            "scale": self.scale,
            "missed": self.missed,
            "regressor": self.regressor.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.encoder = InputEncoder().load_state_dict(state["encoder"])
        self.pod = POD().load_state_dict(state["pod"])
        self.grid, self.t = grid_from_dict(state["grid"]), state["t"]
        self.scale, self.missed = state["scale"], state["missed"]
        self.regressor.load_state_dict(state["regressor"])


def _with(data: Dataset, symmetries: list[Symmetry]) -> Dataset:
    for symmetry in symmetries:
        data = concatenate([data, symmetry(data)])
    return data


class Mean(Surrogate):
    """u ~ the mean of the training solutions: the row that every other one has to beat."""

    uses_seed = False

    def __init__(self):
        self.mean: Tensor | None = None
        self.grid: Grid | Mesh | None = None
        self.t: Tensor | None = None

    def fit(self, train: Dataset, val: Dataset | None, *, seed: int = 0, folder: Path | None = None) -> FitLog:
        self.check(train)
        total = torch.zeros((), dtype=torch.float64)
        for block in blocks_of(train):
            total = total + tensor(block.solution).sum(0)
        mean = total / len(train)
        self.mean, self.grid, self.t = mean, train.grid, train.t
        return FitLog(rank=0, parameters=mean.numel())

    def predict(self, inputs: Dataset) -> Prediction:
        mean = self.fitted(self.mean)
        assert self.grid is not None
        field = onto(mean[None], self.t, self.grid, inputs)
        return Prediction(field.expand(len(inputs), *field.shape[1:]))

    def state_dict(self) -> dict[str, Any]:
        assert self.grid is not None
        return {"mean": self.fitted(self.mean), "grid": self.grid.to_dict(), "t": self.t}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.mean, self.t, self.grid = state["mean"], state["t"], grid_from_dict(state["grid"])
