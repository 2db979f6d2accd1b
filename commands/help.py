"""Help that fits one screen, told without importing anything heavy."""

from __future__ import annotations

from pathlib import Path

TEXTS = {
    "train": """\
nwidth train: fit one surrogate, measure it on the validation and test split, keep everything in one folder.

  nwidth train surrogate=NAME data.path=FILE [key=value ...]

surrogate=NAME            $SURROGATES
data.path=FILE            .h5 .pt .mat .npz; data.fields.u=KEY data.axes.u=ntx ... where the file is not known
data.test_path= data.val_path=   separate files, instead of a split
split=random|ordered|parameter|time   split.test=0.1 split.val=0.1 split.seed=0 (counts or fractions)
seed=0  threads=auto      randomness of the fit; CPU threads
training.epochs=50        also steps, time_budget (s), batch_size, val_every, patience, clip, precision,
                          device, compile, time=channels|axis|rollout for time-dependent data
loss=l2|h1  optimizer=muon|adamw|adam  optimizer.lr=...  schedule=onecycle|cosine|step|constant
surrogate.KEY=VALUE       the surrogate's own options; print them with: nwidth train surrogate=NAME --cfg job
problem=NAME              the equation, for reduced_basis on a file that does not say it
hydra.run.dir=DIR         the run's folder; the same command with the same folder goes on after an interruption
-m key=v1,v2              a sweep, in parallel with hydra/launcher=joblib
""",
    "compare": """\
nwidth compare: fit several surrogates on one data set, measure them alike, and write one report.

  nwidth compare data.path=FILE surrogates=[NAME,...] [key=value ...]
  nwidth compare runs=[DIR,...]

surrogates=[NAME,...]     $SURROGATES
seeds=[0,1,2]             one fit a seed, where the method uses it
+options.NAME.KEY=VALUE   an option of one surrogate: +options.fno.network.width=64
data.path=FILE            .h5 .pt .mat .npz; data.fields.u=KEY data.axes.u=ntx ... where the file is not known
data.test_path= data.val_path=   separate files, instead of a split
split=random|ordered|parameter|time   split.test=0.1 split.val=0.1 split.seed=0 (counts or fractions)
training.epochs=50 ...    training of every network, as in nwidth train --help
problem=NAME              the equation, for reduced_basis on a file that does not say it
threads=auto  title=TEXT
hydra.run.dir=DIR         the report's folder; the same command with the same folder goes on where it stopped

Writes report.json, report.html, PNG pictures, and each run in a folder of its own.
""",
    "evaluate": """\
nwidth evaluate: measure a finished run on another file, at any resolution of the same domain.

  nwidth evaluate run=DIR [data.path=FILE] [key=value ...]

run=DIR            folder of a run of nwidth train, or of one row of nwidth compare
data.path=FILE     the data; without it the run's own test split
part=test          only the samples of a split that the file stores
hydra.run.dir=DIR  where report.json goes
""",
    "predict": """\
nwidth predict: solutions of a finished run for the inputs of a file, written as a data set.

  nwidth predict run=DIR data.path=IN.h5 out=OUT.h5 [key=value ...]

run=DIR            folder of a run of nwidth train, or of one row of nwidth compare
data.path=FILE     inputs; any resolution of the same domain
out=FILE           u for each input, and std beside it where the surrogate gives one
overwrite=false
""",
    "info": """\
nwidth info: format, fields, grid, times, defects, repeated samples, and the n-width curve of a file.

  nwidth info FILE [key=value ...]

plot=true          pictures of the curve and of samples, in hydra.run.dir
out=FILE.json      the same facts as JSON
max_samples=1000   samples for the n-width curve
data.fields.u=KEY data.fields.a=KEY data.axes.u=ntx data.coordinates.x=KEY   where the file is not known
""",
    "convert": """\
nwidth convert: any readable data as one file in nwidth's own layout: chunks with checksums, readable with h5py alone.

  nwidth convert FILE out=FILE.h5 [key=value ...]
  nwidth convert data=NAME out=FILE.h5

data.test_path= data.val_path=   files that become splits of the one file
dtype=float32|float64     of the fields; as in the source otherwise
compression=lzf|gzip      none otherwise
overwrite=false
data.fields.u=KEY data.fields.a=KEY data.axes.u=ntx data.coordinates.x=KEY   where the file is not known
data.n= data.stride= data.time_stride=   a part of it only
""",
    "fetch": """\
nwidth fetch: download a public data set into the cache, or check the checksums of what is there.

  nwidth fetch NAME

NAME                      $DATA
NWIDTH_CACHE=DIR          environment: the cache folder

Every command takes data=NAME instead of data.path=FILE, and fetches what is missing. Interrupted downloads go on.
""",
    "solve": """\
nwidth solve: the solution of one equation, with error bars; no data.

  nwidth solve problem=NAME [solver=gp|gp_kronecker|chebyshev|reference] [key=value ...]

problem=NAME       $EQUATIONS
problem.points= problem.jitter= 'problem.solution="sin(30*x)"'   print all with: nwidth solve problem=NAME --cfg job
solver.KEY=VALUE   the solver's options
cloud=FILE.npz     an irregular domain: interior (n, d), boundary (m, d), values (m)
observations=FILE.npz   values of the solution: points (n, d), values (n), std
out=FILE.npz resolution=401   points, mean, std on a grid
plot=true          solution, error and spectrum, in hydra.run.dir

An equation of your own: a class, a config and NWIDTH_TRUST, see docs/gp/solving.md.
""",
    "generate": """\
nwidth generate: solve a problem for random inputs and write a data set.

  nwidth generate problem=NAME n=1024 resolution=64 seed=0 out=FILE.h5 [key=value ...]

problem=NAME       $PROBLEMS
problem.KEY=VALUE  the problem's parameters; print them with: nwidth generate problem=NAME --cfg job
n= resolution= seed=   sample i depends on (seed, i) alone; resolution may be a list, one size an axis
splits.train=800 splits.val=100 splits.test=124   stored in the file
dtype=float32  device=cpu  block=256  overwrite=false
An interrupted run goes on when it is called again, and gives the same values.
""",
}


def text(command: str, folders: list[str]) -> str:
    """The command's help with the configs that are there now, the packaged ones and those of ``folders``."""
    roots = [Path(__file__).parent.parent / "conf", *map(Path, folders)]
    filled = TEXTS[command].replace("$EQUATIONS", _listed(_problems(roots, equations=True)))
    filled = filled.replace("$PROBLEMS", _listed(_problems(roots, equations=False)))
    for mark, group in (("$SURROGATES", "surrogate"), ("$DATA", "data")):
        filled = filled.replace(
            mark, _listed({p.stem for root in roots for p in (root / group).glob("*.yaml")} - {"file"})
        )
    return filled


def _problems(roots: list[Path], equations: bool) -> set[str]:
    """Problems of data, or single equations; those of a user's folder are listed with both."""
    files = list((roots[0] / "problem").glob("*.yaml"))
    packaged = {p.stem for p in files if ("nwidth.gp.pde." in p.read_text(encoding="utf-8")) == equations}
    return packaged | {p.stem for root in roots[1:] for p in (root / "problem").glob("*.yaml")}


def _listed(names: set[str]) -> str:
    lines, line = [], ""
    for name in sorted(names):
        if len(line) + len(name) > 82:
            lines.append(line)
            line = ""
        line += name + "  "
    return ("\n" + 26 * " ").join([*lines, line.rstrip()])
