"""Candidate symmetries: which maps a grid allows, and that the true ones take solutions to solutions."""

import math
from dataclasses import replace

import pytest
import torch
from nwidth.backends import Axis, Grid, Mesh
from nwidth.data import Dataset, open_dataset, save_dataset
from nwidth.data.symmetry import candidates
from nwidth.solvers import Burgers, Darcy

F64 = torch.float64


def names(data: Dataset) -> list[str]:
    return [s.name for s in candidates(data)]


def fields(grid, channels: int = 1, n: int = 3) -> Dataset:
    u, a = torch.randn(n, channels, *grid.shape, dtype=F64), torch.randn(n, 1, *grid.shape, dtype=F64)
    return Dataset(grid, u=u, a=a, mu=torch.rand(n, 1))


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        (Grid.make((8,)), ["reflect x", "reflect x and change sign", "shift x by half"]),
        (Grid.make((7,)), ["reflect x", "reflect x and change sign"]),
        (Grid.make((8,), "nodal"), ["reflect x", "reflect x with an open end"]),
        (Grid.make((8,), "chebyshev"), ["reflect x"]),
        (Grid([Axis("listed", 3, points=(0.0, 0.5, 1.0))]), ["reflect x"]),
        (Grid([Axis("listed", 3, points=(0.0, 0.4, 1.0))]), []),
        (Grid.make((6, 6), "cell"), ["exchange x and y", "reflect x", "reflect y"]),
        (Grid.make((6, 5), "cell"), ["reflect x", "reflect y"]),
        (Grid([Axis("cell", 6, 0, 1, "x"), Axis("cell", 6, 0, 2, "y")]), ["reflect x", "reflect y"]),
        (
            Grid.make((4, 4, 4), "cell"),
            ["exchange x and y", "exchange x and z", "exchange y and z", "reflect x", "reflect y", "reflect z"],
        ),
        (Mesh(torch.rand(6, 2)), []),
    ],
    ids=lambda g: g.describe() if hasattr(g, "describe") else "",
)
def test_which_candidates(grid, expected):
    assert names(fields(grid)) == expected


def test_vector_fields_have_none():
    assert names(fields(Grid.make((8,)), channels=2)) == []


@pytest.mark.parametrize(
    "grid",
    [
        Grid.make((8,)),
        Grid.make((6, 6)),
        Grid.make((5, 5), "nodal"),
        Grid.make((4, 4, 4)),
        Grid.make((7,), "chebyshev", -1.0, 2.0),
    ],
)
def test_each_map_moves_functions_as_it_moves_points_and_is_its_own_inverse(grid):
    lo = torch.tensor([a.lo for a in grid.axes], dtype=F64).reshape(-1, *(1,) * grid.ndim)
    size = torch.tensor([a.length for a in grid.axes], dtype=F64).reshape(-1, *(1,) * grid.ndim)
    place = (grid.coordinates() - lo) / size

    def f(s):  # periodic in each direction
        return sum(torch.cos(2 * math.pi * (k + 1) * s[k] + k + 1) for k in range(len(s)))

    for symmetry in candidates(fields(grid)):
        words = symmetry.name.split()
        moved, sign = place.clone(), -1 if "sign" in words else 1
        i = "xyz".index(words[1])
        if words[0] == "exchange":
            j = "xyz".index(words[3])
            moved[[i, j]] = place[[j, i]]
        else:
            moved[i] = -place[i] % 1 if grid.axes[i].kind == "periodic" and words[0] == "reflect" else 1 - place[i]
            if words[0] == "shift":
                moved[i] = place[i] + 0.5
            if "open" in words:  # of the stored points; the first one, whose image is not stored, stays
                end = 1 + 1 / (grid.shape[i] - 1)
                moved[i] = torch.where(place[i] == 0, 0.0, end - place[i])
        u = f(place)[None, None]
        assert torch.allclose(symmetry.move(u), sign * f(moved)[None, None], atol=1e-12), symmetry.name
        assert torch.equal(symmetry.move(symmetry.move(u)), u)


def test_all_fields_move_and_parameters_stay(tmp_path):
    data = fields(Grid.make((6, 6), "cell"))
    save_dataset(tmp_path / "d.h5", data)
    exchange = candidates(data)[0]
    for moved in (exchange(data), exchange(open_dataset(tmp_path / "d.h5"))):
        assert torch.equal(moved.u, data.u.transpose(2, 3)) and torch.equal(moved.a, data.a.transpose(2, 3))
        assert torch.equal(moved.mu, data.mu) and moved.splits == {}


def true_symmetries(problem, resolution: int) -> dict[str, float]:
    """The largest relative change between solving moved inputs and moving the solution."""
    data = problem.solve(problem.sample(range(3), 0, problem.grid(resolution)))
    found = {}
    for symmetry in candidates(data):
        moved = symmetry(data)
        solved = problem.solve(moved.inputs())
        found[symmetry.name] = float((solved.u - moved.u).abs().max() / data.u.abs().max())
    return found


def test_symmetries_of_darcy():
    found = true_symmetries(Darcy(ndim=2), 12)
    assert set(found) == {"exchange x and y", "reflect x", "reflect y"} and max(found.values()) < 1e-8


def test_a_square_whose_last_points_are_not_stored():
    """Zero on all sides, points j/n: the reflection of what is stored is wrong, that with an open end is right."""
    problem = Darcy(points="nodal")
    data = problem.solve(problem.sample(range(3), 0, problem.grid(17)))
    grid = Grid([Axis("nodal", 16, 0, 15 / 16, name) for name in "xy"])
    inputs, u = data.a[..., :-1, :-1], data.u[..., :-1, :-1]
    found = {s.name: s for s in candidates(Dataset(grid, a=inputs, u=u))}
    moved = found["reflect x with an open end"].move(u)
    mirrored = replace(data.inputs(), a=data.a.flip(2))
    solved = problem.solve(mirrored).u[..., :-1, :-1]
    assert torch.allclose(moved, solved, atol=1e-10 * float(u.abs().max()))
    assert (found["reflect x"].move(u) - solved).norm() > 0.1 * u.norm()


def test_symmetries_of_burgers():
    found = true_symmetries(Burgers(nu=0.05, times=2), 64)
    assert found["reflect x"] > 0.1  # u -> u(-x) reverses the transport
    assert max(found["reflect x and change sign"], found["shift x by half"]) < 1e-8
