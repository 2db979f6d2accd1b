"""data=NAME: fetched from a server on this machine by nwidth fetch, and by any command that needs it."""

import functools
import importlib
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from nwidth.backends import Grid
from nwidth.commands.help import text
from nwidth.data import Dataset, save_dataset
from nwidth.errors import NWidthError
from omegaconf import OmegaConf


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the config of a data set that a local server has, and a cache."""
    (tmp_path / "remote").mkdir()
    generator = torch.Generator().manual_seed(0)
    for name, n in (("train", 12), ("test", 4)):
        u = torch.rand(n, 1, 16, generator=generator)
        save_dataset(tmp_path / "remote" / f"{name}.h5", Dataset(Grid.make((16,)), u=u, a=u.cumsum(-1)))
    monkeypatch.setenv("NWIDTH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    handler = functools.partial(Quiet, directory=tmp_path / "remote")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{running.server_address[1]}"
        (tmp_path / "own" / "data").mkdir(parents=True)
        (tmp_path / "own" / "data" / "small_set.yaml").write_text(
            "defaults: [file]\n"
            "download:\n"
            f"  - {{url: {url}/train.h5, file: small/train.h5, hash: null}}\n"
            f"  - {{url: {url}/test.h5, file: small/test.h5, hash: null, use: test_path}}\n"
        )
        yield tmp_path
        running.shutdown()


def run(place, command, *overrides):
    with initialize_config_module("nwidth.conf", version_base="1.3"):
        given = [f"hydra.searchpath=[file://{place / 'own'}]", "threads=1", *overrides]
        config = OmegaConf.to_container(compose(command, overrides=given), resolve=True)
    return importlib.import_module(f"nwidth.commands.{command}").run(config, place / "run")


def test_fetch_downloads_checks_and_says_where(place, capsys):
    run(place, "fetch", "data=small_set")
    said = " ".join(capsys.readouterr().out.split())
    cache = place / "cache" / "small"
    assert f"path: {cache / 'train.h5'}" in said and f"test_path: {cache / 'test.h5'}" in said
    assert said.count("recorded sha256") == 2 and "from 127.0.0.1" in said
    run(place, "fetch", "data=small_set")
    assert "recorded" not in capsys.readouterr().out
    (cache / "test.h5").write_bytes(b"damaged")
    run(place, "fetch", "data=small_set")
    assert "does not match" in capsys.readouterr().out
    assert (cache / "test.h5").read_bytes() == (place / "remote" / "test.h5").read_bytes()


def test_any_command_fetches_what_it_needs(place, capsys):
    run(place, "info", "data=small_set")
    said = capsys.readouterr()
    assert "12 samples" in said.out and "test 4" in said.out and "recorded sha256" in said.err
    for name in ("train", "test"):
        (place / "remote" / f"{name}.h5").unlink()  # from now on the cache alone
    run(place, "convert", "data=small_set", "out=all.h5")
    assert "16 samples" in capsys.readouterr().out


def test_a_path_of_ones_own_wins(place, capsys):
    run(place, "info", "data=small_set", "data.path=remote/test.h5")
    assert "4 samples" in capsys.readouterr().out and not Path("cache").exists()


def test_without_a_public_data_set(place):
    with pytest.raises(NWidthError, match="pdebench_darcy"):
        run(place, "fetch")


def test_help_lists_the_data_sets_and_those_of_a_users_folder(place):
    shown = text("fetch", [str(place / "own")])
    assert "pdebench_darcy" in shown and "small_set" in shown and " file " not in shown.split("NWIDTH_CACHE")[0]


@pytest.mark.parametrize("command", ["fetch", "info", "train"])
def test_packaged_configs_compose_in_every_command(command):
    """One by its name, and all side by side, which is much faster."""
    names = sorted(p.stem for p in (Path(__file__).parents[2] / "conf" / "data").glob("*_*.yaml"))
    with initialize_config_module("nwidth.conf", version_base="1.3"):
        found = compose(command, overrides=[f"data={names[0]}", *(f"+data@every.{name}={name}" for name in names)])
    assert found.data == found.every[names[0]] and len(names) > 10
    assert all(found.every[name].download for name in names)
