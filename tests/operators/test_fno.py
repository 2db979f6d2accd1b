"""FNO against neuraloperator's, at several resolutions, kinds of grid, precisions."""

import copy
import pickle
import warnings

import pytest
import torch
from nwidth.backends.grid import Axis, Grid
from nwidth.errors import NWidthError
from nwidth.operators import FNO, ChannelLinear, Coordinates

SMALL = {"modes": 6, "width": 8, "layers": 2}


def relative(a, b):
    assert a.shape == b.shape
    return float(((a - b).norm() / b.norm()).detach())


def smooth(grid, channels=2):
    """One smooth field that is the same function on every grid of a domain."""
    x = grid.coordinates()
    waves = [
        torch.sin(2 * torch.pi * (x[0] + c * x[-1])) + 0.3 * torch.cos(4 * torch.pi * x[0]) for c in range(channels)
    ]
    return torch.stack(waves)[None].float()


def copy_from_peer(net, peer):
    """neuraloperator's FNO with the same architecture into ours."""

    def linear(ours, conv):
        ours.weight.copy_(conv.weight[..., 0])
        if ours.bias is not None:
            ours.bias.copy_(conv.bias)

    d, blocks = net.grid.ndim, peer.fno_blocks
    with torch.no_grad():
        for ours, theirs in ((net.lift, peer.lifting), (net.project, peer.projection)):
            for a, b in zip(ours.linears, theirs.fcs):
                linear(a, b)
        for i, block in enumerate(net.blocks):
            kept = block.conv.transform.counts(net.modes)
            weight = blocks.convs[i].weight.tensor[(..., *(slice(k) for k in kept))]
            weight = weight.permute(*range(2, d + 2), 0, 1).reshape(-1, *weight.shape[:2])
            block.conv.weight.copy_(torch.view_as_real(weight))
            block.conv.bias.copy_(blocks.convs[i].bias.flatten())
            linear(block.skip, blocks.fno_skips[i].conv)
            for a, b in zip(block.mlp.linears, blocks.channel_mlp[i].fcs):
                linear(a, b)
            block.mlp_skip.weight.copy_(blocks.channel_mlp_skips[i].weight.flatten())


@pytest.mark.parametrize(("norm", "peer_norm"), [("none", None), ("instance", "instance_norm")])
@pytest.mark.parametrize("shape", [(16,), (12, 16)])
def test_equals_neuraloperator(shape, norm, peer_norm):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from neuralop.models import FNO as Peer

    torch.manual_seed(0)
    modes = (6,) * len(shape)
    peer = Peer(n_modes=modes, in_channels=2, out_channels=3, hidden_channels=8, n_layers=3, norm=peer_norm)
    net = FNO(2, 3, Grid.make(shape), modes=modes, width=8, layers=3, norm=norm, channel_mlp=0.5, skip="linear")
    copy_from_peer(net, peer)
    x = torch.randn(2, 2, *shape)
    assert relative(net(x), peer(x)) < 1e-5
    assert sum(p.numel() for p in net.parameters()) <= sum(2 * p.numel() for p in peer.parameters())


@pytest.mark.parametrize("kind", ["periodic", "cell", "nodal", "chebyshev"])
def test_another_resolution_gives_the_same_function(kind):
    torch.manual_seed(0)
    coarse, fine = Grid.make((33, 33), kind=kind), Grid.make((65, 65), kind=kind)
    net = FNO(2, 1, coarse, **SMALL).eval()
    a, b = net(smooth(coarse)), net(smooth(fine))
    if kind == "periodic":
        reference = net.transform.resize(a, fine.shape)
        assert relative(reference, b) < 2e-2  # the activation makes harmonics that 33 points cannot hold
    elif kind != "cell":
        assert relative(a, b[..., ::2, ::2]) < 2e-2  # quadrature error
    else:
        mean = torch.nn.functional.interpolate(b, (33, 33), mode="bilinear", antialias=False)
        assert relative(a, mean) < 5e-2


@pytest.mark.parametrize("shape", [(16,), (16, 12), (8, 10, 9), (6, 6, 6, 6)])
def test_dimensions_and_training(shape):
    torch.manual_seed(0)
    net = FNO(2, 3, Grid.make(shape), modes=4, width=6, layers=2)
    x = torch.randn(2, 2, *shape)
    y = net(x)
    assert y.shape == (2, 3, *shape)
    y.square().mean().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in net.parameters())
    assert net(torch.randn(1, 2, *(n + 5 for n in shape))).shape[2:] == tuple(n + 5 for n in shape)


