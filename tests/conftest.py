"""Helpers that several test files share."""

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Small problems are fastest on one thread, and their sums then have one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of data sets made by others; tests that need it are skipped where it is absent."""
    named = os.environ.get("NWIDTH_REALDATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "realdata"
    if not folder.is_dir():
        pytest.skip("no folder of real data (NWIDTH_REALDATA)")
    return folder
