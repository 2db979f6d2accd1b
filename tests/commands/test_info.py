"""What nwidth info says of data of each kind, and that it reads them in small pieces."""

import importlib
import json
import math
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from nwidth.backends import Axis, Grid, Mesh
from nwidth.data import Dataset, save_dataset
from omegaconf import OmegaConf


@pytest.fixture
def info(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*overrides: str) -> str:
        with initialize_config_module("nwidth.conf", version_base="1.3"):
            config = OmegaConf.to_container(compose("info", overrides=["threads=1", *overrides]), resolve=True)
        importlib.import_module("nwidth.commands.info").run(config, Path("pictures"))
        return " ".join(capsys.readouterr().out.split())

    return call


def flow(n: int = 24, **changed) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    grid = Grid((Axis("periodic", 8, 0, 2, "x"), Axis("cell", 6, 0, 1, "y")))
    given = {
        "u0": torch.randn(n, 2, 8, 6, generator=generator),
        "u": torch.randn(n, 5, 2, 8, 6, generator=generator),
        "mu": torch.rand(n, 1, generator=generator),
        "t": 0.1 * torch.arange(1.0, 6),
        "names": {"u": ("velocity", "pressure"), "mu": ("viscosity",)},
        "units": {"u": "m/s", "t": "s"},
        "splits": {"train": torch.arange(n - 8), "test": torch.arange(n - 8, n)} if n > 8 else {},
        "attributes": {"boundary": {"x": "periodic", "y": "wall"}, "parameters": {"rho": 2.5}, "origin": "made up"},
    }
    return Dataset(grid, **given | changed)


def test_all_facts_of_a_time_dependent_set(info):
    data = flow()
    save_dataset("d.h5", data)
    said = info("data.path=d.h5", "out=facts.json", "plot=true")
    for words in (
        "nwidth HDF5, 24 samples",
        "storage: read from disk as needed; u: chunks",
        "with checksums",
        "x: 8 periodic on [0, 2] x y: 6 cell on [0, 1]",
        "boundary: x periodic, y wall",
        "times: 5 on [0.1, 0.5] s, step 0.1, start 0",
        "velocity, pressure",
        "m/s",
        f"viscosity {float(data.mu.min()):g} to {float(data.mu.max()):g} (24 values)",
        "rho = 2.5",
        "origin: made up",
        "splits: train 16, test 8",
        "n-width of 24 samples: rank",
        "n-width of 144 states: rank",
        "for 0.0001",
        "next: nwidth compare data.path=d.h5 'surrogates=[mean,linear,kernel,pod_gp,fno]'",
    ):
        assert words in said, words
    assert "warning" not in said
    facts = json.loads(Path("facts.json").read_text())
    assert facts["parameters"]["rho"] == {"min": 2.5, "max": 2.5, "values": 1}
    assert facts["n_width"]["ranks"]["0.1"] >= 1 and facts["storage"]["bytes"] == Path("d.h5").stat().st_size
    for name in ("n_width", "values", "samples", "channels"):
        assert (Path("pictures") / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_defects_are_told(info):
    data = flow()
    data.u[3, 1, 0, 2, 2] = math.nan
    data.mu[20], data.u0[20] = data.mu[1], data.u0[1]
    save_dataset("d.h5", data)
    said = info("data.path=d.h5")
    assert "u has 1 NaN or infinite values in 1 samples" in said and "n-width" not in said
    assert "sample 20 repeats 1" in said and "train 1 and test 20" in said
    assert "next: leave out or repair the samples with NaN" in said


def test_samples_of_separate_test_files_are_compared(info):
    data = flow(splits={})
    save_dataset("train.h5", data)
    other = flow(6, splits={})
    other.u0[4], other.mu[4] = data.u0[7], data.mu[7]
    other.u0[:4] += 1
    other.u0[5] += 1
    save_dataset("test.h5", other)
    said = info("data.path=train.h5", "data.test_path=test.h5")
    assert "test sample 4 repeats 7" in said and "train 7 and test 4" in said and "splits: test 6" in said


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (Dataset(Grid.make((16,)), u=torch.randn(12, 1, 16, dtype=torch.complex64), mu=torch.rand(12, 1)), "|u|"),
        (
            Dataset(Grid.make((6, 5, 4), kind="cell"), u=torch.rand(11, 1, 6, 5, 4), a=torch.rand(11, 1, 6, 5, 4)),
            "fno]",
        ),
        (
            Dataset(
                Mesh(torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]]), torch.tensor([[0, 1, 2], [1, 2, 3]])),
                u=torch.rand(12, 1, 4),
                mu=torch.rand(12, 2),
            ),
            "surrogates=[mean,linear,kernel,pod_gp]'",
        ),
        (Dataset(Grid.make((8,)), u=torch.rand(3, 1, 8), a=torch.rand(3, 1, 8)), "3 samples are too few"),
        (Dataset(Grid.make((8,)), u=torch.rand(20, 1, 8)), "name an input"),
        (Dataset(Grid.make((8,)), a=torch.rand(20, 1, 8)), "nwidth predict run=DIR data.path=d.h5"),
    ],
    ids=["complex", "3D", "mesh", "few", "no input", "no solution"],
)
def test_data_of_every_kind(info, data, expected):
    save_dataset("d.h5", data)
    said = info("data.path=d.h5", "plot=true")
    assert expected in said and "values.png" in said


def test_large_samples_are_read_in_pieces(info, monkeypatch):
    grid = Grid.make((64, 64))
    u = torch.randn(1, 60, 1, 64, 64).expand(12, -1, -1, -1, -1).contiguous()  # 1 MB a sample
    data = Dataset(grid, u=u, u0=torch.randn(12, 1, 64, 64), t=torch.arange(1.0, 61))
    save_dataset("d.h5", data)
    sizes = []
    kind = type(importlib.import_module("nwidth.data").open_dataset("d.h5").u)
    plain = kind.read

    def watched(self, samples=slice(None), times=slice(None)):
        found = plain(self, samples, times)
        sizes.append(found.nbytes)
        return found

    monkeypatch.setattr(kind, "read", watched)
    monkeypatch.setattr("nwidth.data.checks._BLOCK", 2**18)
    monkeypatch.setattr("nwidth.commands.info._WIDTH_BYTES", 2**20)
    monkeypatch.setattr("nwidth.training.data_pictures._BYTES", 2**18)
    said = info("data.path=d.h5", "plot=true")
    assert "every 7th time, every 2nd point" in said
    assert max(sizes) <= 2**20 and sum(sizes) >= data.nbytes