@pytest.mark.parametrize(
    "options",
    [
        {"skip": "identity"},
        {"skip": "soft-gating", "mlp_skip": "linear"},
        {"skip": "none", "channel_mlp": 0.0},
        {"mlp_skip": "none", "norm": "group"},
        {"norm": "instance", "positional": False, "dropout": 0.1},
        {"lifting": 0.0, "projection": 0.0, "activation": "silu"},
        {"modes": (4, 6), "extension": None},
        {"modes": None},
    ],
    ids=str,
)
def test_options(options):
    net = FNO(1, 2, Grid((Axis("cell", 12), Axis("periodic", 10))), **{**SMALL, **options})
    x = torch.randn(2, 1, 12, 10)
    net(x).sum().backward()
    unused = [n for n, p in net.named_parameters() if p.grad is None]
    assert unused == []


def conditioned(**options):
    """A network whose conditioning is away from its start at zero."""
    torch.manual_seed(0)
    net = FNO(3, 1, Grid.make((12, 10)), conditioning="film", **{**SMALL, **options}).double()
    with torch.no_grad():
        for p in net.film.mlp.linears[-1].parameters():
            p.normal_()
    return net


def constants(values, shape=(12, 10)):
    """(B, P) as constant channels."""
    return values.double()[..., None, None].expand(*values.shape, *shape)


def test_conditioning_starts_without_effect():
    nets = []
    for name in ("none", "film"):
        torch.manual_seed(0)
        nets.append(FNO(3, 1, Grid.make((12, 10)), conditioning=name, parameters=2, **SMALL))
    x = torch.randn(2, 3, 12, 10)
    assert torch.equal(nets[0](x), nets[1](x))
    nets[1](x).sum().backward()
    assert bool(nets[1].film.mlp.linears[-1].weight.grad.any())


def test_conditioning_scales_and_shifts_the_spectral_part():
    options = {"layers": 1, "skip": "none", "channel_mlp": 0.0, "projection": 0.0, "positional": False, "lifting": 0.0}
    net = conditioned(parameters=2, **options)
    p = torch.tensor([[0.3, -1.0], [2.0, 0.5]])
    x = torch.cat([torch.randn(2, 1, 12, 10, dtype=torch.float64), constants(p)], 1)
    a, b = net.film.mlp.linears
    hidden = torch.nn.functional.gelu(p.double() @ a.weight.T + a.bias)
    g, h = (hidden @ b.weight.T + b.bias).chunk(2, 1)
    k = net.blocks[0].conv(net.lift(x))
    expected = net.project((1 + g)[..., None, None] * k + h[..., None, None])
    assert relative(net(x), expected) < 1e-12


@pytest.mark.parametrize("parameters", [1, None])
def test_conditioning_reads_its_channels_only(parameters):
    net = conditioned(parameters=parameters)
    x = torch.randn(2, 3, 12, 10, dtype=torch.float64)
    other = x.clone()
    other[:, :2] += 1
    same = torch.equal(net.film(x)[1][0], net.film(other)[1][0])
    assert same == (parameters == 1)
    fine = torch.cat([torch.randn(2, 2, 24, 20, dtype=torch.float64), constants(x[:, 2, 0, :1], (24, 20))], 1)
    coarse = torch.cat([x[:, :2], constants(x[:, 2, 0, :1])], 1)
    if same:
        assert torch.allclose(net.film(fine)[0][1], net.film(coarse)[0][1])


def test_conditioning_of_a_norm_is_adaptive_instance_norm():
    """Each channel gets mean h and deviation |1 + g|."""
    options = {"layers": 1, "skip": "none", "channel_mlp": 0.0, "norm": "instance", "init_scale": 9.0}
    net, seen = conditioned(parameters=1, **options), []
    net.project.last = lambda v: seen.append(v) or v
    x = torch.cat([torch.randn(2, 2, 12, 10, dtype=torch.float64), constants(torch.tensor([[0.4], [-2.0]]))], 1)
    net(x)
    ((g, h),) = net.film(x)
    assert torch.allclose(seen[0].mean((1, 2)), h, atol=1e-10)
    assert torch.allclose(seen[0].std((1, 2), correction=0), (1 + g).abs(), rtol=1e-2)


