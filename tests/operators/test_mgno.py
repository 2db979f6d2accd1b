"""MgNO: the published model's numbers and size, any grid size, boundary conditions."""

import pytest
import torch
from nwidth import Grid, NWidthError
from nwidth.operators import MgNO
from nwidth.operators.convolution import TransposedConvolution, boundaries, pad

# Output of the authors' MgNO_DC (github.com/xlliu2017/MgNO, MIT) at every fifth point, in double precision, for
# 2 layers of 3 channels, one, one and two iterations, with the weights and the input of the test below.
PUBLISHED = [
    [-0.0419131934372819, 0.019100396895635984, -0.004230956825445595, -0.04923844571094845],
    [-0.16336251045745276, -0.184824122849688, -0.1837249265451178, -0.09514577541568045],
    [-0.11738473148311698, -0.09584341622772735, -0.08032765771330838, -0.10610094799376749],
    [0.018199752371275215, -0.03690902643704988, -0.040707895532819324, -0.11145091709050764],
]


def test_equals_the_published_model():
    net = MgNO(1, 1, Grid.make((16, 16), kind="nodal"), width=3, layers=2, iterations=[1, 1, 2], positional=False)
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(0.3 * torch.sin(torch.arange(p.numel(), dtype=torch.float64) * (i + 1) + i).view(p.shape))
    t = torch.arange(256, dtype=torch.float64).view(1, 1, 16, 16)
    y = net.double()(torch.cos(0.1 * t) + 0.2 * torch.sin(0.37 * t))
    assert torch.allclose(y[0, 0, ::5, ::5], torch.tensor(PUBLISHED, dtype=torch.float64), rtol=0, atol=1e-13)


def test_has_the_published_number_of_parameters():
    net = MgNO(
        1, 1, Grid.make((256, 256), kind="nodal"), width=24, layers=4, iterations=[1, 1, 1, 1, 1, 2], positional=False
    )
    assert sum(p.numel() for p in net.parameters()) == 572_661


@pytest.mark.parametrize("boundary", ["auto", "zero", "periodic", "reflect"])
@pytest.mark.parametrize("shape", [(16,), (85,), (21, 16), (11, 14), (6, 9, 8)], ids=str)
def test_any_size_and_dimension(shape, boundary):
    net = MgNO(2, 3, Grid.make(shape, kind="nodal"), width=4, layers=2, boundary=boundary)
    y = net(torch.randn(2, 2, *shape))
    assert y.shape == (2, 3, *shape)
    y.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_a_periodic_network_commutes_with_shifts_of_the_coarsest_cells():
    torch.manual_seed(0)
    net = MgNO(1, 1, Grid.make((16, 24)), width=3, layers=2, iterations=[1, 1, 2], positional=False).double()
    x = torch.randn(1, 1, 16, 24, dtype=torch.float64)
    assert torch.allclose(net(x.roll((4, 8), (2, 3))), net(x).roll((4, 8), (2, 3)), atol=1e-13)
    assert not torch.allclose(net(x.roll(1, 2)), net(x).roll(1, 2), atol=1e-3)


def test_coordinates_tell_places_apart():
    torch.manual_seed(0)
    x = torch.ones(1, 1, 16, 16)
    aware = MgNO(1, 1, Grid.make((16, 16)), width=3, layers=2)(x)
    blind = MgNO(1, 1, Grid.make((16, 16)), width=3, layers=2, positional=False)(x)
    assert bool(((aware - aware.roll((8, 8), (2, 3))).abs() > 1e-2).any())
    places = MgNO(1, 1, Grid.make((16, 10), kind="cell"), width=3, layers=1).where(torch.ones(1, 1, 16, 10))[:, 1:]
    assert torch.allclose(places.mean((0, 2, 3)), torch.zeros(2), atol=1e-6)
    assert torch.allclose(places.square().mean((0, 2, 3)), torch.ones(2), atol=0.02)
    assert torch.allclose(blind, blind.roll((8, 8), (2, 3)), atol=1e-6)


def test_reflection_commutes_with_mirroring_the_domain():
    """With mirrored weights a mirrored input gives the mirrored output."""
    torch.manual_seed(0)
    net = MgNO(
        1, 1, Grid.make((17,), kind="nodal"), width=3, layers=1, iterations=[1], boundary="reflect", positional=False
    )
    net = net.double()
    x = torch.randn(1, 1, 17, dtype=torch.float64)
    y = net(x)
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim == 3:
                p.copy_(p.flip(-1))
    assert torch.allclose(net(x.flip(-1)), y.flip(-1), atol=1e-13)


def test_padding():
    x = torch.arange(4.0).view(1, 1, 4)
    assert pad(x, 1, ("periodic",)).flatten().tolist() == [3, 0, 1, 2, 3, 0]
    assert pad(x, 1, ("reflect",)).flatten().tolist() == [1, 0, 1, 2, 3, 2]
    assert pad(x, 2, ("zero",)).flatten().tolist() == [0, 0, 0, 1, 2, 3, 0, 0]
    x = torch.randn(1, 1, 4, 5)
    both = pad(x, 1, ("zero", "periodic"))
    assert torch.equal(both[..., 1:-1, 0], x[..., -1]) and bool((both[..., 0, :] == 0).all())


def test_the_periodic_prolongation_is_the_adjoint_of_a_strided_stencil():
    torch.manual_seed(0)
    up = TransposedConvolution(1, 1, ("periodic",)).double()
    x, y = torch.randn(1, 1, 6, dtype=torch.float64), torch.randn(1, 1, 12, dtype=torch.float64)
    down = torch.nn.functional.conv1d(pad(y, 1, ("periodic",)), up.weight, stride=2)
    assert torch.allclose((up(x, (12,)) * y).sum(), (x * down).sum())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"boundary": "neumann"}, "zero, periodic or reflect"),
        ({"boundary": ["zero"]}, "or 2 of them"),
        ({"iterations": [1, 0]}, "at least 1"),
        ({"iterations": []}, "at least 1"),
        ({"width": 0}, "at least 1"),
        ({"activation": "gleu"}, "one of gelu"),
    ],
)
def test_errors(options, words):
    with pytest.raises(NWidthError, match=words):
        MgNO(1, 1, Grid.make((8, 8)), **options)


def test_wrong_input_and_too_many_reflecting_levels():
    net = MgNO(1, 1, Grid.make((8, 8)), width=2, layers=1)
    with pytest.raises(NWidthError, match="2 space axes"):
        net(torch.randn(1, 1, 8))
    net = MgNO(1, 1, Grid.make((8,), kind="nodal"), width=2, layers=1, iterations=[1] * 5, boundary="reflect")
    with pytest.raises(NWidthError, match="fewer levels"):
        net(torch.randn(1, 1, 8))
    with pytest.raises(NWidthError, match="1 to 3 axes"):
        boundaries(Grid.make((4, 4, 4, 4)), "auto", "MgNO")
