"""One download over HTTP that goes on where it was interrupted."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import NWidthError
from .progress import bytes_bar

if TYPE_CHECKING:
    import requests

_BLOCK = 2**20
_RETRIES = 4


def size_text(size: float) -> str:
    """Bytes as people read them.

    >>> size_text(109_000_000), size_text(900)
    ('109 MB', '900 B')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


class Transfer:
    """A downloader for pooch: ``transfer(url, output_file, pooch)``.

    Bytes arrive in ``FILE.part`` beside the target. A lost connection is taken up again, up to four times in a row and
    in later calls, from the last byte (HTTP Range, guarded by If-Range, so that parts of two versions never mix). A
    server without ranges makes it start again. ``resume_unmarked`` allows to go on where the server marks versions
    neither with ETag nor with Last-Modified; only with a known checksum.

    Hugging Face's servers name the SHA-256 of a file in ``X-Linked-Etag``; it is compared where it is given.
    """

    def __init__(self, target: Path, *, resume_unmarked: bool, say: Callable[[str], None], wait: float = 1.0):
        self.part = target.with_name(target.name + ".part")
        self.mark = target.with_name(target.name + ".part.version")
        self.name, self.resume_unmarked, self.say, self.wait = target.name, resume_unmarked, say, wait
        self.total: int | None = None
        self.published: str | None = None

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        import requests

        tries = 0
        while True:
            before = self._have()
            try:
                if self._receive(url):
                    break
            except requests.exceptions.RequestException as e:
                tries = 0 if self._have() > before else tries + 1
                lost = isinstance(e, requests.exceptions.ChunkedEncodingError | requests.exceptions.ReadTimeout)
                if not (lost or self._have() > before) or tries >= _RETRIES:
                    self._fail(url, e)
                self.say(f"{self.name}: connection lost after {size_text(self._have())}; going on")
                time.sleep(self.wait * 2**tries)
        if self.published is not None:
            with open(self.part, "rb") as f:
                found = hashlib.file_digest(f, "sha256").hexdigest()
            if found != self.published:
                self._drop()
                raise NWidthError(
                    f"download {url}",
                    got=f"a file with sha256 {found}",
                    expected=f"{self.published}, as the server says",
                    fix="it was removed: try again",
                )
        os.replace(self.part, output_file)
        self._drop()

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _drop(self) -> None:
        self.part.unlink(missing_ok=True)
        self.mark.unlink(missing_ok=True)

    def _receive(self, url: str) -> bool:
        """One request; True where the file is whole."""
        import requests

        have = self._have()
        version = self.mark.read_text(encoding="utf-8") if self.mark.is_file() else ""
        headers = {"Accept-Encoding": "identity", "User-Agent": "nwidth (pooch)"}
        if have and (version or self.resume_unmarked):
            headers["Range"] = f"bytes={have}-"
            if version:
                headers["If-Range"] = version
        with requests.get(url, headers=headers, stream=True, timeout=(20, 60)) as answer:
            if answer.status_code == 416:  # the part is as long as the file, or of an older one
                self.total = _last_number(answer.headers.get("Content-Range"))
                if self.total == have:
                    return True
                self._drop()
                return False
            answer.raise_for_status()
            self._inspect(url, answer)
            if answer.status_code != 206:
                have = 0
            length = answer.headers.get("Content-Length")
            self.total = have + int(length) if length is not None else None
            self._announce(url, have)
            etag = answer.headers.get("ETag", "")
            marked = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified", "")
            self.mark.write_text(marked, encoding="utf-8")
            self._write(answer, have)
        if self.total is not None and self._have() != self.total:
            raise requests.exceptions.ChunkedEncodingError(f"{self._have()} of {self.total} bytes")
        return True

    def _inspect(self, url: str, answer: requests.Response) -> None:
        kind = answer.headers.get("Content-Type", "")
        if kind.startswith("text/html"):
            raise NWidthError(
                f"download {url}",
                got="a web page instead of a file",
                expected="the file itself",
                fix="open the address in a browser: it may ask for a log-in, or have moved; then give data.path",
            )
        for step in (*answer.history, answer):
            named = step.headers.get("X-Linked-Etag", "").strip('"')
            if len(named) == 64:
                self.published = named

    def _announce(self, url: str, have: int) -> None:
        size = "unknown size" if self.total is None else size_text(self.total)
        rest = f", {size_text(have)} of it here already" if have else ""
        self.say(f"{self.name}: {size} from {urlsplit(url).netloc} to {self.part.parent}{rest}")
        free = shutil.disk_usage(self.part.parent).free
        if self.total is not None and self.total - have > free:
            raise NWidthError(
                f"download {url}",
                got=f"{size_text(free)} of free space in {self.part.parent}",
                expected=size_text(self.total - have),
                fix="free some space, or set NWIDTH_CACHE to another folder",
            )

    def _write(self, answer: requests.Response, have: int) -> None:
        with bytes_bar(self.name, self.total, have) as advance, open(self.part, "ab" if have else "wb") as out:
            for piece in answer.iter_content(_BLOCK):
                out.write(piece)
                advance(len(piece))

    def _fail(self, url: str, error: Exception) -> None:
        import requests

        where, kept = f"download {url}", self._have()
        later = f"; the same command goes on from {size_text(kept)}" if kept else ""
        answer = getattr(error, "response", None)
        if isinstance(error, requests.exceptions.HTTPError) and answer is not None:
            raise NWidthError(
                where,
                got=f"HTTP {answer.status_code} {answer.reason}",
                expected="a file",
                fix="the publisher may have moved it: download it by hand and give data.path" + later,
            ) from None
        reason = "no answer in time" if isinstance(error, requests.exceptions.Timeout) else "no connection"
        raise NWidthError(
            where,
            got=f"{reason} to {urlsplit(url).netloc}",
            expected="network access",
            fix="try again, or download it elsewhere and give data.path" + later,
        ) from None


def _last_number(text: str | None) -> int | None:
    tail = (text or "").rsplit("/", 1)[-1]
    return int(tail) if tail.isdigit() else None