@pytest.mark.parametrize(("norm", "backend"), [("none", "aot_eager"), ("instance", "eager")])
def test_conditioning_fused_or_not_and_compiled(norm, backend):
    net = conditioned(norm=norm)
    x = torch.randn(2, 3, 12, 10, dtype=torch.float64)
    y = net(x)
    plain = copy.deepcopy(net)
    for block in plain.blocks:
        block.fused = False
    assert relative(plain(x), y) < 1e-12
    gradients = [torch.autograd.grad(n(x).square().sum(), list(n.parameters())) for n in (net, plain)]
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(*gradients))
    torch._dynamo.reset()
    assert relative(torch.compile(net, fullgraph=True, backend=backend)(x), y) < 1e-12


def test_listed_axes_and_mixed_kinds():
    points = tuple(i**1.5 for i in range(9))
    grid = Grid((Axis("listed", 9, points=points), Axis("chebyshev", 8), Axis("periodic", 8)))
    assert FNO(1, 1, grid, modes=4, width=4, layers=1)(torch.randn(1, 1, 9, 8, 8)).shape == (1, 1, 9, 8, 8)


def test_seed_double_and_state():
    grid = Grid.make((12, 12))
    nets = []
    for _ in range(2):
        torch.manual_seed(5)
        nets.append(FNO(1, 1, grid, **SMALL))
    x = torch.randn(2, 1, 12, 12)
    assert torch.equal(nets[0](x), nets[1](x))
    assert not any(v.is_complex() for v in nets[0].state_dict().values())
    double = copy.deepcopy(nets[0]).double()
    assert relative(double(x.double()), nets[0](x).double()) < 1e-5
    assert torch.equal(pickle.loads(pickle.dumps(nets[0]))(x), nets[0](x))
    other = FNO(1, 1, grid, **SMALL)
    other.load_state_dict(nets[0].state_dict())
    assert torch.equal(other(x), nets[0](x))
    with torch.autocast("cpu", torch.bfloat16):
        assert relative(nets[0](x).float(), nets[0].float()(x)) < 5e-2


def test_compiles_without_graph_breaks():
    net = FNO(1, 1, Grid((Axis("nodal", 12), Axis("periodic", 12))), **SMALL)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    for n in (12, 16):
        x = torch.randn(2, 1, n, n)
        assert relative(compiled(x), net(x)) < 1e-5


def test_pointwise_parts():
    linear = ChannelLinear(3, 5)
    x = torch.randn(2, 3, 4, 6)
    expected = torch.einsum("oc,bcij->boij", linear.weight, x) + linear.bias.view(-1, 1, 1)
    assert relative(linear(x), expected) < 1e-6
    assert relative(linear.last(x.movedim(1, -1)).movedim(-1, 1), expected) < 1e-6
    grid = Grid((Axis("nodal", 4, -1.0, 3.0), Axis("cell", 6, 0.0, 2.0)))
    where = Coordinates(grid)(x)[:, 3:]
    assert where.shape == (2, 2, 4, 6)
    assert torch.allclose(where[0, 0, :, 0], torch.linspace(0, 1, 4))
    assert torch.allclose(where[1, 1, 0], (torch.arange(6) + 0.5) / 6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modes": 20}, "axis 0 .* got 20, expected 1 to 12"),
        ({"activation": "gleu"}, "got 'gleu', expected one of gelu"),
        ({"norm": "batch"}, "none, instance, group"),
        ({"skip": "dense"}, "linear, soft-gating"),
        ({"mlp_skip": "dense"}, "linear, soft-gating"),
        ({"layers": 0}, "layers=0"),
        ({"conditioning": "concat"}, "none, film"),
        ({"conditioning": "film", "parameters": 2}, "parameters=2"),
        ({"factorization": "svd"}, "none, tucker, cp, tt"),
        ({"width": 0}, "width=0"),
    ],
)
def test_option_errors(options, words):
    with pytest.raises(NWidthError, match=words):
        FNO(1, 1, Grid.make((12, 12)), **options)


def test_input_errors():
    net = FNO(2, 1, Grid.make((12, 12)), **SMALL)
    for shape in ((1, 1, 12, 12), (1, 2, 12)):
        with pytest.raises(NWidthError, match="batch, 2 channels, 2 space axes"):
            net(torch.zeros(shape))
    with pytest.raises(NWidthError, match="got str"):
        FNO(1, 1, "grid")
