"""U-Net: against the same layers of torch.nn, any grid size and dimension, symmetries of the boundary conditions."""

import copy

import pytest
import torch
import torch.nn.functional as F
from nwidth import Grid, NWidthError
from nwidth.backends.grid import Axis
from nwidth.operators import UNet


def plain(net, x):
    """Three grids, zero padding and group norm, written out."""

    def double(block, v):
        for conv, norm in zip(block.convolutions, block.norms):
            v = F.gelu(F.group_norm(F.conv2d(v, conv.weight, padding=1), 1, norm.weight, norm.bias))
        return v

    s = net.scales
    a = double(s.encoders[0], x)
    b = double(s.encoders[1], F.max_pool2d(a, 2))
    c = double(s.encoders[2], F.max_pool2d(b, 2))
    for across, up, decode in ((b, s.ups[1], s.decoders[1]), (a, s.ups[0], s.decoders[0])):
        c = double(decode, torch.cat([across, F.conv_transpose2d(c, up.weight, up.bias, stride=2)], 1))
    return F.conv2d(c, net.project.weight[..., None, None], net.project.bias)


def test_equals_the_layers_written_out():
    torch.manual_seed(0)
    net = UNet(2, 3, Grid.make((16, 16), kind="nodal"), width=4, levels=3, positional=False).double()
    x = torch.randn(2, 2, 16, 20, dtype=torch.float64)
    assert torch.allclose(net(x), plain(net, x), atol=1e-12)


def test_has_the_number_of_parameters_of_the_reference():
    """Widths 64 to 1024 on five grids: 31.0 M, as Ronneberger's with padding and without biases before the norms."""
    net = UNet(1, 1, Grid.make((64, 64)), width=64, levels=5, positional=False)
    sizes = [64, 128, 256, 512, 1024]
    convolutions = sum(9 * (a * b + b * b) for a, b in zip([1, *sizes], sizes))
    convolutions += sum(9 * (2 * a * a + a * a) + (4 * 2 * a * a + a) for a in sizes[:-1])
    norms = 2 * (2 * sum(sizes) + 2 * sum(sizes[:-1]))
    assert sum(p.numel() for p in net.parameters()) == convolutions + norms + 65 == 31_036_481


@pytest.mark.parametrize("up", ["transposed", "linear"])
@pytest.mark.parametrize("boundary", ["auto", "periodic", "reflect"])
@pytest.mark.parametrize("shape", [(16,), (85,), (21, 16), (11, 14), (3, 12), (6, 9, 8)], ids=str)
def test_any_size_and_dimension(shape, boundary, up):
    net = UNet(2, 3, Grid.make(shape, kind="nodal"), width=4, boundary=boundary, up=up)
    y = net(torch.randn(2, 2, *shape))
    assert y.shape == (2, 3, *shape)
    y.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert net(torch.randn(2, 2, *(n + 5 for n in shape))).shape[2:] == tuple(n + 5 for n in shape)


def test_short_axes_are_halved_less_often():
    net = UNet(1, 1, Grid.make((4, 64, 20)), width=2)
    assert net.scales.factors == [(1, 2, 2), (1, 2, 2), (1, 2, 1), (1, 2, 1)]
    assert UNet(1, 1, Grid.make((3, 3)), width=2).scales.factors == []


def test_a_periodic_network_commutes_with_shifts_of_the_coarsest_cells():
    torch.manual_seed(0)
    net = UNet(1, 1, Grid.make((16, 24)), width=3, levels=3, positional=False).double()
    x = torch.randn(1, 1, 16, 24, dtype=torch.float64)
    assert torch.allclose(net(x.roll((4, 8), (2, 3))), net(x).roll((4, 8), (2, 3)), atol=1e-12)
    assert not torch.allclose(net(x.roll(1, 2)), net(x).roll(1, 2), atol=1e-3)


@pytest.mark.parametrize("boundary", ["zero", "reflect"])
def test_mirrored_weights_mirror_the_answer(boundary):
    torch.manual_seed(0)
    net = UNet(1, 1, Grid.make((16,), kind="nodal"), width=3, boundary=boundary, positional=False).double()
    x = torch.randn(1, 1, 16, dtype=torch.float64)
    y = net(x)
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim == 3:
                p.copy_(p.flip(-1))
    assert torch.allclose(net(x.flip(-1)), y.flip(-1), atol=1e-12)


@pytest.mark.parametrize("norm", ["none", "batch", "instance", "group"])
def test_norms_precision_and_state(norm):
    torch.manual_seed(0)
    net = UNet(1, 2, Grid.make((12, 12)), width=4, norm=norm)
    net(torch.randn(4, 1, 12, 12))
    net.eval()
    x = torch.randn(2, 1, 12, 12)
    y = copy.deepcopy(net).double()(x.double())
    assert y.dtype == torch.float64 and torch.allclose(y.float(), net(x), atol=1e-4)
    other = UNet(1, 2, Grid.make((12, 12)), width=4, norm=norm).eval()
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), net(x))


@pytest.mark.parametrize("up", ["transposed", "linear"])
def test_compiles_without_graph_breaks(up):
    net = UNet(1, 1, Grid((Axis("nodal", 12), Axis("periodic", 10))), width=4, up=up).eval()
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    for shape in ((12, 10), (15, 21)):
        x = torch.randn(2, 1, *shape)
        assert torch.allclose(compiled(x), net(x), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 0}, "width=0"),
        ({"levels": 0}, "levels=0"),
        ({"norm": "layer"}, "none, batch, instance, group"),
        ({"up": "nearest"}, "transposed, linear"),
        ({"activation": "gleu"}, "one of gelu"),
        ({"boundary": "neumann"}, "zero, periodic or reflect"),
    ],
)
def test_errors(options, words):
    with pytest.raises(NWidthError, match=words):
        UNet(1, 1, Grid.make((8, 8)), **options)


def test_wrong_input_and_too_many_reflecting_levels():
    with pytest.raises(NWidthError, match="1 channels, 2 space axes"):
        UNet(1, 1, Grid.make((8, 8)), width=2)(torch.randn(1, 8, 8))
    with pytest.raises(NWidthError, match="fewer levels"):
        UNet(1, 1, Grid.make((8,), kind="nodal"), width=2, levels=5, boundary="reflect")(torch.randn(1, 1, 8))
    with pytest.raises(NWidthError, match="1 to 3 axes"):
        UNet(1, 1, Grid.make((4, 4, 4, 4)))
