"""Pictures of data: every panel labelled, none over another, and what they show is what the file holds."""

from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from nwidth.backends import Axis, Grid, Mesh
from nwidth.data import Dataset
from nwidth.training.data_pictures import channels, histograms, samples
from nwidth.training.painter import Painter
from nwidth.training.plots import save


def rand(*shape, dtype=torch.float32):
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


LINE, PLANE = Grid.make((20,)), Grid((Axis("nodal", 12, 0, 3, "x"), Axis("cell", 9, 0, 1, "y")))
BOX = Grid.make((6, 5, 7), kind="cell")
MESH = Mesh(rand(30, 2))
T = torch.arange(1.0, 7)
CASES = {  # data, panels a sample; of five samples three are shown
    "1D steady": (Dataset(LINE, a=rand(5, 1, 20), u=rand(5, 1, 20)), 2),
    "1D in time": (Dataset(LINE, u0=rand(2, 2, 20), u=rand(2, 6, 2, 20), mu=rand(2, 4), t=T), 2),
    "1D complex": (Dataset(LINE, u0=rand(2, 1, 20, dtype=torch.complex64), u=rand(2, 6, 1, 20) * 1j, t=T), 2),
    "2D steady": (Dataset(PLANE, a=rand(2, 1, 12, 9), u=rand(2, 2, 12, 9), units={"u": "Pa"}), 2),
    "2D in time": (Dataset(PLANE, a=rand(2, 1, 12, 9), u0=rand(2, 1, 12, 9), u=rand(2, 6, 1, 12, 9), t=T), 5),
    "u0 of another kind": (Dataset(PLANE, u0=rand(2, 3, 12, 9), u=rand(2, 6, 1, 12, 9), t=T), 5),
    "3D": (Dataset(BOX, a=rand(2, 1, 6, 5, 7), u=rand(2, 1, 6, 5, 7)), 2),
    "mesh": (Dataset(MESH, u=rand(5, 1, 30), mu=rand(5, 2)), 1),
    "mesh in time": (Dataset(MESH, u0=rand(2, 1, 30), u=rand(2, 6, 1, 30), t=T), 4),
    "mesh in 3D": (Dataset(Mesh(rand(50, 3)), u=rand(2, 1, 50), mu=rand(2, 1)), 1),
    "inputs": (Dataset(LINE, a=rand(2, 1, 20)), 1),
    "one sample": (Dataset(LINE, u0=rand(1, 1, 20), u=rand(1, 1, 1, 20), t=T[:1]), 2),
}


def parts(figure):
    """Boxes of the axes with their titles and labels, in pixels, where the layout puts them."""
    figure.get_layout_engine().execute(figure)
    return [ax.get_tightbbox() for ax in figure.axes if ax.axison]


@pytest.mark.parametrize("case", CASES)
def test_panels_are_labelled_and_do_not_overlap(case):
    data, columns = CASES[case]
    figures = [samples(data)]
    if case not in ("3D", "mesh in time", "mesh in 3D"):  # histograms know no axes: these fields are others' too
        figures.append(histograms(data))
    if data.u is not None and len(data.channels("u")) > 1:
        figures.append(channels(data))
    panels = [ax for ax in figures[0].axes if ax.get_xlabel()]
    assert len(panels) == columns * min(3, len(data))
    assert any("sample 0" in ax.get_title() for ax in panels)
    for figure in figures:
        for a, b in combinations(parts(figure), 2):
            inside = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert min(inside) <= 1.0, (case, a, b)
        plt.close(figure)


def test_units_and_parameters_are_shown():
    grid = Grid((Axis("periodic", 8, 0, 1, "x"), Axis("periodic", 8, 0, 1, "y")))
    data = Dataset(
        grid,
        u=rand(3, 6, 1, 8, 8),
        mu=rand(3, 1),
        t=T,
        names={"u": ("pressure",), "mu": ("nu",)},
        units={"u": "Pa", "x": "km", "t": "s"},
    )
    figure = samples(data)
    texts = {t.get_text() for ax in figure.axes for t in (ax.title, ax._left_title, ax.xaxis.label)}
    texts = {t.get_text() for ax in figure.axes for t in (ax.title, ax.xaxis.label, ax.yaxis.label)}
    assert any(t.startswith(f"sample 0: nu = {float(data.mu[0]):.3g}") for t in texts)
    plt.close(figure)


def test_what_is_drawn_is_what_is_stored():
    data, _ = CASES["2D in time"]
    painter = Painter(data)
    assert painter.times() == [0, 2, 4, 6]
    assert np.array_equal(painter.read("u", 1, slice(4, 5))[0], data.u[1, 4, 0].numpy())
    figure, axes = plt.subplots(1, 4)
    painter.solution(axes, 1, 0)
    for ax, state in zip(axes, (data.u0[1, 0], data.u[1, 1, 0], data.u[1, 3, 0], data.u[1, 5, 0])):
        assert np.allclose(np.asarray(ax.collections[0].get_array()).ravel(), state.numpy().T.ravel())
    plt.close(figure)


def test_of_three_axes_the_middle_plane():
    data, _ = CASES["3D"]
    figure, ax = plt.subplots()
    Painter(data).draw(ax, data.u[0, 0].numpy())
    assert np.allclose(np.asarray(ax.collections[0].get_array()).ravel(), data.u[0, 0, :, :, 3].numpy().T.ravel())
    assert "z = 0.5" in ax.texts[0].get_text()
    plt.close(figure)


def test_long_axes_are_thinned():
    data = Dataset(Grid.make((2000, 30)), u=rand(1, 1, 2000, 30))
    painter = Painter(data)
    assert painter.read("u", 0).shape == (500, 30) and painter.axes[0].n == 500


def test_a_saved_picture_leaves_room_for_its_labels(tmp_path):
    figure, ax = plt.subplots(layout="constrained")
    ax.set_xlabel("x\n" * 6)
    before = ax.get_position().y0
    save(figure, tmp_path / "p.png")
    assert ax.get_position().y0 > before + 0.1 and (tmp_path / "p.png").stat().st_size > 1000
