"""What the C library does with memory that was freed: a training asks for the same large arrays again in each step.

glibc gives large arrays back to the system when they are freed, and the next step pays for every page again
(``benchmarks/freed_memory.py``). ``keep_freed`` lets the process keep them; ``release_freed`` gives back what is free
now. Elsewhere than on glibc both do nothing.
"""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")


def keep_freed() -> bool:
    """Keep up to 2 GiB of freed memory for the next arrays, in this process from now on; whether that was set.

    An environment that sets malloc itself (``SETTINGS``, or GLIBC_TUNABLES=glibc.malloc...) wins. In a training loop of
    your own, call it once, before the first step; the command line has called it.

    >>> isinstance(keep_freed(), bool)
    True
    """
    own = any(k in os.environ for k in SETTINGS) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    libc = _glibc()
    if libc is None or own:
        return False
    return bool(libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)) and bool(libc.mallopt(M_MMAP_MAX, 0))


def release_freed() -> None:
    """Give freed memory back to the system, so that the resident memory of the process is what it uses."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
