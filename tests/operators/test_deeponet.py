"""DeepONet and POD-DeepONet: their sums written out, other resolutions, the POD of the training outputs."""

import copy

import pytest
import torch
from nwidth import Grid, NWidthError
from nwidth.backends.grid import Axis
from nwidth.backends.resample import resample
from nwidth.operators import DeepONet, PODDeepONet
from nwidth.operators.interpolation import Interpolation

SMALL = {"branch_width": 12, "branch_layers": 1}


def prepared(grid, channels=2, **options):
    net = PODDeepONet(1, channels, grid, **{"modes": 5, **SMALL, **options})
    net.prepare(torch.empty(0), torch.randn(30, channels, *grid.shape))
    return net


@pytest.mark.parametrize("kind", ["periodic", "nodal"])
def test_is_the_sum_of_branch_times_trunk(kind):
    """With a linear branch and one hidden layer in the trunk, point by point."""
    torch.manual_seed(0)
    grid = Grid.make((6,), kind=kind)
    net = DeepONet(
        1, 2, grid, latent=3, branch="mlp", branch_width=8, branch_layers=0, trunk_width=4, trunk_layers=1, harmonics=2
    ).double()
    torch.nn.init.normal_(net.bias)
    a = torch.randn(1, 1, 6, dtype=torch.float64)
    linear, (first, _, last) = net.branch[1][0], net.trunk
    b = linear.weight @ a.flatten() + linear.bias
    for j, s in enumerate(grid.coordinates()[0]):
        w = 2 * torch.pi * s
        waves = torch.stack([w.sin(), (2 * w).sin(), w.cos(), (2 * w).cos()])
        seen = waves if kind == "periodic" else 2 * s[None] - 1
        gelu = torch.nn.functional.gelu
        t = gelu(last(gelu(first(seen)))).view(3, 2)
        assert torch.allclose(net(a)[0, :, j], net.bias + b @ t, atol=1e-13)


@pytest.mark.parametrize("branch", ["mlp", "conv"])
@pytest.mark.parametrize("shape", [(16,), (12, 16), (3, 9), (6, 6, 5)], ids=str)
def test_dimensions_and_training(shape, branch):
    grid = Grid.make(shape, kind="nodal")
    for net in (
        DeepONet(2, 3, grid, latent=4, branch=branch, **SMALL),
        PODDeepONet(2, 3, grid, branch=branch, **SMALL),
    ):
        if isinstance(net, PODDeepONet):
            net.prepare(torch.empty(0), torch.randn(9, 3, *shape))
        y = net(torch.randn(2, 2, *shape))
        assert y.shape == (2, 3, *shape)
        y.square().sum().backward()
        assert all(p.grad is not None for p in net.parameters())
    four = DeepONet(1, 1, Grid.make((3, 4, 3, 4)), branch="mlp", **SMALL)
    assert four(torch.randn(2, 1, 3, 4, 3, 4)).shape == (2, 1, 3, 4, 3, 4)


def test_another_resolution_gives_the_same_function():
    """Cubics pass the sensors exactly, so the coefficients agree; the trunk does not know of grids."""
    torch.manual_seed(0)
    coarse, fine = Grid.make((9, 17), kind="nodal"), Grid.make((17, 33), kind="nodal")
    net = DeepONet(1, 2, coarse, latent=4, **SMALL).double()

    def cubic(g):
        x, y = g.coordinates()
        return (x**3 - x * y**2 + 2 * y)[None, None]

    assert torch.allclose(net(cubic(fine))[..., ::2, ::2], net(cubic(coarse)), atol=1e-12)


def test_modes_at_another_resolution():
    """Waves on a periodic axis are interpolated exactly."""
    torch.manual_seed(0)
    coarse, fine = Grid.make((16,)), Grid.make((24,))
    c, a = torch.randn(40, 5, dtype=torch.float64), torch.randn(40, 3, dtype=torch.float64)

    def waves(g, c):
        x = 2 * torch.pi * g.coordinates()[0]
        rows = [torch.ones_like(x), x.sin(), x.cos(), (3 * x).sin(), (5 * x).cos()][: c.shape[1]]
        return (c @ torch.stack(rows))[:, None]

    net = PODDeepONet(1, 1, coarse, modes=6, branch="mlp", **SMALL).double()
    net.prepare(waves(coarse, a), waves(coarse, c))
    y, z = net(waves(coarse, a)), net(waves(fine, a))
    assert torch.allclose(resample(y, coarse, fine), z, atol=1e-12)


def test_functions_are_periodic_on_periodic_axes():
    torch.manual_seed(0)
    net = DeepONet(1, 1, Grid((Axis("periodic", 8), Axis("nodal", 8))), latent=3, **SMALL).double()
    with torch.no_grad():
        phi, _ = net.functions((2000, 2), torch.zeros(1, dtype=torch.float64))
    assert float((phi[..., 0, :] - phi[..., -1, :]).abs().max()) < 0.02 * float(phi.std(2).max())
    assert float((phi[..., 0] - phi[..., 1]).abs().max()) > 0.5 * float(phi.std(2).max())


