"""Files that appear whole or not at all, and states without pickle."""

import errno
import json
import math
import os
import stat

import numpy as np
import pytest
import torch
from nwidth.data.files import load_state, save_state, whole_file, write_json, write_text
from nwidth.errors import NWidthError
from safetensors.torch import save_file


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with whole_file(path) as temporary:
        temporary.write_text("one")
        assert not path.exists() and temporary.parent == path.parent
    assert path.read_text() == "one" and list(path.parent.iterdir()) == [path]


def test_a_reader_of_the_old_file_is_not_disturbed(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with open(tmp_path / "a.txt") as f:
        write_text(tmp_path / "a.txt", "new")
        assert f.read() == "old" and (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.parametrize("failure", [RuntimeError("no"), KeyboardInterrupt(), OSError(errno.EIO, "broken")])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(type(failure)), whole_file(path) as temporary:
        temporary.write_text("half")
        raise failure
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), OSError("Can't write data (No space left on device)")]
)
def test_a_full_disk_is_told(tmp_path, failure):
    with pytest.raises(NWidthError, match="free some space"), whole_file(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_told_before_the_work(tmp_path):
    with pytest.raises(NWidthError, match="MiB of free space"), whole_file(tmp_path / "a", needs_bytes=2**60):
        pytest.fail("the work began")


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(NWidthError, match="folder"):
        write_text(tmp_path / "f" / "a.txt", "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(NWidthError):
        write_text(tmp_path / "a.txt", "x")


def test_json_holds_plain_values(tmp_path):
    write_json(
        tmp_path / "a.json",
        {
            1: torch.tensor([1.0, math.nan]),
            "b": (np.float32(0.5), np.int64(2), True, None),
            "c": math.inf,
            "p": tmp_path,
            "t": torch.tensor(2),
        },
    )
    found = json.loads((tmp_path / "a.json").read_text())
    assert found == {"1": [1.0, None], "b": [0.5, 2, True, None], "c": None, "p": str(tmp_path), "t": 2}


DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.bool,
    torch.complex64,
    torch.complex128,
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4)])
def test_tensors_of_every_kind(tmp_path, dtype, shape):
    x = torch.randn(shape).to(dtype) if not dtype.is_complex else torch.randn(shape, dtype=dtype)
    save_state(tmp_path / "s", {"x": x})
    found = load_state(tmp_path / "s")["x"]
    assert found.dtype == dtype and found.shape == x.shape and torch.equal(found, x)


def test_nested_values_and_views(tmp_path):
    big = torch.randn(1000, 8)
    state = {
        "a": {"b": big[:2], "c": [1, 2.5, "s", None, True, big[:2].T, {"d": big[0].clone().requires_grad_()}]},
        "a/b": big[3],
        "nan": math.nan,
        "conj": torch.randn(3, dtype=torch.complex64).conj(),
        "same": big[:2],
    }
    save_state(tmp_path / "s", state)
    found = load_state(tmp_path / "s")
    assert (tmp_path / "s").stat().st_size < 2000  # a view does not carry its whole storage
    assert torch.equal(found["a"]["b"], big[:2]) and torch.equal(found["a/b"], big[3])
    assert found["a"]["c"][:5] == [1, 2.5, "s", None, True] and type(found["a"]["c"][4]) is bool
    assert torch.equal(found["a"]["c"][5], big[:2].T) and torch.equal(found["a"]["c"][6]["d"], big[0])
    assert math.isnan(found["nan"]) and torch.equal(found["conj"], state["conj"])
    assert torch.equal(found["same"], big[:2])


@pytest.mark.parametrize("value", [object(), np.zeros(2), {1, 2}, b"bytes", lambda: 0])
def test_anything_else_is_refused(tmp_path, value):
    with pytest.raises(NWidthError, match="a/0"):
        save_state(tmp_path / "s", {"a": [value]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated", "foreign", "no tensor"])
def test_damaged_states(tmp_path, damage):
    path = tmp_path / "s"
    save_state(path, {"x": torch.rand(50)})
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("hello" * 100)
    elif damage == "truncated":
        os.truncate(path, path.stat().st_size - 8)
    elif damage == "foreign":
        save_file({"x": torch.rand(3)}, path)
    else:
        save_file({"y": torch.rand(3)}, path, metadata={"nwidth": '{"x": {"$tensor": "x"}}'})
    with pytest.raises(NWidthError):
        load_state(path)
