"""F-FNO against a naive transcription of its equations, and as a function of functions."""

import copy

import pytest
import torch
import torch.nn.functional as F
from nwidth import Axis, Grid, NWidthError
from nwidth.operators import FFNO, SpectralConv

SMALL = {"modes": 4, "width": 6, "layers": 2}


def relative(a, b):
    assert a.shape == b.shape
    return float(((a - b).norm() / b.norm()).detach())


def pointwise(linear, v):
    """(B, C, *space)"""
    y = torch.einsum("oc,bc...->bo...", linear.weight, v)
    return y + linear.bias.view(-1, *(1,) * (v.ndim - 2))


def naive(net, x):
    """Full real FFTs of one axis at a time, on a periodic grid."""
    d = x.ndim - 2
    where = torch.meshgrid(*(torch.arange(n, dtype=x.dtype) / n for n in x.shape[2:]), indexing="ij")
    v = pointwise(net.lift.linears[0], torch.cat([x, torch.stack(where).expand(len(x), -1, *x.shape[2:])], 1))
    for i in range(len(net.feedforward)):
        total = 0
        for axis in range(d):
            conv = net.convs[0 if len(net.convs) == 1 else i][axis]
            w = torch.view_as_complex(conv.weight)
            c = torch.fft.rfft(v.movedim(axis + 2, -1))
            out = torch.zeros_like(c)
            out[..., : len(w)] = torch.einsum("bi...k,kio->bo...k", c[..., : len(w)], w)
            total = total + torch.fft.irfft(out, n=x.shape[axis + 2]).movedim(-1, axis + 2)
        a, b = net.feedforward[i].linears
        v = v + pointwise(b, F.gelu(pointwise(a, total)))
    a, b = net.project.linears
    return pointwise(b, F.gelu(pointwise(a, v)))


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("shape", [(16,), (12, 16), (8, 10, 9)], ids=str)
def test_equals_the_equations(shape, share):
    torch.manual_seed(0)
    net = FFNO(2, 3, Grid.make(shape), share=share, **SMALL).double()
    x = torch.randn(2, 2, *shape, dtype=torch.float64)
    assert relative(net(x), naive(net, x)) < 1e-12
    assert len(net.convs) == (1 if share else 2)


def test_weights_grow_with_the_sum_of_the_modes():
    grid = Grid.make((32, 32, 32))
    spectral = [
        sum(p.numel() for p in FFNO(1, 1, grid, modes=m, width=4, layers=1).convs.parameters()) for m in (8, 16)
    ]
    assert spectral == [3 * (m // 2 + 1) * 4 * 4 * 2 for m in (8, 16)]


@pytest.mark.parametrize("method", ["auto", "matmul", "pruned"])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_along_one_axis_equals_the_layer_of_one_dimension(axis, method):
    torch.manual_seed(0)
    conv = SpectralConv(3, 4, 5, method=method).double()
    x = torch.randn(2, 8, 9, 10, 3, dtype=torch.float64, requires_grad=True)
    lines = x.movedim(axis, -1).flatten(0, 2)
    expected = conv(lines).unflatten(0, [n for i, n in enumerate(x.shape[:-1]) if i != axis]).movedim(-1, axis)
    y = conv.along(x, axis)
    assert relative(y, expected) < 1e-13
    g = torch.randn_like(y)
    assert relative(torch.autograd.grad(y, x, g)[0], torch.autograd.grad(expected, x, g)[0]) < 1e-13


@pytest.mark.parametrize("kind", ["periodic", "nodal", "chebyshev"])
def test_another_resolution_gives_the_same_function(kind):
    torch.manual_seed(0)
    coarse, fine = Grid.make((33, 33), kind), Grid.make((66, 66) if kind == "periodic" else (65, 65), kind)
    net = FFNO(1, 1, coarse, **SMALL).eval()

    def field(grid):
        x = grid.coordinates()
        return (torch.sin(2 * torch.pi * (x[0] + x[1])) + 0.3 * torch.cos(4 * torch.pi * x[0])).float()[None, None]

    assert relative(net(field(coarse)), net(field(fine))[..., ::2, ::2]) < 2e-2


@pytest.mark.parametrize(
    "options",
    [
        {"modes": None, "dropout": 0.1},
        {"modes": (3, 6), "extension": None, "positional": False},
        {"activation": "silu", "projection": 0.0, "lifting": 1.0, "fused": False},
    ],
    ids=str,
)
def test_options(options):
    net = FFNO(1, 2, Grid((Axis("cell", 12), Axis("periodic", 10))), **{**SMALL, **options})
    y = net(torch.randn(2, 1, 12, 10))
    y.sum().backward()
    assert y.shape == (2, 2, 12, 10)
    assert [n for n, p in net.named_parameters() if p.grad is None] == []


def test_many_layers_start_well_scaled():
    torch.manual_seed(0)
    net = FFNO(1, 1, Grid.make((32, 32)), width=16, layers=24)
    x = torch.randn(4, 1, 32, 32, requires_grad=True)
    y = net(x)
    y.square().mean().backward()
    assert 1e-3 < float(y.detach().std()) < 1e3 and bool(torch.isfinite(x.grad).all()) and float(x.grad.norm()) > 1e-6


def test_precision_state_and_compile():
    net = FFNO(1, 1, Grid((Axis("nodal", 12), Axis("periodic", 10))), share=True, **SMALL)
    x = torch.randn(2, 1, 12, 10)
    y = net(x)
    assert relative(copy.deepcopy(net).double()(x.double()), y.double()) < 1e-5
    state = net.state_dict()
    assert not any(v.is_complex() for v in state.values())
    assert len({v.data_ptr() for v in state.values()}) == len(state)  # shared weights appear once
    other = FFNO(1, 1, net.grid, share=True, **SMALL)
    other.load_state_dict(state)
    assert torch.equal(other(x), y)
    torch._dynamo.reset()
    assert relative(torch.compile(net, fullgraph=True, backend="eager")(x), y) < 1e-5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modes": 20}, "expected 1 to 12"),
        ({"layers": 0}, "layers=0"),
        ({"feedforward": 0.0}, "feedforward=0"),
        ({"activation": "gleu"}, "got 'gleu'"),
    ],
)
def test_option_errors(options, words):
    with pytest.raises(NWidthError, match=words):
        FFNO(1, 1, Grid.make((12, 12)), **options)


def test_input_errors():
    with pytest.raises(NWidthError, match="batch, 2 channels, 2 space axes"):
        FFNO(2, 1, Grid.make((12, 12)), **SMALL)(torch.zeros(1, 1, 12, 12))
    with pytest.raises(NWidthError, match="got str"):
        FFNO(1, 1, "grid")
