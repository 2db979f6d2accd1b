"""Imports run one way, libraries are called from their one home, and the command line starts fast."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import nwidth
import pytest

ROOT = Path(nwidth.__file__).parent
FOLDERS = ("backends", "data", "operators", "solvers", "gp", "training", "commands")
TOP = (*FOLDERS, "conf", "benchmarks", "examples", "docs", "cli", "build", "errors")
SOURCES = [p for f in FOLDERS for p in sorted((ROOT / f).rglob("*.py"))] + [
    ROOT / f"{m}.py" for m in ("__init__", "build", "cli", "errors")
]

ALLOWED = {
    "errors": set(),
    "build": {"errors"},
    "backends": {"errors"},
    "data": {"errors", "backends"},
    "operators": {"errors", "build", "backends", "data"},
    "solvers": {"errors", "build", "backends", "data"},
    "gp": {"errors", "build", "backends", "data"},
    "training": {"errors", "build", "backends", "data", "operators", "solvers", "gp"},
    "commands": {"errors", "build", "backends", "data", "operators", "solvers", "gp", "training"},
    "cli": {"errors", "build", "commands"},
    "__init__": set(),
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def nodes(source: str) -> list[ast.AST]:
    return [*ast.walk(ast.parse(source))]


def imported(path: Path) -> set[str]:
    """Dotted names within the package that a file imports, also inside functions."""
    package = path.relative_to(ROOT).parts[:-1]
    found = set()
    for node in nodes(path.read_text()):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            stem = [*base, *(node.module.split(".") if node.module else [])]
            found |= {".".join([*stem, a.name]) for a in node.names} if not node.module else {".".join(stem)}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nwidth":
            found.add(node.module.partition(".")[2])
        elif isinstance(node, ast.Import):
            found |= {a.name.partition(".")[2] for a in node.names if a.name.split(".")[0] == "nwidth"}
    return found


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_run_one_way(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    others = {m.split(".")[0] for m in imported(path)} - {own, "__version__"}
    assert others <= ALLOWED[own], f"{name(path)} imports {sorted(others - ALLOWED[own])}"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_inside_are_relative(path):
    for node in nodes(path.read_text()):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert (node.module or "").split(".")[0] not in ("nwidth", *FOLDERS, "tests"), ast.unparse(node)
        if isinstance(node, ast.Import):
            assert all(a.name.split(".")[0] not in ("nwidth", *FOLDERS, "tests") for a in node.names), ast.unparse(node)


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


OWNED = (
    "torch.fft",
    "torch.linalg.svd",
    "torch.linalg.svdvals",
    "torch.svd",
    "torch.svd_lowrank",
    "torch.pca_lowrank",
    "scipy.fft",
    "scipy.fftpack",
    "scipy.linalg.svd",
    "scipy.linalg.svdvals",
    "np.fft",
    "numpy.fft",
    "np.linalg.svd",
    "numpy.linalg.svd",
)


def calls(source: str) -> set[str]:
    """Owned functions that a source names, by attribute or by import."""
    names = set()
    for node in nodes(source):
        if isinstance(node, ast.Attribute):
            names.add(dotted(node))
        elif isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {f"{node.module}.{a.name}" for a in node.names} | {str(node.module)}
    return {n for n in names for o in OWNED if n == o or (n.startswith(o + ".") and o.endswith("fft"))}


@pytest.mark.parametrize("path", [p for p in SOURCES if "backends" not in p.parts], ids=name)
def test_transforms_and_singular_values_have_one_home(path):
    assert calls(path.read_text()) == set()


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.fft.rfft(1)",
        "from torch import fft",
        "import scipy.fft as f",
        "from torch.linalg import svd",
        "import numpy as np\nnp.linalg.svd(1)",
    ],
)
def test_the_guard_sees_calls(source):
    assert calls(source)


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/").stdout


def test_nothing_leaks_to_the_top_level():
    """No file of the package is imported as a module beside it, whatever else has run in this process."""
    for module in pkgutil.walk_packages(nwidth.__path__, "nwidth."):
        importlib.import_module(module.name)
    found = {m: sys.modules[m] for m in TOP if m in sys.modules}
    homes = {m: Path(module.__file__ or next(iter(module.__path__))).resolve() for m, module in found.items()}
    assert [m for m, home in homes.items() if home.is_relative_to(ROOT.resolve())] == []


@pytest.mark.parametrize(
    "code",
    [
        "import nwidth",
        "import nwidth, nwidth.errors; nwidth.__version__; dir(nwidth)",
        "import sys; sys.argv = ['nwidth', '--help']\nfrom nwidth.cli import main\n"
        "try: main()\nexcept SystemExit as e: assert not e.code\n",
        "import sys; sys.argv = ['nwidth', '--version']\nfrom nwidth.cli import main\n"
        "try: main()\nexcept SystemExit as e: assert not e.code\n",
    ],
)
def test_the_front_door_opens_without_heavy_libraries(code):
    heavy = ("torch", "numpy", "scipy", "h5py", "gpytorch", "lightning", "matplotlib", "neuralop", "hydra")
    said = run(f"{code}\nimport sys; print('loaded', [m for m in {heavy!r} if m in sys.modules])")
    assert said.endswith("loaded []\n")


def test_public_names():
    for public in nwidth.__all__:
        assert getattr(nwidth, public) is not None
    with pytest.raises(AttributeError, match="nothing"):
        nwidth.nothing  # noqa: B018


def test_every_package_is_listed_for_the_wheel():
    import tomllib

    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("not a source tree")
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        "nwidth",
        *(
            "nwidth." + ".".join(p.parent.relative_to(ROOT).parts)
            for f in (*FOLDERS, "conf")
            for p in (ROOT / f).rglob("__init__.py")
        ),
    }
    assert set(listed) == found
    assert not (ROOT / "conftest.py").exists() and not list((ROOT / "tests").rglob("__init__.py"))
