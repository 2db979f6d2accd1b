"""Which axis of an array is which, where the config does not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ..errors import NWidthError
from .stores import Store

if TYPE_CHECKING:
    from .roles import Roles


def guess_axes(store: Store, role: str, key: str, roles: Roles, t: Tensor | None) -> str:
    """n[t][c][xyz] when the count of axes leaves one reading only, or the letters that fit the sizes of the known
    coordinates and times in one way only; an error that asks otherwise."""
    shape = store.shape(key)
    sizes = {c: store.values(k).numel() for c, k in roles.coordinates.items() if c in "xyzw"}
    mesh = "points" in roles.coordinates
    if mesh:
        points = store.shape(roles.coordinates["points"])[-2:]
        sizes = {"m": next((s for s in points if s in shape), max(points))}
    timed = role == "u" and t is not None
    if timed and t is not None:
        sizes["t"] = len(t)
    if roles.keys("mu"):
        sizes["n"] = store.shape(roles.keys("mu")[0])[0] if store.shape(roles.keys("mu")[0]) else 1
    last = "c" if len(shape) > 2 + timed and shape[-1] == 1 and not mesh else ""  # one channel, last
    d = len([c for c in sizes if c in "xyzwm"]) or len(shape) - 1 - timed - len(last)
    letters = "m" if mesh else "xyzw"[:d]
    for usual in ("n" + "t" * timed + letters, "n" + "t" * timed + "c" + letters, "n" + "t" * timed + letters + "c"):
        if len(shape) == len(usual) and 1 <= d <= 4 and (not last or usual.endswith(last)):
            fits = all(sizes.get(letter, size) == size for letter, size in zip(usual, shape))
            if fits or not _by_size(shape, sizes):
                return usual
    found = _by_size(shape, sizes)
    if found:
        return found
    raise NWidthError(
        f"{store.path}: {key!r}",
        got=f"shape {shape}, whose axes cannot be guessed",
        expected="one letter an axis",
        fix=f"set e.g. data.axes.{role}=ncxy",
    )


def _by_size(shape: Sequence[int], sizes: Mapping[str, int]) -> str:
    """The letters of the axes where sizes decide them: each space and time letter fits one axis only; of the others
    the first is n and the second c."""
    axes = [""] * len(shape)
    for letter in sizes:
        fits = [i for i, size in enumerate(shape) if size == sizes[letter]]
        if len(fits) != 1 or axes[fits[0]]:
            if letter == "n":
                continue
            return ""
        axes[fits[0]] = letter
    for letter in "nc":
        if letter not in axes and "" in axes:
            axes[axes.index("")] = letter
    return "" if "" in axes or not set(axes) & set("xyzwm") else "".join(axes)
