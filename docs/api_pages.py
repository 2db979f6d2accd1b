"""For the API pages: where the package lies, as a MkDocs hook, and its docstrings as Markdown, as a Griffe extension.

The repository's root is the package, so Griffe sees it through a folder of links named nwidth. The folder lies outside
the repository and holds the packages that pyproject.toml lists; nothing is imported.
"""

import re
import shutil
import tempfile
import tomllib
from pathlib import Path

import griffe
from mkdocs.plugins import event_priority

PREFIX = "nwidth-docs-"
made: list[Path] = []


@event_priority(100)  # before mkdocstrings reads its paths
def on_config(config):
    root = Path(config.config_file_path).parent
    packages = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    made.append(folder)
    (folder / "nwidth").mkdir()
    for source in [*root.glob("*.py"), *(root / name.split(".")[1] for name in packages if name.count(".") == 1)]:
        (folder / "nwidth" / source.name).symlink_to(source)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [str(folder)]
    return config


def on_shutdown():
    while made:
        shutil.rmtree(made.pop(), ignore_errors=True)


class PlainDocstrings(griffe.Extension):
    """The package's docstrings are plain text: equations, lists of arguments, tables, doctests."""

    def on_package(self, *, pkg, **kwargs):
        stack = [pkg]
        while stack:
            item = stack.pop()
            if item.is_alias:
                continue
            if item.docstring:
                item.docstring.value = markdown(item.docstring.value)
            stack.extend(item.members.values())


def markdown(text: str) -> str:
    blocks = re.split(r"\n\s*\n", text.strip("\n"))
    return "\n\n".join(_block(b) for b in blocks)


def _block(block: str) -> str:
    lines = block.split("\n")
    if block.startswith(">>>"):
        return "\n".join(["```pycon", *lines, "```"])
    if any(line.startswith("====") for line in lines):
        return "\n".join(["```text", *lines, "```"])
    if lines[0] == "::":
        return ""
    if block.startswith("    "):
        return block  # an equation, as code
    if len(lines) > 2 and set(lines[1]) == {"-"}:
        items = [
            f"- **{name}** : {rest}" if sep else f"  {line.strip()}"
            for line in map(_escape, lines[2:])
            for name, sep, rest in [line.partition(" : ")]
        ]
        return "\n".join([f"**{lines[0]}**", "", *items])
    return _escape(block)


def _escape(text: str) -> str:
    """Markdown's signs as signs, outside backticks."""
    parts = re.split(r"(``.+?``|`[^`\n]+`)", text, flags=re.S)
    return "".join(p if i % 2 else re.sub(r"([*_<\[\]])", r"\\\1", p) for i, p in enumerate(parts))
