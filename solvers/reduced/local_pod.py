"""Local reduced bases: cells of snapshots, a basis and a regressor for each, a classifier that names the cell."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...backends import Grid, Mesh, grid_from_dict
from ...data import Dataset, FitLog, Prediction, Surrogate, concatenate
from ...errors import NWidthError
from .clustering import k_means, k_medoids, sine_dissimilarity
from .encoding import InputEncoder, tensor
from .fields import channel_scale, coefficient_error, field_spread, missed_variance, norms, onto
from .pod import POD
from .regression import Regressor, Validate

CLUSTERINGS = ("sine", "euclidean", "kmeans", "auto")
SELECTIONS = ("criterion", "validation")


@dataclass
class _Partitioned:
    """How it was found, the snapshots of medoids or means, one POD a cell, and the classifier's state."""

    clustering: str
    centers: Tensor
    pods: list[POD]
    classifier: dict[str, Any]
    error: float


class LocalPOD(Surrogate):
    """u(x) ~ sum_j c_kj(x) V_kj, k = k(x): in each cell k of solutions a POD basis and a regressor of its own.

    Offline: the solutions (whole trajectories) are partitioned by k-medoids under the sine of the angle between them,
    under which the largest dissimilarity to the medoid bounds the width of a cell, or by k-means of the normalised
    solutions; each cell gets the POD modes of
    its normalised snapshots, so that each sample's relative error counts the same; the classifier, any ``Regressor``
    trained on indicator vectors, learns the cell from the inputs; a copy of ``regressor`` learns the coefficients in
    each cell. Online: the cell with the largest indicator, its regressor, its modes.

    Of the numbers of ``cells`` the one is kept with the smallest a-priori criterion

        p e_in + (1 - p) e_wrong,

    p the share of validation samples that the classifier puts into their cell (that of the nearest centre), e_in
    their mean relative projection error there, e_wrong that in the other cells: more cells lower e_in and p alike.
    It needs no regressor. With ``select="validation"`` the regressors are fitted for each number instead, and the
    validation error decides. Without validation samples every fifth training sample takes their place. Numbers that
    leave a cell with fewer than ``min_samples`` samples are passed over, and named in the notes.

    ``rtol``, ``energy``: rank rules of each cell (``truncation_rank``), bounded by ``max_rank``; ``input_rank``: PCA
    coordinates of each input field. ``clustering``: ``sine`` or ``euclidean``, the dissimilarity of k-medoids,
    ``kmeans``, or ``auto``: sine and kmeans are tried for every number of cells, and the same figure decides. With
    ``refit`` bases, classifier and regressors learn from training and validation samples in the end; the centres stay.

    Source: Daniel, Casenave, Akkari, Ryckelynck, Adv. Model. Simul. Eng. Sci. 7:16 (2020), for ROM-nets; Daniel et
    al., J. Comput. Phys. 458 (2022), arXiv:2103.13683, for the sine and for the idea of an a-priori criterion; the
    expected projection error is this module's form of it.

    >>> from nwidth.solvers.reduced import KNN, RBF
    >>> grid = Grid.make((64,), "nodal"); x = grid.coordinates()[0]; mu = torch.linspace(0.2, 0.8, 60)[:, None].double()
    >>> data = Dataset(grid, u=torch.exp(-(((x - mu) / 0.05) ** 2))[:, None], mu=mu)
    >>> surrogate = LocalPOD(RBF(), KNN(), cells=[1, 4], max_rank=4, min_samples=5)
    >>> surrogate.fit(data[::2], data[1::2]).selected["cells"]
    4
    """

    def __init__(
        self,
        regressor: Regressor,
        classifier: Regressor,
        *,
        cells: list[int] | None = None,
        rtol: float | None = 1e-3,
        energy: float | None = None,
        max_rank: int | None = None,
        input_rank: int | None = 32,
        clustering: str = "auto",
        select: str = "criterion",
        min_samples: int = 8,
        refit: bool = True,
    ):
        for name, value, known in (("clustering", clustering, CLUSTERINGS), ("select", select, SELECTIONS)):
            if value not in known:
                raise NWidthError("LocalPOD", got=f"{name}={value!r}", expected="one of " + ", ".join(known))
        self.regressor, self.classifier = regressor, classifier
        random = clustering in ("kmeans", "auto")
        self.uses_seed = random or any(getattr(r, "uses_seed", False) for r in (regressor, classifier))
        self.cells = sorted(set(cells or [1, 2, 4, 8, 16]))
        self.rtol, self.energy, self.max_rank, self.input_rank = rtol, energy, max_rank, input_rank
        self.clustering, self.select = clustering, select
        self.min_samples, self.refit = min_samples, refit
        self.encoder: InputEncoder | None = None
        self.grid: Grid | Mesh | None = None
        self.t: Tensor | None = None
        self.scale: Tensor | None = None
        self.pods: list[POD] = []
        self.missed: list[Tensor | None] = []
        self.regressors: list[Regressor] = []

    def fit(self, train: Dataset, val: Dataset | None, *, seed: int = 0, folder: Path | None = None) -> FitLog:
        self.check(train)
        given = val is not None
        train = train.load()
        if val is None and len(train) >= 10:
            held = torch.arange(len(train)) % 5 == 4
            train, val = train[~held], train[held]
        val = None if val is None else val.load()
        log = FitLog()
        self.grid, self.t = train.grid, train.t
        u = tensor(train.solution)
        self.scale = channel_scale(u, 2 if train.time_dependent else 1)
        self.encoder = InputEncoder(rank=self.input_rank).fit(train)
        chosen, labels = self._choose(train, val, log, seed)
        self.classifier.load_state_dict(chosen.classifier)
        self.pods = chosen.pods
        if self.select == "criterion":  # otherwise these were fitted for the comparison
            log.history.append({"cells": len(self.pods), "val_rel_l2": self._regress(train, val, labels, seed)})
        if val is not None and (self.refit or not given):
            self._relearn(concatenate([train, val]), chosen)
        ranks = [p.rank for p in self.pods]
        log.rank, log.parameters = max(ranks), sum(r.parameters for r in [*self.regressors, self.classifier])
        floor = max(p.tail for p in self.pods)
        log.selected |= {"cells": len(ranks), "ranks": ranks, "train_floor": floor, "rank_of": "samples"}
        log.selected |= {
            "clustering": chosen.clustering,
            "classifier": self.classifier.selected,
            "learned_val": given and self.refit,
        }
        how = f" by {chosen.clustering}" if len(ranks) > 1 else ""
        log.notes.append(f"{len(ranks)} cells{how} of ranks {ranks} leave at most {floor:.1e} of their solutions")
        return log

    def _choose(self, train: Dataset, val: Dataset | None, log: FitLog, seed: int) -> tuple[_Partitioned, Tensor]:
        """Partition for every number of cells that the samples allow; the best one and its labels."""
        x = self._snapshots(train)
        best: tuple[_Partitioned, Tensor, list[Regressor], list[Tensor | None]] | None = None
        ways = ["sine", "kmeans"] if self.clustering == "auto" else [self.clustering]
        distances = {way: self._distances(x, x, way) for way in ways if way != "kmeans"}
        for cells, way in product(self.cells, ways):
            if cells == 1 and way != ways[0]:
                continue
            if cells > len(x):
                log.notes.append(f"{cells} cells passed over: {len(x)} training samples")
                continue
            labels, centers = self._partition(x, distances.get(way), cells, seed)
            least = int(torch.bincount(labels, minlength=cells).min())
            if cells > 1 and least < self.min_samples:
                log.notes.append(f"{cells} cells by {way} passed over: the smallest holds {least} samples")
                continue
            part, record = self._assess(train, val, way, centers, labels, seed)
            if self.select == "validation":
                self.pods = part.pods
                self.classifier.load_state_dict(part.classifier)
                record["val_rel_l2"] = part.error = self._regress(train, val, labels, seed)
            log.history.append(record)
            if best is None or part.error < best[0].error:
                best = (part, labels, self.regressors, self.missed)
        if best is None:
            raise NWidthError(
                "LocalPOD.fit",
                got=f"cells={self.cells} for {len(x)} samples",
                expected=f"at least {self.min_samples} samples in each cell",
                fix="put 1 among the cells, or lower min_samples",
            )
        self.regressors, self.missed = best[2], best[3]
        return best[0], best[1]

    def _partition(self, x: Tensor, distance: Tensor | None, cells: int, seed: int) -> tuple[Tensor, Tensor]:
        """Labels and centres: medoids under ``distance``, or means."""
        if distance is not None:
            found = k_medoids(distance, cells)
            return found.labels, x[found.medoids]
        assert self.grid is not None
        labels = k_means((x * self.grid.norm_weights().sqrt()).flatten(1), cells, seed=seed)
        return labels, torch.stack([x[labels == k].mean(0) for k in range(cells)])

    def _assess(
        self, train: Dataset, val: Dataset | None, way: str, centers: Tensor, labels: Tensor, seed: int
    ) -> tuple[_Partitioned, dict[str, Any]]:
        """Bases and classifier of one partition, and the criterion on validation (0 without)."""
        assert self.encoder is not None
        x, cells = self._snapshots(train), len(centers)
        pods = [self._basis(x[labels == k]) for k in range(cells)]
        validate: Validate | None = None
        if val is not None:
            y = self._snapshots(val)
            truth = self._distances(y, centers, way).argmin(1)
            validate = (self.encoder(val), _misclassified(truth))
        self.classifier.fit(self.encoder(train), _indicators(labels, cells), validate, seed=seed)
        part = _Partitioned(way, centers, pods, self.classifier.state_dict(), 0.0)
        if validate is None:
            return part, {"cells": cells, "clustering": way}
        p = 1 - validate[1](self.classifier.predict(validate[0])[0])
        errors = torch.stack([pod.residual(y) for pod in pods], 1)  # relative ones: y has unit size
        inside = float(errors.gather(1, truth[:, None]).mean())
        wrong = float(errors.sum() - errors.gather(1, truth[:, None]).sum()) / (len(y) * max(cells - 1, 1))
        part.error = p * inside + (1 - p) * wrong
        return part, {
            "cells": cells,
            "clustering": way,
            "accuracy": p,
            "e_in": inside,
            "e_wrong": wrong,
            "criterion": part.error,
        }

    def _snapshots(self, data: Dataset) -> Tensor:
        """Scaled solutions of unit norm each; a solution of zeros stays zero."""
        assert self.scale is not None
        x = tensor(data.solution) / self.scale
        norm = norms(x, data.grid.norm_weights()).reshape(-1, *(1,) * (x.ndim - 1))
        return x / torch.where(norm > 0, norm, torch.ones_like(norm))

    def _distances(self, x: Tensor, y: Tensor, way: str) -> Tensor:
        assert self.grid is not None
        weight = self.grid.norm_weights()
        if way == "sine":
            return sine_dissimilarity(x, y, weight)
        root = weight.sqrt()
        return torch.cdist((x * root).flatten(1), (y * root).flatten(1))

    def _basis(self, x: Tensor) -> POD:
        assert self.grid is not None
        pod = POD(center=False)
        return pod.fit(x, self.grid.norm_weights(), rtol=self.rtol, energy=self.energy, cap=self.max_rank)

    def _regress(self, train: Dataset, val: Dataset | None, labels: Tensor, seed: int) -> float:
        """Fit a regressor in every cell; the validation error of the whole surrogate (0 without)."""
        assert self.encoder is not None and self.scale is not None
        x, inputs = tensor(train.solution) / self.scale, self.encoder(train)
        self.regressors, self.missed = [], []
        asked = None if val is None else self.encoder(val)
        predicted = None if asked is None else self._cells(asked)
        total = 0.0
        for k, pod in enumerate(self.pods):
            mine = labels == k
            validate: Validate | None = None
            if val is not None and asked is not None and predicted is not None and bool((predicted == k).any()):
                y = tensor(val.solution)[predicted == k] / self.scale
                validate = (asked[predicted == k], coefficient_error(pod, y))
            regressor = copy.deepcopy(self.regressor)
            c = pod.encode(x[mine])
            regressor.fit(inputs[mine], c, validate, seed=seed)
            self.regressors.append(regressor)
            self.missed.append(missed_variance(pod, x[mine], c))
            if validate is not None:
                total += len(validate[0]) * validate[1](regressor.predict(validate[0])[0])
        return total / len(asked) if asked is not None else 0.0

    def _relearn(self, data: Dataset, chosen: _Partitioned) -> None:
        """The same cells and hyper-parameters, learned from more samples."""
        assert self.scale is not None
        unit = self._snapshots(data)
        cells = len(chosen.centers)
        labels = self._distances(unit, chosen.centers, chosen.clustering).argmin(1)
        self.encoder = InputEncoder(rank=self.input_rank).fit(data)
        inputs, x = self.encoder(data), tensor(data.solution) / self.scale
        self.classifier.refit(inputs, _indicators(labels, cells))
        self.pods = [self._basis(unit[labels == k]) for k in range(cells)]
        self.missed = []
        for k, (pod, regressor) in enumerate(zip(self.pods, self.regressors)):
            mine = labels == k
            c = pod.encode(x[mine])
            regressor.refit(inputs[mine], c)
            self.missed.append(missed_variance(pod, x[mine], c))

    def _cells(self, x: Tensor) -> Tensor:
        """The cell that the classifier names for encoded inputs."""
        return self.classifier.predict(x)[0].argmax(1)

    def predict(self, inputs: Dataset) -> Prediction:
        encoder = self.fitted(self.encoder)
        assert self.scale is not None and self.grid is not None
        x = encoder(inputs.load())
        labels = self._cells(x)
        field = spread = None
        for k, (pod, regressor) in enumerate(zip(self.pods, self.regressors)):
            mine = labels == k
            if not bool(mine.any()):
                continue
            mean, std = regressor.predict(x[mine])
            part = pod.decode(mean) * self.scale
            if field is None:
                field = part.new_zeros(len(x), *part.shape[1:])
                spread = None if std is None else torch.zeros_like(field.real if field.is_complex() else field)
            field[mine] = part
            if spread is not None and std is not None:
                spread[mine] = field_spread(pod, std, self.missed[k]) * self.scale
        assert field is not None
        if spread is not None:
            spread = onto(spread, self.t, self.grid, inputs).abs()
        return Prediction(onto(field, self.t, self.grid, inputs), spread)

    def state_dict(self) -> dict[str, Any]:
        encoder = self.fitted(self.encoder)
        assert self.grid is not None
        cells = [
            {"pod": p.state_dict(), "missed": m, "regressor": r.state_dict()}
            for p, m, r in zip(self.pods, self.missed, self.regressors)
        ]
        return {
            "encoder": encoder.state_dict(),
            "grid": self.grid.to_dict(),
            "t": self.t,
            "scale": self.scale,
            "classifier": self.classifier.state_dict(),
            "cells": cells,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.encoder = InputEncoder().load_state_dict(state["encoder"])
        self.grid, self.t, self.scale = grid_from_dict(state["grid"]), state["t"], state["scale"]
        self.classifier.load_state_dict(state["classifier"])
        self.pods = [POD().load_state_dict(c["pod"]) for c in state["cells"]]
        self.missed = [c["missed"] for c in state["cells"]]
        self.regressors = [copy.deepcopy(self.regressor) for _ in state["cells"]]
        for regressor, cell in zip(self.regressors, state["cells"]):
            regressor.load_state_dict(cell["regressor"])


def _indicators(labels: Tensor, cells: int) -> Tensor:
    return torch.nn.functional.one_hot(labels, cells).double()


def _misclassified(truth: Tensor) -> Callable[[Tensor], float]:
    return lambda predicted: float((predicted.argmax(1) != truth).double().mean())
