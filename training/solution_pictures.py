"""Pictures of one equation's solution: values with intervals, the error where the truth is known, the spectrum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from torch import Tensor

from ..gp.pde import Cloud, Solution
from ..gp.pde.basis import as_grid
from .plots import COLORS, save


def draw_solution(
    solution: Solution, points: Tensor, mean: Tensor, std: Tensor | None, path: Path, *, scattered: Cloud | None = None
) -> Path:
    """One panel each: solution, error (or its standard deviation), spectrum of each axis."""
    equation = solution.equation
    error = (mean - equation.exact(points)).abs() if equation.has_exact else None
    panels = 1 + (error is not None or std is not None) + bool(solution.spectrum)
    figure, axes = plt.subplots(1, panels, figsize=(4.2 * panels, 3.4), squeeze=False, layout="constrained")
    row = list(axes[0])
    grid = None if scattered is not None else as_grid(points)
    _field(row[0], points, grid, mean, "solution", "RdBu_r")
    if equation.ndim == 1 and std is not None:
        x = points[:, 0].numpy()
        row[0].fill_between(x, (mean - 1.96 * std).numpy(), (mean + 1.96 * std).numpy(), color=COLORS[0], alpha=0.25)
    if equation.ndim == 1 and (error is not None or std is not None):
        if error is not None:
            row[1].semilogy(
                points[:, 0].numpy(), error.clamp_min(1e-18).numpy(), lw=0.8, color=COLORS[1], label="error"
            )
        if std is not None:
            row[1].semilogy(points[:, 0].numpy(), 1.96 * std.numpy(), lw=1.2, color=COLORS[0], label="1.96 std")
        row[1].set(title="error and interval", xlabel="x")
        row[1].legend(fontsize=8)
    elif error is not None or std is not None:
        shown = error if error is not None else std
        assert shown is not None
        log = shown.clamp_min(float(shown.max()) * 1e-8 + 1e-300).log10()
        _field(row[1], points, grid, log, "log10 of the " + ("error" if error is not None else "std"), "viridis")
    if solution.spectrum:
        for i, (w, density) in enumerate(solution.spectrum):
            top = float(density.max()) or 1.0
            order = torch.argsort(w)
            shown = (density[order] / top).clamp_min(1e-18)
            row[-1].semilogy(w[order].numpy(), shown.numpy(), ".-", ms=3, lw=0.8, color=COLORS[i], label="xyz"[i])
        row[-1].set(title="spectrum (largest = 1)", xlabel="radians per unit", ylim=(1e-18, 3))
        if len(solution.spectrum) > 1:
            row[-1].legend(fontsize=8)
    return save(figure, path)


def _field(ax: Axes, points: Tensor, grid: list[Tensor] | None, values: Tensor, title: str, cmap: str) -> None:
    ax.set_title(title)
    if points.shape[1] == 1:
        ax.plot(points[:, 0].numpy(), values.numpy(), lw=0.8, color=COLORS[0])
        ax.set_xlabel("x")
        return
    drawn: ScalarMappable
    if grid is None:
        drawn = ax.scatter(points[:, 0].numpy(), points[:, 1].numpy(), c=values.numpy(), s=6, cmap=cmap)
    else:
        shaped = values.reshape([len(a) for a in grid])
        if shaped.ndim == 3:  # the middle plane
            shaped = shaped[:, :, shaped.shape[2] // 2]
        drawn = ax.pcolormesh(grid[0].numpy(), grid[1].numpy(), np.asarray(shaped).T, cmap=cmap, shading="auto")
    plt.colorbar(drawn, ax=ax)
    ax.set(xlabel="x", ylabel="y", aspect="auto")
