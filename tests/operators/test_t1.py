"""T1: exact on band-limited fields, variance kept, the block chosen from data, the published size."""

import copy
import math
from functools import partial

import pytest
import torch
from nwidth import Grid, NWidthError
from nwidth.backends.grid import Axis
from nwidth.operators import T1, T1U

GRIDS = {
    "waves": Grid.make((24,)),
    "cosines": Grid((Axis("cell", 20), Axis("nodal", 17))),
    "mixed": Grid((Axis("periodic", 12), Axis("chebyshev", 11), Axis("cell", 10))),
}


def identity(net):
    """Weights for which u is the first channel of x: the sine is linear for small arguments."""
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        net.lift.weight[0, 0] = 1
        net.hidden.weight[0, 0] = 1e-7
        net.project.weight[0, 0] = 1e7
    return net


@pytest.mark.parametrize("basis", ["auto", "cosine"])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_identity_weights_give_back_a_band_limited_field_at_every_resolution(grid, basis):
    torch.manual_seed(0)
    net = identity(T1(2, 1, grid, modes=7, width=4, layers=2, basis=basis).double())
    c = torch.randn(3, 2, *net.counts, dtype=torch.float64)
    for shape in (grid.shape, tuple(n + 5 for n in grid.shape), tuple(n - 2 for n in grid.shape)):
        x = net.synthesise(c, shape)
        assert torch.allclose(net(x), x[:, :1], atol=1e-6)


@pytest.mark.parametrize("family", ["auto", "cosine"])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_coefficients_keep_the_norm_of_the_metrics(grid, family):
    torch.manual_seed(0)
    net = T1(1, 1, grid, modes=grid.shape, width=2, layers=1, basis=family).double()
    u = torch.randn(2, 1, *grid.shape, dtype=torch.float64)
    w = grid.norm_weights() / grid.norm_weights().sum()
    c = net.analyse(u)
    assert torch.allclose(c.square().flatten(1).sum(1), (u.square() * w).flatten(1).sum(1))
    assert torch.allclose(net.synthesise(c), u, atol=1e-8)


@pytest.mark.parametrize("shape", [(64, 64), (400,)], ids=str)
def test_variance_is_kept_at_the_start(shape):
    """White noise of the points, through the first layer and back, has the variance it had."""
    torch.manual_seed(0)
    options = {"modes": 16, "width": 48, "activation": "identity", "scaling": "none"}
    net = T1(1, 1, Grid.make(shape), layers=1, **options)
    z = net.analyse(torch.randn(200, 48, *shape)) * math.sqrt(math.prod(shape))
    layer = net.layers[0]
    z = z.flatten(2).permute(2, 0, 1).contiguous()
    with torch.no_grad():
        change = layer(z) - z
        deeper = T1(1, 1, Grid.make(shape), layers=2, **options).layers[1]
        again = deeper(change) - change
    for y in (change, again):
        u = net.synthesise(y.permute(1, 2, 0).unflatten(2, net.counts) / math.sqrt(math.prod(shape)))
        assert abs(float(u.var()) - 1) < 0.1


@pytest.mark.parametrize("make", [partial(T1, layers=1), T1U])
def test_scaled_channels_enter_alike_and_the_first_layer_keeps_their_size(make):
    """Few modes on a fine grid, the block cut to those: nothing is larger than the data, reloaded too."""
    torch.manual_seed(0)
    grid = Grid.make((256,))
    x = torch.randn(50, 1, 1) + 0.3 * torch.randn(50, 1, 1) * torch.sin(2 * math.pi * grid.coordinates()[0]).float()
    net = make(1, 1, grid, modes=24, width=48)
    net.prepare(x, x)
    assert net.counts == (3,)
    other = make(1, 1, grid, modes=24, width=48)
    other.load_state_dict(net.state_dict())
    for n in (net, other):
        entered = n.enter(n.analyse(x))
        assert torch.allclose(entered.square().mean((0, 1)), torch.ones(3), rtol=1e-4)
        first = n.layers[0] if isinstance(n, T1) else n.layer
        assert abs(float(first.weight.detach().std()) * math.sqrt(48) - 1) < 0.1


