"""Coarser grids first, few modes first, and a start from another run."""

from functools import partial

import pytest
import torch
from nwidth import Axis, Grid, NWidthError
from nwidth.data import Dataset
from nwidth.operators import FFNO, FNO
from nwidth.solvers import Burgers, Darcy
from nwidth.training import NeuralSurrogate, TrainingSettings
from nwidth.training.coarsening import Coarsening, restrict
from nwidth.training.growth import ModeGrowth
from nwidth.training.runs import save_config, save_fitted

QUIET = {"progress": False, "tensorboard": False, "device": "cpu"}


@pytest.mark.parametrize(("kind", "n", "factor"), [("periodic", 12, 3), ("nodal", 13, 4), ("cell", 12, 2)])
def test_restriction_samples_the_same_function(kind, n, factor):
    grid = Grid((Axis(kind, n, 1.0, 3.0, "x"), Axis("periodic", 24, 0.0, 1.0, "y")))
    x, y = grid.coordinates()
    coarse = restrict(2 * x + torch.sin(2 * torch.pi * y), grid, factor)
    target = grid.with_shape(coarse.shape)
    x, y = target.coordinates()
    assert torch.allclose(coarse, 2 * x + torch.sin(2 * torch.pi * y))


def test_factors_that_do_not_divide_are_refused():
    for grid in (Grid.make((10,)), Grid.make((9,), "cell"), Grid((Axis("chebyshev", 9),)), Grid.make((4,))):
        with pytest.raises(NWidthError, match="divides the intervals"):
            restrict(torch.zeros(grid.shape), grid, 4)
    for bad in ([], [0, 1], 3, ["a"]):
        with pytest.raises(NWidthError, match="coarsening"):
            TrainingSettings(coarsening=bad)
    with pytest.raises(NWidthError, match="staged or mixed"):
        TrainingSettings(coarsening_order="random")


def test_mixed_draws_every_factor_and_depends_on_seed_and_step_alone():
    draw = Coarsening((1, 2, 4), "mixed", 0)
    first = [draw.factor(s, 0.0) for s in range(30)]
    assert set(first) == {1, 2, 4} and first == [draw.factor(s, 0.7) for s in range(30)]
    assert first != [Coarsening((1, 2, 4), "mixed", 1).factor(s, 0.0) for s in range(30)]


class Watch(torch.nn.Module):
    def __init__(self, net, seen):
        super().__init__()
        self.net, self.seen = net, seen

    def forward(self, x):
        if self.training:
            self.seen.append(x.shape[-1])
        return self.net(x)


def test_a_training_visits_its_grids_in_turn():
    problem, seen = Darcy(), []
    data = problem.simulate(range(12), 0, problem.grid(16))

    def network(in_channels, out_channels, grid):
        return Watch(FNO(in_channels, out_channels, grid, modes=4, width=4, layers=1), seen)

    settings = TrainingSettings(steps=9, batch_size=4, coarsening=[4, 2, 1], **QUIET)
    NeuralSurrogate(network, partial(torch.optim.Adam, lr=1e-3), training=settings).fit(data, None, seed=0)
    assert seen == [4] * 3 + [8] * 3 + [16] * 3


def noise(n=24, points=32):
    """u is a convolution of a that needs frequencies up to 6."""
    a = torch.randn(n, 1, points, generator=torch.Generator().manual_seed(0))
    keep = torch.zeros(17)
    keep[:7] = 1
    return Dataset(Grid.make((points,)), a=a, u=torch.fft.irfft(torch.fft.rfft(a) * keep, n=points))


def test_layers_grow_to_the_modes_that_they_need_and_no_further():
    grown = {}
    for name, data in (("rough", noise()), ("flat", Dataset(Grid.make((32,)), a=noise().a, u=noise().a.mean(-1, True)
                                                            .expand(-1, 1, 32).clone()))):  # fmt: skip
        kept = []

        def network(in_channels, out_channels, grid, kept=kept):
            kept.append(
                FNO(in_channels, out_channels, grid, modes=24, width=8, layers=1, channel_mlp=0, init_scale=1.0)
            )
            return kept[0]

        settings = TrainingSettings(epochs=25, batch_size=8, grow_modes=2, grow_explained=0.98, **QUIET)
        surrogate = NeuralSurrogate(network, partial(torch.optim.Adam, lr=1e-2), training=settings)
        surrogate.fit(data[:16], data[16:], seed=0)
        conv = kept[0].blocks[0].conv
        used = conv.weight.detach().flatten(1).abs().amax(1) > 0
        grown[name] = int(used.sum())
        assert conv.active is None and used[: grown[name]].all()  # the low ones, and no limit left behind
    assert grown["flat"] <= 4 and grown["rough"] > grown["flat"] + 1


