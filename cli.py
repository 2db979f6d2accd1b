"""The command line: ``nwidth <command> [overrides]``, one Hydra config a command."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any

COMMANDS = {
    "generate": "make a data set from a problem:      nwidth generate problem=burgers n=512 resolution=128 out=b.h5",
    "info": "look into a data file:               nwidth info b.h5",
    "convert": "write it in nwidth's own layout:     nwidth convert mine.mat out=mine.h5",
    "fetch": "download a public data set:          nwidth fetch pdebench_darcy",
    "train": "fit one surrogate:                   nwidth train surrogate=fno data.path=b.h5",
    "compare": "fit several and report:              nwidth compare data.path=b.h5 surrogates=[mean,linear,kernel,fno]",
    "evaluate": "measure a run on another file:       nwidth evaluate run=DIR data.path=other.h5",
    "predict": "solutions of a run for new inputs:   nwidth predict run=DIR data.path=in.h5 out=pred.h5",
    "solve": "one equation, with error bars:       nwidth solve problem=poisson_sin100 solver=gp",
}

HELP = """nwidth: the cheapest surrogate you can trust, for PDE data.

usage: nwidth <command> [key=value ...]

{commands}

nwidth <command> --help           the command's options on one screen
nwidth <command> ... --cfg job    the resolved config, without running
nwidth train -m surrogate=fno,kernel seed=0,1,2 hydra/launcher=joblib   a sweep
nwidth <command> --config-dir DIR your own configs beside the packaged ones
NWIDTH_TRACEBACK=1                full tracebacks with errors
"""


def main() -> None:
    """Entry point of the console script; exits with 0, 2 for bad input, 130 when interrupted, 1 otherwise."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP.format(commands="\n".join(f"  {k:<9} {v}" for k, v in COMMANDS.items())))
        sys.exit(0 if arguments else 2)
    if arguments[0] in ("-V", "--version"):
        from . import __version__

        print(f"nwidth {__version__}")
        sys.exit(0)
    if arguments[0] in COMMANDS:
        command, rest = arguments[0], arguments[1:]
        if "--help" in rest or "-h" in rest:
            from .commands.help import text

            print(text(command, _config_folders(rest)), end="")
            sys.exit(0)
        if command in ("info", "convert", "fetch") and rest and "=" not in rest[0] and not rest[0].startswith("-"):
            rest = [f"data={rest[0]}" if command == "fetch" else f"data.path={_quoted(rest[0])}", *rest[1:]]
        # rewritten in place: launchers that start the process again repeat a command line that works
        sys.argv[1:] = ["--config-name", command, *rest]
    elif arguments[0] != "--config-name":
        print(f"nwidth: got the command {arguments[0]!r}, expected one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    # threads that spin while they wait make small trainings ten times slower on cores that others use as well
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # let errors through, to be told in one line below
    try:
        _run_hydra()
    except KeyboardInterrupt:
        print(
            "\ninterrupted; the same command with the same hydra.run.dir goes on from the last checkpoint",
            file=sys.stderr,
        )
        sys.exit(130)
    except SystemExit:
        raise
    except BaseException as error:
        if os.environ.get("NWIDTH_TRACEBACK"):
            traceback.print_exc()
        line = _one_line(error)
        if line is None:
            if not os.environ.get("NWIDTH_TRACEBACK"):
                traceback.print_exc()
            sys.exit(1)
        print(f"nwidth: {line}", file=sys.stderr)
        sys.exit(2)


def _quoted(path: str) -> str:
    return "'" + path.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _config_folders(arguments: list[str]) -> list[str]:
    """What --config-dir names, as two words or one."""
    pairs = [b for a, b in zip(arguments, arguments[1:]) if a in ("--config-dir", "-cd")]
    return pairs + [a.split("=", 1)[1] for a in arguments if a.startswith("--config-dir=")]


def _run_hydra() -> None:
    import hydra

    from .commands.search import put_first
    from .commands.sweep import SweepSummary

    failure: list[BaseException] = []

    def job(cfg: Any) -> Any:
        try:
            return run_job(cfg)
        except Exception as error:
            failure.append(error)  # raised below, past Hydra's own report of it
            return None

    for folder in _config_folders(sys.argv[1:]):
        put_first(folder)
    hydra.main(version_base="1.3", config_path="pkg://nwidth.conf", config_name=None)(job)()
    if failure:
        raise failure[0]
    if SweepSummary.failed:
        sys.exit(1)


def run_job(cfg: Any) -> Any:
    """One Hydra job: resolve the config and call the command that it names."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from .errors import NWidthError

    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    sweeping = hydra_config.mode == RunMode.MULTIRUN
    try:
        config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
        if config["command"] not in COMMANDS:
            raise NWidthError("config", got=f"command: {config['command']!r}", expected="one of " + ", ".join(COMMANDS))
        if config["command"] in ("train", "compare"):
            config["name"] = hydra_config.runtime.choices.get("surrogate")
        if config["command"] == "compare":
            config["resolved"] = _resolve_surrogates(config, list(hydra_config.overrides.task))
        return importlib.import_module(f"nwidth.commands.{config['command']}").run(_own(config), folder)
    except Exception as error:
        if not sweeping:
            raise
        # in a sweep one job's failure is told and kept beside its folder; the others go on
        line = _one_line(error)
        text = line if line is not None else traceback.format_exc()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").write_text(text, encoding="utf-8")
        print(f"job {hydra_config.job.num} failed: {text}", file=sys.stderr)
        return float("nan")


def _own(config: dict[str, Any]) -> dict[str, Any]:
    """What a run's config.yaml keeps: everything that its result depends on, resolved."""
    if config["command"] == "train":
        keys = ("command", "name", "seed", "threads", "data", "split", "surrogate")
        return {k: config[k] for k in keys}
    return config


def _resolve_surrogates(config: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """The config of each surrogate named, composed with the command's own overrides and its ``options``."""
    from hydra import compose
    from omegaconf import OmegaConf

    from .errors import NWidthError

    names = [config["surrogates"]] if isinstance(config["surrogates"], str) else list(config["surrogates"] or [])
    if not names and not config["runs"]:
        raise NWidthError("compare", got="no surrogates", expected="surrogates=[mean,linear,...] or runs=[DIR,...]")
    unknown = set(config["options"] or {}) - set(names)
    if unknown:
        raise NWidthError("options", got=f"{sorted(unknown)}", expected="surrogates of this comparison")
    kept = [o for o in overrides if o.lstrip("+~").split("=")[0].split("@")[0] not in ("surrogate", "surrogates")]
    found = {}
    for name in names:
        whole = compose("compare", overrides=[*kept, f"surrogate={name}"])
        own = whole.surrogate
        if config["options"] and name in config["options"]:
            _open_empty(own)
            own = OmegaConf.merge(own, OmegaConf.create(config["options"][name]))
            whole.surrogate = own
        found[name] = OmegaConf.to_container(whole, resolve=True)["surrogate"]  # type: ignore[index,call-overload]
    return found


def _open_empty(node: Any) -> None:
    """Let keys be added where a config has an empty mapping, as the options of a foreign model are."""
    from omegaconf import DictConfig, OmegaConf

    for key in node:
        child = None if OmegaConf.is_interpolation(node, key) else node[key]
        if isinstance(child, DictConfig):
            if len(child):
                _open_empty(child)
            else:
                OmegaConf.set_struct(child, False)


def _one_line(error: BaseException) -> str | None:
    """The message for the user where the error is about their input; None for a defect of ours."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from .errors import NWidthError

    if isinstance(error, NWidthError):
        return str(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return " ".join(lines)[:1000] + "; see nwidth <command> --help"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'file system'}: {error.strerror}; free some space, or choose another file or folder"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory; lower training.batch_size, data.n or data.stride"
    return None


if __name__ == "__main__":
    main()
