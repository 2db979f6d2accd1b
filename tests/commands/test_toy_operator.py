"""A new operator is one module, one export and one YAML: the tests and the command line find it by themselves."""

import shutil
from pathlib import Path

import nwidth
import pytest
from nwidth.solvers import Darcy, generate
from nwidth.training.report import load_report

MODULE = '''
"""A toy: one 3x3 convolution."""

from torch import Tensor, nn


class Toy(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, grid, *, width: int = 8):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[grid.ndim - 1]
        self.net = nn.Sequential(conv(in_channels, width, 3, padding=1), nn.GELU(), conv(width, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)
'''

YAML = """
_target_: nwidth.training.NeuralSurrogate
network:
  _target_: nwidth.operators.Toy
  _partial_: true
  width: 8
optimizer: ${optimizer}
schedule: ${schedule}
loss: ${loss}
training: ${training}
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package with the toy added, in a folder of its own."""
    folder = tmp_path_factory.mktemp("copy")
    source = Path(nwidth.__file__).parent
    names = [".git", ".venv", "__pycache__", "demo", "runs", "multirun", "site", "*.egg-info"]
    shutil.copytree(source, folder / "nwidth", ignore=shutil.ignore_patterns(*names))
    package = folder / "nwidth"
    (package / "operators" / "toy.py").write_text(MODULE)
    with open(package / "operators" / "__init__.py", "a") as f:
        f.write("from .toy import Toy as Toy\n")
    (package / "conf" / "surrogate" / "toy.yaml").write_text(YAML)
    return folder


INSTEAD = """
for name in [m for m in sys.modules if m.partition(".")[0] == "nwidth"]:
    del sys.modules[name]
import nwidth
assert os.path.dirname(os.path.dirname(nwidth.__file__)) == os.getcwd()
"""
TESTS = """
import nwidth
import pytest
sys.exit(pytest.main(arguments))
"""


@pytest.fixture
def run(copy, nwidth):
    """A command line, or other code, with the copy in place of the package."""

    def call(*arguments, code=nwidth.code):
        return nwidth(*arguments, code=INSTEAD + code, cwd=copy, PYTHONPATH=str(copy)).stdout

    return call


def test_the_toy_trains_from_the_command_line(copy, run):
    path = generate(Darcy(), 20, 16, 0, copy / "d.h5")
    assert "toy" in run("train", "--help")
    run("train", "surrogate=toy", f"data.path={path}", "training.epochs=1", "hydra.run.dir=toy_run")
    assert load_report(copy / "toy_run")["rows"][0]["surrogate"] == "toy"


def test_the_parametrised_tests_find_the_toy(run):
    words = ["-q", "-rA", "-p", "no:cacheprovider", "-k", "toy", "-c", "nwidth/pyproject.toml", "--rootdir", "nwidth"]
    out = run(*words, "nwidth/tests/training/test_surrogates.py", code=TESTS)
    assert "test_build_fit_save_load_predict[toy-darcy]" in out
    assert " failed" not in out