def test_a_limited_layer_is_the_whole_one_with_zero_weights():
    for net in (FNO(1, 1, Grid.make((16, 12)), modes=(8, 8), width=6, layers=2),
                FFNO(1, 1, Grid.make((16, 12)), modes=(8, 8), width=6, layers=2)):  # fmt: skip
        growth = ModeGrowth(net, 4, 0.9, 1)
        growth.on_train_start(None, None)
        x = torch.randn(2, 1, 16, 12)
        limited = net(x)
        assert growth.layers[0].active in ((4, 4), (4,))
        growth.release()
        assert torch.allclose(net(x), limited, atol=1e-6)
        assert float(growth.layers[0].weight.detach().abs().max()) > 0
    with pytest.raises(NWidthError, match="dense spectral layers"):
        ModeGrowth(FNO(1, 1, Grid.make((16,)), modes=6, width=6, layers=1, factorization="cp"), 2, 0.9, 1)
    with pytest.raises(NWidthError, match="init_from"):
        TrainingSettings(grow_modes=2, init_from="run")


CONFIG = {
    "_target_": "nwidth.training.NeuralSurrogate",
    "network": {"_target_": "nwidth.operators.FNO", "_partial_": True, "modes": 8, "width": 8, "layers": 2},
    "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.01},
    "training": {"_target_": "nwidth.training.TrainingSettings", "epochs": 8, **QUIET},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on a coarse grid, of another viscosity than the data that follow."""
    from nwidth.training.session import build_surrogate

    folder = tmp_path_factory.mktemp("runs") / "coarse"
    folder.mkdir()
    problem = Burgers(nu=0.1, times=2, final_time=0.2)
    data = problem.simulate(range(80), 0, problem.grid(16)).to(dtype=torch.float32)
    surrogate = build_surrogate(CONFIG)
    log = surrogate.fit(data[:70], data[70:], seed=0)
    save_config(folder, {"surrogate": CONFIG})
    save_fitted(folder, surrogate, log, {}, {}, {})
    return folder, surrogate


def test_a_training_starts_at_the_weights_and_scales_of_a_run(run):
    folder, source = run
    problem = Burgers(nu=0.09, times=2, final_time=0.2)
    data = problem.simulate(range(20), 7, problem.grid(32)).to(dtype=torch.float32)
    still = partial(torch.optim.SGD, lr=0.0)
    network = partial(FNO, modes=8, width=8, layers=2)
    settings = TrainingSettings(steps=1, init_from=str(folder), **QUIET)
    fitted = NeuralSurrogate(network, still, training=settings)
    fitted.fit(data[:4], None, seed=5)
    assert torch.equal(fitted.predict(data.inputs()).mean, source.predict(data.inputs()).mean)
    assert fitted.task.grid.shape == (32,)
    errors = {}
    for name, start in (("fine-tuned", str(folder)), ("scratch", None)):
        settings = TrainingSettings(epochs=10, batch_size=4, init_from=start, **QUIET)
        tuned = NeuralSurrogate(network, partial(torch.optim.Adam, lr=1e-3), training=settings)
        tuned.fit(data[:4], None, seed=0)
        u = tuned.predict(data[4:].inputs()).mean
        errors[name] = float((u - data.u[4:]).norm() / data.u[4:].norm())
    assert errors["fine-tuned"] < 0.5 * errors["scratch"]


def test_runs_that_do_not_fit_are_refused(run, tmp_path):
    folder, _ = run
    problem = Burgers(nu=0.1, times=3, final_time=0.2)
    data = problem.simulate(range(4), 0, problem.grid(16)).to(dtype=torch.float32)

    def start(where, network, data):
        settings = TrainingSettings(steps=1, init_from=str(where), **QUIET)
        NeuralSurrogate(network, partial(torch.optim.Adam, lr=1e-3), training=settings).fit(data, None)

    with pytest.raises(NWidthError, match=r"init_from.*outputs"):
        start(folder, partial(FNO, modes=8, width=8, layers=2), data)
    with pytest.raises(NWidthError, match=r"init_from.*do not fit"):
        start(folder, partial(FNO, modes=8, width=9, layers=2), Dataset(data.grid, u0=data.u0, u=data.u[:, :2],
                                                                        t=data.t[:2]))  # fmt: skip
    with pytest.raises(NWidthError, match=r"no config\.yaml"):
        start(tmp_path, partial(FNO, modes=8, width=8, layers=2), data)
