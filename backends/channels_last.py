"""Truncated transforms of fields (B, *space, C): every axis is one real matrix product without a copy.

With the channels behind the space axes, contracting any axis is a batch of products (modes x points) with
(points x everything behind), contiguous as it lies in memory (``real_products``). Nothing but the shapes is kept for
the backward.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..errors import NWidthError
from .modes import ModeLayout
from .real_products import to_modes, to_points


def analyse_last(layout: ModeLayout, x: Tensor, modes: Sequence[int]) -> Tensor:
    """Coefficients (K, B, C), modes flattened in C order, of real point values x (B, *space, C).

    The same numbers as ``Transform.forward``; complex where the layout is.

    >>> import torch
    >>> from nwidth.backends.transforms import Fourier
    >>> x = torch.randn(2, 8, 6, 3)
    >>> c = analyse_last(Fourier(2), x, (4, 4))
    >>> bool(torch.allclose(c.view(4, 3, 2, 3).permute(2, 3, 0, 1), Fourier(2).forward(x.movedim(-1, 1), (4, 4))))
    True
    """
    _check(layout, x.ndim - 2, x)
    c = to_modes(layout, x, modes).movedim(0, layout.ndim)
    return c.reshape(-1, *c.shape[layout.ndim :])


def synthesise_last(layout: ModeLayout, c: Tensor, modes: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Point values (B, *shape, C) of coefficients c (K, B, C): the inverse of ``analyse_last``.

    ``modes`` must be held by the grid of this shape.
    """
    return to_points(layout, c.unflatten(0, layout.counts(modes)).movedim(layout.ndim, 0), modes, shape)


def _check(layout: ModeLayout, d: int, x: Tensor) -> None:
    if d != layout.ndim or x.is_complex() or not layout.real:
        raise NWidthError(
            "analyse_last",
            got=f"{x.dtype} values of shape {tuple(x.shape)}",
            expected=f"real values (batch, {layout.ndim} space axes, channels)",
        )
