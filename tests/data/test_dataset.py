"""What a data set accepts, and what picking, thinning and joining leave of it."""

import pickle

import pytest
import torch
from nwidth.backends import Axis, Grid, Mesh
from nwidth.data import Dataset, concatenate, open_dataset, save_dataset
from nwidth.errors import NWidthError

SPACES = {1: (6,), 2: (6, 4), 3: (6, 4, 2)}


def steady(n: int = 5, space: tuple[int, ...] = (6, 4), dtype: torch.dtype = torch.float32, **changed) -> Dataset:
    u = torch.randn(n, 2, *space, dtype=dtype)
    given = {"grid": Grid.make(space), "u": u, "a": torch.randn(n, 1, *space), "mu": torch.randn(n, 3)}
    return Dataset(**given | changed)


def moving(n: int = 5, space: tuple[int, ...] = (6,), times: int = 4, **changed) -> Dataset:
    t = 0.5 * torch.arange(1, times + 1, dtype=torch.float64)
    given = {"grid": Grid.make(space), "u": torch.randn(n, times, 1, *space), "u0": torch.randn(n, 1, *space), "t": t}
    return Dataset(**given | changed)


@pytest.fixture(params=["memory", "file"])
def stored(request, tmp_path):
    """The same data set in memory, or as arrays on disk."""

    def store(data: Dataset) -> Dataset:
        if request.param == "memory":
            return data
        save_dataset(tmp_path / "d.h5", data)
        return open_dataset(tmp_path / "d.h5")

    return store


@pytest.mark.parametrize("dims", SPACES)
@pytest.mark.parametrize(
    ("pick", "index"),
    [
        ([3, 0], [3, 0]),
        (slice(1, 4), [1, 2, 3]),
        (torch.tensor([2]), [2]),
        (range(0, 5, 2), [0, 2, 4]),
        ([], []),
        ([True, False, True, True, False], [0, 2, 3]),
    ],
    ids=str,
)
def test_picking_samples(stored, dims, pick, index):
    whole = steady(space=SPACES[dims])
    part = stored(whole)[pick]
    assert len(part) == len(index)
    for name in ("u", "a", "mu"):
        assert torch.equal(getattr(part.load(), name), getattr(whole, name)[index])


@pytest.mark.parametrize("pick", [[5], [-1], [[0, 1]], 2, [0.5], [True, False], torch.tensor(1)], ids=str)
def test_bad_picks_are_refused(stored, pick):
    with pytest.raises(NWidthError):
        stored(steady())[pick]


@pytest.mark.parametrize(("space", "time"), [(1, 1), (2, 1), (1, 2), (3, 4), (2, 3)])
def test_thinning(stored, space, time):
    whole = moving(space=(6, 12), times=8)
    part = stored(whole).thin(space, time).load()
    keep = [k for k in range(8) if (k + 1) % time == 0]  # counted from t0, which is not in t
    assert part.t.tolist() == [whole.t[k] for k in keep]
    assert torch.equal(part.u, whole.u[:, keep][..., ::space, ::space])
    assert torch.equal(part.u0, whole.u0[..., ::space, ::space])
    assert torch.equal(part.grid.coordinates(), whole.grid.coordinates()[..., ::space, ::space])


def test_thinning_twice_and_picking_commute(stored):
    data = stored(moving(space=(12,), times=8))
    once = data.thin(4, 4)[[4, 1]].load()
    again = data[[0, 1, 4]].thin(2, 2)[[2, 1]].thin(2, 2).load()
    assert torch.equal(once.u, again.u) and torch.equal(once.t, again.t) and once.grid == again.grid


def test_questions_hold_no_answer():
    data = moving()
    assert data.inputs().u is None and data.inputs().t is data.t and data.inputs().reads == ("u0",)
    assert len(data.inputs()) == 5
    with pytest.raises(NWidthError, match="no solution u"):
        data.inputs().solution  # noqa: B018
    with pytest.raises(NWidthError, match="without inputs"):
        Dataset(Grid.make((6,)), u=torch.rand(2, 1, 6)).inputs()


def test_casting_keeps_complex_fields_complex():
    data = steady(dtype=torch.complex128)
    assert data.to(dtype=torch.float32).u.dtype == torch.complex64
    assert data.to(dtype=torch.float64).a.dtype == torch.float64
    assert torch.equal(data.to(dtype=torch.float64).u, data.u)


def test_channel_names_and_size():
    data = steady(names={"u": ("density", "pressure")})
    assert data.channels("u") == ("density", "pressure") and data.channels("a") == ("a",)
    assert steady().channels("u") == ("u0", "u1") and data.channels("u0") == ()
    assert moving().channels("u") == ("u",)
    assert data.nbytes == 4 * (5 * 2 * 24 + 5 * 24 + 5 * 3)


def test_joining():
    first, second = moving(3), moving(2)
    joined = concatenate([first, second])
    assert torch.equal(joined.u, torch.cat([first.u, second.u])) and len(joined) == 5 and joined.t is first.t


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (moving(space=(8,)), "grids"),
        (moving(grid=Grid.make((6,), "cell")), "grids"),
        (moving(t=torch.tensor([1.0, 2.0, 3.0, 5.0])), "times"),
        (moving(times=3), "times"),
        (moving(u0=None), "u0 in some"),
        (moving(mu=torch.rand(5, 1)), "mu in some"),
        (moving(u0=torch.rand(5, 2, 6)), "shapes"),
    ],
)
def test_sets_that_differ_are_not_joined(other, words):
    with pytest.raises(NWidthError, match=words):
        concatenate([moving(), other])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Dataset(Grid.make((6,))), "no fields"),
        (lambda: steady(a=torch.rand(4, 1, 6, 4)), "different sample counts"),
        (lambda: steady(u=torch.rand(5, 6, 4)), "u of shape (5, 6, 4)"),
        (lambda: steady(u=torch.rand(5, 1, 4, 6)), "space (6, 4)"),
        (lambda: steady(mu=torch.rand(5)), "mu of shape"),
        (lambda: moving(t=torch.tensor([1.0, 3.0, 2.0, 4.0])), "strictly increasing"),
        (lambda: moving(t=torch.tensor([1.0, 2.0, 2.0, 4.0])), "strictly increasing"),
        (lambda: moving(t=torch.tensor([1.0, 2.0, float("nan"), 4.0])), "not finite"),
        (lambda: moving(t=torch.tensor([1.0, 2.0, 3.0])), "4 states in u and 3 times"),
        (lambda: moving(t0=0.5), "t0=0.5 and the first time 0.5"),
        (lambda: moving(u=torch.randn(5, 1, 6)), "(N, T, C, *space)"),
        (lambda: moving().thin(time=5), "or none"),
        (lambda: moving().thin(space=0), "strides of 1 or more"),
        (lambda: Dataset(Mesh(torch.rand(6, 2)), u=torch.rand(2, 1, 6)).thin(2), "mesh"),
        (lambda: Dataset(Grid([Axis("nodal", 6)]), u=torch.rand(2, 1, 7)), "(2, 1, 7)"),
    ],
)
def test_errors_name_what_arrived(make, words):
    with pytest.raises(NWidthError) as error:
        make()
    assert words in str(error.value)


def test_a_data_set_travels_between_processes(stored):
    data = stored(moving())
    again = pickle.loads(pickle.dumps(data))
    assert torch.equal(again.load().u, data.load().u) and again.grid == data.grid
