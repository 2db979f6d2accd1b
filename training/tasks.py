"""The task that a data set asks for, and a saved one again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..data import Dataset
from ..errors import NWidthError
from .rollout import Rollout
from .task import Steady, Task
from .timed import TimeAxis, TimeChannels

TIMES = ("auto", "channels", "axis", "rollout")
KINDS = {k.kind: k for k in (Steady, TimeChannels, TimeAxis, Rollout)}


def make_task(
    data: Dataset,
    time: str,
    normalize_input: str,
    normalize_output: str,
    dtype: torch.dtype,
    unroll: int = 1,
    pushforward: bool = False,
) -> Task:
    """``time``: auto (channels up to 64 output channels, rollout beyond), channels, axis or rollout; steady data
    need none. ``unroll`` and ``pushforward``: see ``Rollout``, which alone takes more than one step."""
    if time not in TIMES:
        raise NWidthError("training.time", got=repr(time), expected="one of " + ", ".join(TIMES))
    kind = "steady"
    if data.time_dependent:
        kind = time
        if time == "auto":
            u = data.solution
            kind = "channels" if u.shape[1] * u.shape[2] <= 64 or data.u0 is None else "rollout"
    task = KINDS[kind](normalize_input, normalize_output, dtype)
    if isinstance(task, Rollout):
        task.unroll, task.pushforward = unroll, pushforward
    elif unroll > 1:
        raise NWidthError(
            "training.unroll",
            got=f"{unroll} with training.time={kind}",
            expected="training.time=rollout",
            fix="set training.time=rollout, or training.unroll=1",
        )
    return task


def load_task(state: Mapping[str, Any], dtype: torch.dtype) -> Task:
    return KINDS[state["kind"]](dtype=dtype).load_state_dict(state)
