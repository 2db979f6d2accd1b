"""Pictures of a data set: its n-width curve, the values of its fields, and a few samples in space and time."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..data import Dataset
from ..data.arrays import block
from ..data.nwidth import NWidth
from .painter import Painter, label_of, parameters_text, role_name, shown_name
from .plots import COLORS, error_against_width, save

_CHANNELS = 4
_BYTES = 2**26  # read for the histograms, from samples and times spread over the whole set


def draw_data(data: Dataset, width: NWidth | None, folder: Path) -> list[Path]:
    """The curve where there is one, histograms of all fields, up to three samples, and all channels of one sample.

    Few samples, times and points are read, whatever the size of the data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    if width is not None:
        made.append(save(error_against_width([], width.to_dict(), {}), folder / "n_width.png"))
    made.append(save(histograms(data), folder / "values.png"))
    if data.u is None and data.a is None and data.u0 is None:
        return made
    made.append(save(samples(data), folder / "samples.png"))
    if data.u is not None and len(data.channels("u")) > 1:
        made.append(save(channels(data), folder / "channels.png"))
    return made


def histograms(data: Dataset) -> Figure:
    """How often values occur: one panel a channel, one row a field; fields on a logarithmic axis."""
    names = [k for k in ("a", "u0", "mu", "u") if getattr(data, k) is not None]
    shown = {k: min(_CHANNELS, len(data.channels(k))) for k in names}
    rows, columns = len(names), max(shown.values())
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.4 * columns + 0.4, 2.5 * rows), squeeze=False, layout="constrained"
    )
    for row, name in zip(axes, names):
        values, more = _some_values(data, name), len(data.channels(name)) - shown[name]
        for i, ax in enumerate(row):
            if i >= shown[name]:
                ax.axis("off")
                continue
            v = values[i][np.isfinite(values[i])]
            bins = int(np.clip(np.sqrt(max(v.size, 1)), 5, 80))
            ax.hist(v, bins=bins, histtype="stepfilled", color=COLORS[0], alpha=0.85)
            ax.set(yscale="linear" if name == "mu" else "log", xlabel=label_of(data, name, i))
            ax.grid(True, alpha=0.2)
        row[0].set_ylabel("count")
        title = role_name(name) + (f" (the first {shown[name]} of {shown[name] + more})" if more else "")
        row[0].set_title(title, fontsize=9, loc="left")
    return figure


def samples(data: Dataset, count: int = 3) -> Figure:
    """One row a sample: its inputs, and the first channel of its solution: in one dimension a curve, or an image over
    time and curves at a few times; in more, pictures at up to four times."""
    chosen = np.unique(np.linspace(0, len(data) - 1, min(count, len(data))).round().astype(int)).tolist()
    painter = Painter(data)
    shown = [k for k in ("a", "u0") if getattr(data, k) is not None and not (k == "u0" and painter.starts_with_u0)]
    columns = len(shown) + (0 if data.u is None else painter.columns)
    across = columns == 1  # one panel a sample: side by side
    shape = (1, len(chosen)) if across else (len(chosen), columns)
    figure, axes = painter.figure(*shape)
    for row, i in zip(axes.T if across else axes, chosen):
        about = textwrap.fill(f"sample {i}{parameters_text(data, i)}", 34)
        for ax, name in zip(row, shown):
            painter.draw(ax, painter.read(name, i), cmap="cividis", label=label_of(data, name, 0))
            ax.set_title(role_name(name), fontsize=9)
        if data.u is not None:
            painter.solution(row[len(shown) :], i, 0)
        title = row[0].get_title()
        row[0].set_title(about + (f"\n{title}" if title else ""), fontsize=9)
    return figure


def channels(data: Dataset) -> Figure:
    """One row a channel of the first sample."""
    painter = Painter(data)
    names = data.channels("u")
    count = min(_CHANNELS, len(names))
    across = painter.columns == 1
    figure, axes = painter.figure(*((1, count) if across else (count, painter.columns)))
    for c, row in enumerate(axes.T if across else axes):
        painter.solution(row, 0, c)
        title = row[0].get_title()
        row[0].set_title(shown_name(names[c], data, "u") + (f", {title}" if title else ""), fontsize=9)
    more = len(names) - count
    figure.suptitle("sample 0" + (f", the first {count} of {len(names)} channels" if more else ""), fontsize=10)
    return figure


def _some_values(data: Dataset, name: str) -> np.ndarray:
    """(channel, values) of samples, and where they are large of times, spread over the set."""
    value = getattr(data, name)
    timed = name == "u" and data.time_dependent
    per_sample = max(value.nbytes // max(len(value), 1), 1)
    count = int(np.clip(_BYTES // per_sample, 1, min(len(value), 2000)))
    picked = np.unique(np.linspace(0, len(value) - 1, count).round().astype(int))
    step = max(1, -(-per_sample // _BYTES)) if timed else 1
    found = block(value, picked, slice(None, None, step)) if timed else block(value, picked)
    values = found.movedim(1 + timed, 0).flatten(1).numpy()
    return np.abs(values) if np.iscomplexobj(values) else values
