"""The documentation says what is so: its Python runs, its command lines have keys that exist, the tour works."""

from __future__ import annotations

import doctest
import inspect
import pkgutil
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if p.parent.name != "api")]
TOUR = ("generate", "info", "train", "compare", "evaluate", "predict")
COMMANDS = (*TOUR, "convert", "fetch", "solve")
POSITIONAL = {"info": "data.path", "convert": "data.path", "fetch": "data"}
# the tour's sizes, made small enough for a test
SMALL = {
    "n=300": "n=30",
    "n=20": "n=4",
    "resolution=32": "resolution=8",
    "resolution=64": "resolution=16",
    "training.epochs=15": "training.epochs=1",
    "training.epochs=5": "training.epochs=1",
    "surrogates=[mean,linear,kernel,pod_gp,reduced_basis,fno]": "surrogates=[pod_gp,fno]",
}
LAUNCHER = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")  # a sweep in processes: commands/test_cli.py


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


def command_lines(page: Path) -> list[list[str]]:
    """The ``nwidth COMMAND ...`` lines of a page's shell blocks, as lists of arguments."""
    whole = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    found = [shlex.split(line) for line in whole.splitlines() if line.startswith("nwidth ")]
    return [words[1:] for words in found if words[1] in COMMANDS]


def ids(page: Path) -> str:
    return page.name


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=ids)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": page.stem}
    for i, code in enumerate(blocks(page, "python")):
        where = f"{page.name}, block {i + 1}"
        if ">>> " in code:
            test = doctest.DocTestParser().get_doctest(code, names, where, str(page), 0)
            runner = doctest.DocTestRunner(verbose=False)
            runner.run(test, clear_globs=False)
            assert runner.summarize(verbose=False).failed == 0, where
            names = test.globs
        else:
            exec(compile(code, where, "exec", dont_inherit=True), names)


def choices_and_words() -> dict[tuple[str, ...], dict[str, str]]:
    """All overrides of the pages' command lines and the page of each, by command and what it chooses of the groups."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create()
    groups = {f.name for f in (ROOT / "conf").iterdir() if f.is_dir()}
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for page in PAGES:
        for command, *rest in command_lines(page):
            words = [w for w in rest if w not in ("-m", "--multirun")]
            if command in POSITIONAL and "=" not in words[0]:
                words[0] = f"{POSITIONAL[command]}={words[0]}"
            chosen, given = [command], []
            for word, override in zip(words, parser.parse_overrides(words)):
                key = override.get_key_element()
                if override.is_sweep_override():  # one job of a sweep stands for all
                    word = f"{key}={next(iter(override.sweep_string_iterator()))}"
                (chosen if key in groups or key.startswith("hydra/") else given).append(word)
            found.setdefault(tuple(chosen), {}).update(dict.fromkeys(given, page.name))
    return found


def side_by_side(found: dict[tuple[str, ...], dict[str, str]]) -> dict[tuple[str, ...], dict[str, str]]:
    """Lines of a command that choose a surrogate, or a problem, and no more are composed together: much faster."""
    merged: dict[tuple[str, ...], dict[str, str]] = {}
    for (command, *chosen), words in found.items():
        group, _, name = chosen[0].partition("=") if len(chosen) == 1 else ("", "", "")
        if group in ("surrogate", "problem") and not any(word.startswith(f"{group}@") for word in words):
            chosen = []
            own = {re.sub(rf"^(\+*){group}\.", rf"\1every.{name}.", word): page for word, page in words.items()}
            words = {f"+{group}@every.{name}={name}": "", **own}
        merged.setdefault((command, *chosen), {}).update(words)
    return merged


def test_command_lines_name_keys_that_exist():
    from hydra import compose, initialize_config_module

    with initialize_config_module("nwidth.conf", version_base="1.3"):
        for (command, *chosen), words in side_by_side(choices_and_words()).items():
            try:
                whole = compose(command, overrides=[*chosen, *words], return_hydra_config=True)
            except Exception as error:
                raise AssertionError(f"nwidth {command} {' '.join(chosen)}: {words}") from error
            assert whole.command == command


def test_the_tour_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    from nwidth import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    tour = re.search(r"start:tour.*end:tour", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert tour is not None
    page = tmp_path / "tour.md"
    page.write_text(tour.group(0), encoding="utf-8")
    lines = command_lines(page)
    assert {words[0] for words in lines} >= set(TOUR)
    for words in lines:
        small = [SMALL.get(w, w) for w in words if w not in LAUNCHER] + ["threads=1"]
        monkeypatch.setattr(sys, "argv", ["nwidth", *small])
        try:
            cli.main()
        except SystemExit as stop:
            assert not stop.code, f"{small}: {capfd.readouterr().err}"
    for made in (
        "first/report.html",
        "fno_h1/model.safetensors",
        "sweep/3/report.json",
        "swept/report.html",
        "answers.h5",
    ):
        assert (tmp_path / made).is_file(), made


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=ids)
def test_examples_run(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script), run_name="__main__")
    said = capsys.readouterr().out
    assert re.search(r"0\.\d{4}", said), said


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "api").glob("*.md")), ids=lambda p: p.stem)
def test_api_pages_name_what_exists(page: Path):
    """The API pages take docstrings from where a thing is written, not from where it is exported."""
    for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.M):
        thing = pkgutil.resolve_name(name)
        home = thing.__name__ if inspect.ismodule(thing) else f"{thing.__module__}.{thing.__qualname__}"
        assert home == name


def test_links_lead_somewhere():
    for page in [*PAGES, *(ROOT / name for name in ("DESIGN.md", "CONTRIBUTING.md", "CHANGELOG.md"))]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
