"""Every example in a docstring runs."""

import doctest
import importlib
import pkgutil

import nwidth
import pytest

MODULES = ["nwidth", *sorted(m.name for m in pkgutil.walk_packages(nwidth.__path__, "nwidth."))]


@pytest.mark.parametrize("module", MODULES)
def test_examples(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(module))
    assert result.failed == 0


def test_modules_were_found_and_have_examples():
    assert {
        "nwidth.cli",
        "nwidth.data.readers.pdebench",
        "nwidth.solvers.reduced.pod",
        "nwidth.training.engine",
        "nwidth.commands.train",
    } <= set(MODULES)
    finder = doctest.DocTestFinder()
    with_examples = [m for m in MODULES if any(t.examples for t in finder.find(importlib.import_module(m)))]
    assert len(with_examples) >= 20
