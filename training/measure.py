"""Fit a surrogate and measure it: one row of the report."""

from __future__ import annotations

import gc
import resource
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from ..data import Dataset, FitLog, Prediction, Surrogate
from ..data.metrics import scores
from .heap import release_freed

SINGLE = ("rel_l2", "rel_h1", "rel_max", "band_low", "band_mid", "band_high", "coverage95", "sharpness")


class PeakMemory:
    """The largest resident memory of this process within a ``with`` block, above what it uses at its start, in MiB.

    Freed memory is given back before. Sampled every 10 ms; on a GPU the allocator's own peak is added.
    """

    def __enter__(self) -> PeakMemory:
        gc.collect()
        release_freed()
        self._process = psutil.Process()
        self._start = self._peak = self._process.memory_info().rss
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self._peak = max(self._peak, self._process.memory_info().rss)

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._peak = max(self._peak, self._process.memory_info().rss)
        self.mb = (self._peak - self._start) / 2**20
        if torch.cuda.is_available():
            self.mb += torch.cuda.max_memory_allocated() / 2**20


def cpu_seconds() -> float:
    """Processor time of this process and of its finished children (data-loading workers)."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def fit_and_time(
    surrogate: Surrogate, train: Dataset, val: Dataset | None, *, seed: int, folder: Path | None
) -> tuple[FitLog, dict[str, Any]]:
    """Fit, and what it cost. A training that was interrupted counts the time of all its sessions."""
    surrogate.warm_up()
    with PeakMemory() as memory:
        wall, cpu = time.perf_counter(), cpu_seconds()
        log = surrogate.fit(train, val, seed=seed, folder=folder)
        wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    log.selected["uses_seed"] = surrogate.uses_seed
    wall, cpu = (
        max(wall, log.selected.get("training_seconds", 0.0)),
        max(cpu, log.selected.get("training_cpu_seconds", 0.0)),
    )
    return log, {
        "fit_seconds": wall,
        "fit_cpu_seconds": cpu,
        "peak_memory_mb": memory.mb,
        "parameters": log.parameters,
        "rank": log.rank,
        "train_samples": len(train),
        "val_samples": 0 if val is None else len(val),
    }


def predict_and_score(surrogate: Surrogate, data: Dataset) -> tuple[dict[str, Any], dict[str, Tensor], Prediction]:
    """Metrics of one data set (entries of a row), the scores of every sample, and the prediction."""
    inputs = data.inputs()
    surrogate.predict(inputs[[0]])  # first calls build caches
    wall = time.perf_counter()
    prediction = surrogate.predict(inputs)
    wall = time.perf_counter() - wall
    truth = data.load().solution
    assert isinstance(truth, Tensor)
    found = scores(prediction.mean.cpu(), prediction.std, truth, data.grid)
    row: dict[str, Any] = {name: summary(found[name]) for name in SINGLE if name in found}
    names = data.channels("u")
    row["rel_l2_by_channel"] = {c: float(v) for c, v in zip(names, found["rel_l2_channels"].mean(0))}
    if "rel_l2_times" in found and data.t is not None:
        row["rel_l2_over_time"] = {"t": data.t.tolist(), "mean": found["rel_l2_times"].mean(0).tolist()}
    if prediction.bound is not None:
        bound, error = prediction.bound.cpu(), found["rel_l2"]
        effectivity = bound / error
        row["bound"], row["effectivity"] = summary(bound), summary(effectivity) | {"min": float(effectivity.min())}
    row |= {"predict_seconds": wall, "test_samples": len(data), "resolution": list(data.grid.shape)}
    return row, found, prediction


def summary(values: Tensor) -> dict[str, float]:
    """Mean, median and worst over samples."""
    return {"mean": float(values.mean()), "median": float(values.median()), "max": float(values.max())}


def pictures(data: Dataset, found: Mapping[str, Tensor], prediction: Prediction) -> dict[str, Any]:
    """Truth and prediction of the sample with the median and of the one with the largest error."""
    error = found["rel_l2"]
    order = error.argsort()
    picked = {"median": int(order[(len(order) - 1) // 2]), "worst": int(order[-1])}
    out: dict[str, Any] = {"grid": data.grid.to_dict(), "t": data.t, "channel": data.channels("u")[0]}
    for name, i in picked.items():
        sample = data[[i]].load()
        out[name] = {
            "sample": i,
            "error": float(error[i]),
            "truth": sample.solution[0].clone(),
            "mean": prediction.mean[i].to("cpu", sample.solution.dtype).clone(),
            "std": None if prediction.std is None else prediction.std[i].cpu().clone(),
            "a": None if sample.a is None else sample.a[0].clone(),
            "u0": None if sample.u0 is None else sample.u0[0].clone(),
        }
    return out


def environment() -> dict[str, Any]:
    """Versions and machine, as far as they bear on a figure."""
    import platform
    from importlib.metadata import version

    packages = ("nwidth", "torch", "numpy", "scipy", "gpytorch", "lightning", "neuraloperator", "h5py", "hydra-core")
    versions = {}
    for name in packages:
        try:
            versions[name] = version(name)
        except Exception:  # not installed as a distribution
            versions[name] = "unknown"
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": versions,
    }


def _processor() -> str:
    import platform

    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
