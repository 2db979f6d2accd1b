"""What a sweep says at its end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback


class SweepSummary(Callback):
    """After a sweep: how many jobs ended well, which failed, and where the runs lie."""

    failed: ClassVar[int] = 0

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        jobs = sorted(p.parent for p in folder.glob("**/.hydra"))
        errors = sorted(folder.glob("**/error.txt"))
        type(self).failed = len(errors)
        print(f"{len(jobs) - len(errors)} of {len(jobs)} jobs done: {folder}", file=sys.stderr)
        for path in errors:
            first = path.read_text(encoding="utf-8").strip().splitlines()[-1]
            print(f"  failed: {path.parent.relative_to(folder)}: {first}", file=sys.stderr)
        print(f"compare them: nwidth compare runs={folder}", file=sys.stderr)
