"""The values of a data set in another precision, and complex fields as real ones; arrays on disk change as they are
read."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import NWidthError
from .arrays import LazyArray
from .dataset import INPUTS, Dataset
from .views import mapped

COMPLEX = ("keep", "channels", "real")


def cast(data: Dataset, dtype: torch.dtype) -> Dataset:
    """Fields and parameters in a precision (complex fields in the complex type of it); times and grid stay float64.

    >>> from nwidth.backends import Grid
    >>> cast(Dataset(Grid.make((4,)), u=torch.rand(2, 1, 4)), torch.float64).u.dtype
    torch.float64
    """
    changed: dict[str, Any] = {}
    for name in ("u", *INPUTS):
        value = getattr(data, name)
        if value is None:
            continue
        wanted = dtype.to_complex() if value.dtype.is_complex else dtype
        if value.dtype == wanted:
            continue
        if isinstance(value, LazyArray):
            timed = name == "u" and data.t is not None
            changed[name] = mapped(value, partial(Tensor.to, dtype=wanted), timed, value.shape[1 + timed :])
        else:
            changed[name] = value.to(wanted)
    return replace(data, **changed) if changed else data


def complex_as(data: Dataset, how: str) -> Dataset:
    """``keep`` leaves complex fields; ``channels`` gives real and imaginary parts as channels (c_re, c_im, one pair
    after the other); ``real`` gives real parts, where the imaginary ones are rounding errors, and else raises.

    >>> from nwidth.backends import Grid
    >>> d = complex_as(Dataset(Grid.make((4,)), u=torch.rand(2, 1, 4) + 1j), "channels")
    >>> d.u.shape, d.channels("u")
    (torch.Size([2, 2, 4]), ('u_re', 'u_im'))
    """
    if how not in COMPLEX:
        raise NWidthError("data.complex", got=repr(how), expected=", ".join(COMPLEX))
    changed: dict[str, Any] = {}
    names = dict(data.names)
    for name in ("u", "a", "u0"):
        value = getattr(data, name)
        if how == "keep" or value is None or not value.dtype.is_complex:
            continue
        timed = name == "u" and data.t is not None
        channels, *space = value.shape[1 + timed :]
        if how == "real":
            changed[name] = mapped(value, partial(_real, source=data.source, name=name), timed, (channels, *space))
            continue
        changed[name] = mapped(value, partial(_pairs, space=len(space)), timed, (2 * channels, *space))
        names[name] = tuple(f"{c}_{part}" for c in data.channels(name) for part in ("re", "im"))
    return replace(data, names=names, **changed) if changed else data


def _pairs(x: Tensor, space: int) -> Tensor:
    channel = x.ndim - space - 1
    return torch.stack((x.real, x.imag), channel + 1).flatten(channel, channel + 1)


def _real(x: Tensor, source: str, name: str) -> Tensor:
    size, rest = float(x.real.abs().amax()), float(x.imag.abs().amax())
    if rest > 1e-6 * size:
        raise NWidthError(
            f"data.complex=real of {source}",
            got=f"imaginary parts up to {rest:.3g} in {name}, whose real parts reach {size:.3g}",
            expected="imaginary parts of the size of rounding errors",
            fix="set data.complex=channels",
        )
    return x.real.contiguous()