def test_modes_are_the_pod_of_the_outputs():
    """Against the eigenvectors of the covariance; a Chebyshev axis has weights that differ."""
    torch.manual_seed(0)
    grid = Grid((Axis("chebyshev", 6), Axis("nodal", 5)))
    y = torch.randn(200, 2, 6, 5, dtype=torch.float64) @ torch.randn(5, 5, dtype=torch.float64) + 3
    net = PODDeepONet(1, 2, grid, modes=60, **SMALL).double()
    net.prepare(torch.empty(0), y)
    flat, w = y.flatten(1), grid.norm_weights().expand(2, 6, 5).flatten()
    assert torch.allclose(net.mean.flatten(), flat.mean(0))
    root = w.sqrt()
    values, vectors = torch.linalg.eigh(torch.cov(flat.T) * root * root[:, None])
    expected = (vectors / root[:, None] * values.clamp_min(0).sqrt()).T.flip(0)
    basis = net.basis.flatten(1)
    signs = torch.sign((basis * expected * w).sum(1, keepdim=True))
    assert torch.allclose(basis, signs * expected, atol=1e-6)
    # as many modes as values: all of the outputs, by coefficients of variance 1
    c = torch.linalg.lstsq(basis.T, (flat - net.mean.flatten()).T).solution.T
    assert torch.allclose(c @ basis + net.mean.flatten(), flat)
    assert torch.allclose(torch.cov(c.T), torch.eye(60, dtype=torch.float64), atol=1e-6)


def test_few_or_equal_samples_leave_modes_zero():
    net = PODDeepONet(1, 1, Grid.make((8,)), modes=6, **SMALL)
    net.prepare(torch.empty(0), torch.randn(4, 1, 8))
    assert [bool(m.any()) for m in net.basis] == [True] * 3 + [False] * 3
    net.prepare(torch.empty(0), torch.full((4, 1, 8), 2.5))
    assert not net.basis.any() and torch.equal(net(torch.randn(2, 1, 8)), torch.full((2, 1, 8), 2.5))


def test_the_basis_is_saved_and_needed():
    grid = Grid.make((8, 8))
    net, empty = prepared(grid), PODDeepONet(1, 2, grid, modes=5, **SMALL)
    x = torch.randn(3, 1, 8, 8)
    with pytest.raises(NWidthError, match=r"call prepare\(x, y\)"):
        empty(x)
    fresh = PODDeepONet(1, 2, grid, modes=5, **SMALL)
    fresh.load_state_dict(empty.state_dict())
    with pytest.raises(NWidthError, match="without its POD modes"):
        fresh(x)
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh(x), net(x)) and torch.equal(copy.deepcopy(net)(x), net(x))
    with pytest.raises(NWidthError, match=r"2 or more of shape \(2, 8, 8\)"):
        net.prepare(x, torch.randn(5, 1, 8, 8))


@pytest.mark.parametrize("make", [lambda g: DeepONet(1, 2, g, latent=4, **SMALL), prepared], ids=["plain", "pod"])
def test_precision_and_compilation(make):
    torch.manual_seed(0)
    net = make(Grid((Axis("nodal", 12), Axis("periodic", 10))))
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    for shape in ((12, 10), (15, 20)):
        x = torch.randn(2, 1, *shape)
        y = net(x)
        assert torch.allclose(compiled(x), y, atol=1e-6)
        assert torch.allclose(copy.deepcopy(net).double()(x.double()).float(), y, atol=1e-5)


def test_interpolation_is_that_of_resample():
    grid = Grid((Axis("periodic", 8), Axis("chebyshev", 7), Axis("nodal", 9)))
    u = torch.randn(2, 8, 7, 9, dtype=torch.float64)
    assert torch.equal(Interpolation(grid)(u, u.shape[1:], (5, 9, 12)), resample(u, grid, grid.with_shape((5, 9, 12))))
    listed = Grid((Axis("listed", 4, points=(0.0, 0.1, 0.5, 1.0)),))
    net = DeepONet(1, 1, listed, branch="mlp", **SMALL)
    assert net(torch.randn(1, 1, 4)).shape == (1, 1, 4)
    with pytest.raises(NWidthError, match="4 listed points"):
        net(torch.randn(1, 1, 8))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"latent": 0}, "0 functions"),
        ({"branch": "rnn"}, "one of mlp, conv"),
        ({"branch_layers": -1}, "not negative"),
        ({"trunk_width": 0}, "trunk_width=0"),
        ({"harmonics": 0}, "harmonics=0"),
        ({"activation": "gleu"}, "one of gelu"),
    ],
)
def test_errors(options, words):
    with pytest.raises(NWidthError, match=words):
        DeepONet(1, 1, Grid.make((8, 8)), **options)


def test_wrong_grid_and_input():
    with pytest.raises(NWidthError, match="got str"):
        DeepONet(1, 1, "grid")
    with pytest.raises(NWidthError, match="1 to 3 axes"):
        PODDeepONet(1, 1, Grid.make((4, 4, 4, 4)), branch="conv")
    with pytest.raises(NWidthError, match="1 channels, 2 space axes"):
        DeepONet(1, 1, Grid.make((8, 8)))(torch.randn(1, 2, 8, 8))
