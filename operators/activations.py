"""Activations by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import NWidthError


def _identity(x: Tensor) -> Tensor:
    return x


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "sin": torch.sin,
    "identity": _identity,
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The function of this name."""
    if name not in ACTIVATIONS:
        raise NWidthError("activation", got=repr(name), expected="one of " + ", ".join(ACTIVATIONS))
    return ACTIVATIONS[name]
