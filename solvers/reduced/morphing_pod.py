"""Optimal mesh morphing, POD and regression (O-MMGP): for fronts and shocks that move with the inputs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...backends import Grid, grid_from_dict
from ...backends.splines import CubicSpline
from ...data import Dataset, FitLog, Prediction, Surrogate, concatenate
from ...errors import NWidthError
from .encoding import InputEncoder, tensor
from .fields import channel_scale, norms
from .morphing import Displacements, determinant, optimal_morphing
from .pod import POD
from .regression import Regressor

CHUNK = 2**22


class MorphingPOD(Surrogate):
    """u(x) ~ (m + sum_k b_k V_k)(phi^{-1}(x)), phi(x) = x + sum_k a_k e_k(x): b and a predicted from the inputs.

    Offline: maps phi_i that maximise the energy which the first ``energy_rank`` modes hold of u_i(phi_i(x))
    (``optimal_morphing``); POD of the pulled-back fields, and of the coefficients a; one copy of ``regressor`` for
    each. Online: both sets of coefficients, the inverse of the map by Newton's method at the points of the inputs'
    grid, the field there by cubic splines. A predicted map that would fold is drawn back towards the identity until
    its determinant is ``min_jacobian`` / 2.

    A time-dependent problem is one of snapshots at times: t is one more input, and predictions are for any times
    between the training's first and last. ``rank``, ``rtol``, ``energy``, ``max_rank`` concern the pulled-back
    fields; the coefficients of the maps keep all but ``morphing_rtol``. Nothing is chosen on validation: with
    ``refit`` its samples are learned from as well, otherwise they are only measured.

    Grids with uniform axes and real fields (C); one map for all channels (C); at most ``max_samples`` snapshots,
    since the energy takes all of them at once (C).

    Source: Kabalan, Casenave, Bordeu, Ehrlacher and Ern, arXiv:2502.11632.
    """

    def __init__(
        self,
        regressor: Regressor,
        *,
        energy_rank: int = 1,
        modes: int = 6,
        widths: list[float] | None = None,
        steps: int = 150,
        min_jacobian: float = 0.02,
        elasticity: float = 4.0,
        bending: float = 1e-4,
        rank: int | None = None,
        rtol: float | None = 1e-3,
        energy: float | None = None,
        max_rank: int | None = None,
        morphing_rtol: float = 1e-3,
        input_rank: int | None = 32,
        max_samples: int = 1000,
        refit: bool = True,
    ):
        self.regressor = regressor
        self.uses_seed = getattr(regressor, "uses_seed", False)
        self.energy_rank, self.modes, self.steps = energy_rank, modes, steps
        self.widths = list(widths if widths is not None else [0.2, 0.08, 0.04])
        self.min_jacobian, self.elasticity, self.bending = min_jacobian, elasticity, bending
        self.rank, self.rtol, self.energy, self.max_rank = rank, rtol, energy, max_rank
        self.morphing_rtol, self.input_rank = morphing_rtol, input_rank
        self.max_samples, self.refit = max_samples, refit
        self.encoder: InputEncoder | None = None
        self.grid: Grid | None = None
        self.scale: Tensor | None = None
        self.clock: list[float] = []  # first and last time, their mean and spread
        self.fields: POD | None = None
        self.maps: POD | None = None
        self.field_regressor = self.map_regressor = regressor

    def fit(self, train: Dataset, val: Dataset | None, *, seed: int = 0, folder: Path | None = None) -> FitLog:
        self.check(train)
        if not isinstance(train.grid, Grid):
            raise NWidthError(
                "MorphingPOD.fit", got=train.grid.describe(), expected="a grid", fix="use local_pod or pod_gp on meshes"
            )
        data = train.load()
        if val is not None and self.refit:
            data = concatenate([data, val.load()])
        u = tensor(data.solution)
        self.grid = train.grid
        self.clock = []
        if data.t is not None:
            t = data.t.double()
            spread = float(t.std()) if len(t) > 1 else 1.0
            self.clock = [float(t[0]), float(t[-1]), float(t.mean()), spread]
            u = u.flatten(0, 1)
        if len(u) > self.max_samples:
            raise NWidthError(
                "MorphingPOD.fit",
                got=f"{len(u)} snapshots",
                expected=f"at most {self.max_samples}",
                fix="lower split.train, or raise max_samples (time grows with its square)",
            )
        self.scale = channel_scale(u, 1)
        morphing = optimal_morphing(
            u / self.scale,
            self.grid,
            rank=self.energy_rank,
            modes=self.modes,
            widths=self.widths,
            steps=self.steps,
            min_jacobian=self.min_jacobian,
            elasticity=self.elasticity,
            bending=self.bending,
        )
        self.fields = POD().fit(
            morphing.pulled,
            self.grid.norm_weights(),
            rank=self.rank,
            rtol=self.rtol,
            energy=self.energy,
            cap=self.max_rank,
        )
        scales = morphing.displacements.scales  # the maps' own lengths are what has to be predicted
        self.maps = POD().fit(morphing.coefficients * scales, rtol=self.morphing_rtol)
        self.encoder = InputEncoder(rank=self.input_rank).fit(data)
        x = self._features(data, data.t)
        self.field_regressor, self.map_regressor = copy.deepcopy(self.regressor), copy.deepcopy(self.regressor)
        log = FitLog(rank=self.fields.rank)
        weight = self.grid.norm_weights()
        floor = float(self.fields.residual(morphing.pulled).norm() / norms(morphing.pulled, weight).norm())
        for name, regressor, values in (
            ("field", self.field_regressor, self.fields.encode(morphing.pulled)),
            ("map", self.map_regressor, self.maps.encode(morphing.coefficients * scales)),
        ):
            log.history += [{"of": name, **h} for h in regressor.fit(x, values, None, seed=seed)]
            log.parameters += regressor.parameters
        log.selected = {
            "rank_of": "states" if self.clock else "samples",
            "map_rank": self.maps.rank,
            "train_floor": floor,
            "lost_energy": morphing.lost,
            "lost_energy_without": morphing.before,
            "min_jacobian": morphing.jacobian,
            "learned_val": val is not None and self.refit,
            **self.field_regressor.selected,
        }
        log.notes.append(
            f"{self.energy_rank} modes lose {morphing.lost:.1e} of the energy after morphing, "
            f"{morphing.before:.1e} before; mean and {self.fields.rank} modes leave {floor:.1e} of the pulled-back "
            f"fields; {self.maps.rank} modes of maps"
        )
        return log

    def _features(self, data: Dataset, t: Tensor | None) -> Tensor:
        """Encoded inputs (N, p), or with each time standardised beside them (N T, p + 1)."""
        assert self.encoder is not None
        x = self.encoder(data)
        if not self.clock:
            return x
        assert t is not None
        z = (t.double() - self.clock[2]) / self.clock[3]
        return torch.cat([x.repeat_interleave(len(z), 0), z.repeat(len(x))[:, None]], 1)

    def predict(self, inputs: Dataset) -> Prediction:
        self.fitted(self.encoder)
        fields, maps = self.fitted(self.fields), self.fitted(self.maps)
        assert self.grid is not None and self.scale is not None
        self._require_kind(inputs)
        inputs = inputs.load()
        x = self._features(inputs, inputs.t)
        b, c = self.field_regressor.predict(x)[0], self.map_regressor.predict(x)[0]
        displacements = Displacements(self.grid, self.modes)
        a = self._unfolded(displacements, maps.decode(c) / displacements.scales)
        points = inputs.grid.coordinates().flatten(1)
        block = max(1, CHUNK // (points.shape[1] * displacements.count * (1 + self.grid.ndim)))
        out = []
        for coefficients, modes in zip(a.split(block), b.split(block)):
            places = displacements.invert(coefficients, points)
            out.append(CubicSpline(fields.decode(modes), self.grid)(places))
        u = torch.cat(out).reshape(len(x), -1, *inputs.grid.shape) * self.scale
        return Prediction(u.unflatten(0, (len(inputs), -1)) if self.clock else u)

    def _unfolded(self, displacements: Displacements, a: Tensor) -> Tensor:
        """The maps, those that fold drawn back towards the identity."""
        for _ in range(60):
            least = determinant(displacements.jacobian(a)).amin(1)
            folded = least < 0.5 * self.min_jacobian * (1 - 1e-9)
            if not bool(folded.any()):
                break
            a = torch.where(folded[:, None], 0.9 * a, a)
        return a

    def _require_kind(self, inputs: Dataset) -> None:
        """Inputs on the domain of the training, and within its times."""
        assert self.grid is not None
        grid = inputs.grid
        ok = isinstance(grid, Grid) and grid.ndim == self.grid.ndim
        for own, other in zip(self.grid.axes, grid.axes if isinstance(grid, Grid) else ()):
            slack = 1e-6 * own.length
            y = other.coordinates()
            ok = ok and own.lo - slack <= float(y[0]) and float(y[-1]) <= own.hi + slack
        if not ok:
            raise NWidthError(
                "MorphingPOD.predict", got=grid.describe(), expected=f"points within {self.grid.describe()}"
            )
        if bool(self.clock) != (inputs.t is not None):
            raise NWidthError(
                "MorphingPOD.predict",
                got="steady and time-dependent data mixed",
                expected="data of the training's kind",
            )
        if inputs.t is not None:
            first, last = self.clock[:2]
            slack = 1e-6 * (last - first)
            if float(inputs.t[0]) < first - slack or float(inputs.t[-1]) > last + slack:
                raise NWidthError(
                    "MorphingPOD.predict",
                    got=f"times on [{float(inputs.t[0]):g}, {float(inputs.t[-1]):g}]",
                    expected=f"times within the training's [{first:g}, {last:g}]",
                    fix="use operator_inference to go further",
                )

    def state_dict(self) -> dict[str, Any]:
        encoder = self.fitted(self.encoder)
        assert self.grid is not None and self.fields is not None and self.maps is not None
        return {
            "encoder": encoder.state_dict(),
            "grid": self.grid.to_dict(),
            "scale": self.scale,
            "clock": list(self.clock),
            "fields": self.fields.state_dict(),
            "maps": self.maps.state_dict(),
            "field_regressor": self.field_regressor.state_dict(),
            "map_regressor": self.map_regressor.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.encoder = InputEncoder().load_state_dict(state["encoder"])
        grid = grid_from_dict(state["grid"])
        assert isinstance(grid, Grid)
        self.grid, self.scale, self.clock = grid, state["scale"], list(state["clock"])
        self.fields, self.maps = POD().load_state_dict(state["fields"]), POD().load_state_dict(state["maps"])
        self.field_regressor, self.map_regressor = copy.deepcopy(self.regressor), copy.deepcopy(self.regressor)
        self.field_regressor.load_state_dict(state["field_regressor"])
        self.map_regressor.load_state_dict(state["map_regressor"])
