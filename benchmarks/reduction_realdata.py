"""Third-party data through the command line: graetz, thermal_block, advection.

usage: python benchmarks/reduction_realdata.py [folder of the data]

The folder is the argument, that which NWIDTH_REALDATA names, or ../shared/realdata beside the repository; a set that is
not there is passed over.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from nwidth.training.report import load_report

DEFAULT = os.environ.get("NWIDTH_REALDATA", Path(__file__).parents[1] / ".." / "shared" / "realdata")
GRAETZ = ["surrogates=[mean,pod_gp,pod_rbf,parameter_interpolation]", "split.test=25", "split.val=6",
          "+options.pod_gp.rank=10", "+options.pod_gp.rtol=null"]  # fmt: skip
CASES = [
    ("graetz/graetz_50.npz", [*GRAETZ, "split=ordered"], {"pod_gp": 4e-3}),
    *[("graetz/graetz_50.npz", [*GRAETZ, "split=random", f"split.seed={k}"], {"pod_gp": 4e-3}) for k in range(3)],
    *[
        ("thermal_block", ["surrogates=[mean,pod_rbf,certified_rb,reference]", "problem=thermal_inclusion",
          "split=ordered", "split.test=2", "split.val=0", f"+options.certified_rb.rank={k}"], {})
        for k in (2, 3)
    ],
    ("advection", ["surrogates=[mean,linear,kernel]", "data.hi=2.0"], {"linear": 1e-5}),
]  # fmt: skip


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else DEFAULT)
    for name, options, asked in CASES:
        path = root / name
        if not path.exists():
            print(f"{path} is not here: passed over")
            continue
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "nwidth.cli", "compare", f"data.path={path}", *options, "threads=1",
                       f"hydra.run.dir={folder}"]  # fmt: skip
            subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
            report = load_report(folder)
        print(name, *[o for o in options if o.startswith("split")])
        width = report["n_width"]
        for row in report["rows"]:
            if row["split"] != "test":
                continue
            floor = width["unseen"][min(row["rank"], len(width["unseen"]) - 1)] if row["rank"] is not None else None
            e, limit = row["rel_l2"]["mean"], asked.get(row["surrogate"])
            verdict = "" if limit is None else f", asked {limit:g}: {'ok' if e <= limit else 'MISSED'}"
            bound = "-" if floor is None else f"{floor:.1e}"
            print(f"  {row['surrogate']}: {e:.2e}, rank {row['rank']}, floor {bound}{verdict}")
        for finding in report.get("findings", []):
            print(f"  - {finding}")
        print(f"  modes for {width['ranks']}")


if __name__ == "__main__":
    main()
