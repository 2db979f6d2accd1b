"""One progress bar for what takes long: on a terminal only, on standard error, gone when done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bytes_bar(label: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Yield ``advance(n)``, to be called with the bytes of each piece; ``total`` None where it is not known."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    terminal = sys.stderr.isatty()
    bar = Progress("{task.description}", *columns, console=Console(stderr=True), transient=True, disable=not terminal)
    with bar:
        task = bar.add_task(label, total=total, completed=done)
        yield lambda n: bar.advance(task, n)


@contextmanager
def steps_bar(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield ``advance(n)``, to be called as steps of a long computation are done."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(label, total=total)
        yield lambda n: bar.advance(task, n)
