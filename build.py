"""Objects from configs, limited to classes that cannot do harm."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

from .errors import NWidthError

ALLOWED = ("nwidth", "torch.optim", "torch.nn")


def build(config: Mapping[str, Any], **arguments: Any) -> Any:
    """Make the object that ``config`` describes: ``_target_`` names its class, the other keys its arguments.

    Nested configs are made first; ``_partial_: true`` gives a factory. ``arguments`` are added to the outermost call.
    Only classes of nwidth, torch.optim and torch.nn may be named, in configs from the command line and from saved
    runs alike, so that loading a run never calls anything else. A user's own modules are added by naming them in the
    environment variable ``NWIDTH_TRUST`` (comma separated), which no file can set.

    Raises NWidthError for a target outside the list or one that does not exist, and for unknown, missing or
    refused arguments.

    >>> build({"_target_": "nwidth.data.RandomSplit", "test": 5}).test
    5
    >>> build({"_target_": "os.system", "command": "true"})
    Traceback (most recent call last):
    ...
    nwidth.errors.NWidthError: config: got _target_='os.system', expected a class of nwidth, torch.optim or torch.nn; \
name your own modules in the environment variable NWIDTH_TRUST
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    if OmegaConf.is_config(config):
        config = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    if not isinstance(config, Mapping) or not isinstance(config.get("_target_"), str):
        raise NWidthError("config", got=f"{config!r:.80}", expected="a mapping with a _target_")
    check_targets(config)
    _refuse_interpolations(config)
    try:
        return instantiate(dict(config), _convert_="all", **arguments)
    except InstantiationException as e:
        cause: BaseException = e
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, NWidthError):
            raise cause from None
        if isinstance(cause, TypeError) and "argument" in str(cause):
            raise NWidthError(
                f"config {config['_target_']}",
                got=str(cause).splitlines()[0],
                fix="check the option's name and spelling",
            ) from None
        raise cause from e


def check_targets(config: Any) -> None:
    """Raise NWidthError when any ``_target_`` within ``config`` is not an allowed class."""
    if isinstance(config, Mapping):
        target = config.get("_target_")
        if target is not None:
            _check(target)
        for key, value in config.items():
            if isinstance(key, str) and key.startswith("_") and key not in ("_target_", "_partial_"):
                raise NWidthError("config", got=f"the key {key!r}", expected="_target_, _partial_ or plain options")
            check_targets(value)
    elif isinstance(config, list | tuple):
        for value in config:
            check_targets(value)


def _refuse_interpolations(config: Any) -> None:
    """Hydra resolves ``${...}`` once more, after the targets were checked: one could bring in another target."""
    if isinstance(config, Mapping):
        for value in config.values():
            _refuse_interpolations(value)
    elif isinstance(config, list | tuple):
        for value in config:
            _refuse_interpolations(value)
    elif isinstance(config, str) and "${" in config:
        raise NWidthError("config", got=f"{config!r:.80}", expected="plain values", fix="resolve interpolations first")


def _check(target: Any) -> None:
    trusted = tuple(m.strip() for m in os.environ.get("NWIDTH_TRUST", "").split(",") if m.strip())
    allowed = (*ALLOWED, *trusted)
    refused = NWidthError(
        "config",
        got=f"_target_={target!r}",
        expected="a class of nwidth, torch.optim or torch.nn",
        fix="name your own modules in the environment variable NWIDTH_TRUST",
    )
    if not isinstance(target, str) or not _within(target, allowed):
        raise refused
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise NWidthError(
            "config",
            got=f"_target_={target!r}, which does not exist",
            expected="a class",
            fix="check its spelling, or the version of nwidth that wrote the config",
        ) from None
    if not isinstance(found, type) or not _within(found.__module__ + ".", allowed):
        raise refused


def _within(path: str, modules: tuple[str, ...]) -> bool:
    return any(path.startswith(m + ".") for m in modules)
