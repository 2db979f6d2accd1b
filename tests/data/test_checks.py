"""What ``inspect`` says of sound and of damaged data."""

import math

import pytest
import torch
from nwidth.backends import Grid, Mesh
from nwidth.data import Dataset, open_dataset, save_dataset
from nwidth.data.checks import inspect


def make(n: int = 12, **changed) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    given = {
        "u": 3 + torch.randn(n, 4, 2, 8, generator=generator),
        "u0": torch.randn(n, 2, 8, generator=generator),
        "mu": torch.rand(n, 2, generator=generator),
        "t": torch.arange(1.0, 5.0),
        "units": {"u": "m"},
        "splits": {"train": torch.arange(8), "test": torch.arange(8, 12)},
    }
    return Dataset(Grid.make((8,)), **given | changed)


def entry(report, name):
    return next(f for f in report["fields"] if f["name"] == name)


@pytest.mark.parametrize("lazy", [False, True])
def test_sound_data(tmp_path, lazy):
    data = make()
    if lazy:
        save_dataset(tmp_path / "d.h5", data)
        data = open_dataset(tmp_path / "d.h5")
    report = inspect(data)
    u = make().u.double().numpy()
    found = entry(report, "u")
    assert report["warnings"] == [] and report["samples"] == 12 and report["splits"] == {"train": 8, "test": 4}
    assert report["times"] == [1, 2, 3, 4] and report["bytes"] == data.nbytes and report["source"] == data.source
    assert [found[k] for k in ("min", "max", "mean", "std")] == pytest.approx(
        [u.min(), u.max(), u.mean(), u.std()], rel=1e-9
    )
    assert found["shape"] == [12, 4, 2, 8] and found["dtype"] == "float32" and found["units"] == "m"
    assert found["channels"] == ["u0", "u1"] and found["not_finite"] == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite(bad):
    data = make()
    data.u[3, 1, 0, 2] = data.u[3, 0, 0, 0] = data.u[7, 0, 1, 0] = bad
    report = inspect(data)
    good = data.u[torch.isfinite(data.u)].double().numpy()
    found = entry(report, "u")
    assert (found["not_finite"], found["bad_samples"]) == (3, 2)
    assert [found[k] for k in ("min", "max", "mean", "std")] == pytest.approx(
        [good.min(), good.max(), good.mean(), good.std()], rel=1e-6
    )
    assert report["warnings"] == ["u has 3 NaN or infinite values in 2 samples"]


def test_values_far_from_zero_keep_their_range_beside_nan():
    data = make()
    data.u[:] = 5.0
    data.u[0, 0, 0, 0] = math.nan
    report = inspect(data)
    assert entry(report, "u")["min"] == entry(report, "u")["max"] == 5.0
    assert any("never varies" in w for w in report["warnings"])


def test_nothing_but_nan():
    data = make(u0=torch.full((12, 2, 8), math.nan))
    assert entry(inspect(data), "u0")["bad_samples"] == 12


def test_constant_channels():
    data = make()
    data.mu[:, 1] = 0.5
    data.u[:, :, 0] = 7.0
    warnings = inspect(data)["warnings"]
    assert set(warnings) == {"u: channel u0 never varies", "mu: channel mu1 never varies"}


def test_repeats_within_and_across_splits():
    data = make()
    for k, (old, new) in enumerate([(1, 4), (2, 9)]):
        data.u0[new], data.mu[new] = data.u0[old], data.mu[old]
        said = inspect(data)["warnings"]
        assert said[0].startswith(f"{k + 1} samples repeat") and "sample 4 repeats 1" in said[0]
        assert len(said) == k + 1
    assert said[1].startswith("1 of them stand in another split") and "train 2 and test 9" in said[1]


def test_equal_parameters_with_other_states_are_no_repeat():
    data = make()
    data.mu[5] = data.mu[2]
    assert inspect(data)["warnings"] == []


def test_leaks_between_splits_that_leave_samples_out():
    data = make(splits={"train": torch.tensor([3]), "test": torch.tensor([6])})
    for i in (3, 6):
        data.u0[i], data.mu[i] = data.u0[0], data.mu[0]
    assert "train 3 and test 6" in inspect(data)["warnings"][1]


def test_solutions_are_compared_where_there_are_no_inputs():
    data = Dataset(Grid.make((8,)), u=torch.rand(3, 1, 8)[[0, 1, 0]])
    assert "sample 2 repeats 0" in inspect(data)["warnings"][0]


def test_complex_fields_and_meshes():
    u = torch.randn(4, 1, 6, dtype=torch.complex64)
    report = inspect(Dataset(Mesh(torch.rand(6, 2)), u=u))
    assert entry(report, "u")["max"] == pytest.approx(float(u.abs().max())) and report["times"] is None
    assert any("every point counts the same" in w for w in report["warnings"])
    cells = torch.tensor([[0, 1, 2], [3, 4, 5]])
    assert inspect(Dataset(Mesh(torch.rand(6, 2), cells), u=u))["warnings"] == []


def test_several_blocks_are_one_data_set():
    few = torch.randn(5, 1, 512, 512, generator=torch.Generator().manual_seed(0))
    found = inspect(Dataset(Grid.make((512, 512)), u=few[torch.arange(70) % 5]))  # 70 MiB: blocks hold 64
    u = few.double()
    assert [entry(found, "u")[k] for k in ("min", "max", "std")] == pytest.approx(
        [float(u.min()), float(u.max()), float(u.std(unbiased=False))], rel=1e-9
    )
    assert "65 samples repeat" in found["warnings"][0]
