"""U-NO against a naive transcription on a circle, at any size, and as a function of functions."""

import copy

import pytest
import torch
import torch.nn.functional as F
from nwidth import Axis, Grid, NWidthError
from nwidth.operators import UNO

SMALL = {"modes": 6, "width": 6}


def relative(a, b):
    assert a.shape == b.shape
    return float(((a - b).norm() / b.norm()).detach())


def pointwise(linear, v):
    y = torch.einsum("oc,bcn->bon", linear.weight, v)
    return y if linear.bias is None else y + linear.bias[:, None]


def moved(v, n):
    """Trigonometric interpolation to n = m/2 or 2 m points, m even."""
    m = v.shape[-1]
    if n < m:
        return v[..., ::2]
    c = torch.fft.rfft(v)
    if n > m:
        c[..., -1] /= 2  # the Nyquist mode stays the cosine
    return torch.fft.irfft(c, n=n) * (n / m)


def layer(net, v, n, act=F.gelu):
    w = torch.view_as_complex(net.conv.weight)
    c = torch.fft.rfft(v, norm="forward")[..., : len(w)]
    last = 2 * (len(w) - 1)
    c = c * torch.where(2 * torch.arange(len(w)) == v.shape[-1], 0.5, 1.0)  # a cosine counts half on either side
    c = torch.einsum("bik,kio->bok", c, w)
    k = torch.zeros(*c.shape[:2], n // 2 + 1, dtype=c.dtype)
    k[..., : len(w)] = c * torch.where((torch.arange(len(w)) == n // 2) & (last == n), 2.0, 1.0)
    k = torch.fft.irfft(k, n=n, norm="forward") + net.conv.bias[:, None]
    y = act(k + moved(pointwise(net.pointwise, v), n))
    if net.mlp is not None:
        a, b = net.mlp.linears
        y = y + pointwise(b, F.gelu(pointwise(a, y)))
    return y


def naive(net, x):
    """One level: down, bottom, up, join, top."""
    n = x.shape[-1]
    points = (torch.arange(n, dtype=x.dtype) / n).expand(len(x), 1, n)
    a, b = net.lift.linears
    v0 = pointwise(b, F.gelu(pointwise(a, torch.cat([x, points], 1))))
    v = layer(net.bottom, layer(net.down[0], v0, n // 2), n // 2)
    v = torch.cat([layer(net.up[0], v, n), v0], 1)
    a, b = net.project.linears
    return pointwise(b, F.gelu(pointwise(a, layer(net.top, v, n, act=lambda y: y))))


@pytest.mark.parametrize("channel_mlp", [0.0, 0.5])
@pytest.mark.parametrize(("n", "modes"), [(32, 6), (16, 8), (16, 16)])
def test_equals_the_equations(n, modes, channel_mlp):
    torch.manual_seed(0)
    net = UNO(2, 3, Grid.make((n,)), modes=modes, width=4, levels=1, channel_mlp=channel_mlp).double()
    x = torch.randn(2, 2, n, dtype=torch.float64)
    assert relative(net(x), naive(net, x)) < 1e-12


@pytest.mark.parametrize("kind", ["periodic", "nodal", "cell", "chebyshev"])
@pytest.mark.parametrize("shape", [(21,), (16, 13), (9, 8, 10), (3, 40)], ids=str)
def test_any_size_in_any_dimension(shape, kind):
    torch.manual_seed(0)
    net = UNO(2, 3, Grid.make(shape, kind), modes=3, width=4, levels=3)
    x = torch.randn(2, 2, *shape)
    y = net(x)
    assert y.shape == (2, 3, *shape)
    y.square().mean().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in net.parameters())
    for other in (tuple(2 * n + 1 for n in shape), tuple(max(2, n // 2) for n in shape)):
        assert net(torch.randn(1, 2, *other)).shape[2:] == other


def test_grids_halve_and_widths_double():
    net = UNO(1, 1, Grid.make((20, 7)), modes=4, width=6, levels=2)
    assert net.shapes((20, 7)) == [(20, 7), (10, 4), (5, 2)]
    assert [layer.conv.out_channels for layer in net.down] == [12, 24]
    assert [layer.conv.in_channels for layer in net.up] == [24, 24]
    assert net.top.conv.in_channels == 12
    net = UNO(1, 1, Grid.make((20, 7)), modes=4, width=6, levels=1, growth=1.5, ratio=4 / 3)
    assert net.shapes((20, 7)) == [(20, 7), (15, 6)]
    assert net.bottom.conv.out_channels == 9


@pytest.mark.parametrize("kind", ["periodic", "nodal"])
def test_another_resolution_gives_the_same_function(kind):
    torch.manual_seed(0)
    coarse, fine = (Grid.make((n, n), kind) for n in ((64, 128) if kind == "periodic" else (65, 129)))
    net = UNO(1, 1, coarse, **SMALL).eval()

    def field(grid):
        x = grid.coordinates()
        return (torch.sin(2 * torch.pi * (x[0] + x[1])) + 0.3 * torch.cos(4 * torch.pi * x[0])).float()[None, None]

    assert relative(net(field(coarse)), net(field(fine))[..., ::2, ::2]) < 2e-2


def test_listed_axes_keep_their_points():
    grid = Grid((Axis("listed", 9, points=tuple(i**1.5 for i in range(9))), Axis("periodic", 12)))
    net = UNO(1, 1, grid, **SMALL)
    assert net.shapes((9, 12)) == [(9, 12), (9, 6), (9, 3)]
    assert net(torch.randn(2, 1, 9, 12)).shape == (2, 1, 9, 12)


@pytest.mark.parametrize(
    "options",
    [
        {"modes": None, "dropout": 0.1, "norm": "instance"},
        {"modes": (3, 6), "extension": None, "positional": False, "norm": "group"},
        {"activation": "silu", "projection": 0.0, "lifting": 0.0, "channel_mlp": 0.0},
        {"factorization": "tucker", "rank": 0.3, "fused": False},
        {"factorization": "cp", "rank": 3},
    ],
    ids=str,
)
def test_options(options):
    net = UNO(1, 2, Grid((Axis("cell", 12), Axis("periodic", 10))), **{**SMALL, **options})
    net(torch.randn(2, 1, 12, 10)).sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == []


def test_precision_state_and_compile():
    options = {**SMALL, "levels": 1}
    net = UNO(1, 1, Grid((Axis("nodal", 12), Axis("periodic", 10))), **options)
    x = torch.randn(2, 1, 12, 10)
    y = net(x)
    assert relative(copy.deepcopy(net).double()(x.double()), y.double()) < 1e-5
    assert not any(v.is_complex() for v in net.state_dict().values())
    other = UNO(1, 1, net.grid, **options)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), y)
    torch._dynamo.reset()
    assert relative(torch.compile(net, fullgraph=True, backend="eager")(x), y) < 1e-5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modes": 20}, "expected 1 to 12"),
        ({"levels": 0}, "levels=0"),
        ({"ratio": 1.0}, "ratio=1.0"),
        ({"growth": 0.0}, "growth=0.0"),
        ({"norm": "batch"}, "none, instance, group"),
        ({"factorization": "svd"}, "none, tucker, cp, tt"),
    ],
)
def test_option_errors(options, words):
    with pytest.raises(NWidthError, match=words):
        UNO(1, 1, Grid.make((12, 12)), **options)


def test_input_errors():
    with pytest.raises(NWidthError, match="batch, 2 channels, 2 space axes"):
        UNO(2, 1, Grid.make((12, 12)), **SMALL)(torch.zeros(1, 1, 12, 12))
    with pytest.raises(NWidthError, match="got str"):
        UNO(1, 1, "grid")