def test_has_the_published_number_of_parameters():
    """64^2, 24 modes, 48 channels, 8 layers: 8 (24^2 48^2 + 2 24^2 48) in the layers."""
    net = T1(1, 1, Grid.make((64, 64)), modes=24)
    layers = sum(p.numel() for p in net.layers.parameters())
    assert layers == 8 * (24**2 * 48**2 + 2 * 24**2 * 48)
    assert sum(p.numel() for p in net.parameters()) == layers + 48 * 4 + 48 * 128 + 128 + 128 + 1


@pytest.mark.parametrize("kind", [T1, T1U])
def test_the_block_follows_the_data_and_survives_saving(kind):
    torch.manual_seed(0)
    grid = Grid((Axis("periodic", 32), Axis("cell", 24)))
    make = lambda: kind(1, 1, grid, modes=16, truncation=0.02, width=4)  # noqa: E731
    net = make()
    x, y = grid.coordinates()
    phase = torch.rand(20, 1, 1, dtype=torch.float64) * 6
    u = torch.cos(2 * torch.pi * 3 * x + phase) + torch.cos(torch.pi * 5 * y) + 1e-3 * torch.cos(torch.pi * 9 * y)
    net.prepare(torch.randn(20, 1, 32, 24), u[:, None])
    assert net.counts == (7, 6)  # waves 0 .. 3, cosines 0 .. 5
    with torch.no_grad():
        for p in net.parameters():
            p.normal_()
    again = make()
    again.load_state_dict(net.state_dict())
    v = torch.randn(2, 1, 32, 24)
    assert again.counts == (7, 6) and torch.equal(again(v), net(v))
    c = net.analyse(u[:, None].float()) / net.size_out
    assert abs(float(c.square().mean()) - 1) < 1e-4


def test_a_cropped_network_starts_as_one_of_that_size():
    torch.manual_seed(0)
    net = T1(1, 1, Grid.make((64, 64)), modes=32, width=16, layers=2)
    net.crop((12, 9))
    fresh = T1(1, 1, Grid.make((64, 64)), modes=(12, 9), width=16, layers=2)
    for (name, a), b in zip(net.named_parameters(), fresh.parameters()):
        assert a.shape == b.shape
        if name.startswith("layers"):
            assert abs(float(a.detach().std() / b.detach().std()) - 1) < 0.1


@pytest.mark.parametrize("kind", [T1, T1U])
@pytest.mark.parametrize("shape", [(16,), (12, 10), (8, 9, 10)], ids=str)
def test_any_dimension_and_gradients(kind, shape):
    net = kind(2, 3, Grid.make(shape, kind="nodal"), modes=8, width=4)
    with torch.no_grad():
        net.project.weight.normal_()
    y = net(torch.randn(2, 2, *shape))
    assert y.shape == (2, 3, *shape)
    y.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert net(torch.randn(1, 2, *(n + 3 for n in shape))).shape == (1, 3, *(n + 3 for n in shape))


@pytest.mark.parametrize("kind", [T1, T1U])
def test_precision_seed_and_compilation(kind):
    nets = []
    for _ in range(2):
        torch.manual_seed(1)
        nets.append(kind(1, 1, Grid((Axis("periodic", 16), Axis("nodal", 12))), modes=8, width=4))
        torch.nn.init.normal_(nets[-1].project.weight)
    x = torch.randn(2, 1, 16, 12)
    assert torch.equal(nets[0](x), nets[1](x))
    y = copy.deepcopy(nets[0]).double()(x.double())
    assert y.dtype == torch.float64 and torch.allclose(y.float(), nets[0](x), rtol=1e-3, atol=1e-4)
    compiled = torch.compile(nets[0], fullgraph=True, backend="eager")
    for shape in ((16, 12), (20, 11)):
        x = torch.randn(2, 1, *shape)
        assert torch.allclose(compiled(x), nets[0](x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modes": 17}, "1 to 16"),
        ({"modes": [3]}, "or 2 of them"),
        ({"width": 0}, "at least 1"),
        ({"truncation": 2.0}, "between 0 and 1"),
        ({"scaling": "rms"}, "channel or none"),
        ({"basis": "dft"}, "auto, cosine"),
        ({"activation": "gleu"}, "one of gelu"),
    ],
)
def test_errors(options, words):
    for kind in (T1, T1U):
        with pytest.raises(NWidthError, match=words):
            kind(1, 1, Grid.make((16, 16)), **options)
    with pytest.raises(NWidthError, match="listed"):
        T1(1, 1, Grid((Axis("listed", 3, points=(0.0, 0.1, 1.0)),)))
