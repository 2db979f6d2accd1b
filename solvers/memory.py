"""How many samples are advanced together, on which threads, and where their arrays lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

CACHED_VALUES = 2**16  # points of the samples that a CPU advances together: 512 KiB in double precision
HELD_VALUES = 2**26  # the same of an accelerator

Item = TypeVar("Item")
Result = TypeVar("Result")


def on_threads(function: Callable[[Item], Result], items: Sequence[Item], device: torch.device) -> list[Result]:
    """The results for all items, on a CPU with as many of torch's threads as there are, one for each item.

    Arrays that fit in a cache are too small for several threads to share; PyTorch's operations let go of the
    interpreter. Results do not depend on how many threads there are.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or len(items) == 1:
        return [function(item) for item in items]
    inference = torch.is_inference_mode_enabled()

    def alone(item: Item) -> Result:
        with torch.inference_mode(inference):
            return function(item)

    try:
        with ThreadPoolExecutor(min(threads, len(items)), initializer=lambda: torch.set_num_threads(1)) as pool:
            return list(pool.map(alone, items))
    finally:
        torch.set_num_threads(threads)  # those that a pool sets hold for threads of later pools


def keep_freed_memory() -> None:
    """Let the C library keep memory that is freed, for the next array of that size.

    glibc returns arrays above a threshold to the system when they are freed, and the page faults of the next one cost
    as much as the arithmetic on it. Freeing one block of nearly 32 MiB, the most that glibc considers, raises the
    threshold to that size (mallopt(3), M_MMAP_THRESHOLD). The block is never touched; elsewhere it has no effect.
    """
    torch.empty(2**25 - 2**13, dtype=torch.uint8)


def at_once(values: int, device: torch.device) -> int:
    """How many samples of so many points are advanced together: arrays stay in the cache of a CPU, or within the
    memory of an accelerator.
    """
    return max(1, (CACHED_VALUES if device.type == "cpu" else HELD_VALUES) // values)
