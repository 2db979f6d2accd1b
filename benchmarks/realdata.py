"""Third-party data, one thread, three seeds: Darcy and Burgers at 16 points as neuraloperator ships them.

usage: python benchmarks/realdata.py [darcy|darcy_networks|darcy_defaults|burgers] [folder for the reports]

Needs darcy_train_16.pt and burgers_train_16.pt in the folder that NWIDTH_REALDATA names, or in
../shared/realdata/neuralop beside the repository; says so and ends well where they are absent. 100 samples test, by one
seeded split. Methods without a network choose by 100 validation samples and learn from these too in the end; so the
networks learn Darcy from 900 samples as well, without validation, in a comparison of their own. On Burgers 100 samples
select the networks' weights. An interrupted script goes on in the same folder.

On Darcy the networks are told the symmetries of the square (``SYMMETRIES``; the kernels find theirs by trial). Settings
were chosen by the validation error of one seed. ``darcy_defaults``: 800 samples, one seed, no settings but 50 epochs.
"""

import os
import subprocess
import sys
from pathlib import Path

from nwidth.training.report import load_report

ROOT = Path(os.environ.get("NWIDTH_REALDATA", Path(__file__).parents[1] / ".." / "shared" / "realdata")) / "neuralop"
COMMON = ["split.test=100", "seeds=[0,1,2]", "threads=1"]
SYMMETRIES = "[exchange x and y,reflect x with an open end,reflect y with an open end]"
CASES = {
    "darcy": ["surrogates=[mean,linear,kernel,pod_gp]", "split.val=100"],
    "darcy_networks": ["surrogates=[mgno,unet,fno,neuralop_fno]", "split.val=0", "training.epochs=50",
                       f"training.symmetries={SYMMETRIES}", "training.average_symmetries=true",
                       "+options.mgno.training.batch_size=40", "+options.unet.network.width=16",
                       "+options.fno.optimizer.lr=0.012", "+options.fno.network.width=24",
                       "+options.fno.network.modes=12"],
    "darcy_defaults": ["surrogates=[unet,lsm,deeponet,pod_deeponet]", "split.val=100", "seeds=[0]",
                       "training.epochs=50"],
    "burgers": ["surrogates=[mean,linear,kernel,pod_gp,reduced_basis,fno,neuralop_fno]", "training.epochs=100",
                "split.val=100", "problem=burgers", "+options.fno.network.width=48", "training.batch_size=10"],
}  # fmt: skip
ASKED = {
    "darcy": {"mean": 0.50, "linear": 0.25, "kernel": 0.15},
    "darcy_networks": {"fno": 0.085, "unet": 0.07, "mgno": 0.07},
    "burgers": {"kernel": 0.003, "fno": 0.0025},
}


def main() -> None:
    names = [a for a in sys.argv[1:] if a in CASES] or list(CASES)
    folder = Path(next((a for a in sys.argv[1:] if a not in CASES), "runs/realdata"))
    for name in names:
        path = ROOT / f"{name.partition('_')[0]}_train_16.pt"
        if not path.is_file():
            print(f"{path} is not here: set NWIDTH_REALDATA to a folder that has neuralop/{path.name}")
            continue
        command = [sys.executable, "-m", "nwidth.cli", "compare", f"data.path={path}", *COMMON, *CASES[name],
                   f"hydra.run.dir={folder / name}", f"title={name.replace('_', ' ')} 16"]  # fmt: skip
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        for entry in load_report(folder / name)["summary"]:
            asked = ASKED.get(name, {}).get(entry["surrogate"])
            if asked is not None and entry["split"] == "test":
                e, cpu = entry["rel_l2"]["mean"], entry["fit_cpu_seconds"]
                print(f"{name} {entry['surrogate']}: {e:.4f}, asked at most {asked}; fit {cpu:.1f} CPU-seconds"
                      f" {'ok' if e <= asked else 'MISSED'}")  # fmt: skip


if __name__ == "__main__":
    main()
