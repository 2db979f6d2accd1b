"""Downloads from a server on this machine: whole, missing, damaged, interrupted, changed, packed."""

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from nwidth.data import download
from nwidth.data.download import ensure, fetch
from nwidth.data.transfer import Transfer
from nwidth.errors import NWidthError

BODY = bytes(range(256)) * 20_000  # 5 MB: several blocks
SHA256 = "sha256:" + hashlib.sha256(BODY).hexdigest()
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()


class Files(BaseHTTPRequestHandler):
    """Files with ranges and entity tags; ``cut`` bytes are sent of the next answers, then the connection ends."""

    files: dict[str, bytes] = {}
    headers_of: dict[str, dict[str, str]] = {}
    cut: list[int] = []
    ranges = True
    seen: list[tuple[str, str | None]] = []

    def do_GET(self):
        asked = self.headers.get("Range")
        self.seen.append((self.path, asked))
        if self.path not in self.files:
            self.send_error(404)
            return
        body, start = self.files[self.path], 0
        tag = '"' + hashlib.md5(body).hexdigest() + '"'
        if asked and self.ranges and self.headers.get("If-Range", tag) == tag:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked).group(1))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        for name, value in ({"ETag": tag} | self.headers_of.get(self.path, {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[start : start + self.cut.pop(0)] if self.cut else body[start:])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("NWIDTH_CACHE", str(tmp_path / "cache"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    handler = type("Handler", (Files,), {"files": {"/a.h5": BODY}, "headers_of": {}, "cut": [], "seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        handler.url = f"http://127.0.0.1:{running.server_address[1]}"
        yield handler
        running.shutdown()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    plain = Transfer.__init__
    monkeypatch.setattr(Transfer, "__init__", lambda self, *a, **k: plain(self, *a, **(k | {"wait": 0.0})))


def entry(server, known=None, file="set/a.h5", path="/a.h5", **more):
    return {"url": server.url + path, "file": file, "hash": known, **more}


def left(cache: Path) -> set[str]:
    return {p.name for p in cache.rglob("*") if p.is_file() and not p.name.endswith(".lock")}


@pytest.mark.parametrize("known", [SHA256, MD5])
def test_a_file_is_downloaded_once_and_checked(server, tmp_path, known):
    said = []
    path = fetch(entry(server, known), say=said.append)["path"]
    assert path == tmp_path / "cache" / "set" / "a.h5" and path.read_bytes() == BODY
    assert "5.12 MB" in said[0] and "127.0.0.1" in said[0]
    method, digest = known.split(":")
    assert (path.parent / f"a.h5.{method}").read_text() == f"{digest}  a.h5\n"
    for check in (False, True):
        assert fetch(entry(server, known), check=check, say=said.append)["path"] == path
    assert len(server.seen) == 1 and len(said) == 1
    assert left(tmp_path / "cache") == {"a.h5", f"a.h5.{method}"}


def test_without_a_published_checksum_the_first_one_is_recorded_and_binding(server):
    said = []
    path = fetch(entry(server), say=said.append)["path"]
    assert SHA256.removeprefix("sha256:") in said[-1]
    path.unlink()
    server.files["/a.h5"] = BODY[:-1] + b"x"
    with pytest.raises(NWidthError, match="another checksum"):
        fetch(entry(server), say=said.append)
    assert not path.exists()


def test_a_damaged_file_is_refused_and_removed(server, tmp_path):
    server.files["/a.h5"] = BODY[:1000] + b"?" + BODY[1001:]
    with pytest.raises(NWidthError, match="another checksum"):
        fetch(entry(server, SHA256))
    assert not left(tmp_path / "cache")
    server.files["/a.h5"] = BODY
    assert fetch(entry(server, SHA256))["path"].read_bytes() == BODY


@pytest.mark.parametrize("known", [SHA256, None])
@pytest.mark.parametrize("check", [False, True])
def test_a_cached_file_that_was_changed_is_downloaded_again(server, known, check):
    said = []
    path = fetch(entry(server, known), say=said.append)["path"]
    path.write_bytes(b"short")
    assert fetch(entry(server, known), check=check, say=said.append)["path"].read_bytes() == BODY
    assert any("does not match" in s for s in said)


def test_an_interrupted_download_goes_on(server, tmp_path):
    server.cut[:] = [2_000_000, 1_000_000]
    said = []
    assert fetch(entry(server, SHA256), say=said.append)["path"].read_bytes() == BODY
    starts = [asked for _, asked in server.seen]
    assert starts[0] is None and all(int(s.removeprefix("bytes=").rstrip("-")) > 0 for s in starts[1:])
    assert len(starts) == 3 and any("connection lost" in s for s in said)


def test_a_later_call_goes_on_where_the_last_one_stopped(server, tmp_path):
    server.cut[:] = [2_000_000] + [0] * 4
    with pytest.raises(NWidthError, match="goes on from"):
        fetch(entry(server))
    part = tmp_path / "cache" / "set" / "a.h5.part"
    assert 0 < part.stat().st_size <= 2_000_000
    before = part.stat().st_size
    server.seen.clear()
    assert fetch(entry(server))["path"].read_bytes() == BODY
    assert server.seen == [("/a.h5", f"bytes={before}-")] and not part.exists()


def test_parts_of_two_versions_never_mix(server):
    server.cut[:] = [2_000_000] + [0] * 4
    with pytest.raises(NWidthError):
        fetch(entry(server))
    server.files["/a.h5"] = other = BODY[::-1]
    assert fetch(entry(server))["path"].read_bytes() == other


@pytest.mark.parametrize("known", [SHA256, None])
def test_a_server_without_ranges_starts_again(server, known):
    server.ranges = False
    server.cut[:] = [2_000_000]
    assert fetch(entry(server, known))["path"].read_bytes() == BODY


def test_a_part_that_is_whole_already(server, tmp_path):
    part = tmp_path / "cache" / "set" / "a.h5.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(BODY)
    assert fetch(entry(server, SHA256))["path"].read_bytes() == BODY
    assert server.seen == [("/a.h5", f"bytes={len(BODY)}-")]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"url": "/none.h5"}, "HTTP 404"),
        ({"url": "/page"}, "web page"),
        ({"file": "../a.h5"}, "below the cache"),
        ({"file": "/etc/a.h5"}, "below the cache"),
        ({"hash": "md5:12"}, "md5:HEX"),
        ({"use": "elsewhere"}, "test_path"),
        ({"url": "file:///etc/passwd"}, "http"),
        ({"sha": "x"}, "url and file"),
        ({"hash": None, "members": {"path": "b.h5"}}, "archive that cannot be read"),
    ],
)
def test_what_cannot_be_downloaded_is_told(server, tmp_path, changed, said):
    server.files["/page"] = b"<html>"
    server.headers_of["/page"] = {"Content-Type": "text/html; charset=utf-8"}
    given = entry(server, SHA256) | changed
    if given["url"].startswith("/"):
        given["url"] = server.url + given["url"]
    with pytest.raises(NWidthError, match=said):
        fetch(given)
    assert not [n for n in left(tmp_path / "cache") if n.endswith(".h5")] or "members" in changed


def test_no_network(server, tmp_path, monkeypatch):
    with pytest.raises(NWidthError, match=r"no connection to 127.0.0.1:9"):
        fetch({"url": "http://127.0.0.1:9/a.h5", "file": "a.h5"})
    monkeypatch.setenv("NWIDTH_CACHE", "/proc/nowhere")
    with pytest.raises(NWidthError, match="NWIDTH_CACHE"):
        fetch(entry(server))


def test_a_full_disk_is_told_before_the_download(server, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("nwidth.data.transfer.shutil.disk_usage", lambda path: usage)
    with pytest.raises(NWidthError, match="1 kB of free space"):
        fetch(entry(server, SHA256))


def test_the_servers_own_checksum_is_compared(server, tmp_path):
    server.headers_of["/a.h5"] = {"X-Linked-Etag": '"' + "0" * 64 + '"'}
    with pytest.raises(NWidthError, match="as the server says"):
        fetch(entry(server))
    assert not left(tmp_path / "cache")
    server.headers_of["/a.h5"] = {"X-Linked-Etag": '"' + SHA256.removeprefix("sha256:") + '"'}
    assert fetch(entry(server))["path"].read_bytes() == BODY


@pytest.mark.parametrize("kind", ["tgz", "zip"])
def test_members_of_an_archive(server, tmp_path, kind):
    contents = {"folder/train.pt": b"train" * 1000, "folder/test.pt": b"test", "../evil.pt": b"evil"}
    packed = io.BytesIO()
    if kind == "tgz":
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name, value in contents.items():
                info = tarfile.TarInfo(name)
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value))
    else:
        with zipfile.ZipFile(packed, "w") as z:
            for name, value in contents.items():
                z.writestr(name, value)
    server.files["/d"] = packed.getvalue()
    given = entry(
        server, file=f"set/d_16.{kind}", path="/d", members={"path": "train.pt", "test_path": "folder/test.pt"}
    )
    for check in (False, True):
        found = fetch(given, check=check)
        assert {k: p.read_bytes() for k, p in found.items()} == {"path": b"train" * 1000, "test_path": b"test"}
    assert found["path"].parent == tmp_path / "cache" / "set" / "d_16" and len(server.seen) == 1
    assert left(tmp_path / "cache") == {"train.pt", "train.pt.sha256", "test.pt", "test.pt.sha256"}
    with pytest.raises(NWidthError, match=r"one called none.pt"):
        fetch(given | {"members": {"path": "none.pt"}})


def test_ensure_fills_the_paths_of_a_config(server, tmp_path):
    server.files["/b.h5"] = b"b"
    config = {"path": None, "test_path": None, "download": [entry(server), entry(server, file="b.h5", path="/b.h5")]}
    found = ensure(config)
    cache = tmp_path / "cache"
    assert found["path"] == [str(cache / "set" / "a.h5"), str(cache / "b.h5")] and found["test_path"] is None
    config["download"][1]["use"] = "test_path"
    assert ensure(config)["test_path"] == str(cache / "b.h5")
    assert ensure({**config, "path": "mine.h5"})["path"] == "mine.h5" and config["path"] is None
    assert ensure({"path": None}) == {"path": None}


def test_two_that_want_one_file_download_it_once(server):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: fetch(entry(server, SHA256))["path"].read_bytes() == BODY, range(4)))
    assert all(found) and len(server.seen) == 1


CONFIGS = sorted((Path(download.__file__).parent.parent / "conf" / "data").glob("*_*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_packaged_data_sets_are_well_formed(path):
    config = yaml.safe_load(path.read_text())
    entries = config["download"] if isinstance(config["download"], list) else [config["download"]]
    filled = [use for e in entries for use in (e.get("members") or {e.get("use", "path"): 0})]
    assert "path" in filled and config["defaults"] == ["file"]
    for e in entries:
        download._checked(e)
        assert e["url"].startswith("https://") and "hash" in e
