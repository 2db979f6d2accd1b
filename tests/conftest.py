"""Helpers that several test files share."""

import gc
import multiprocessing
import os
import subprocess
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded, for its threads and those of child processes

import pytest
import torch


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is loaded by then stays: the garbage collector need not look through its millions of objects again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_make_collect_report(collector):
    """What a test file draws as it is loaded is the same in every run."""
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """What a test and its fixtures draw is the same in every run and order: torch's first seed is not."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def one_thread():
    """Small problems are fastest on one thread, and their sums then have one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of data sets made by others; tests that need it are skipped where it is absent."""
    named = os.environ.get("NWIDTH_REALDATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "realdata"
    if not folder.is_dir():
        pytest.skip("no folder of real data (NWIDTH_REALDATA)")
    return folder


PRELOAD = [
    *("hydra.main", "torch._dynamo", "nwidth.conf"),
    *(f"nwidth.commands.{name}" for name in ("train", "compare", "solve", "generate", "info", "sweep")),
    *(f"nwidth.training.{name}" for name in ("engine", "plots", "data_pictures", "growth", "coefficients")),
]
CHILD = """
import os, runpy, sys
import torch
os.chdir(cwd)
os.environ.update(environment)
sys.path[:0] = environment.get("PYTHONPATH", "").split(os.pathsep)
for stream, path in enumerate(outputs, 1):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
torch.set_num_threads(1)
"""
COMMAND = """
sys.argv[1:] = arguments
runpy.run_module("nwidth.cli", run_name="__main__", alter_sys=True)  # python -m nwidth.cli
"""


class CommandLine:
    """``nwidth`` in a process of its own, forked from one that has imported the package: seconds less each time."""

    code = COMMAND

    def __init__(self, folder: Path):
        self.parent = multiprocessing.get_context("forkserver")
        self.parent.set_forkserver_preload(PRELOAD)
        self.outputs = [folder / name for name in ("out", "err")]

    def start(self, *arguments, cwd, code=code, **environment):
        """The process, running; ``exitcode`` is None until it ends."""
        given = {"cwd": str(cwd), "environment": environment, "outputs": [*map(str, self.outputs)]}
        process = self.parent.Process(target=exec, args=(CHILD + code, {**given, "arguments": [*map(str, arguments)]}))
        process.start()
        return process

    def __call__(self, *arguments, cwd, check=True, **given):
        """The finished process. ``code``: what it runs instead of the command line."""
        process = self.start(*arguments, cwd=cwd, **given)
        process.join(280)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"{arguments} did not end")
        written = (p.read_text(encoding="utf-8") for p in self.outputs)
        done = subprocess.CompletedProcess(arguments, process.exitcode, *written)
        if check and done.returncode:
            raise AssertionError(f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done


@pytest.fixture(scope="session")
def nwidth(tmp_path_factory) -> CommandLine:
    return CommandLine(tmp_path_factory.mktemp("command"))
