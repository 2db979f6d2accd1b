"""Public data sets: configs of the group ``data`` name URL and checksum; files are downloaded once, into a cache.

::

    download:
      url: https://...          # one entry, or a list of them
      file: source/name.h5      # place below the cache folder
      hash: md5:...             # or sha256:...; null where the publisher gives none
      use: path                 # path, test_path or val_path: the key of the data group that it fills
      members: {path: a.pt, test_path: b.pt}   # files to take out of a .tgz, .tar or .zip, instead of ``use``

The cache is the folder ``NWIDTH_CACHE``, or nwidth's place among the user's caches. Beside each file lies its
checksum, in the form that ``sha256sum -c`` reads: the published one, or that of the first download. Nothing that is
downloaded is ever executed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

from ..errors import NWidthError
from .files import whole_file, write_text
from .transfer import Transfer

PLACES = ("path", "test_path", "val_path")
Say = Callable[[str], None]


def cache_folder() -> Path:
    """Where downloads lie: ``NWIDTH_CACHE``, or ``~/.cache/nwidth`` and its like on other systems."""
    import pooch

    return Path(os.environ.get("NWIDTH_CACHE") or pooch.os_cache("nwidth"))


def ensure(config: Mapping[str, Any], *, check: bool = False, say: Say | None = None) -> dict[str, Any]:
    """The ``data`` config with local paths, downloading what is not in the cache; unchanged where it has a path.

    Several files for one key become a list. With ``check`` cached files are hashed again; otherwise only those that
    changed after they were last hashed.

    >>> ensure({"path": "mine.h5", "download": None})
    {'path': 'mine.h5', 'download': None}
    """
    found = dict(config)
    entries = config.get("download")
    if not entries or config.get("path"):
        return found
    places: dict[str, list[str]] = {}
    for entry in [entries] if isinstance(entries, Mapping) else entries:
        for use, path in fetch(entry, check=check, say=say).items():
            places.setdefault(use, []).append(str(path))
    if "path" not in places:
        raise NWidthError("data.download", got=f"files for {sorted(places)}", expected="one for path")
    for use, paths in places.items():
        if not found.get(use):
            found[use] = paths[0] if len(paths) == 1 else paths
    return found


def fetch(entry: Mapping[str, Any], *, check: bool = False, say: Say | None = None) -> dict[str, Path]:
    """The files of one entry of ``download`` by the key that they fill, from the cache or from its URL."""
    say = say or _to_stderr
    url, file, known, members, use = _checked(entry)
    target = cache_folder() / file
    if not members:
        with _locked(target):
            if not _in_cache(target, known, check, say):
                _download(url, target, known, say)
        return {use: target}
    folder = target.parent / re.sub(r"\.(tar\.\w+|\w+)$", "", target.name)
    places = {place: folder / PurePosixPath(name).name for place, name in members.items()}
    with _locked(target):
        if not all(_in_cache(path, None, check, say) for path in places.values()):
            if not _in_cache(target, known, check, say):
                _download(url, target, known, say)
            for place, name in members.items():
                _extract(target, name, places[place])
                _record(places[place], "sha256", _digest(places[place], "sha256"))
            for path in (target, *_records(target)):
                path.unlink(missing_ok=True)
    return places


def _checked(entry: Mapping[str, Any]) -> tuple[str, PurePosixPath, str | None, Mapping[str, str], str]:
    allowed = {"url", "file", "hash", "use", "members"}
    if not isinstance(entry, Mapping) or not {"url", "file"} <= set(entry) or set(entry) - allowed:
        got = sorted(entry) if isinstance(entry, Mapping) else repr(entry)
        raise NWidthError("data.download", got=f"{got}", expected="url and file, and if wanted hash, use, members")
    url, file, known = str(entry["url"]), PurePosixPath(str(entry["file"])), entry.get("hash")
    where = f"data.download {file}"
    if urlsplit(url).scheme not in ("http", "https"):
        raise NWidthError(where, got=f"url {url}", expected="http:// or https://")
    if file.is_absolute() or ".." in file.parts:
        raise NWidthError(where, got=f"file {file}", expected="a path below the cache folder")
    if known is not None and not re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", str(known)):
        raise NWidthError(where, got=f"hash {known}", expected="md5:HEX, sha256:HEX or null")
    members, use = entry.get("members") or {}, entry.get("use") or "path"
    if use not in PLACES or set(members) - set(PLACES):
        raise NWidthError(where, got=f"use={use!r}, members for {sorted(members)}", expected="some of " + str(PLACES))
    return url, file, known, members, use


def _in_cache(path: Path, known: str | None, check: bool, say: Say) -> bool:
    """Whether the file is there as it was downloaded; a damaged one is removed."""
    if not path.is_file():
        return False
    method = known.split(":")[0] if known else "sha256"
    record = path.with_name(f"{path.name}.{method}")
    recorded = record.read_text(encoding="utf-8").split(maxsplit=1)[0] if record.is_file() else None
    expected = known.split(":")[1] if known else recorded
    unchanged = recorded == expected and record.is_file() and record.stat().st_mtime_ns >= path.stat().st_mtime_ns
    if recorded is not None and unchanged and not check:
        return True
    found = _digest(path, method)
    if expected is None:
        say(f"{path.name}: no checksum is published; recorded {method} {found}")
    elif found != expected:
        say(f"{path.name}: the cached file does not match its checksum; it is downloaded again")
        path.unlink()
        return False
    _record(path, method, found)
    return True


def _download(url: str, target: Path, known: str | None, say: Say) -> None:
    """One file, checked before it gets its name; recorded checksums stay binding for later downloads."""
    import pooch

    record = target.with_name(target.name + ".sha256")
    if known is None and record.is_file():
        known = "sha256:" + record.read_text(encoding="utf-8").split(maxsplit=1)[0]
    transfer = Transfer(target, resume_unmarked=known is not None, say=say)
    pooch.get_logger().setLevel("WARNING")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(url, known_hash=known, fname=target.name, path=target.parent, downloader=transfer)
    except NWidthError:
        raise
    except ValueError as e:  # what pooch raises where the checksum differs; it has removed the file
        raise NWidthError(
            f"download {url}",
            got=f"a file with another checksum ({str(e).split('expected ')[-1].split('. ')[0]})",
            expected=known or "the published one",
            fix="it was removed: try again; if it stays so, the publisher changed the file",
        ) from None
    except OSError as e:
        raise NWidthError(
            f"download {url}",
            got=f"{e.strerror or e} in {target.parent}",
            fix="free some space, or set NWIDTH_CACHE to another folder",
        ) from None
    method = known.split(":")[0] if known else "sha256"
    digest = known.split(":")[1] if known else _digest(target, method)
    if known is None:
        say(f"{target.name}: no checksum in the config; recorded {method} {digest} for later downloads")
    _record(target, method, digest)


def _extract(archive: Path, name: str, target: Path) -> None:
    """One regular file out of an archive, written whole; nothing else of the archive is touched."""
    where = f"extract {name} from {archive.name}"
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as z:
                member = _pick(where, name, [i.filename for i in z.infolist() if not i.is_dir()])
                with z.open(member) as source:
                    _copy(source, target, z.getinfo(member).file_size)
        else:
            with tarfile.open(archive) as tar:
                files = {m.name: m for m in tar.getmembers() if m.isfile()}
                picked = files[_pick(where, name, list(files))]
                source_file = tar.extractfile(picked)
                assert source_file is not None  # a regular file
                with source_file:
                    _copy(source_file, target, picked.size)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as e:
        raise NWidthError(
            where, got=f"an archive that cannot be read ({str(e)[:80]})", fix="remove it, fetch again"
        ) from e


def _pick(where: str, name: str, names: list[str]) -> str:
    found = [n for n in names if n == name] or [n for n in names if PurePosixPath(n).name == PurePosixPath(name).name]
    if len(found) != 1:
        raise NWidthError(where, got=f"the files {', '.join(names)[:300]}", expected=f"one called {name}")
    return found[0]


def _copy(source: IO[bytes], target: Path, size: int) -> None:
    with whole_file(target, needs_bytes=size) as temporary, open(temporary, "wb") as out:
        shutil.copyfileobj(source, out, 2**20)


def _digest(path: Path, method: str) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, method).hexdigest()


def _record(path: Path, method: str, digest: str) -> None:
    write_text(path.with_name(f"{path.name}.{method}"), f"{digest}  {path.name}\n")


def _records(path: Path) -> list[Path]:
    return [path.with_name(f"{path.name}.{method}") for method in ("md5", "sha256")]


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """One process downloads a file, others that want it wait; the lock ends with its process."""
    import fcntl

    lock = target.with_name(f".{target.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError as e:
        raise NWidthError(
            f"cache {target.parent}",
            got=f"a folder that cannot be used ({e.strerror})",
            fix="set NWIDTH_CACHE to another folder",
        ) from None
    with open(lock, "rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)
