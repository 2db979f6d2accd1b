"""From the inputs of a data set (fields and parameters) to one vector a sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...backends import Grid, Mesh, grid_from_dict
from ...backends.resample import resample
from ...data import Dataset
from ...data.arrays import Array, loaded
from ...errors import NWidthError
from .pod import POD

DECADE = 10.0


def tensor(value: Array) -> Tensor:
    """In memory and in float64: fits of linear and kernel maps are sensitive to rounding, and their data small."""
    value = loaded(value)
    return value if value.is_complex() else value.double()


def wide(mu: Tensor) -> Tensor:
    """Which columns of parameters (N, P) are positive and span more than a decade."""
    least, most = mu.amin(0), mu.amax(0)
    return (least > 0) & (most > DECADE * least)


class InputEncoder:
    """PCA coordinates of each input field, in the grid's inner product, then standardised parameters.

    Coordinates are left at their own scale: the distance of two encoded fields is their L2 distance, divided by the
    root mean square norm of the centred fields so that one length scale serves every data set. ``rank`` limits the
    number of coordinates of each field, ``energy`` the share of the variance they hold; without either the encoding
    loses nothing of the training inputs. With ``log`` positive parameters that
    span more than a decade are read as their logarithms.
    """

    def __init__(self, rank: int | None = None, energy: float | None = None, log: bool = False):
        self.rank, self.energy, self.log = rank, energy, log
        self.grid: Grid | Mesh | None = None
        self.reads: tuple[str, ...] = ()
        self.pods: dict[str, POD] = {}
        self.scales: dict[str, Tensor] = {}
        self.shift: Tensor | None = None
        self.logarithmic: Tensor | None = None  # which parameters

    def fit(self, data: Dataset) -> InputEncoder:
        self.grid, self.reads = data.grid, data.reads
        self.pods, self.scales, self.shift, self.logarithmic = {}, {}, None, None
        weight = data.grid.norm_weights()
        for name in self.reads:
            if name == "mu":
                mu = tensor(data.mu)  # type: ignore[arg-type]
                if self.log:
                    self.logarithmic = wide(mu)
                mu = self._parameters(mu)
                spread = mu.std(0) if len(mu) > 1 else torch.ones(mu.shape[1], dtype=mu.dtype)
                self.shift = mu.mean(0)
                # a parameter that never varies carries nothing; scale 1 keeps it at zero
                varies = spread > 1e-12 * (1 + self.shift.abs())
                self.scales["mu"] = torch.where(varies, spread, torch.ones_like(spread))
                continue
            x = tensor(getattr(data, name))
            pod = POD(center=True).fit(x, weight, energy=self.energy, cap=self.rank)
            self.pods[name] = pod
            norm = pod.encode(x).abs().square().sum(1).mean().sqrt()
            self.scales[name] = torch.where(norm > 0, norm, torch.ones_like(norm))
        return self

    def __call__(self, data: Dataset) -> Tensor:
        """(N, features), float64. Fields on another grid of the same domain are interpolated to the training grid."""
        assert self.grid is not None
        parts = []
        for name in self.reads:
            value = getattr(data, name)
            if value is None:
                raise NWidthError(
                    "predict",
                    got=f"inputs without {name!r}",
                    expected=", ".join(self.reads),
                    fix="name its key in data.fields",
                )
            x = tensor(value)
            if name == "mu":
                assert self.shift is not None
                parts.append((self._parameters(x) - self.shift) / self.scales["mu"])
            else:
                parts.append(self.pods[name].encode(resample(x, data.grid, self.grid)) / self.scales[name])
        return torch.cat(parts, 1)

    def _parameters(self, mu: Tensor) -> Tensor:
        """The parameters, logarithms of those that are learned on a logarithmic scale."""
        log = self.logarithmic
        if log is None or not bool(log.any()):
            return mu
        if bool((mu[:, log] <= 0).any()):
            raise NWidthError(
                "predict",
                got="a parameter that is not positive",
                expected="positive values: those of the training span more than a decade, and are read as logarithms",
            )
        return torch.where(log, torch.where(log, mu, torch.ones_like(mu)).log(), mu)

    @property
    def features(self) -> int:
        return sum(p.rank for p in self.pods.values()) + (0 if self.shift is None else len(self.shift))

    def state_dict(self) -> dict[str, Any]:
        assert self.grid is not None
        return {
            "rank": self.rank,
            "energy": self.energy,
            "grid": self.grid.to_dict(),
            "reads": list(self.reads),
            "pods": {k: v.state_dict() for k, v in self.pods.items()},
            "scales": dict(self.scales),
            "shift": self.shift,
            "logarithmic": self.logarithmic,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> InputEncoder:
        self.rank, self.energy = state["rank"], state["energy"]
        self.grid, self.reads = grid_from_dict(state["grid"]), tuple(state["reads"])
        self.pods = {k: POD().load_state_dict(v) for k, v in state["pods"].items()}
        self.scales, self.shift = dict(state["scales"]), state["shift"]
        self.logarithmic = state.get("logarithmic")  # absent from runs that read every parameter as it is
        return self
