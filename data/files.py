"""Files written whole or not at all, and states of tensors and plain numbers without pickle."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import NWidthError


@contextmanager
def whole_file(path: str | Path, *, needs_bytes: int = 0) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it there when the block ends well, remove it otherwise.

    ``needs_bytes`` is compared with the free space first, so that a full disk is told before the work.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
    except OSError as e:
        raise NWidthError(
            f"write {path}", got=f"a folder that cannot be used ({e.strerror})", fix="choose another folder"
        ) from None
    if needs_bytes > free:
        raise NWidthError(
            f"write {path}",
            got=f"{free / 2**20:.0f} MiB of free space",
            expected=f"{needs_bytes / 2**20:.0f} MiB",
            fix="free some space or choose another folder",
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as f:
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS) or "No space left" in str(e):
            raise NWidthError(
                f"write {path}",
                got=str(e.strerror or e).splitlines()[0],
                fix="free some space or choose another folder",
            ) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a small text file atomically."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically; NaN and infinity become null, since JSON has neither."""
    write_text(path, json.dumps(_plain(value), indent=1, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, float) and not (value == value and abs(value) != float("inf")):
        return None
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if hasattr(value, "item"):
        return _plain(value.item())
    return str(value)


PLAIN = {bool, int, float, str, type(None)}  # what a state may hold beside tensors, in lists and dicts


def save_state(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write nested dicts and lists of tensors, numbers, strings, booleans and None as one safetensors file.

    The tree lies as JSON in the file's metadata with tensors replaced by references, so nothing in the file can be
    code. Complex tensors lie as pairs of real numbers.
    """
    tensors: dict[str, Tensor] = {}
    tree = _strip(state, tensors, "")
    size = sum(t.nbytes for t in tensors.values())
    with whole_file(path, needs_bytes=size) as temporary:
        save_file(tensors, temporary, metadata={"nwidth": json.dumps(tree)})


def _strip(value: Any, tensors: dict[str, Tensor], name: str) -> Any:
    if isinstance(value, Tensor):
        key = name or "value"
        while key in tensors:  # {"a": {"b": x}, "a/b": y}
            key += "'"
        plain = value.detach().cpu().resolve_conj()
        tensors[key] = (torch.view_as_real(plain) if plain.is_complex() else plain).contiguous().clone()
        return {"$complex" if plain.is_complex() else "$tensor": key}
    if isinstance(value, Mapping):
        return {str(k): _strip(v, tensors, f"{name}/{k}" if name else str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        if PLAIN.issuperset(map(type, value)):
            return list(value)
        return [_strip(v, tensors, f"{name}/{i}") for i, v in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise NWidthError(
        "save_state",
        got=f"{name or 'state'} of type {type(value).__name__}",
        expected="tensors, plain numbers, strings, and lists or dicts of them",
    )


def load_state(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what ``save_state`` wrote."""
    path = Path(path)
    if not path.is_file():
        raise NWidthError(f"load {path}", got="no such file", fix="the run may not have finished: run it again")
    try:
        with safe_open(path, framework="pt", device=str(device)) as f:
            tree = json.loads((f.metadata() or {})["nwidth"])
            tensors = {k: f.get_tensor(k) for k in f.keys()}
    except (SafetensorError, KeyError, ValueError, OSError) as e:
        raise NWidthError(
            f"load {path}", got=f"content that nwidth did not write ({str(e)[:80]})", expected="a state saved by nwidth"
        ) from None

    def restore(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) in ({"$tensor"}, {"$complex"}):
                ((kind, key),) = value.items()
                if key not in tensors:
                    raise NWidthError(f"load {path}", got=f"no tensor {key!r}", expected="a whole file")
                return torch.view_as_complex(tensors[key]) if kind == "$complex" else tensors[key]
            return {k: restore(v) for k, v in value.items()}
        if not isinstance(value, list) or PLAIN.issuperset(map(type, value)):
            return value
        return [restore(v) for v in value]

    return restore(tree)
