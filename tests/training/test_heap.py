"""Freed memory stays with the process, and the peak of a fit does not depend on what was freed before it."""

import os
import subprocess
import sys

import pytest
from nwidth.training.heap import _glibc

pytestmark = pytest.mark.skipif(_glibc() is None, reason="glibc's malloc")

ENV = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}

FAULTS = """
import resource, torch
from nwidth.training.heap import keep_freed
print(keep_freed()) if {keep} else None
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for i in range(16):
    if i == 8:  # an aligned array may need a few places before one that was freed fits
        before = faults()
    torch.ones(2**24)
print(faults() - before)
"""

PEAK = """
import torch
from nwidth.training.heap import keep_freed
from nwidth.training.measure import PeakMemory
keep_freed()
for _ in range(2):
    with PeakMemory() as memory:
        torch.ones(2**25)
    print(memory.mb)
"""


def run(script: str, **variables: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={**ENV, **variables})
    assert not done.returncode, done.stderr
    return done.stdout.split()


def test_an_array_of_the_size_of_one_that_was_freed_costs_no_page_again():
    set_now, kept = run(FAULTS.format(keep=True))
    (default,) = run(FAULTS.format(keep=False))
    assert set_now == "True" and 4 * int(kept) < int(default)


@pytest.mark.parametrize(
    "variable", [{"MALLOC_TRIM_THRESHOLD_": "1000000"}, {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=7"}]
)
def test_an_environment_that_sets_malloc_wins(variable):
    assert run(FAULTS.format(keep=True), **variable)[0] == "False"


def test_the_peak_counts_what_was_freed_before():
    assert all(120 < float(mb) < 200 for mb in run(PEAK))
