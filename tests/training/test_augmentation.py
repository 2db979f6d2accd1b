"""Symmetries of the grid as additional training samples of networks."""

import pytest
import torch
from nwidth import Dataset, Grid, NWidthError
from nwidth.data.symmetry import candidates, images
from nwidth.operators import FNO
from nwidth.solvers import Darcy
from nwidth.training import NeuralSurrogate, TrainingSettings
from nwidth.training.augmentation import chosen_symmetries, confirmed, named
from nwidth.training.batches import Pairs, StepBatches
from nwidth.training.tasks import make_task


@pytest.fixture(scope="module")
def data():
    problem = Darcy()
    return problem.simulate(range(60), 0, problem.grid(12))


def surrogate(**settings):
    def network(in_channels, out_channels, grid):
        return FNO(in_channels, out_channels, grid, modes=4, width=8, layers=2)

    settings = {"epochs": 4, "tensorboard": False, "device": "cpu", "progress": False, **settings}
    return NeuralSurrogate(network, lambda p: torch.optim.Adam(p, lr=5e-3), training=TrainingSettings(**settings))


def test_the_square_keeps_its_symmetries_and_a_lopsided_problem_does_not():
    problem = Darcy()
    data = problem.simulate(range(160), 0, problem.grid(8))
    assert {"exchange x and y", "reflect x", "reflect y"} <= {s.name for s in confirmed(data[:100], data[100:])}
    slope = 1 + 3 * data.grid.coordinates()[0] ** 2
    lopsided = Dataset(data.grid, a=data.a, u=data.u * slope)
    assert {s.name for s in confirmed(lopsided[:100], lopsided[100:])} == {"reflect y"}


def test_pairs_of_an_image_are_the_moved_pairs(data):
    task = make_task(data, "auto", "none", "none", torch.float64).fit(data)
    exchange, reflect = named(["exchange x and y", "reflect x"], data)
    group = images([exchange, reflect])
    sets = [image(data) for image in group]
    for memory in (0, 2**30):
        pairs = Pairs(task, sets, memory)
        x, y = pairs.__getitems__([3, 60 + 5, 3 * 60 + 7, 2 * 60 + 3])
        for row, (g, i) in enumerate([(0, 3), (1, 5), (3, 7), (2, 3)]):
            moved = group[g](data[[i]])
            assert torch.equal(x[row], moved.a[0].double()) and torch.equal(y[row], moved.u[0].double())
        assert torch.equal(group[3].undo(y[2:3])[0], data.u[7].double())


def test_batches_draw_random_images_of_each_item():
    epochs = list(StepBatches(100, 100, 2, seed=0, images=4))
    for batch in epochs:
        assert sorted(i % 100 for i in batch) == list(range(100))
        counts = torch.bincount(torch.tensor(batch) // 100, minlength=4)
        assert bool((counts > 10).all())
    assert epochs[0] != epochs[1]


def test_augmentation_and_averaging_lower_the_error(data):
    errors = []
    names = ["exchange x and y", "reflect x", "reflect y"]
    for options in ({}, {"symmetries": names}, {"symmetries": names, "average_symmetries": True}):
        fitted = surrogate(epochs=25, **options)
        log = fitted.fit(data[:40], data[40:50], seed=0)
        errors.append(log.selected["val_rel_l2"])
        if options:
            assert log.selected["symmetries"] == names
    assert errors[2] < errors[1] < errors[0]


def test_an_averaged_prediction_commutes_with_the_symmetry_also_after_loading(data):
    fitted = surrogate(symmetries=["exchange x and y"], average_symmetries=True)
    fitted.fit(data[:40], data[40:50], seed=0)
    again = surrogate(symmetries=["exchange x and y"], average_symmetries=True)
    again.load_state_dict(fitted.state_dict())
    (exchange,) = named(["exchange x and y"], data)
    test = data[50:]
    u = again.predict(test.inputs()).mean
    assert torch.allclose(again.predict(exchange(test).inputs()).mean, u.transpose(-1, -2), atol=1e-6)
    plain = surrogate()
    plain.load_state_dict(fitted.state_dict())
    assert not torch.allclose(plain.predict(exchange(test).inputs()).mean, plain.predict(test.inputs()).mean.mT)


def test_names_are_checked(data):
    assert chosen_symmetries("none", data, None) == [] and chosen_symmetries("auto", data, None) == []
    with pytest.raises(NWidthError, match="of this grid: exchange x and y"):
        chosen_symmetries(["turn"], data, None)
    vector = Dataset(Grid.make((4, 4)), u=torch.rand(2, 2, 4, 4), a=torch.rand(2, 1, 4, 4))
    assert candidates(vector) == []
    with pytest.raises(NWidthError, match="it has none"):
        chosen_symmetries("reflect x", vector, None)
