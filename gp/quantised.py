"""Vectors sent as few bits: rounding at random, without bias."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

Gather = Callable[[list[Tensor]], list[Tensor]]


def quantise(v: Tensor, bits: int, generator: torch.Generator) -> Tensor:
    """Bytes of v in [-s, s] rounded at random to 2^bits levels, without bias; the first eight hold s.

    >>> v = torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64)
    >>> code = quantise(v, 8, torch.Generator().manual_seed(0))
    >>> len(code), bool((restore(code, 8) - v).abs().max() < 2 / 255)
    (11, True)
    """
    top, s = 2**bits - 1, v.abs().max().clamp_min(1e-300)
    levels = (v / s + 1) * (top / 2)
    levels = (levels + torch.rand(len(v), generator=generator, dtype=torch.float64)).floor().clamp(0, top)
    kind = np.uint8 if bits <= 8 else np.uint16
    body = levels.numpy().astype(kind).tobytes()
    return torch.frombuffer(bytearray(np.float64(s).tobytes() + body), dtype=torch.uint8)


def restore(code: Tensor, bits: int) -> Tensor:
    raw = code.numpy().tobytes()
    s = float(np.frombuffer(raw[:8], dtype=np.float64)[0])
    levels = np.frombuffer(raw[8:], dtype=np.uint8 if bits <= 8 else np.uint16).astype(np.float64)
    return torch.from_numpy(s * (levels * (2 / (2**bits - 1)) - 1))


def everybody(group: dist.ProcessGroup) -> Gather:
    """The byte tensors of all processes: each gives as many, of equal lengths."""

    def gather(mine: list[Tensor]) -> list[Tensor]:
        found: list[Tensor] = []
        for v in mine:
            parts = [torch.empty_like(v) for _ in range(dist.get_world_size(group))]
            dist.all_gather(parts, v, group=group)
            found += parts
        return found

    return gather
