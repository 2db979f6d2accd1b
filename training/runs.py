"""A run's folder: resolved config, tensors, fit log, split, report; written whole, read without running anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from ..build import check_targets
from ..data import FitLog, Surrogate
from ..data.files import load_state, save_state, write_json, write_text
from ..errors import NWidthError
from .session import build_surrogate

CONFIG, MODEL, FIT, SPLIT, REPORT, PICTURES = (
    "config.yaml",
    "model.safetensors",
    "fit.json",
    "split.safetensors",
    "report.json",
    "pictures.safetensors",
)


def save_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.yaml; a folder that holds another config is refused, so that no run mixes two."""
    path = folder / CONFIG
    text = OmegaConf.to_yaml(OmegaConf.create(dict(config)), sort_keys=False)
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        old, new = load_config(folder), dict(config)
        changed = [k for k in sorted(set(old) | set(new)) if old.get(k) != new.get(k)]
        raise NWidthError(
            f"run {folder}",
            got=f"another config than the folder's (in {', '.join(changed)})",
            expected="the same config, to go on with the run",
            fix="choose another hydra.run.dir",
        )
    write_text(path, text)


def load_config(folder: str | Path) -> dict[str, Any]:
    """Read a run's config; classes outside the allow-list are refused."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise NWidthError(
            f"run {folder}", got="no config.yaml", expected="the folder of a run of nwidth train", fix="check run=DIR"
        )
    try:
        config = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (OmegaConfBaseException, ValueError, OSError) as e:
        raise NWidthError(
            f"run {folder}",
            got=f"a config.yaml that cannot be read ({str(e).splitlines()[0][:80]})",
            expected="the file that nwidth wrote",
        ) from None
    except Exception as e:  # yaml's own errors do not share a base with the above
        raise NWidthError(
            f"run {folder}",
            got=f"a config.yaml that is not YAML ({type(e).__name__})",
            expected="the file that nwidth wrote",
        ) from None
    if not isinstance(config, dict) or "surrogate" not in config:
        raise NWidthError(f"run {folder}", got="a config without a surrogate", expected="the file that nwidth wrote")
    check_targets(config)
    return config  # type: ignore[return-value]


def save_fitted(
    folder: Path,
    surrogate: Surrogate,
    log: FitLog,
    cost: Mapping[str, Any],
    indices: Mapping[str, Tensor],
    environment: Mapping[str, Any],
) -> None:
    """The model last: where it exists, the run is whole."""
    save_state(folder / SPLIT, dict(indices))
    write_json(folder / FIT, {**asdict(log), "cost": dict(cost), "environment": dict(environment)})
    save_state(folder / MODEL, surrogate.state_dict())


def is_finished(folder: Path) -> bool:
    return (folder / MODEL).is_file() and (folder / FIT).is_file()


def load_fitted(folder: str | Path) -> tuple[Surrogate, dict[str, Any], dict[str, Any]]:
    """The surrogate of a finished run, its config and its fit log."""
    folder = Path(folder)
    config = load_config(folder)
    if not is_finished(folder):
        raise NWidthError(
            f"run {folder}",
            got="a run that did not finish",
            expected="model.safetensors",
            fix=f"go on with it: nwidth train ... hydra.run.dir={folder}",
        )
    surrogate = build_surrogate(config["surrogate"])
    try:
        surrogate.load_state_dict(load_state(folder / MODEL))
    except (KeyError, TypeError, AttributeError) as e:
        raise NWidthError(
            f"load {folder / MODEL}",
            got=f"a state that does not fit the config ({e!r:.80})",
            expected="the config and model of one run",
        ) from None
    return surrogate, config, json.loads((folder / FIT).read_text(encoding="utf-8"))
