"""NSM: the published model's numbers and size, any dimension and resolution."""

import copy
import math

import pytest
import torch
from nwidth import Grid, NWidthError
from nwidth.backends.channels_last import synthesise_last
from nwidth.backends.grid import Axis
from nwidth.operators import NSM

# Output of the authors' network (github.com/ASK-Berkeley/Neural-Spectral-Methods, MIT) without its last factor, at nine
# of its collocation points, in double precision, with the weights and the input of the test below.
PUBLISHED = {
    (("chebyshev", "periodic"), (6, 7), "relu"): [
        2.8036073843816105,
        0.20044803455761612,
        0.01489120073273751,
        -0.09300185323452081,
        0.45204785166100553,
        0.05029472268051188,
        0.17410033394725544,
        0.07634551868666739,
        0.01812733603936555,
    ],
    (("periodic", "periodic"), (7, 5), "tanh"): [
        -0.09346988428480196,
        0.006340632042328907,
        -0.16953478593053237,
        -0.047907284901027546,
        -0.06883781532508035,
        -0.10884833623339424,
        0.013343876977257196,
        -0.1833114735884879,
        0.1201594620949993,
    ],
    (("chebyshev",), (9,), "relu"): [
        0.8635042054446276,
        0.03675890984920129,
        0.1638114602330475,
        0.01924147603505132,
        0.14268596738040865,
        0.012383689999290442,
        0.13894599399915009,
        0.011444347882032921,
        0.16288423526341744,
    ],
}


def formula(i, *shape):
    """The i-th of the authors' parameters, in the order of their names."""
    k = torch.arange(math.prod(shape), dtype=torch.float64).view(shape)
    wave = torch.sin((i + 1) * k + i)
    return 1.5 * wave / shape[-2] ** 0.5 if len(shape) > 1 else 0.3 * wave / 2


def carry(net, kinds, modes, width, depth):
    """Give ``net`` the authors' parameters: theirs are named Dense_0 .. (bias, kernel), then SpectralConv_0 .."""
    linears = [*net.lift, *net.across, *net.leave, net.project]
    with torch.no_grad():
        for j, linear in enumerate(linears):
            b, a = linear.weight.shape
            linear.bias.copy_(formula(2 * j, b))
            linear.weight.copy_(formula(2 * j + 1, a, b).T)
        for j, weight in enumerate(net.weights):
            theirs = formula(2 * len(linears) + j, *modes, width, width)
            for axis, (kind, m) in enumerate(zip(kinds, modes)):
                if kind == "periodic":  # cosines upwards, then sines downwards; ours in pairs
                    order = [0] + [(k + 1) // 2 if k % 2 else m - k // 2 for k in range(1, m)]
                    theirs = theirs.index_select(axis, torch.tensor(order))
            weight.copy_(theirs.reshape(-1, width, width))


@pytest.mark.parametrize(("kinds", "modes", "activation"), PUBLISHED, ids=str)
def test_equals_the_published_model(kinds, modes, activation):
    grid = Grid(tuple(Axis(k, m) for k, m in zip(kinds, modes)))
    net = NSM(1, 1, grid, width=4, depth=2, activation=activation).double()
    net.places = NSM(1, 1, grid, width=4, depth=2).places.double()
    carry(net, kinds, modes, 4, 2)
    t = torch.arange(math.prod(modes), dtype=torch.float64).view(1, 1, *modes)
    x = torch.cos(0.37 * t) + 0.2 * torch.sin(1.3 * t)
    falling = [2 + i for i, k in enumerate(kinds) if k == "chebyshev"]  # their points run from 1 to 0
    with torch.no_grad():
        y = net(x.flip(falling)).flip(falling).flatten()
    expected = torch.tensor(PUBLISHED[kinds, modes, activation], dtype=torch.float64)
    assert torch.allclose(y[:: max(1, len(y) // 8)], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kinds", "modes", "count"),
    [(("periodic", "periodic"), (31, 31), 15_800_193), (("chebyshev", "periodic"), (32, 64), 33_609_601)],
)
def test_has_the_published_number_of_parameters(kinds, modes, count):
    net = NSM(1, 1, Grid(tuple(Axis(k, m) for k, m in zip(kinds, modes))), modes=modes)
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize("kinds", [("periodic",), ("chebyshev", "periodic"), ("nodal", "cell", "periodic")], ids=str)
def test_answers_the_same_at_every_resolution(kinds):
    torch.manual_seed(0)
    coarse = Grid(tuple(Axis(k, 9) for k in kinds))
    net = NSM(2, 3, coarse, modes=7, width=4, depth=1).double()
    a = torch.randn(7 ** len(kinds), 2, 2, dtype=torch.float64)
    answers = []
    for shape in (coarse.shape, tuple(12 + i for i in range(len(kinds)))):
        x = synthesise_last(net.transform, a, net.modes, shape).movedim(-1, 1)
        y = net(x)
        assert y.shape == (2, 3, *shape)
        answers.append(net.transform.forward(y, net.modes))
    assert torch.allclose(*answers, atol=1e-10)


def test_precision_seed_and_compilation():
    nets = []
    for _ in range(2):
        torch.manual_seed(1)
        nets.append(NSM(1, 1, Grid((Axis("chebyshev", 9), Axis("periodic", 8))), width=8, depth=1))
    x = torch.randn(2, 1, 9, 8)
    assert torch.equal(nets[0](x), nets[1](x))
    y = copy.deepcopy(nets[0]).double()(x.double())
    assert y.dtype == torch.float64 and torch.allclose(y.float(), nets[0](x), atol=1e-4)
    compiled = torch.compile(nets[0], fullgraph=True, backend="eager")
    for shape in ((9, 8), (12, 11)):
        x = torch.randn(2, 1, *shape)
        assert torch.allclose(compiled(x), nets[0](x), atol=1e-5)


def test_errors():
    with pytest.raises(NWidthError, match="at least 1"):
        NSM(1, 1, Grid.make((8,)), width=0)
    with pytest.raises(NWidthError, match="1 to 8 on 8 points"):
        NSM(1, 1, Grid.make((8,)), modes=9)
    with pytest.raises(NWidthError, match="listed points"):
        NSM(1, 1, Grid((Axis("listed", 3, points=(0.0, 0.1, 1.0)),)))
    with pytest.raises(NWidthError, match="2 channels, 1 space axes"):
        NSM(2, 1, Grid.make((8,)))(torch.randn(1, 1, 8))
