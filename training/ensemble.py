"""Several fits of one surrogate: their mean, and their spread as an error bar."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..data import Dataset, FitLog, Prediction, Surrogate
from ..data.files import load_state, save_state, write_json
from ..errors import NWidthError


class Ensemble(Surrogate):
    """mean = average of M fits, std^2 = their variance (over M - 1) + the average of their own std^2, if they have one.

    Member i is fitted with a seed made of the seed and i, so networks differ by their initial weights and the order
    of their batches; ``bootstrap`` also gives each member as many training samples, drawn with replacement, which is
    what surrogates that do not read the seed need. The spread says where the members disagree, not how wrong they all
    are: ``Conformal`` around an ensemble scales it. Lakshminarayanan et al., NeurIPS 2017, arXiv:1612.01474.

    Finished members stay in the run's folder (``member0``, ..), so that an interrupted fit goes on with the next.
    """

    def __init__(self, base: Surrogate, members: int = 5, bootstrap: bool = False):
        if not isinstance(base, Surrogate) or members < 2:
            raise NWidthError(
                "Ensemble",
                got=f"{type(base).__name__}, members={members}",
                expected="a surrogate and 2 members or more",
            )
        if not base.uses_seed and not bootstrap:
            raise NWidthError(
                "Ensemble",
                got=f"members of {type(base).__name__}, which does not read the seed: all would be equal",
                expected="bootstrap=true",
            )
        self.base, self.members, self.bootstrap = base, members, bootstrap
        self.fits: list[Surrogate] | None = None

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.base.needs

    def warm_up(self) -> None:
        self.base.warm_up()

    def fit(self, train: Dataset, val: Dataset | None, *, seed: int = 0, folder: Path | None = None) -> FitLog:
        self.check(train)
        fits, logs = [], []
        for i in range(self.members):
            own = None if folder is None else folder / f"member{i}"
            member, log = self._member(train, val, seed * 1_000 + i, own)
            fits.append(member)
            logs.append(log)
        self.fits = fits
        found = FitLog(parameters=sum(log.parameters for log in logs), rank=logs[0].rank)
        found.history = [{"member": i, **h} for i, log in enumerate(logs) for h in log.history]
        found.notes = list(dict.fromkeys(n for log in logs for n in log.notes))
        for key in ("training_seconds", "training_cpu_seconds"):
            if key in logs[0].selected:
                found.selected[key] = sum(log.selected[key] for log in logs)
        errors = [log.selected["val_rel_l2"] for log in logs if "val_rel_l2" in log.selected]
        if errors:
            found.selected["members_val_rel_l2"] = errors
        if any(log.selected.get("learned_val") for log in logs):
            found.selected["learned_val"] = True
        return found

    def _member(self, train: Dataset, val: Dataset | None, seed: int, folder: Path | None) -> tuple[Surrogate, FitLog]:
        member = copy.deepcopy(self.base)
        state, record = (None, None) if folder is None else (folder / "state.safetensors", folder / "log.json")
        if state is not None and record is not None and state.is_file() and record.is_file():
            member.load_state_dict(load_state(state))
            return member, FitLog(**json.loads(record.read_text(encoding="utf-8")))
        if self.bootstrap:
            generator = torch.Generator().manual_seed(seed)
            train = train[torch.randint(len(train), (len(train),), generator=generator).sort().values]
        log = member.fit(train, val, seed=seed, folder=folder)
        if state is not None and record is not None:
            write_json(record, asdict(log))
            save_state(state, member.state_dict())
        return member, log

    def predict(self, inputs: Dataset) -> Prediction:
        fits: list[Surrogate] = self.fitted(self.fits)
        found = [member.predict(inputs) for member in fits]
        means = torch.stack([f.mean for f in found])
        variance = means.var(0)
        own = [f.std for f in found if f.std is not None]
        if own:
            variance = variance + torch.stack(own).square().mean(0).to(variance)
        return Prediction(means.mean(0), variance.sqrt())

    def state_dict(self) -> dict[str, Any]:
        return {"fits": [member.state_dict() for member in self.fitted(self.fits)]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if len(state["fits"]) != self.members:
            raise NWidthError(
                "Ensemble",
                got=f"a state of {len(state['fits'])} members",
                expected=f"{self.members}, as the config says",
            )
        fits = [copy.deepcopy(self.base) for _ in state["fits"]]
        for member, own in zip(fits, state["fits"]):
            member.load_state_dict(own)
        self.fits = fits
